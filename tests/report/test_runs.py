"""A run is read as a whole, or refused in a sentence."""

import math

import pytest

from minihybrid.report.runs import read
from minihybrid.train import RunError


def test_what_was_written_is_read(make_run):
    run = read(str(make_run("first")))
    assert (run.name, run.config["hidden"], len(run.steps)) == ("first", [8, 8], 7)
    assert [step.outcome for step in run.steps if step.predicted] == ["accepted", "accepted", "rolled back", "declined"]
    assert run.steps[0].gradient_norm == 3.0
    assert run.steps[1].gradient_norm is None, "what was not finite is missing"
    assert run.steps[5].cost == 2 + 3 / 3
    ((cost, score),) = run.evaluations
    assert (cost, score.loss, score.accuracy) == (run.steps[-1].cost, 0.5, 0.875)
    assert run.ledger.predictions_tried == 4 and run.ledger.predictions_accepted == 1
    assert run.seconds["predict"] == 2.0 and run.cpu_seconds["evaluate"] == 0.125
    assert not run.interrupted and not run.exact


def test_a_name_is_looked_for_in_runs(make_run):
    make_run("first")
    assert read("first").steps == read("runs/first").steps == read("runs/first/").steps
    assert read("runs/first/").name == "first"


def test_losses_that_see_the_whole_training_set_are_exact(make_run):
    config = {"batch_size": 10, "examples": {"train": 10}}
    assert read(str(make_run("whole", config))).exact
    assert not read(str(make_run("part", {**config, "batch_size": 5}))).exact


@pytest.mark.parametrize("name", ["nowhere", "", "x" * 300, "a\0b", "../.."])
def test_a_run_that_is_missing(make_run, name):
    make_run("first")
    with pytest.raises(RunError, match=r"there is no run|config\.json cannot be read: No such file"):
        read(name)


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl"])
def test_a_file_that_is_missing_or_no_text(make_run, file):
    run = make_run("first")
    (run / file).write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=rf"first.{file} is damaged: it is no UTF-8 text\."):
        read("first")
    (run / file).unlink()
    with pytest.raises(RunError, match=rf"first.{file} cannot be read: No such file or directory\."):
        read("first")
    (run / file).mkdir()
    with pytest.raises(RunError, match=rf"first.{file} cannot be read: Is a directory\."):
        read("first")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"loss": NaN}', "[" * 100_000, '{"a": 1e5,}'])
def test_a_line_that_is_no_json_object(make_run, text):
    run = make_run("first")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], text, *lines[2:]]))
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2, is damaged: expected a JSON object\."):
        read("first")
    (run / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json is damaged: expected a JSON object\."):
        read("first")


@pytest.mark.parametrize(
    ("line", "field", "value", "expected"),
    [
        (0, "loss", "low", "a number"),
        (0, "loss", True, "a number"),
        (0, "loss", 10**400, "a number"),
        (0, "step", -1, "a whole number from 0 on"),
        (0, "step", 0.5, "a whole number from 0 on"),
        (0, "phase", None, "a text"),
        (0, "predicted", 1, "true or false"),
        (7, "loss", [], "a number"),
        (8, "seconds", 3, "an object"),
        (8, "seconds", {"full": "long"}, "a number"),
        (8, "predictions_tried", None, "a whole number from 0 on"),
    ],
)
def test_a_field_that_holds_something_else(make_run, change, line, field, value, expected):
    change(make_run("first"), line, **{field: value})
    with pytest.raises(RunError, match=rf"metrics\.jsonl, line {line + 1}, .*is damaged: .* expected {expected}\.$"):
        read("first")


def test_a_run_without_an_end(make_run):
    run = make_run("first")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(lines[:-1]))
    with pytest.raises(RunError, match="has no end: the run was killed or is still going on"):
        read("first")


def test_null_stands_for_what_was_not_finite(make_run, change):
    change(make_run("first"), 0, loss=None)
    assert math.isnan(read("first").steps[0].loss)


def test_events_of_other_kinds_are_passed_over(make_run):
    run = make_run("first")
    path = run / "metrics.jsonl"
    path.write_text('{"event": "weather"}\n' + path.read_text())
    assert len(read("first").steps) == 7
