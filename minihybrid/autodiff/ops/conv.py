"""Convolution: one trilinear form and its three derivatives.

For an input x, a kernel w and an output y, add up over all samples n, channels, positions s and places k of the window

    y[n, o, s] * w[o, c, k] * x[n, c, what the window at s sees at k]

The derivative of this number in y is `conv`, in x `conv_transpose`, in w `conv_weight`. Each is linear in the two that
are left, so the derivatives of each are the other two, and gradients of any order need nothing else. With `groups`, the
channels are cut into as many parts, and the form is the sum over the parts.

As matrices, with what the window sees as columns: y = w @ columns(x). The columns hold every input element once for
each place of the window, so they are made for a few samples at a time, which fit into the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.ops.reduce import sum
from minihybrid.autodiff.ops.shape import reshape, swapaxes
from minihybrid.autodiff.ops.windows import (
    Lengths,
    Window,
    each_axis,
    on_batch,
    overlap_add,
    sliding_windows,
    window_over,
)
from minihybrid.autodiff.product import product
from minihybrid.device import on_cpu

_CACHE = 2**20  # bytes of columns at a time; on a GPU the bound is on memory alone
_MEMORY = 2**28


def _parts(x: Any, columns: int) -> Iterator[slice]:
    """The batch in parts, `columns` being how many numbers one sample gives."""
    most = _CACHE if on_cpu(x) else _MEMORY
    step = max(1, most // max(1, columns * x.itemsize))
    return (slice(start, start + step) for start in range(0, x.shape[0], step))


def _columns(x: Any, window: Window, groups: int) -> Any:
    """What the window sees, as matrices: x [n, c, *spatial] -> [groups, c/groups * places, n * positions]."""
    seen = sliding_windows(swapaxes(x, 0, 1), window)
    return reshape(seen, (groups, seen.shape[0] // groups * window.places, -1))


def _rows(y: Any, groups: int) -> Any:
    """One row for each channel: y [n, o, *out] -> [groups, o/groups, n * positions]."""
    return reshape(swapaxes(y, 0, 1), (groups, y.shape[1] // groups, -1))


def _composition(x: Any, weight: Any, bias: Any, window: Window, groups: int) -> Any:
    rows = reshape(weight, (groups, weight.shape[0] // groups, -1)) @ _columns(x, window, groups)
    y = swapaxes(reshape(rows, (weight.shape[0], x.shape[0], *window.out)), 0, 1)
    return y if bias is None else y + _along_channels(bias, window)


def _along_channels(bias: Any, window: Window) -> Any:
    return reshape(bias, (-1, *[1] * len(window.size)))


def _over_channels(g: Any) -> Any:
    return sum(g, axis=(0, *range(2, g.ndim)))


@op(
    x=lambda g, weight, window, groups: _conv_transpose(g, weight, None, window, groups),
    weight=lambda g, x, window, groups: _conv_weight(x, g, window, groups),
    bias=lambda g: _over_channels(g),
    composition=_composition,
)
def _conv(x: Any, weight: Any, bias: Any, window: Window, groups: int) -> Any:
    """The form without y: x [n, c, *spatial], weight [o, c/groups, *size] -> [n, o, *out], plus bias [o]."""
    outputs, taken, channels = weight.shape[0], weight.shape[1], x.shape[1]
    matrices = weight.reshape(groups, outputs // groups, taken * window.places)
    y = np.empty_like(x, shape=(x.shape[0], outputs, *window.out))
    for part in _parts(x, channels * window.places * window.positions):
        rows = product(matrices, _columns(x[part], window, groups))
        if bias is not None:
            rows += bias.reshape(groups, -1, 1)
        y[part] = rows.reshape(outputs, -1, *window.out).swapaxes(0, 1)
    return y


@op(
    y=lambda g, weight, window, groups: _conv(g, weight, None, window, groups),
    weight=lambda g, y, window, groups: _conv_weight(g, y, window, groups),
    bias=lambda g: _over_channels(g),
)
def _conv_transpose(y: Any, weight: Any, bias: Any, window: Window, groups: int) -> Any:
    """The form without x: y [n, o, *out], weight [o, c/groups, *size] -> [n, c, *spatial], plus bias [c]."""
    outputs, taken = weight.shape[:2]
    channels = taken * groups
    matrices = weight.reshape(groups, outputs // groups, taken * window.places).swapaxes(1, 2)
    x = np.empty_like(y, shape=(y.shape[0], channels, *window.spatial))
    for part in _parts(y, channels * window.places * window.positions):
        columns = product(matrices, _rows(y[part], groups))
        seen = columns.reshape(channels, *window.size, -1, *window.out)
        x[part] = overlap_add(seen, window).swapaxes(0, 1)
    if bias is not None:
        x += _along_channels(bias, window)
    return x


@op(
    x=lambda g, y, window, groups: _conv_transpose(y, g, None, window, groups),
    y=lambda g, x, window, groups: _conv(x, g, None, window, groups),
)
def _conv_weight(x: Any, y: Any, window: Window, groups: int) -> Any:
    """The form without w: x [n, c, *spatial], y [n, o, *out] -> [o, c/groups, *size]."""
    outputs, taken = y.shape[1], x.shape[1] // groups
    weight = np.zeros_like(x, shape=(groups, outputs // groups, taken * window.places))
    for part in _parts(x, x.shape[1] * window.places * window.positions):
        weight += product(_rows(y[part], groups), _columns(x[part], window, groups).swapaxes(1, 2))
    return weight.reshape(outputs, taken, *window.size)


# The public functions: shapes are checked, options read, and a sample without a batch axis is given one


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """A convolution over one axis: x [n, c, l], weight [o, c/groups, k], bias [o] or None -> [n, o, l']; see `conv2d`.

    >>> import minihybrid as mh
    >>> conv1d(mh.tensor([[[1.0, 2.0, 4.0]]]), mh.tensor([[[-1.0, 1.0]]])).tolist()
    [[[1.0, 2.0]]]
    """
    return _convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """A convolution of images, with the kernel as it is, not flipped: x [n, c, h, w] -> [n, o, h', w'].

    The weight is [o, c/groups, kh, kw]. The window has kh x kw places, `dilation` apart, and moves by `stride` over x
    with `padding` zeros on either side; "same" pads so that h' = h and w' = w, "valid" not at all. Numbers go for both
    axes, pairs for each. With `groups`, output channels see the input channels of their group only. bias [o] is added.
    x may be one sample [c, h, w].
    Raises ValueError for shapes that do not fit and for a window larger than the padded input.

    >>> import minihybrid as mh
    >>> image = mh.Tensor(mh.Rng(0).uniform((8, 3, 32, 32)))
    >>> conv2d(image, mh.Tensor(mh.Rng(1).normal((16, 3, 5, 5))), stride=2, padding=2).shape
    (8, 16, 16, 16)
    """
    return _convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The adjoint of `conv1d`: x [n, o, l'], weight [o, c/groups, k], bias [c] or None -> [n, c, l].

    See `conv_transpose2d`.

    >>> import minihybrid as mh
    >>> conv_transpose1d(mh.tensor([[[1.0, 2.0]]]), mh.tensor([[[-1.0, 1.0]]])).tolist()
    [[[-1.0, -1.0, 2.0]]]
    """
    return _convolve_transposed(
        "conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The adjoint of `conv2d` in its input: x [n, o, h', w'], weight [o, c/groups, kh, kw] -> [n, c, h, w].

    h = (h' - 1) * stride - 2 * padding + dilation * (kh - 1) + 1 + output_padding: several h give the same h' in a
    convolution with a stride, and `output_padding`, smaller than stride or dilation, says which is meant. bias [c] is
    added. Raises ValueError as `conv2d` does.

    >>> import minihybrid as mh
    >>> small, kernel = mh.Tensor(mh.Rng(0).normal((8, 16, 16, 16))), mh.Tensor(mh.Rng(1).normal((16, 3, 5, 5)))
    >>> conv_transpose2d(small, kernel, stride=2, padding=2, output_padding=1).shape
    (8, 3, 32, 32)
    """
    return _convolve_transposed(
        "conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation
    )


def _convolve(
    op: str, axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    _check_parameters(op, axes, weight, bias, weight.shape[0], groups)

    def on(x: Any) -> Any:
        channels = weight.shape[1] * groups
        if x.shape[1] != channels:
            raise ValueError(
                f"{op}: x has {x.shape[1]} channels, but the weight {weight.shape} with groups={groups} takes "
                f"{channels}; expected weight [out, in / groups, ...]."
            )
        window = window_over(op, x.shape[2:], weight.shape[2:], stride, padding, dilation)
        return _conv(x, weight, bias, window, groups)

    return on_batch(op, axes, x, on)


def _convolve_transposed(
    op: str,
    axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Any:
    _check_parameters(op, axes, weight, bias, weight.shape[1] * groups, groups)

    def on(x: Any) -> Any:
        if x.shape[1] != weight.shape[0]:
            raise ValueError(
                f"{op}: x has {x.shape[1]} channels, but the weight {weight.shape} takes {weight.shape[0]}; expected "
                "weight [in, out / groups, ...]."
            )
        window = _window_onto(op, x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation)
        return _conv_transpose(x, weight, bias, window, groups)

    return on_batch(op, axes, x, on)


def _window_onto(
    op: str, out: Lengths, size: Lengths, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window:
    """The window of a transposed convolution: `out` is the input's shape, `spatial` the result's."""
    axes = len(out)
    strides, dilations = each_axis(op, "stride", stride, axes, 1), each_axis(op, "dilation", dilation, axes, 1)
    pads, extras = each_axis(op, "padding", padding, axes, 0), each_axis(op, "output_padding", output_padding, axes, 0)
    spatial = []
    for n, k, s, p, d, extra in zip(out, size, strides, pads, dilations, extras, strict=True):
        if extra >= max(s, d):
            raise ValueError(
                f"{op}: output_padding is {output_padding!r}; expected less than the stride, {s}, or the dilation, {d}."
            )
        length = (n - 1) * s - 2 * p + d * (k - 1) + 1 + extra
        if length < 1:
            raise ValueError(
                f"{op}: an input of length {n} with kernel size {k}, stride {s} and padding {p} gives a result of "
                f"length {length}; take less padding."
            )
        spatial.append(length)
    return Window(tuple(spatial), size, strides, tuple((p, p) for p in pads), dilations, out)


def _check_parameters(op: str, axes: int, weight: Any, bias: Any, outputs: int, groups: int) -> None:
    if weight.ndim != axes + 2 or 0 in weight.shape:
        kernel = "k" if axes == 1 else "kh, kw"
        raise ValueError(
            f"{op}: the weight has shape {weight.shape}; expected {axes + 2} axes that are not empty, "
            f"[channels, channels / groups, {kernel}]."
        )
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"{op}: groups is {groups!r}; expected a positive integer that divides the first axis of the weight "
            f"{weight.shape}."
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"{op}: the bias has shape {bias.shape}; expected ({outputs},), one for each output channel.")
