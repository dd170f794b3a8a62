"""CUDA graphs on the stand-in for CuPy: what runs on a device while a stream captures is written down, and replayed.

`install` puts these into strict_cupy:

- `Stream.begin_capture` and `end_capture`. While a stream captures nothing happens: all memory is put back at the end.
  What waits for the device raises, as in CUDA; what goes through cuBLAS raises CuPy's own NotImplementedError.
- `MemoryPool` and `using_allocator`. Memory that a pool has not got while a stream captures is an error: a graph would
  write there for as long as it lives.
- `launches`: how many pieces of work the host has started, a graph being one.
- a cuBLAS for `minihybrid.kernels.cublas`, which reads and writes memory as the real one does, by columns.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minihybrid.kernels import cublas, gemm, launch
from tests.cuda import strict_cupy
from tests.cuda.strict_cupy import BLOCK, ndarray

MOST_JOINED = 8
CUBLAS = {"matmul", "dot", "vdot", "tensordot", "einsum"}  # and all of linalg
VIEWS = {"reshape", "ravel", "transpose", "swapaxes", "squeeze", "expand_dims", "moveaxis", "broadcast_to", "diagonal"}
VIEWS |= {"flip", "split"}  # mostly: a reshape may have to copy


class CaptureError(RuntimeError):
    """What CUDA refuses while a stream captures: cudaErrorStreamCaptureUnsupported, or memory that is not there."""


class Machine:
    """What the host has started, and what it captures at the moment."""

    def __init__(self) -> None:
        self.launches: list[str] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.depth = 0
        self.pools: list[MemoryPool] = []
        self.memories: weakref.WeakSet[Any] = weakref.WeakSet()
        self.hooks: list[Any] = []

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a piece of work on the device, from the host; what it calls itself is part of it."""
        if self.depth:
            return work()
        self.depth += 1
        try:
            result = work()
        finally:
            self.depth -= 1
        if name in ("empty", "empty_like") or (name in VIEWS and getattr(result, "base", self) is not None):
            pass  # no kernel runs
        elif self.capturing is None:
            self.launches.append(name)
        else:
            self.capturing.append(functools.partial(self._again, work, result))
        return result

    def _again(self, work: Callable[[], Any], result: Any) -> None:
        """Repeat it; a result that was made then is where it was."""
        self.depth += 1
        try:
            again = work()
        finally:
            self.depth -= 1
        if isinstance(result, ndarray) and again is not result:
            result._array[...] = again._array

    def refuse(self, what: str) -> None:
        if self.capturing is not None and not self.depth:
            raise CaptureError(f"operation not permitted when stream is capturing: {what}")

    @contextlib.contextmanager
    def counting(self) -> Iterator[list[str]]:
        """What the host starts inside the block."""
        before, self.launches = self.launches, []
        try:
            yield self.launches
        finally:
            self.launches = before


