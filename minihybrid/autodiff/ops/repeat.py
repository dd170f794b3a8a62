"""Functions that repeat elements: copies of each, of the whole, or of what is at the edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import as_operands, require_axis
from minihybrid.autodiff.ops.index import take
from minihybrid.autodiff.ops.shape import broadcast_to, expand_dims, ravel, reshape
from minihybrid.autodiff.tensor import Tensor


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element, or each slice along an axis, `repeats` times in a row; `repeats` may give a number for each.

    Without an axis x is flattened. Raises ValueError for a negative number, or another number of numbers.

    >>> import minihybrid as mh
    >>> mh.repeat(mh.tensor([1, 2]), 2).tolist(), mh.repeat(mh.tensor([1, 2]), [0, 3]).tolist()
    ([1, 1, 2, 2], [2, 2, 2])
    """
    (x,) = as_operands("repeat", x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = require_axis("repeat", axis, x)
    n = x.shape[axis]
    counts = np.asarray(repeats.numpy() if isinstance(repeats, Tensor) else repeats)
    if counts.ndim > 1 or counts.size not in (1, n) or (counts < 0).any():
        raise ValueError(f"repeat: repeats is {repeats}; expected a number >= 0, or {n} of them for axis {axis} of x.")
    if counts.size != 1:
        return take(x, np.repeat(np.arange(n, like=_array(x)), counts.tolist()), axis)
    times, before, after = int(counts.reshape(())), x.shape[:axis], x.shape[axis + 1 :]
    copies = broadcast_to(expand_dims(x, axis + 1), (*before, n, times, *after))
    return reshape(copies, (*before, n * times, *after))


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """The whole of x, `reps` times along each of the last axes.

    >>> import minihybrid as mh
    >>> mh.tile(mh.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    (x,) = as_operands("tile", x)
    times = (reps,) if isinstance(reps, int) else tuple(int(r) for r in reps)
    if any(r < 0 for r in times):
        raise ValueError(f"tile: reps is {reps}; expected numbers >= 0.")
    axes = max(x.ndim, len(times))
    shape, times = (1,) * (axes - x.ndim) + x.shape, (1,) * (axes - len(times)) + times
    copies = [length for pair in zip(times, shape, strict=True) for length in pair]
    single = [length for n in shape for length in (1, n)]
    whole = tuple(r * n for r, n in zip(times, shape, strict=True))
    return reshape(broadcast_to(reshape(x, single), copies), whole)


_MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """x with more elements before and after it: `pad_width` is a number, (before, after), or such a pair for each axis.

    `mode` is "constant" (`constant_values`), "edge" (the last element), "reflect" (mirrored at the last element),
    "symmetric" (mirrored behind it) or "wrap" (from the other end). Raises ValueError for other modes and widths.

    >>> import minihybrid as mh
    >>> x = mh.tensor([1, 2, 3])
    >>> mh.pad(x, 1).tolist(), mh.pad(x, (2, 0), mode="reflect").tolist()
    ([0, 1, 2, 3, 0], [3, 2, 1, 2, 3])
    """
    (x,) = as_operands("pad", x)
    if mode not in _MODES:
        raise ValueError(f"pad: mode is {mode!r}; expected one of {', '.join(map(repr, _MODES))}.")
    try:
        widths = [(int(a), int(b)) for a, b in np.broadcast_to(pad_width, (x.ndim, 2)).tolist()]
    except ValueError:
        widths = [(-1, -1)]
    if any(width < 0 for pair in widths for width in pair):
        raise ValueError(
            f"pad: pad_width is {pad_width} for x {x.shape}; expected a number >= 0, a pair (before, after), or a pair "
            "for each axis."
        )
    if x.ndim == 0:
        return x
    if mode == "constant":
        return _pad(x, widths, constant_values)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            if x.shape[axis] == 0:
                raise ValueError(f"pad: axis {axis} of x {x.shape} is empty; only mode 'constant' can extend it.")
            places = np.arange(x.shape[axis], like=_array(x))
            x = take(x, np.pad(places, (before, after), mode=mode), axis)  # type: ignore[call-overload]
    return x


@op(x=lambda g, x_shape, widths: g[tuple(slice(a, a + n) for n, (a, _) in zip(x_shape, widths, strict=True))])
def _pad(x: Any, widths: Any, constant_values: Any = 0) -> Any:
    return np.pad(x, widths, constant_values=constant_values)
