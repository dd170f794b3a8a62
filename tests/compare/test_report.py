import importlib.util
import json

import pytest

from minihybrid.compare import Comparison, write
from minihybrid.compare.comparison import Baseline, Result
from minihybrid.compare.race import Entry, Point, Run

TASK = "full-batch/xor"


@pytest.fixture
def found():
    def run(method):
        curve = Point(0.0, 0, 0.0, 1.0, 1.0), Point(100.0, 100, 0.5, 0.1, 0.2)
        return Run(Entry(TASK, method, 0, 0.1, 100), curve, diverged=False)

    results = [Result(TASK, name, 0.1, (run(name),)) for name in ("adam", "adam/linear", "hybrid/rre/linear")]
    baselines = {TASK: [Baseline("adam/linear", ((100.0, 0.05),))]}
    return Comparison("tiny", 1, {TASK: "train_loss"}, results, baselines, [Entry(TASK, "muon", 0, 9.0, 100)])


def test_the_files_are_whole_and_nothing_else_is_left(found, tmp_path):
    text = write(found, tmp_path, ["this is left out."])
    names = {"compare.json", "compare.md", "summary.json"}
    picture = importlib.util.find_spec("matplotlib") is not None
    assert {path.name for path in tmp_path.iterdir()} == names | ({"compare.png"} if picture else set())
    assert isinstance(json.loads((tmp_path / "compare.json").read_text()), list)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [final["method"] for final in summary["finals"]] == ["adam", "adam/linear", "hybrid/rre/linear"]
    assert summary["finals"][1]["speed_ups"] == {"adam/linear": None}  # its loss is above the curve
    assert summary["diverged"][0]["method"] == "muon" and "this is left out." in summary["skipped"]
    assert (tmp_path / "compare.md").read_text().startswith("# Comparison: tiny suite")
    assert "hybrid/rre/linear" in text and text.splitlines()[-1 if picture else -2] == "this is left out."


def test_a_second_report_takes_the_place_of_the_first(found, tmp_path):
    write(found, tmp_path)
    before = (tmp_path / "compare.json").read_text()
    found.results = found.results[:1]
    write(found, tmp_path)
    assert len(json.loads((tmp_path / "compare.json").read_text())) < len(json.loads(before))


def test_without_matplotlib_a_sentence_stands_in_for_the_picture(found, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    text = write(found, tmp_path)
    assert text.endswith("There is no picture: pip install 'minihybrid[plot]' brings matplotlib.")
    assert not (tmp_path / "compare.png").exists()


def test_a_comparison_that_found_nothing_is_still_written(tmp_path):
    write(Comparison("tiny", 1, {TASK: "train_loss"}, interrupted=True), tmp_path)
    assert json.loads((tmp_path / "compare.json").read_text()) == []
