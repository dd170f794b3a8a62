"""Training steps side by side on one core: python -m benchmarks.cpu

All contenders train the same small networks in float32 with Adam, in one process, in turns of 12 ms; see
`benchmarks/timing.py` for how ratios are taken and `benchmarks/README.md` for what they were. A run of everything
writes results/cpu.json and its tables in the README; a run of a part only prints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.bars import HEADROOM, Verdict, judge, judge_memory
from benchmarks.contenders import CONTENDERS, NAIVE, OPTIMISED, OURS, PLAN
from benchmarks.memory import measure
from benchmarks.race import Entry, Result, race
from benchmarks.timing import in_fresh_processes
from benchmarks.workloads import WORKLOADS

Absent = dict[str, list[str]]  # "contender: reason" and the workloads


def run(
    workloads: list[str], contenders: list[str], rounds: int, processes: int, with_memory: bool
) -> tuple[list[report.Row], Absent]:
    """The rows of all results, and who did not take part."""
    entries = [Entry(workload, tuple(contenders), rounds) for _ in range(processes) for workload in workloads]
    found: dict[str, list[Result]] = {workload: [] for workload in workloads}
    for entry, result in zip(entries, in_fresh_processes(race, entries), strict=True):
        found[entry.workload].append(result)
        print(f"raced {entry.workload}, {len(found[entry.workload])} of {processes}", file=sys.stderr)
    rows: list[report.Row] = []
    absent: Absent = {}
    for workload, results in found.items():
        pairs = [(workload, name) for name in results[0].seconds if with_memory]
        memory = dict(zip([name for _, name in pairs], in_fresh_processes(measure, pairs), strict=True))
        rows += report.rows_of(workload, results, memory)
        for name, reason in sorted({pair for result in results for pair in result.absent.items()}):
            absent.setdefault(f"{name}: {reason}", []).append(workload)
    return rows, absent


TABLES: list[tuple[str, str, Callable[[float], str]]] = [
    ("Microseconds of processor time for a step:", "us_per_step", lambda us: f"{us:.0f}" if us >= 100 else f"{us:.1f}"),
    ("Ratio of time to naive NumPy:", "ratio_to_naive", "{:.2f}".format),
    ("Ratio of time to PyTorch eager:", "ratio_to_torch_eager", "{:.2f}".format),
    ("Transient memory of a step at its peak, kB, where Python sees it:", "peak_bytes", lambda n: f"{n / 1e3:.1f}"),
    ("Memory of a process that does this alone, MB after 1,000 steps:", "rss_bytes", lambda n: f"{n / 1e6:.0f}"),
    ("Its growth in these 1,000 steps, kB:", "rss_growth_bytes", lambda n: f"{n / 1e3:.0f}"),
]


def tables(rows: list[report.Row], absent: Absent, verdicts: list[Verdict]) -> str:
    """The results in Markdown."""
    parts = []
    for title, key, show in TABLES:
        if any(row[key] is not None for row in rows):
            parts += [title, report.grid(rows, key, show)]
    if verdicts:
        body = [
            [
                *(v.bar.workload, f"{v.bar.contender} / {v.bar.reference}", f"{v.allowed:.2f}", f"{v.ratio:.2f}"),
                *(f"{v.interval[0]:.2f} to {v.interval[1]:.2f}", "missed" if v.missed else "met"),
            ]
            for v in verdicts
        ]
        header = ["", "ratio of", "at most", "found", "95 % interval", ""]
        parts += ["What was to be reached:", report.table(header, body)]
    if judged := judge_memory(rows):
        body = [
            [*bar[:2], f"{bar.limit / 1e3:.0f}", f"{peak / 1e3:.1f}", "missed" if peak > bar.limit else "met"]
            for bar, peak in judged
        ]
        parts += ["Transient memory, kB:", report.table(["", "of", "at most", "found", ""], body)]
    if absent:
        parts += ["Did not take part:", "\n".join(f"- {who} ({', '.join(where)})" for who, where in absent.items())]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    several: dict[str, Any] = dict(action="append", metavar="NAME")
    parser.add_argument("--workload", choices=list(WORKLOADS), help="only this one (may be repeated)", **several)
    parser.add_argument("--contender", choices=list(CONTENDERS), help="only this one (may be repeated)", **several)
    parser.add_argument("--rounds", type=int, default=31, help="turns of each contender (31)")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes to take the median over (7)")
    parser.add_argument("--quick", action="store_true", help="one process, 5 rounds, no memory: a first look")
    parser.add_argument("--no-memory", action="store_true", help="measure times only")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare with NumPy alone; exit code 1 if a ratio is 15 %% above both its bar and what was published",
    )
    parser.add_argument("--out", type=Path, help="write the rows to this file, and leave the README alone")
    options = parser.parse_args(arguments)

    compared = [NAIVE, OPTIMISED, OURS, PLAN] if options.check else list(CONTENDERS)
    workloads, contenders = options.workload or list(WORKLOADS), options.contender or compared
    rounds, processes = (5, 1) if options.quick else (options.rounds, options.processes)
    with_memory = not (options.quick or options.no_memory or options.check)
    machine = report.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    print(about)
    rows, absent = run(workloads, contenders, rounds, processes, with_memory)
    verdicts = judge(rows, HEADROOM, report.published("cpu")) if options.check else judge(rows)
    text = tables(rows, absent, verdicts)
    print(f"\n{text}")

    content = {"machine": machine, "processes": processes, "rounds": rounds, "absent": absent, "rows": rows}
    whole = workloads == list(WORKLOADS) and contenders == list(CONTENDERS) and with_memory
    if options.out:
        report.write_json(options.out, content)
    elif whole:
        report.write_json(report.RESULTS / "cpu.json", content)
        report.write_section("cpu", f"Medians over {processes} processes of {rounds} rounds: {about}.\n\n{text}")
    missed = [v for v in verdicts if v.missed and options.check]
    for v in missed:
        print(
            f"missed: {v.bar.contender} takes {v.ratio:.2f} of {v.bar.reference}'s time on {v.bar.workload}; expected "
            f"at most {v.allowed:.2f}.",
            file=sys.stderr,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
