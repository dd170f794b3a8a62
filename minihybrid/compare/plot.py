"""The curves of a comparison as a picture, by matplotlib."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minihybrid import plot
from minihybrid.compare.comparison import Comparison
from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
BASELINES = ("adam", "adam+ema", "lbfgs")
"""What is drawn beside the hybrid methods."""


def draw(comparison: Comparison, path: Path) -> None:
    """For each task the loss that it is judged by, against charged cost, at a constant rate: medians over the seeds."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    with context(plot.STYLE):
        figure = Figure()
        _panels(figure, comparison)
        plot.save(figure, path)


def _panels(figure: Figure, comparison: Comparison) -> None:
    tasks = [task for task in comparison.aims if comparison.of(task)]
    lines = _lines()
    height = -(-max(1, len(tasks)) // COLUMNS)
    figure.set_size_inches(5 * COLUMNS, 3.6 * height)
    for place, task in enumerate(tasks):
        axes = figure.add_subplot(height, COLUMNS, place + 1)
        for result in comparison.of(task):
            if result.runs and (line := lines.get(result.method)):
                axes.plot(*median_curve(result.runs, comparison.aims[task]), **line, label=result.method)
        axes.set_yscale("log")
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("gradient equivalents", fontsize=8)
        axes.set_ylabel(comparison.aims[task].replace("_", " "), fontsize=8)
        axes.legend(fontsize=6)


def _lines() -> dict[str, dict[str, Any]]:
    """How each method is drawn, in every panel the same: baselines in the colour of the ink, hybrid ones in others."""
    import matplotlib

    hybrid = [name for name in METHODS if name.startswith("hybrid/") and not name.endswith("/linear")]
    cycle = itertools.cycle(matplotlib.rcParams["axes.prop_cycle"])
    grey = [{"color": plot.INK, "linestyle": dashes} for dashes in ("-", "--", ":")]
    return dict(zip(BASELINES, grey, strict=True)) | dict(zip(hybrid, cycle, strict=False))


def median_curve(runs: tuple[Run, ...], loss: str) -> tuple[list[float], list[float]]:
    """Costs and the median losses of several runs, point by point, as far as all of them go."""
    columns = list(zip(*(run.curve for run in runs), strict=False))
    costs = [statistics.median(point.gradient_equivalents for point in column) for column in columns]
    return costs, [statistics.median(getattr(point, loss) for point in column) for column in columns]
