"""Softmax and its losses, computed on logits shifted by their maximum, so that no exponential overflows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff.op import op
from minihybrid.autodiff.operands import require_between, require_one_device
from minihybrid.autodiff.ops.elementwise import exp, multiply
from minihybrid.autodiff.ops.reduce import peak, sum
from minihybrid.autodiff.tensor import Tensor


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


def _composition(logits: Any, labels: Any) -> Any:
    labels = labels.array if isinstance(labels, Tensor) else labels
    picked = multiply(log_softmax(logits), one_hot(labels, logits))
    return -sum(picked) / labels.size


@op(
    logits=lambda g, logits, labels: g * (softmax(logits) - one_hot(labels, logits)) / labels.size,
    saves=("probabilities",),
    composition=_composition,
)
def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean of -log softmax(logits)[label]: logits [..., classes] floats, labels [...] integers in 0..classes-1.

    Raises ValueError for labels of another shape, TypeError for labels that are no integers, IndexError for labels
    outside the range.
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
    shifted = rows - rows.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    total = probabilities.sum(axis=1, keepdims=True)
    probabilities /= total
    each = np.arange(flat.size, like=flat)
    loss = (np.log(total[:, 0]) - shifted[each, flat]).mean()
    return loss, probabilities


def _probabilities_minus_one_hot(g: Any, logits: Any, labels: Any, probabilities: Any) -> Any:
    scale = g / labels.size
    out = probabilities * scale
    out[np.arange(labels.size, like=labels), labels.reshape(-1)] -= scale
    return out.reshape(logits.shape)


softmax_cross_entropy.fast(logits=_probabilities_minus_one_hot)
