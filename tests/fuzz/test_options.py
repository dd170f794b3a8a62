"""The command line under attack: whatever the options are, it runs, or says in one sentence what is wrong with them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from minihybrid.cli import main

VALUES = ["", "0", "-1", "1", "2", "1e-3", "1e999", "nan", "-inf", "1e-400", "9" * 5000, "1_0", "٣", "0x10", "1,2", ","]
VALUES += ["64,-1", "../x", ".", "a\0b", "\udcff", "\x1b[2J", "x" * 300, "--", "-", "cuda:99999999999999999999", "None"]
VALUES += ["digits", "mnist", "sine", "adam", "full", "cosine", "folder", "file", "%s", "{}"]
# Without the stroke: this must not make folders all over the machine.
words = st.text(st.characters(exclude_characters="/"), max_size=6)
hostile = st.one_of(st.sampled_from(VALUES), words, st.integers().map(str), st.floats().map(repr))
OPTIONS = [
    "dataset",
    "data",
    "hidden",
    "trainer",
    "optimizer",
    "lr",
    "schedule",
    "clip",
    "label-smoothing",
    "batch-size",
]
OPTIONS += ["every", "seed", "device", "name", "out", "lr=", "compile", "plain", "quiet", "help", "version"]
word = st.one_of(
    st.sampled_from(OPTIONS).map("--{}".format), st.builds("--{}={}".format, st.sampled_from(OPTIONS), hostile)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the command runs in, with a folder of damaged data and a file in it."""
    path = tmp_path_factory.mktemp("options")
    (path / "folder").mkdir()
    (path / "folder" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 10**6, 28, 28))
    (path / "folder" / "train-labels-idx1-ubyte").write_bytes(b"\x1f\x8b\x08")
    (path / "file").write_text("kept")
    before = Path.cwd()
    os.chdir(path)
    yield path
    os.chdir(before)


@settings(max_examples=60)
@given(st.lists(st.tuples(word, hostile).flatmap(lambda two: st.sampled_from([two, two[:1]])), max_size=4))
def test_any_options_run_or_end_in_one_sentence(folder: Path, drawn: list[tuple[str, ...]]) -> None:
    argv = ["train", "--hidden", "2", *(part for two in drawn for part in two), "--steps", "1"]
    before = sorted(path for path in folder.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as end:  # how argparse ends after --help
            code = int(end.code or 0)
    assert code in (0, 2), argv
    if code == 2:
        assert err.getvalue().startswith("minihybrid: ") and err.getvalue().count("\n") == 1, argv
        assert sorted(path for path in folder.rglob("*")) == before, argv
    else:
        assert err.getvalue() == "", argv
    assert (folder / "file").read_text() == "kept"


def test_a_comparison_whose_runs_are_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = folder / "folder" / "runs.jsonl"
    kept.write_text(json.dumps({"entry": 3}) + "\n")
    assert main(["compare", "--task", "full-batch/xor", "--plain", "--out", "folder"]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("minihybrid: ") and err.count("\n") == 1 and "is no finished run" in err
    assert [path.name for path in (folder / "folder").iterdir() if path.name.startswith("runs")] == ["runs.jsonl"]
    kept.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict"])
def test_a_folder_that_the_output_has_no_signs_for(tmp_path: Path, encoding: str) -> None:
    command = [sys.executable, "-m", "minihybrid", "train", "--steps", "1", "--hidden", "2", "--quiet", "--out"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": root}
    run = subprocess.run([*command, b"runs-\xff"], cwd=tmp_path, env=environment, capture_output=True)
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout == b"runs-\\udcff/digits-hybrid-1\n"
