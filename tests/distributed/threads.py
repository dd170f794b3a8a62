"""Ranks that are threads of one process: what the tests of distributed code need, without MPI."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from minihybrid.distributed import Traffic

PATIENCE = 60  # seconds; a rank that makes other calls than the others is to fail, and not to hang


class ThreadRank:
    """One of `size` ranks, which meet at a barrier and read each other's contributions."""

    def __init__(self, rank, size, barrier, board):
        self.rank, self.size = rank, size
        self.traffic = Traffic()
        self._barrier, self._board = barrier, board

    def _exchange(self, mine, sent):
        self.traffic += Traffic(1, sent)
        self._board[self.rank] = mine
        self._barrier.wait()
        of_all = list(self._board)
        self._barrier.wait()
        return of_all

    def all_reduce(self, vector):
        vector[...] = np.sum(np.stack(self._exchange(vector.copy(), vector.nbytes)), axis=0)

    def broadcast(self, vector, root=0):
        vector[...] = self._exchange(vector.copy(), vector.nbytes)[root]

    def all_gather(self, numbers):
        mine = tuple(map(float, numbers))
        return self._exchange(mine, 8 * len(mine))

    def all_gather_text(self, text):
        return self._exchange(text, len(text))

    def barrier(self):
        self._exchange(None, 0)

    def abort(self, code):
        self._barrier.abort()


def on_ranks(size, function):
    """What function(rank) gives on each rank, or the exception that it raises."""
    barrier, board = threading.Barrier(size, timeout=PATIENCE), [None] * size

    def run(rank):
        try:
            return function(ThreadRank(rank, size, barrier, board))
        except threading.BrokenBarrierError:
            return None  # another rank has failed
        except Exception as error:
            if not getattr(error, "all_know", False):
                barrier.abort()
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def results(size, function):
    """The same where nothing is raised."""
    found = on_ranks(size, function)
    for result in found:
        if isinstance(result, Exception):
            raise result
    return found
