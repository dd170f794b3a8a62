"""Softmax and its losses, computed on logits shifted by their maximum, so that no exponential overflows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import fusible
from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import require_between, require_one_device
from minihybrid.autodiff.ops.elementwise import exp, multiply
from minihybrid.autodiff.ops.reduce import peak, sum
from minihybrid.autodiff.tensor import Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import shaped_like


@op(x=lambda g, out, axis: out * (g - sum(g * out, axis, keepdims=True)))
def softmax(x: Any, axis: int = -1) -> Any:
    """Exponentials normalised to sum 1 along an axis."""
    e = np.exp(x - peak(x, axis))
    e /= e.sum(axis=axis, keepdims=True)
    return e


@op(x=lambda g, out, axis: g - exp(out) * sum(g, axis, keepdims=True))
def log_softmax(x: Any, axis: int = -1) -> Any:
    """The logarithm of softmax along an axis."""
    if x.size == 0:
        return x.copy()
    shifted = x - peak(x, axis)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def one_hot(labels: Any, like: Any) -> Any:
    """1 at each label and 0 elsewhere, an array in the shape and dtype of the logits `like`."""
    return (labels[..., None] == np.arange(like.shape[-1], like=labels)).astype(like.dtype)


def _target(labels: Any, like: Any, smoothing: float) -> Any:
    """The probabilities that labels stand for."""
    return one_hot(labels, like) * (1 - smoothing) + smoothing / like.shape[-1]


def _composition(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    labels = labels.array if isinstance(labels, Tensor) else labels
    return -sum(multiply(log_softmax(logits), _target(labels, logits, smoothing))) / labels.size


@op(
    logits=lambda g, logits, labels, smoothing: (
        g * (softmax(logits) - _target(labels, logits, smoothing)) / labels.size
    ),
    saves=("probabilities",),
    composition=_composition,
)
def softmax_cross_entropy(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """The mean of -log softmax(logits)[label]: logits [..., classes] floats, labels [...] integers in 0..classes-1.

    `smoothing` mixes that much of the uniform distribution into each label (Szegedy et al. 2016, section 7). Raises
    ValueError for labels of another shape, TypeError for labels that are no integers, IndexError for labels outside the
    range.
    """
    if type(labels) is not type(logits):  # those of one device are of one class
        require_one_device("softmax_cross_entropy", logits=logits, labels=labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"the labels are {labels.dtype}; expected integers, one class index for each row of logits")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"logits {logits.shape} need labels of shape {logits.shape[:-1]}, these are {labels.shape}")
    classes = logits.shape[-1]
    rows = logits.reshape(-1, classes)
    flat = labels.reshape(-1)
    require_between(
        flat, 0, classes, lambda a, b: f"the labels range from {a} to {b}; {classes} classes are 0 to {classes - 1}"
    )
    return _loss_and_probabilities(rows, flat, smoothing)


@fusible
def _loss_and_probabilities(rows: Any, labels: Any, smoothing: float) -> Any:
    shifted = rows - rows.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities /= total
    target = shifted[np.arange(labels.size, like=labels), labels]
    if smoothing:  # no product with 0 otherwise: the logit of an impossible class may be -inf
        target = target * (1 - smoothing) + shifted.mean(axis=1) * smoothing
    return (np.log(total[:, 0]) - target).mean(), probabilities


@_loss_and_probabilities.kernel
def _(rows: Any, labels: Any, smoothing: float) -> Any:
    if not (kernels.fits(rows) and rows.size):
        return NotImplemented
    shapes: tuple[tuple[int, ...], ...] = (), (len(rows),), rows.shape
    loss, losses, probabilities = (shaped_like(np.empty_like, rows, shape=shape, order="C") for shape in shapes)
    inputs = kernels.contiguous(rows), kernels.labels(labels)
    opaque_call(kernels.cross_entropy, loss, losses, probabilities, *inputs, smoothing)
    return loss, probabilities


@fusible
def _probabilities_minus_target(g: Any, logits: Any, labels: Any, smoothing: float, probabilities: Any) -> Any:
    scale = g / labels.size
    out = probabilities * scale
    if smoothing:
        out -= scale * (smoothing / probabilities.shape[1])
        scale = scale * (1 - smoothing)
    out[np.arange(labels.size, like=labels), labels.reshape(-1)] -= scale
    return out.reshape(logits.shape)


@_probabilities_minus_target.kernel
def _(g: Any, logits: Any, labels: Any, smoothing: float, probabilities: Any) -> Any:
    if not (kernels.fits(g, probabilities) and probabilities.size):
        return NotImplemented
    out = np.empty_like(probabilities)
    opaque_call(kernels.cross_entropy_gradient, out, g, probabilities, kernels.labels(labels), smoothing)
    return out.reshape(logits.shape)


softmax_cross_entropy.fast(logits=_probabilities_minus_target)
