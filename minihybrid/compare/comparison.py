"""What a comparison has found: the runs of each method on each task, and the baselines' losses by budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, Run

YARDSTICK = "adam"
"""The method whose losses on the way are the targets."""
DECAYED = "adam/linear"
"""The method whose curve of loss against budget turns losses into speed-ups, beside the best baseline's."""


@dataclass(frozen=True)
class Result:
    """A method on a task: the learning rate that it was given (None if tuning found none), and a run for each seed."""

    task: str
    method: str
    lr: float | None
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Baseline:
    """Pairs of a budget and the median loss that a baseline ends with when its schedule is that of the budget."""

    method: str
    curve: tuple[tuple[float, float], ...]


@dataclass
class Comparison:
    """The results so far. `failed` are the runs that diverged, those for tuning included.

    `aims` says by which loss each task is judged: "train_loss" on full batches, "val_loss" on others. `baselines` are,
    by task, `adam/linear` and the best of all baselines, where that is another.
    """

    suite: str
    seeds: int
    aims: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    baselines: dict[str, list[Baseline]] = field(default_factory=dict)
    failed: list[Entry] = field(default_factory=list)
    interrupted: bool = False

    def of(self, task: str) -> list[Result]:
        """The results on a task."""
        return [result for result in self.results if result.task == task]

    def finals(self, task: str) -> list[Result]:
        """The results whose last loss says what a method is worth: those of complete methods, where batches are noisy.

        With a constant learning rate the noise of the gradients keeps the loss up; full batches have none.
        """
        exact = self.aims[task] == "train_loss"
        return [result for result in self.of(task) if exact or METHODS[result.method].complete]

    def runs_of(self, task: str, method: str) -> Sequence[Run]:
        """The runs of a method on a task; none if it did not take part."""
        return next((result.runs for result in self.of(task) if result.method == method), ())
