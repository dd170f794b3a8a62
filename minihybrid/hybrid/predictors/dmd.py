"""Dynamic mode decomposition: the last steps as a few modes that grow, fade or swing, carried on, for full batches.

In the r directions that hold most of the last steps, the next step is about A times the one before; A is fitted by
least squares, and the sum of the coming h steps is (A + A^2 + ... + A^h) times the last one. No mode may grow: its
eigenvalue is drawn to the unit circle. (Schmid 2010; Kutz, Brunton, Brunton and Proctor 2016, "Dynamic Mode
Decomposition", chapter 1; here by the method of snapshots, from the Gram matrix alone.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.config import is_count, is_number
from minihybrid.hybrid.predictors.extrapolation import Combination, Extrapolation, ExtrapolationConfig

RESOLVED = 1e-12
"""Directions with less of the steps' energy than this, relative to the largest, are rounding."""


class DmdConfig(ExtrapolationConfig):
    """`rank`: how many directions are followed, at most. `ridge` >= 0 is that of the fit.

    It is in units of the mean square of the coordinates that are fitted. Raises ValueError for a rank below 1 or a
    negative ridge.

    >>> DmdConfig(rank=8).init()
    Dmd(rank=8)
    """

    rank: int = 4
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("rank", is_count(self.rank, 1), "an integer of at least 1")
        self.require("ridge", is_number(self.ridge) and self.ridge >= 0, "a number that is not negative")

    def init(self) -> Dmd:
        """The predictor."""
        return Dmd(self)


class Dmd(Extrapolation):
    """Carries the modes of the last steps on for the horizon; needs two steps, and follows fewer modes than steps.

    The confidence is 1 - the relative error of the fit, one step ahead, over all that the steps hold.

    >>> import numpy as np, minihybrid as mh
    >>> predictor, optimizer, w = DmdConfig(ridge=0.0).init(), mh.optim.SGD(), np.array([9.0, 5.0])
    >>> for _ in range(4):
    ...     w = np.array([0.9, 0.5]) * w + np.array([0.1, 0.5])
    ...     predictor.observe(mh.hybrid.predictors.RealStep(0.0, 0.1, w, optimizer))
    >>> (w + predictor.predict(1000).delta).round(6)
    array([1., 1.])
    """

    config: DmdConfig

    def combination(self, gram: Any, horizon: int) -> Combination | None:
        """See `Extrapolation`."""
        if len(gram) < 2:
            return None
        energies, vectors = np.linalg.eigh(gram)
        rank = min(self.config.rank, len(gram) - 1, int((energies > RESOLVED * energies[-1]).sum()))
        if rank == 0:
            return None
        roots, vectors = np.sqrt(energies[-rank:]), vectors[:, -rank:]
        steps = vectors * roots  # [k, rank]: coordinates of the steps
        before, after = steps[:-1], steps[1:]
        square = before.T @ before
        square += self.config.ridge * np.trace(square) / rank * np.eye(rank)
        modes = np.linalg.lstsq(square, before.T @ after, rcond=None)[0].T  # A
        energy = float(np.trace(gram[1:, 1:]))
        missed = energy - float(np.vdot(after, after)) + float(np.square(after - before @ modes.T).sum())
        confidence = max(0.0, 1 - math.sqrt(max(0.0, missed) / energy)) if energy else 0.0
        displacement = powers_sum(modes, horizon) @ steps[-1]
        return Combination(vectors / roots @ displacement, horizon, confidence)

    def __repr__(self) -> str:
        return f"Dmd(rank={self.config.rank})"


def powers_sum(matrix: Any, count: int) -> Any:
    """A + A^2 + ... + A^count, with the eigenvalues of A drawn to the unit circle where they are outside.

    >>> import numpy as np
    >>> powers_sum(np.diag([0.5, 3.0]), 2)
    array([[0.75, 0.  ],
           [0.  , 2.  ]])
    """
    eigenvalues, vectors = np.linalg.eig(matrix)
    eigenvalues = eigenvalues / np.maximum(1.0, np.abs(eigenvalues))
    sums = np.power.outer(eigenvalues, np.arange(1, count + 1)).sum(axis=1)
    return np.linalg.lstsq(vectors.T, (vectors * sums).T, rcond=None)[0].T.real
