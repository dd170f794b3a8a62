"""What a notebook's cell shows while something goes on: one thing, replaced in its place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from time import perf_counter
from typing import Any


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # who runs in a kernel has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class Cell:
    """A place in the output of a cell that holds what was shown last."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, value: object) -> None:
        """Show a value by its `_repr_html_`, in the place of the one before."""
        if self._handle is None:
            from IPython import display

            show: Any = display.display
            self._handle = show(value, display_id=True)
        else:
            self._handle.update(value)


@dataclass
class ProgressBar:
    """How far something is: a bar, the count, what has passed and what is left, and a text."""

    text: str = ""
    done: int = 0
    total: int = 0
    began: float = field(default_factory=perf_counter)

    def begin(self, total: int) -> None:
        """So many things are to be done, from now on."""
        self.total, self.done, self.began = total, 0, perf_counter()

    @property
    def pace(self) -> str:
        """Passed and left, as in 3 s < 12 s, and how many are done in a second."""
        passed = perf_counter() - self.began
        if not self.done or not passed:
            return f"{passed:.0f} s"
        rate = self.done / passed
        return f"{passed:.0f} s < {(self.total - self.done) / rate:.0f} s, {rate:,.3g}/s"

    def __repr__(self) -> str:
        return f"{self.text}  {self.done:,}/{self.total:,}  {self.pace}"

    def _repr_html_(self) -> str:
        return (
            f'<div>{escape(self.text)}<br><progress value="{self.done}" max="{max(1, self.total)}" '
            f'style="width: 16em; vertical-align: middle"></progress> {self.done:,}/{self.total:,} '
            f"[{escape(self.pace)}]</div>"
        )


@dataclass(frozen=True)
class Table:
    """Labels and values, with a title above."""

    title: str
    rows: Sequence[tuple[str, str]]

    def __repr__(self) -> str:
        return "\n".join([self.title, *(f"{label:<26}{value}" for label, value in self.rows)])

    def _repr_html_(self) -> str:
        left = '<td style="text-align: left">'
        labels = [escape(label).replace("  ", "&emsp;") for label, _ in self.rows]
        values = [escape(value) for _, value in self.rows]
        rows = "".join(f"<tr>{left}{a}</td><td>{b}</td></tr>" for a, b in zip(labels, values, strict=True))
        return f"<table><caption>{escape(self.title)}</caption>{rows}</table>"
