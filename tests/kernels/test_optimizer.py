"""Steps on the device have the bits of steps on the CPU; clipping limits as it does there."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid import kernels, optim
from minihybrid.optim.clip import _factor
from tests.cuda.emulator import guarded
from tests.kernels.arrays import DTYPES, LENGTHS, SEEDS, close, empty, normal

ALIGNED = st.integers(0, 3)


def run(optimizer, update, seed, n, dtype, misaligned, lr) -> list[np.ndarray]:
    """Weights and moments after three steps with one of the update rules."""
    w = normal(seed, n, dtype, misaligned)
    moments = {name: guarded(np.zeros(n, dtype), misaligned) for name in optimizer.moments}
    for t in (1, 2, 3):
        update(w, normal(seed + t, n, dtype, misaligned), moments, lr, t, np.empty(n, dtype))
    return [w, *moments.values()]


def same(optimizer, *args) -> None:
    on_device, on_host = (
        run(optimizer, update, *args) for update in (optimizer.update_in_one_launch, optimizer.update_in_place)
    )
    for ours, theirs in zip(on_device, on_host, strict=True):
        assert np.array_equal(ours, theirs)


@given(
    SEEDS,
    LENGTHS,
    DTYPES,
    ALIGNED,
    st.sampled_from([optim.Adam, optim.AdamW]),
    st.sampled_from([0.0, 0.01]),
    st.booleans(),
)
def test_adam_has_the_same_bits(seed, n, dtype, misaligned, rule, decay, amsgrad) -> None:
    same(rule(betas=(0.8, 0.95), weight_decay=decay, amsgrad=amsgrad), seed, n, dtype, misaligned, 1e-2)


@given(
    SEEDS,
    LENGTHS,
    DTYPES,
    ALIGNED,
    st.sampled_from(
        [
            dict(),
            dict(momentum=0.9),
            dict(momentum=0.9, nesterov=True),
            dict(momentum=0.5, dampening=0.3, weight_decay=0.1),
        ]
    ),
)
def test_sgd_has_the_same_bits(seed, n, dtype, misaligned, options) -> None:
    same(optim.SGD(**options), seed, n, dtype, misaligned, 1e-2)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_gradients_that_are_not_finite_do_what_they_do_on_the_cpu(value) -> None:
    for optimizer in (optim.Adam(amsgrad=True), optim.SGD(momentum=0.9)):
        results = []
        for update in (optimizer.update_in_one_launch, optimizer.update_in_place):
            w, g = normal(0, 9, np.float32), normal(1, 9, np.float32)
            moments = {name: guarded(np.ones(9, np.float32)) for name in optimizer.moments}
            g[[0, 8]] = value
            if "v_max" in moments:
                moments["v_max"][4] = np.nan  # stays so, as np.maximum keeps it
            with np.errstate(invalid="ignore"):
                update(w, g, moments, 0.1, 1, np.empty(9, np.float32))
            results.append([w, *moments.values()])
        for ours, theirs in zip(*results, strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True) and not np.isfinite(ours[[0, 8]]).any()


def clipped(arrays: list[np.ndarray], limit: float) -> np.ndarray:
    dtype = arrays[0].dtype
    factor, partials = empty((), dtype), empty(kernels.partial_sums([array.size for array in arrays]), dtype)
    kernels.clip_factor(factor, partials, guarded(np.array(limit, dtype)), *arrays)
    return factor


@given(SEEDS, st.lists(LENGTHS, min_size=1, max_size=3), DTYPES, ALIGNED, st.sampled_from([1e-3, 1.0, 100.0]))
def test_the_factor_that_limits_a_norm(seed, sizes, dtype, misaligned, limit) -> None:
    arrays = [normal(seed + i, size, dtype, misaligned) for i, size in enumerate(sizes)]
    assert np.allclose(
        clipped(arrays, limit), _factor(arrays[0], limit, *arrays[1:]), rtol=close(dtype, sum(sizes))["atol"]
    )


@pytest.mark.parametrize("value, sized", [(np.inf, 5), (np.nan, 5), (3e38, 5), (1.0, 1)])
def test_a_norm_that_is_not_finite_and_one_within_the_limit(value, sized) -> None:
    array = guarded(np.full(sized, value, np.float32))
    with np.errstate(all="ignore"):
        assert np.array_equal(clipped([array], 1.0), _factor(array, 1.0), equal_nan=True)


def test_the_sum_over_many_blocks_is_the_same_each_time() -> None:
    array = normal(0, 300_000, np.float32)
    first = clipped([array], 1.0)
    assert np.array_equal(first, clipped([array], 1.0)) and np.isclose(first, 1 / np.linalg.norm(array), rtol=1e-5)
