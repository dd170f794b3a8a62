"""Losses: functions of predictions and targets, made of ops.

`reduction` says what becomes of the losses of the single elements: their "mean", their "sum", or "none": an array.
Targets are tensors or arrays, and never broadcast against predictions, which is nearly always a mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.autodiff import ops
from minihybrid.autodiff.operands import require_between
from minihybrid.autodiff.tensor import Array, Tensor

Targets = Tensor | Array


def mse(predictions: Tensor, targets: Targets, reduction: str = "mean") -> Tensor:
    """The squared differences of predictions and targets of one shape.

    Raises ValueError for shapes that differ and for an unknown reduction, TypeError for targets that are no array; so
    do all losses here.

    >>> import minihybrid as mh
    >>> mse(mh.tensor([1.0, 2.0]), mh.tensor([0.0, 0.0])).item()
    2.5
    """
    _require_one_shape("mse", predictions, targets)
    if reduction == "mean" and predictions.dtype.kind == "f":
        return ops.mean_squared_error(predictions, targets)
    return _reduced("mse", ops.square(predictions - targets), reduction)


def l1(predictions: Tensor, targets: Targets, reduction: str = "mean") -> Tensor:
    """The absolute differences of predictions and targets of one shape.

    >>> import minihybrid as mh
    >>> l1(mh.tensor([1.0, 2.0]), mh.tensor([0.0, 0.0])).item()
    1.5
    """
    _require_one_shape("l1", predictions, targets)
    return _reduced("l1", ops.absolute(predictions - targets), reduction)


def huber(predictions: Tensor, targets: Targets, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """Half the squared difference up to `delta` > 0, a straight line beyond it (Huber 1964, section 4).

    >>> import minihybrid as mh
    >>> huber(mh.tensor([1.0, 3.0]), mh.tensor([0.0, 0.0]), reduction="none").tolist()
    [0.5, 2.5]
    """
    _require_one_shape("huber", predictions, targets)
    _require("huber", "delta", delta, delta > 0, "a positive number")
    difference = predictions - targets
    limited = ops.clip(difference, -delta, delta)
    return _reduced("huber", limited * (difference - limited * 0.5), reduction)


def smooth_l1(predictions: Tensor, targets: Targets, beta: float = 1.0, reduction: str = "mean") -> Tensor:
    """`huber` with delta `beta`, divided by it, so that it nears `l1` as `beta` nears 0 (Girshick 2015, equation 3).

    >>> import minihybrid as mh
    >>> smooth_l1(mh.tensor([1.0, 3.0]), mh.tensor([0.0, 0.0]), beta=2.0, reduction="none").tolist()
    [0.25, 2.0]
    """
    _require("smooth_l1", "beta", beta, beta >= 0, "a number that is not negative")
    if beta == 0:
        return l1(predictions, targets, reduction)
    return huber(predictions, targets, beta, reduction) / beta


def cross_entropy(
    logits: Tensor,
    labels: Targets,
    weight: Targets | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """The cross-entropy -log softmax(logits)[label]: logits [..., classes] floats, labels [...] integers.

    Labels lie in 0..classes-1; those equal to `ignore_index` count for nothing. Labels may also be floats of the
    logits' shape, the probabilities of all classes. `weight` [classes] multiplies each class's loss, and the mean is
    over the sum of the labels' weights (with probabilities, over their number). `label_smoothing` in [0, 1] mixes that
    much of the uniform distribution into the labels (Szegedy et al. 2016, section 7). All as in PyTorch, but the
    classes are on the last axis. The mean over no label at all is nan.

    Raises ValueError for labels or weights of another shape, TypeError for labels that are no array of integers (or
    probabilities), IndexError for labels outside the range.

    >>> import minihybrid as mh, numpy as np
    >>> round(cross_entropy(mh.tensor([[0.0, 0.0]]), np.array([1])).item(), 6)
    0.693147
    >>> logits = mh.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> round(cross_entropy(logits, np.array([0, -1]), ignore_index=-1, label_smoothing=0.1).item(), 6)
    0.226928
    """
    _require_array("cross_entropy", "the labels are", labels)
    _require("cross_entropy", "label_smoothing", label_smoothing, 0 <= label_smoothing <= 1, "a number in [0, 1]")
    soft = labels.dtype.kind == "f" and labels.shape == logits.shape
    if not soft and weight is None and ignore_index is None and reduction == "mean":
        return ops.softmax_cross_entropy(logits, labels, label_smoothing)
    log_probabilities = ops.log_softmax(logits)
    if not soft:
        options = weight, ignore_index, label_smoothing, reduction
        return _likelihood("cross_entropy", log_probabilities, labels, *options)
    probabilities = labels * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    weighted = _weighted("cross_entropy", log_probabilities, weight)
    return _reduced("cross_entropy", -ops.sum(weighted * probabilities, axis=-1), reduction)


def nll(
    log_probabilities: Tensor,
    labels: Targets,
    weight: Targets | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood -log_probabilities[label]: what `cross_entropy` takes of `log_softmax`.

    log_probabilities [..., classes], labels [...] integers; options and errors are those of `cross_entropy`.

    >>> import minihybrid as mh, numpy as np
    >>> nll(mh.tensor([[-0.5, -1.0], [-2.0, -0.25]]), np.array([0, 1])).item()
    0.375
    """
    _require_array("nll", "the labels are", labels)
    return _likelihood("nll", log_probabilities, labels, weight, ignore_index, 0.0, reduction)


