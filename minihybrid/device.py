"""Where an array lives: a `Device` carries its array module, NumPy or CuPy, so that every op is written once.

CuPy is imported when a CUDA device is first asked for, never before; everything here works with NumPy alone.
"""

import functools
import importlib
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Device", "DeviceError", "on_cpu", "shaped_like"]


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used on this machine; the message says what is missing.

    >>> issubclass(DeviceError, RuntimeError)
    True
    """


class Device:
    """A place for arrays, with the array module that works there.

    `name` is "cpu", "cuda" (the first GPU, the same as "cuda:0") or "cuda:N"; a Device is accepted too. `xp` is NumPy
    or CuPy. Devices compare and hash by name. Raises ValueError for a name that is none of these and `DeviceError`
    where CuPy is missing or finds no such GPU.

    >>> cpu = Device("cpu")
    >>> cpu.xp.zeros(3)
    array([0., 0., 0.])
    >>> cpu == Device("cpu"), cpu
    (True, Device('cpu'))
    """

    __slots__ = ("index", "name", "xp")

    name: str
    index: int  # of the GPU; 0 on the CPU
    xp: ModuleType

    def __init__(self, name: "str | Device" = "cpu") -> None:
        name = name.name if isinstance(name, Device) else name
        match = re.fullmatch(r"cpu|cuda(?::(\d{1,4}))?", name) if isinstance(name, str) else None
        if match is None:
            raise ValueError(f"there is no device {name!r}: write 'cpu', 'cuda' or, for the second GPU, 'cuda:1'")
        self.index = int(match[1] or 0)
        self.name = f"cuda:{self.index}" if self.index else match[0].partition(":")[0]
        self.xp = np if self.name == "cpu" else _cupy(self.name, self.index)

    @staticmethod
    def of(array: object) -> "Device":
        """The device an array lives on. Raises TypeError for what is neither a NumPy nor a CuPy array.

        >>> Device.of(np.ones(2))
        Device('cpu')
        """
        if isinstance(array, (np.ndarray, np.generic)):
            return _CPU
        if _is_cupy(array):
            return _cuda(array.device.id)
        if (recorded := getattr(array, "__minihybrid_array__", None)) is not None:  # see autodiff/trace.py
            return Device.of(recorded)
        raise TypeError(f"a {type(array).__name__} lives on no device: expected a NumPy or CuPy array")

    def use(self) -> AbstractContextManager[Any]:
        """A context in which this is the GPU that new arrays are made on; for the second and further GPUs of a machine.

        CuPy allocates on a current GPU, the first one unless another was chosen, wherever the operands are. On the CPU,
        and for the first GPU outside of such contexts, there is nothing to choose.

        >>> with Device("cpu").use():
        ...     Device("cpu").array([1, 2])
        array([1, 2])
        """
        return nullcontext() if self.name == "cpu" else self.xp.cuda.Device(self.index)

    def array(self, array: Any, dtype: DTypeLike | None = None) -> Any:
        """A fresh, C-contiguous copy on this device, of an array from any device or of anything NumPy can read.

        On the way to a GPU it passes through pinned memory, which CuPy keeps for that, and nobody waits.

        >>> Device("cpu").array([1, 2], dtype="float32")
        array([1., 2.], dtype=float32)
        """
        if hasattr(array, "__minihybrid_array__"):
            return array.astype(dtype or array.dtype)
        if self.name == "cpu":
            return np.array(array.get() if _is_cupy(array) else array, dtype, order="C")
        with self.use():
            return self.xp.array(array, dtype, order="C")

    def host(self, array: Any) -> NDArray[Any]:
        """A fresh NumPy copy of an array; from a GPU this waits until the array is computed.

        >>> Device("cpu").host(np.arange(3))
        array([0, 1, 2])
        """
        copy: NDArray[Any] = np.array(array.get() if _is_cupy(array) else array, order="C")
        return copy

    def memory_in_use(self) -> int:
        """Bytes in use now: the resident set of this process on the CPU, CuPy's memory pool on a GPU.

        Where the system does not tell the resident set (no /proc), its peak stands in for it.

        >>> Device("cpu").memory_in_use() > 0
        True
        """
        if self.name == "cpu":
            return _resident_bytes()
        with self.use():
            return int(self.xp.get_default_memory_pool().used_bytes())

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Device) and self.name == other.name)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Device({self.name!r})"

    def __reduce__(self) -> tuple[type["Device"], tuple[str]]:
        return Device, (self.name,)  # a module cannot be pickled, its device's name can


def on_cpu(array: Any) -> bool:
    """Whether an array or number is NumPy's, or stands for one while a step is recorded (autodiff/trace.py)."""
    return isinstance(getattr(array, "__minihybrid_array__", array), (np.ndarray, np.generic))


def shaped_like(make: Callable[..., Any], array: Any, *args: Any, shape: tuple[int, ...], **options: Any) -> Any:
    """make(array, *args, shape=shape), for np.empty_like, zeros_like, ones_like and full_like, and () as a shape, too.

    CuPy takes () for no shape at all, and would give the array's own.

    >>> shaped_like(np.full_like, np.zeros(3), 2.0, shape=())
    array(2.)
    """
    made = make(array, *args, shape=shape or (1,), **options)
    return made if shape else made.reshape(())


def _is_cupy(array: object) -> TypeGuard[Any]:
    # An array of CuPy's exists only where CuPy was imported already, so this never imports it.
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def _cupy(name: str, index: int) -> ModuleType:
    """CuPy, if it can really use that GPU: an importable module is no proof of a usable device."""
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # a broken CUDA installation fails here in many ways, not only with ImportError
        raise DeviceError(
            f"the device {name!r} needs CuPy, and importing it failed with {type(error).__name__}: {error}; "
            "install minihybrid[cuda12] or minihybrid[cuda13], or use the device 'cpu'"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount() if cupy.cuda.is_available() else 0
    except Exception as error:  # a driver that does not work with this CuPy
        count, why = 0, f" ({type(error).__name__}: {error})"
    else:
        why = ""
    if not count:
        raise DeviceError(
            f"CuPy is installed but finds no usable CUDA device for {name!r}{why}; "
            "check the NVIDIA driver, or use the device 'cpu'"
        )
    if index >= count:
        raise DeviceError(f"there is no device {name!r}: this machine has {count} CUDA device(s), counted from 0")
    return cupy


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


_CPU = Device("cpu")


@functools.cache
def _cuda(index: int) -> Device:
    return Device(f"cuda:{index}")
