"""Where the tests of the CUDA path run: on the stand-in for CuPy always, on a real GPU when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from minihybrid import device as device_module, kernels
from minihybrid.device import Device
from tests.cuda import emulator, graphs, strict_cupy


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> graphs.Machine:
    """What the stand-in's device is given to do; with it come CUDA graphs and cuBLAS."""
    return graphs.install(monkeypatch)


@pytest.fixture
def emulated() -> None:
    """The stand-in runs CUDA kernels, by the emulator; without this, array code, their twin, does what they would.

    Compiling them takes seconds, and running them a hundred times as long as array code.
    """


@pytest.fixture
def strict(
    machine: graphs.Machine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Device]:
    """The device "cuda", which is the stand-in's."""
    if "emulated" in request.fixturenames:
        if emulator.compiler() is None:
            pytest.skip("running CUDA sources on the CPU needs g++")
    else:
        monkeypatch.setattr(kernels, "fits", lambda *arrays: False)
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy.cupy)
    monkeypatch.setitem(sys.modules, "cupyx", strict_cupy.cupyx)
    device_module._cuda.cache_clear()
    yield Device("cuda")
    device_module._cuda.cache_clear()


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Device:
    """The device "cuda": the stand-in's, and the real one under `pytest -m gpu`."""
    return request.getfixturevalue("strict") if request.param == "strict" else Device("cuda")