def bce_with_logits(
    logits: Tensor, targets: Targets, pos_weight: Targets | float | None = None, reduction: str = "mean"
) -> Tensor:
    """The binary cross-entropy of sigmoid(logits) and targets in [0, 1], of one shape; large logits overflow nowhere.

    `pos_weight`, a number or an array that broadcasts against the targets, multiplies the loss of positive targets.

    >>> import minihybrid as mh
    >>> round(bce_with_logits(mh.tensor([0.0, 100.0]), mh.tensor([1.0, 1.0])).item(), 6)
    0.346574
    """
    _require_one_shape("bce_with_logits", logits, targets)
    positive: Any = targets if pos_weight is None else targets * pos_weight
    losses = positive * ops.softplus(-logits) + (1 - targets) * ops.softplus(logits)
    return _reduced("bce_with_logits", losses, reduction)


def bce(probabilities: Tensor, targets: Targets, reduction: str = "mean") -> Tensor:
    """The binary cross-entropy of probabilities and targets in [0, 1], of one shape; logarithms are at least -100.

    So a probability of 0 or 1 costs 100 at most, as in PyTorch. From logits, `bce_with_logits` is exact.

    >>> import minihybrid as mh
    >>> round(bce(mh.tensor([0.5, 1.0]), mh.tensor([1.0, 1.0])).item(), 6)
    0.346574
    """
    _require_one_shape("bce", probabilities, targets)

    def log(p: Any) -> Any:
        return ops.where(p > 0, ops.maximum(ops.log(ops.where(p > 0, p, 1)), -100), -100)

    return _reduced("bce", -(targets * log(probabilities) + (1 - targets) * log(1 - probabilities)), reduction)


