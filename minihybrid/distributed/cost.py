"""What communication costs, by a model: a latency for each message on its way, and a bandwidth for its bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CostModel:
    """`latency` in seconds for a message from one rank to another, `bandwidth` in bytes a second.

    >>> model = CostModel(latency=1e-5, bandwidth=1e9)
    >>> f"{model.all_reduce(8, ranks=4):.1e} s, {model.all_reduce(4_000_000, ranks=4):.1e} s"
    '2.0e-05 s, 6.1e-03 s'
    """

    latency: float
    bandwidth: float

    def all_reduce(self, nbytes: float, ranks: int) -> float:
        """Seconds to add up vectors of so many bytes, by whichever of two usual algorithms is faster.

        Recursive doubling exchanges the whole vector in log2 p rounds; a ring sends 2 (p - 1) pieces of 1/p (Thakur,
        Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in MPICH", section 4.5).
        """
        if ranks == 1:
            return 0.0
        rounds = math.ceil(math.log2(ranks))
        doubling = rounds * (self.latency + nbytes / self.bandwidth)
        ring = 2 * (ranks - 1) * (self.latency + nbytes / ranks / self.bandwidth)
        return min(doubling, ring)

    @staticmethod
    def fitted(measured: Sequence[tuple[float, int, float]]) -> CostModel:
        """The model whose times are nearest to those measured, as (bytes, ranks, seconds), in ratio.

        Found on a grid of latencies and bandwidths, by factors of 1.1. Raises ValueError where nothing was measured on
        two ranks or more.

        >>> exact = CostModel(1e-5, 1e9)
        >>> samples = [(n, 4, exact.all_reduce(n, 4)) for n in (8, 1e4, 1e6, 1e8)]
        >>> found = CostModel.fitted(samples)
        >>> 0.9 < found.latency / exact.latency < 1.1, 0.9 < found.bandwidth / exact.bandwidth < 1.1
        (True, True)
        """
        samples = [sample for sample in measured if sample[1] > 1]
        if not samples:
            raise ValueError("CostModel.fitted: no time was measured on two ranks or more.")

        def misfit(model: CostModel) -> float:
            return sum(math.log(model.all_reduce(n, ranks) / seconds) ** 2 for n, ranks, seconds in samples)

        grid = [CostModel(1e-7 * 1.1**i, 1e6 * 1.1**j) for i in range(150) for j in range(130)]
        return min(grid, key=misfit)
