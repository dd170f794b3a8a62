"""Matrix products on a GPU: `gemm` writes one where it is told to, and can be captured in a CUDA graph."""

from __future__ import annotations

from typing import Any

from minihybrid.device import Device
from minihybrid.kernels.cublas import cublas


def gemm(out: Any, a: Any, b: Any) -> None:
    """out = a @ b, for arrays of CuPy's: out [..., n, m] in C order, a [..., n, k], b [..., k, m], of one float dtype.

    Leading axes are the same. Runs on the current stream; nothing is allocated, and nothing waited for. Raises
    ValueError for a or b whose elements cuBLAS cannot step through: see `layout` in cublas.py.
    """
    if not out.size:
        return
    if not a.shape[-1]:  # an empty sum
        out.fill(0)
        return
    device = Device.of(out)
    cublas(device.xp, device.index).multiply(out, a, b)
