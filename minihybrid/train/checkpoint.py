"""A plain tree (stateful.py) in one file: its arrays as safetensors, all else as JSON in the header, nothing pickled.

The header's metadata holds the checksum, the format, who wrote the file, `about` it in a few words, and the `state`, in
which {"$array": device} stands for an array. The array's name is its place, as a JSON pointer (RFC 6901), and
{"$float": "nan"} stands for what JSON has no number for. The checksum is SHA-256 of the whole file with 64 zeros in its
own place.

A file is not believed. What its header declares is held against the file's size, and against the memory that there is,
before an array is made; the checksum before anything is looked at.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

import minihybrid
from minihybrid.device import Device
from minihybrid.module.record import RecordError, write_whole

FORMAT, VERSION = "minihybrid-checkpoint", 1
"""A reader of a version reads that version. Later ones keep the entries "format" and "written by" where they are."""
LARGEST_HEADER = 2**26
"""Bytes: far more than a state holds beside its arrays."""
MOST_AXES = 32

_DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "BOOL": np.bool_,
}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_ZEROS = "0" * 64


class CheckpointError(RecordError):
    """A checkpoint that cannot be written, or read, or that does not fit; the message names it and says why."""


class Checkpoint(NamedTuple):
    """What a file holds: the `state`, a plain tree, and what is said `about` it, JSON values by name."""

    state: Any
    about: dict[str, Any]


def write(path: Path, state: Any, about: dict[str, Any]) -> None:
    """Write a plain tree so that the file appears whole or not at all.

    Raises CheckpointError if the system refuses, and TypeError for what is no plain tree.

    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.safetensors")
    ...     write(path, {"weights": np.ones(2), "seen": [3, math.inf]}, {"step": 7})
    ...     read(path)
    Checkpoint(state={'weights': array([1., 1.]), 'seen': [3, inf]}, about={'step': 7})
    """
    arrays: dict[str, Any] = {}
    versions = {"minihybrid": minihybrid.__version__, "NumPy": np.__version__, "Python": platform.python_version()}
    metadata = {
        "sha256": _ZEROS,
        "format": f"{FORMAT} {VERSION}",
        "written by": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "about": json.dumps(about, allow_nan=False),
        "state": json.dumps(_without_arrays(state, "", arrays), allow_nan=False),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little"), text, *map(_bytes, arrays.values())]
    parts[1] = text.replace(_ZEROS.encode(), _sha256(parts).encode(), 1)
    try:
        write_whole(path, parts)
    except RecordError as error:
        raise CheckpointError(f"the checkpoint {error}") from None


def read(path: Path) -> Checkpoint:
    """What `write` wrote; arrays come back to the device that they were on.

    Raises CheckpointError, one sentence, for anything but a whole file of this version, and DeviceError where there is
    no such device.
    """
    return _read(path, whole=True)


def read_about(path: Path) -> dict[str, Any]:
    """What is said about a file, which is not checked any further than its header; raises as `read` does."""
    return _read(path, whole=False).about


def _read(path: Path, whole: bool) -> Checkpoint:
    try:
        with open(path, "rb", opener=_regular) as file:
            return _parsed(file, whole)
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror or error}.") from None
    except RecursionError:
        raise CheckpointError(f"the checkpoint {path} is damaged: it is nested too deep.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint {path} {str(error).rstrip('.')}.") from None


def _regular(path: str, flags: int) -> int:
    """Open a file, but no pipe, which would be waited for."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("is no file")
    return os.open(path, flags)


def _parsed(file: BinaryIO, whole: bool) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    length = file.read(8)
    if len(length) < 8:
        raise ValueError(f"is cut short: it has {size} bytes")
    begin = 8 + int.from_bytes(length, "little")
    if begin > size or begin > LARGEST_HEADER:
        raise ValueError(f"is damaged or cut short: its header would have {begin - 8} of its {size} bytes")
    text = file.read(begin - 8)
    header = _json(text, "header")
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(entry, str) for entry in metadata.values()):
        raise ValueError("is no checkpoint: its header says nothing about it")
    name, _, version = metadata.get("format", "").rpartition(" ")
    if name != FORMAT:
        raise ValueError(f"is no checkpoint: its format is {metadata.get('format')!r}, not {FORMAT!r}")
    if version != str(VERSION):
        raise ValueError(
            f"has version {version} of the format, and this package reads version {VERSION}; it was written by "
            f"{metadata.get('written by', 'nobody knows what')}: go on with that"
        )
    if missing := {"sha256", "about", "state"} - metadata.keys():
        raise ValueError(f"is damaged: its header has no {min(missing)}")
    about = _json(metadata["about"], "description")
    if not isinstance(about, dict):
        raise ValueError("is damaged: its description is no JSON object")
    declared = {name: _declared(name, entry) for name, entry in header.items()}
    _require_filled(declared, size - begin)
    if not whole:
        return Checkpoint(None, about)
    arrays = {name: _array(file, entry) for name, entry in sorted(declared.items(), key=lambda item: item[1].begin)}
    parts = [length, text.replace(metadata["sha256"].encode(), _ZEROS.encode(), 1), *map(_bytes, arrays.values())]
    if _sha256(parts) != metadata["sha256"]:
        raise ValueError("is damaged: its checksum does not fit")
    state = _with_arrays(_json(metadata["state"], "state"), "", arrays)
    if arrays:
        raise ValueError(f"is damaged: its state has no place for the array {min(arrays)!r}")
    return Checkpoint(state, about)


