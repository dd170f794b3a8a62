"""Ops that pick elements by position, put others in their place, and the adjoint of picking: adding up by position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands, require_axis, require_between, require_one_device
from minihybrid.autodiff.ops.embedding import add_at, added_up, segment_sum
from minihybrid.autodiff.ops.shape import broadcast_to, ravel
from minihybrid.autodiff.tensor import Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import Device, on_cpu, shaped_like

# Anywhere in an array, by NumPy's rules for x[index]


@op(x=lambda g, x_shape, index: index_add(g, index, x_shape))
def _getitem(x: Any, index: Any) -> Any:
    return x[index]


def getitem(x: Any, index: Any) -> Any:
    """x[index]: slices, integers, None, an ellipsis, boolean masks, integer arrays, lists or tensors of both kinds.

    >>> import minihybrid as mh
    >>> x = mh.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x[:, 0].tolist(), x[x > 2].tolist(), x[[0, 0]].tolist()
    ([1.0, 3.0], [3.0, 4.0], [[1.0, 2.0], [1.0, 2.0]])
    """
    return _getitem(x, _plain("getitem", x, index))


def _plain(op: str, x: Any, index: Any) -> Any:
    """An index into x with arrays where it had tensors."""
    if isinstance(index, Tensor):
        index = index.array
    if isinstance(index, (tuple, list)) and any(
        hasattr(part, "dtype") or type(part) in (tuple, list) for part in index
    ):
        return type(index)(_plain(op, x, part) for part in index)
    if hasattr(index, "strides"):
        require_one_device(op, x=x, index=index)
    return index


@op(x=lambda g, index: getitem(g, index))
def index_add(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape with x added at an index, once for every time that a position occurs in it."""
    if _names_no_position_twice(index):
        out = shaped_like(np.zeros_like, x, shape=shape)
        out[index] = x
        return out
    rows = _rows(index)
    if not on_cpu(x) and hasattr(rows, "dtype"):  # in their order, and CuPy's add.at in any
        out = np.empty_like(x, shape=shape, order="C")
        return added_up(np.broadcast_to(x, rows.shape + shape[1:]), rows % max(1, shape[0]), out)
    return opaque_call(_index_add, x, index, shape)


def _rows(index: Any) -> Any:
    """What an index picks along the first axis, if that is all it does; else the tuple that it is."""
    return index[0] if isinstance(index, tuple) and len(index) == 1 else index


