"""The launchers of minihybrid/kernels run on NumPy's arrays here, through the emulator."""

from collections.abc import Callable
from typing import Any

import pytest

from minihybrid.kernels import launch
from tests.cuda import emulator


@pytest.fixture(autouse=True)
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    if emulator.compiler() is None:
        pytest.skip("running CUDA sources on the CPU needs g++")

    def function(cupy: Any, source: str, kernel: str, dtype: str) -> Callable[..., None]:
        module = emulator.compile(launch.code(source), launch.options(dtype))
        return lambda grid, block, args: module.launch(kernel, grid, block, args)

    monkeypatch.setattr(launch, "function", function)
