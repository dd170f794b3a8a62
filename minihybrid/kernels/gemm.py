"""Matrix products on a GPU, by one of two routes: a small tiled kernel, or cuBLAS.

The kernel has the bias in the same launch, and a product that is over in microseconds has no use for more; for the
others nothing beats cuBLAS. Which is taken depends on shapes alone, so a seed repeats a run to the bit, and a plan does
what the tape does. `python -m benchmarks.gpu` times both routes and says where `route` chose the slower one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minihybrid.device import Device
from minihybrid.kernels.cublas import cublas
from minihybrid.kernels.matmul import TILE, matmul

DEEPEST = 256  # a block of the tiled kernel walks along the summed axis alone
MOST_BLOCKS = 512  # about as many as are at work at the same time


def route(n: int, k: int, m: int, count: int = 1) -> str:
    """The name in ROUTES for `count` products [n, k] @ [k, m]."""
    blocks = -(-n // TILE) * -(-m // TILE)
    return "tiled" if count == 1 and k <= DEEPEST and blocks <= MOST_BLOCKS else "cublas"


def gemm(out: Any, a: Any, b: Any, bias: Any = None) -> None:
    """out = a @ b + bias, for arrays of CuPy's, all of float32 or all of float64.

    out [..., n, m] is in C order, a [..., n, k] and b [..., k, m] have the same leading axes, bias [m] may be left out.
    Runs on the current stream, allocates nothing and waits for nothing. Raises ValueError for a or b that cuBLAS cannot
    step through: see `layout` in cublas.py.
    """
    if out.size:
        n, m = out.shape[-2:]
        count = out.size // (n * m)
        if count == 1:
            out, a, b = (x[(0,) * (x.ndim - 2)] for x in (out, a, b))
        ROUTES[route(n, a.shape[-1], m, count)](out, a, b, bias)


def _by_cublas(out: Any, a: Any, b: Any, bias: Any = None) -> None:
    if a.shape[-1]:
        device = Device.of(out)
        cublas(device.xp, device.index).multiply(out, a, b)
    else:  # an empty sum, for which cuBLAS wants a step between rows all the same
        out.fill(0)
    if bias is not None:
        out += bias


ROUTES: dict[str, Callable[..., None]] = {"tiled": matmul, "cublas": _by_cublas}
