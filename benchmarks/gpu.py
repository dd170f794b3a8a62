"""Training steps side by side on a GPU: python -m benchmarks.gpu

The workloads of the CPU's benchmark and a large one, in float32 with Adam: minihybrid by the tape and by a plan;
PyTorch by kernels, as a CUDA graph of the whole step, and through torch.compile (max-autotune); JAX. Then parts of a
step: Adam on 100,000,000 parameters, a delta, matrix products by both routes. Each framework has a process of its own,
and what fails or takes too long becomes a row that says so. A whole run takes less than five minutes, writes
results/gpu-<name>.json and ends with what was to be reached.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.contenders import JAX, NAIVE, ON_GPU, OURS, PLAN, TORCH, TORCH_COMPILE, TORCH_GRAPHS, Unfit, make
from benchmarks.gpu_parts import parts
from benchmarks.on_device import (
    ClockWatch,
    CupyWatch,
    TorchWatch,
    Watch,
    allocated_by_cupy,
    allocated_by_torch,
    timed,
    work_of,
)
from benchmarks.race import disagreement, losses
from benchmarks.workloads import CNN, MLP, WORKLOADS, Transformer, Workload
from minihybrid.device import Device, DeviceError

Row = dict[str, Any]

LARGE = MLP("1024-1024-1024 b4096", 4096, sizes=(1024, 1024, 1024))
BARRED = ["784-128-10 b64", "2-16-1 b4", "784-512-256-10 b128"]  # first, in case time runs out
ON: dict[str, Workload] = {name: WORKLOADS[name] for name in dict.fromkeys([*BARRED, *WORKLOADS])} | {LARGE.name: LARGE}
TINY: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        MLP("784-128-10 b64", 2, sizes=(3, 4, 3)),
        CNN("cnn b32", 1, channels=(1, 1)),
        Transformer("transformer b16", 1, layers=1, d=4, length=3, heads=2, hidden=4, vocabulary=5),
    )
}
PROCESSES = [[OURS, PLAN], [TORCH, TORCH_GRAPHS], [JAX], [TORCH_COMPILE]]  # the slowest to begin comes last


class Effort(NamedTuple):
    """How long a block of steps is, how many are timed, for how many steps losses are compared, and seconds in all."""

    block: float
    blocks: int
    steps: int
    most: float


WHOLE, QUICK, DRY = Effort(0.02, 31, 10, 280), Effort(0.01, 7, 3, 55), Effort(1e-6, 1, 2, 600)


class Task(NamedTuple):
    """What a process does: contenders on workloads, in this order; without contenders, the parts of a step."""

    contenders: Sequence[str]
    workloads: Sequence[Workload]
    effort: Effort
    references: dict[str, list[float]]
    """The losses of the naive one, by the name of the workload."""


# In a process of its own


def work(task: Task) -> Iterator[Row]:
    """The rows of a task. A failure ends it, unless a contender declined: the device may be lost to this process."""
    if not task.contenders:
        yield {"machine": _machine()}
        yield from parts(task.effort is DRY, task.effort.block, task.effort.blocks)
        return
    for workload in task.workloads:
        reference = task.references[workload.name]
        for name in task.contenders:
            row: Row = {"workload": workload.name, "contender": name}
            try:
                yield row | _timed(name, workload, reference, task.effort)
            except (ImportError, Unfit) as error:
                yield row | {"failure": str(error)}
            except Exception as error:
                yield row | {"failure": f"{type(error).__name__}: {error}"}
                return
    for workload in task.workloads:  # last, as a profiler may slow down what comes after it
        for name in task.contenders:
            yield {"workload": workload.name, "contender": name, **_asked_for(name, workload)}


def _timed(name: str, workload: Workload, reference: list[float], effort: Effort) -> Row:
    """The times of a contender whose losses are those of the naive one."""
    if reason := disagreement(losses(make(name, workload, on_gpu=True), effort.steps), reference):
        return {"failure": reason}
    step, watch = make(name, replace(workload, lr=1e-9), on_gpu=True), _watch(name)
    timing = timed(step, watch, effort.block, effort.blocks)
    found = {"us_per_step": timing.device, "us_on_the_wall": timing.wall}
    found |= {"us_fastest": timing.fastest, "us_slowest": timing.slowest}
    return {key: round(1e6 * seconds, 2) for key, seconds in found.items()}


def _watch(name: str) -> Watch:
    return {"ours": CupyWatch, "pytorch": TorchWatch, "in_jax": ClockWatch}[ON_GPU[name][0]]()


def _asked_for(name: str, workload: Workload) -> Row:
    """What the host asks for in a step, as far as it can be told here."""
    found: Row = {}
    try:
        step = make(name, replace(workload, lr=1e-9), on_gpu=True)
        for _ in range(3):
            last = step()
        if allocated := {"ours": allocated_by_cupy, "pytorch": allocated_by_torch}.get(ON_GPU[name][0]):
            found["bytes"] = allocated(step)
        found |= work_of(step, last.item if hasattr(last, "item") else last.block_until_ready)._asdict()
    except Exception as error:
        found["not_counted"] = f"{type(error).__name__}: {error}"
    return found


def _machine() -> Row:
    """The device and what runs it."""
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(0)
    name = properties["name"]
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    return {
        "gpu": name.decode() if isinstance(name, bytes) else name,
        "multiprocessors": properties["multiProcessorCount"],
        "memory_bytes": properties["totalGlobalMem"],
        "driver": driver,
        "driver_cuda": runtime.driverGetVersion(),
        "runtime_cuda": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


# Here


def _send(connection: Any, task: Task) -> None:
    for row in work(task):
        connection.send(row)
    connection.close()


def in_a_process(task: Task, deadline: float) -> Iterator[Row]:
    """The rows of a task from a fresh process, which ends with the time; one that ends early leaves rows out."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, task))
    process.start()
    sending.close()
    try:
        while receiving.poll(max(0.0, deadline - time.monotonic())):
            yield receiving.recv()
    except EOFError:
        pass
    finally:
        if process.is_alive():
            process.join(2)
        if process.is_alive():
            process.kill()
        process.join()


