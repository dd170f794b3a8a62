"""Loading CUDA sources and launching their kernels, through CuPy, once an array of its own has turned up.

Every kernel has a launcher beside it, a Python function `launcher(*outs, *inputs, *numbers)` that returns None. It
allocates nothing, waits for nothing and runs on the current stream, so that it can be captured in a CUDA graph; what
changes from step to step therefore comes in arrays, and other numbers stay what they were.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
TYPES = {"float32": "float", "float64": "double"}

Grid = tuple[int, ...]


def code(source: str) -> str:
    """The text of a CUDA source, with what it includes put in place: CuPy's cache knows a source by its text alone."""
    text = (FOLDER / source).read_text(encoding="utf-8")
    return re.sub(r'#include "(.*)"', lambda include: code(include[1]), text).replace("#pragma once\n", "")


def options(dtype: str) -> tuple[str, ...]:
    """How a source is compiled for float32 or float64; common.cuh says why."""
    return "--std=c++17", "--fmad=false", f"-DREAL={TYPES[dtype]}"


@functools.cache
def _module(cupy: Any, source: str, dtype: str) -> Any:
    return cupy.RawModule(code=code(source), options=options(dtype))


@functools.cache
def function(cupy: Any, source: str, kernel: str, dtype: str) -> Any:
    """A kernel of a source, to be called with grid, block and arguments; compiled once for each device and dtype."""
    return _module(cupy, source, dtype).get_function(kernel)


def launch(source: str, kernel: str, dtype: Any, grid: Grid, block: Grid, *args: Any) -> None:
    """Start a kernel on the current stream.

    `args` are arrays, None for a null pointer, and Python's numbers, which arrive as long long and double.
    """
    values = tuple([_NULL if arg is None else _NUMBERS.get(type(arg), _same)(arg) for arg in args])
    function(sys.modules.get("cupy"), source, kernel, dtype.name)(grid, block, values)


_NULL = np.uint64(0)
_NUMBERS = {int: np.int64, bool: np.int64, float: np.float64}


def _same(arg: Any) -> Any:
    return arg


THREADS = 256  # of a block, where nothing else is asked for
MOST_BLOCKS = 2048  # fill any GPU of today; larger arrays are walked along. A constant: sums depend on how it is cut


def along(n: int, each: int = 1) -> tuple[Grid, Grid]:
    """Grid and block for a walk along n > 0 elements, of which a thread takes `each` at once."""
    return (min(-(-n // (each * THREADS)), MOST_BLOCKS),), (THREADS,)


def warps(rows: int) -> tuple[Grid, Grid]:
    """Grid and block with one warp for each of rows > 0."""
    return (-(-rows * 32 // THREADS),), (THREADS,)


def fits(*arrays: Any) -> bool:
    """Whether these are of one float dtype that there are kernels for."""
    dtype = arrays[0].dtype
    return dtype.name in TYPES and all(array.dtype == dtype for array in arrays)


def labels(array: Any) -> Any:
    """Integers as kernels take them: int64 [n]."""
    return contiguous(array.astype(np.int64, copy=False).reshape(-1))


def contiguous(array: Any) -> Any:
    """The array, or a copy of it, in C order, as most kernels need it."""
    return array if array.flags.c_contiguous else array.copy()
