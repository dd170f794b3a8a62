"""The parameters of a model as a table: where they are, of which shape, how many numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from minihybrid.module.module import Module
from minihybrid.module.param import Buffer, Param
from minihybrid.module.visitor import ModuleVisitor

if TYPE_CHECKING:
    from rich.table import Table

HEAD = ("path", "of", "shape", "parameters", "")


@dataclass(frozen=True)
class Row:
    """A parameter, or a buffer: then `parameters` is None. `owner` is the class of the module that holds it."""

    path: str
    owner: str
    shape: tuple[int, ...]
    parameters: int | None
    note: str

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """What stands under each head."""
        count = "" if self.parameters is None else f"{self.parameters:,}"
        return self.path, self.owner, str(self.shape), count, self.note


@dataclass(frozen=True)
class ModelSummary:
    """The table: `print` shows it as text, `rich.print` in colours, a notebook as HTML."""

    name: str
    rows: tuple[Row, ...]
    trained: int
    frozen: int
    bytes: int

    @property
    def total(self) -> str:
        """The line below the table."""
        frozen = f", {self.frozen:,} frozen" if self.frozen else ""
        return f"{self.name}: {self.trained:,} parameters trained{frozen}, {_size(self.bytes)}"

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines())

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        table = [HEAD, *(row.cells for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for cells in table:
            path, owner, shape, count, note = (
                f"{cell:>{width}}" if head == "parameters" else f"{cell:<{width}}"
                for cell, width, head in zip(cells, widths, HEAD, strict=True)
            )
            yield f"{path}  {owner}  {shape}  {count}  {note}"
        yield self.total

    def __rich__(self) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, caption=self.total, caption_justify="left")
        for head in HEAD:
            table.add_column(head, justify="right" if head == "parameters" else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row.cells), style="dim" if row.note else "")
        return table

    def _repr_html_(self) -> str:
        heads = "".join(f"<th{_side(head)}>{head}</th>" for head in HEAD)
        rows = "".join(f"<tr>{''.join(map(_cell, HEAD, row.cells))}</tr>\n" for row in self.rows)
        return (
            f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n"
            f'<caption style="caption-side: bottom">{escape(self.total)}</caption>\n</table>'
        )


def summary(model: Module) -> ModelSummary:
    """The parameters and buffers of a model, tied parameters once and frozen ones marked.

    >>> import minihybrid as mh
    >>> mh.summary(mh.nn.MLPConfig((64, 128, 10)).init(rng=mh.Rng(0)))
    path             of      shape      parameters
    layers.0.weight  Linear  (64, 128)       8,192
    layers.0.bias    Linear  (128,)            128
    layers.1.weight  Linear  (128, 10)       1,280
    layers.1.bias    Linear  (10,)              10
    MLP: 9,610 parameters trained, 38.4 kB
    """
    found = model.visit(_Rows())
    trained = sum(param.size for param in found.params.values() if param.trainable)
    return ModelSummary(
        type(model).__name__,
        tuple(found.rows()),
        trained,
        sum(param.size for param in found.params.values()) - trained,
        sum(held.array.nbytes for held in (found.params | found.buffers).values()),
    )


class _Rows(ModuleVisitor):
    def __init__(self) -> None:
        self.params: dict[str, Param] = {}
        self.buffers: dict[str, Buffer] = {}
        self.owners: dict[str, str] = {}
        self.tied: dict[Param, list[str]] = {}
        self._inside: list[str] = []

    def enter_module(self, path: str, module: Module) -> None:
        self._inside.append(type(module).__name__)

    def exit_module(self, path: str, module: Module) -> None:
        self._inside.pop()

    def visit_param(self, path: str, param: Param) -> None:
        self.params[path], self.owners[path], self.tied[param] = param, self._inside[-1], []

    def visit_tied(self, path: str, param: Param) -> None:
        self.tied[param].append(path)

    def visit_buffer(self, path: str, buffer: Buffer) -> None:
        self.buffers[path], self.owners[path] = buffer, self._inside[-1]

    def rows(self) -> Iterator[Row]:
        for path, owner in self.owners.items():
            if path in self.buffers:
                yield Row(path, owner, self.buffers[path].shape, None, "buffer")
            else:
                param = self.params[path]
                notes = [*("" if param.trainable else ["frozen"]), *(f"also {path}" for path in self.tied[param])]
                yield Row(path, owner, param.shape, param.size, ", ".join(notes))


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _cell(head: str, text: str) -> str:
    return f"<td{_side(head)}>{escape(text)}</td>"


def _side(head: str) -> str:
    return f' style="text-align: {"right" if head == "parameters" else "left"}"'
