"""Calls on a GPU as one launch: a CUDA graph, captured once.

What a graph can hold is decided call by call when a plan is made: `why_not` knows the calls whose work is kernels and
copies between places on the device that stay where they are. All else stays between two graphs.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from minihybrid.autodiff.trace import Call, Number, arrays_in, arrays_within, is_array
from minihybrid.device import Device, on_cpu
from minihybrid.rng import Rng


def why_not(call: Call) -> str:
    """Why a call cannot be captured; empty where it can."""
    function = call.function
    name = getattr(function, "__name__", type(function).__name__)
    if any(map(on_cpu, arrays_in(call))):
        return f"{name} works with an array on the CPU"
    if any(type(arg) is Number for arg in call.args):
        return f"{name} is given a number that changes, and not an array that holds it"
    if any(isinstance(arg, Rng) for arg in call.args):
        return f"{name} takes numbers from a random stream on the host"
    if (getattr(function, "__module__", None) or "").startswith("minihybrid.kernels."):
        return ""  # launchers there allocate nothing, and wait for nothing
    if any(map(_is_copied, [*call.args, *call.options.values()])):
        return f"{name} is given a list, which has to be copied to the device"
    if function in (np.concatenate, np.stack) and len(call.args[0]) > MOST_JOINED:
        return f"{name} of more than {MOST_JOINED} arrays copies their addresses to the device; join some at a time"
    of = getattr(function, "__self__", function)
    if isinstance(of, np.ufunc):
        return f"np.{name} goes through cuBLAS, by a handle of CuPy's" if of.signature else ""
    if function in (operator.getitem, operator.setitem):
        masks = [array for array in arrays_within(call.args[1]) if array.dtype == bool]
        return "an index with a mask waits for the device" if masks else ""
    return "" if function in _KERNELS else f"{name} is not known to be kernels alone"


MOST_JOINED = 8  # arrays, each of which CuPy copies by itself; more go to one kernel, in _routines_manipulation.pyx


def _is_copied(value: Any) -> bool:
    """Whether it is, or holds, a list or a tuple in a tuple that CuPy makes an array of; of arrays it takes them."""
    nested = [item for item in value if isinstance(item, (list, tuple))] if isinstance(value, tuple) else [value]
    return any(isinstance(item, (list, tuple)) and not all(map(is_array, item)) for item in nested)


_KERNELS = {
    *(np.copyto, np.reshape, np.ravel, np.concatenate, np.stack, np.take, np.clip, np.where, np.round),
    *(np.sum, np.prod, np.max, np.min, np.mean, np.any, np.all, np.argmax, np.argmin),
}


def put(target: Any, source: Any) -> None:
    """target[...] = source, of one shape and dtype on a GPU, target in C order; a copy of memory is quickest."""
    if source.flags.c_contiguous:
        target.data.copy_from_device_async(source.data, target.nbytes)
    else:
        np.copyto(target, source)


class Graph:
    """A function of calls on a device, `body`: the first run is an ordinary one, the next is captured and launched.

    The first run compiles and loads kernels, which cannot be done during a capture. It also fills a memory pool of
    the graph's own with what CuPy's reductions and copies need for themselves, so that nothing is allocated during the
    capture, and what the graph writes to is given to nobody else. Where a capture fails, that is said in a
    RuntimeWarning and by `Plan.show`, and the calls are made one by one.
    """

    def __init__(self, device: Device) -> None:
        self.body: Callable[[], None]
        self.reason = ""
        """Why the calls are made one by one, if they are."""
        self._xp = device.xp
        self._graph: Any = None
        self._stream: Any = None
        self._pool: Any = None

    def __call__(self) -> None:
        """Run the calls on the current stream."""
        if self._graph is not None:
            self._graph.launch()
        elif self.reason:
            self.body()
        elif self._stream is None:
            self._try_out()
        else:
            self._capture()
            self()

    @property
    def captured(self) -> bool:
        """Whether a run is one launch from now on."""
        return self._graph is not None

    def _try_out(self) -> None:
        cuda = self._xp.cuda
        self._stream, self._pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        current = cuda.get_current_stream()
        self._stream.wait_event(current.record())
        with self._stream, cuda.using_allocator(self._pool.malloc):
            self.body()
        current.wait_event(self._stream.record())

    def _capture(self) -> None:
        try:
            with self._stream, self._xp.cuda.using_allocator(self._pool.malloc):
                self._stream.begin_capture()
                try:
                    self.body()
                finally:
                    graph = self._stream.end_capture()
            self._graph = graph
        except Exception as error:  # CuPy's errors have no common class, and the step itself is sound
            cause = error.__context__ or error  # what ended the capture, where that makes it invalid
            self.reason = f"the capture failed with {type(cause).__name__}: {cause}"
            warnings.warn(f"a plan makes its calls one by one: {self.reason}", RuntimeWarning, stacklevel=3)
