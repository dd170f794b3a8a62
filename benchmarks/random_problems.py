"""Is the hybrid trainer ever much worse than its optimizer? python -m benchmarks.random_problems

100 small problems at random: their data, networks, batches, learning rates and seeds. On each the hybrid trainer and
the optimizer alone spend the same gradient equivalents, and the losses on the whole training set are compared. Wrong
learning rates are part of it: many are much too high or too low.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minihybrid as mh
from minihybrid.compare.method import stepwise
from minihybrid.compare.race import Recorder
from minihybrid.compare.task import Task
from minihybrid.data import Dataset
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, OptimizerWrapper
from minihybrid.train import DivergenceError

BUDGET = 200
TOLERANCE, SHARE, WORST = 0.05, 0.95, 1.5


def problem(rng: mh.Rng) -> tuple[Task, float]:
    """A task and a learning rate."""

    def whole(low: int, high: int) -> int:
        return round(math.exp(float(rng.uniform(1, math.log(low), math.log(high + 1), dtype="float64")[0]) - 1e-9))

    def chance(p: float) -> bool:
        return bool(rng.bernoulli(1, p)[0])

    n, features, hidden, classes = whole(40, 800), whole(2, 40), whole(4, 64), whole(2, 8)
    inputs = rng.normal((n, features)) * np.exp(rng.normal(features) * chance(0.5))
    teacher = mh.nn.MLPConfig((features, 8, classes), "tanh").init(rng.split())
    logits = 4 * teacher(mh.Tensor(inputs)).numpy() + rng.normal((n, classes)) * chance(0.7)
    classified = chance(0.6)
    data = (
        Dataset(inputs, logits.argmax(axis=1), "random", classes) if classified else Dataset(inputs, logits, "random")
    )
    rest, validation = data.split(0.8, rng)
    train, guard = rest.split(0.8, rng)
    activation = "relu" if chance(0.5) else "tanh"
    network = mh.nn.MLPConfig((features, *(hidden for _ in range(whole(1, 3))), classes), activation)
    loss = mh.nn.cross_entropy if classified else mh.nn.mse
    batch_size = None if chance(0.5) else min(whole(4, 64), len(train))
    lr = math.exp(float(rng.uniform(1, math.log(1e-4), math.log(0.3), dtype="float64")[0]))
    return Task("random", train, guard, validation, network.init, loss, batch_size), lr


def optimizer_alone(task: Task, model: Any, lr: float, rng: mh.Rng) -> Any:
    """Adam; where batches are noisy, with the average that the hybrid trainer reads out, too."""
    adam = mh.optim.Adam()
    return FullTrainer(model, OptimizerWrapper(adam if task.full_batch else mh.optim.Ema(adam, 0.99), lr))


def hybrid(task: Task, model: Any, lr: float, rng: mh.Rng) -> Any:
    """The preset for the kind of batch."""
    config = HybridConfig.full_batch() if task.full_batch else HybridConfig.minibatch()
    guard = None if task.full_batch else task.guard_batches(rng)
    return HybridTrainer(model, OptimizerWrapper(mh.optim.Adam(), lr), config, guard)


def end(task: Task, lr: float, seed: int, make: Callable[..., Any]) -> tuple[float, float]:
    """The losses at the beginning and at the end; infinity for a run that diverged."""
    recorder = Recorder(task, BUDGET, 1)
    try:
        stepwise(make, "constant")(task, lr, seed, BUDGET, recorder.goes_on)
    except DivergenceError:
        return recorder.curve[0].train_loss, math.inf
    return recorder.curve[0].train_loss, math.inf if recorder.diverged else recorder.curve[-1].train_loss


def results(count: int) -> Iterator[dict[str, Any]]:
    """A row for each problem."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), np.errstate(all="ignore"):
        for seed in range(count):
            task, lr = problem(mh.Rng(seed + 10**6))
            first, base = end(task, lr, seed, optimizer_alone)
            _, ours = end(task, lr, seed, hybrid)
            excess = (ours - base) / max(base, 0.01 * first) if math.isfinite(base) else 0.0
            yield {
                "problem": seed,
                "full_batch": task.full_batch,
                "lr": lr,
                "initial": first,
                "optimizer_alone": base if math.isfinite(base) else None,
                "hybrid": ours if math.isfinite(ours) else None,
                "excess": excess,
            }


def main() -> None:
    """Print the worst and the summary, and keep all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="how many problems (default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results/random_problems.json", help="(default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for row in results(options.count):
        rows.append(row)
        if row["excess"] > TOLERANCE:
            print(f"problem {row['problem']}: {row}", flush=True)
    for kind, part in (("full batch", True), ("minibatch", False)):
        excesses = sorted(row["excess"] for row in rows if row["full_batch"] is part)
        better = sum(excess < 0 for excess in excesses)
        print(f"{kind}: {len(excesses)} problems, {better} better; median excess {np.median(excesses):+.3f}")
    good = sum(row["excess"] <= TOLERANCE for row in rows)
    worst = max(row["excess"] for row in rows)
    print(
        f"excess at most {TOLERANCE} in {good} of {len(rows)} (bar {SHARE:.0%}); worst {worst:+.3f} (bar {WORST - 1:+})"
    )
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
