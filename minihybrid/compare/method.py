"""What a method of the comparison is, and how one that makes step after step trains."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from minihybrid.compare.task import Task
from minihybrid.hybrid import FullTrainer, ModelWrapper
from minihybrid.module.module import Module
from minihybrid.rng import Rng
from minihybrid.train import Ledger

GoesOn: TypeAlias = Callable[[Ledger, Callable[[], Module]], bool]
"""Is told what was spent, and how to get the model to evaluate; says whether more may be spent."""
Train: TypeAlias = Callable[[Task, float, int, float, GoesOn], None]
"""Trains on a task, with a learning rate, a seed and a budget, and asks after each piece of work that is charged."""
MakeTrainer: TypeAlias = Callable[[Task, ModelWrapper[Module], float, Rng], FullTrainer[Module]]
"""A trainer for a task's model, with a learning rate and a stream of random numbers."""

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2,
    "warm-up": lambda done: min(1.0, 20 * done + 0.01),
}
"""The learning rate as a share of the highest, by the share of the budget that is spent."""


def everywhere(task: Task) -> bool:
    """For methods that fit every task."""
    return True


def unchanged(task: Task) -> float:
    """The factor 1, whatever the task."""
    return 1.0


@dataclass(frozen=True)
class Method:
    """How a model is trained, and how its learning rate is found.

    Tuning begins at `lr`; None if there is no learning rate to tune, or if it is `lr_factor` times that of the method
    `lr_of`. `fits` says for which tasks the method is meant, `share` which part of the budget it spends, and `settings`
    is all that tells it from another method of this name. `complete` is whether a run is at its best when the budget is
    spent, however noisy the gradients: because its learning rate is 0 by then, or because it needs no schedule.
    """

    name: str
    train: Train
    settings: str
    lr: float | None = None
    lr_of: str | None = None
    lr_factor: Callable[[Task], float] = unchanged
    fits: Callable[[Task], bool] = everywhere
    share: Callable[[Task], float] = unchanged
    complete: bool = False

    @property
    def fingerprint(self) -> str:
        """Stands for the settings."""
        return hashlib.sha256(self.settings.encode()).hexdigest()[:16]

    @property
    def baseline(self) -> bool:
        """Whether it is an optimizer that takes a step for each gradient: what predictions are measured against."""
        return not self.name.startswith(("hybrid/", "control/"))


def shaped(name: str) -> dict[str, str]:
    """The shapes of the learning rate that most methods are run with, and the names that they have then."""
    return {"constant": name, "linear": f"{name}/linear"}


def stepwise(make: MakeTrainer, shape: str) -> Train:
    """Training by the steps of a trainer; its schedule follows what it spends, not what it predicts."""

    def train(task: Task, lr: float, seed: int, budget: float, goes_on: GoesOn) -> None:
        rng = Rng(seed)
        model = ModelWrapper(task.init(rng.split()), task.forward)
        batches = task.batches(rng.split())
        trainer = make(task, model, lr, rng.split())

        def learning_rate(step: int) -> float:
            return lr * SHAPES[shape](min(1.0, trainer.ledger.gradient_equivalents / budget))

        trainer.optimizer_wrapper.set_learning_rate(learning_rate)
        while goes_on(trainer.ledger, trainer.readout):
            trainer.step(next(batches))

    return train
