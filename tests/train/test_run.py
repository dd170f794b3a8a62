"""The folder of a run: whole or not at all."""

import json

import pytest

import minihybrid as mh
from minihybrid.train import (
    Ended,
    Evaluated,
    Evaluation,
    RunError,
    RunFolder,
    Started,
    Stepped,
    StepResult,
    Summary,
    read_config,
)
from minihybrid.train.logger import is_logged


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


# Taken up again


def checkpointed(folder):
    """What keeps a folder when it is left."""
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-3.safetensors").write_bytes(b"")


def stepped(number):
    return Stepped(StepResult(number, "full", 2.0, 0.1), seconds=0.5, cpu_seconds=0.4)


def left(runs, steps=3, name="first"):
    """A run that an error ended after its checkpoint and some steps more; gives the state of then."""
    with pytest.raises(ZeroDivisionError), RunFolder(runs, {"lr": 0.1}, name=name) as folder:
        folder(Started(9))
        for number in range(steps):
            folder(stepped(number))
        checkpointed(folder)
        state = folder.state_dict()
        for number in range(steps, steps + 2):
            folder(stepped(number))
        raise ZeroDivisionError
    return state


def told(path):
    return [json.loads(line).get("step") for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_with_checkpoints_stays_and_is_taken_up(tmp_path, model):
    state = left(tmp_path)
    assert names(tmp_path) == [".first.partial"] and told(tmp_path / ".first.partial") == [0, 1, 2, 3, 4]
    assert read_config(tmp_path, "first") == {"lr": 0.1}
    with RunFolder.reopen(tmp_path, "first") as folder:
        folder.load_state_dict(state)
        folder(Started(9, Summary(steps=3)))
        for number in range(3, 6):
            folder(stepped(number))
        folder(Ended(Summary(), model))
    assert names(tmp_path) == ["first"] and told(folder.path) == [0, 1, 2, 3, 4, 5, None]
    assert names(folder.path) == ["checkpoints", "config.json", "metrics.jsonl", "model.safetensors"]


def test_a_run_that_is_taken_up_before_its_first_checkpoint_tells_all_anew(tmp_path, model):
    left(tmp_path)
    with RunFolder.reopen(tmp_path, "first") as folder:
        folder(Started(9))
        folder(stepped(0))
        folder(Ended(Summary(), model))
    assert told(folder.path) == [0, None]


def test_an_interrupted_run_is_taken_up_and_an_ended_one_is_not(tmp_path, model):
    for interrupted in (True, False):
        with RunFolder.reopen(tmp_path, "x") if not interrupted else RunFolder(tmp_path, {}, name="x") as folder:
            folder(stepped(0))
            if interrupted:
                checkpointed(folder)
            folder(Ended(Summary(interrupted=interrupted), model))
        assert names(tmp_path) == ["x"]
    with pytest.raises(RunError, match="the run 'x' has ended; there is nothing to go on with"):
        RunFolder.reopen(tmp_path, "x")
    assert names(tmp_path) == ["x"]


def test_an_interrupted_run_is_shown_again_if_it_cannot_go_on(tmp_path, model):
    with RunFolder(tmp_path, {}, name="x") as folder:
        checkpointed(folder)
        folder(Ended(Summary(interrupted=True), model))
    kept = (tmp_path / "x" / "model.safetensors").read_bytes()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), RunFolder.reopen(tmp_path, "x") as folder:
            assert names(tmp_path) == [".x.partial"]
            raise ZeroDivisionError
        assert names(tmp_path) == ["x"] and (tmp_path / "x" / "model.safetensors").read_bytes() == kept


def test_a_run_that_was_killed_while_it_ended_is_taken_up(tmp_path, model, monkeypatch):
    """Its metrics tell of the end, but it is not shown yet."""
    left(tmp_path)

    def die(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RunFolder.reopen(tmp_path, "first") as folder:
        monkeypatch.setattr("pathlib.Path.rename", die)
        folder(Ended(Summary(interrupted=False), model))
    monkeypatch.undo()
    assert names(tmp_path) == [".first.partial"]
    RunFolder.reopen(tmp_path, "first")._metrics.close()


def test_only_one_process_is_at_work_on_a_run(tmp_path):
    left(tmp_path)
    with RunFolder.reopen(tmp_path, "first") as folder:
        with pytest.raises(RunError, match="another process is at work on the run 'first'; wait until it ends"):
            RunFolder.reopen(tmp_path, "first")
        assert folder.resumable
    with pytest.raises(RunError, match=r"being written in .*partial; .* \(or go on with it: --resume first\)\."):
        RunFolder(tmp_path, {}, name="first")


def test_metrics_that_are_shorter_than_they_were_do_not_fit(tmp_path):
    state = left(tmp_path)
    (tmp_path / ".first.partial" / "metrics.jsonl").write_bytes(b"")
    with RunFolder.reopen(tmp_path, "first") as folder, pytest.raises(ValueError, match=r"metrics\.jsonl has 0 bytes"):
        folder.load_state_dict(state)


def test_what_is_not_there_cannot_be_taken_up(tmp_path):
    left(tmp_path)
    for call in (read_config, RunFolder.reopen):
        with pytest.raises(RunError, match=r"there is no run 'second' in .*; not ended are first\."):
            call(tmp_path, "second")
        with pytest.raises(RunError, match="cannot name a run"):
            call(tmp_path, "../first")
    (tmp_path / ".empty.partial").mkdir()
    with pytest.raises(RunError, match=r"the run 'empty' was killed before it began; delete .*\.empty\.partial\."):
        read_config(tmp_path, "empty")


def test_a_folder_of_runs_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_dir", refuse)
    with pytest.raises(RunError, match=r"cannot be read: Permission denied\."):
        read_config(tmp_path, "first")


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_configuration_is_named(tmp_path, content):
    left(tmp_path)
    (tmp_path / ".first.partial" / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json is damaged: expected a JSON object\."):
        read_config(tmp_path, "first")


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


def test_a_folder_that_holds_no_run_is_not_called_one_that_may_be_deleted(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match=r"holds no run: there is no config\.json"):
        read_config(tmp_path, "mine")


def test_a_name_that_is_taken_meanwhile_is_found_before_the_run_goes_on(tmp_path):
    left(tmp_path)
    (tmp_path / "first").mkdir()
    with pytest.raises(RunError, match=r"there is a run 'first' in .* by now"):
        RunFolder.reopen(tmp_path, "first")
