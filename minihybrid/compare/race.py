"""One run: a method on a task with a seed, a learning rate and a budget; and what it cost to come how far.

The loss is looked at on a fixed grid of charged cost. Looking is never charged: the clock stands meanwhile, and the
ledger is the trainer's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import NamedTuple

import numpy as np

from minihybrid.compare.method import Method
from minihybrid.compare.task import Task
from minihybrid.module.module import Module
from minihybrid.train import DivergenceError, Ledger


class Point(NamedTuple):
    """Where a run stood: what it had spent, and its losses on all of the training and the validation examples."""

    gradient_equivalents: float
    backward_passes: int
    cpu_seconds: float
    train_loss: float
    val_loss: float


@dataclass(frozen=True)
class Entry:
    """All that is chosen for a run. `budget` is in gradient equivalents."""

    task: str
    method: str
    seed: int
    lr: float
    budget: float


@dataclass(frozen=True)
class Run:
    """What became of an entry: its curve from the start on, and whether a loss was no finite number."""

    entry: Entry
    curve: tuple[Point, ...]
    diverged: bool

    @property
    def end(self) -> Point:
        """The last point; for a run that diverged, the last before."""
        return self.curve[-1]


class Recorder:
    """Watches a run from inside its loop: `goes_on` after every piece of work that is charged.

    It looks at the start, where the clock begins to run, and then each time another of `points` equal parts of the
    budget is spent.
    """

    def __init__(self, task: Task, budget: float, points: int) -> None:
        self.curve: list[Point] = []
        self.diverged = False
        self._task, self._budget, self._points = task, budget, points
        self._looked = -1  # how many parts of the budget were spent when it looked last
        self._seconds = 0.0
        self._resumed: float | None = None

    def goes_on(self, ledger: Ledger, readout: Callable[[], Module]) -> bool:
        """Look if it is time to, and say whether the run may spend more: not beyond its budget, nor without a loss."""
        self._seconds += 0.0 if self._resumed is None else process_time() - self._resumed
        share = ledger.gradient_equivalents / self._budget
        if int(share * self._points) > self._looked:
            self._looked = int(share * self._points)
            self._look(ledger, readout())
        self._resumed = process_time()
        return share < 1 and not self.diverged

    def _look(self, ledger: Ledger, model: Module) -> None:
        losses = [self._task.mean_loss(model, data) for data in (self._task.train, self._task.validation)]
        if not all(map(math.isfinite, losses)):
            self.diverged = True
        else:
            self.curve.append(Point(ledger.gradient_equivalents, ledger.backward_passes, self._seconds, *losses))


def race(task: Task, method: Method, entry: Entry, points: int) -> Run:
    """Make a run, with NumPy's BLAS on one thread.

    >>> from minihybrid.compare import methods, tasks
    >>> entry = Entry("full-batch/xor", "adam", seed=0, lr=0.03, budget=50)
    >>> run = race(tasks.build(entry.task), methods.METHODS[entry.method], entry, points=10)
    >>> len(run.curve), run.end.backward_passes, run.end.train_loss < run.curve[0].train_loss
    (11, 50, True)
    """
    from threadpoolctl import threadpool_limits

    budget = entry.budget * method.share(task)
    recorder = Recorder(task, budget, points)
    with threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
        try:
            method.train(task, entry.lr, entry.seed, budget, recorder.goes_on)
        except DivergenceError:
            recorder.diverged = True
    return Run(entry, tuple(recorder.curve), recorder.diverged)
