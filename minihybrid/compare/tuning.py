"""The learning rate of a method on a task: the best of a grid by factors of two, and not at an edge of it."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = 2.0
SIDE = 2
"""How many learning rates are tried on either side of the first, before the grid grows."""
FARTHEST = 12
"""And the most, should it grow: a factor of 4,096."""


def tuned(loss_at: Callable[[float], float], start: float, side: int = SIDE) -> float | None:
    """The learning rate with the lowest loss: the grid around `start` grows until the best has worse neighbours.

    A loss of infinity is that of a run that diverged. None if the best stays at an edge, as where every run diverges.

    >>> tuned(lambda lr: abs(lr - 0.8), start=0.1)
    0.8
    """
    losses: dict[int, float] = {}

    def loss(place: int) -> float:
        if place not in losses:
            losses[place] = loss_at(start * FACTOR**place)
        return losses[place]

    low, high = -side, side
    while True:
        best = min(range(low, high + 1), key=loss)
        if low < best < high:
            return start * FACTOR**best
        if max(-low, high) == FARTHEST:
            return None
        low, high = (low - 1, high) if best == low else (low, high + 1)
