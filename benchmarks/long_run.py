"""Whether a long run stays as it began: python -m benchmarks.long_run

100,000 steps of a small network in one process, as `minihybrid train` makes them, with a folder that keeps the run. The
memory of the process is taken after a tenth of the steps and at the end; the time of a step is the median over the
first and over the last tenth. A run of another kind has a process of its own. Writes results/long_run.json; exit code 1
if memory grew by a megabyte or more, or a step became slower by more than 5 %.

Times are of the processor, and still those of one machine at one moment: what else runs on it also takes caches away.
So the tenths are compared in another order as well, the one before the last with the second, and the report has both.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import minihybrid as mh
from benchmarks import report
from benchmarks.memory import resident
from benchmarks.timing import in_fresh_processes, one_core
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.nn import MLPConfig
from minihybrid.train import Event, Learner, RunFolder, Stepped, Task

KINDS = ("full", "full, plan", "hybrid", "hybrid, plan")
MOST_GROWTH = 2**20
MOST_SLOWER = 1.05


class Watch:
    """A listener that notes the time of each real step, and the memory after a tenth of the steps and at the end."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.seconds = np.full(steps, np.nan)  # written whole here: it must not grow on the way
        self.resident: dict[int, int | None] = {}

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Stepped):
            return
        if event.result.gradient_norm is not None:
            self.seconds[event.result.step] = event.cpu_seconds
        done = event.result.step + 1
        if done in (self.steps // 10, self.steps):
            gc.collect()  # cycles are not what is looked for here: a test counts nodes with the collector off
            self.resident[done] = resident()

    def median(self, tenth: int) -> float:
        """Seconds of a real step in a tenth of the run."""
        part = self.seconds[tenth * self.steps // 10 : (tenth + 1) * self.steps // 10]
        return float(np.nanmedian(part))


def learner(kind: str, steps: int, listeners: list[Callable[[Event], None]]) -> Learner[Any]:
    """A run like those of the command line, over the digits."""
    rng, compiled = mh.Rng(0), kind.endswith("plan")
    task = Task.of(mh.data.digits(), rng.split())
    model = ModelWrapper(MLPConfig((64, 16, 10)).init(rng.split()), task.forward)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.003, steps))
    batches = mh.data.DataLoader(task.train, 32, rng.split(), drop_last=True)
    guard = mh.data.DataLoader(task.guard, len(task.guard), rng.split())
    if kind.startswith("full"):
        trainer: Any = FullTrainer(model, optimizer, compiled)
    else:
        trainer = HybridTrainer(model, optimizer, replace(HybridConfig.minibatch(), compile=compiled), guard)
    return Learner(trainer, batches, task.evaluate, steps, steps // 100, listeners)


def measure(task: tuple[str, int]) -> dict[str, Any]:
    """One long run; call it in a fresh process."""
    kind, steps = task
    one_core()
    watch = Watch(steps)
    with tempfile.TemporaryDirectory() as folder:
        with RunFolder(folder, {}, "long") as run:
            learner(kind, steps, [watch, run]).run()
        logged = (run.path / "metrics.jsonl").stat().st_size
        lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").count("\n")
    before, after = watch.resident[steps // 10], watch.resident[steps]
    first, last = watch.median(0), watch.median(9)
    return {
        "kind": kind,
        "steps": steps,
        "resident_bytes": after,
        "growth_bytes": None if before is None or after is None else after - before,
        "us_first_tenth": round(1e6 * first, 2),
        "us_last_tenth": round(1e6 * last, 2),
        "slower": round(last / first, 4),
        "slower_inside": round(watch.median(8) / watch.median(1), 4),
        "log_bytes": logged,
        "log_lines": lines,
    }


def passes(row: dict[str, Any]) -> bool:
    """Whether a run stayed as it began."""
    return (row["growth_bytes"] or 0) < MOST_GROWTH and row["slower"] <= MOST_SLOWER


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, and say how it went."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000, help="steps of a run (100000)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of long_run.json")
    options = parser.parse_args(arguments)
    rows = list(in_fresh_processes(measure, [(kind, options.steps) for kind in options.kind or KINDS]))
    report.write_json(options.out / "long_run.json", {"machine": report.machine(), "rows": rows})
    body = [
        [
            row["kind"],
            "-" if row["growth_bytes"] is None else f"{row['growth_bytes'] / 1024:.0f} KiB",
            f"{row['slower']:.3f}",
            f"{row['slower_inside']:.3f}",
            f"{row['log_bytes'] / 2**20:.1f} MiB, {row['log_lines']:,} lines",
        ]
        for row in rows
    ]
    print(report.table(["run", "growth of the process", "last tenth / first", "ninth / second", "log"], body))
    print(f"median of the ratios: {statistics.median(row['slower'] for row in rows):.3f}")
    return 0 if all(map(passes, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