def here(task: Task, deadline: float) -> Iterator[Row]:
    """The same in this process."""
    yield from work(task)


def run(task: Task, deadline: float, rows_of: Callable[[Task, float], Iterator[Row]]) -> list[Row]:
    """All rows of a task: where a process has ended early, another one does what is left."""
    found: dict[tuple[str, str], Row] = {}
    wanted = [(workload, name) for workload in task.workloads for name in task.contenders]
    while missing := [(workload, name) for workload, name in wanted if (workload.name, name) not in found]:
        left = [workload for workload in task.workloads if any(workload is other for other, _ in missing)]
        before = len(found)
        for row in rows_of(task._replace(workloads=left), deadline):
            key = row["workload"], row["contender"]
            found[key] = found.get(key, {}) | row
            print(f"{key[1]} on {key[0]}", file=sys.stderr)
        if len(found) == before or time.monotonic() > deadline:
            late = time.monotonic() > deadline
            reason = "no time was left" if late else "its process ended without a word"
            for workload, name in missing if late else missing[:1]:
                row = {"workload": workload.name, "contender": name, "failure": reason}
                found.setdefault((workload.name, name), row)
    return list(found.values())


class Bar(NamedTuple):
    """What is to be reached: a figure and its limit, which it is not to exceed unless `least`."""

    what: str
    limit: float
    found: float | None
    least: bool = False

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        return "met" if (self.found >= self.limit if self.least else self.found <= self.limit) else "missed"


def bars(rows: Sequence[Row], measured: Sequence[Row]) -> list[Bar]:
    """What was to be reached."""
    by_name = {(row["workload"], row["contender"]): row for row in rows}

    def us(workload: str, contender: str = PLAN) -> float | None:
        return by_name.get((workload, contender), {}).get("us_per_step")

    def ratio(workload: str, other: str) -> float | None:
        mine, theirs = us(workload), us(workload, other)
        return None if mine is None or not theirs else mine / theirs

    def part(begin: str, key: str) -> float | None:
        return next((row[key] for row in measured if row["part"].startswith(begin) and key in row), None)

    digits = BARRED[0]
    return [
        Bar(f"{digits}, graph launches a step", 1, by_name.get((digits, PLAN), {}).get("graph_launches")),
        Bar(f"{digits}, waits for the device in a step", 0, by_name.get((digits, PLAN), {}).get("waits")),
        Bar(f"{digits}, us a step", 40, us(digits)),
        Bar(f"{digits}, ratio to {TORCH}", 0.15, ratio(digits, TORCH)),
        Bar(f"{digits}, ratio to {TORCH_GRAPHS}", 1.0, ratio(digits, TORCH_GRAPHS)),
        Bar(f"{digits}, ratio to {JAX}", 1.0, ratio(digits, JAX)),
        Bar("2-16-1 b4, us a step", 25, us("2-16-1 b4")),
        Bar("784-512-256-10 b128, us a step", 60, us("784-512-256-10 b128")),
        Bar("Adam, share of the bandwidth of a copy", 0.85, part("Adam, share", "ratio"), least=True),
        Bar("delta of 1,000,000 parameters, us", 20, part("delta", "us")),
    ]


