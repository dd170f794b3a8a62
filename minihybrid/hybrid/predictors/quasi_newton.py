"""Jump to where the curvature seen so far puts the minimum: L-BFGS on top of any optimizer, for full batches.

Two real steps tell how the gradient changes along the way between them: s = w - w', y = g - g'. From the last few such
pairs follows an inverse Hessian H that is right along them (H y = s for the newest pair), and with it the direction
d = -H g. What the pairs say nothing about is left to H0 = gamma P, where P is the optimizer's own scaling of gradients
(Adam's 1 / (sqrt(v_hat) + eps)) and gamma = s.y / y.Py (Nocedal and Wright 2006, equation 7.20, with P for I).

A proposal replaces the last update: from where that began, by d, no longer than `trust` times the update was. It is
verified by the next real gradient, which is due anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from minihybrid.config import is_count, is_number
from minihybrid.hybrid.memory import Demand, MemoryPlan
from minihybrid.hybrid.predictors.predictor import Prediction, PredictorConfig, RealStep
from minihybrid.hybrid.verify import NextGradient, Verification
from minihybrid.stateful import Stateful
from minihybrid.train.reading import numbers


class QuasiNewtonConfig(PredictorConfig):
    """`pairs`: how many pairs are kept, at most. `least`: how many there must be for a proposal.

    A pair counts if s.y > `curvature` |s| |y|: only then is H positive definite. Raises ValueError for values that make
    no sense.

    >>> QuasiNewtonConfig(pairs=5).init()
    QuasiNewton(pairs=5)
    """

    pairs: int = 20
    least: int = 2
    curvature: float = 1e-6

    def __post_init__(self) -> None:
        self.require("pairs", is_count(self.pairs, 1), "an integer of at least 1")
        self.require("least", is_count(self.least, 1) and self.least <= self.pairs, "an integer from 1 to pairs")
        self.require("curvature", is_number(self.curvature) and 0 <= self.curvature < 1, "a number in [0, 1)")

    def vectors(self) -> int:
        """How many vectors [n] its history takes: the pairs and a spare one, the last real step, and its scaling."""
        return 2 * (self.pairs + 1) + 4

    def demand(self) -> Demand:
        """See `PredictorConfig`: fewer pairs will do."""
        return Demand(history=2 * (self.pairs + 1), least=2 * (self.least + 1), halves=False, fixed=4, late=0)

    def within(self, plan: MemoryPlan) -> Self:
        """See `PredictorConfig`."""
        return replace(self, pairs=min(self.pairs, plan.history // 2 - 1))

    def init(self) -> QuasiNewton:
        """The predictor."""
        return QuasiNewton(self)


class QuasiNewton(Stateful):
    """Keeps the pairs as rows of matrices S and Y, and the inverse of the upper triangle R of S Y', R[i, j] = s_i.y_j.

    A proposal costs 4k passes over a vector for k pairs, as in the two-loop recursion, but in four products with
    matrices: with u = R^-1 S g, what is left of g is q = g - Y' u, z = gamma P q is what H0 makes of it, and
    H g = z + S' R^-T (D u - Y z), where D is the diagonal of R (Byrd, Nocedal and Schnabel 1994, theorem 2.2, factored
    anew). `two_loop` is its readable twin. A new pair gives R^-1 one more column; without the oldest pair, R^-1 is what
    it was without that one's row and column.

    >>> import numpy as np, minihybrid as mh
    >>> predictor, optimizer = QuasiNewton(QuasiNewtonConfig()), mh.optim.SGD()
    >>> hessian, w = np.array([1.0, 10.0]), np.array([3.0, 1.0])
    >>> for axis in np.eye(2), np.eye(2)[::-1], np.eye(2):  # steps along one axis after the other
    ...     start, w = w, w - 0.1 * axis[0]
    ...     predictor.observe(RealStep(0.0, 0.1, w, optimizer, start, hessian * start))
    >>> (w + predictor.predict(1, trust=1e9).delta).round(9) + 0.0  # the pairs span the plane: the minimum
    array([0., 0.])
    """

    looks_at_gradients = True

    def __init__(self, config: QuasiNewtonConfig) -> None:
        self.config = config
        self.reset()

    @property
    def verification(self) -> Verification:
        """The next real gradient."""
        return NextGradient()

    def reset(self) -> None:
        """See `Predictor`."""
        self._order: list[int] = []  # the rows of the pairs, the oldest first
        self._spare = 0  # the row that the next pair is written to
        self._s: Any = None
        self._y: Any = None
        self._inverse: Any = None  # R^-1, at the places of the rows, whatever their age; in float64
        self._curvatures: Any = None  # s_i.y_i
        self._start: Any = None
        self._gradient: Any = None
        self._update: Any = None
        self._scaling: Any = 1
        self._undecided: Any = None  # the row of the last pair, and the products by which it is a pair or none

    def observe(self, step: RealStep) -> None:
        """See `Predictor`; the pair of this step and the one before is kept if the loss curves upwards along it."""
        if self._s is None:
            shape = (self.config.pairs + 1, step.start.size)
            self._s, self._y = np.zeros_like(step.start, shape=shape), np.zeros_like(step.start, shape=shape)
            self._inverse = np.zeros_like(step.start, np.float64, shape=(shape[0], shape[0]))
            self._curvatures = np.zeros_like(step.start, np.float64, shape=(shape[0],))
            self._start, self._gradient = step.start.copy(), step.gradient.copy()
            self._update = step.weights - step.start
        else:
            self._decide()
            self._consider(step)
            self._start[...] = step.start
            self._gradient[...] = step.gradient
            np.subtract(step.weights, step.start, out=self._update)
        self._scaling = step.optimizer.scaling()

    def _consider(self, step: RealStep) -> None:
        row, later = self._spare, step.readings.later
        s = np.subtract(step.start, self._start, out=self._s[row])
        y = np.subtract(step.gradient, self._gradient, out=self._y[row])
        self._undecided = row, later(np.vdot(s, y)), later(np.vdot(s, s)), later(np.vdot(y, y))

    def _decide(self) -> None:
        """Whether what the last step has left is a pair: as late as possible, because it takes numbers to tell."""
        if self._undecided is None:
            return
        row, *products = self._undecided
        curvature, *squares = map(float, products)
        s, y, lengths, self._undecided = self._s[row], self._y[row], math.sqrt(squares[0] * squares[1]), None
        if not (math.isfinite(lengths) and curvature > self.config.curvature * lengths):
            s[...] = y[...] = 0  # a row beside the pairs takes part in products, with a coefficient of 0
            return
        self._order.append(row)
        full = len(self._order) > self.config.pairs
        self._spare = spare = self._order.pop(0) if full else len(self._order)
        inverse = self._inverse
        inverse[spare, :] = inverse[:, spare] = 0
        inverse[:, row] = inverse @ (self._s @ y) / -curvature
        inverse[row, row] = 1 / curvature
        self._curvatures[row] = curvature

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """See `Predictor`: one real step, whatever the horizon; no longer than `trust` times the last update was."""
        self._decide()
        if len(self._order) < self.config.least:
            return None
        with np.errstate(all="ignore"):  # whether all went well is seen from the numbers
            direction, scaled_square = self._direction()
        square, slope = np.vdot(direction, direction), np.vdot(direction, self._gradient)
        told = numbers(scaled_square, square, slope, np.vdot(self._update, self._update))
        length, limit = math.sqrt(told[1]), trust * math.sqrt(told[3])
        if not (0 < told[0] < math.inf and told[2] < 0 and math.isfinite(length)):
            return None
        if length > limit:
            direction *= limit / length
        direction -= self._update
        return Prediction(direction, est_steps=1, cost=4.0 * len(self._order), finite=math.isfinite(limit))

    def _direction(self) -> tuple[Any, Any]:
        """-H g, and y P y of the newest pair: where that is no positive number, the pair is too small for numbers."""
        g, scaling, newest = self._gradient, self._scaling, self._order[-1]
        rows = slice(len(self._order) + 1)  # of the pairs, and the spare
        s, y, inverse = self._s[rows], self._y[rows], self._inverse[rows, rows]
        scaled_square = np.vdot(y[newest], scaling * y[newest])
        u = inverse @ (s @ g)
        z = g - u.astype(g.dtype) @ y
        z *= scaling
        z *= (self._curvatures[newest] / scaled_square).astype(g.dtype)
        v = (self._curvatures[rows] * u - y @ z) @ inverse
        z += v.astype(g.dtype) @ s
        return np.negative(z, out=z), scaled_square

    def translate(self, delta: Any) -> None:
        """See `Predictor`: pairs are of real steps, between which a jump may lie."""

    def readout(self) -> Any:
        """See `Predictor`: none."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """See `Predictor`."""
        self._decide()
        return super().state_dict()

    def __repr__(self) -> str:
        return f"QuasiNewton(pairs={self.config.pairs})"


def two_loop(pairs: Sequence[tuple[Any, Any]], gradient: Any, scaling: Any) -> Any:
    """-H g from pairs (s, y), the oldest first: the recursion that `QuasiNewton` computes by matrices.

    (Nocedal and Wright 2006, algorithm 7.4, with H0 = gamma P, P = diag(`scaling`).)

    >>> import numpy as np
    >>> pair = np.array([1.0, 0.0]), np.array([4.0, 0.0])  # along the first axis, the curvature is 4
    >>> two_loop([pair], np.array([8.0, 8.0]), scaling=1.0)
    array([-2., -2.])
    """
    q, coefficients = gradient.copy(), []
    for s, y in reversed(pairs):
        a = float(np.vdot(s, q)) / float(np.vdot(s, y))
        q -= a * y
        coefficients.append(a)
    s, y = pairs[-1]
    r = float(np.vdot(s, y)) / float(np.vdot(y, scaling * y)) * scaling * q
    for (s, y), a in zip(pairs, reversed(coefficients), strict=True):
        b = float(np.vdot(y, r)) / float(np.vdot(s, y))
        r += s * (a - b)
    return -r
