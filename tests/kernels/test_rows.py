"""Cross-entropy and standardizing against the ops that they are twins of."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid import kernels
from minihybrid.autodiff.ops.norm import standardize
from minihybrid.autodiff.ops.softmax import softmax_cross_entropy
from tests.cuda.emulator import guarded
from tests.kernels.arrays import DTYPES, LENGTHS, SEEDS, close, empty, normal

ROWS = st.integers(1, 20)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, smoothing: float, g: float = 1.0) -> tuple:
    """The loss, the probabilities and the gradient in the logits."""
    loss, losses = empty((), logits.dtype), empty(len(labels), logits.dtype)
    probabilities, dx = empty(logits.shape, logits.dtype), empty(logits.shape, logits.dtype)
    kernels.cross_entropy(loss, losses, probabilities, logits, labels, smoothing)
    kernels.cross_entropy_gradient(dx, guarded(np.array(g, logits.dtype)), probabilities, labels, smoothing)
    return loss, probabilities, dx


def twin(logits: np.ndarray, labels: np.ndarray, smoothing: float, g: float = 1.0) -> tuple:
    with np.errstate(all="ignore"):
        loss, probabilities = softmax_cross_entropy.forward(logits, labels, smoothing)
        fast = softmax_cross_entropy.formulas["logits"].fast
        return loss, probabilities, fast(np.array(g, logits.dtype), logits, labels, smoothing, probabilities)


@given(SEEDS, ROWS, LENGTHS, DTYPES, st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([1.0, 300.0]))
def test_cross_entropy(seed, rows, classes, dtype, smoothing, scale) -> None:
    logits = guarded(normal(seed, (rows, classes), dtype) * dtype(scale))
    labels = guarded(np.random.default_rng(seed).integers(0, classes, rows))
    came, expected = cross_entropy(logits, labels, smoothing, 0.7), twin(logits, labels, smoothing, 0.7)
    tolerance = close(dtype, classes)
    assert np.allclose(came[0], expected[0], rtol=tolerance["rtol"], atol=tolerance["atol"] * scale)
    for ours, theirs in zip(came[1:], expected[1:], strict=True):
        assert np.allclose(ours, theirs, rtol=scale * tolerance["rtol"], atol=tolerance["atol"])


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_logits_that_are_not_finite(value, smoothing) -> None:
    logits = normal(0, (4, 40), np.float32)
    logits[1, 37] = logits[2] = value
    labels = guarded(np.array([3, 37, 0, 5]))
    for ours, theirs in zip(cross_entropy(logits, labels, smoothing), twin(logits, labels, smoothing), strict=True):
        assert np.allclose(ours, theirs, equal_nan=True, **close(np.float32, 40))


def test_a_class_made_impossible_costs_nothing_where_it_is_not_the_label() -> None:
    logits = guarded(np.array([[0, 0, -np.inf]], np.float32))
    loss, _, dx = cross_entropy(logits, guarded(np.array([1])), 0.0)
    assert np.isclose(loss, np.log(2)) and np.allclose(dx, [[0.5, -0.5, 0]])


@pytest.mark.parametrize("label", [-1, 7, 2**40])
def test_a_label_outside_of_its_range_makes_the_loss_nan(label) -> None:
    labels = guarded(np.array([0, label]))
    assert np.isnan(cross_entropy(normal(0, (2, 7), np.float32), labels, 0.0)[0])


@given(SEEDS, ROWS, LENGTHS, DTYPES, st.booleans(), st.sampled_from([0.0, 1000.0]))
def test_standardize(seed, rows, columns, dtype, centred, offset) -> None:
    x = guarded(normal(seed, (rows, columns), dtype) + dtype(offset))
    g = normal(seed + 1, (rows, columns), dtype)
    out, dx, deviation = empty(x.shape, dtype), empty(x.shape, dtype), empty(rows, dtype)
    kernels.standardize(out, deviation, x, 1e-5, centred)
    expected, spread = standardize.forward(x, -1, 1e-5, centred, None)
    # What is lost where a large mean is taken away, is lost in either order.
    loss = np.finfo(dtype).eps * (4 * offset + 1) / spread
    assert (abs(out - expected) <= 20 * loss * (1 + abs(expected) + abs(x) / spread)).all()
    assert np.allclose(deviation, spread[:, 0], rtol=20 * loss.max(), atol=0)

    kernels.standardize_gradient(dx, g, expected.copy(), deviation, centred)
    theirs = standardize.formulas["x"].fast(g, expected, x, -1, 1e-5, centred, deviation[:, None])
    size = (1 + expected**2) / deviation[:, None]
    assert (abs(dx - theirs) <= 20 * columns**0.5 * np.finfo(dtype).eps * size * (1 + abs(g))).all()
