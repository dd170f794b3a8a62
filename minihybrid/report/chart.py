"""A chart as HTML: the lines are SVG that stretches with the page, and the words around it are text.

Nothing is laid out in pixels, so a chart fits a telephone and a wide window without a script. The numbers that a
script needs to show values under the pointer are written beside it as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import compress
from typing import Literal

from minihybrid.plot import stretches

Point = tuple[float, float]
Shape = Literal["line", "pale", "dots", "squares", "specks"]

KINDS = ("warmup", "full", "predict", "correct", "evaluate", "accepted", "rolled back", "declined")
WIDE, HIGH = 1000, 300  # of the drawing, before it is stretched
NARROW = 2
"""Bands are drawn at least so wide; who would be narrower is coloured strongly."""
MOST = 1500
"""Points that a line is drawn with, about as many as a screen has columns."""


@dataclass(frozen=True)
class Series:
    """Points (x, y) by their x, and how they are drawn; `colour` is a class of the style sheet.

    `notes`, one for each point, are shown under the pointer in place of the value.
    """

    label: str
    colour: str
    points: Sequence[Point]
    shape: Shape = "line"
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """Series over a common x axis. `phases`, one for each step, are shaded; then the x axis counts steps.

    What is not finite is not drawn, nor what is not positive where `log` makes the y axis logarithmic. `percent` writes
    values as percentages, `wide` takes the whole width of the page.
    """

    title: str
    x_label: str
    series: Sequence[Series]
    log: bool = False
    percent: bool = False
    phases: Sequence[str] = ()
    wide: bool = False

    def html(self) -> str:
        """The chart; nothing if there is nothing to draw."""
        series = [one for one in map(self._drawable, self.series) if one.points]
        return "\n".join(self._figure(series)) if series else ""

    def _drawable(self, series: Series) -> Series:
        least = 0.0 if self.log else -math.inf
        finite = [math.isfinite(x) and math.isfinite(y) and y > least for x, y in series.points]
        points, notes = list(compress(series.points, finite)), list(compress(series.notes, finite))
        return replace(series, points=points, notes=notes)

    def _figure(self, series: Sequence[Series]) -> Iterator[str]:
        x = _Axis.around([x for one in series for x, _ in one.points] + [0.0, float(len(self.phases))])
        y = _Axis.around([y for one in series for _, y in one.points], self.log, margin=0.05)
        size = "chart wide" if self.wide else "chart"
        yield f'<figure class="{size}" tabindex="0"><figcaption>{escape(self.title)}</figcaption>'
        yield f'<div class="legend">{"".join(self._legend(series))}</div>'
        yield '<div class="plot">'
        for at, text in y.ticks(self.percent):
            yield f'<span class="y" style="bottom:{at:.2%}">{text}</span>'
        yield (
            f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" '
            f'aria-label="{escape(self.title)} by {escape(self.x_label)}">'
        )
        for phase, start, end in stretches(self.phases):
            left, right = x.place(start) * WIDE, x.place(end) * WIDE
            # One prediction among thousands of steps is to be seen, on a telephone as well.
            style = f"{kind(phase)} narrow" if right - left < NARROW else kind(phase)
            yield f'<rect class="{style}" x="{left:.1f}" width="{max(right - left, NARROW):.1f}" height="{HIGH}"/>'
        for at, _ in y.ticks():
            yield f'<path class="grid" d="M0 {HIGH * (1 - at):.1f}h{WIDE}"/>'
        for one in series:
            placed = [(WIDE * x.place(a), HIGH * (1 - y.place(b))) for a, b in one.points]
            yield f'<path class="{one.shape} {one.colour}" d="{_path(placed, one.shape)}"/>'
        yield "</svg>"
        for at, text in x.ticks():
            yield f'<span class="x" style="left:{at:.2%}">{text}</span>'
        yield '<i class="cursor"></i></div>'
        yield f'<div class="x-label">{escape(self.x_label)}</div><output></output>'
        yield f'<script type="application/json">{self._numbers(series, x)}</script></figure>'

    def _legend(self, series: Sequence[Series]) -> Iterator[str]:
        for one in series:
            if one.shape != "pale":
                yield f'<span><i class="key {one.shape} {one.colour}"></i>{escape(one.label)}</span>'
        for phase in dict.fromkeys(self.phases):
            yield f'<span><i class="key band {kind(phase)}"></i>{escape(phase)}</span>'

    def _numbers(self, series: Sequence[Series], x: _Axis) -> str:
        told = [
            {
                "label": one.label,
                "x": [_short(a) for a, _ in points],
                "y": [_short(b) for _, b in points],
                "notes": list(one.notes),
                "exact": one.shape in ("dots", "squares", "specks"),
            }
            for one in series
            for points in [one.points if one.notes else _thinned(one.points)]
        ]
        numbers = {
            "low": x.low,
            "high": x.high,
            "percent": self.percent,
            "x": self.x_label,
            "series": told,
            "phases": list(stretches(self.phases)),
        }
        # In a script element nothing ends the text but </script>: no "<" of a name gets there.
        return json.dumps(numbers, allow_nan=False).replace("<", "\\u003c")


@dataclass(frozen=True)
class _Axis:
    """From `low` to `high`; where `log`, these are powers of ten."""

    low: float
    high: float
    log: bool = False

    @staticmethod
    def around(values: Iterable[float], log: bool = False, margin: float = 0.0) -> _Axis:
        """The axis that holds the values, with a margin on both sides."""
        scaled = [math.log10(value) if log else value for value in values]
        low, high = min(scaled), max(scaled)
        room = (high - low) * margin or (0.0 if high > low else abs(high) * 0.1 or 0.5)
        return _Axis(low - room, high + room, log)

    def place(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def ticks(self, percent: bool = False) -> list[tuple[float, str]]:
        """Round values with their places."""
        values = self._powers() if self.log else self._steps()
        return [(self.place(value), _words(value, percent)) for value in values]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _powers(self) -> list[float]:
        spans = self.high - self.low
        every = max(1, math.ceil(spans / 6))
        digits = (1,) if spans > 2 else (1, 2, 5) if spans > 0.6 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
        powers = range(math.floor(self.low) // every * every, math.ceil(self.high) + 1, every)
        found = [digit * 10.0**power for power in powers for digit in digits]
        return [value for value in found if self.low <= math.log10(value) <= self.high]


def _path(points: Sequence[Point], shape: Shape) -> str:
    if shape in ("line", "pale"):
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in _thinned(points))
    # A line of no length has only its ends, which are round or square and do not stretch with the drawing.
    return "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in points)


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most about `MOST` of the points: of each group the lowest and the highest, so that peaks stay."""
    if len(points) <= MOST:
        return points
    size = math.ceil(2 * len(points) / MOST)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        group = points[start : start + size]
        kept += sorted({min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])})
    return kept


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _words(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.4g} %"
    return f"{value:,.0f}" if abs(value) >= 1000 and value < 1e6 else f"{value:.3g}"


def kind(name: str) -> str:
    """The class of the style sheet for a phase, or for what a prediction came to."""
    return f"is-{name.replace(' ', '-')}" if name in KINDS else "is-other"
