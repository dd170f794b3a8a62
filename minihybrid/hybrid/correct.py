"""Learn from how real steps went where a prediction said they would go.

After a prediction, accepted or not, real steps are held against the displacement p that was predicted for as many of
them. What they did beyond it, the residual r, has two parts. Its *length* c = <r, p> / <p, p> says by how much of p the
real motion was longer (c > 0) or shorter (c < 0). Its *direction* is what correcting the length left, in units of |p|.
The next proposal d becomes

    d + k c d + k' |d| u,

where c is the mean of the stored lengths, weighted by recency and by the cosine of d and their p, and u is a running
mean of directions. For noisy batches the length is most of what can be known, for full batches the direction. (Lengths
for each parameter, and a store of directions, were measured to add nothing; so a prediction leaves two numbers and a
sketch in the store, and there is one vector.)

Each k in [0, 1] is learned. Before a residual r is used, it tells which factor k on the correction q that would have
been made was right: the minimum over k of sum a |r - k q|^2 is k = sum a <r, q> / sum a |q|^2, where the weight
a = 1 / (|r|^2 + |q|^2) makes all residuals count alike. Where they are noise, q says nothing about r, and k goes to 0:
the correction switches itself off.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minihybrid.config import Config, is_count, is_number
from minihybrid.device import Device
from minihybrid.rng import Rng
from minihybrid.stateful import Stateful

SKETCH = 256
"""Numbers that a vector is projected to; cosines of projections are off by some 1 / sqrt(256)."""

PRIOR = 0.5
"""Evidence against every correction to begin with: as much as one residual brings that bears it out."""


class CorrectionConfig(Config):
    """How much is remembered, and for how long.

    `capacity`: predictions in the store. `recency`: how much less the weight of each is than that of the next newer.
    `inertia`: how much of the mean direction is kept at a new residual; `evidence`: how much of what is known about the
    factors k. Raises ValueError for values that make no sense.

    >>> CorrectionConfig(recency=1.2)
    Traceback (most recent call last):
        ...
    ValueError: CorrectionConfig: recency is 1.2; expected a number in [0, 1).
    """

    capacity: int = 20
    recency: float = 0.8
    inertia: float = 0.5
    evidence: float = 0.9

    def __post_init__(self) -> None:
        self.require("capacity", is_count(self.capacity, 1), "an integer of at least 1")
        for setting in ("recency", "inertia", "evidence"):
            value = getattr(self, setting)
            self.require(setting, is_number(value) and 0 <= value < 1, "a number in [0, 1)")

    def init(self) -> Corrector:
        """The corrector."""
        return Corrector(self)


class Shrinkage(NamedTuple):
    """The factors k on what the length, the direction and the loss of residuals would correct."""

    length: float
    direction: float
    loss: float


class RelativeErrors(NamedTuple):
    """|predicted - real| / |real| of displacements, without and with the correction; NaN before there is one."""

    uncorrected: float
    corrected: float


class Corrector(Stateful):
    """Corrects proposed displacements, and losses, by the residuals of those before.

    It keeps one vector [n], and two more while real steps are under way. For large n, a proposal and what is learned
    from it take as long as some 50 additions of two vectors.

    >>> import numpy as np
    >>> corrector, predicted = Corrector(), np.array([3.0, 4.0])
    >>> for _ in range(30):
    ...     corrector.begin(predicted, start=np.zeros(2))
    ...     corrector.finish(np.array([1.5, 2.0]))  # real steps go half as far
    >>> corrector.corrected(np.array([6.0, 8.0])).round(1)
    array([3., 4.])
    >>> without, with_correction = corrector.relative_errors
    >>> round(without, 3), with_correction < 0.1
    (1.0, True)
    """

    def __init__(self, config: CorrectionConfig | None = None) -> None:
        self.config = config or CorrectionConfig()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sketches = np.zeros((0, SKETCH))  # of the predicted displacements, the oldest first
        self._lengths: list[float] = []
        self._losses: list[float] = []
        self._direction: Any = None
        self._factors = {name: [0.0, PRIOR] for name in Shrinkage._fields}  # numerator and denominator of each k
        self._errors = [0.0, 0.0]
        self._measured = 0
        self._predicted: Any = None
        self._start: Any = None
        self._predicted_loss: float | None = None

    @property
    def shrinkage(self) -> Shrinkage:
        """How much of each correction is made."""
        return Shrinkage(*(min(1.0, max(0.0, agreement / evidence)) for agreement, evidence in self._factors.values()))

    @property
    def relative_errors(self) -> RelativeErrors:
        """Means over the last predictions."""
        return RelativeErrors(*self._errors) if self._measured else RelativeErrors(math.nan, math.nan)

    def corrected(self, delta: Any) -> Any:
        """A proposed displacement [n] with its correction, which is no longer than the proposal itself; fresh."""
        length = self._expected_length(_sketch(delta))
        if length is None:
            return delta.copy()
        along_delta, along_direction = self._correction(length, _gram(delta, self._direction))
        result = self._direction * along_direction
        result += delta * (1 + along_delta)
        return result

    def corrected_loss(self, loss: float) -> float:
        """A predicted loss with its correction."""
        return loss + self.shrinkage.loss * self._expected_loss()

    def begin(self, predicted: Any, start: Any, loss: float | None = None) -> None:
        """Real steps begin at weights `start` [n].

        `predicted` [n] and `loss` are the displacement and the loss that were predicted for as many steps as will be
        made, not corrected; `predicted` is borrowed until `finish`.
        """
        self._predicted, self._start, self._predicted_loss = predicted, start.copy(), loss

    def finish(self, weights: Any, loss: float | None = None) -> None:
        """The real steps have led to these weights [n] and this loss: learn from the residuals.

        Numbers that are not finite teach nothing, nor do steps without a `begin` before them.
        """
        if self._predicted is not None:
            self._learn_displacement(self._predicted, weights - self._start)
        if self._predicted_loss is not None and loss is not None:
            self._learn_loss(self._predicted_loss, loss)
        self._predicted = self._start = self._predicted_loss = None

    # What is known

    def _expected_length(self, sketch: Any) -> float | None:
        """The mean of the stored lengths for a proposal with this sketch; None if it is like none of them."""
        weights = np.maximum(self._sketches @ sketch, 0.0) * self._recency(len(self._lengths))
        total = float(weights.sum())
        return float(weights @ self._lengths) / total if total > 0 else None

    def _expected_loss(self) -> float:
        """The mean of the stored residuals of losses."""
        weights = self._recency(len(self._losses))
        return float(weights @ self._losses) / float(weights.sum()) if self._losses else 0.0

    def _recency(self, count: int) -> Any:
        return self.config.recency ** np.arange(count)[::-1]

    def _correction(self, length: float, gram: Any) -> tuple[float, float]:
        """The correction of a proposal as multiples of it and of the direction, whose inner products are `gram`."""
        k, size = self.shrinkage, math.sqrt(gram[0, 0])
        made = np.array([k.length * length, k.direction * size])
        a, b = made / max(1.0, _norm(made, gram) / size)
        return float(a), float(b)

    # What is learned. Combinations of p, the direction and r are coefficients: their products need no other pass.

    def _learn_displacement(self, predicted: Any, real: Any) -> None:
        residual, real_size = real - predicted, math.sqrt(float(np.vdot(real, real)))
        direction = np.zeros_like(predicted) if self._direction is None else self._direction
        gram = _gram(predicted, direction, residual)
        if not (np.isfinite(gram).all() and gram[0, 0] > 0 and 0 < real_size < math.inf):
            return
        sketch = _sketch(predicted)
        left = self._tested(self._expected_length(sketch), gram, real_size)
        self._sketches = np.concatenate([self._sketches, sketch[None]])[-self.config.capacity :]
        self._lengths = [*self._lengths, _clipped(gram[2, 0] / gram[0, 0], 1.0)][-self.config.capacity :]
        keep = 0.0 if self._direction is None else self.config.inertia
        residual += predicted * float(left[0])
        residual *= (1 - keep) / max(math.sqrt(gram[0, 0]), _norm(left, gram))
        direction *= keep
        direction += residual
        self._direction = direction

    def _tested(self, length: float | None, gram: Any, real_size: float) -> Any:
        """Hold the correction that would have been made against the residual; what the length's part of it left."""
        residual = np.array([0.0, 0.0, 1.0])
        if length is None:
            self._measure(residual, residual, gram, real_size)
            return residual
        self._measure(residual, residual - [*self._correction(length, gram[:2, :2]), 0.0], gram, real_size)
        left = residual - [self.shrinkage.length * length, 0.0, 0.0]
        self._learn("length", np.array([length, 0.0, 0.0]), residual, gram)
        self._learn("direction", np.array([0.0, math.sqrt(gram[0, 0]), 0.0]), left, gram)
        return left

    def _learn_loss(self, predicted: float, real: float) -> None:
        residual, expected = real - predicted, self._expected_loss()
        if math.isfinite(residual):
            self._learn("loss", np.array([expected]), np.array([residual]), np.eye(1))
            self._losses = [*self._losses, _clipped(residual, abs(predicted))][-self.config.capacity :]

    def _learn(self, factor: str, correction: Any, residual: Any, gram: Any) -> None:
        """Renew the evidence for a k."""
        square = float(correction @ gram @ correction)
        if square > 0:
            weight = 1 / (float(residual @ gram @ residual) + square)
            keep, k = self.config.evidence, self._factors[factor]
            k[:] = keep * k[0] + weight * float(residual @ gram @ correction), keep * k[1] + weight * square

    def _measure(self, uncorrected: Any, corrected: Any, gram: Any, real_size: float) -> None:
        self._measured += 1
        weight = max(1 - self.config.evidence, 1 / self._measured)  # a plain mean until there are enough
        errors = (_norm(residual, gram) / real_size for residual in (uncorrected, corrected))
        self._errors = [mean + weight * (error - mean) for mean, error in zip(self._errors, errors, strict=True)]


