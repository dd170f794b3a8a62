"""NVRTC, NVIDIA's compiler of CUDA sources, called directly: it needs neither a GPU nor a driver, nor CuPy."""

import ctypes
import ctypes.util
import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple


@functools.cache
def library() -> ctypes.CDLL | None:
    """libnvrtc, from the package nvidia-cuda-nvrtc (which CuPy's extra `ctk` brings, too) or of the system."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = [str(path) for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.[0-9]*"))]
    name = found[0] if found else ctypes.util.find_library("nvrtc")
    return None if name is None else ctypes.CDLL(name)


class Compiled(NamedTuple):
    """What came of a source: whether it compiled, what the compiler said, and the text of its assembly."""

    ok: bool
    log: str
    ptx: str


def compile(source: str, options: tuple[str, ...]) -> Compiled:
    """Compile a CUDA source, as CuPy does (cupy/cuda/compiler.py): subnormal floats count as 0."""
    options += ("-ftz=true",)
    nvrtc, program = library(), ctypes.c_void_p()
    assert nvrtc is not None

    def text(what: str) -> str:
        size = ctypes.c_size_t()
        assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
        buffer = ctypes.create_string_buffer(size.value)
        assert getattr(nvrtc, f"nvrtcGet{what}")(program, buffer) == 0
        return buffer.value.decode()

    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None) == 0
    flags = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    ok = nvrtc.nvrtcCompileProgram(program, len(options), flags) == 0
    compiled = Compiled(ok, text("ProgramLog"), text("PTX") if ok else "")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return compiled
