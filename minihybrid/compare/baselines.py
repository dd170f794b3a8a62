"""The baselines: optimizers with their schedules, and L-BFGS."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minihybrid.compare import lbfgs
from minihybrid.compare.method import MakeTrainer, Method, everywhere, stepwise
from minihybrid.compare.task import Task
from minihybrid.hybrid import FullTrainer, OptimizerWrapper
from minihybrid.optim import SGD, Adam, AdamW, Ema, Grouped, Lookahead, Muon, Optimizer, ScheduleFreeAdamW
from minihybrid.rng import Rng


class Baseline(NamedTuple):
    """An optimizer, the learning rate that tuning begins at, the shapes that it is run with, and for which tasks."""

    optimizer: Callable[[], Optimizer]
    lr: float
    shapes: tuple[str, ...]
    fits: Callable[[Task], bool] = everywhere


def with_muon() -> Optimizer:
    """Muon for the hidden weights, and AdamW for the rest at a learning rate that suits it."""
    return Grouped({"*layers.0.weight": Muon(weight_decay=0.0), "*": (AdamW(), 0.1)})


def gives_no_rate(task: Task) -> bool:
    """Where the task is about a given learning rate, that is one for Adam and its kin."""
    return task.lr is None


def has_hidden_weights(task: Task) -> bool:
    """Whether Muon has something to do."""
    return gives_no_rate(task) and any(path.endswith("layers.0.weight") for path in task.init(Rng(0)).named_params())


def full_batch(task: Task) -> bool:
    """For methods that need exact gradients."""
    return task.full_batch


BOTH = ("constant", "linear")
BASELINES = {
    "adam": Baseline(Adam, 0.02, (*BOTH, "cosine")),
    "adamw": Baseline(AdamW, 0.02, (*BOTH, "cosine")),
    "adam+ema": Baseline(lambda: Ema(Adam(), 0.99), 0.02, BOTH),
    "sgd+momentum": Baseline(lambda: SGD(momentum=0.9), 0.2, BOTH, gives_no_rate),
    "lookahead": Baseline(lambda: Lookahead(Adam()), 0.02, BOTH),
    "schedule-free": Baseline(ScheduleFreeAdamW, 0.02, ("warm-up",)),
    "muon": Baseline(with_muon, 0.05, BOTH, has_hidden_weights),
}


def baselines() -> Iterator[Method]:
    """The methods; that of SciPy only if it is installed."""
    for base, baseline in BASELINES.items():
        for shape in baseline.shapes:
            yield Method(
                f"{base}/{shape}" if shape in ("linear", "cosine") else base,
                stepwise(real_steps(baseline.optimizer), shape),
                json.dumps([_described(baseline.optimizer()), shape]),
                baseline.lr,
                fits=baseline.fits,
                complete=shape != "constant",
            )
    yield Method("lbfgs", lbfgs.ours, f"{lbfgs.HISTORY} pairs", fits=full_batch, complete=True)
    if importlib.util.find_spec("scipy"):
        yield Method("lbfgs/scipy", lbfgs.scipy, f"{lbfgs.HISTORY} pairs", fits=full_batch, complete=True)


def real_steps(optimizer: Callable[[], Optimizer]) -> MakeTrainer:
    """The trainer that predicts nothing."""
    return lambda task, model, lr, rng: FullTrainer(model, OptimizerWrapper(optimizer(), lr))


def _described(value: Any) -> Any:
    """An optimizer's rule and options, as JSON."""
    if isinstance(value, Optimizer):
        options = {name: _described(option) for name, option in vars(value).items() if not name.startswith("_")}
        return {type(value).__name__: options}
    if isinstance(value, dict):
        return {key: _described(item) for key, item in value.items()}
    return [_described(item) for item in value] if isinstance(value, tuple | list) else value
