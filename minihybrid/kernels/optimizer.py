"""Steps of optimizers, each in one walk along the flat vectors, and the factor that clips gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minihybrid.kernels.launch import MOST_BLOCKS, THREADS, along, launch


def adam(
    w: Any,
    m: Any,
    v: Any,
    v_max: Any,
    g: Any,
    eps: Any,
    size: Any,
    shrink: Any,
    betas: tuple[float, float],
    decay: float,
) -> None:
    """w, m, v and, unless it is None, v_max [n] after a step with the gradient g [n].

    eps, size and shrink are 0-d arrays: what is added to the root of v, what m over that is multiplied by, and, unless
    it is None, what w shrinks by. `decay` times w is added to g. The twin is `Adam.update_in_place`; the bits are the
    same.
    """
    if w.size:
        arrays, where = (w, m, v, v_max, g, eps, size, shrink), along(w.size, 16 // w.itemsize)
        launch("optimizer.cu", "adam", w.dtype, *where, *arrays, w.size, *map(float, betas), float(decay))


def sgd(w: Any, momentum: Any, g: Any, lr: Any, factor: float, keep: float, decay: float, nesterov: bool) -> None:
    """w and, unless it is None, its momentum [n] after a step with the gradient g [n] and lr, a 0-d array.

    `factor` times the momentum is kept, `keep` times g is added. The twin is `SGD.update_in_place`; the bits are the
    same.
    """
    if w.size:
        arrays, where = (w, momentum, g, lr), along(w.size, 16 // w.itemsize)
        launch("optimizer.cu", "sgd", w.dtype, *where, *arrays, w.size, *map(float, (factor, keep, decay)), nesterov)


def partial_sums(sizes: Sequence[int]) -> int:
    """How many partial sums `clip_factor` needs for arrays of these sizes."""
    return sum(blocks(size) for size in sizes)


def blocks(size: int) -> int:
    """How many of them are of an array of this size."""
    return min(-(-size // (4 * THREADS)), MOST_BLOCKS)


def clip_factor(factor: Any, partials: Any, limit: Any, *arrays: Any) -> None:
    """factor [] limits the norm of all arrays together to `limit` []; `partials` [partial_sums] are overwritten.

    The twin is `_factor` in optim/clip.py.
    """
    first = 0
    for array in arrays:
        if count := blocks(array.size):
            part = partials[first : first + count]
            launch("clip.cu", "squares", factor.dtype, (count,), (THREADS,), part, array, array.size)
            first += count
    launch("clip.cu", "clip_factor", factor.dtype, (1,), (THREADS,), factor, partials, first, limit)
