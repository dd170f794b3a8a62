"""What processes that train together say to each other: a few collective calls, and a count of what they cost.

Transport is left to libraries that do nothing else: `Mpi` (mpi4py) and `Nccl` (CuPy) are thin. Every rank makes the
same calls in the same order; whoever does not, makes the others wait.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


class CommunicationError(RuntimeError):
    """Ranks cannot work together, or one of them has failed; the message names it and says what to do."""


@dataclass(frozen=True)
class Traffic:
    """What one rank has taken part in: collective calls, and the bytes that it brought to them.

    How often a byte then crosses a wire is the transport's choice (`cost.py` has the usual ones).

    >>> Traffic(5, 400) - Traffic(3, 100)
    Traffic(messages=2, bytes=300)
    """

    messages: int = 0
    bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.messages + other.messages, self.bytes + other.bytes)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.messages - other.messages, self.bytes - other.bytes)


class Communicator(Protocol):
    """A group of `size` processes, of which this one is number `rank`."""

    rank: int
    size: int

    @property
    def traffic(self) -> Traffic:
        """What this rank has sent so far."""

    def all_reduce(self, vector: Any) -> None:
        """Replace a contiguous vector by the sum of those of all ranks, the same to the bit on each."""

    def broadcast(self, vector: Any, root: int = 0) -> None:
        """Replace a contiguous vector by that of rank `root`."""

    def all_gather(self, numbers: Sequence[float]) -> list[tuple[float, ...]]:
        """The numbers (float64) of every rank, in their order; all ranks bring equally many."""

    def all_gather_text(self, text: str) -> list[str]:
        """The text of every rank, in their order."""

    def barrier(self) -> None:
        """Return when every rank has come here."""

    def abort(self, code: int) -> None:
        """End the processes of all ranks, with an exit code."""


class Alone:
    """The communicator of a single process: it agrees with itself, and sends nothing.

    >>> Alone().all_gather([1.0, 2.0])
    [(1.0, 2.0)]
    """

    rank, size = 0, 1

    def __init__(self) -> None:
        self.traffic = Traffic()

    def all_reduce(self, vector: Any) -> None:
        """See `Communicator`: the sum of one."""

    def broadcast(self, vector: Any, root: int = 0) -> None:
        """See `Communicator`: it is there already."""

    def all_gather(self, numbers: Sequence[float]) -> list[tuple[float, ...]]:
        """See `Communicator`."""
        return [tuple(map(float, numbers))]

    def all_gather_text(self, text: str) -> list[str]:
        """See `Communicator`."""
        return [text]

    def barrier(self) -> None:
        """See `Communicator`: nobody is waited for."""

    def abort(self, code: int) -> None:
        """See `Communicator`."""
        raise SystemExit(code)


@contextmanager
def ending_together(ranks: Communicator, told: tuple[type[BaseException], ...] = (), code: int = 1) -> Iterator[None]:
    """Where one rank leaves the block by an exception, end all, with an exit code: the others would wait for it.

    The rank prints what was raised first, as a sentence for the types `told`, else with a traceback. A process that is
    alone just raises it.

    >>> with ending_together(Alone()):
    ...     1 / 0
    Traceback (most recent call last):
    ZeroDivisionError: division by zero
    """
    try:
        yield
    except BaseException as error:
        if ranks.size == 1:
            raise
        what = str(error) if isinstance(error, told) else traceback.format_exc()
        print(f"rank {ranks.rank} of {ranks.size} ends the job: {what}", file=sys.stderr, flush=True)
        ranks.abort(code)
        raise


class SharedStop:
    """Whether to stop, as all ranks see it: once one of them wants to, all of them hear of it at the same step.

    Called in every step with what this rank wants; they ask each other in every `every`-th.

    >>> stop = SharedStop(Alone(), every=2)
    >>> stop(True), stop(False), stop(False)
    (False, True, True)
    """

    def __init__(self, ranks: Communicator, every: int = 16) -> None:
        self.ranks, self.every = ranks, every
        self._calls = 0
        self._wanted = self._agreed = False

    def __call__(self, wanted: bool) -> bool:
        """What is agreed by now."""
        self._calls += 1
        self._wanted = self._wanted or wanted
        if self._calls % self.every == 0:
            self._agreed = any(wish for (wish,) in self.ranks.all_gather([self._wanted]))
        return self._agreed