def _sketch(vector: Any) -> Any:
    """A unit vector of SKETCH numbers whose products with others are about the cosines of the vectors [n].

    Numbers with random signs are summed, each into one of SKETCH places (Charikar, Chen and Farach-Colton 2002). Up to
    SKETCH numbers, the cosines are exact.
    """
    n, device = vector.size, Device.of(vector)
    signed = vector * _signs(n, device)
    whole = n - n % SKETCH
    places = signed[:whole].reshape(-1, SKETCH).sum(axis=0)
    places[: n - whole] += signed[whole:]
    sketch = device.host(places).astype(np.float64)
    return sketch / max(math.sqrt(float(np.vdot(sketch, sketch))), np.finfo(np.float64).tiny)


@functools.lru_cache(maxsize=1)
def _signs(n: int, device: Device) -> Any:
    """The same n random signs each time, 1 or -1 in a byte each."""
    bits = np.unpackbits(Rng(0).words(-(-n // 64)).view(np.uint8), count=n).view(np.int8)
    return device.array(1 - 2 * bits)


def _gram(*vectors: Any) -> Any:
    """All inner products of vectors [n], float64 [k, k]."""
    gram = np.zeros((len(vectors), len(vectors)))
    for i, a in enumerate(vectors):
        for j, b in enumerate(vectors[: i + 1]):
            gram[i, j] = gram[j, i] = float(np.vdot(a, b))
    return gram


def _norm(coefficients: Any, gram: Any) -> float:
    """The norm of a combination of vectors with these inner products."""
    return math.sqrt(max(0.0, float(coefficients @ gram @ coefficients)))


def _clipped(value: float, limit: float) -> float:
    return min(limit, max(-limit, float(value)))
