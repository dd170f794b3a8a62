"""Where runs are made: in this process, or in several beside it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar

from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, Run, race
from minihybrid.compare.task import Task
from minihybrid.compare.tasks import Folder, build

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

T = TypeVar("T")


@cache
def task_of(name: str, data: Folder) -> Task:
    """The task of that name, built once in each process."""
    return build(name, data)


class Workers:
    """Makes up to `jobs` runs at a time; one at a time in this process.

    `each` calls a function in as many threads, which wait for the runs that they ask for.
    """

    def __init__(self, jobs: int, data: Folder) -> None:
        self._jobs, self._data = jobs, data
        self._processes: ProcessPoolExecutor | None = None
        if jobs > 1:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            # Spawned, not forked: a child must not inherit BLAS threads or locks in the middle of something.
            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts_to_the_parent)

    def execute(self, entry: Entry, points: int) -> Run:
        """Make a run."""
        if self._processes is None:
            return _race(entry, points, self._data)
        return self._processes.submit(_race, entry, points, self._data).result()

    def each(self, function: Callable[[T], Any], items: Iterable[T]) -> None:
        """Call a function for each item; what one call raises ends the others at their next run."""
        if self._processes is None:
            for item in items:
                function(item)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self._jobs) as threads:
            try:
                for future in [threads.submit(function, item) for item in items]:
                    future.result()
            except BaseException:
                self._processes.shutdown(cancel_futures=True)
                threads.shutdown(cancel_futures=True)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)


def _race(entry: Entry, points: int, data: Folder) -> Run:
    return race(task_of(entry.task, data), METHODS[entry.method], entry, points)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
