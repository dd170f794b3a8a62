"""Times of contestants that take turns in one process, and ratios between them that a busy machine does not spoil.

One after the other each runs a block of steps, round after round. What slows the machine down slows a whole round down,
so a ratio is taken within a round, and the median over the rounds is reported. A process has its own layout of memory
and its own luck with it: several fresh processes give several medians, their median is the result, and a bootstrap over
them its interval.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")
Step = Callable[[], Any]
Clock = Callable[[], float]


class Contestant(NamedTuple):
    """A step, and what is to be done before each of its turns."""

    step: Step
    prepare: Callable[[], Any] = lambda: None


def seconds_of(step: Step, calls: int, clock: Clock) -> float:
    """The time of one step, as the mean over a block of calls."""
    start = clock()
    for _ in range(calls):
        step()
    return (clock() - start) / calls


def calls_for(step: Step, block: float, clock: Clock = time.process_time) -> int:
    """How many calls take about `block` seconds."""
    calls, once = 1, seconds_of(step, 1, clock)
    while calls * once < block / 4:  # a first call builds caches, and one call is too short to be timed
        calls *= 2
        once = seconds_of(step, calls, clock)
    return max(1, round(block / once))


def take_turns(
    contestants: Mapping[str, Contestant],
    rounds: int,
    calls: Mapping[str, int],
    clock: Clock = time.process_time,
    uncounted: int = 2,
) -> dict[str, list[float]]:
    """Seconds per step in each round, by contestant.

    Each round begins with another one. The first steps of a turn are not counted: the caches are full of another's
    data, and another's threads wind down.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for i in range(rounds):
        start = i % len(order)
        for name in order[start:] + order[:start]:
            step, prepare = contestants[name]
            prepare()
            for _ in range(uncounted):
                step()
            times[name].append(seconds_of(step, calls[name], clock))
    return times


def ratios(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """The ratio of two contestants' times in each round."""
    return [a / b for a, b in zip(times, reference, strict=True)]


def bootstrap(values: Sequence[float], samples: int = 2000, level: float = 0.95) -> tuple[float, float]:
    """An interval for the median of what `values` are a sample of (Efron 1979): quantiles of resampled medians."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (samples, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def one_core() -> str:
    """Keep this process on one core and BLAS on one thread; returns in words what could be done."""
    from threadpoolctl import threadpool_limits  # here, as a machine with a GPU may lack it, and times nothing by this

    threadpool_limits(1)
    if not hasattr(os, "sched_setaffinity"):
        return "one BLAS thread, not pinned: this system offers no way"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"one BLAS thread, pinned to core {core}"


def in_fresh_processes(function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """What the function, which has to be importable, gives for each task, one after the other in its own process."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        yield from pool.imap(function, tasks, chunksize=1)
