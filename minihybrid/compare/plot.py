"""The curves of a comparison as a picture, by matplotlib."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from minihybrid.compare.comparison import Comparison
from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Run

COLUMNS = 3
PALE = ("adam", "adam+ema", "lbfgs")
"""Baselines that are drawn beside the hybrid methods."""


def draw(comparison: Comparison, path: Path) -> None:
    """For each task the loss that it is judged by, against charged cost, at a constant rate: medians over the seeds."""
    from matplotlib.figure import Figure

    tasks = [task for task in comparison.aims if comparison.of(task)]
    height = -(-max(1, len(tasks)) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 3.6 * height), layout="constrained")
    for place, task in enumerate(tasks):
        axes = figure.add_subplot(height, COLUMNS, place + 1)
        for result in comparison.of(task):
            method = METHODS[result.method]
            if not result.runs or (method.name not in PALE and not _drawn(method.name)):
                continue
            costs, losses = median_curve(result.runs, comparison.aims[task])
            style = "--" if method.name in PALE else "-"
            axes.plot(costs, losses, style, label=method.name, linewidth=1.2)
        axes.set_yscale("log")
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("gradient equivalents", fontsize=8)
        axes.set_ylabel(comparison.aims[task].replace("_", " "), fontsize=8)
        axes.legend(fontsize=6)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, format="png", dpi=110)
    os.replace(part, path)


def _drawn(name: str) -> bool:
    return name.startswith("hybrid/") and not name.endswith("/linear")


def median_curve(runs: tuple[Run, ...], loss: str) -> tuple[list[float], list[float]]:
    """Costs and the median losses of several runs, point by point, as far as all of them go."""
    columns = list(zip(*(run.curve for run in runs), strict=False))
    costs = [statistics.median(point.gradient_equivalents for point in column) for column in columns]
    return costs, [statistics.median(getattr(point, loss) for point in column) for column in columns]
