"""L-BFGS as a contestant: it evaluates loss and gradient where its line search wants them, and each time is charged.

The model that is looked at has the lowest loss so far: a line search ends there, but may look elsewhere before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from minihybrid.autodiff.tensor import Tensor
from minihybrid.compare.method import GoesOn
from minihybrid.compare.task import Task
from minihybrid.module.module import Module, pack
from minihybrid.optim import LBFGS, GradientsParams
from minihybrid.rng import Rng
from minihybrid.train import Ledger

ENDLESS = 10**9
HISTORY = 10
ROUNDING = 1e-12  # a change of the loss that float32 could not tell from none


class _Spent(Exception):
    """The budget is spent, in the middle of a line search perhaps."""


class _Objective:
    """The loss of the whole training set, counted and watched."""

    def __init__(self, task: Task, model: Module, rng: Rng, goes_on: GoesOn) -> None:
        self.lowest = np.inf
        self._task, self._goes_on = task, goes_on
        self._batch = next(task.batches(rng))
        self._ledger = Ledger()
        self._copy, self._best = model.clone(), model.snapshot()

    def __call__(self, model: Module) -> Tensor:
        self.look()  # at what came before: the backward pass of a loss is made after it was returned
        self._ledger.backward_passes += 1
        _, loss = self._task.forward(model, self._batch)
        if loss.item() < self.lowest:
            self.lowest, self._best = float(loss.item()), model.snapshot()
        return loss

    def look(self) -> None:
        """Raise _Spent if no more may be spent."""
        if not self._goes_on(self._ledger, self._readout):
            raise _Spent

    def _readout(self) -> Module:
        self._copy = self._copy.restore(self._best)
        return self._copy


def ours(task: Task, lr: float, seed: int, budget: float, goes_on: GoesOn) -> None:
    """`optim.LBFGS`, with a line search by the strong Wolfe conditions, until it finds nothing lower."""
    rng = Rng(seed)
    model = task.init(rng.split())
    objective = _Objective(task, model, rng.split(), goes_on)
    optimizer = LBFGS(ENDLESS, ENDLESS, HISTORY, gradient_tolerance=0, change_tolerance=ROUNDING, line_search=True)
    try:
        before = np.inf
        while objective.lowest < before or before == np.inf:
            before = objective.lowest
            model, _ = optimizer.step(lr, model, objective)
        objective.look()
    except _Spent:
        pass


def scipy(task: Task, lr: float, seed: int, budget: float, goes_on: GoesOn) -> None:
    """SciPy's L-BFGS-B without bounds: it computes in float64 around a loss in float32."""
    from scipy.optimize import minimize  # type: ignore[import-untyped, unused-ignore]
    from threadpoolctl import threadpool_limits

    rng = Rng(seed)
    model = task.init(rng.split())
    objective = _Objective(task, model, rng.split(), goes_on)
    start, storage = model.snapshot(), pack(model)

    def value_and_gradient(weights: Any) -> tuple[float, Any]:
        nonlocal model
        model = model.restore(replace(start, vector=weights.astype(storage.values.dtype)))
        loss = objective(model)
        gradient = GradientsParams.from_grads(loss.backward(), model).flat(storage)
        return float(loss.item()), gradient.vector.astype(np.float64)

    options = {"maxiter": ENDLESS, "maxfun": ENDLESS, "maxcor": HISTORY, "ftol": 0.0, "gtol": 0.0}
    try:
        with threadpool_limits(1, user_api="blas"):  # SciPy brings a BLAS of its own
            minimize(value_and_gradient, start.vector.astype(np.float64), jac=True, method="L-BFGS-B", options=options)
        objective.look()
    except _Spent:
        pass
