import pytest

from minihybrid.compare import Comparison
from minihybrid.compare.comparison import Result
from minihybrid.compare.plot import draw, median_curve
from minihybrid.compare.race import Entry, Point, Run


def run(*losses):
    curve = tuple(Point(10.0 * i, 10 * i, 0.0, loss, 2 * loss) for i, loss in enumerate(losses))
    return Run(Entry("full-batch/xor", "adam", 0, 0.1, 10), curve, diverged=False)


def test_the_median_is_taken_point_by_point_as_far_as_all_go():
    runs = run(1.0, 0.5, 0.1), run(3.0, 0.7), run(2.0, 0.6, 0.3)
    assert median_curve(runs, "train_loss") == ([0.0, 10.0], [2.0, 0.6])
    assert median_curve(runs, "val_loss") == ([0.0, 10.0], [4.0, 1.2])


def test_there_is_a_panel_for_each_task(tmp_path):
    pytest.importorskip("matplotlib")
    results = [Result("full-batch/xor", name, 0.1, (run(1.0, 0.5),)) for name in ("adam", "hybrid/rre", "muon")]
    draw(Comparison("tiny", 1, {"full-batch/xor": "train_loss"}, results), tmp_path / "compare.png")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_method_is_the_same_line_in_every_panel(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    figures = []
    monkeypatch.setattr("minihybrid.plot.save", lambda figure, path: figures.append(figure))
    first, second = "full-batch/xor", "full-batch/digits"
    results = [Result(first, name, 0.1, (run(1.0, 0.5),)) for name in ("adam", "hybrid/rre", "hybrid/drift")]
    results += [Result(second, name, 0.1, (run(1.0, 0.5),)) for name in ("hybrid/drift", "lbfgs")]
    draw(Comparison("tiny", 1, {first: "train_loss", second: "train_loss"}, results), tmp_path / "compare.png")
    panels = [
        {line.get_label(): (line.get_color(), line.get_linestyle()) for line in axes.lines} for axes in figures[0].axes
    ]
    assert panels[0]["hybrid/drift"] == panels[1]["hybrid/drift"]
    assert len(set((panels[0] | panels[1]).values())) == 4
