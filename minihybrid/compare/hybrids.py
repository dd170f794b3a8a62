"""The hybrid trainer with each predictor: one configuration for all full batches, one for all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from minihybrid.compare.method import MakeTrainer, Method, shaped, stepwise
from minihybrid.compare.task import Task
from minihybrid.hybrid import HybridConfig, HybridTrainer, OptimizerWrapper
from minihybrid.hybrid.predictors.dmd import DmdConfig
from minihybrid.hybrid.predictors.drift import DriftConfig
from minihybrid.hybrid.predictors.holt import HoltConfig
from minihybrid.hybrid.predictors.outer_nesterov import OuterNesterovConfig
from minihybrid.hybrid.predictors.quasi_newton import QuasiNewtonConfig
from minihybrid.hybrid.predictors.rre import RreConfig
from minihybrid.optim import Adam

FULL_BATCH, MINIBATCH = HybridConfig.full_batch(), HybridConfig.minibatch()
WINDOWS = replace(FULL_BATCH, warmup=20, full=20, horizon=20, max_horizon=1280)
"""The full-batch preset for predictors that look at twenty steps and then jump."""
OUTER = replace(MINIBATCH, full=20, correct=0, horizon=20, coherence=0.0, hindsight=None, payoff=None)
"""The minibatch preset for jumps that are a part of the update rule."""


@dataclass(frozen=True)
class Configs:
    """The configuration for full batches, and that for others; None where the method is not meant for them.

    Tuning begins at the learning rate `lr`.
    """

    full_batch: HybridConfig | None = None
    minibatch: HybridConfig | None = None
    lr: float = 0.02

    def of(self, task: Task) -> HybridConfig | None:
        """The one for a task."""
        return self.full_batch if task.full_batch else self.minibatch

    def fit(self, task: Task) -> bool:
        """Whether there is one."""
        return self.of(task) is not None


HYBRIDS = {
    "hybrid/quasi-newton": Configs(full_batch=replace(FULL_BATCH, predictor=QuasiNewtonConfig()), lr=0.1),
    "hybrid/rre": Configs(full_batch=replace(WINDOWS, predictor=RreConfig())),
    "hybrid/dmd": Configs(full_batch=replace(WINDOWS, predictor=DmdConfig())),
    "hybrid/drift": Configs(minibatch=replace(MINIBATCH, predictor=DriftConfig())),
    "hybrid/outer-nesterov": Configs(minibatch=replace(OUTER, predictor=OuterNesterovConfig())),
    "hybrid/holt": Configs(minibatch=replace(OUTER, full=1, horizon=1, predictor=HoltConfig(lookahead=0.3))),
    "hybrid/reference": Configs(minibatch=HybridConfig.reference()),
}


def hybrids() -> Iterator[Method]:
    """The methods, at a constant and at a decayed learning rate, each tuned."""
    for base, configs in HYBRIDS.items():
        yield from tuned(base, configs)


def tuned(base: str, configs: Configs) -> Iterator[Method]:
    """A hybrid trainer as a method with a learning rate of its own."""
    for shape, name in shaped(base).items():
        train, settings = stepwise(predicting(configs), shape), described(configs, shape)
        yield Method(name, train, settings, configs.lr, fits=configs.fit, complete=shape == "linear")


def predicting(configs: Configs) -> MakeTrainer:
    """Adam under the hybrid trainer; where batches are noisy, a guard judges, else the batch itself."""
    return lambda task, model, lr, rng: HybridTrainer(
        model, OptimizerWrapper(Adam(), lr), configs.of(task), None if task.full_batch else task.guard_batches(rng)
    )


def described(configs: Configs, shape: str) -> str:
    """All settings, as JSON."""
    texts = [config and config.to_json() for config in (configs.full_batch, configs.minibatch)]
    return json.dumps([*texts, shape])
