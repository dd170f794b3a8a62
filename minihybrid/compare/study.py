"""The whole comparison: each method's learning rate is tuned on each task, and then it runs with every seed.

A run that is kept from an earlier time is not made again.
"""

from __future__ import annotations

import math
import os
import statistics
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeAlias

import minihybrid
from minihybrid.compare.comparison import DECAYED, Baseline, Comparison, Result
from minihybrid.compare.method import Method
from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, Run
from minihybrid.compare.store import Store
from minihybrid.compare.suite import Suite
from minihybrid.compare.task import Task
from minihybrid.compare.tasks import Folder
from minihybrid.compare.tuning import SIDE, tuned
from minihybrid.compare.workers import Workers, task_of

Pair: TypeAlias = tuple[str, str]  # task and method
CURVES = "curves"


class Watcher(Protocol):
    """Whoever wants to know how a study goes on; it is called by several threads."""

    def expect(self, runs: dict[Pair, int]) -> None:
        """About so many runs are to be made; those for the curves of baselines, which come last, as of CURVES."""

    def ran(self, pair: Pair, seconds: float | None) -> None:
        """A run was made, in so many seconds, or found (None)."""

    def finished(self, result: Result) -> None:
        """All runs of a method on a task are there."""


def compare(
    suite: Suite,
    tasks: Sequence[str],
    methods: Sequence[str],
    folder: str | os.PathLike[str],
    watcher: Watcher,
    data: Folder = None,
    jobs: int = 1,
) -> Comparison:
    """Compare methods on tasks, and keep every run in a folder; Ctrl-C ends it with what was found until then.

    `data` is where MNIST's files are. Up to `jobs` runs are made at a time.
    """
    with Workers(jobs, data) as workers:
        return Study(suite, data, Store(folder), workers, watcher).run(tasks, methods)


@dataclass
class Study:
    """Decides which runs are made. See `compare`."""

    suite: Suite
    data: Folder
    store: Store
    workers: Workers
    watcher: Watcher

    def __post_init__(self) -> None:
        self.found = Comparison(self.suite.name, self.suite.seeds)
        self._lock = threading.Lock()
        self._rates: dict[Pair, float | None] = {}
        self._tuning: dict[Pair, threading.Lock] = {}

    def run(self, tasks: Sequence[str], methods: Sequence[str]) -> Comparison:
        """All methods on all tasks that they are meant for, and then the curves of the baselines."""
        pairs = [(task, method) for task in tasks for method in methods if METHODS[method].fits(self._task(task))]
        self.found.aims = {task: self._task(task).aim for task in tasks}
        self.watcher.expect(self._expected(pairs))
        try:
            self.workers.each(self.compete, pairs)
            self.workers.each(self.measure_baselines, tasks)
        except KeyboardInterrupt:
            self.found.interrupted = True
        self.found.results.sort(key=lambda result: pairs.index((result.task, result.method)))
        return self.found

    def _task(self, name: str) -> Task:
        return task_of(name, self.data)

    def _expected(self, pairs: Sequence[Pair]) -> dict[Pair, int]:
        expected = {}
        for name, method in pairs:
            task, lr = self._task(name), METHODS[method].lr
            tuning = 0 if lr is None or task.lr or task.tuned_on else (2 * SIDE + 2) * self.suite.tuning_seeds
            expected[name, method] = self.suite.seeds + tuning
            expected[name, CURVES] = 0 if task.tuned_on else 2 * self.suite.seeds * len(self.suite.shares)
        return expected

    def compete(self, pair: Pair) -> None:
        """Tune a method on a task, and run it with every seed."""
        task, method = pair
        lr = self.learning_rate(task, method)
        result = Result(task, method, lr, () if lr is None else self._runs(task, method, lr))
        with self._lock:
            self.found.results.append(result)
        self.watcher.finished(result)

    def measure_baselines(self, task: str) -> None:
        """For `adam/linear` and the best baseline of a task: how the loss depends on the budget."""
        candidates = {r.method: r for r in self.found.finals(task) if r.runs and METHODS[r.method].baseline}
        if not candidates or self._task(task).tuned_on:  # a task that is not tuned on has nothing to win
            return
        best = min(candidates.values(), key=lambda result: self._ended(task, result.runs))
        names = [name for name in dict.fromkeys([DECAYED, best.method]) if name in candidates]
        self.found.baselines[task] = [
            Baseline(result.method, self._curve(result)) for result in map(candidates.__getitem__, names)
        ]

    def _curve(self, result: Result) -> tuple[tuple[float, float], ...]:
        budget, lr = self.suite.budgets[result.task], result.lr
        assert lr is not None
        shorter_and_longer = {share: self._runs(result.task, result.method, lr, share) for share in self.suite.shares}
        return tuple(
            (share * budget, self._ended(result.task, runs))
            for share, runs in sorted({1.0: result.runs, **shorter_and_longer}.items())
        )

    def _ended(self, name: str, runs: Sequence[Run]) -> float:
        aim = self._task(name).aim
        return statistics.median(math.inf if run.diverged else getattr(run.end, aim) for run in runs)

    # Learning rates

    def learning_rate(self, task: str, method: str) -> float | None:
        """The learning rate of a method on a task, tuned or given; 1 where there is none to choose."""
        with self._lock:
            tuning = self._tuning.setdefault((task, method), threading.Lock())
        with tuning:  # another thread may be at it
            if (task, method) not in self._rates:
                self._rates[task, method] = self._chosen(self._task(task), METHODS[method])
            return self._rates[task, method]

    def _chosen(self, task: Task, method: Method) -> float | None:
        if method.lr_of is not None:
            lr = self.learning_rate(task.name, method.lr_of)
            return None if lr is None else lr * method.lr_factor(task)
        if method.lr is None:
            return 1.0
        if task.lr is not None:
            return task.lr
        if task.tuned_on is not None:
            return self.learning_rate(task.tuned_on, method.name)
        budget = float(self.suite.budgets[task.name])

        def loss_at(lr: float) -> float:
            entries = [Entry(task.name, method.name, seed, lr, budget) for seed in self.suite.seeds_to_tune_by]
            runs = map(self._run, entries)
            return statistics.fmean(math.inf if run.diverged else getattr(run.end, task.aim) for run in runs)

        return tuned(loss_at, method.lr)

    # Runs

    def _runs(self, task: str, method: str, lr: float, share: float = 1.0) -> tuple[Run, ...]:
        budget = share * self.suite.budgets[task]
        return tuple(self._run(Entry(task, method, seed, lr, budget)) for seed in range(self.suite.seeds))

    def _run(self, entry: Entry) -> Run:
        task = self._task(entry.task)
        points = self.suite.full_batch_points if task.full_batch else self.suite.minibatch_points
        settings = f"{minihybrid.__version__} {task.fingerprint} {points} {METHODS[entry.method].fingerprint}"
        run, seconds = self.store.find(entry, settings), None
        if run is None:
            start = perf_counter()
            run, seconds = self.workers.execute(entry, points), perf_counter() - start
            self.store.add(run, settings)
        with self._lock:
            if run.diverged and entry not in self.found.failed:
                self.found.failed.append(entry)
        self.watcher.ran((entry.task, entry.method), seconds)
        return run
