"""Many named arrays in one flat vector.

A `Storage` lays parameters end to end in a contiguous vector of one dtype; each parameter is a view (a slot) of it.
Gradients, optimizer moments, weight deltas and snapshots are vectors of the same layout, so that what touches all
parameters touches one array. The vector never moves: whoever changes parameters writes into it and then calls
`advance`, which makes every graph recorded before stale and every borrowed view of the model dead.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from minihybrid.device import Device

PACKAGE = __name__.partition(".")[0]


def caller() -> str:
    """Where the user's code is now: `file.py:12`, the nearest frame outside this package; in a notebook `In[3]:12`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    name = frame.f_code.co_filename
    if (ipython := sys.modules.get("IPython")) is not None and (shell := ipython.get_ipython()) is not None:
        # A cell's code is kept in a file with a name that nobody knows; IPython knows the cell.
        _, name = shell.compile.format_code_name(name) or ("", name)
    return f"{name}:{frame.f_lineno}"


class MovedError(RuntimeError):
    """Something was used after the line that consumed it: a model, its gradients, or a graph recorded before a step."""


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in the flat vector."""

    offset: int
    shape: tuple[int, ...]
    size: int

    def view(self, flat: Any) -> Any:
        """This slot's part of a vector of the storage's layout, in the parameter's shape (no copy)."""
        return flat[self.offset : self.offset + self.size].reshape(self.shape)


class FlatGradient:
    """A vector of gradients in a storage's layout, its views by position, and which of them hold a gradient."""

    __slots__ = ("escaped", "present", "released_at", "storage", "vector", "views")

    def __init__(self, storage: Storage, vector: Any, views: list[Any]) -> None:
        self.storage = storage
        self.vector = vector
        self.views = views
        self.present = [False] * len(views)
        self.escaped = False  # whether somebody outside may hold a view
        self.released_at: str | None = None

    def release(self, where: str = "") -> None:
        """Give the vector back, at line `where`, for the next backward pass, unless a view of it was handed out."""
        self.require()
        self.released_at = where or caller()
        self._pool()

    def __del__(self) -> None:
        if self.released_at is None:  # dropped without a step, as clipping drops what it was given
            self._pool()

    def _pool(self) -> None:
        # While a step is recorded, the storage holds other kinds of arrays.
        fits = type(self.vector) is type(self.storage.values)
        if fits and not (self.escaped or self.storage.deserted):
            self.storage.pool.append((self.vector, self.views))

    def require(self) -> None:
        """Raise MovedError if the vector was given back, and may hold other gradients by now."""
        if self.released_at is not None:
            raise MovedError(f"these gradients were consumed at {self.released_at}; run backward() again.")


class Storage:
    """One flat vector and its slots.

    `generation` counts the changes of its values: a graph node that read them keeps the generation that it saw.
    `borrowed` are the views of the model to end at the next change. `merged` are the storages whose parameters moved in
    here; one that parameters have left is `deserted`.
    """

    __slots__ = (
        "__weakref__",
        "_positions",
        "borrowed",
        "changed_at",
        "deserted",
        "device",
        "generation",
        "keys",
        "merged",
        "pool",
        "slots",
        "values",
    )

    def __init__(self, arrays: Sequence[Any], keys: Sequence[Any] = (), merged: Sequence[Storage] = ()) -> None:
        """Copy `arrays` (one dtype, one device, any shapes) into a new vector; `keys` are what its slots are called."""
        self.device = Device.of(arrays[0]) if arrays else Device("cpu")
        dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
        slots = []
        offset = 0
        for array in arrays:
            slots.append(Slot(offset, array.shape, array.size))
            offset += array.size
        self.slots = tuple(slots)
        self.keys = tuple(keys)
        self.values = self.device.xp.empty(offset, dtype)
        for slot, array in zip(slots, arrays, strict=True):
            slot.view(self.values)[...] = array
        self.generation = 0
        self.changed_at = ""
        self.pool: list[tuple[Any, list[Any]]] = []
        self._positions: dict[str, int] | None = None
        self.borrowed: list[weakref.ref[Any]] = []
        self.deserted = False
        self.merged: list[weakref.ref[Storage]] = [
            ref for storage in merged for ref in (weakref.ref(storage), *storage.merged)
        ]

    @property
    def positions(self) -> dict[str, int]:
        """The position of each slot by its key, written as text."""
        if self._positions is None:
            self._positions = {str(key): position for position, key in enumerate(self.keys)}
        return self._positions

    def gradient(self) -> FlatGradient:
        """An empty gradient vector, taken from the pool if one was given back."""
        try:
            return FlatGradient(self, *self.pool.pop())
        except IndexError:  # nothing is asked before: another thread may be faster
            vector = self.device.xp.empty_like(self.values)
        return FlatGradient(self, vector, [slot.view(vector) for slot in self.slots])

    def lend(self, views: Sequence[Any]) -> None:
        """Remember views of the model that the next change has to end, for as long as somebody holds them."""
        self.borrowed = [ref for ref in self.borrowed if ref() is not None] + [weakref.ref(view) for view in views]

    def advance(self, where: str) -> None:
        """Say that the values have changed, at line `where`."""
        self.generation += 1
        self.changed_at = where
        while self.borrowed:
            if (view := self.borrowed.pop()()) is not None:
                view.end_borrow(where)
        while self.merged:  # graphs recorded before the parameters moved in here end at their first change, too
            former = self.merged.pop()()
            if former is not None:
                former.advance(where)
