"""What ratios of time are to be reached, and whether they were."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.contenders import JAX, NAIVE, OPTIMISED, OURS, PLAN, TORCH
from benchmarks.workloads import MLP, WORKLOADS

HEADROOM = 1.15  # for a machine that does other work, too


class Bar(NamedTuple):
    """The ratio of a contender's time to another's, at most `limit`."""

    workload: str
    contender: str
    reference: str
    limit: float


BARS = [
    *(Bar(name, OURS, NAIVE, 1.0) for name in WORKLOADS),
    *(
        Bar(name, OURS, OPTIMISED, 3.0 if name == "2-16-1 b4" else 1.15)
        for name, w in WORKLOADS.items()
        if type(w) is MLP
    ),
    *(
        Bar(name, PLAN, OPTIMISED, 1.0 if name == "2-16-1 b4" else 1.05)
        for name, w in WORKLOADS.items()
        if type(w) is MLP
    ),
    *(
        Bar(name, contender, reference, limit)
        for name, *limits in (
            ("784-128-10 b32", 0.50, 0.39, 1.1),
            ("784-128-10 b64", 0.53, 0.45, 1.1),
            ("784-128-10 b256", 0.66, 0.59, 1.05),
            ("784-512-256-10 b128", 0.80, 0.70, 1.0),
            ("2-16-1 b4", 0.14, 0.05, 0.5),
            ("256x8 b64", 0.70, 0.58, 1.1),
        )
        for contender, reference, limit in zip((OURS, PLAN, PLAN), (TORCH, TORCH, JAX), limits, strict=True)
    ),
]


class MemoryBar(NamedTuple):
    """The transient memory of a contender's step, at most `limit` bytes."""

    workload: str
    contender: str
    limit: int


MEMORY_BARS = [
    MemoryBar("784-512-256-10 b128", OURS, 1_500_000),
    MemoryBar("784-512-256-10 b128", PLAN, 100_000),
]


def judge_memory(rows: list[dict[str, Any]]) -> list[tuple[MemoryBar, int]]:
    """The memory bars that the rows say something about, with what was found."""
    peaks = {(row["workload"], row["contender"]): row["peak_bytes"] for row in rows}
    found = [(bar, peaks.get((bar.workload, bar.contender))) for bar in MEMORY_BARS]
    return [(bar, peak) for bar, peak in found if peak is not None]


class Verdict(NamedTuple):
    """A bar, the ratio found, its interval, what was allowed, and whether the whole interval lies above that."""

    bar: Bar
    ratio: float
    interval: tuple[float, float]
    allowed: float
    missed: bool


def judge(
    rows: list[dict[str, Any]], headroom: float = 1.0, published: list[dict[str, Any]] | None = None
) -> list[Verdict]:
    """The bars that the rows say something about.

    With the rows that were `published`, a ratio that was above its bar then has to be no worse than it was.
    """
    found, before = _ratios(rows), _ratios(published or [])
    verdicts = []
    for bar in BARS:
        if (ratio := found.get(bar[:3])) is not None:
            low, high = ratio["interval"]
            reached = before[bar[:3]]["median"] if bar[:3] in before else 0.0
            allowed = headroom * max(bar.limit, reached)
            verdicts.append(Verdict(bar, ratio["median"], (low, high), allowed, low > allowed))
    return verdicts


def _ratios(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {
        (row["workload"], row["contender"], reference): ratio
        for row in rows
        for reference, ratio in row["ratios"].items()
    }
