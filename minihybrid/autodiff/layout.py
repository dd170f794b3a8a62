"""Where to draw the vertices of a directed graph without cycles: in layers, with few crossings and straight lines.

The method is that of Sugiyama, Tagawa and Toda ("Methods for Visual Understanding of Hierarchical System Structures",
1981). An edge that passes layers gets a point in each of them, which is ordered and placed as a narrow vertex would be.
Everything is a function of the input, so that the same graph is always the same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """The layer of each vertex (0 above), the place `x` of its middle, and for each edge where it is in each layer."""

    layers: list[int]
    x: list[float]
    edges: list[list[tuple[float, int]]]


def layered(widths: Sequence[float], edges: Sequence[tuple[int, int]], gap: float) -> Layout:
    """Place vertices of these widths, for edges (from, to) that all lead downwards, at least `gap` apart.

    A vertex is as far down as the highest one that it leads to allows, so that what is used late stands beside its use.

    >>> layout = layered([10, 10, 10], [(0, 2), (1, 2)], gap=4)
    >>> layout.layers, layout.x
    ([0, 0, 1], [5.0, 19.0, 12.0])
    """
    layers = _layers(len(widths), edges)
    points, chains = list(layers), []
    spans = [*widths]
    for start, end in edges:
        between = range(layers[start] + 1, layers[end])
        chains.append([start, *range(len(points), len(points) + len(between)), end])
        points += between
        spans += [0.0] * len(between)
    above, below = _nobody(points), _nobody(points)
    for chain in chains:
        for one, other in pairwise(chain):
            below[one].append(other)
            above[other].append(one)
    rows = [[i for i, at in enumerate(points) if at == layer] for layer in range(max(points, default=-1) + 1)]
    rows = _ordered(rows, above, below)
    x = _placed(rows, spans, gap, above, below)
    return Layout(layers, x[: len(layers)], [[(x[i], points[i]) for i in chain] for chain in chains])


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way from each vertex down, counted from above."""
    height = [0] * count
    changed = True
    while changed:
        changed = False
        for start, end in edges:
            if height[start] <= height[end]:
                height[start], changed = height[end] + 1, True
    return [max(height) - h for h in height]


def _ordered(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """Sort each row by where its neighbours in the row before are on average, going down and up; the best is kept."""
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        rows = list(rows) if down else rows[::-1]
        for k in range(1, len(rows)):
            rows[k] = _by_neighbours(rows[k], rows[k - 1], above if down else below)
        rows = rows if down else rows[::-1]
        if (crossings := _crossings(rows, below)) < fewest:
            best, fewest = rows, crossings
    return best


def _by_neighbours(row: list[int], before: list[int], neighbours: list[list[int]]) -> list[int]:
    place, own = ({i: at for at, i in enumerate(one)} for one in (before, row))
    mean = {i: fmean(place[j] for j in neighbours[i]) if neighbours[i] else own[i] for i in row}
    return sorted(row, key=mean.__getitem__)


def _crossings(rows: list[list[int]], below: list[list[int]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        place = {i: at for at, i in enumerate(lower)}
        ends = [sorted(place[j] for j in below[i]) for i in upper]
        met: list[int] = []
        for one in ends:
            count += sum(earlier > end for end in one for earlier in met)
            met += one
    return count


def _placed(
    rows: list[list[int]], widths: list[float], gap: float, above: list[list[int]], below: list[list[int]]
) -> list[float]:
    """Draw each point to the mean of its neighbours, as far as the order and the widths of its row allow."""
    x = [0.0] * len(widths)
    for row in rows:
        for i, place in zip(row, _apart([0.0] * len(row), [widths[i] for i in row], gap), strict=True):
            x[i] = place
    for sweep in range(SWEEPS):
        last = sweep == SWEEPS - 1
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            around = [above[i] + below[i] if last else (above[i] if sweep % 2 == 0 else below[i]) for i in row]
            wanted = [fmean(x[j] for j in near) if near else x[i] for i, near in zip(row, around, strict=True)]
            for i, place in zip(row, _apart(wanted, [widths[i] for i in row], gap), strict=True):
                x[i] = place
    left = min((place - width / 2 for place, width in zip(x, widths, strict=True)), default=0.0)
    return [place - left for place in x]


def _apart(wanted: list[float], widths: list[float], gap: float) -> list[float]:
    """The places nearest to those wanted, in the sum of squares, that keep the order and the distance.

    Less the room that is needed on the way, these are numbers that may not fall: neighbours that would are given their
    mean (the pool-adjacent-violators algorithm).
    """
    room = [0.0]
    for one, other in pairwise(widths):
        room.append(room[-1] + (one + other) / 2 + gap)
    pools: list[tuple[float, int]] = []
    for value, before in zip(wanted, room, strict=False):
        mean, size = value - before, 1
        while pools and pools[-1][0] > mean:
            earlier, more = pools.pop()
            mean, size = (earlier * more + mean * size) / (more + size), more + size
        pools.append((mean, size))
    level = [mean for mean, size in pools for _ in range(size)]
    return [value + before for value, before in zip(level, room, strict=False)]


def _nobody(points: list[int]) -> list[list[int]]:
    return [[] for _ in points]
