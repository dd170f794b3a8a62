"""Times of steps on a GPU, and what the host asks of it in a step.

A block of steps lies between two events on the stream that they run on, so that what the host cannot start in time
counts as it does in training; the clock on the wall stands beside it. The first blocks are not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from benchmarks.timing import Step

LAUNCHES = ("LaunchKernel", "GraphLaunch", "MemcpyAsync", "MemsetAsync")
WAITS = ("StreamSynchronize", "DeviceSynchronize", "EventSynchronize", "CtxSynchronize")
WARM_UP = 3  # steps before anything is timed: the first record, compile and capture


class Watch(Protocol):
    """Measures a block of steps."""

    def start(self) -> None:
        """Wait until the device has nothing to do, and begin."""

    def stop(self, last: Any) -> float | None:
        """Wait for the result of the last step; the seconds on the device, if they can be told."""


class CupyWatch:
    """By CuPy's events."""

    def __init__(self) -> None:
        import cupy

        self._cuda = cupy.cuda
        self._events = cupy.cuda.Event(), cupy.cuda.Event()

    def start(self) -> None:
        """See Watch."""
        self._cuda.get_current_stream().synchronize()
        self._events[0].record()

    def stop(self, last: Any) -> float | None:
        """See Watch."""
        self._events[1].record()
        self._events[1].synchronize()
        return float(self._cuda.get_elapsed_time(*self._events)) / 1e3


class TorchWatch:
    """By PyTorch's events."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def start(self) -> None:
        """See Watch."""
        self._cuda.synchronize()
        self._events[0].record()

    def stop(self, last: Any) -> float | None:
        """See Watch."""
        self._events[1].record()
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1])) / 1e3


class ClockWatch:
    """By the clock alone: JAX shows no events."""

    def start(self) -> None:
        """See Watch."""

    def stop(self, last: Any) -> float | None:
        """See Watch."""
        last.block_until_ready()
        return None


class Timing(NamedTuple):
    """Seconds of a step: medians over blocks, on the device and on the wall, and the fastest and slowest block."""

    device: float
    wall: float
    fastest: float
    slowest: float


def timed(step: Step, watch: Watch, seconds: float, blocks: int) -> Timing:
    """The time of a step, from blocks of about `seconds`."""
    for _ in range(WARM_UP):
        last = step()
    calls, once = 1, _block(step, watch, 1)[1]
    while calls * once < seconds / 4:
        calls *= 2
        once = _block(step, watch, calls)[1]
    calls = max(1, round(seconds / max(once, 1e-9)))
    found = [_block(step, watch, calls) for _ in range(blocks + 1)][1:]
    device, wall = zip(*found, strict=True)
    del last
    return Timing(statistics.median(device), statistics.median(wall), min(device), max(device))


def _block(step: Step, watch: Watch, calls: int) -> tuple[float, float]:
    """Seconds of a step on the device and on the wall, as a mean over a block; the wall's for both if need be."""
    watch.start()
    begin = time.perf_counter()
    for _ in range(calls):
        last = step()
    device = watch.stop(last)
    wall = (time.perf_counter() - begin) / calls
    return (wall if device is None else device / calls), wall


class Work(NamedTuple):
    """What the host asks for in a step: launches (of kernels, graphs and copies), those of graphs among them, and waits
    for the device; and how many kernels and copies the device runs for that."""

    launches: int
    graph_launches: int
    waits: int
    kernels: int


def work_of(step: Step, synchronize: Callable[[], Any], steps: int = 10) -> Work:
    """What a step asks for, as CUPTI sees it through PyTorch's profiler, whoever makes the calls.

    Raises ImportError without PyTorch, RuntimeError where the profiler sees nothing.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    step()
    synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        synchronize()
    events = profiler.events()
    kernels = sum(event.device_type == DeviceType.CUDA for event in events)
    if not kernels:
        raise RuntimeError("the profiler saw nothing on the device")
    calls = [event.name for event in events if event.device_type == DeviceType.CPU]
    counts = [
        sum(any(part in name for part in parts) for name in calls) for parts in (LAUNCHES, ("GraphLaunch",), WAITS)
    ]
    # Whole ones: what was waited for around the steps counts for none of them
    return Work(*(count // steps for count in [*counts, kernels]))


def allocated_by_cupy(step: Step) -> int:
    """Bytes of device memory that a step takes from CuPy's pools."""
    import cupy

    class Hook(cupy.cuda.MemoryHook):  # type: ignore[misc,name-defined]
        name = "bytes of a step"
        taken = 0

        def malloc_postprocess(self, device_id: int, size: int, mem_size: int, mem_ptr: int, pmem_id: int) -> None:
            self.taken += mem_size

    with Hook() as hook:
        step()
    return hook.taken


def allocated_by_torch(step: Step) -> int:
    """Bytes of device memory that a step takes from PyTorch's allocator."""
    import torch

    before = torch.cuda.memory_stats()["allocated_bytes.all.allocated"]
    step()
    return int(torch.cuda.memory_stats()["allocated_bytes.all.allocated"] - before)
