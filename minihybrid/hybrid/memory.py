"""What prediction may keep, and what is kept: a budget in bytes, a plan of what fits, a measurement of what is there.

Where not everything fits, things are dropped in this order, the cheapest loss first: the history is kept in float16;
then it gets shorter; then there is no late rollback, and the history has what its snapshot took; then nothing is
predicted. What is measured is what the system and the arrays themselves say, never what they should come to.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from minihybrid.config import Config, is_count
from minihybrid.device import Device
from minihybrid.stateful import savable


@dataclass(frozen=True)
class Demand:
    """What prediction would like to keep, in vectors [n] of the size of the model.

    `history`: vectors of history, and `least`, with how few a predictor still works; `halves`: whether it can keep them
    in float16. `fixed`: its other vectors. `jump`: the snapshot that takes one jump back. `late`: what late rollback
    needs beside that, the snapshot of the optimizer's moments among it.
    """

    history: int
    least: int = 2
    halves: bool = True
    fixed: int = 0
    jump: int = 1
    late: int = 3


@savable
@dataclass(frozen=True)
class MemoryPlan:
    """What fits: `history` vectors in a `storage`, "exact" or "float16", late rollback or none, and their bytes.

    `dropped` says in a few words each what does not fit, in the order in which it was dropped; `predicts` is False if
    that is prediction itself.
    """

    predicts: bool
    history: int
    storage: str
    late_rollback: bool
    history_bytes: int
    snapshot_bytes: int
    dropped: tuple[str, ...]


class MemoryBudget(Config):
    """How many bytes prediction may take.

    `history`: for the vectors of a predictor. `snapshots`: for what jumps are taken back with. `total`: for all that
    the process holds where the model lives, resident memory or the pool of a GPU; None for no limit. Raises ValueError
    for anything but counts.

    >>> MemoryBudget(history=-1)
    Traceback (most recent call last):
        ...
    ValueError: MemoryBudget: history is -1; expected a number of bytes, an integer of at least 0.
    """

    history: int = 2**30
    snapshots: int = 2**30
    total: int | None = None

    def __post_init__(self) -> None:
        for setting in ("history", "snapshots", "total"):
            value = getattr(self, setting)
            fits = is_count(value, 0) or (setting == "total" and value is None)
            self.require(setting, fits, "a number of bytes, an integer of at least 0")

    def plan(self, n: int, itemsize: int, demand: Demand, in_use: int = 0) -> MemoryPlan:
        """The most that fits for a model of n numbers of `itemsize` bytes, where others hold `in_use` bytes already.

        >>> plan = MemoryBudget(history=1_000_000).plan(n=50_000, itemsize=4, demand=Demand(history=20))
        >>> plan.history, plan.storage, plan.history_bytes
        (10, 'float16', 1000000)
        >>> plan.dropped
        ('exact history', '10 of 20 vectors of history')
        """
        room = math.inf if self.total is None else self.total - in_use
        for late_rollback in (True, False):
            snapshots = (demand.jump + demand.late * late_rollback) * n * itemsize
            if snapshots > min(self.snapshots, room):
                continue
            kept = _history(n, itemsize, demand, min(self.history, room - snapshots))
            if kept is not None:
                count, storage, size = kept
                dropped = (
                    ("exact history",) * (storage != "exact")
                    + (f"{demand.history - count} of {demand.history} vectors of history",) * (count < demand.history)
                    + ("late rollback",) * (not late_rollback)
                )
                return MemoryPlan(True, count, storage, late_rollback, size, snapshots, dropped)
        return MemoryPlan(False, 0, "exact", False, 0, 0, ("prediction",))


def _history(n: int, itemsize: int, demand: Demand, room: float) -> tuple[int, str, int] | None:
    """How many vectors of history fit, in which storage, and the bytes of all vectors of the predictor."""
    fixed = demand.fixed * n * itemsize
    everything = fixed + demand.history * n * itemsize
    if everything <= room:
        return demand.history, "exact", everything
    halved = demand.halves and itemsize > 2
    size = n * (2 if halved else itemsize)
    count = min(demand.history, int(room - fixed) // size)
    return (count, "float16" if halved else "exact", fixed + count * size) if count >= demand.least else None


@dataclass(frozen=True)
class MemoryUse:
    """Bytes in use, as measured: by the process (resident), by the model's device, and of both by what is `held`.

    On the CPU `device` is the process.
    """

    process: int
    device: int
    held: Mapping[str, int]

    @property
    def others(self) -> int:
        """What the device holds beside that: `in_use` of a plan."""
        return max(0, self.device - sum(self.held.values()))


def measure(device: Device, **held: Any) -> MemoryUse:
    """Look at what is in use now; `held` are the things whose arrays are counted, by name.

    >>> import numpy as np
    >>> use = measure(Device("cpu"), history=[np.zeros(1000, np.float32)] * 2)
    >>> use.held["history"], use.process > 4000  # one array, though it is in the list twice
    (4000, True)
    """
    process = Device("cpu").memory_in_use()
    on_device = process if device.name == "cpu" else device.memory_in_use()
    return MemoryUse(process, on_device, {name: array_bytes(thing) for name, thing in held.items()})


def array_bytes(thing: Any) -> int:
    """The bytes of all arrays that can be reached from a thing: its items and attributes, theirs, and so on.

    An array is counted once, and a view of it as the whole array that it keeps alive. What a thing refers to is counted
    whether it owns it or not.

    >>> import numpy as np
    >>> array_bytes({"row": np.zeros((10, 100))[3]})
    8000
    """
    seen: set[int] = set()
    total, found = 0, [thing]
    while found:
        item = found.pop()
        while getattr(item, "base", None) is not None and hasattr(item.base, "nbytes"):
            item = item.base
        if id(item) in seen or isinstance(item, (type, ModuleType)):
            continue
        seen.add(id(item))
        if hasattr(item, "nbytes"):
            total += int(item.nbytes)
        else:
            found += _parts(item)
    return total


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, Mapping):
        return list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset, deque)):
        return list(thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [getattr(thing, name) for name in slots if hasattr(thing, name)] + list(
        getattr(thing, "__dict__", {}).values()
    )
