"""What a safetensors file says of itself is held against its size and the limits before the arrays are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import minihybrid as mh
from minihybrid.module import header
from minihybrid.module.header import require_header

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def wrong(path: Path, told: Any, body: bytes) -> str:
    """What is said about a file with this header; nothing if it may be read."""
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    with path.open("rb") as file:
        try:
            require_header(file)
        except ValueError as error:
            return str(error)
    return ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_what_the_library_wrote_may_be_read(path: Path) -> None:
    for model in (mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)), mh.nn.Sequential([])):
        mh.save(model, path)
        with path.open("rb") as file:
            require_header(file)


def test_padding_and_metadata_are_no_arrays(path: Path) -> None:
    assert wrong(path, json.dumps({"__metadata__": {"a": "b"}, "x": ENTRY}).encode() + b"    ", bytes(8)) == ""


@pytest.mark.parametrize("missing", range(1, 9))
def test_every_byte_counts(path: Path, missing: int) -> None:
    assert "the header tells of" in wrong(path, {"x": ENTRY}, bytes(8 - missing))
    assert "the header tells of" in wrong(path, {"x": ENTRY}, bytes(8 + missing))


@pytest.mark.parametrize(
    "entry",
    [None, [], {}, {"data_offsets": 8}, {"data_offsets": [8]}, {"data_offsets": [0, 8, 8]}, {"data_offsets": [0, 8.0]},
     {"data_offsets": [0, True]}, {"data_offsets": ["0", 8]}],
)  # fmt: skip
def test_an_entry_without_a_place(path: Path, entry: Any) -> None:
    assert wrong(path, {"x": entry}, b"") == "the header does not tell where the array 'x' is"


def test_the_limits_are_asked_before_anything_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(path, {"x": ENTRY}, bytes(8)) == ""
    size, length = path.stat().st_size, int.from_bytes(path.read_bytes()[:8], "little")
    for name, least in (("LARGEST_FILE", size), ("LARGEST_HEADER", length)):
        with monkeypatch.context() as patch:
            patch.setattr(header, name, least)
            assert wrong(path, {"x": ENTRY}, bytes(8)) == ""
            patch.setattr(header, name, least - 1)
            patch.setattr("minihybrid.strict_json.parse", None)
            assert f"the header has {length} bytes and the file {size}; the limits are" in wrong(
                path, {"x": ENTRY}, bytes(8)
            )


def test_a_file_too_short_for_its_header(path: Path) -> None:
    for content in (b"", bytes(7), (1).to_bytes(8, "little"), (2**64 - 1).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(ValueError, match=f"has {len(content)} bytes, too few"):
            require_header(file)
