"""What a prediction has foretold for the real steps of Correct, and how those went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minihybrid.hybrid.agreement import Agreement
from minihybrid.hybrid.correct import Corrector
from minihybrid.stateful import savable
from minihybrid.train.metrics import Mean


@savable
@dataclass
class Foretold:
    """A displacement [n] for as many real steps as Correct has, from the weights `start` [n]; and a loss, if one is.

    >>> import numpy as np
    >>> foretold, agreement = Foretold(np.array([2.0]), np.array([1.0]), loss=0.8), Agreement()
    >>> for loss in (1.1, 0.9):
    ...     foretold.observe(loss)
    >>> round(foretold.loss_error, 9)
    0.2
    >>> foretold.hold_against(np.array([2.0]), agreement, None)
    >>> agreement.norm_ratio
    2.0
    """

    displacement: Any
    start: Any
    loss: float | None
    real_loss: Mean = field(default_factory=Mean)  # so far

    def __post_init__(self) -> None:
        self.start = self.start.copy()

    def observe(self, loss: float) -> None:
        """A real step had this loss."""
        self.real_loss.add(loss)

    @property
    def loss_error(self) -> float | None:
        """The relative error of the loss that was foretold, against the mean so far; None if none was."""
        real = self.real_loss.value
        return abs(self.loss - real) / abs(real) if self.loss is not None and real else None

    def hold_against(self, weights: Any, agreement: Agreement, corrector: Corrector | None) -> None:
        """All steps were made, and led to these weights [n]: what learns from predictions does."""
        agreement.add(self.displacement, weights - self.start)
        if corrector is not None:
            corrector.begin(self.displacement, self.start, self.loss)
            corrector.finish(weights, self.real_loss.value)