def tables(rows: list[Row], measured: list[Row], judged: list[Bar]) -> str:
    """The results in Markdown."""
    texts: list[str] = []
    for title, key, show in (
        ("Microseconds for a step:", "us_per_step", "{:.1f}"),
        ("Ratio of time to PyTorch eager:", "ratio_to_torch_eager", "{:.2f}"),
        ("What the host starts in a step:", "launches", "{}"),
        ("Waits for the device in a step:", "waits", "{}"),
        ("Kernels and copies that the device runs in a step:", "kernels", "{}"),
        ("Bytes that a step allocates:", "bytes", "{:,}"),
    ):
        if any(row.get(key) is not None for row in rows):
            texts += [title, report.grid([{key: None} | row for row in rows], key, show.format)]
    if measured:
        body = [[row["part"], ", ".join(_shown(key, row[key]) for key in row if key != "part")] for row in measured]
        texts += ["Parts of a step:", report.table(["", "found"], body)]
        texts += _wrong_routes(measured)
    body = [
        [bar.what, f"{'at least' if bar.least else 'at most'} {bar.limit:g}", _found(bar.found), bar.verdict]
        for bar in judged
    ]
    texts += ["What was to be reached:", report.table(["", "", "found", ""], body)]
    if failures := [f"- {row['contender']} on {row['workload']}: {row['failure']}" for row in rows if "failure" in row]:
        texts += ["Did not take part:", "\n".join(failures)]
    return "\n\n".join(texts)


def _found(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _shown(key: str, value: Any) -> str:
    return f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"


def _wrong_routes(measured: list[Row]) -> list[str]:
    """The products for which the other route was faster by a tenth."""
    found = []
    for row in measured:
        times = {key.removeprefix("us_"): value for key, value in row.items() if key.startswith("us_")}
        if "route" not in row:
            continue
        best = min(times, key=times.__getitem__)
        if times[row["route"]] > 1.1 * times[best]:
            found.append(f"- {row['part']}: {row['route']} is taken, {best} is faster")
    return ["Products that take the slower route:", "\n".join(found)] if found else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two workloads, few blocks, no torch.compile: a first look"
    )
    parser.add_argument("--dry-run", action="store_true", help="only whether it runs: tiny workloads, in this process")
    parser.add_argument("--out", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    try:
        Device("cuda")
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2

    effort = DRY if options.dry_run else QUICK if options.quick else WHOLE
    rows_of = here if options.dry_run else in_a_process
    deadline = time.monotonic() + effort.most
    workloads = list((TINY if options.dry_run else ON).values())
    processes = PROCESSES
    if options.quick:
        workloads, processes = workloads[:2], [names for names in PROCESSES if names != [TORCH_COMPILE]]
    references = {workload.name: losses(make(NAIVE, workload), effort.steps) for workload in workloads}
    tasks = [Task(names, workloads, effort, references) for names in processes]
    ours, *others = tasks
    rows = run(ours, deadline, rows_of)
    measured = list(rows_of(Task((), (), effort, {}), deadline))
    machine: Row = next((row["machine"] for row in measured if "machine" in row), {})
    measured = [row for row in measured if "part" in row]
    for task in others:
        rows += run(task, deadline, rows_of)
    eager = {row["workload"]: row.get("us_per_step") for row in rows if row["contender"] == TORCH}
    for row in rows:
        theirs = eager.get(row["workload"])
        row["ratio_to_torch_eager"] = round(row["us_per_step"] / theirs, 4) if theirs and "us_per_step" in row else None

    judged = bars(rows, measured)
    machine = report.machine() | machine
    print(", ".join(f"{key} {value}" for key, value in machine.items() if value is not None))
    print(f"\n{tables(rows, measured, judged)}")
    content = {
        "machine": machine,
        "blocks": effort.blocks,
        "parts": measured,
        "bars": [bar._asdict() | {"verdict": bar.verdict} for bar in judged],
        "rows": rows,
    }
    name = re.sub(r"[^a-z0-9]+", "-", str(machine.get("gpu", "unknown")).lower()).strip("-")
    if options.out or effort is WHOLE:
        report.write_json(options.out or report.RESULTS / f"gpu-{name}.json", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
