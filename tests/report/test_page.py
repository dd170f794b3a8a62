"""The page of a report: everything that a run did, and nothing from outside."""

import re
from html.parser import HTMLParser

import pytest

from minihybrid.cli import main
from minihybrid.report import page, read, write
from minihybrid.train import RunError

VOID = {"meta", "link", "img", "br"}


class Tags(HTMLParser):
    """Every tag is closed; what is shown, and what is loaded."""

    def __init__(self, html):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def captions(html):
    return re.findall(r"<figcaption>(.*?)</figcaption>", html)


def test_a_run_on_a_page(make_run):
    make_run("first")
    html = page([read("first")])
    tags = Tags(html)
    assert captions(html) == [
        "Training loss",
        "Validation loss",
        "Validation accuracy",
        "Gradient norm",
        "Learning rate",
        "Horizon: steps that a prediction stands for",
        "Confidence: what the predictor says of itself",
        "Steps jumped, in all",
    ]
    for words in (
        "validation accuracy 87.50%",
        "steps 7",
        "predictions tried 4 accepted 1 rolled back 2 declined 1",
        "hidden 8, 8",
        "hybrid.warmup 2",
        "evaluate 0.12 s",
        "step 4: the jump </script> was bad.",
    ):
        assert words in tags.words, words


def test_a_prediction_that_fell_later_is_shown_as_rolled_back(make_run):
    make_run("first")
    html = page([read("first")])
    assert "accepted, horizon 8, scale 2, judged by held-out data, loss 1.5 to 1.2" in html
    assert "rolled back, horizon 4, scale 1, confidence 0.9, judged by the next step" in html


def test_shares_of_time_add_up(make_run):
    make_run("first")
    html = page([read("first")])
    shares = [float(share) for share in re.findall(r"flex-grow:([\d.]+)", html)]
    assert sum(shares) == pytest.approx(1, abs=1e-3) and max(shares) == pytest.approx(2 / 3.625, abs=1e-3)
    assert 'style="width:100.00%"' in html


def test_several_runs_are_compared(make_run):
    for name, lr in (("first", 0.1), ("second", 0.2)):
        make_run(name, lr=lr)
    html = page([read("first"), read("second")])
    words = Tags(html).words
    assert "Settings that differ first second lr 0.1 0.2" in words
    assert "validation accuracy 87.50% 87.50%" in words
    assert "What was done about trouble in second" in words
    assert captions(html).count("Training loss") == 1 and "Horizon of second: steps" in captions(html)[-3]
    assert not re.search(r"<rect class=", html), "phases are those of one run"


def test_nothing_comes_from_outside(make_run):
    make_run("first")
    html = page([read("first")])
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html.replace("http://www.w3.org", ""))
    for tag, attributes in Tags(html).found:
        assert "src" not in attributes and attributes.get("href", "data:,") == "data:,", tag


def test_html_in_what_a_run_says_is_text(make_run, change):
    nasty = '</script></title><img src=x onerror="alert(1)">'
    run = make_run("first", config={nasty: nasty, "hybrid": {nasty: [nasty]}})
    change(run, 4, note=nasty, phase=nasty)
    change(run, 2, guard=nasty)
    change(run, 8, seconds={nasty: 1.0})
    folder = run.with_name("<b>x&y'")
    run.rename(folder)
    html = page([read(str(folder))])
    tags = Tags(html)
    assert not [tag for tag, _ in tags.found if tag in ("img", "b")]
    assert html.count("</script>") == len([tag for tag, _ in tags.found if tag == "script"])
    assert tags.words.count(nasty) >= 4 and "<b>x&y'" in tags.words


def test_a_run_without_predictions_or_scores(make_run):
    run = make_run("first")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:2], lines[-1]]))
    html = page([read("first")])
    assert captions(html) == ["Training loss", "Gradient norm", "Learning rate"]
    (run / "metrics.jsonl").write_text(lines[-1])
    html = page([read("first")])
    assert captions(html) == [] and "steps 0" in Tags(html).words


def test_a_long_run_makes_no_large_page(make_run):
    make_run("long", repeat=1000)
    html = page([read("long")])
    assert len(html) < 2_000_000


def test_where_the_report_is_kept(make_run, tmp_path):
    make_run("first")
    make_run("second")
    assert write(["first"]) == write(["runs/first"]) == (tmp_path / "runs/first/report.html").relative_to(tmp_path)
    assert str(write(["first", "second"])) == "report.html"
    assert str(write(["first"], "here.html")) == "here.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.html", "report.html", "runs"]


def test_two_runs_of_one_name_are_told_apart(make_run):
    make_run("first")
    make_run("first", folder="others")
    words = Tags(write(["runs/first", "others/first"]).read_text()).words
    assert "runs/first others/first" in words


@pytest.mark.parametrize("out", [".", "runs", "nowhere/x.html", "a\0b", "x" * 300])
def test_a_file_that_cannot_be_written(make_run, tmp_path, out):
    make_run("first")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="the report cannot be written to"):
        write(["first"], out)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command(make_run, capsys):
    make_run("first")
    assert main(["report", "first", "runs/first", "--out", "x.html"]) == 0
    assert capsys.readouterr().out == "kept in x.html\n"
    assert main(["report", "nowhere"]) == 2
    assert "there is no run 'nowhere'; write the folder" in capsys.readouterr().err