def _index_add(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    size = math.prod(shape)
    if not on_cpu(x) or x.dtype.kind != "f" or len(shape) < 2 or size > 8 * x.size:
        out = shaped_like(np.zeros_like, x, shape=shape)  # here it is fast, or there is little to add
        add_at(out, index, x)
        return out
    rows = _rows(index)
    if not isinstance(rows, tuple):
        rows = np.asarray(rows) % shape[0]
        return segment_sum(np.broadcast_to(x, rows.shape + shape[1:]), rows, shape[0])
    positions = np.arange(size).reshape(shape)[index]
    weights = np.broadcast_to(x, positions.shape).ravel()
    return np.bincount(positions.ravel(), weights, size).astype(x.dtype).reshape(shape)


def _names_no_position_twice(index: Any) -> bool:
    """Whether an index is made of slices, single integers and masks alone."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer)) or _is_mask(part)
        for part in parts
    )


def _is_mask(part: Any) -> bool:
    return (part if hasattr(part, "dtype") else np.asarray(part)).dtype.kind == "b"


@op(x=lambda g, index: index_set(g, index, 0), values=lambda g, index: _last_written(g, index))
def _index_set(x: Any, index: Any, values: Any) -> Any:
    if not on_cpu(x) and np.ndim(values) and not _names_no_position_twice(index):
        picked = x[index]
        if picked.size:
            latest = opaque_call(_latest, picked, index, x.shape)
            return np.where(latest < 0, x, np.broadcast_to(values, picked.shape).reshape(-1)[latest])
    out = x.copy()
    out[index] = values
    return out


def _latest(picked: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """At each position of a shape, which of the elements picked by an index is the last there; -1 where none is."""
    order = np.arange(picked.size, dtype=np.int32, like=picked).reshape(picked.shape)
    latest = shaped_like(np.full_like, picked, -1, shape=shape, dtype=np.int32)
    if on_cpu(picked):
        latest[index] = order
    else:  # which writes in any order
        Device.of(latest).xp.maximum.at(latest, index, order)
    return latest


def index_set(x: Any, index: Any, values: Any) -> Any:
    """A copy of x with `values`, which may broadcast, at an index as in x[index]; of several for one place the last.

    >>> import minihybrid as mh
    >>> mh.index_set(mh.tensor([1.0, 2.0, 3.0]), slice(1, None), 0.0).tolist()
    [1.0, 0.0, 0.0]
    """
    return _index_set(x, _plain("index_set", x, index), values)


def _last_written(g: Any, index: Any) -> Any:
    """The cotangent for each value that was set: 0 for those that a later one at the same position replaced."""
    picked = getitem(g, index)
    if _names_no_position_twice(index):
        return picked
    array = picked.array if isinstance(picked, Tensor) else picked
    latest = opaque_call(_latest, array, index, g.shape)
    order = np.arange(array.size, dtype=np.int32, like=array).reshape(array.shape)
    return picked * (latest[index] == order).astype(g.dtype)


# Along one axis


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The slices of x at integer positions along an axis, or elements of x flattened: indices [...] take its place.

    Negative positions count from the end. Raises IndexError for positions outside x, TypeError for no integers.

    >>> import minihybrid as mh
    >>> mh.take(mh.tensor([[1, 2, 3]]), [2, 0, -1], axis=1).tolist()
    [[3, 1, 3]]
    """
    (x,) = as_operands("take", x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = require_axis("take", axis, x)
    indices = _integers("take", indices, x.shape[axis], x)
    return _getitem(x, (*(slice(None),) * axis, indices))


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """One element for each index along an axis: out[i, j, k] = x[i, indices[i, j, k], k] for axis 1.

    The other axes of indices have x's length, or broadcast; without an axis x is flattened. Raises as `take` does.

    >>> import minihybrid as mh
    >>> mh.take_along_axis(mh.tensor([[1, 2], [3, 4]]), mh.tensor([[1], [0]]), axis=1).tolist()
    [[2], [3]]
    """
    (x,) = as_operands("take_along_axis", x)
    if axis is None:
        x, axis = ravel(x), 0
    return _getitem(x, _along("take_along_axis", x, indices, axis))


def put_along_axis(x: Any, indices: Any, values: Any, axis: int | None) -> Any:
    """A copy of x with values put along an axis: out[i, indices[i, j, k], k] = values[i, j, k] for axis 1.

    What NumPy's function does in place. Values broadcast to the indices; of several for one
    position the last one stays, and it alone has a gradient. Without an axis, positions count through x flattened.

    >>> import minihybrid as mh
    >>> mh.put_along_axis(mh.tensor([[1, 2], [3, 4]]), [[1], [0]], 0, axis=1).tolist()
    [[1, 0], [0, 4]]
    """
    (x,) = as_operands("put_along_axis", x)
    if axis is None:
        return _index_set(ravel(x), _along("put_along_axis", ravel(x), indices, 0), values).reshape(x.shape)
    return _index_set(x, _along("put_along_axis", x, indices, axis), values)


def gather(x: Any, indices: Any, axis: int = -1) -> Any:
    """PyTorch's take_along_axis: out[i, j, k] = x[i, indices[i, j, k], k] for axis 1, for as many i and k as given.

    The indices are as long as x along the other axes, or shorter; they do not broadcast. Raises as `take` does.

    >>> import minihybrid as mh
    >>> mh.gather(mh.tensor([[1, 2], [3, 4]]), mh.tensor([[1]]), axis=1).tolist()
    [[2]]
    """
    (x,) = as_operands("gather", x)
    return _getitem(x, _corner("gather", x, indices, axis))


def scatter(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """PyTorch's put_along_axis: a copy of x with values put where `gather` would take them; of several the last.

    The values have the shape of the indices, or broadcast to it.

    >>> import minihybrid as mh
    >>> mh.scatter(mh.tensor([[1, 2], [3, 4]]), [[1]], 0, axis=1).tolist()
    [[1, 0], [3, 4]]
    """
    (x,) = as_operands("scatter", x)
    return _index_set(x, _corner("scatter", x, indices, axis), values)


def scatter_add(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """x with values added where `scatter` would put them, all of those for one position.

    >>> import minihybrid as mh
    >>> mh.scatter_add(mh.tensor([1.0, 2.0]), [1, 1, 1], mh.tensor([10.0, 20.0, 30.0])).tolist()
    [1.0, 62.0]
    """
    x, values = as_operands("scatter_add", x, values)
    index = _corner("scatter_add", x, indices, axis)
    return x + index_add(broadcast_to(values, np.broadcast_shapes(*(i.shape for i in index))), index, x.shape)


def _corner(op: str, x: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """As `_along`, for indices that cover the first places of the other axes."""
    axis = require_axis(op, axis, x)
    indices = _integers(op, indices, x.shape[axis], x)
    fits = indices.ndim == x.ndim and all(
        i == axis or a <= b for i, (a, b) in enumerate(zip(indices.shape, x.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"{op}: x has shape {x.shape} and the indices {indices.shape}; they need x's axes, none longer than x's "
            f"except for axis {axis}."
        )
    return tuple(indices if i == axis else _places(n, i, indices) for i, n in enumerate(indices.shape))


def _along(op: str, x: Any, indices: Any, axis: int) -> tuple[Any, ...]:
    """The index of all axes that names positions along one axis, and their own place along the others."""
    axis = require_axis(op, axis, x)
    indices = _integers(op, indices, x.shape[axis], x)
    fits = indices.ndim == x.ndim and all(
        i == axis or a == b or 1 in (a, b) for i, (a, b) in enumerate(zip(indices.shape, x.shape, strict=True))
    )
    if not fits:
        raise ValueError(
            f"{op}: x has shape {x.shape} and the indices {indices.shape}; they need x's axes, of the same length or 1 "
            f"except for axis {axis}."
        )
    return tuple(indices if i == axis else _places(n, i, indices) for i, n in enumerate(x.shape))


def _places(n: int, axis: int, like: Any) -> Any:
    """0 to n - 1 along an axis of as many as `like` has, where it is."""
    return np.arange(n, like=like).reshape([n if i == axis else 1 for i in range(like.ndim)])


def _integers(op: str, indices: Any, n: int, x: Any = None) -> Any:
    """The indices as an array, where x is if there is one, checked: integers in -n..n-1."""
    indices = indices.array if isinstance(indices, Tensor) else indices
    if not hasattr(indices, "dtype"):
        given = np.asarray(indices)
        indices = given.astype(np.intp) if given.size == 0 else given
        if x is not None:
            indices = Device.of(x.array if isinstance(x, Tensor) else x).array(indices)
    if x is not None:
        require_one_device(op, x=x, indices=indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{op}: the indices are {indices.dtype}; expected integers.")
    require_between(
        indices,
        -n,
        n,
        lambda a, b: (
            f"{op}: the indices range from {a} to {b}; an axis of length {n} has the positions 0 to {n - 1}, or -1 to "
            f"{-n} from its end."
        ),
    )
    return indices


def one_hot(indices: Any, classes: int, dtype: Any = "float32") -> Any:
    """1 at each index along a new last axis, and 0 elsewhere: integers [...] in 0..classes-1 -> [..., classes].

    >>> import minihybrid as mh
    >>> mh.one_hot(mh.tensor([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    array = _integers("one_hot", indices, classes)
    require_between(
        array, 0, classes, lambda a, b: f"one_hot: the indices begin at {a}; {classes} classes are 0 to {classes - 1}."
    )
    hot = (array[..., None] == np.arange(classes, like=array)).astype(dtype)
    return Tensor(hot) if isinstance(indices, Tensor) else hot
