"""What runs say: targets and what it costs to reach them, and the loss at equal cost as a speed-up."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from minihybrid.compare.comparison import YARDSTICK, Comparison, Result
from minihybrid.compare.race import Point, Run

SHARES = {"10%": 0.10, "25%": 0.25, "50%": 0.50, "100%": 1.00}
"""The targets, and the share of its budget in which the yardstick reaches them."""


@dataclass(frozen=True)
class Spread:
    """The median of numbers, and the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """None for no numbers.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0)
        """
        return Spread(statistics.median(values), min(values), max(values)) if values else None


# Costs to targets


def targets(comparison: Comparison, task: str) -> dict[str, float]:
    """The median training losses that the yardstick reaches in shares of its budget; none if it did not run."""
    runs = comparison.runs_of(task, YARDSTICK)
    if not runs:
        return {}
    return {
        name: statistics.median(lowest(run, share * run.entry.budget) for run in runs) for name, share in SHARES.items()
    }


def lowest(run: Run, cost: float) -> float:
    """The lowest training loss that a run has reached for so many gradient equivalents; infinity if it saw none."""
    within = (point.train_loss for point in run.curve if point.gradient_equivalents <= cost * (1 + 1e-9))
    return min(within, default=math.inf)


def reached(run: Run, target: float) -> Point | None:
    """The first point of a run whose training loss is the target or lower."""
    return next((point for point in run.curve if point.train_loss <= target), None)


def rows(runs: Iterable[Run], losses: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each run and target, for JSON: costs are null where the target was not reached, losses after NaN."""
    return [_row(run, name, loss) for run in runs for name, loss in losses.items()]


def _row(run: Run, name: str, loss: float) -> dict[str, Any]:
    entry, point = run.entry, reached(run, loss)
    return {
        "task": entry.task,
        "method": entry.method,
        "seed": entry.seed,
        "lr": entry.lr,
        "target": name,
        "target_loss": loss if math.isfinite(loss) else None,
        "backward_passes": None if point is None else point.backward_passes,
        "gradient_equivalents": None if point is None else point.gradient_equivalents,
        "cpu_seconds": None if point is None else point.cpu_seconds,
        "final_train_loss": None if run.diverged else run.end.train_loss,
        "final_val_loss": None if run.diverged else run.end.val_loss,
        "budget": entry.budget,
        "diverged": run.diverged,
    }


# Final losses


@dataclass(frozen=True)
class Final:
    """What a method ended with on a task, over the seeds, and what that is worth.

    `speed_ups` are by baseline: 0 for a loss above all that its curve holds, infinity below. None if a run diverged.
    """

    task: str
    method: str
    lr: float | None
    spent: float | None
    train_loss: Spread | None
    val_loss: Spread | None
    diverged: int
    speed_ups: dict[str, float]


def final(comparison: Comparison, result: Result) -> Final:
    """The final losses of a method on a task."""
    ends = [run.end for run in result.runs if not run.diverged]
    spent = Spread.of([end.gradient_equivalents for end in ends])
    losses = {name: Spread.of([getattr(end, name) for end in ends]) for name in ("train_loss", "val_loss")}
    aimed, diverged = losses[comparison.aims[result.task]], len(result.runs) - len(ends)
    speed_ups = {}
    if aimed is not None and spent is not None and not diverged:
        for baseline in comparison.baselines.get(result.task, []):
            speed_ups[baseline.method] = speed_up(aimed.median, spent.median, baseline.curve)
    cost = None if spent is None else spent.median
    return Final(result.task, result.method, result.lr, cost, **losses, diverged=diverged, speed_ups=speed_ups)


def speed_up(loss: float, cost: float, curve: Sequence[tuple[float, float]]) -> float:
    """What the baseline would have had to spend for a loss, over `cost`.

    `curve` are pairs of what the baseline spent and the loss that it ended with, its learning rate decayed to each.
    Between them it is interpolated on logarithmic scales; a loss that is not lower than one for less is passed over.
    The answer is 0 for a loss above all of them, and infinity below.

    >>> curve = [(50, 0.4), (100, 0.2), (200, 0.1)]
    >>> speed_up(0.2, 100, curve), round(speed_up(0.1, 100, curve), 6), speed_up(0.5, 100, curve)
    (1.0, 2.0, 0.0)
    """
    falling: list[tuple[float, float]] = []
    for spent, ended in sorted(curve):
        if ended > 0 and (not falling or ended < falling[-1][1]):
            falling.append((spent, ended))
    if not falling or not loss <= falling[0][1]:
        return 0.0
    if loss == falling[0][1]:
        return falling[0][0] / cost
    for (spent, ended), (more, lower) in itertools.pairwise(falling):
        if loss >= lower:
            way = math.log(loss / ended) / math.log(lower / ended)
            return float(spent * (more / spent) ** way / cost)
    return math.inf
