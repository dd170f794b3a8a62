"""How much does the learning rate matter to the hybrid trainer? python -m benchmarks.learning_rates

Full batches: on each task the tuned learning rate of `hybrid/quasi-newton` is taken times 1/3, 1, 3 and 10, and the
backward passes to the training losses that tuned Adam reaches in 10, 25, 50 and 100 % of its budget are counted.
Minibatches: with a learning rate ten times too small, the gradient equivalents to a training loss of 0.03 on digits,
for the hybrid trainer and for Adam.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minihybrid.compare import methods, tasks
from minihybrid.compare.figures import SHARES, lowest, reached
from minihybrid.compare.race import Entry, Run, race
from minihybrid.compare.suite import FULL
from minihybrid.compare.tuning import tuned

FULL_BATCH = ("digits", "spirals", "logistic", "regression", "xor")
FACTORS = (1 / 3, 1.0, 3.0, 10.0)
BUDGET, POINTS = 400, 400
VARIATION = 2.0
SMALL_TARGET, SMALL_BUDGET, SMALL_SHARE = 0.03, 8000, 0.5


def runs(task: Any, method: str, lr: float, seeds: Sequence[int], budget: int, points: int) -> list[Run]:
    """A run for each seed."""
    return [race(task, methods.METHODS[method], Entry(task.name, method, s, lr, budget), points) for s in seeds]


def tuned_rate(task: Any, method: str, budget: int, points: int) -> float:
    """As in the comparison: the best of a grid by factors of two, by the loss that the task is judged by."""

    def loss_at(lr: float) -> float:
        found = runs(task, method, lr, FULL.seeds_to_tune_by, budget, points)
        return statistics.mean(math.inf if run.diverged else getattr(run.end, task.aim) for run in found)

    found = tuned(loss_at, methods.METHODS[method].lr or 0.02)
    if found is None:
        raise RuntimeError(f"no learning rate of {method} on {task.name} has worse neighbours on both sides.")
    return found


def passes(found: Sequence[Run], target: float) -> float:
    """The median of backward passes to a loss; infinity where it was not reached."""
    points = (reached(run, target) for run in found)
    return statistics.median(math.inf if point is None else point.backward_passes for point in points)


def full_batches(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each task and learning rate."""
    rows = []
    for name in FULL_BATCH:
        task = tasks.build(f"full-batch/{name}")
        adam = runs(task, "adam", tuned_rate(task, "adam", BUDGET, POINTS), seeds, BUDGET, POINTS)
        losses = [statistics.median(lowest(run, share * BUDGET) for run in adam) for share in SHARES.values()]
        best = tuned_rate(task, "hybrid/quasi-newton", BUDGET, POINTS)
        for factor in FACTORS:
            found = runs(task, "hybrid/quasi-newton", factor * best, seeds, BUDGET, POINTS)
            costs = [passes(found, loss) for loss in losses]
            rows.append({"task": task.name, "lr": factor * best, "factor": factor, "backward_passes": costs})
            shown = "  ".join(f"{cost:6.0f}" for cost in costs)
            print(f"{task.name:24} lr {factor * best:<8.3g} ({factor:.2g} x tuned)  {shown}", flush=True)
        worst = [
            max(row["backward_passes"][i] for row in rows if row["task"] == task.name)
            / min(row["backward_passes"][i] for row in rows if row["task"] == task.name)
            for i in range(len(losses))
        ]
        verdict = "met" if max(worst) <= VARIATION else "missed"
        shown = "  ".join(f"{ratio:6.2f}" for ratio in worst)
        print(f"{'':24} highest / lowest, at most {VARIATION:g}: {shown}  {verdict}", flush=True)
    return rows


def too_small(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each method and seed."""
    task, rows = tasks.build("minibatch/digits"), []
    lr = tuned_rate(task, "adam", 1000, 50) / 10
    for method in ("adam", "adam+ema", "hybrid/drift"):
        costs = []
        for run in runs(task, method, lr, seeds, SMALL_BUDGET, 800):
            point = reached(run, SMALL_TARGET)
            cost = math.inf if point is None else point.gradient_equivalents
            costs.append(cost)
            rows.append({"task": task.name, "method": method, "seed": run.entry.seed, "lr": lr, "cost": cost})
        print(f"{task.name} to {SMALL_TARGET}, lr {lr:g}: {method:14} {statistics.median(costs):8.0f}", flush=True)
    medians = {
        method: statistics.median(row["cost"] for row in rows if row["method"] == method)
        for method in ("adam", "hybrid/drift")
    }
    share = medians["hybrid/drift"] / medians["adam"]
    print(f"hybrid/drift over adam: {share:.2f}, at most {SMALL_SHARE}  {'met' if share <= SMALL_SHARE else 'missed'}")
    return rows


def main() -> None:
    """Print the tables, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results/learning_rates.json", help="(default: %(default)s)")
    options = parser.parse_args()
    seeds = range(options.seeds)
    found = {"full_batch": full_batches(seeds), "too_small": too_small(seeds)}
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1).replace("Infinity", "null") + "\n", "utf-8")


if __name__ == "__main__":
    main()
