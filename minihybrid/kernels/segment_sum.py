"""Rows added up by label."""

from __future__ import annotations

from typing import Any

from minihybrid.kernels.launch import launch


def segment_sum(out: Any, x: Any, labels: Any) -> None:
    """out [count, m]: row i is the sum of the rows of x [n, m] whose label, int64 [n], is i, in their order.

    The twin is `_add_up` in autodiff/ops/embedding.py.
    """
    count, columns = out.shape
    if out.size:
        threads = min(-(-columns // 32) * 32, 256)
        where = "segment_sum.cu", "segment_sum", out.dtype, (count,), (threads,)
        launch(*where, out, x, labels, count, len(labels), columns)
