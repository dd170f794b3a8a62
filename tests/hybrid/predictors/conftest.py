"""How the tests of predictors show them a run."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid.predictors import RealStep


@pytest.fixture(scope="session")
def watch():
    """A function that shows a predictor real steps along a path, in one buffer that is overwritten, and returns it.

    Steps start where the one before led, the gradient is -step / lr, and the loss is 0.
    """

    def show(predictor, path, lr=0.1, optimizer=None):
        optimizer = optimizer or mh.optim.SGD()
        buffers = [np.array(path[0]) for _ in range(3)]
        weights, start, gradient = buffers
        for point in path:
            start[...] = weights
            weights[...] = point
            gradient[...] = (start - weights) / lr
            predictor.observe(RealStep(0.0, lr, weights, optimizer, start, gradient))
        for buffer in buffers:
            buffer[...] = np.nan  # they were borrowed
        return predictor

    return show


@pytest.fixture(scope="session")
def linear_path():
    """A function: the first points of w <- A w + b, with A of a rank and eigenvalues inside the unit circle, and w*.

    The start is one step after a point drawn at random: its distance from w* lies in the range of A.
    """

    def draw(seed, rank, n=12, points=30, dtype=np.float64):
        rng = mh.Rng(seed)
        basis = np.linalg.qr(rng.normal((n, n), dtype=np.float64))[0][:, :rank]
        values = np.linspace(0.3, 0.9, rank) * np.where(np.arange(rank) % 2, -1, 1)
        matrix = basis @ np.diag(values) @ basis.T
        fixed = rng.normal(n, dtype=np.float64)
        path = [fixed + matrix @ rng.normal(n, dtype=np.float64)]
        for _ in range(points - 1):
            path.append(fixed + matrix @ (path[-1] - fixed))
        return np.array(path, dtype), fixed

    return draw
