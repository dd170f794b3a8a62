"""When a checkpoint is written, which are kept, and which one is gone on from."""

import itertools

import numpy as np
import pytest

from minihybrid.train import CheckpointError, Checkpoints
from minihybrid.train.checkpoint import read_about


def steps(folder):
    return sorted(int(path.name[5:-12]) for path in folder.glob("step-*.safetensors"))


def saved(folder, losses, **options):
    """A folder of checkpoints after each of these losses, the first after step 1."""
    checkpoints = Checkpoints(folder, **options)
    for step, loss in enumerate(losses, 1):
        checkpoints.save(step, {"step": step, "array": np.full(4, step)}, loss)
    return checkpoints


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    saved(tmp_path, [9.0, None, 1.0, 4.0, 5.0, float("nan"), None, 6.0], keep=2)
    assert steps(tmp_path) == [3, 7, 8]
    assert (tmp_path / "latest").read_text() == "step-8.safetensors"
    about = read_about(tmp_path / "step-3.safetensors")
    assert about == {"step": 3, "loss": 1.0, "config": None}


def test_the_best_need_not_be_kept(tmp_path):
    saved(tmp_path, [1.0, 4.0, 5.0], keep=1, best=False)
    assert steps(tmp_path) == [3]


def test_who_goes_on_knows_the_best(tmp_path):
    saved(tmp_path, [3.0, 1.0, 4.0, 5.0, 6.0], keep=2)
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest().checkpoint.state["step"] == 5
    assert checkpoints.due(6, 0.9) and not checkpoints.due(6, 1.1)
    for step in range(6, 9):
        checkpoints.save(step, {})
    assert steps(tmp_path) == [2, 7, 8]


def test_when_one_is_due(tmp_path, monkeypatch):
    now = itertools.count(0, 30)  # half a minute passes each time that somebody looks
    monkeypatch.setattr("minihybrid.train.checkpoints.monotonic", lambda: next(now))
    assert [step for step in range(1, 10) if Checkpoints(tmp_path, every=4).due(step)] == [4, 8]
    timed = Checkpoints(tmp_path, minutes=1.5)
    due = []
    for step in range(1, 9):
        if timed.due(step):
            timed.save(step, {})
            due.append(step)
    assert due == [3, 6]
    never = Checkpoints(tmp_path)
    assert not any(never.due(step) for step in range(1, 10))
    assert never.due(1, 2.0) and not Checkpoints(tmp_path, best=False).due(1, 2.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"every": 0}, "every is 0; expected an integer of at least 1"),
        ({"every": 1.5}, "every is 1.5"),
        ({"keep": 0}, "keep is 0"),
        ({"keep": None}, "keep is None"),
        ({"minutes": 0}, "minutes is 0; expected a positive number"),
        ({"minutes": float("nan")}, "minutes is nan"),
    ],
)
def test_settings_make_sense(tmp_path, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Checkpoints(tmp_path, **options)


def test_a_new_run_needs_a_folder_of_its_own(tmp_path):
    saved(tmp_path, [None] * 3)
    with pytest.raises(CheckpointError, match=r"holds checkpoints already, up to step 3; go on from them with resume"):
        Checkpoints(tmp_path).begin()
    Checkpoints(tmp_path / "new").begin()


def test_there_may_be_none_yet(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").newest() is None
    (tmp_path / ".step-3.safetensors.x1").write_bytes(b"half")  # what a kill leaves
    assert Checkpoints(tmp_path).newest() is None


def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(tmp_path):
    saved(tmp_path, [None] * 4)
    path = tmp_path / "step-4.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = Checkpoints(tmp_path).newest()
    assert found.path.name == "step-3.safetensors" and found.checkpoint.state["step"] == 3
    assert len(found.damaged) == 1 and "step-4.safetensors is damaged: its checksum does not fit" in found.damaged[0]
    path.write_bytes(b"")
    (tmp_path / "step-3.safetensors").write_bytes(b"x" * 100)
    found = Checkpoints(tmp_path).newest()
    assert found.checkpoint.state["step"] == 2 and len(found.damaged) == 2
    (tmp_path / "step-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read"):
        Checkpoints(tmp_path).newest()


def test_what_was_ahead_of_an_older_one_is_gone_when_the_run_has_gone_on(tmp_path):
    saved(tmp_path, [None] * 4)
    (tmp_path / "step-4.safetensors").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.newest()
    checkpoints.save(3, {"step": 33})
    assert steps(tmp_path) == [2, 3]


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"step-9.safetensors", b"../../etc/passwd", b"step-1.safetensors\n/x"]
)
def test_a_damaged_pointer_points_to_nothing_and_the_newest_is_taken(tmp_path, content):
    saved(tmp_path, [None] * 3)
    (tmp_path / "latest").write_bytes(content)
    found = Checkpoints(tmp_path).newest()
    assert found.checkpoint.state["step"] == 3
    assert "latest is damaged: it names no checkpoint that is there" in found.damaged[0]


def test_without_a_pointer_the_newest_is_taken(tmp_path):
    """A kill came between the first file and the pointer."""
    saved(tmp_path, [None])
    (tmp_path / "latest").unlink()
    assert Checkpoints(tmp_path).newest().damaged == []


def test_the_pointer_is_followed(tmp_path):
    saved(tmp_path, [None] * 3)
    (tmp_path / "latest").write_bytes(b"step-2.safetensors")
    assert Checkpoints(tmp_path).newest().checkpoint.state["step"] == 2


@pytest.mark.parametrize("name", ["step-01.safetensors", "step-1.safetensors.bak", "step-x.safetensors", "notes"])
def test_files_of_other_names_are_left_alone(tmp_path, name):
    (tmp_path / name).write_bytes(b"kept")
    saved(tmp_path, [None] * 5, keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "latest", "step-5.safetensors"])


def test_what_kills_have_left_is_cleared(tmp_path):
    for name in (".step-3.safetensors.abc", ".latest.abc"):
        (tmp_path / name).write_bytes(b"half")
    saved(tmp_path, [None])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-1.safetensors"]
