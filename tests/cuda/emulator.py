"""CUDA kernels on a machine without a GPU: their sources compiled by g++, run on NumPy's memory.

emulator.hpp says how, and which mistakes it finds. `guarded` makes arrays with pages around them that cannot be
touched, so that what is read or written outside is found, too.
"""

import atexit
import ctypes
import functools
import hashlib
import mmap
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("emulator.hpp")
# The checks end in functions of the header. Without contraction a * b + c is rounded twice, as with --fmad=false.
FLAGS = (
    "-std=c++17",
    "-O0",
    "-fPIC",
    "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE",
    "-w",
    "-ffp-contract=off",
    "-fsanitize=bounds,alignment",
)
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")
DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+([\w\s]+?)\s+(\w+)\[\]\s*;")
MOST_SHARED = 48 * 1024


class EmulatorError(RuntimeError):
    """What CUDA would punish, or answer with garbage."""


@functools.cache
def compiler() -> str | None:
    """The C++ compiler of this machine, if there is one."""
    return shutil.which("g++")


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cuda-emulator-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def compile(source: str, options: tuple[str, ...] = ()) -> "Module":
    """The kernels of a CUDA source; of the options, definitions (-D) count. Raises EmulatorError if it is no C++."""
    names = KERNEL.findall(source)
    text = DYNAMIC_SHARED.sub(r"\1* \2 = reinterpret_cast<\1*>(emulator::dynamic_shared);", source)
    text = f'#include "{HEADER}"\n#line 1 "kernel.cu"\n{text}\n' + "".join(f"EMULATED({name})\n" for name in names)
    flags = [*FLAGS, *(option for option in options if option.startswith("-D"))]
    digest = hashlib.sha256("\0".join([HEADER.read_text(), text, *flags]).encode()).hexdigest()[:16]
    library = _folder() / f"{digest}.so"
    if not library.exists():
        (_folder() / f"{digest}.cpp").write_text(text)
        built = f"{library}.{os.getpid()}"
        compiled = [compiler() or "g++", *flags, "-c", f"{digest}.cpp", "-o", f"{built}.o"]
        # Linked by itself, without the library that the checks would report to.
        linked = [compiler() or "g++", "-shared", f"{built}.o", "-o", built]
        for command in (compiled, linked):
            done = subprocess.run(command, cwd=_folder(), capture_output=True, text=True, check=False)
            if done.returncode:
                raise EmulatorError(f"g++ refuses the source: {done.stderr}")
        os.replace(built, library)
    return Module(ctypes.CDLL(str(library)), names)


class Module:
    """The compiled kernels of one source."""

    def __init__(self, library: ctypes.CDLL, names: list[str]) -> None:
        self.names = names
        self._launches, self._parameters = {}, {}
        for name in names:
            self._launches[name] = getattr(library, f"launch_{name}")
            self._launches[name].restype = ctypes.c_char_p
            describe = getattr(library, f"signature_{name}")
            describe.restype = ctypes.c_char_p
            self._parameters[name] = describe().decode().split()

    def launch(
        self,
        name: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared_mem: int = 0,
        seed: int = 1,
    ) -> None:
        """Run a kernel; `seed` 0 runs blocks and threads in their order, others in a random one.

        `args` are NumPy scalars, Python numbers (8 bytes each, as CuPy passes them) and, for pointers, NumPy arrays,
        addresses, or what has one as `ptr` or `data.ptr`. Raises EmulatorError for whatever emulator.hpp lists, and for
        arguments or sizes that the kernel cannot be launched with.
        """
        if name not in self._launches:
            raise EmulatorError(f"there is no kernel {name!r}; the source has {self.names}.")
        parameters = self._parameters[name]
        if len(args) != len(parameters):
            raise EmulatorError(f"{name} takes {len(parameters)} arguments, and was given {len(args)}.")
        dims = [(*sizes, 1, 1)[:3] for sizes in (grid, block)]
        limits = ((2**31 - 1, 65535, 65535), (1024, 1024, 64))
        for what, sizes, limit in zip(("grid", "block"), dims, limits, strict=True):
            if not all(0 < size <= most for size, most in zip(sizes, limit, strict=True)):
                raise EmulatorError(f"{name}: no {what} has the size {sizes}.")
        if np.prod(dims[1]) > 1024 or not 0 <= shared_mem <= MOST_SHARED:
            raise EmulatorError(f"{name}: no block has the size {dims[1]} with {shared_mem} bytes of shared memory.")
        values = [_argument(name, i, kind, arg) for i, (kind, arg) in enumerate(zip(parameters, args, strict=True))]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*[value.ctypes.data for value in values])
        sizes = [(ctypes.c_uint * 3)(*size) for size in dims]
        failed = self._launches[name](*sizes, ctypes.c_size_t(shared_mem), ctypes.c_uint64(seed), pointers)
        if failed:
            raise EmulatorError(f"{name}: {failed.decode()}.")
        _check_guards(name)


