"""NVIDIA's own compiler takes every CUDA source, for the GPUs of 2020 (sm_80) and 2022 (sm_90)."""

import re

import pytest

from minihybrid.kernels import launch
from tests.cuda import nvrtc

pytestmark = pytest.mark.nvrtc

SOURCES = sorted(path.name for path in launch.FOLDER.glob("*.cu"))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", launch.TYPES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_compiles_and_keeps_to_registers(source: str, dtype: str, architecture: str) -> None:
    more = f"--gpu-architecture={architecture}", "--ptxas-options=-v"
    compiled = nvrtc.compile(launch.code(source), (*launch.options(dtype), *more))
    assert compiled.ok, compiled.log
    assert "warning" not in compiled.log
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", compiled.log)]
    kernels = re.findall(r"\.entry (\w+)", compiled.ptx)
    assert len(registers) == len(kernels) > 0 and max(registers) <= 64  # 1024 threads find room on a multiprocessor
    assert set(re.findall(r"(\d+) bytes spill", compiled.log)) <= {"0"}


@pytest.mark.parametrize("source", ["clip.cu", "optimizer.cu"])
def test_walks_along_memory_take_16_bytes_at_once(source: str) -> None:
    for dtype, wide in (("float32", "v4.f32"), ("float64", "v2.f64")):
        ptx = nvrtc.compile(launch.code(source), (*launch.options(dtype), "--gpu-architecture=sm_90")).ptx
        assert f"ld.global.{wide}" in ptx


def test_subnormal_floats_count_as_0() -> None:
    ptx = nvrtc.compile(launch.code("optimizer.cu"), launch.options("float32")).ptx
    assert set(re.findall(r"\b(?:add|sub|mul)[.\w]*\.f32", ptx)) == {f"{op}.rn.ftz.f32" for op in ("add", "sub", "mul")}


def test_a_source_that_is_wrong_is_refused() -> None:
    compiled = nvrtc.compile('extern "C" __global__ void broken() { nonsense }', ())
    assert not compiled.ok and "nonsense" in compiled.log
