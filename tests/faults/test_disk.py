"""A disk that is full, and folders that may not be written: a sentence, no half file, and what was there stays."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minihybrid.module.record as record
from minihybrid.cli import main
from minihybrid.train import CheckpointError, Checkpoints
from tests.train.test_learner import outcome, training, whole

TRAIN = ["train", "--hidden", "8", "--steps", "60", "--quiet", "--name", "x", "--checkpoint-every", "7"]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullDisk:
    """From the n-th call on, one kind of system call finds no space left."""

    def __init__(self, kind, at):
        self.kind, self.left = kind, at

    def call(self, function):
        def called(*args, **options):
            self.left -= 1
            if self.left < 0:
                raise FULL
            return function(*args, **options)

        return called

    def install(self, patch):
        if self.kind != "write":
            patch.setattr(os, self.kind, self.call(getattr(os, self.kind)))
            return
        make = record.tempfile.NamedTemporaryFile

        class Half:
            """A file of which half can be written."""

            def __init__(file, *args, **options):
                file.real = make(*args, **options)
                file.writelines = self.call(file.real.writelines) if self.left else file.half

            def half(file, parts):
                content = b"".join(parts)
                file.real.write(content[: len(content) // 2])
                raise FULL

            def __getattr__(file, name):
                return getattr(file.real, name)

            def __enter__(file):
                return file

            def __exit__(file, *exception):
                file.real.close()

        patch.setattr(record.tempfile, "NamedTemporaryFile", Half)


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("kind", ["write", "fsync", "replace"])
def test_a_full_disk_ends_the_run_and_its_last_checkpoint_stays(tmp_path, monkeypatch, kind, at):
    with monkeypatch.context() as patch:
        FullDisk(kind, at).install(patch)
        with pytest.raises(CheckpointError, match=r"cannot be written: No space left on device\."):
            training(tmp_path, every=100).run()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    found = Checkpoints(tmp_path).newest()
    assert found is None or found.damaged == []
    learner = training(tmp_path, every=100)
    assert outcome(learner, learner.resume()) == whole(every=100)


@pytest.mark.parametrize("at", [0, 4, 9])
@pytest.mark.parametrize("kind", ["write", "fsync", "replace"])
def test_the_command_ends_with_a_sentence(tmp_path, monkeypatch, capsys, kind, at):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        FullDisk(kind, at).install(patch)
        assert main(TRAIN) == 2
    out, err = capsys.readouterr()
    assert (
        out == "" and err.startswith("minihybrid: the ") and "No space left on device" in err and err.count("\n") == 1
    )
    assert not list(tmp_path.rglob(".step-*")) and not list(tmp_path.rglob(".config*"))
    if "--resume x" in err:
        assert main(["train", "--resume", "x", "--quiet"]) == 0
    else:
        assert list(tmp_path.iterdir()) == [], "nothing was learned, and nothing is left"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of resources are a Unix thing")
def test_a_file_that_may_not_grow(tmp_path, monkeypatch):
    """The system's own limit on the size of files, in a process of its own."""
    limits = (
        "import resource, sys; from minihybrid.cli import main; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
    )
    for size, begun in ((100, False), (20_000, True)):
        code = f"{limits.format(size)}\nsys.exit(main({TRAIN}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2 and "File too large" in done.stderr and done.stderr.count("\n") == 1
        assert not list(tmp_path.rglob(".step-*")) and any(tmp_path.iterdir()) == begun
    assert "minihybrid train --resume x." in done.stderr
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "x", "--quiet"]) == main([*TRAIN[:-2], "--name", "whole"]) == 0
    assert Path("runs/x/model.safetensors").read_bytes() == Path("runs/whole/model.safetensors").read_bytes()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_that_may_not_be_written(tmp_path, mode):
    training(tmp_path, steps=3).run()
    before = sorted(path.read_bytes() for path in tmp_path.iterdir())
    tmp_path.chmod(mode)
    try:
        with pytest.raises(CheckpointError, match="Permission denied"):
            training(tmp_path).resume()
    finally:
        tmp_path.chmod(0o700)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == before


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="Not a directory"):
        training(tmp_path / "file").run()
    assert (tmp_path / "file").read_text() == "kept"
