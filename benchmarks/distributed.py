"""What several processes gain, and what they say to each other: python -m benchmarks.distributed

Starts itself on 1, 2 and 4 ranks by mpiexec (needs minihybrid[mpi]). Measured are sums over all ranks by size; a step
of data parallel training, of the hybrid trainer by phase, and of local steps; and what local steps cost in quality. A
model of cost is fitted to the sums, compared with the steps, and drawn up to 1,024 ranks. Writes
results/distributed.json, results/distributed.png and a section of the README. More ranks than cores share them, so only
as many as there are cores can gain anything here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import minihybrid as mh
from benchmarks import report
from minihybrid.data import Batch, DataLoader, Dataset
from minihybrid.distributed import Mpi, Shard, Traffic, ending_together, evaluate_together
from minihybrid.distributed.cost import CostModel
from minihybrid.hybrid import (
    FullTrainer,
    HybridConfig,
    HybridTrainer,
    LocalStepsTrainer,
    ModelWrapper,
    OptimizerWrapper,
    ParallelModel,
)

RANKS = (1, 2, 4)
SIZES = (8, 800, 8_000, 80_000, 800_000, 8_000_000)  # bytes
BATCH, EVERY = 256, 20
DRAWN = [2**i for i in range(11)]
LOCAL = (1, 5, 20, 50)  # steps between meetings


def forward(model: Any, batch: Batch) -> tuple[Any, mh.Tensor]:
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def images() -> Dataset:
    """As many numbers as 784-128-10 wants; what they say does not matter for time."""
    rng = np.random.default_rng(0)
    return Dataset(rng.normal(size=(2048, 784)).astype(np.float32), rng.integers(0, 10, 2048), "random", classes=10)


# On the ranks


def sums(ranks: Mpi) -> list[dict[str, Any]]:
    """Seconds of an all_reduce, by size: the median, of the slowest rank."""
    rows = []
    for size in SIZES:
        vector = np.zeros(size // 8)
        times = []
        for _ in range(max(10, min(300, 20_000_000 // size))):
            ranks.barrier()
            start = time.perf_counter()
            ranks.all_reduce(vector)
            times.append(time.perf_counter() - start)
        seconds = max(median for (median,) in ranks.all_gather([statistics.median(times)]))
        rows.append({"what": "sum", "bytes": size, "ranks": ranks.size, "seconds": seconds})
    return rows


def steps(ranks: Mpi) -> list[dict[str, Any]]:
    """Seconds, messages and bytes of a step, by trainer and phase."""
    data = images()
    rows = []
    for name in ("data parallel", "hybrid", "local steps"):
        rng = mh.Rng(0)
        model = mh.nn.MLPConfig((784, 128, 10)).init(rng=rng)
        batches = Shard(DataLoader(data, BATCH, rng, drop_last=True), ranks.rank, ranks.size)
        stepper = OptimizerWrapper(mh.optim.Adam(), 1e-4)
        trainer: Any
        if name == "local steps":
            trainer = LocalStepsTrainer(ModelWrapper(model, forward), stepper, ranks, EVERY)
        elif name == "hybrid":
            guard = Shard(DataLoader(data, BATCH, mh.Rng(1)), ranks.rank, ranks.size)
            config = replace(HybridConfig.minibatch(), warmup=20, payoff=None)
            trainer = HybridTrainer(ParallelModel(model, forward, ranks), stepper, config, guard)
        else:
            trainer = FullTrainer(ParallelModel(model, forward, ranks), stepper)
        spent: dict[str, list[tuple[float, Traffic]]] = {}
        for i in range(340):
            batch = next(batches)
            ranks.barrier()
            before, start = ranks.traffic, time.perf_counter()
            result = trainer.step(batch)
            took = time.perf_counter() - start
            if i >= 20:
                phase = f"{name}, {result.phase}" if name == "hybrid" else name
                spent.setdefault(phase, []).append((took, ranks.traffic - before))
        for phase, of_phase in spent.items():
            seconds = statistics.median(took for took, _ in of_phase)
            if name == "local steps":  # one step in EVERY communicates
                seconds = statistics.mean(sorted(took for took, _ in of_phase)[: -len(of_phase) // 50])
            total = sum((traffic for _, traffic in of_phase), Traffic())
            rows.append(
                {
                    "what": "step",
                    "of": phase,
                    "ranks": ranks.size,
                    "seconds": max(median for (median,) in ranks.all_gather([seconds])),
                    "messages": total.messages / len(of_phase),
                    "bytes": total.bytes / len(of_phase),
                }
            )
    return rows


def quality(ranks: Mpi) -> list[dict[str, Any]]:
    """The validation loss on digits after 600 steps, by steps between meetings: 1 is data parallel training."""
    rows = []
    for seed in range(3):
        train, valid = mh.data.digits().split(0.8, mh.Rng(0))
        for every in LOCAL:
            rng = mh.Rng(seed)
            model = mh.nn.MLPConfig((64, 64, 10)).init(rng=rng)
            batches = Shard(DataLoader(train, 128, rng, drop_last=True), ranks.rank, ranks.size)
            stepper = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.003, total=600))
            before = ranks.traffic
            trainer: Any
            if every == 1:
                trainer = FullTrainer(ParallelModel(model, forward, ranks), stepper)
            else:
                trainer = LocalStepsTrainer(ModelWrapper(model, forward), stepper, ranks, every)
            for _ in range(600):
                trainer.step(next(batches))
            sent = ranks.traffic - before
            score = evaluate_together(ranks, trainer.readout(), valid, mh.nn.cross_entropy)
            rows.append(
                {
                    "what": "quality",
                    "every": every,
                    "ranks": ranks.size,
                    "seed": seed,
                    "bytes": sent.bytes,
                    "loss": score.loss,
                }
            )
    return rows


def on_rank(parts: Sequence[str]) -> None:
    """What each process does; rank 0 prints the rows."""
    ranks = Mpi()
    with ending_together(ranks):
        functions: dict[str, Callable[[Mpi], list[dict[str, Any]]]] = {"sums": sums, "steps": steps, "quality": quality}
        rows = [row for part in parts for row in functions[part](ranks)]
        if ranks.rank == 0:
            print(json.dumps(rows))


# In the process that is started by hand


def measured(n: int, parts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows from n ranks."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [shutil.which("mpiexec", path=beside) or "mpiexec", "-n", str(n), sys.executable, "-m"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "benchmarks.distributed", "--on-rank", *parts], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"the run on {n} ranks failed:\n{done.stderr}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def fitted(rows: Sequence[dict[str, Any]], cores: int) -> CostModel:
    """The model for the sums of ranks that have a core each."""
    sums = [row for row in rows if row["what"] == "sum" and row["ranks"] <= max(2, cores)]
    return CostModel.fitted([(row["bytes"], row["ranks"], row["seconds"]) for row in sums])


def expected(model: CostModel, rows: Sequence[dict[str, Any]], of: str, ranks: int) -> float:
    """Seconds of a step on so many ranks, each with its part of the batch and a core of its own, by the model."""
    alone = next(row for row in rows if row["what"] == "step" and row["of"] == of and row["ranks"] == 1)
    many = next(row for row in rows if row["what"] == "step" and row["of"] == of and row["ranks"] == max(RANKS))
    small = many["messages"] * model.all_reduce(24, ranks)
    large = 1 / EVERY if of == "local steps" else 1
    exchanged = large * model.all_reduce(many["bytes"] / large, ranks) if many["bytes"] > 1000 else 0.0
    return alone["seconds"] / ranks + small + exchanged


def summary(rows: Sequence[dict[str, Any]], model: CostModel) -> str:
    """The results in Markdown."""
    by_step = [row for row in rows if row["what"] == "step"]
    first = {row["of"]: row["seconds"] for row in by_step if row["ranks"] == 1}
    body = [
        [
            *(row["of"], str(row["ranks"]), f"{row['messages']:.1f}", f"{row['bytes'] / 1e3:.1f}"),
            f"{row['seconds'] / first[row['of']]:.2f}",
            f"{first[row['of']] / row['seconds'] / row['ranks']:.0%}",
            f"{expected(model, rows, row['of'], row['ranks']) / row['seconds']:.2f}",
        ]
        for row in by_step
        if row["of"] in first
    ]
    header = ["a step of", "ranks", "messages", "kB", "time to that on 1", "efficiency", "model to measured"]
    parts = [report.table(header, body)]
    baseline = [row["loss"] for row in rows if row["what"] == "quality" and row["every"] == 1]
    sent = {row["every"]: row["bytes"] for row in rows if row["what"] == "quality"}
    body = []
    for every in sent:
        losses = [row["loss"] for row in rows if row["what"] == "quality" and row["every"] == every]
        told = f"{statistics.median(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})"
        ratio = statistics.median(losses) / statistics.median(baseline)
        body.append([str(every), f"{sent[1] / sent[every]:.1f}", told, f"{ratio:.2f}"])
    parts += [
        f"Local steps on digits, {max(RANKS)} ranks, 600 steps, 3 seeds (median, least and most):",
        report.table(["steps between meetings", "times fewer bytes", "validation loss", "to that of 1"], body),
    ]
    return "\n\n".join(parts)


def plot(rows: Sequence[dict[str, Any]], model: CostModel, cores: int, path: Path) -> None:
    """Sums as measured and as modelled, and the expected speed-up by ranks."""
    import matplotlib.pyplot as plt

    plt.style.use(mh.plot.STYLE)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for i, ranks in enumerate(RANKS[1:]):
        found = [row for row in rows if row["what"] == "sum" and row["ranks"] == ranks]
        sizes = [row["bytes"] for row in found]
        shared = "" if ranks <= cores else f", sharing {cores} cores"
        left.loglog(sizes, [1e6 * row["seconds"] for row in found], "o", color=f"C{i}", label=f"{ranks} ranks{shared}")
        left.loglog(
            sizes, [1e6 * model.all_reduce(n, ranks) for n in sizes], color=f"C{i}", label=f"{ranks} ranks, model"
        )
    left.set(xlabel="bytes", ylabel="microseconds", title="a sum over all ranks")
    kinds = {"data parallel": "C0", "hybrid, predict": "C1", "local steps": "C2"}
    for of, colour in kinds.items():
        alone = expected(model, rows, of, 1)
        right.loglog(DRAWN, [alone / expected(model, rows, of, n) for n in DRAWN], color=colour, label=of)
    right.loglog(DRAWN, DRAWN, ":", color="grey", label="ideal")
    right.set(
        xlabel="ranks, a core each", ylabel="times faster than one", title=f"a step of batch {BATCH}, by the model"
    )
    for axes in (left, right):
        axes.legend()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distributed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--on-rank", nargs="+", metavar="PART", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.on_rank:
        on_rank(options.on_rank)
        return 0
    machine = report.machine()
    rows = []
    for n in RANKS:
        rows += measured(n, ["sums", "steps"])
        print(f"measured on {n} ranks", file=sys.stderr)
    rows += measured(max(RANKS), ["quality"])
    model = fitted(rows, machine["cores"])
    text = summary(rows, model)
    about = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    print(f"{about}\n\n{text}")
    cost = {"latency": model.latency, "bandwidth": model.bandwidth}
    report.write_json(report.RESULTS / "distributed.json", {"machine": machine, "cost": cost, "rows": rows})
    plot(rows, model, machine["cores"], report.RESULTS / "distributed.png")
    report.write_section("distributed", f"{about}.\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
