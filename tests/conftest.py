"""Settings of the whole suite: how many examples a property gets, and which tests this machine can run."""

import os
from pathlib import Path

import hypothesis
import pytest

from minihybrid.device import Device, DeviceError
from tests.cuda import nvrtc

# No deadlines: the suite asserts no times, and a busy machine is no bug.
COMMON = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("dev", max_examples=25, **COMMON)
hypothesis.settings.register_profile("ci", max_examples=100, derandomize=True, **COMMON)
hypothesis.settings.register_profile("nightly", max_examples=2000, **COMMON)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`pytest -m gpu` reads what has such tests alone: other modules import what a machine with a GPU may lack."""
    if config.option.markexpr != "gpu":
        return None
    modules = collection_path.rglob("test_*.py") if collection_path.is_dir() else [collection_path]
    return None if any("cuda" in m.parts or "mark.gpu" in m.read_text("utf-8") for m in modules) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {"gpu": _why_no_gpu, "nvrtc": _why_no_nvrtc}
    for marker, why_not in reasons.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = why_not() if marked else None
        if reason:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))


def _why_no_gpu() -> str | None:
    try:
        Device("cuda")
    except DeviceError as error:
        return str(error)
    return None


def _why_no_nvrtc() -> str | None:
    return (
        None
        if nvrtc.library()
        else "compiling CUDA sources needs NVRTC: install nvidia-cuda-nvrtc (CUDA 13) or nvidia-cuda-nvrtc-cu12"
    )