def poisson_nll(
    predictions: Tensor, targets: Targets, log_input: bool = True, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    """The negative log-likelihood of counts under Poisson distributions, without the term that is constant.

    Predictions are the logarithms of the rates, exp(p) - t p; without `log_input` the rates, p - t log(p + eps).

    >>> import minihybrid as mh
    >>> poisson_nll(mh.tensor([0.0, 0.0]), mh.tensor([3.0, 5.0])).item()
    1.0
    """
    _require_one_shape("poisson_nll", predictions, targets)
    losses: Any = (
        ops.exp(predictions) - targets * predictions
        if log_input
        else predictions - targets * ops.log(predictions + eps)
    )
    return _reduced("poisson_nll", losses, reduction)


def kl_divergence(
    log_predictions: Tensor,
    targets: Targets,
    axis: int | tuple[int, ...] = -1,
    log_targets: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """The Kullback-Leibler divergence sum(targets * (log(targets) - log_predictions)) of distributions along `axis`.

    (Kullback and Leibler 1951.) Both have one shape; targets are probabilities, or their logarithms with `log_targets`.
    A target of 0 counts 0. The mean is over distributions, what PyTorch calls "batchmean"; its "mean" divides by
    the number of classes, too.

    >>> import minihybrid as mh
    >>> kl_divergence(mh.log(mh.tensor([[0.5, 0.5]])), mh.tensor([[0.5, 0.5]])).item()
    0.0
    """
    _require_one_shape("kl_divergence", log_predictions, targets)
    excess: Any
    if log_targets:
        excess = ops.exp(targets) * (targets - log_predictions)
    else:
        excess = targets * (ops.log(ops.where(targets > 0, targets, 1)) - log_predictions)
    return _reduced("kl_divergence", ops.sum(excess, axis=axis), reduction)


def cosine_similarity(x: Tensor, y: Targets, axis: int = -1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x and y along `axis`: x . y / (|x| |y|), each norm at least `eps`.

    x and y broadcast against each other; the result has their shape without `axis`.

    >>> import minihybrid as mh
    >>> round(cosine_similarity(mh.tensor([3.0, 4.0]), mh.tensor([4.0, 3.0])).item(), 6)
    0.96
    """
    _require_array("cosine_similarity", "y is", y)
    if x.shape != y.shape:
        shape = np.broadcast_shapes(x.shape, y.shape)
        x, y = ops.broadcast_to(x, shape), ops.broadcast_to(y, shape)

    def norm(v: Any) -> Any:
        return ops.sqrt(ops.maximum(ops.sum(ops.square(v), axis=axis), eps * eps))

    cosine: Tensor = ops.sum(x * y, axis=axis) / (norm(x) * norm(y))
    return cosine


def cosine_embedding(x: Tensor, y: Targets, targets: Targets, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos(x, y) where the target is 1, max(0, cos(x, y) - margin) where it is -1.

    x and y [..., features], targets [...] of 1 and -1, `margin` in [-1, 1].

    >>> import minihybrid as mh, numpy as np
    >>> x, y = mh.tensor([[1.0, 0.0], [1.0, 0.0]]), mh.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> cosine_embedding(x, y, np.array([1, -1])).item()
    0.0
    """
    _require_one_shape("cosine_embedding", x, y)
    _require_array("cosine_embedding", "the targets are", targets)
    _require("cosine_embedding", "margin", margin, -1 <= margin <= 1, "a number in [-1, 1]")
    cosine = cosine_similarity(x, y)
    _require_shape("cosine_embedding", "targets", targets.shape, cosine.shape)
    return _reduced("cosine_embedding", ops.where(targets > 0, 1 - cosine, ops.relu(cosine - margin)), reduction)


def hinge(predictions: Tensor, targets: Targets, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - targets * predictions), for targets of 1 and -1 (Cortes and Vapnik 1995).

    >>> import minihybrid as mh, numpy as np
    >>> hinge(mh.tensor([2.0, 0.5, 1.0]), np.array([1, 1, -1]), reduction="none").tolist()
    [0.0, 0.5, 2.0]
    """
    _require_one_shape("hinge", predictions, targets)
    return _reduced("hinge", ops.relu(margin - predictions * targets), reduction)


def _likelihood(
    loss: str,
    log_probabilities: Tensor,
    labels: Targets,
    weight: Targets | None,
    ignored: int | None,
    smoothing: float,
    reduction: str,
) -> Tensor:
    weighted = _weighted(loss, log_probabilities, weight)
    hot, kept = _one_hot(loss, log_probabilities, labels, ignored)
    each = kept if weight is None else ops.sum(weight * hot.astype(weight.dtype), axis=-1)
    # Not a product with 0 and 1: a class that is impossible has the logarithm -inf.
    losses = ops.sum(ops.where(hot, weighted, 0.0), axis=-1)
    if smoothing:
        uniform = ops.mean(weighted, axis=-1) * kept
        losses = losses * (1 - smoothing) + uniform * smoothing
    return ops.sum(-losses) / ops.sum(each) if reduction == "mean" else _reduced(loss, -losses, reduction)


def _weighted(loss: str, log_probabilities: Tensor, weight: Targets | None) -> Tensor:
    if weight is None:
        return log_probabilities
    _require_array(loss, "weight is", weight)
    _require_shape(loss, "weight", weight.shape, log_probabilities.shape[-1:])
    return log_probabilities * weight


def _one_hot(loss: str, log_probabilities: Tensor, labels: Targets, ignored: int | None) -> tuple[Array, Array]:
    """Where each label is, as booleans [..., classes], and for each label 1, or 0 if it is ignored."""
    array = labels.array if isinstance(labels, Tensor) else labels
    if array.dtype.kind not in "iu":
        raise TypeError(f"{loss}: the labels are {array.dtype}; expected integers, one class index for each row.")
    *rows, classes = log_probabilities.shape
    _require_shape(loss, "the array of labels", array.shape, tuple(rows))
    kept = np.ones_like(array, dtype=bool) if ignored is None else array != ignored
    besides = "" if ignored is None else f", and {ignored} is ignored"
    require_between(
        array if ignored is None else np.where(kept, array, 0),
        0,
        classes,
        lambda a, b: f"{loss}: the labels range from {a} to {b}; {classes} classes are 0 to {classes - 1}{besides}.",
    )
    hot = (array[..., None] == np.arange(classes, like=array)) & kept[..., None]
    return hot, kept.astype(log_probabilities.dtype)


def _reduced(loss: str, losses: Any, reduction: str) -> Tensor:
    if reduction == "mean":
        losses = ops.mean(losses)
    elif reduction == "sum":
        losses = ops.sum(losses)
    else:
        _require(loss, "reduction", reduction, reduction == "none", "'mean', 'sum' or 'none'")
    return losses  # type: ignore[no-any-return]


def _require_array(loss: str, what: str, value: object) -> None:
    if not hasattr(value, "dtype"):
        raise TypeError(f"{loss}: {what} a {type(value).__name__}; expected a Tensor or an array.")


def _require_one_shape(loss: str, predictions: Tensor, targets: Targets) -> None:
    _require_array(loss, "the targets are", targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"{loss}: predictions have shape {predictions.shape} and targets {targets.shape}; expected the same shape."
        )


def _require_shape(loss: str, what: str, came: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if came != expected:
        raise ValueError(f"{loss}: {what} has shape {came}; expected {expected}.")


def _require(loss: str, option: str, value: Any, condition: bool, expected: str) -> None:
    if not condition:
        raise ValueError(f"{loss}: {option} is {value!r}; expected {expected}.")
