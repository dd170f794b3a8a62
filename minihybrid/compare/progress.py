"""How a comparison goes on: a line for every finished method, over a bar on a terminal and in a notebook."""

from __future__ import annotations

import statistics
import sys
import threading
from typing import Any, Self, TextIO

from minihybrid.compare.comparison import Result
from minihybrid.compare.study import CURVES, Pair
from minihybrid.train.notebook import Cell, ProgressBar, in_notebook


class Plain:
    """A line for every method that is done on a task, with an estimate of the time left.

    The estimate takes every run that is left for as long as the mean of those made on its task (of all, where there are
    none), shared among `jobs`.
    """

    def __init__(self, jobs: int = 1, stream: TextIO | None = None) -> None:
        self._jobs = jobs
        self._stream: TextIO | None = stream or sys.stdout
        self._lock = threading.Lock()
        self._left: dict[Pair, int] = {}
        self._seconds: dict[str, list[float]] = {}
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def expect(self, runs: dict[Pair, int]) -> None:
        """See `Watcher`."""
        self._left = dict(runs)
        self._total = sum(method != CURVES for _, method in runs)

    def ran(self, pair: Pair, seconds: float | None) -> None:
        """See `Watcher`."""
        with self._lock:
            counted = pair if pair in self._left else (pair[0], CURVES)
            self._left[counted] = max(0, self._left.get(counted, 0) - 1)
            if seconds is not None:
                self._seconds.setdefault(pair[0], []).append(seconds)
            self._moved()

    def finished(self, result: Result) -> None:
        """See `Watcher`."""
        with self._lock:
            self._left.pop((result.task, result.method), None)
            self._done += 1
            self._say(f"{self._done:>4}/{self._total}  {_told(result)}  {_clock(self.seconds_left())} left")

    def seconds_left(self) -> float | None:
        """An estimate; None before the first run."""
        everything = [seconds for found in self._seconds.values() for seconds in found]
        if not everything:
            return None
        usual = statistics.fmean(everything)
        means = {task: statistics.fmean(found) for task, found in self._seconds.items()}
        return sum(runs * means.get(task, usual) for (task, _), runs in self._left.items()) / self._jobs

    def _say(self, line: str) -> None:
        # A reader that has gone away (`| head`) ends the display, not the comparison.
        if self._stream is not None:
            try:
                print(line, file=self._stream, flush=True)
            except BrokenPipeError:
                self._stream = None

    def _moved(self) -> None:
        """Something has changed."""


class Bar(Plain):
    """The same lines, over a bar that moves with every run."""

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        # Drawn from the loop itself: the processor time of another thread would be charged to the runs.
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), auto_refresh=False, transient=True)
        self._bar.start()
        self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.stop()

    def expect(self, runs: dict[Pair, int]) -> None:
        """See `Watcher`."""
        super().expect(runs)
        self._runs = sum(runs.values())

    def _say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _moved(self) -> None:
        left = sum(self._left.values())
        text = f"{self._runs - left:,} of {self._runs:,} runs, {_clock(self.seconds_left())} left"
        self._bar.update(self._task, total=self._runs, completed=self._runs - left, description=text, refresh=True)


class Notebook(Plain):
    """The same lines, over a bar that is replaced in the notebook's cell."""

    def __init__(self, jobs: int = 1) -> None:
        super().__init__(jobs)
        self._cell = Cell()
        self._bar = ProgressBar()

    def expect(self, runs: dict[Pair, int]) -> None:
        """See `Watcher`."""
        super().expect(runs)
        self._bar.begin(sum(runs.values()))

    def _moved(self) -> None:
        self._bar.done = self._bar.total - sum(self._left.values())
        self._bar.text = f"runs, {_clock(self.seconds_left())} left"
        self._cell.show(self._bar)


def choose_progress(kind: str, jobs: int) -> Plain:
    """The progress "live" or "plain"; "live" is lines alone where this is neither a terminal nor a notebook."""
    if kind == "live" and in_notebook():
        return Notebook(jobs)
    if kind == "live" and sys.stdout.isatty():
        return Bar(jobs)
    return Plain(jobs)


def _told(result: Result) -> str:
    ends = [run.end for run in result.runs if not run.diverged]
    name = f"{result.task:<22} {result.method:<34}"
    if result.lr is None:
        return f"{name} found no learning rate"
    if not ends:
        return f"{name} lr {result.lr:<8.3g} diverged"
    train, val = (statistics.median(losses) for losses in zip(*((p.train_loss, p.val_loss) for p in ends), strict=True))
    return f"{name} lr {result.lr:<8.3g} train loss {train:<9.3g} val. loss {val:<9.3g}"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"
