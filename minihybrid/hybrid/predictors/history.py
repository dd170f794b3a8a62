"""The last few vectors of a run, and all their inner products.

Many extrapolations need of their past only its Gram matrix G_ij = <u_i, u_j>: it tells which combination of the
vectors to take. A new vector changes one row and one column of G, which are one product of the stored matrix with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minihybrid.config import Config, is_count
from minihybrid.device import Device
from minihybrid.stateful import Stateful

BLOCK = 2**15
"""Elements of each vector that are worked on at a time: half precision is widened in the cache, not in memory."""

REACH = 2.0**15
"""What the norm of a vector is scaled to in half precision, below its largest number, 65,504: elements down to 2^-29 of
the norm then keep its 11 bits."""


class HistoryConfig(Config):
    """The last `capacity` vectors; `storage` is "exact", their own dtype, or "float16", each with a scale of its own.

    float16 is half the memory of float32, for some fifteen times the time on a CPU, where widening is slow. What fits
    is planned by `MemoryBudget`. Raises ValueError for a capacity below 2 or another storage.

    >>> HistoryConfig(capacity=3).init().gram().shape
    (0, 0)
    """

    capacity: int = 20
    storage: str = "exact"

    def __post_init__(self) -> None:
        self.require("capacity", is_count(self.capacity, 2), "an integer of at least 2")
        self.require("storage", self.storage in ("exact", "float16"), "'exact' or 'float16'")

    def init(self) -> History:
        """An empty history."""
        return History(self)


class History(Stateful):
    """A ring of vectors [n], the oldest of which makes room for a new one, with their Gram matrix in float64.

    It keeps `capacity` vectors; a push makes `capacity` + 1 passes over one, and does not wait for the device.

    >>> import numpy as np
    >>> history = HistoryConfig(capacity=2).init()
    >>> for vector in ([9.0, 9.0], [3.0, 4.0], [1.0, 0.0]):
    ...     history.push(np.array(vector))
    >>> history.gram()
    array([[25.,  3.],
           [ 3.,  1.]])
    >>> history.combine([1.0, -1.0])
    array([2., 4.])
    """

    def __init__(self, config: HistoryConfig) -> None:
        self.config = config
        self._pushed = 0
        self._rows: Any = None  # [capacity, n]; a vector is its row times its scale
        self._scales: Any = None  # [capacity], of the vectors' dtype
        self._gram: Any = None  # [capacity, capacity], float64, by row

    def __len__(self) -> int:
        """How many vectors there are."""
        return 0 if self._rows is None else min(self._pushed, len(self._rows))

    def push(self, vector: Any) -> None:
        """Keep a copy of a vector [n]."""
        if self._rows is None:
            self._allocate(vector)
        row = self._pushed % len(self._rows)
        if self.config.storage == "float16":
            norm = np.sqrt(np.vdot(vector, vector))
            self._scales[row] = scale = np.maximum(norm, np.finfo(vector.dtype).tiny) / REACH
            np.divide(vector, scale, out=self._rows[row], casting="same_kind")
        else:
            self._rows[row] = vector
        self._pushed += 1
        products = sum((block @ block[row]).astype(np.float64) for _, block in self._blocks())
        count = len(self)
        self._gram[row, :count] = products * self._scales[:count] * self._scales[row]
        self._gram[:count, row] = self._gram[row, :count]

    def gram(self) -> Any:
        """The inner products of the stored vectors, the oldest first, as a NumPy array: float64 [k, k]."""
        if not len(self):
            return np.zeros((0, 0))
        order = self._order()
        return Device.of(self._gram).host(self._gram)[np.ix_(order, order)]

    def combine(self, coefficients: Any) -> Any:
        """The sum of the k stored vectors times `coefficients` [k], the oldest first: [n], fresh."""
        factors = np.empty(len(self))
        factors[self._order()] = coefficients
        scales = self._scales[: len(self)]
        scaled = Device.of(scales).array(factors, scales.dtype) * scales
        result = np.empty_like(self._rows[0], scales.dtype)
        for place, block in self._blocks():
            np.matmul(scaled, block, out=result[place])
        return result

    def clear(self) -> None:
        """Forget all vectors, and keep the memory."""
        self._pushed = 0

    def _allocate(self, vector: Any) -> None:
        dtype = np.float16 if self.config.storage == "float16" else vector.dtype
        capacity = self.config.capacity
        # Zeros: states are saved whole, and equal runs have equal states. A page is made when it is first touched.
        self._rows = Device.of(vector).xp.zeros((capacity, vector.size), dtype)
        self._scales = np.ones_like(vector, shape=(capacity,))
        self._gram = np.zeros_like(vector, np.float64, shape=(capacity, capacity))

    def _order(self) -> list[int]:
        """The rows in use, the oldest first."""
        return [i % len(self._rows) for i in range(self._pushed - len(self), self._pushed)]

    def _blocks(self) -> Iterator[tuple[slice, Any]]:
        """The rows in use, some columns at a time, in the vectors' dtype."""
        for start in range(0, self._rows.shape[1], BLOCK):
            place = slice(start, start + BLOCK)
            yield place, self._rows[: len(self), place].astype(self._scales.dtype, copy=False)
