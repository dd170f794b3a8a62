"""What the hybrid trainer costs when it does not predict: python -m benchmarks.prediction_overhead

A step of `HybridTrainer` whose pay-off test has switched prediction off, over a step of `FullTrainer` with the same
model and optimizer. The trainer's read-out average is kept in both: by `optim.Ema` on one side, by `Drift` on the
other. Over Adam without any average it is reported, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from time import process_time
from typing import Any

import minihybrid as mh
from benchmarks import report
from benchmarks.contenders.ours import loss_of, model_of
from benchmarks.timing import Contestant, bootstrap, calls_for, in_fresh_processes, one_core, ratios, take_turns
from benchmarks.workloads import WORKLOADS
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper

ON = ("784-128-10 b32", "784-128-10 b64", "784-128-10 b256", "784-512-256-10 b128")
LIMIT = 1.02
LR = 1e-9  # the model stays where it is, and no gradient fades away


def trainer(workload: Any, kind: str) -> Any:
    """A trainer at work on one batch."""
    loss_function = loss_of(workload)

    def forward(model: Any, batch: Any) -> tuple[Any, Any]:
        return model, loss_function(model(mh.Tensor(batch.inputs)), batch.targets)

    model = ModelWrapper(model_of(workload), forward)
    if kind == "adam":
        return FullTrainer(model, OptimizerWrapper(mh.optim.Adam(), LR))
    if kind == "adam+ema":
        return FullTrainer(model, OptimizerWrapper(mh.optim.Ema(mh.optim.Adam(), 0.99), LR))
    made = HybridTrainer(model, OptimizerWrapper(mh.optim.Adam(), LR), HybridConfig.minibatch(), itertools.repeat(None))
    # As after twenty cycles in which prediction lost, and no cycle from here on tries it again.
    lost = [(True, 0.0), (False, 1.0)] * 20 + [(False, 1.1)]
    made.payoff.load_state_dict({**made.payoff.state_dict(), "cycles": lost})
    made.payoff.config = mh.hybrid.PayoffConfig(retry=10**9, remembered=10**9)
    return made


def overhead(task: tuple[str, int]) -> dict[str, float]:
    """The medians over some rounds of the hybrid trainer's time over the others', on a workload."""
    one_core()
    workload = WORKLOADS[task[0]]
    batch = mh.data.Batch(*workload.data())
    trainers = {kind: trainer(workload, kind) for kind in ("adam", "adam+ema", "hybrid")}
    contestants = {kind: Contestant(lambda made=made: made.step(batch)) for kind, made in trainers.items()}
    for made in trainers.values():
        for _ in range(200):
            made.step(batch)
    assert trainers["hybrid"].payoff.pays is False
    calls = calls_for(contestants["adam"].step, 0.03)
    times = take_turns(contestants, task[1], dict.fromkeys(contestants, calls), process_time)
    assert trainers["hybrid"].ledger.forward_probes == 0
    return {kind: statistics.median(ratios(times["hybrid"], times[kind])) for kind in ("adam", "adam+ema")}


def main() -> None:
    """Print a table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41, help="turns of each (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes (default: %(default)s)")
    parser.add_argument("--out", default="benchmarks/results/prediction_overhead.json", help="(default: %(default)s)")
    options = parser.parse_args()
    tasks = [(workload, options.rounds) for workload in ON for _ in range(options.processes)]
    found: dict[tuple[str, str], list[float]] = {}
    for (workload, _), by_kind in zip(tasks, in_fresh_processes(overhead, tasks), strict=True):
        for kind, ratio in by_kind.items():
            found.setdefault((workload, kind), []).append(ratio)
    rows, body = [], []
    for (workload, kind), values in found.items():
        low, high = bootstrap(values)
        verdict = ("missed" if low > LIMIT else "met") if kind == "adam+ema" else ""
        rows.append({"workload": workload, "over": kind, "ratio": statistics.median(values), "interval": [low, high]})
        body.append([workload, kind, f"{statistics.median(values):.3f}", f"{low:.3f} to {high:.3f}", verdict])
    print(report.table(["workload", "over", "ratio", "95 % interval", f"at most {LIMIT}"], body))
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
