"""Ranks that `mpiexec` has started, through mpi4py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minihybrid.distributed.communicator import CommunicationError, Traffic

BLINK = 1e-4  # seconds between looks at a call that takes long


class Mpi:
    """The processes that `mpiexec -n 4 python program.py` starts; one, where it is started without.

    A call that takes longer than `timeout` seconds raises CommunicationError: a rank has died, or waits elsewhere.
    Arrays are NumPy's: an array on a GPU is for `Nccl`. Raises CommunicationError where mpi4py or its MPI library is
    missing.

    >>> import pytest; _ = pytest.importorskip("mpi4py")
    >>> ranks, vector = Mpi(), np.ones(3)
    >>> ranks.all_reduce(vector)
    >>> bool((vector == ranks.size).all())
    True
    """

    def __init__(self, timeout: float = 300.0) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no MPI library
            raise CommunicationError(
                f"training on several processes needs mpi4py and an MPI library ({str(error).splitlines()[0]}); "
                "install minihybrid[mpi], or mpi4py with the MPI of your cluster."
            ) from None
        self._mpi = MPI
        self._ranks = MPI.COMM_WORLD.Dup()  # messages of the user's own do not get in between
        self.rank, self.size = self._ranks.Get_rank(), self._ranks.Get_size()
        self.timeout = timeout
        self.traffic = Traffic()

    def all_reduce(self, vector: Any) -> None:
        """See `Communicator`."""
        self._finish(self._ranks.Iallreduce(self._mpi.IN_PLACE, _contiguous(vector)), vector.nbytes)

    def broadcast(self, vector: Any, root: int = 0) -> None:
        """See `Communicator`."""
        self._finish(self._ranks.Ibcast(_contiguous(vector), root), vector.nbytes)

    def all_gather(self, numbers: Sequence[float]) -> list[tuple[float, ...]]:
        """See `Communicator`."""
        mine = np.array(numbers, np.float64)
        of_all = np.empty((self.size, len(mine)))
        self._finish(self._ranks.Iallgather(mine, of_all), mine.nbytes)
        return [tuple(row) for row in of_all.tolist()]

    def all_gather_text(self, text: str) -> list[str]:
        """See `Communicator`."""
        content = text.encode()
        sizes = [int(size) for (size,) in self.all_gather([len(content)])]
        padded = np.zeros(max(sizes), np.uint8)
        padded[: len(content)] = np.frombuffer(content, np.uint8)
        of_all = np.empty((self.size, len(padded)), np.uint8)
        self._finish(self._ranks.Iallgather(padded, of_all), padded.nbytes)
        return [row[:size].tobytes().decode() for row, size in zip(of_all, sizes, strict=True)]

    def barrier(self) -> None:
        """See `Communicator`."""
        self._finish(self._ranks.Ibarrier(), 0)

    def abort(self, code: int) -> None:
        """See `Communicator`."""
        self._ranks.Abort(code)

    def _finish(self, call: Any, sent: int) -> None:
        """Wait for a call, but not for ever."""
        self.traffic += Traffic(1, sent)
        deadline = time.monotonic() + self.timeout
        looks = 0
        while not call.Test():
            looks += 1
            if looks > 1000:  # the others are busy, and may need this core for it
                if time.monotonic() > deadline:
                    raise CommunicationError(
                        f"rank {self.rank} of {self.size} has waited {self.timeout:g} s for the others: one of them "
                        "has died, or makes other calls. Look for an earlier message; if steps take that long, raise "
                        "the timeout."
                    )
                time.sleep(BLINK)


def _contiguous(vector: Any) -> Any:
    if not isinstance(vector, np.ndarray) or not vector.flags.c_contiguous:
        kind = f"{'' if isinstance(vector, np.ndarray) else type(vector).__module__ + '.'}{type(vector).__name__}"
        raise TypeError(f"Mpi sends contiguous NumPy arrays; got a {kind}. Arrays on a GPU are sent by Nccl.")
    return vector
