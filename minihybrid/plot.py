"""One style for pictures, by matplotlib, and the few kinds of picture that this project draws.

The background is transparent and the ink of middle lightness, so that a picture can be read on a light page and on a
dark one. The colours are four of those of Okabe and Ito ("Color Universal Design", 2008), which people with any colour
vision can tell apart on either; the fifth line is the first colour again, dashed.

Everything takes plain numbers and draws on the axes that it is given, so it mixes with matplotlib's own calls:

    import matplotlib.pyplot as plt
    plt.style.use(mh.plot.STYLE)
    figure, axes = plt.subplots()
    mh.plot.learning_curve(axes, losses, label="Adam")
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minihybrid.train.metrics import Mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#797979"
"""Of text, axes and grids: as far from white as from black."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Of lines, in the order in which they are used: blue, vermilion, green, purple."""
PHASE_COLOURS = {"warmup": INK, "full": "#0072b2", "predict": "#009e73", "correct": "#cc79a7"}
"""Of the phases of the hybrid trainer."""
ROLLED_BACK = "#d55e00"
"""Of a prediction that was taken back."""

STYLE: dict[str, Any] = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 120,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": "cycler(linestyle=['-', '--', ':']) * " + f"cycler(color={list(COLOURS)})",
    "grid.color": INK,
    "grid.alpha": 0.2,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "image.cmap": "cividis",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "minihybrid",  # the same picture is the same file
}
"""For `plt.style.use`, or for `with plt.style.context(STYLE)`."""


def smooth(values: Sequence[float], keep: float) -> list[float]:
    """The running mean that forgets (see `train.Mean`); what is not finite is left out.

    >>> smooth([3.0, 0.0, float("nan")], keep=0.5)
    [3.0, 1.0, 1.0]
    """
    mean = Mean(keep)
    return [mean.add(value) if math.isfinite(value) else mean.value for value in values]


