"""cuBLAS through a handle of our own: CuPy's refuses to work while a CUDA graph is captured, this one does not.

A product is captured like any other kernel if cuBLAS allocates nothing while it runs; so the handle is given its
workspace beforehand. There is a handle for each thread and device, because two threads could not share a workspace. Nor
could two streams: a thread has products on one stream at a time, and the next stream waits for the one before, as
`Graph` in autodiff/graph.py has it. What is captured is launched by the same rule.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import threading
import weakref
from typing import Any, NamedTuple

MIB = 1 << 20
_HOPPER = 90  # compute capability times 10

Pointer, Int, Long = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong


class CublasError(RuntimeError):
    """cuBLAS refused a call; the message says which, and why."""


class Layout(NamedTuple):
    """How a stack of matrices lies in memory, in elements, as cuBLAS wants to be told."""

    transposed: bool  # whether the elements of a column, and not those of a row, lie side by side
    leading: int  # from one row (or column) to the next
    stride: int  # from one matrix to the next


def layout(array: Any) -> Layout | None:
    """How cuBLAS can read an array [..., n, m] without a copy; None where it cannot."""
    *batch, rows, columns = array.shape
    if any(step % array.itemsize for step in array.strides):
        return None
    *steps, down, right = (step // array.itemsize for step in array.strides)
    if right == 1 or columns == 1:
        transposed, least, leading = False, columns, down if rows > 1 else columns
    elif down == 1 or rows == 1:
        transposed, least, leading = True, rows, right if columns > 1 else rows
    else:
        return None
    if leading < max(1, least):  # rows that overlap, as broadcasting makes them
        return None
    long = [(length, step) for length, step in zip(batch, steps, strict=True) if length != 1]
    stride = long[-1][1] if long else 0
    expected = stride
    for length, step in reversed(long):  # one step leads through all leading axes
        if step != expected:
            return None
        expected *= length
    return Layout(transposed, leading, stride)


class Cublas:
    """The library, and a handle on a device with its workspace: 32 MiB on Hopper, 4 MiB before, as NVIDIA advises."""

    def __init__(self, xp: Any, index: int, library: Any = None) -> None:
        self._xp = xp
        self._library = _library() if library is None else library
        with xp.cuda.Device(index):
            hopper = int(xp.cuda.Device(index).compute_capability) >= _HOPPER
            self._bytes = (32 if hopper else 4) * MIB
            # The allocator that is current here may be that of a plan, which ends with it
            self._workspace = xp.get_default_memory_pool().malloc(self._bytes)
            self._handle, self._stream = Pointer(), -1
            self._call("cublasCreate_v2", ctypes.byref(self._handle))
        end = weakref.finalize(self, self._library.cublasDestroy_v2, self._handle)  # with its thread
        end.atexit = False  # the driver may be gone before, and takes all with it

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise CublasError(f"{name} failed: {self._reason(status)}.")

    def _reason(self, status: int) -> str:
        text = self._library.cublasGetStatusString(status)
        return f"{text.decode() if isinstance(text, bytes) else text} (status {status})"

    def _follow(self, stream: int) -> None:
        """Work on a stream from now on, and in the workspace, as setting the stream puts cuBLAS's own back."""
        if stream != self._stream:
            self._call("cublasSetStream_v2", self._handle, Pointer(stream))
            workspace = Pointer(int(self._workspace.ptr)), ctypes.c_size_t(self._bytes)
            self._call("cublasSetWorkspace_v2", self._handle, *workspace)
            self._stream = stream

    def multiply(self, out: Any, a: Any, b: Any) -> None:
        """out = a @ b on the current stream: out [..., n, m] in C order, a [..., n, k], b [..., k, m], all of float32
        or all of float64. Raises ValueError for what has no `layout`.

        cuBLAS thinks in columns: what it takes for out^T = b^T a^T is, by rows, out = a b.
        """
        left, right, target = layout(a), layout(b), layout(out)
        if left is None or right is None or target is None or target.transposed:
            raise ValueError(
                f"a product of arrays with the strides {a.strides} and {b.strides} into {out.strides}: one of the last "
                "two axes of each has to be contiguous, in the result the last; copy the array first."
            )
        letter, number = {"f": ("S", ctypes.c_float), "d": ("D", ctypes.c_double)}[out.dtype.char]
        n, k = a.shape[-2:]
        m, count = b.shape[-1], math.prod(out.shape[:-2])
        handle, one, zero = self._handle, ctypes.byref(number(1)), ctypes.byref(number(0))
        self._follow(int(self._xp.cuda.get_current_stream().ptr))
        sizes = Int(right.transposed), Int(left.transposed), Int(m), Int(n), Int(k), one
        operands = [
            (Pointer(x.data.ptr), Int(found.leading), Long(found.stride))
            for x, found in ((b, right), (a, left), (out, target))
        ]
        if count == 1:
            second, first, result = [operand[:2] for operand in operands]
            self._call(f"cublas{letter}gemm_v2", handle, *sizes, *second, *first, zero, *result)
        else:
            name, (right_, left_, target_) = f"cublas{letter}gemmStridedBatched", operands
            self._call(name, handle, *sizes, *right_, *left_, zero, *target_, Int(count))


def _library() -> Any:
    """libcublas, where CuPy finds it."""
    finder = importlib.import_module("cuda.pathfinder")  # which comes with CuPy
    library = ctypes.CDLL(finder.load_nvidia_dynamic_lib("cublas").abs_path)
    library.cublasGetStatusString.restype = ctypes.c_char_p
    return library


class _Handles(threading.local):
    def __init__(self) -> None:
        self.by_device: dict[int, Cublas] = {}


_handles = _Handles()


def cublas(xp: Any, index: int) -> Cublas:
    """This thread's handle on a device."""
    if index not in _handles.by_device:
        _handles.by_device[index] = Cublas(xp, index)
    return _handles.by_device[index]
