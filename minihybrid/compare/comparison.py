"""What a comparison has found: the runs of each method on each task, and the baselines' losses by budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """Pairs of a budget and the median loss that a decayed baseline ends with, its learning rate decayed to that."""

    method: str
    curve: tuple[tuple[float, float], ...]


@dataclass
class Comparison:
    """The results so far. `failed` are the runs that diverged, those for tuning included.

    `aims` says by which loss each task is judged, "train_loss" or "val_loss". `baselines` are, by task, `adam/linear`
    and the best of all decayed baselines, where that is another.
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

    def runs_of(self, task: str, method: str) -> Sequence[Run]:
        """The runs of a method on a task; none if it did not take part."""
        return next((result.runs for result in self.of(task) if result.method == method), ())
