"""Each rank's part of every batch."""

from __future__ import annotations

from typing import Any, Protocol, Self

from minihybrid.data.dataset import Batch


class Source(Protocol):
    """Where batches come from without end, such as a DataLoader."""

    def __next__(self) -> Batch:
        """The next batch."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class Shard:
    """The part of rank `rank` of each of `batches`, which all ranks draw alike: from one seed, in one order.

    A batch of n examples gives the first n % size ranks one more than the others; where there are fewer examples than
    ranks, some get a batch of none. So the ranks together see what one process would see.

    >>> import numpy as np
    >>> from minihybrid.data import DataLoader, Dataset
    >>> data = Dataset(np.arange(10.0), np.arange(10), "count")
    >>> [next(Shard(DataLoader(data, 5, shuffle=False), rank, 2)).targets.tolist() for rank in (0, 1)]
    [[0, 1, 2], [3, 4]]
    """

    def __init__(self, batches: Source, rank: int, size: int) -> None:
        self.batches = batches
        self.rank, self.size = rank, size

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        inputs, targets = next(self.batches)
        mine = part(len(inputs), self.rank, self.size)
        return Batch(inputs[mine], targets[mine])

    def state_dict(self) -> dict[str, Any]:
        """Where the batches stand: the same on all ranks, whatever their number."""
        return self.batches.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.batches.load_state_dict(state)


def part(n: int, rank: int, size: int) -> slice:
    """Which of n things are a rank's: runs of equal length, the first n % size one longer.

    >>> [part(5, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    each, more = divmod(n, size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))
