"""What is each part of the hybrid trainer worth? python -m benchmarks.prediction_parts

The presets, each with one part changed, against the optimizer that the preset has to beat: on minibatches Adam with an
average (`adam+ema`), on full batches Adam. All have the same learning rate on a task. Costs are gradient equivalents to
the training losses that the baseline reaches in 10, 25, 50 and 100 % of its budget, as ratios to the baseline's.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minihybrid.compare import methods, tasks
from minihybrid.compare.figures import SHARES, lowest, reached
from minihybrid.compare.hybrids import Configs, described, predicting
from minihybrid.compare.method import Method, stepwise
from minihybrid.compare.race import Entry, Run, race
from minihybrid.hybrid import HybridConfig
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.predictors import QuasiNewtonConfig

MINI, FULL = HybridConfig.minibatch(), HybridConfig.full_batch()
MINIBATCH = {
    "minibatch preset": MINI,
    "every 20 steps": replace(MINI, full=20, horizon=20),
    "every 80 steps": replace(MINI, full=80, horizon=80),
    "without pay-off test": replace(MINI, payoff=None),
    "without hindsight": replace(MINI, hindsight=None),
    "with correction": replace(MINI, correction=CorrectionConfig()),
    "with forecast, confidence 0.85": replace(MINI, confidence=0.85),
    "coherence 0.65": replace(MINI, coherence=0.65),
}
FULL_BATCH = {
    "full-batch preset": FULL,
    "10 pairs": replace(FULL, predictor=QuasiNewtonConfig(pairs=10)),
    "trust up to 5": replace(FULL, trust=replace(FULL.trust, largest=5.0)),
    "trust up to 50": replace(FULL, trust=replace(FULL.trust, largest=50.0)),
    "first steps at full length": replace(FULL, trust=replace(FULL.trust, warmup=1.0)),
}
RATES = {
    "minibatch/digits": (0.002, 0.02),
    "minibatch/regression": (0.002, 0.01),
    "minibatch/characters": (0.002, 0.02),
    "full-batch/digits": (0.16,),
    "full-batch/spirals": (0.16,),
    "full-batch/regression": (0.16,),
}
BUDGETS = {"minibatch": 1200, "full-batch": 400}


def runs(task: Any, method: Method, lr: float, seeds: Sequence[int], budget: int) -> list[Run]:
    """A run for each seed."""
    return [race(task, method, Entry(task.name, method.name, seed, lr, budget), 200) for seed in seeds]


def cost(found: Sequence[Run], target: float) -> float:
    """The median of gradient equivalents to a loss; infinity where it was not reached."""
    points = [reached(run, target) for run in found]
    return statistics.median(math.inf if point is None else point.gradient_equivalents for point in points)


def rows(name: str, lr: float, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The baseline and all variants on a task."""
    task = tasks.build(name)
    budget = BUDGETS[name.partition("/")[0]]
    base = methods.METHODS["adam" if task.full_batch else "adam+ema"]
    contestants = {base.name: base}
    for label, config in (FULL_BATCH if task.full_batch else MINIBATCH).items():
        configs = Configs(full_batch=config, minibatch=config)
        contestants[label] = Method(label, stepwise(predicting(configs), "constant"), described(configs, "constant"))
    found: dict[str, list[Run]] = {}
    made = []
    for label, method in contestants.items():
        found[label] = runs(task, method, lr, seeds, budget)
        reference = found[base.name]
        targets = [statistics.median(lowest(run, share * budget) for run in reference) for share in SHARES.values()]
        ratios = [cost(found[label], target) / cost(reference, target) for target in targets]
        row = {
            "task": name,
            "lr": lr,
            "variant": label,
            "cost_over_baseline": ratios,
            "final_train_loss": statistics.median(run.end.train_loss for run in found[label]),
            "final_val_loss": statistics.median(run.end.val_loss for run in found[label]),
        }
        made.append(row)
        shown = " ".join(f"{ratio:5.2f}" for ratio in ratios)
        losses = f"train {row['final_train_loss']:.4g}  validation {row['final_val_loss']:.4g}"
        print(f"{name:22} lr {lr:<6g} {label:32} {shown}   {losses}", flush=True)
    return made


def main() -> None:
    """Print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results/prediction_parts.json", help="(default: %(default)s)")
    options = parser.parse_args()
    found = [row for name, rates in RATES.items() for lr in rates for row in rows(name, lr, range(options.seeds))]
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1).replace("Infinity", "null") + "\n", "utf-8")


if __name__ == "__main__":
    main()
