"""The header of a safetensors file, looked at before the rest of the file is read.

Source: the format as its library describes it: eight bytes, the length of the header, little-endian; the header, a JSON
object of {name: {"dtype", "shape", "data_offsets": [begin, end]}} and perhaps "__metadata__", a map of strings; the
arrays, one after the other. The library checks all this again, but reads the file first, and lets a name stand twice.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from minihybrid import strict_json

LARGEST_HEADER = 2**23
"""Bytes of a header, enough for some 80,000 arrays. As Python values it may take thirty times as much."""
LARGEST_FILE = 2**36
"""Bytes of a file: sixteen billion numbers."""


def require_header(file: BinaryIO) -> None:
    """Raise ValueError, one sentence without a full stop, unless the header fits the file, to the last byte."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"the file has {size} bytes, too few for its header")
    if length > LARGEST_HEADER or size > LARGEST_FILE:
        raise ValueError(
            f"the header has {length} bytes and the file {size}; the limits are {LARGEST_HEADER} and {LARGEST_FILE}"
        )
    header = strict_json.parse(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    end = max((_end(name, entry) for name, entry in header.items() if name != "__metadata__"), default=0)
    if 8 + length + end != size:
        raise ValueError(f"the header tells of {8 + length + end} bytes and the file has {size}")


def _end(name: str, entry: Any) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)):
        raise ValueError(f"the header does not tell where the array {strict_json.shortened(name)} is")
    return int(offsets[1])
