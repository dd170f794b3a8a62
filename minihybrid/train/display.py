"""What a run looks like while it goes on: a live panel on a terminal, a bar in a notebook, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from minihybrid.train.events import Ended, Evaluated, Event, Started, Stepped, Summary
from minihybrid.train.metrics import Evaluation, Mean
from minihybrid.train.notebook import Cell, ProgressBar, Table, in_notebook

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PHASES = ("warmup", "full", "predict", "correct")
COLOURS = dict(zip(PHASES, ("bright_black", "blue", "green", "yellow"), strict=True))
ROLLED_BACK = "red"


class Display(Protocol):
    """A listener that is entered for the time of a run."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *exception: Any) -> None:
        """Leave the terminal as it was found."""


def choose_display(kind: str, title: str, stream: TextIO | None = None) -> Display:
    """The display "live", "plain" or "quiet", on `stream` (standard output if none).

    "live" is a panel on a terminal that can draw it, a bar in a notebook, and plain lines anywhere else.
    """
    if kind == "quiet":
        return Quiet()
    if kind == "live" and stream is None and in_notebook():
        return Notebook(title)
    stream = stream or sys.stdout
    if kind == "live" and stream.isatty():
        from rich.console import Console

        console = Console(file=stream, highlight=False)
        if console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf"):
            return Live(title, console)
    return Plain(title, stream)