def _argument(kernel: str, i: int, kind: str, arg: Any) -> np.ndarray:
    """One argument as the bytes that the kernel will read."""
    size = int(kind[1:])
    if kind[0] == "p":
        address = arg.ctypes.data if isinstance(arg, np.ndarray) else getattr(getattr(arg, "data", arg), "ptr", arg)
        if isinstance(address, (int, np.uint64)) and not isinstance(arg, bool):
            return np.array([address], np.uint64)
    else:
        value = np.int64(arg) if type(arg) is int else np.float64(arg) if type(arg) is float else arg
        kinds = {"i": "iub", "f": "f"}[kind[0]]
        if isinstance(value, np.generic) and value.dtype.kind in kinds and value.itemsize == size:
            return np.array([value])
    what = {"p": "a pointer", "i": "an integer", "f": "a floating-point number"}[kind[0]]
    came = f"{type(arg).__name__} {arg!r}" if np.ndim(arg) == 0 else f"an array {np.shape(arg)}"
    raise EmulatorError(f"{kernel}: argument {i} is {what} of {size} bytes; {came} is none.")


# Arrays with guards

PAGE = mmap.PAGESIZE
ALIGNED = 16  # bytes, for vector loads; CuPy's own arrays are aligned to 512
FILL = 0xFF  # NaN in every float dtype, -1 in integers
_guards: list[tuple[weakref.ref[Any], int, int]] = []
_libc = ctypes.CDLL(None, use_errno=True)


class _Pages(mmap.mmap):  # unlike mmap's own, these can be referred to weakly
    pass


def guarded(array: Any, misaligned: int = 0) -> np.ndarray:
    """A C-contiguous copy whose end lies as near as its alignment allows to a page that cannot be touched.

    `misaligned` moves it that many elements off its alignment, as a view of a vector may lie.
    """
    array = np.asarray(array)
    offset = misaligned * array.itemsize % ALIGNED
    inner = -(-(array.nbytes + 2 * ALIGNED) // PAGE) * PAGE
    pages = _Pages(-1, inner + 2 * PAGE)
    whole = np.frombuffer(pages, np.uint8)
    whole[PAGE:-PAGE] = FILL
    for page in (0, PAGE + inner):
        if _libc.mprotect(ctypes.c_void_p(whole.ctypes.data + page), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    start = PAGE + (inner - array.nbytes - offset) // ALIGNED * ALIGNED + offset
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    _guards.append((weakref.ref(pages), start, start + array.nbytes))
    return copy


def _check_guards(kernel: str) -> None:
    _guards[:] = [guard for guard in _guards if guard[0]() is not None]
    for ref, start, end in _guards:
        if (pages := ref()) is not None:
            whole = np.frombuffer(pages, np.uint8)
            if (whole[PAGE:start] != FILL).any() or (whole[end:-PAGE] != FILL).any():
                raise EmulatorError(f"{kernel}: bytes beside an array were written.")
