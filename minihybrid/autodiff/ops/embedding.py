"""Looking rows up in a table, and its adjoint: adding rows up by label."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import require_between, require_one_device
from minihybrid.autodiff.tensor import Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import Device, on_cpu


def _indices(op: str, indices: Any, rows: int, x: Any) -> Any:
    """The indices into x, or of it, as an array where x is, checked: integers in 0..rows-1."""
    x = x.array if isinstance(x, Tensor) else x
    if isinstance(indices, Tensor):
        indices = indices.array
    elif not hasattr(indices, "dtype"):
        indices = Device.of(x).array(indices)
    if type(indices) is not type(x):  # those of one device are of one class
        require_one_device(op, x=x, indices=indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: the indices are {indices.dtype}; expected integers, one row number each.")
    require_between(
        indices, 0, rows, lambda a, b: f"{op}: the indices range from {a} to {b}; {rows} rows are 0 to {rows - 1}."
    )
    return indices


@op(weight=lambda g, weight_shape, indices: _segment_sum(g, indices, weight_shape[0]))
def _embedding(weight: Any, indices: Any) -> Any:
    return weight.take(indices, axis=0)


@op(x=lambda g, indices: _embedding(g, indices))
def _segment_sum(x: Any, indices: Any, count: int) -> Any:
    return added_up(x, indices, np.empty_like(x, shape=(count, *x.shape[indices.ndim :]), order="C"))


@fusible
def added_up(x: Any, indices: Any, out: Any) -> Any:
    """The rows of x added up by index into out, which they are returned in; no index is checked."""
    return opaque_call(_add_up, x, indices, out)


@added_up.kernel
def _(x: Any, indices: Any, out: Any) -> Any:
    if not (kernels.fits(x, out) and out.size):
        return NotImplemented
    rows = (
        kernels.contiguous(x).reshape(indices.size, -1)
        if x.size
        else np.empty_like(x, shape=(0, out[0].size), order="C")
    )
    opaque_call(kernels.segment_sum, out.reshape(len(out), -1), rows, kernels.labels(indices))
    return out


def _add_up(x: Any, indices: Any, out: Any) -> Any:
    """The rows of x with index i added up into out[i]: sorted by index, equal ones stand side by side."""
    out[...] = 0
    labels, rows = indices.reshape(-1), x.reshape(indices.size, *x.shape[indices.ndim :])
    if not on_cpu(x):  # of a dtype without a kernel; CuPy has no reduceat, and adds in any order
        add_at(out, labels, rows)
    elif labels.size:
        order = labels.argsort(kind="stable")
        labels = labels[order]
        new = np.ones(labels.size, bool)
        np.not_equal(labels[1:], labels[:-1], out=new[1:])
        starts = new.nonzero()[0]
        out[labels[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return out


def add_at(out: Any, index: Any, x: Any) -> None:
    """np.add.at; called by itself, it would not be CuPy's where an index is a tuple, which no array is."""
    if not on_cpu(out) and out.dtype == np.int64:  # atomically CuPy adds unsigned ones alone, to the same bits
        out = out.view(np.uint64)
    Device.of(out).xp.add.at(out, index, x)


def _embedding_weight(g: Any, weight_shape: tuple[int, ...], indices: Any, into: Any = None) -> Any:
    return added_up(g, indices, np.empty_like(g, shape=weight_shape, order="C") if into is None else into)


_embedding.fast(weight=_embedding_weight)


def embedding(weight: Any, indices: Any) -> Any:
    """Rows of a table: weight [rows, ...], indices integers of any shape [...] in 0..rows-1 -> [..., ...].

    Raises TypeError for indices that are no integers, IndexError for those outside the range.

    >>> import minihybrid as mh
    >>> mh.embedding(mh.tensor([[0.0, 1.0], [2.0, 3.0]]), [1, 1, 0]).tolist()
    [[2.0, 3.0], [2.0, 3.0], [0.0, 1.0]]
    """
    return _embedding(weight, _indices("embedding", indices, weight.shape[0], weight))


def segment_sum(x: Any, indices: Any, count: int) -> Any:
    """Rows added up by label: x [..., *row], indices integers [...] in 0..count-1 -> [count, *row].

    Row i of the result is the sum of the rows of x whose index is i, or 0. Raises as `embedding` does, and ValueError
    where the shapes do not fit.

    >>> import minihybrid as mh
    >>> mh.segment_sum(mh.tensor([1.0, 2.0, 4.0]), [1, 1, 3], 4).tolist()
    [0.0, 3.0, 0.0, 4.0]
    """
    indices = _indices("segment_sum", indices, count, x)
    if x.shape[: indices.ndim] != indices.shape:
        raise ValueError(
            f"segment_sum: x {x.shape} and indices {indices.shape} do not fit; x has the axes of the indices, then "
            "those of a row."
        )
    return _segment_sum(x, indices, count)
