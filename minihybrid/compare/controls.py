"""The controls: what any gain of a prediction has to be held against.

- `control/null` predicts a jump of nothing: what is left is the price of asking.
- `control/coast`, `control/linear-trend` and `control/gradient-ema` jump blindly, and each is tuned.
- `control/lr-scale` raises the tuned learning rate of Adam instead, to 1 + H/N times.
- `control/skip-updates` makes N of N + H steps, and nothing in the place of the others. What is nothing leaves no trace
  but in the count of steps: it is tuned Adam, ended when N / (N + H) of the budget is spent.
- `control/shorter` knows that beforehand, and decays its learning rate until then.

H and N are the steps that the blind controls predict and make in a cycle. What the last two reach, a trainer that
counts the steps that it only imagines has to beat.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from minihybrid.compare.baselines import real_steps
from minihybrid.compare.hybrids import MINIBATCH, WINDOWS, Configs, described, predicting, tuned
from minihybrid.compare.method import Method, shaped, stepwise
from minihybrid.compare.task import Task
from minihybrid.hybrid.divergence import DivergenceLimits
from minihybrid.hybrid.predictors.coast import CoastConfig
from minihybrid.hybrid.predictors.gradient_ema import GradientEmaConfig
from minihybrid.hybrid.predictors.linear_trend import LinearTrendConfig
from minihybrid.hybrid.predictors.null import NullConfig
from minihybrid.hybrid.predictors.predictor import PredictorConfig
from minihybrid.hybrid.recovery import RecoveryConfig
from minihybrid.hybrid.verify import LineSearch, Unprobed
from minihybrid.optim import Adam

UNWATCHED: dict[str, Any] = {
    "coherence": 0.0,
    "hindsight": None,
    "payoff": None,
    "divergence": DivergenceLimits(baseline=10**9),
    "recovery": RecoveryConfig(skips=0, rollbacks=0),
}
"""Nothing holds a blind jump back, and nothing saves the run that it ruins."""
NULL = Configs(
    full_batch=replace(WINDOWS, predictor=NullConfig(verification=LineSearch())),
    minibatch=replace(MINIBATCH, predictor=NullConfig()),
)
BLIND: dict[str, PredictorConfig] = {
    "control/coast": CoastConfig(),
    "control/linear-trend": LinearTrendConfig(verification=Unprobed()),
    "control/gradient-ema": GradientEmaConfig(),
}


def faster(task: Task) -> float:
    """1 + H/N."""
    config = WINDOWS if task.full_batch else MINIBATCH
    return 1 + config.horizon / (config.full + config.correct)


def ended_early(task: Task) -> float:
    """N / (N + H)."""
    return 1 / faster(task)


def controls() -> Iterator[Method]:
    """The methods; those that are Adam but for one thing have the learning rate of Adam with the same schedule."""
    for shape, name in shaped("control/null").items():
        train, settings = stepwise(predicting(NULL), shape), described(NULL, shape)
        yield Method(name, train, settings, lr_of=_adam(shape), complete=shape == "linear")
    for base, predictor in BLIND.items():
        full_batch, minibatch = (replace(cycle, predictor=predictor, **UNWATCHED) for cycle in (WINDOWS, MINIBATCH))
        yield from tuned(base, Configs(full_batch, minibatch))
    adam = real_steps(Adam)
    for shape, name in shaped("control/lr-scale").items():
        train = stepwise(adam, shape)
        yield Method(name, train, shape, lr_of=_adam(shape), lr_factor=faster, complete=shape == "linear")
    for shape, name in {"constant": "control/skip-updates", "linear": "control/shorter"}.items():
        yield Method(name, stepwise(adam, shape), shape, lr_of=_adam(shape), share=ended_early, complete=True)


def _adam(shape: str) -> str:
    return shaped("adam")[shape]
