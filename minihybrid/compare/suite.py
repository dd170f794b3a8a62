"""How much is compared: which tasks and methods, with how many seeds, and for which budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minihybrid.compare import methods, tasks

FIRST_TUNING_SEED = 1000
"""Of the runs that learning rates are chosen by."""


@dataclass(frozen=True)
class Suite:
    """`tasks` and `methods` are the names that take part; `budgets` are in gradient equivalents, by task.

    Losses are looked at `full_batch_points` or `minibatch_points` times in a run. Learning rates are chosen by runs
    with `tuning_seeds` seeds of their own, which nobody reports. `shares` of the budget are run by the baselines beside
    the whole, for their curves of loss against budget.
    """

    name: str
    seeds: int
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    budgets: Mapping[str, int]
    tuning_seeds: int = 2
    full_batch_points: int = 200
    minibatch_points: int = 40
    shares: tuple[float, ...] = (0.5, 0.7, 1.4, 2.0)

    @property
    def seeds_to_tune_by(self) -> range:
        """Of the runs that learning rates are chosen by."""
        return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.tuning_seeds)


FULL = Suite(
    "full",
    seeds=5,
    tuning_seeds=3,
    tasks=tuple(tasks.names()),
    methods=tuple(methods.METHODS),
    budgets={
        "full-batch/digits": 400,
        "full-batch/spirals": 400,
        "full-batch/logistic": 400,
        "full-batch/regression": 400,
        "full-batch/xor": 400,
        "minibatch/digits": 1000,
        "minibatch/digits-noisy": 1000,
        "minibatch/regression": 1000,
        "minibatch/mnist": 1000,
        "minibatch/characters": 1200,
        "large-batch/mnist": 250,
        "low-rank/mnist": 800,
        "control/random-labels": 1000,
    },
)

QUICK = Suite(
    "quick",
    seeds=3,
    tasks=(
        "full-batch/regression",
        "minibatch/digits",
        "minibatch/characters",
        "large-batch/mnist",
        "low-rank/mnist",
        "control/random-labels",
    ),
    methods=tuple(
        name
        for name in methods.METHODS
        if name
        in {
            *("adam", "adam/linear", "adam+ema", "adam+ema/linear", "sgd+momentum/linear", "schedule-free", "lbfgs"),
            *("hybrid/quasi-newton", "hybrid/quasi-newton/linear", "hybrid/rre", "hybrid/drift", "hybrid/drift/linear"),
            *("hybrid/outer-nesterov/linear", "hybrid/holt/linear", "hybrid/reference"),
            *("control/null", "control/coast", "control/lr-scale", "control/skip-updates", "control/shorter"),
        }
    ),
    budgets={
        **{name: 200 if name.startswith("full-batch/") else 400 for name in FULL.budgets},
        "large-batch/mnist": 200,
    },
    full_batch_points=100,
    minibatch_points=25,
    shares=(0.5, 2.0),
)

SUITES = {suite.name: suite for suite in (QUICK, FULL)}
