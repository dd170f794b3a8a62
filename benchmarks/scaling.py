"""How time and memory of a step grow with batch, width and depth: python -m benchmarks.scaling

Each is doubled while the others stay. Writes results/scaling.json and the plot results/scaling.png, on logarithmic
axes: a straight line of slope 1 is linear growth. Fixed costs keep the small end flat, so the slope is that of the
larger half. Width enters twice into the size of a layer, so growth with it is over the number of parameters.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.contenders import OURS, PLAN, make
from benchmarks.memory import transient_peak
from benchmarks.timing import calls_for, in_fresh_processes, one_core, seconds_of
from benchmarks.workloads import MLP

BATCHES = [2**i for i in range(4, 12)]
WIDTHS = [2**i for i in range(5, 11)]
DEPTHS = [2**i for i in range(7)]
LABELS = {"us_per_step": "time of a step, ms", "peak_bytes": "transient memory, kB"}  # thousands of either unit


class Case(NamedTuple):
    """A contender on a perceptron: what grows, how large it is, and the sizes and batch that this means."""

    contender: str
    grows: str
    size: int
    sizes: tuple[int, ...]
    batch: int


def cases() -> list[Case]:
    """All that is measured."""
    made = []
    for contender in (OURS, PLAN):
        made += [Case(contender, "batch", n, (128, 128, 10), n) for n in BATCHES]
        made += [Case(contender, "parameters", _parameters((w, w, w)), (w, w, w), 128) for w in WIDTHS]
        made += [Case(contender, "depth", d, (64, *[128] * d, 10), 64) for d in DEPTHS]
    return made


def _parameters(sizes: Sequence[int]) -> int:
    return sum((n + 1) * m for n, m in itertools.pairwise(sizes))


def measure(task: tuple[Case, int]) -> dict[str, Any]:
    """Seconds and bytes of a step, the time as the median of some turns; call it in a fresh process."""
    case, rounds = task
    one_core()
    step = make(case.contender, MLP(case.grows, case.batch, 1e-9, case.sizes))
    calls = calls_for(step, 0.012)
    seconds = statistics.median(seconds_of(step, calls, process_time) for _ in range(rounds))
    return {**case._asdict(), "us_per_step": round(1e6 * seconds, 2), "peak_bytes": transient_peak(step)}


def slope(rows: Sequence[dict[str, Any]], key: str) -> float:
    """The exponent of growth over the larger half of the sizes, by least squares on logarithms."""
    half = sorted(rows, key=lambda row: row["size"])[len(rows) // 2 :]
    x, y = (np.log([row[name] for row in half]) for name in ("size", key))
    return float(np.polyfit(x, y, 1)[0])


def series(rows: Sequence[dict[str, Any]], contender: str, grows: str) -> list[dict[str, Any]]:
    """The rows of one line in the plot."""
    return [row for row in rows if (row["contender"], row["grows"]) == (contender, grows)]


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time above, memory below, one column for each thing that grows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = list(dict.fromkeys(row["grows"] for row in rows))
    figure, axes = pyplot.subplots(2, len(columns), figsize=(4 * len(columns), 6.5), layout="constrained")
    for row_of_axes, (key, label) in zip(axes, LABELS.items(), strict=True):
        for ax, grows in zip(row_of_axes, columns, strict=True):
            for contender, mark in ((OURS, "o"), (PLAN, "s")):
                line = series(rows, contender, grows)
                name = f"{contender.removeprefix('minihybrid ')}, slope {slope(line, key):.2f}"
                ax.loglog([row["size"] for row in line], [row[key] / 1e3 for row in line], marker=mark, label=name)
            sizes = [row["size"] for row in line]
            top = max(row[key] for row in series(rows, OURS, grows)) / 1e3
            ax.loglog(sizes, [top * size / sizes[-1] for size in sizes], "k:", linewidth=1, label="linear")
            ax.set(xlabel=grows, ylabel=label if grows == columns[0] else "")
            ax.legend(fontsize=8)
            ax.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each case (15)")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of scaling.json and scaling.png")
    options = parser.parse_args(arguments)
    wanted = cases()
    rows = []
    for row in in_fresh_processes(measure, [(case, options.rounds) for case in wanted]):
        rows.append(row)
        print(f"{row['contender']:18} {row['grows']} {row['size']}: {row['us_per_step']:.0f} us", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    report.write_json(
        options.out / "scaling.json", {"machine": report.machine(), "rounds": options.rounds, "rows": rows}
    )
    plot(rows, options.out / "scaling.png")
    body = [
        [
            f"{contender}, {grows}",
            *(f"{slope(series(rows, contender, grows), key):.2f}" for key in LABELS),
        ]
        for contender in (OURS, PLAN)
        for grows in dict.fromkeys(case.grows for case in wanted)
    ]
    text = report.table(["slope on logarithmic axes", "time", "transient memory"], body)
    print(text)
    if options.out == report.RESULTS:
        report.write_section(
            "scaling", f"{text}\n\n![time and memory of a step, on logarithmic axes](results/scaling.png)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
