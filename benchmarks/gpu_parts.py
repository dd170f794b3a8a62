"""Parts of a step on a GPU, each by itself: Adam on a long vector, a delta, matrix products by either route.

What is over in microseconds is timed as a CUDA graph of many calls, so that the device is timed, and not the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minihybrid as mh
from benchmarks.on_device import CupyWatch, timed
from minihybrid.autodiff.graph import Graph
from minihybrid.kernels.gemm import ROUTES, route

Row = dict[str, Any]

PRODUCTS = [  # [n, k] @ [k, m], with the operand that is transposed
    *[(64, 784, 128, ""), (64, 128, 10, ""), (784, 64, 128, "a"), (128, 64, 10, "a"), (64, 10, 128, "b")],
    *[(4, 2, 16, ""), (4, 16, 1, ""), (128, 784, 512, ""), (128, 512, 256, ""), (784, 128, 512, "a")],
    *[(64, 256, 256, ""), (256, 64, 256, "a"), (512, 512, 512, ""), (4096, 1024, 1024, "")],
]
CALLS = 20  # in one graph


def parts(small: bool, seconds: float, blocks: int) -> Iterator[Row]:
    """A row for each part; `small` is for a look at whether it runs at all."""
    device = mh.Device("cuda")
    for name, function in {"adam": _adam, "delta": _delta, "products": _products}.items():
        try:
            yield from function(device, small, lambda step: timed(step, CupyWatch(), seconds, blocks).device)
        except Exception as error:  # the others can still be measured
            yield {"part": name, "failure": f"{type(error).__name__}: {error}"}


Time = Callable[[Callable[[], Any]], float]


class Vector(mh.Module):
    """A model that is one vector."""

    values: mh.Param


def _adam(device: mh.Device, small: bool, time: Time) -> Iterator[Row]:
    """The bytes a second that a step of Adam moves, of those that a copy moves."""
    n = 1000 if small else 100_000_000
    xp = device.xp
    gradient, other = xp.zeros(n, np.float32), xp.zeros(n, np.float32)
    copied = 2 * other.nbytes / time(lambda: xp.copyto(other, gradient))
    model, optimizer = Vector(mh.Param(xp.zeros(n, np.float32))), mh.optim.Adam()
    # The weights, the gradient and both moments are read, all but the gradient are written.
    stepped = time(lambda: optimizer.apply(1e-9, model, gradient, [True]))
    moved = 7 * gradient.nbytes / stepped
    yield {"part": f"Adam on {n:,} parameters", "us": 1e6 * stepped, "bytes_per_second": moved}
    yield {"part": f"copy of {n:,} numbers", "us": 1e6 * 2 * gradient.nbytes / copied, "bytes_per_second": copied}
    yield {"part": "Adam, share of the bandwidth of a copy", "ratio": moved / copied}


def _delta(device: mh.Device, small: bool, time: Time) -> Iterator[Row]:
    """A delta applied to a model, as a trainer does it."""
    n = 1000 if small else 1_000_000
    model, vector = Vector(mh.Param(device.xp.zeros(n, np.float32))), device.xp.zeros(n, np.float32)

    def step() -> None:
        nonlocal model
        model = model.apply_delta(vector)

    yield {"part": f"delta of {n:,} parameters", "us": 1e6 * time(step)}


def _products(device: mh.Device, small: bool, time: Time) -> Iterator[Row]:
    """Matrix products by either route, and which one is taken."""
    for n, k, m, turned in [(4, 3, 2, ""), (4, 3, 2, "a")] if small else PRODUCTS:
        xp = device.xp
        out = xp.zeros((n, m), np.float32)
        a = xp.ones((k, n), np.float32).T if turned == "a" else xp.ones((n, k), np.float32)
        b = xp.ones((m, k), np.float32).T if turned == "b" else xp.ones((k, m), np.float32)
        row: Row = {"part": f"[{n}, {k}] @ [{k}, {m}]{turned and f', {turned} transposed'}", "route": route(n, k, m)}
        for name, function in ROUTES.items():
            graph = Graph(device)
            graph.body = lambda function=function, out=out, a=a, b=b: _repeat(function, out, a, b)  # type: ignore[misc]
            row[f"us_{name}"] = 1e6 * time(graph) / CALLS
        yield row


def _repeat(function: Callable[..., None], out: Any, a: Any, b: Any) -> None:
    for _ in range(CALLS):
        function(out, a, b)