class MemoryPool:
    """cupy.cuda.MemoryPool: has what it was asked for before, and everything has been given back."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.asked: Counter[int] = Counter()

    def malloc(self, size: int) -> None:
        raise AssertionError("only as an allocator")

    def take(self, size: int) -> None:
        if self.machine.capturing is None:
            self.asked[size] += 1
        elif not self.asked[size]:
            raise CaptureError(f"{size} bytes were allocated during a capture")
        else:
            self.asked[size] -= 1


class Graph:
    """cupy.cuda.Graph."""

    def __init__(self, machine: Machine, work: list[Callable[[], None]]) -> None:
        self.machine, self.work = machine, work

    def launch(self, stream: Any = None) -> None:
        if self.machine.capturing is not None:
            raise CaptureError("a graph is launched during a capture")
        self.machine.launches.append("graph")
        for work in self.work:
            work()


def install(patch: pytest.MonkeyPatch) -> Machine:
    """Put all this into strict_cupy, and give the machine."""
    machine = Machine()
    cuda = strict_cupy.cupy.cuda

    # Work

    def launched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name in CUBLAS and machine.capturing is not None:
                raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
            return machine.run(name, lambda: function(*args, **options))

        return call

    def ufunc(self: Any, *args: Any, **options: Any) -> Any:
        return launched(self.name, functools.partial(called, self))(*args, **options)

    called, at = strict_cupy._Ufunc.__call__, strict_cupy._Ufunc.at
    patch.setattr(strict_cupy._Ufunc, "__call__", ufunc)
    patch.setattr(strict_cupy._Ufunc, "at", launched("at", at))
    function_call = strict_cupy._call

    def call(name: str, function: Any, args: Any, options: Any) -> Any:
        if name.partition(".")[0] == "linalg" and machine.capturing is not None:
            raise NotImplementedError("calling cuSOLVER API during stream capture is currently unsupported")
        if name in ("concatenate", "stack") and len(args[0]) > MOST_JOINED:
            machine.refuse("a copy of the addresses of arrays, from pinned memory that an event gives back")
        return launched(name, function_call)(name, function, args, options)

    patch.setattr(strict_cupy, "_call", call)
    for name in ("fill", "__setitem__"):
        patch.setattr(ndarray, name, launched(name, getattr(ndarray, name)))
    item = ndarray.__getitem__

    def getitem(self: Any, index: Any) -> Any:
        return machine.run("getitem", lambda: item(self, index)) if strict_cupy._index(index)[1] else item(self, index)

    patch.setattr(ndarray, "__getitem__", getitem)
    set_ = ndarray.set

    def upload(self: Any, arr: Any, stream: Any = None) -> None:
        machine.refuse("a copy from memory that the host may change")
        machine.run("set", lambda: set_(self, arr, stream))

    patch.setattr(ndarray, "set", upload)
    launch._module.cache_clear()  # kernels that another machine has counted
    launch.function.cache_clear()

    def copy(self: Any, src: Any, size: int, stream: Any = None) -> None:
        machine.run("memcpy", lambda: ctypes.memmove(self.ptr, src.ptr, size) and None)

    patch.setattr(strict_cupy.MemoryPointer, "copy_from_device_async", copy, raising=False)
    get_function = strict_cupy.RawModule.get_function
    patch.setattr(
        strict_cupy.RawModule, "get_function", lambda self, name: launched(f"kernel {name}", get_function(self, name))
    )
    count = strict_cupy._count

    def counted(kind: str, what: str) -> None:
        if machine.capturing is not None:
            raise CaptureError(f"operation not permitted when stream is capturing: {what}")
        count(kind, what)

    patch.setattr(strict_cupy, "_count", counted)

    # Memory

    initialised = strict_cupy._Memory.__init__

    def memory(self: Any, owner: Any, device: int) -> None:
        pool = machine.pools[-1] if machine.pools else None
        size = -(-owner.nbytes // BLOCK) * BLOCK
        if pool is not None:
            pool.take(size)
        elif machine.capturing is not None:
            raise CaptureError(f"{size} bytes were allocated during a capture")
        initialised(self, owner, device)
        machine.memories.add(self)
        for hook in machine.hooks:
            hook.malloc_postprocess(device, owner.nbytes, size, 0, 0)

    patch.setattr(strict_cupy._Memory, "__init__", memory)

    @contextlib.contextmanager
    def using_allocator(malloc: Any) -> Iterator[None]:
        machine.pools.append(malloc.__self__)
        try:
            yield
        finally:
            machine.pools.pop()

    patch.setattr(cuda, "using_allocator", using_allocator, raising=False)
    patch.setattr(cuda, "MemoryPool", lambda: MemoryPool(machine), raising=False)
    block = types.SimpleNamespace(ptr=1)
    patch.setattr(strict_cupy.MemoryPool, "malloc", lambda self, size: block, raising=False)

    class MemoryHook:
        def __enter__(self) -> MemoryHook:
            machine.hooks.append(self)
            return self

        def __exit__(self, *exception: Any) -> None:
            machine.hooks.remove(self)

    patch.setattr(cuda, "MemoryHook", MemoryHook, raising=False)

    # Capturing

    snapshot: list[tuple[Any, Any]] = []

    def begin_capture(self: Any, mode: Any = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        snapshot[:] = [(memory.owner, memory.owner.copy(order="K")) for memory in machine.memories]
        machine.capturing = []

    def end_capture(self: Any) -> Graph:
        work, machine.capturing = machine.capturing, None
        assert work is not None
        for owner, values in snapshot:
            owner[...] = values
        snapshot.clear()
        return Graph(machine, work)

    stream = strict_cupy.Stream
    patch.setattr(stream, "begin_capture", begin_capture, raising=False)
    patch.setattr(stream, "end_capture", end_capture, raising=False)
    patch.setattr(stream, "is_capturing", lambda self: machine.capturing is not None, raising=False)
    patch.setattr(gemm, "DEEPEST", -1)  # an emulated kernel takes its time
    patch.setattr(cublas, "_library", lambda: Library(machine))
    patch.setattr(cublas, "_handles", cublas._Handles())
    patch.setattr(strict_cupy.Device, "compute_capability", "90", raising=False)
    properties = {"name": b"A stand-in", "multiProcessorCount": 1, "totalGlobalMem": 1 << 30}
    patch.setattr(cuda.runtime, "getDeviceProperties", lambda device: properties, raising=False)
    for name in ("driverGetVersion", "runtimeGetVersion"):
        patch.setattr(cuda.runtime, name, lambda: 13000, raising=False)
    patch.setattr(cuda, "get_elapsed_time", lambda start, end: 1.0)
    return machine


class Library:
    """libcublas, as far as cublas.py calls it. Matrices are by columns, as Fortran has them; sizes are checked."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.workspace = 0
        self.handles = 0
        for letter, dtype in (("S", np.float32), ("D", np.float64)):
            setattr(self, f"cublas{letter}gemm_v2", functools.partial(self._gemm, dtype))
            setattr(self, f"cublas{letter}gemmStridedBatched", functools.partial(self._strided, dtype))

    def cublasCreate_v2(self, handle: Any) -> int:
        self.handles += 1
        return 0

    def cublasDestroy_v2(self, handle: Any) -> int:
        self.handles -= 1
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:
        self.workspace = 0
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, pointer: Any, size: Any) -> int:
        self.workspace = size.value
        return 0

    def cublasGetStatusString(self, status: int) -> bytes:
        return {7: b"an unsupported value or parameter was passed to the function"}.get(status, b"?")

    def _gemm(self, dtype: Any, handle: Any, *given: Any) -> int:
        trans, sizes, (alpha, a, lda, b, ldb, beta, c, ldc) = given[:2], given[2:5], given[5:]
        zero = ctypes.c_longlong(0)
        matrices = (alpha, a, lda, zero, b, ldb, zero, beta, c, ldc, zero)
        return self._strided(dtype, handle, *trans, *sizes, *matrices, ctypes.c_int(1))

    def _strided(self, dtype: Any, handle: Any, *given: Any) -> int:
        ta, tb, m, n, k = (value.value for value in given[:5])
        alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count = given[5:]
        assert ta in (0, 1) and tb in (0, 1)
        bad = lda.value < max(1, k if ta else m) or ldb.value < max(1, n if tb else k) or ldc.value < max(1, m)
        if bad or min(m, n, k) < 0:
            return 7
        if not self.workspace:
            self.machine.refuse("cuBLAS allocates a workspace")
        one, zero = alpha._obj.value, beta._obj.value

        def work() -> None:
            for i in range(count.value):
                x = _columns(dtype, a.value, i * sa.value, (k, m) if ta else (m, k), lda.value)
                y = _columns(dtype, b.value, i * sb.value, (n, k) if tb else (k, n), ldb.value)
                product = (x.T if ta else x) @ (y.T if tb else y)
                target = _columns(dtype, c.value, i * sc.value, (m, n), ldc.value)
                target[...] = one * product if zero == 0 else one * product + zero * target

        self.machine.run("gemm", work)
        return 0


def _columns(dtype: Any, address: int, offset: int, shape: tuple[int, int], leading: int) -> Any:
    """A matrix by columns, the next one `leading` elements on, in memory that numbers of C are in."""
    rows, columns = shape
    size = np.dtype(dtype).itemsize
    length = (leading * (columns - 1) + rows) if rows and columns else 0
    kind = {np.float32: ctypes.c_float, np.float64: ctypes.c_double}[dtype]
    flat = np.ctypeslib.as_array((kind * max(1, length)).from_address(address + offset * size))
    return np.lib.stride_tricks.as_strided(flat, shape, (size, leading * size))
