"""Kernels that take row by row: softmax cross-entropy, and standardizing for layer norm."""

from __future__ import annotations

from typing import Any

from minihybrid.kernels.launch import THREADS, launch, warps


def cross_entropy(loss: Any, losses: Any, probabilities: Any, logits: Any, labels: Any, smoothing: float) -> None:
    """The mean loss [], the losses [n] and probabilities [n, classes] of logits [n, classes] and labels, int64 [n].

    The twin is `softmax_cross_entropy` in autodiff/ops/softmax.py; but a label outside of its range makes the loss nan.
    """
    rows, classes = logits.shape
    where = "cross_entropy.cu", "cross_entropy", loss.dtype, *warps(rows)
    launch(*where, probabilities, losses, logits, labels, rows, classes, float(smoothing))
    launch("cross_entropy.cu", "mean", loss.dtype, (1,), (THREADS,), loss, losses, rows)


def cross_entropy_gradient(out: Any, g: Any, probabilities: Any, labels: Any, smoothing: float) -> None:
    """The gradient in the logits [n, classes] for the cotangent g [] of the loss; the twin is the formula there."""
    rows, classes = probabilities.shape
    where = "cross_entropy.cu", "cross_entropy_gradient", out.dtype, *warps(rows)
    launch(*where, out, g, probabilities, labels, rows, classes, float(smoothing))


def standardize(out: Any, deviation: Any, x: Any, eps: float, centred: bool) -> None:
    """x [n, m] with rows of mean 0 (if `centred`) and variance 1, and their deviations [n].

    The twin is `standardize` in autodiff/ops/norm.py.
    """
    if out.size:
        where = "standardize.cu", "standardize", out.dtype, *warps(x.shape[0])
        launch(*where, out, deviation, x, *x.shape, float(eps), centred)


def standardize_gradient(dx: Any, g: Any, out: Any, deviation: Any, centred: bool) -> None:
    """Its gradient in x, for the cotangent g [n, m] of the result `out`; the twin is the formula there."""
    if out.size:
        where = "standardize.cu", "standardize_gradient", out.dtype, *warps(out.shape[0])
        launch(*where, dx, g, out, deviation, *out.shape, centred)
