"""The folder of a run: whole or not at all."""

import json

import pytest

import minihybrid as mh
from minihybrid.train import Ended, Evaluated, Evaluation, RunError, RunFolder, Started, Stepped, StepResult, Summary
from minihybrid.train.run import is_logged


@pytest.fixture
def model():
    return mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_kept_run_holds_config_metrics_and_model(tmp_path, model):
    with RunFolder(tmp_path / "runs", {"lr": 0.1, "hidden": [3]}, name="first") as folder:
        assert names(tmp_path / "runs") == [".first.partial"]
        folder(Started(1))
        folder(Stepped(StepResult(0, "full", 2.0, 0.1, gradient_norm=float("inf")), seconds=0.5, cpu_seconds=0.4))
        folder(Evaluated(1, Evaluation(0.25, 0.5)))
        assert names(tmp_path / "runs") == [".first.partial"]
        folder(Ended(Summary(steps=1, planned=1, evaluation=Evaluation(0.25, 0.5), seconds={"full": 0.5}), model))
    path = folder.path
    assert path == tmp_path / "runs" / "first"
    assert names(tmp_path / "runs") == ["first"]
    assert names(path) == ["config.json", "metrics.jsonl", "model.safetensors"]
    assert json.loads((path / "config.json").read_text()) == {"lr": 0.1, "hidden": [3]}
    step, evaluation, end = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    assert (step["event"], step["loss"], step["phase"], step["seconds"]) == ("step", 2.0, "full", 0.5)
    assert step["gradient_norm"] is None  # JSON has no infinity
    assert evaluation == {"event": "evaluation", "steps": 1, "loss": 0.25, "accuracy": 0.5}
    assert (end["event"], end["steps"], end["evaluation"]["accuracy"]) == ("end", 1, 0.5)
    loaded, report = mh.nn.LinearConfig(2, 1).init().load(path / "model.safetensors")
    assert report.complete and loaded.weight.tolist() == model.weight.tolist()


def test_a_run_that_is_not_kept_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path, {}, name="lost"):
        raise ZeroDivisionError
    assert names(tmp_path) == []
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "new" / "runs", {}, name="lost"):
        raise ZeroDivisionError
    assert names(tmp_path) == [], "nor the folders that were made for it"


def test_folders_that_were_there_or_hold_other_runs_stay(tmp_path, model):
    (tmp_path / "there").mkdir()
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "there", {}, name="lost"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "new" / "runs", {}, name="lost"):
        (tmp_path / "new" / "other").mkdir()
        raise ZeroDivisionError
    assert names(tmp_path) == ["new", "there"] and names(tmp_path / "new") == ["other"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises((RunError, KeyboardInterrupt), match=r"No space left|^$"):
        RunFolder(tmp_path / "runs", {}, name="x")
    assert names(tmp_path) == []


def test_a_name_is_used_once(tmp_path, model):
    with RunFolder(tmp_path, {}, name="first") as folder:
        folder(Ended(Summary(), model))
    with pytest.raises(RunError, match="already a run 'first'"):
        RunFolder(tmp_path, {}, name="first")
    assert names(tmp_path) == ["first"]


def test_a_run_under_way_keeps_its_name(tmp_path, model):
    with RunFolder(tmp_path, {}, name="first") as folder:
        with pytest.raises(RunError, match=r"being written in .*\.first\.partial; choose another name, or delete"):
            RunFolder(tmp_path, {}, name="first")
        folder(Ended(Summary(), model))
    assert names(tmp_path) == ["first"]


def test_without_a_name_the_first_free_number_is_taken(tmp_path, model):
    (tmp_path / "digits-2").mkdir()
    (tmp_path / ".digits-3.partial").mkdir()
    found = []
    for _ in range(2):
        with RunFolder(tmp_path, {}, prefix="digits") as folder:
            folder(Ended(Summary(), model))
        found.append(folder.path.name)
    assert found == ["digits-1", "digits-4"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "-x", "a" * 101, "ü", "a\n"])
def test_a_name_is_a_plain_word(tmp_path, name):
    with pytest.raises(RunError, match="cannot name a run"):
        RunFolder(tmp_path / "runs", {}, name=name)
    assert names(tmp_path) == []


def test_a_file_is_no_folder_of_runs(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RunError, match="it is no folder"):
        RunFolder(tmp_path / "file", {}, name="x")
    with pytest.raises(RunError, match=r"no run can be kept in .*: Not a directory"):
        RunFolder(tmp_path / "file" / "below", {}, name="x")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_system_that_refuses_is_named(tmp_path, model, monkeypatch):
    def refuse(model, path):
        raise mh.RecordError(f"{path} cannot be written: No space left on device.")

    monkeypatch.setattr("minihybrid.train.run.save", refuse)
    with (
        pytest.raises(RunError, match=r"the run 'x' cannot be written to .*No space left on device\.$"),
        RunFolder(tmp_path, {}, name="x") as folder,
    ):
        folder(Ended(Summary(), model))
    assert names(tmp_path) == []


def test_a_long_run_logs_ever_fewer_of_its_steps(tmp_path, model):
    with RunFolder(tmp_path, {}, name="long") as folder:
        for step in (*range(9_995, 10_025), 99_990, 99_999, 100_000, 100_050, 100_100, 10**7):
            folder(Stepped(StepResult(step, "full", 2.0, 0.1), seconds=0.5, cpu_seconds=0.4))
            folder(Evaluated(step, Evaluation(0.25)))
        folder(Ended(Summary(), model))
    entries = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    logged = [entry["step"] for entry in entries if entry["event"] == "step"]
    assert logged == [*range(9_995, 10_000), 10_000, 10_010, 10_020, 99_990, 100_000, 100_100, 10**7]
    assert sum(entry["event"] == "evaluation" for entry in entries) == 36


def test_a_million_steps_are_28000_lines():
    assert sum(map(is_logged, range(10**6))) == 10_000 + 9_000 + 9_000
