"""The readers of files from outside, as functions of bytes that a fuzzer may call: whatever comes, they return.

Each reads the bytes as its reader would and lets nothing through but what the reader promises to raise, as a sentence
on one line. So an exception from a target is a bug. The seeds are files as they should be, to start damaging from.
"""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minihybrid as mh
from minihybrid import hybrid, nn, optim  # by name, for the package loads its floors late, and fuzzers at once
from minihybrid.compare.store import Store
from minihybrid.data import DataError, read_idx
from minihybrid.train.run import RunError

LIMIT = 2**16
"""Bytes that an IDX file may unpack to here."""


def checked(error: Exception) -> None:
    """A message is a sentence: not empty, on one line, not endless, nothing in it that a terminal obeys."""
    text = str(error)
    assert text and len(text) < 4000, text
    assert text.isprintable(), repr(text)


def _in_a_file(content: bytes, read: Callable[[Path], object], allowed: type[Exception]) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        try:
            read(path)
        except allowed as error:
            checked(error)
        assert [entry.name for entry in Path(folder).iterdir()] == ["file"]


def idx(content: bytes) -> None:
    """An IDX file, plain or gzipped."""

    def read(path: Path) -> None:
        array = read_idx(path, LIMIT)
        assert array.nbytes <= LIMIT and array.dtype.isnative

    _in_a_file(content, read, DataError)


def _model() -> nn.Linear:
    return nn.LinearConfig(3, 2).init(rng=mh.Rng(0))


def safetensors(content: bytes) -> None:
    """A model in a safetensors file: it is loaded, or as it was."""

    def read(path: Path) -> None:
        for load in (lambda model: model.load(path), lambda model: mh.load_torch(model, path)):
            model = _model()
            before = model.weight.numpy()
            try:
                model, report = load(model)
                assert set(report.missing) <= {"weight", "bias"}
                assert "weight" not in (*report.missing, *report.mismatched) or (model.weight.numpy() == before).all()
            except mh.RecordError:
                assert (model.weight.numpy() == before).all()
                raise

    _in_a_file(content, read, mh.RecordError)


def config(content: bytes) -> None:
    """A configuration as JSON; one that is read can be written, and is then read as itself."""
    text = content.decode("utf-8", "surrogateescape")
    try:
        found = nn.Config.from_json(text)
    except ValueError as error:
        checked(error)
    else:
        assert nn.Config.from_json(found.to_json()) == found


def runs(content: bytes) -> None:
    """The runs of a comparison that was interrupted."""

    def read(path: Path) -> None:
        path.rename(path.with_name("runs.jsonl"))
        try:
            Store(path.parent)
        finally:
            path.with_name("runs.jsonl").rename(path)

    _in_a_file(content, read, RunError)


def _idx_seeds() -> list[bytes]:
    plain = b"\0\0\x08\x02" + struct.pack(">2I", 3, 4) + bytes(range(12))
    floats = b"\0\0\x0d\x01" + struct.pack(">I", 3) + np.arange(3, dtype=">f4").tobytes()
    nothing = b"\0\0\x09\x03" + struct.pack(">3I", 0, 4, 5)
    return [plain, floats, nothing, gzip.compress(plain, mtime=0), gzip.compress(nothing, mtime=0)]


def record(header: object, body: bytes) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _safetensors_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        mh.save(_model(), Path(folder, "ours"))
        mh.save_torch(_model(), Path(folder, "theirs"))
        return [Path(folder, name).read_bytes() for name in ("ours", "theirs")]


def _config_seeds() -> list[bytes]:
    rates = optim.Cosine(0.1, total=10), optim.Constant(0.1)
    layers = nn.LinearConfig(2, 3), nn.MLPConfig((2, 3, 4)), nn.DropoutConfig(0.5), nn.LSTMConfig(2, 3)
    trainers = hybrid.HybridConfig.full_batch(), hybrid.HybridConfig.minibatch()
    return [one.to_json().encode() for one in (*rates, *layers, *trainers)]


def _runs_seeds() -> list[bytes]:
    entry = {"task": "t", "method": "m", "seed": 1, "lr": 0.1, "budget": 5.0}
    run = {"entry": entry, "settings": "v1", "diverged": False, "curve": [[0.0, 0, 0.0, 0.7, 0.8]]}
    return [json.dumps(run).encode() + b"\n"]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "idx": (idx, _idx_seeds),
    "safetensors": (safetensors, _safetensors_seeds),
    "config": (config, _config_seeds),
    "runs": (runs, _runs_seeds),
}
