"""A strict stand-in for CuPy 14, on NumPy's memory, so that what would fail on a GPU fails where there is none.

`cupy` and `cupyx` below are modules for `sys.modules` (see conftest.py), where `mh.Device("cuda")` finds them. They do
only what CuPy does, in the places that bite:

- Nothing turns into a NumPy array by itself, and NumPy arrays do not mix with these.
- Functions and methods exist, and take the options, as listed in FUNCTIONS and METHODS: the signatures of CuPy 14.2,
  held against the real ones by test_strict_cupy.py wherever CuPy can be imported. What is not listed raises.
- Reductions, and single elements, are 0-d arrays on the device; a single element is a view.
- Results are C-contiguous. `empty` holds NaN, as nobody may read it. Of several values that are written to one place
  the first stays, because on a GPU any may, and on the CPU it is the last.
- `counting()` tells at which lines the host waited for the device, and at which something was copied to the device.

Where a refusal is no matter of a signature, a comment names the place in CuPy's sources (cupy/_core/...) that it comes
from. Not imitated: positions outside of an array, which CuPy wraps and this refuses, and the order of atomic additions.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FUNCTIONS = """
all(a, axis=None, out=None, keepdims=False)
allclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False)
amax(a, axis=None, out=None, keepdims=False)
amin(a, axis=None, out=None, keepdims=False)
any(a, axis=None, out=None, keepdims=False)
arange(start, stop=None, step=1, dtype=None)
argmax(a, axis=None, dtype=None, out=None, keepdims=False)
argmin(a, axis=None, dtype=None, out=None, keepdims=False)
argsort(a, axis=-1, kind=None)
argwhere(a)
array(obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False)
array_equal(a1, a2, equal_nan=False)
asarray(a, dtype=None, order=None, *, copy=None, blocking=False)
ascontiguousarray(a, dtype=None)
asnumpy(a, stream=None, order='C', out=None, *, blocking=True)
bincount(x, weights=None, minlength=None)
broadcast_to(array, shape)
clip(a, a_min, a_max, out=None)
concatenate(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
copyto(dst, src, casting='same_kind', where=None)
count_nonzero(a, axis=None)
cumprod(a, axis=None, dtype=None, out=None)
cumsum(a, axis=None, dtype=None, out=None)
diag(v, k=0)
diagonal(a, offset=0, axis1=0, axis2=1)
dot(a, b, out=None)
einsum(*operands, **kwargs)
empty(shape, dtype=float, order='C')
empty_like(prototype, dtype=None, order='K', subok=None, shape=None)
expand_dims(a, axis)
eye(N, M=None, k=0, dtype=float, order='C')
flatnonzero(a)
flip(a, axis=None)
full(shape, fill_value, dtype=None, order='C')
full_like(a, fill_value, dtype=None, order='K', subok=None, shape=None)
isclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False)
iscomplexobj(x)
linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0)
max(a, axis=None, out=None, keepdims=False)
may_share_memory(a, b, max_work=None)
mean(a, axis=None, dtype=None, out=None, keepdims=False)
min(a, axis=None, out=None, keepdims=False)
moveaxis(a, source, destination)
nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None)
ndim(a)
nonzero(a)
ones(shape, dtype=float, order='C')
ones_like(a, dtype=None, order='K', subok=None, shape=None)
outer(a, b, out=None)
pad(array, pad_width, mode='constant', **kwargs)
prod(a, axis=None, dtype=None, out=None, keepdims=False)
ravel(a, order='C')
repeat(a, repeats, axis=None)
reshape(a, newshape, order='C', *, copy=None)
result_type(*arrays_and_dtypes)
roll(a, shift, axis=None)
round(a, decimals=0, out=None)
shape(a)
shares_memory(a, b, max_work=None)
sort(a, axis=-1, kind=None)
split(ary, indices_or_sections, axis=0)
squeeze(a, axis=None)
stack(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
sum(a, axis=None, dtype=None, out=None, keepdims=False)
swapaxes(a, axis1, axis2)
take(a, indices, axis=None, out=None)
take_along_axis(a, indices, axis)
tensordot(a, b, axes=2)
tile(A, reps)
trace(a, offset=0, axis1=0, axis2=1, dtype=None, out=None)
transpose(a, axes=None)
tril(m, k=0)
triu(m, k=0)
unique(ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True)
var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
vdot(a, b)
where(condition, x=None, y=None)
zeros(shape, dtype=float, order='C')
zeros_like(a, dtype=None, order='K', subok=None, shape=None)
linalg.cholesky(a)
linalg.det(a)
linalg.eigh(a, UPLO='L')
linalg.inv(a)
linalg.norm(x, ord=None, axis=None, keepdims=False)
linalg.qr(a, mode='reduced')
linalg.slogdet(a)
linalg.solve(a, b)
linalg.svd(a, full_matrices=True, compute_uv=True)
"""

METHODS = """
all(self, axis=None, out=None, keepdims=False)
any(self, axis=None, out=None, keepdims=False)
argmax(self, axis=None, out=None, dtype=None, keepdims=False)
argmin(self, axis=None, out=None, dtype=None, keepdims=False)
argsort(self, axis=-1, kind=None)
astype(self, dtype, order='K', casting=None, subok=None, copy=True)
clip(self, min=None, max=None, out=None)
conj(self)
copy(self, order='C')
cumprod(self, axis=None, dtype=None, out=None)
cumsum(self, axis=None, dtype=None, out=None)
diagonal(self, offset=0, axis1=0, axis2=1)
flatten(self, order='C')
max(self, axis=None, out=None, keepdims=False)
mean(self, axis=None, dtype=None, out=None, keepdims=False)
min(self, axis=None, out=None, keepdims=False)
nonzero(self)
prod(self, axis=None, dtype=None, out=None, keepdims=None)
ravel(self, order='C')
repeat(self, repeats, axis=None)
reshape(self, *shape, order='C', copy=None)
round(self, decimals=0, out=None)
squeeze(self, axis=None)
std(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
sum(self, axis=None, dtype=None, out=None, keepdims=False)
swapaxes(self, axis1, axis2)
take(self, indices, axis=None, out=None)
trace(self, offset=0, axis1=0, axis2=1, dtype=None, out=None)
transpose(self, *axes)
var(self, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
"""

UFUNCS = """
absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor cbrt ceil conjugate
copysign cos cosh deg2rad degrees divide equal exp exp2 expm1 float_power floor floor_divide fmax fmin fmod greater
greater_equal hypot invert isfinite isinf isnan ldexp left_shift less less_equal log log10 log1p log2 logaddexp
logaddexp2 logical_and logical_not logical_or logical_xor matmul maximum minimum multiply negative nextafter not_equal
positive power rad2deg radians reciprocal remainder right_shift rint sign signbit sin sinh sqrt square subtract tan tanh
trunc
"""

SCATTERED = {  # what ufunc.at can add up (_routines_indexing.pyx, _scatter_op_single)
    "add": "int32 float16 float32 float64 uint32 uint64",
    "subtract": "int32 uint32",
    "maximum": "int32 float32 float64 uint32 uint64",
    "minimum": "int32 float32 float64 uint32 uint64",
}
READS_A_SIZE = {"nonzero", "flatnonzero", "argwhere", "unique", "bincount"}  # of the result, from the device
TAKES_HOST_ARRAYS = {"take": 1, "roll": 1, "pad": 1, "array": 0, "asarray": 0, "ascontiguousarray": 0}
ANYWHERE = {"array", "copy", "reshape", "transpose", "swapaxes", "squeeze"}  # fetch what is elsewhere, or show it
BLOCK = 512  # bytes, to which the pool rounds up (cupy/cuda/memory.pyx)

SCALARS = {bool, int, float, complex, *(np.dtype(char).type for char in "?bhilqBHILQefdFD")}  # _scalar.pyx


# What is counted


@dataclass
class Counts:
    """The lines of the program at which the host waited for the device, and at which an array was copied there."""

    reads: list[str] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)


_counts: list[Counts] = []


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """What is counted inside the block."""
    counts = Counts()
    _counts.append(counts)
    try:
        yield counts
    finally:
        _counts.remove(counts)


def _count(kind: str, what: str) -> None:
    if not _counts:
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "functools"):
        frame = frame.f_back
    for counts in _counts:
        getattr(counts, kind).append(f"{what} at {frame.f_code.co_filename}:{frame.f_lineno}")


def _read(what: str) -> None:
    _count("reads", what)


def _uploaded(what: str, array: Any) -> None:
    if array.ndim:  # a single number is an argument of the kernel that writes it
        _count("uploads", what)


# Devices, memory, streams


class _Current(threading.local):
    device = 0


_current = _Current()


class _Runtime(types.SimpleNamespace):
    count = 2

    def getDeviceCount(self) -> int:
        return self.count

    def getDevice(self) -> int:
        return _current.device


class Device:
    """cupy.cuda.Device: a context that makes it the current one."""

    def __init__(self, device: int | None = None) -> None:
        self.id = _current.device if device is None else int(device)
        self._before: list[int] = []

    def use(self) -> None:
        _current.device = self.id

    def synchronize(self) -> None:
        _read("Device.synchronize")

    def __enter__(self) -> Device:
        self._before.append(_current.device)
        self.use()
        return self

    def __exit__(self, *exception: Any) -> None:
        _current.device = self._before.pop()

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class MemoryPool:
    """Says how much memory arrays hold; it is theirs for as long as one of them, or of their views, lives."""

    def __init__(self) -> None:
        self._used: dict[int, int] = {}

    def used_bytes(self) -> int:
        return self._used.get(_current.device, 0)

    def total_bytes(self) -> int:
        return self.used_bytes()

    def free_all_blocks(self) -> None:
        pass

    def take(self, device: int, nbytes: int) -> None:
        self._used[device] = self._used.get(device, 0) + nbytes


_pool = MemoryPool()


class _Memory:
    """What an array holds: the owner of some of NumPy's memory, and the device that it is said to be on."""

    __slots__ = ("__weakref__", "device", "owner")

    def __init__(self, owner: np.ndarray, device: int) -> None:
        self.owner, self.device = owner, device
        size = -(-owner.nbytes // BLOCK) * BLOCK
        _pool.take(device, size)
        weakref.finalize(self, _pool.take, device, -size).atexit = False


class MemoryPointer:
    """cupy.cuda.MemoryPointer: an address in some memory."""

    def __init__(self, mem: _Memory, ptr: int) -> None:
        self.mem, self.ptr = mem, ptr
        self.device_id, self.device = mem.device, Device(mem.device)

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr + offset)

    def __int__(self) -> int:
        return self.ptr


class Event:
    """cupy.cuda.Event."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.done = True

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        _read("Event.synchronize")


class Stream:
    """cupy.cuda.Stream, on which everything is done at once."""

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: Any = None
    ) -> None:
        self.ptr = 0 if null else id(self)

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        _streams.remove(self)

    def synchronize(self) -> None:
        _read("Stream.synchronize")

    def record(self, event: Event | None = None) -> Event:
        return event or Event()

    def wait_event(self, event: Event) -> None:
        pass


Stream.null = Stream(null=True)
_streams = [Stream.null]


def _get_elapsed_time(start: Event, end: Event) -> float:
    _read("get_elapsed_time")
    return 0.0


_cuda = types.SimpleNamespace(
    Device=Device,
    Event=Event,
    MemoryPointer=MemoryPointer,
    Stream=Stream,
    get_current_stream=lambda: _streams[-1],
    get_elapsed_time=_get_elapsed_time,
    is_available=lambda: _cuda.runtime.getDeviceCount() > 0,
    runtime=_Runtime(),
)


# The array


def _root(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class ndarray:
    """cupy.ndarray. NumPy sees nothing of the memory inside: there is no __array_interface__, and no buffer."""

    __slots__ = ("_array", "_memory", "base")
    __array_priority__ = 100
    __hash__ = None

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        dtype = np.dtype(dtype)
        if memptr is None:
            self._array = _junk(np.empty(shape, dtype, order))
            self._memory = _Memory(self._array, _current.device)
        else:
            owner: np.ndarray = memptr.mem.owner
            flat = owner.reshape(-1, order="A").view(np.uint8)
            self._array = np.ndarray(shape, dtype, flat, memptr.ptr - owner.ctypes.data, strides)
            self._memory = memptr.mem
        self.base: ndarray | None = None

    # What is known without the values

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    strides = property(lambda self: self._array.strides)
    device = property(lambda self: Device(self._memory.device))
    data = property(lambda self: MemoryPointer(self._memory, self._array.ctypes.data))
    T = property(lambda self: _wrapped(self._array.T, self))
    mT = property(lambda self: _wrapped(self._array.mT, self))
    real = property(lambda self: _wrapped(self._array.real, self))
    imag = property(lambda self: _wrapped(self._array.imag, self))

    @property
    def flags(self) -> Any:
        of = self._array.flags
        return types.SimpleNamespace(
            c_contiguous=of.c_contiguous, f_contiguous=of.f_contiguous, owndata=self.base is None
        )

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self._array.flags.c_contiguous else self.strides
        data = self._array.ctypes.data, False
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": strides, "version": 3}

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._array)

    def __iter__(self) -> Any:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # To the host, and from it

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        if blocking:
            _read("get")
        if out is None:
            return self._array.copy(order)
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._array
        return out

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._array.flags.c_contiguous or self._array.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        _count("uploads", "set")
        self._array[...] = arr

    def item(self) -> Any:
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        _read("item")
        return self._array.item()

    def tolist(self) -> Any:
        _read("tolist")
        return self._array.tolist()

    def tobytes(self, order: str = "C") -> bytes:
        _read("tobytes")
        return self._array.tobytes(order)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or all()"
            )
        _read("bool")
        return bool(self._array)

    def __float__(self) -> float:
        _read("float")
        return float(self._array)

    def __int__(self) -> int:
        _read("int")
        return int(self._array)

    def __complex__(self) -> complex:
        _read("complex")
        return complex(self._array)

    def __repr__(self) -> str:
        _read("repr")
        return repr(self._array)

    __str__ = __repr__

    def __format__(self, how: str) -> str:
        _read("format")
        return format(self._array, how)

    def __reduce__(self) -> Any:
        return _restored, (self.get(),)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("the memory of this stand-in is on no device that DLPack knows")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._memory.device  # kDLCUDA

    # In the memory

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            if value.shape != ():
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = value.item()
        if not isinstance(value, ndarray) and type(value) not in SCALARS:
            raise TypeError(f"Unsupported type {type(value)}")
        self._array[...] = _bare(value)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return _wrapped(self._array.view() if dtype is None else self._array.view(dtype), self)

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        _require_stable(kind)
        self._array.sort(axis, kind="stable")

    def dot(self, b: Any, out: Any = None) -> Any:
        return cupy.dot(self, b, out)

    def __getitem__(self, index: Any) -> ndarray:
        index, picks = _index(index)
        return _wrapped(self._array[index if picks else _to_the_end(index)], self)

    def __setitem__(self, index: Any, value: Any) -> None:
        index, picks = _index(index)
        if isinstance(value, ndarray):
            _require_here(value)
        elif picks:
            _uploaded("setitem", np.asarray(value))
        if picks:
            # Of several values for one place any may stay, so here it is the first, and NumPy's the last.
            places = np.arange(self.size).reshape(self.shape)[index]
            values = np.broadcast_to(_bare(value), places.shape)
            self._array.flat[places.ravel()[::-1]] = values.ravel()[::-1]
        elif isinstance(value, ndarray):
            self._array[index] = value._array
        else:
            _wrapped(self._array[_to_the_end(index)], self).fill(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """core.pyx, _ndarray_base.__array_ufunc__."""
        inout = inputs
        if "out" in options:
            out = options["out"]
            if len(out) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            inout += out
            options["out"] = out[0]
        function = getattr(cupy, ufunc.__name__, None)
        if not isinstance(function, _Ufunc):
            return NotImplemented
        if method != "__call__":
            function = getattr(function, method)
        for x in inout:  # an index of ufunc.at among them
            if not isinstance(x, (ndarray, np.ndarray)) and type(x) not in SCALARS:
                return NotImplemented
        if "equal" in ufunc.__name__ or ufunc.__name__ in ("greater", "less"):
            inputs = tuple([x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in inputs])
        return function(*inputs, **options)

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        """core.pyx, _ndarray_base.__array_function__."""
        name = ".".join([*function.__module__.split(".")[1:], function.__name__])
        if name not in _functions or not all(issubclass(kind, (ndarray, np.ndarray)) for kind in kinds):
            return NotImplemented
        return _functions[name](*args, **options)


def _operator(name: str, ufunc_name: str) -> Any:
    """core.pyx, _ndarray_base.__add__ and its like."""

    def forward(self: ndarray, other: Any) -> Any:
        if isinstance(other, ndarray):
            return getattr(cupy, ufunc_name)(self, other)
        if getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        return getattr(np, ufunc_name)(self, other)

    def reflected(self: ndarray, other: Any) -> Any:
        return getattr(np, ufunc_name)(other, self)

    def in_place(self: ndarray, other: Any) -> Any:
        return getattr(cupy, ufunc_name)(self, other, self)

    return {f"__{name}__": forward, f"__r{name}__": reflected, f"__i{name}__": in_place}


def _comparison(name: str, ufunc_name: str) -> Any:
    return {f"__{name}__": _operator(name, ufunc_name)[f"__{name}__"]}


for _name, _ufunc_name in {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
    **{"lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul"},
}.items():
    for _method, _function in _operator(_name, _ufunc_name).items():
        if _method != "__imatmul__":  # which CuPy lacks: x @= y makes a new array
            setattr(ndarray, _method, _function)
for _name in ("eq:equal", "ne:not_equal", "lt:less", "le:less_equal", "gt:greater", "ge:greater_equal"):
    for _method, _function in _comparison(*_name.split(":")).items():
        setattr(ndarray, _method, _function)
for _name in ("neg:negative", "abs:absolute", "invert:invert"):
    _method, _ufunc_name = _name.split(":")
    setattr(ndarray, f"__{_method}__", lambda self, which=_ufunc_name: getattr(cupy, which)(self))
ndarray.__pos__ = lambda self: self


# NumPy's arrays inside, and these outside


def _junk(array: np.ndarray) -> np.ndarray:
    """Values that show when they are used."""
    array[...] = math.nan if array.dtype.kind in "fc" else 1 if array.dtype.kind == "b" else np.iinfo(array.dtype).max
    return array


def _bare(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, (tuple, list)):
        return type(value)([_bare(item) for item in value])
    return value


def _wrapped(value: Any, *parents: ndarray) -> Any:
    """An array of NumPy's as one of these; a view of a parent if it shows its memory."""
    if isinstance(value, (tuple, list)):
        items = [_wrapped(item, *parents) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    made = ndarray.__new__(ndarray)
    made._array = value = np.asarray(value)
    root = _root(value)
    for parent in parents:
        if _root(parent._array) is root:
            made._memory, made.base = parent._memory, parent if parent.base is None else parent.base
            return made
    made._memory, made.base = _Memory(root, _current.device), None
    return made


def _require_here(array: ndarray) -> None:
    """_kernel.pyx, _check_peer_access, where devices cannot reach each other's memory."""
    if array._memory.device != _current.device:
        raise ValueError(
            f"The device where the array resides ({array._memory.device}) is different from the current device "
            f"({_current.device}). Peer access is unavailable between these devices."
        )


def _require_stable(kind: Any) -> None:
    if kind not in (None, "stable"):
        raise ValueError(f"kind can only be None or 'stable', not {kind}")


def _index(index: Any) -> tuple[tuple[Any, ...], bool]:
    """An index with NumPy's arrays (_routines_indexing.pyx, _prepare_slice_list), and whether arrays pick elements."""
    parts: list[Any] = []
    picks = False
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, ndarray):
            _require_here(part)
            part, picks = part._array, True
        elif isinstance(part, (np.ndarray, list, tuple, bool, np.bool_)):
            part, picks = np.asarray(part), True
            part = part.astype(np.int32) if part.size == 0 and part.dtype.kind == "f" else part
            _uploaded("index", part)
        elif part is not None and part is not Ellipsis and not isinstance(part, (slice, int, np.integer)):
            raise IndexError("only integers, slices, ellipsis, None and integer or boolean arrays are valid indices")
        if isinstance(part, np.ndarray) and part.dtype.kind == "b" and part.size:
            _read("an index with a mask")  # _prepare_mask_indexing_single, to know the shape
        parts.append(part)
    return tuple(parts), picks


def _to_the_end(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """A basic index that gives a view, also of a single element."""
    return index if any(part is Ellipsis for part in index) else (*index, Ellipsis)


def _found(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _found(item)
    elif isinstance(value, (ndarray, np.ndarray)):
        yield value


# Functions


class _Ufunc:
    """cupy.ufunc (_kernel.pyx)."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name
        self._numpy = getattr(np, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        out, dtype = options.pop("out", None), options.pop("dtype", None)
        casting = options.pop("casting", "same_kind")
        if options:
            raise TypeError(f"Wrong arguments {options}")
        nin = self._numpy.nin
        if not nin <= len(args) <= nin + 1:
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}.")
        inputs, out = args[:nin], (out[0] if isinstance(out, tuple) else out) if len(args) == nin else args[nin]
        for x in (*inputs, *([] if out is None else [out])):
            if isinstance(x, ndarray):
                _require_here(x)
            elif type(x) not in SCALARS or x is out:
                raise TypeError(f"Unsupported type {type(x)}")
        if not any(isinstance(x, ndarray) for x in inputs):
            inputs = tuple([np.asarray(x) for x in inputs])
        order: dict[str, Any] = {} if self.name == "matmul" else {"order": "C"}
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a device has nobody to warn
            if out is not None:
                self._numpy(*map(_bare, inputs), out=out._array, dtype=dtype, casting=casting)
                return out
            return _wrapped(self._numpy(*map(_bare, inputs), dtype=dtype, casting=casting, **order))

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        if self.name not in SCATTERED:
            raise NotImplementedError(f"`cupy_{self.name}.at` is not supported yet")
        index, picks = _index(indices)
        if picks and str(a.dtype) not in SCATTERED[self.name].split():
            raise TypeError(f"cupy.{self.name}.at only supports {SCATTERED[self.name]}, as data type")
        if not isinstance(b, ndarray):
            if isinstance(b, np.ndarray) and not picks:
                raise TypeError(f"Unsupported type {type(b)}")
            _uploaded("at", np.asarray(b))
        self._numpy.at(a._array, index, np.asarray(_bare(b)).astype(a.dtype))

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.reduce` is not supported yet")
        return (array.sum if self.name == "add" else array.prod)(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`cupy_{self.name}.accumulate` is not supported yet")
        return (array.cumsum if self.name == "add" else array.cumprod)(axis, dtype, out)

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        raise NotImplementedError(f"`cupy_{self.name}.reduceat` takes sums apart that were added up before: not exact")

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        a, b = cupy.asarray(a), cupy.asarray(b)
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **options)

    def __repr__(self) -> str:
        return f"<ufunc 'cupy_{self.name}'>"


def _parsed(table: str) -> dict[str, inspect.Signature]:
    """The signatures of a table, by name."""
    found = {}
    for line in table.strip().splitlines():
        name, arguments = line.split("(", 1)
        namespace: dict[str, Any] = {}
        exec(f"def f({arguments}: pass", {"float": float}, namespace)
        found[name] = inspect.signature(namespace["f"])
    return found


def _call(name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Do what NumPy's function does, with what CuPy would accept."""
    host = TAKES_HOST_ARRAYS.get(name)
    for i, value in enumerate([*args, *options.values()]):
        for found in _found(value):
            if isinstance(found, ndarray):
                if name not in ANYWHERE:
                    _require_here(found)
            elif i == host:
                _uploaded(name, found)
            else:
                raise TypeError(f"Unsupported type {type(found)}")
    if name in READS_A_SIZE:
        _read(name)
    if "kind" in options:
        _require_stable(options["kind"])
    out = options.get("out")
    parents = [found for found in _found([*args, *options.values()]) if isinstance(found, ndarray)]
    bare = {key: _bare(value) for key, value in options.items() if key not in ("subok", "blocking")}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*map(_bare, args), **bare)
    return out if isinstance(out, ndarray) else _wrapped(result, *parents)


def _made(name: str, signature: inspect.Signature) -> Callable[..., Any]:
    """The function of CuPy's of this name."""
    function = _SPECIAL.get(name) or functools.reduce(getattr, name.split("."), np)

    def call(*args: Any, **options: Any) -> Any:
        signature.bind(*args, **options)
        return _call(name, function, args, options)

    call.__name__ = name.rpartition(".")[2]
    return call


def _method_made(name: str, signature: inspect.Signature) -> Callable[..., Any]:
    function = _SPECIAL_METHODS.get(name) or getattr(np.ndarray, name)

    def method(self: ndarray, *args: Any, **options: Any) -> Any:
        signature.bind(self, *args, **options)
        return _call(name, function, (self, *args), options)

    method.__name__ = name
    return method


# Where CuPy's own code differs from NumPy's


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        _read("where")
        return np.nonzero(condition)
    if not isinstance(condition, np.ndarray):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    return np.where(condition, x, y)


def _solve(a: Any, b: Any) -> Any:
    """cupy/linalg/_solve.py: stacks do not broadcast, and a singular matrix has a solution of NaN."""
    if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b")
    return _unchecked(np.linalg.solve)(a, b)


def _unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """cupy/linalg/_util.py: nobody looks at cuSOLVER's status, as that would wait; results are then no numbers."""

    def call(a: Any, *rest: Any) -> Any:
        try:
            return function(a, *rest)
        except np.linalg.LinAlgError as error:
            if "Singular" not in str(error) and "positive definite" not in str(error):
                raise
            return np.full_like(rest[0] if rest else a, np.nan)

    return call


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    """_routines_linalg.pyx, dot."""
    if out is not None and (not out.flags.c_contiguous or np.result_type(a.dtype, b.dtype) != out.dtype):
        raise ValueError("Not supported dtype combination.")
    return np.dot(a, b, out)


def _like(function: Callable[..., Any]) -> Callable[..., Any]:
    """cupy/_creation/basic.py: `shape if shape else a.shape`, so () and 0 are no shapes."""
    return lambda a, *args, shape=None, **options: function(a, *args, shape=shape or None, **options)


def _einsum(*operands: Any, **options: Any) -> Any:
    if options.keys() - {"optimize", "dtype"}:
        raise TypeError(f"Did not understand the following kwargs: {list(options)}")
    return np.einsum(*operands, **options)


def _sorted_stably(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, axis=-1, kind=None: function(a, axis, kind="stable")


_SPECIAL: dict[str, Callable[..., Any]] = {
    "where": _where,
    "dot": _dot,
    "einsum": _einsum,
    "argsort": _sorted_stably(np.argsort),
    "sort": _sorted_stably(np.sort),
    "argmax": lambda a, axis=None, dtype=None, out=None, keepdims=False: np.argmax(a, axis, out, keepdims=keepdims),
    "argmin": lambda a, axis=None, dtype=None, out=None, keepdims=False: np.argmin(a, axis, out, keepdims=keepdims),
    "empty": lambda *args, **options: _junk(np.empty(*args, **options)),
    "empty_like": lambda *args, **options: _junk(_like(np.empty_like)(*args, **options)),
    "full_like": _like(np.full_like),
    "ones_like": _like(np.ones_like),
    "zeros_like": _like(np.zeros_like),
    "reshape": lambda a, newshape, order="C", copy=None: np.reshape(a, newshape, order),
    "linalg.solve": _solve,
    "linalg.inv": _unchecked(np.linalg.inv),
    "linalg.cholesky": _unchecked(np.linalg.cholesky),
}
_SPECIAL_METHODS: dict[str, Callable[..., Any]] = {
    "argsort": _SPECIAL["argsort"],
    "argmax": lambda a, axis=None, out=None, dtype=None, keepdims=False: np.argmax(a, axis, out, keepdims=keepdims),
    "argmin": lambda a, axis=None, out=None, dtype=None, keepdims=False: np.argmin(a, axis, out, keepdims=keepdims),
    "astype": lambda a, dtype, order="K", casting=None, subok=None, copy=True: a.astype(dtype, order, copy=copy),
    "prod": lambda a, axis=None, dtype=None, out=None, keepdims=None: np.prod(a, axis, dtype, out, bool(keepdims)),
    "take": lambda a, indices, axis=None, out=None: np.take(a, indices, axis, out),
}


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def _restored(array: np.ndarray) -> Any:
    return cupy.array(array)


def _from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> Any:
    if not isinstance(array, ndarray):
        raise BufferError("the memory of this stand-in is on no device that DLPack knows")
    return array.view()


# Kernels: run by the emulator


class RawModule:
    """cupy.RawModule: compiled when a function is first asked for."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), **rest: Any) -> None:
        self.code, self.options = code, tuple(options)

    @functools.cached_property
    def _module(self) -> Any:
        from tests.cuda import emulator

        return emulator.compile(self.code, self.options)

    def get_function(self, name: str) -> Callable[..., None]:
        def launch(grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
            self._module.launch(name, grid, block, [_argument(arg) for arg in args], shared_mem)

        return launch


class RawKernel:
    """cupy.RawKernel: one function of a module."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = (), **rest: Any) -> None:
        self._launch = RawModule(code=code, options=options).get_function(name)

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        self._launch(grid, block, args, shared_mem=shared_mem)


def _argument(value: Any) -> Any:
    """cupy/cuda/function.pyx: arrays are passed by address, Python's numbers as the widest of their kind."""
    if isinstance(value, ndarray):
        _require_here(value)
        return value.data
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    widest = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}
    return widest[type(value)](value) if type(value) in widest else value


# The modules


def _module(name: str, **contents: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(contents)
    return module


_functions = {name: _made(name, given) for name, given in _parsed(FUNCTIONS).items() if name != "asnumpy"}
for _known in (np.shape, np.ndim, np.result_type, np.iscomplexobj, np.may_share_memory, np.shares_memory):
    _functions[_known.__name__] = lambda *args, known=_known, **options: known(*map(_bare, args), **options)
_functions["sinc"] = _made("sinc", inspect.signature(lambda x: x))  # one of CuPy's ufuncs, and none of NumPy's
for _name, _given in _parsed(METHODS).items():
    setattr(ndarray, _name, _method_made(_name, _given))

cupy: Any = _module(
    "cupy",
    RawKernel=RawKernel,
    RawModule=RawModule,
    __version__="14.2.0",
    asnumpy=_asnumpy,
    cuda=_cuda,
    from_dlpack=_from_dlpack,
    get_default_memory_pool=lambda: _pool,
    is_available=lambda: _cuda.is_available(),
    linalg=types.SimpleNamespace(),
    ndarray=ndarray,
    **{kind: getattr(np, kind) for kind in ("float16", "float32", "float64", "int32", "int64", "uint8", "uint32")},
    **{kind: getattr(np, kind) for kind in ("uint64", "bool_", "pi", "inf", "nan", "newaxis")},
    **{name: _Ufunc(name) for name in UFUNCS.split()},
)
cupy.abs, cupy.mod, cupy.true_divide = cupy.absolute, cupy.remainder, cupy.divide
for _name, _function in _functions.items():
    _place, _, _short = _name.rpartition(".")
    setattr(cupy.linalg if _place else cupy, _short, _function)

cupyx: Any = _module("cupyx", empty_pinned=lambda shape, dtype=float, order="C": _junk(np.empty(shape, dtype, order)))