def stretches(phases: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Each stretch of one phase, with its first step and the one after its last.

    >>> list(stretches(["warmup", "full", "full", "predict"]))
    [('warmup', 0, 1), ('full', 1, 3), ('predict', 3, 4)]
    """
    start = 0
    for phase, group in itertools.groupby(phases):
        end = start + len(list(group))
        yield phase, start, end
        start = end


def phase_bands(axes: Axes, phases: Sequence[str]) -> None:
    """Shade the background by phase: `phases` names the phase of each step, and the x axis counts steps.

    A phase of another name than the trainer's is shaded like Warmup.
    """
    labelled: set[str] = set()
    for phase, start, end in stretches(phases):
        label = "_nolegend_" if phase in labelled else phase
        labelled.add(phase)
        narrow = 500 * (end - start) < len(phases)  # a single prediction in a long run: a line, as a band is too thin
        alpha, width = (0.6, 0.8) if narrow else (0.15, 0)
        axes.axvspan(start, end, color=PHASE_COLOURS.get(phase, INK), alpha=alpha, linewidth=width, label=label)


def learning_curve(
    axes: Axes,
    losses: Sequence[float],
    *,
    steps: Sequence[float] | None = None,
    phases: Sequence[str] = (),
    keep: float = 0.9,
    label: str | None = None,
) -> None:
    """A loss over the steps on a logarithmic axis: pale as it is, and full as its running mean (see `smooth`).

    `steps` are where the losses were measured (0, 1, 2, ... if none are given). `phases`, one for each step, are shaded
    behind it. `keep` 0 draws the losses alone, which is right for losses that are no noise (a validation set, a full
    batch).

    >>> import matplotlib
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> learning_curve(axes, [2.0, 1.0, 0.5], phases=["warmup", "full", "full"], label="SGD")
    >>> axes.get_yscale(), len(axes.lines)
    ('log', 2)
    """
    x = range(len(losses)) if steps is None else steps
    phase_bands(axes, phases)
    (line,) = axes.plot(x, smooth(losses, keep) if keep else losses, label=label)
    if keep:
        below, colour, dashes = line.get_zorder() - 0.1, line.get_color(), line.get_linestyle()
        # With both of them, no colour is used up.
        axes.plot(x, losses, color=colour, linestyle=dashes, alpha=0.3, linewidth=0.8, zorder=below)
    _logarithmic(axes)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(ncols=2)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers: 1, 0.1, and where it is short 0.2 and 0.5 as well."""

    def between(value: float, place: object) -> str:
        low, high = axes.get_ylim()
        return f"{value:g}" if high < 100 * low else ""

    axes.set_yscale("log", subs=(2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(between)


def contour(
    axes: Axes,
    function: Callable[[Any, Any], Any],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    levels: int = 16,
    resolution: int = 160,
) -> None:
    """The level lines of `function(x, y)`, which takes two arrays and gives one of their shape.

    The levels are quantiles of what the function is there, closer together where it is low: so a narrow valley shows as
    well as steep walls.
    """
    x, y = np.meshgrid(np.linspace(*x_range, resolution), np.linspace(*y_range, resolution))
    height = np.asarray(function(x, y))
    shares = 0.95 * np.linspace(0.05, 1, levels) ** 2
    axes.contour(x, y, height, levels=np.unique(np.quantile(height, shares)), colors=INK, linewidths=0.6)
    axes.set_xlim(*x_range)
    axes.set_ylim(*y_range)
    axes.grid(False)


def path(axes: Axes, points: Any, *, label: str | None = None) -> None:
    """A walk through the plane, `points` [n, 2]: a dot for each step, a ring where it began, a cross where it ended."""
    points = np.asarray(points)
    (line,) = axes.plot(points[:, 0], points[:, 1], marker=".", markersize=4, linewidth=1.2, label=label)
    colour, above = line.get_color(), line.get_zorder() + 0.1
    axes.plot(*points[0], "o", color=colour, markerfacecolor="none", markersize=8, zorder=above)
    axes.plot(*points[-1], "X", color=colour, markersize=8, zorder=above)
    if label:
        axes.legend()


def images(axes: Axes, pixels: Any, titles: Sequence[object] = (), *, columns: int = 8) -> None:
    """Small grey images side by side, row by row, white where `pixels` is high.

    `pixels` is [n, height, width], or [n, pixels] for square images; `titles` stand above the images.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        side = round(pixels.shape[1] ** 0.5)
        if side * side != pixels.shape[1]:
            raise ValueError(
                f"images: rows of {pixels.shape[1]} pixels are no square images; reshape them to [n, height, width]."
            )
        pixels = pixels.reshape(-1, side, side)
    number, height, width = pixels.shape
    columns = max(1, min(columns, number))
    gap = max(1, height // 8)
    above = gap + (height // 2 if len(titles) else 0)
    high, wide = height + above, width + gap
    lowest, highest = float(pixels.min(initial=0)), float(pixels.max(initial=1))
    for i, image in enumerate(pixels):
        left, top = i % columns * wide, i // columns * high
        axes.imshow(
            image, "gray", vmin=lowest, vmax=highest, extent=(left, left + width, top + height, top), origin="upper"
        )
        if i < len(titles):
            axes.text(left + width / 2, top - gap / 2, str(titles[i]), ha="center", va="bottom", fontsize="small")
    axes.set_xlim(0, columns * wide - gap)
    axes.set_ylim(-(-number // columns) * high - above, -above)
    axes.set_axis_off()


def save(figure: Figure, file: str | os.PathLike[str]) -> None:
    """Write a figure as the kind of file that its name says (.svg, .png), whole or not at all.

    Neither the date nor matplotlib's version is written, so that the same picture makes the same file.
    """
    file = Path(file)
    kind = file.suffix[1:]
    part = file.with_name(f".{file.name}.part")
    figure.savefig(part, format=kind, metadata={"svg": {"Date": None}, "png": {"Software": None}}.get(kind))
    os.replace(part, file)