def summary_rows(summary: Summary) -> list[tuple[str, str]]:
    """The closing table: what was reached, and what it cost."""
    ledger, rows = summary.ledger, list[tuple[str, str]]()
    if summary.evaluation is not None:
        if summary.evaluation.accuracy is not None:
            rows.append(("validation accuracy", f"{summary.evaluation.accuracy:.2%}"))
        rows.append(("validation loss", f"{summary.evaluation.loss:.5f}"))
    return [
        *rows,
        ("steps", f"{summary.steps:,}" + (f" of {summary.planned:,}, interrupted" if summary.interrupted else "")),
        ("backward passes", f"{ledger.backward_passes:,}"),
        ("forward probes", f"{ledger.forward_probes:,}"),
        ("predictions tried", f"{ledger.predictions_tried:,}"),
        ("  accepted", f"{ledger.predictions_accepted:,}"),
        ("  rolled back", f"{ledger.predictions_rolled_back:,}"),
        ("  declined", f"{ledger.predictions_declined:,}"),
        ("CPU time", f"{sum(summary.cpu_seconds.values()):.2f} s"),
        ("time", f"{sum(summary.seconds.values()):.2f} s"),
        *((f"  {phase}", f"{seconds:.2f} s") for phase, seconds in summary.seconds.items()),
    ]


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Show nothing."""


class Plain(Quiet):
    """One line for every evaluation and the closing table, in ASCII.

    >>> from minihybrid.train.events import Started
    >>> with Plain("digits", sys.stdout) as display:
    ...     display(Started(steps=10))
    digits: 10 steps
    """

    def __init__(self, title: str, stream: TextIO) -> None:
        self._title = title
        self._stream: TextIO | None = stream
        self._loss = Mean(keep=0.95)
        self._steps = 0
        self._last: Stepped | None = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started):
            self._steps = event.steps
            self._print(f"{self._title}: {event.steps} steps")
        elif isinstance(event, Stepped):
            self._last = event
            if not event.result.predicted:  # the loss of a prediction is of other data
                self._loss.add(event.result.loss)
        elif isinstance(event, Evaluated):
            self._print(
                f"step {event.steps:>{len(str(self._steps))}}/{self._steps}  {self._training()}{_scores(event)}"
            )
        elif isinstance(event, Ended):
            for label, value in summary_rows(event.summary):
                self._print(f"{label:<26}{value}")

    def _training(self) -> str:
        if self._last is None:
            return ""
        return f"{self._last.result.phase:<8} loss {self._loss.value:<9.4g} "

    def _print(self, line: str) -> None:
        # A reader that has gone away (`| head`) ends the display, not the run.
        if self._stream is not None:
            try:
                print(line, file=self._stream, flush=True)
            except BrokenPipeError:
                self._stream = None


def _scores(event: Evaluated) -> str:
    accuracy = event.evaluation.accuracy
    return f"validation loss {event.evaluation.loss:.4f}" + ("" if accuracy is None else f"  accuracy {accuracy:.2%}")


class Live:
    """A panel that is drawn again at most `RATE` times a second, and the closing table in its place at the end."""

    RATE = 12
    WIDTH = 76
    HISTORY = 40  # the width of the bars at full width

    def __init__(self, title: str, console: Console) -> None:
        from rich import live

        self._title = title
        self._console = console
        # Drawn from the loop itself: a thread of its own would take turns with the training.
        self._live = live.Live(console=console, auto_refresh=False, transient=True)
        self._summary = Summary()
        self._loss = Mean(keep=0.95)
        self._losses: list[float] = []
        self._scores: list[float] = []
        self._evaluation: Evaluation | None = None
        self._ribbon: deque[tuple[str, str]] = deque(maxlen=self.HISTORY)
        self._drawn = self._began = perf_counter()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started):
            self._summary.planned = event.steps
            self._began = perf_counter()
            self._draw()
        elif isinstance(event, Stepped):
            self._take(event)
            if perf_counter() - self._drawn > 1 / self.RATE:
                self._losses.append(math.log(self._loss.value + 1e-12))
                self._draw()
        elif isinstance(event, Evaluated):
            self._evaluation = event.evaluation
            accuracy = event.evaluation.accuracy
            self._scores.append(-math.log(event.evaluation.loss + 1e-12) if accuracy is None else accuracy)
        elif isinstance(event, Ended):
            self._live.stop()
            self._console.print(self._closing(event.summary))

    def _take(self, event: Stepped) -> None:
        result = event.result
        self._summary.count(result, event.seconds, event.cpu_seconds)
        if not result.predicted:  # the loss of a prediction is of other data
            self._loss.add(result.loss)
        failed = result.predicted and not result.accepted
        self._ribbon.append((result.phase, ROLLED_BACK if failed else COLOURS.get(result.phase, "cyan")))

    def _draw(self) -> None:
        self._live.update(self._panel(), refresh=True)
        self._drawn = perf_counter()

    def _panel(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done, planned = self._summary.steps, self._summary.planned
        passed = perf_counter() - self._began
        rate = done / passed if passed else 0.0
        progress = Table.grid(expand=True, padding=(0, 1))
        progress.add_column(ratio=1)
        progress.add_column(justify="right", no_wrap=True)
        progress.add_row(ProgressBar(total=planned, completed=done), f"{done:,}/{planned:,}")

        width = max(0, self.HISTORY - (self.WIDTH - self._width()))
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True, min_width=11)
        rows.add_column(no_wrap=True, min_width=14)
        rows.add_column(no_wrap=True, max_width=width or 1)
        loss = f"{self._loss.value:.4g}" if done else "-"
        rows.add_row("loss", loss, Text(_spark(self._losses, width), "magenta"))
        label, score = "accuracy", "-"
        if self._evaluation is not None and self._evaluation.accuracy is not None:
            score = f"{self._evaluation.accuracy:.2%}"
        elif self._evaluation is not None:
            label, score = "val. loss", f"{self._evaluation.loss:.5f}"
        rows.add_row(label, Text(score, "bold"), Text(_spark(self._scores, width), "green"))
        phase, colour = self._ribbon[-1] if self._ribbon else ("-", "")
        ribbon = Text.assemble(*(("▰", colour) for _, colour in list(self._ribbon)[-width:]))
        rows.add_row("phase", Text(phase, colour), ribbon)
        ledger = self._summary.ledger
        if ledger.predictions_tried:
            rows.add_row(
                "predictions",
                f"{ledger.predictions_accepted:,} accepted",
                Text(f"of {ledger.predictions_tried:,}, {ledger.predictions_rolled_back:,} rolled back", "dim"),
            )
        left = f"{(planned - done) / rate:.0f} s left" if done else ""
        rows.add_row("speed", f"{rate:,.0f} steps/s", Text(left, "dim"))
        body = Group(progress, Text(), rows)
        title = Text(self._title[: max(0, self._width() - 6)])  # a longer one would widen the panel
        return Panel(body, title=title, title_align="left", width=self._width(), padding=(1, 2))

    def _closing(self, summary: Summary) -> RenderableType:
        from rich.box import ROUNDED
        from rich.table import Table
        from rich.text import Text

        table = Table(box=ROUNDED, show_header=False, title=self._title, title_justify="left", width=self._width())
        table.add_column(style="dim")
        table.add_column(justify="right")
        for label, value in summary_rows(summary):
            style = "bold green" if label == "validation accuracy" else COLOURS.get(label.strip(), "")
            table.add_row(label, Text(value, style))
        return table

    def _width(self) -> int:
        # Two columns stay free for the ^C that a terminal echoes: a line break there would break up the drawing.
        return min(self.WIDTH, self._console.width - 2)


class Notebook(Quiet):
    """A bar in a notebook's cell, drawn again at most `RATE` times a second, and the closing table in its place."""

    RATE = 5

    def __init__(self, title: str) -> None:
        self._title = title
        self._cell = Cell()
        self._bar = ProgressBar()
        self._loss = Mean(keep=0.95)
        self._phase = self._score = ""
        self._drawn = 0.0

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Started):
            self._bar.begin(event.steps)
            self._draw()
        elif isinstance(event, Stepped):
            self._bar.done += 1
            self._phase = event.result.phase
            if not event.result.predicted:  # the loss of a prediction is of other data
                self._loss.add(event.result.loss)
            if perf_counter() - self._drawn > 1 / self.RATE:
                self._draw()
        elif isinstance(event, Evaluated):
            self._score = _scores(event)
        elif isinstance(event, Ended):
            self._cell.show(Table(self._title, summary_rows(event.summary)))

    def _draw(self) -> None:
        loss = f"loss {self._loss.value:.4g}" if self._bar.done else ""
        self._bar.text = "  ".join(part for part in (self._title, loss, self._score, self._phase) if part)
        self._cell.show(self._bar)
        self._drawn = perf_counter()


def _spark(values: Sequence[float], width: int) -> str:
    """A row of at most `width` bars over the whole of `values`, the lowest value the lowest."""
    if len(values) < 2 or width < 2:
        return ""
    if len(values) > width:
        values = [values[i * (len(values) - 1) // (width - 1)] for i in range(width)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (value - low) / span)] for value in values)