class _Declared(NamedTuple):
    dtype: Any
    shape: tuple[int, ...]
    begin: int
    end: int


def _declared(name: str, entry: Any) -> _Declared:
    """What a header says of an array, if that makes sense."""
    try:
        dtype, shape, (begin, end) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        counts = [*shape, begin, end]
        fits = len(entry) == 3 and len(shape) <= MOST_AXES and all(type(n) is int and n >= 0 for n in counts)
        if not fits or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"is damaged: its header makes no sense of the array {name[:100]!r}") from None
    return _Declared(dtype, tuple(shape), begin, end)


def _require_filled(declared: dict[str, _Declared], size: int) -> None:
    """Raise ValueError unless the arrays fill the rest of the file, one after the other, and the memory can hold it."""
    end = 0
    for entry in sorted(declared.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != end:
            raise ValueError("is damaged: the arrays in its header overlap or leave gaps")
        end = entry.end
    if end != size:
        raise ValueError(f"is damaged or cut short: its arrays have {end} bytes, and the file has {size} for them")
    if size > (memory := os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")):
        raise ValueError(f"does not fit into memory: its arrays have {size} bytes, and there are {memory}")


def _array(file: BinaryIO, declared: _Declared) -> Any:
    array = np.empty(declared.shape, declared.dtype)
    view = _bytes(array)
    if file.readinto(view) != len(view):  # type: ignore[attr-defined]
        raise ValueError("is cut short")
    return array


def _bytes(array: Any) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))


def _sha256(parts: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


# JSON, and the places of arrays in it


def _without_arrays(tree: Any, pointer: str, arrays: dict[str, Any]) -> Any:
    """The tree as JSON has it; its arrays, as NumPy's, go to `arrays` by their pointer."""
    if tree is None or type(tree) in (bool, int, str):
        return tree
    if type(tree) is float:
        return tree if math.isfinite(tree) else {"$float": repr(tree)}
    if type(tree) is dict:
        if odd := [key for key in tree if type(key) is not str or key.startswith("$")]:
            raise TypeError(f"a checkpoint cannot hold the key {odd[0]!r} in {pointer or 'its state'}.")
        return {key: _without_arrays(item, f"{pointer}/{_escaped(key)}", arrays) for key, item in tree.items()}
    if type(tree) is list:
        return [_without_arrays(item, f"{pointer}/{i}", arrays) for i, item in enumerate(tree)]
    if getattr(tree, "dtype", None) not in _CODES or isinstance(tree, np.generic):
        raise TypeError(f"a checkpoint cannot hold the {type(tree).__name__} in {pointer or 'its state'}.")
    device = Device.of(tree)
    arrays[pointer] = np.asarray(tree, order="C") if device.name == "cpu" else device.host(tree)
    return {"$array": True}


def _with_arrays(tree: Any, pointer: str, arrays: dict[str, Any]) -> Any:
    """The tree that it was, with the arrays taken out of `arrays`."""
    if isinstance(tree, list):
        return [_with_arrays(item, f"{pointer}/{i}", arrays) for i, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {"$float"} and tree["$float"] in ("nan", "inf", "-inf"):
        return float(tree["$float"])
    if tree.keys() == {"$array"}:
        if pointer not in arrays:
            raise ValueError(f"is damaged: it has no array {pointer!r}")
        return arrays.pop(pointer)
    return {key: _with_arrays(item, f"{pointer}/{_escaped(key)}", arrays) for key, item in tree.items()}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _json(text: str | bytes, what: str) -> Any:
    """JSON as it was written here: without a key twice, and without NaN and infinity, which are not JSON."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError(f"is damaged: a key stands twice in its {what}")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"is damaged: {name} stands in its {what}")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"is damaged: its {what} is no JSON") from None
