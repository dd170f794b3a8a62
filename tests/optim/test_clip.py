"""Clipping: limits are met, directions kept, and what is inside the limit is left alone."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid.module.module import pack
from minihybrid.optim import SGD, GradientsParams, clip_global_norm, clip_norm, clip_value


def gradients(*arrays):
    made, ids = GradientsParams(), [mh.ParamId(i) for i in range(len(arrays))]
    for id, array in zip(ids, arrays, strict=True):
        made.register(id, mh.Tensor(np.asarray(array)))
    return made


def read(grads):
    return [gradient.numpy() for _, gradient in grads.items()]


vectors = st.lists(st.lists(st.floats(-100, 100, width=32), max_size=4), min_size=1, max_size=3)
limits = st.floats(0.01, 300)


@given(vectors, limits, st.sampled_from([np.float32, np.float64]))
def test_global_norm_is_met_with_one_factor(vectors, limit, dtype):
    before = [np.array(v, dtype) for v in vectors]
    grads = gradients(*before)
    norm = grads.norm()
    clipped = clip_global_norm(grads, limit)
    factor = min(1.0, limit / norm) if norm else 1.0
    for old, new in zip(before, read(clipped), strict=True):
        assert new.dtype == dtype
        np.testing.assert_allclose(new, old * dtype(factor), rtol=1e-6)
    assert clipped.norm() <= limit * (1 + 1e-6)
    if norm < limit * (1 - 1e-6):
        for old, new in zip(before, read(clipped), strict=True):
            np.testing.assert_array_equal(new, old)


@given(vectors, limits, st.sampled_from([np.float32, np.float64]))
def test_each_norm_is_met_by_itself(vectors, limit, dtype):
    before = [np.array(v, dtype) for v in vectors]
    for old, new in zip(before, read(clip_norm(gradients(*before), limit)), strict=True):
        assert new.dtype == dtype
        norm = float(np.linalg.norm(old.astype(np.float64)))
        if norm < limit * (1 - 1e-6):
            np.testing.assert_array_equal(new, old)
        else:
            np.testing.assert_allclose(new, old * (limit / norm), rtol=1e-5)


@given(vectors, limits, st.sampled_from([np.float32, np.float64]))
def test_each_element_is_met(vectors, limit, dtype):
    before = [np.array(v, dtype) for v in vectors]
    for old, new in zip(before, read(clip_value(gradients(*before), limit)), strict=True):
        assert new.dtype == dtype
        np.testing.assert_array_equal(new, np.minimum(np.maximum(old, dtype(-limit)), dtype(limit)))


@pytest.mark.parametrize("clip", [clip_global_norm, clip_norm, clip_value])
def test_the_original_stays_as_it_was(clip):
    original = [np.array([30.0, 40.0]), np.array(-5.0)]
    grads = gradients(*original)
    clip(grads, 1.0)
    for array, value in zip(read(grads), original, strict=True):
        np.testing.assert_array_equal(array, value)


@pytest.mark.parametrize("clip", [clip_global_norm, clip_norm, clip_value])
@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_must_be_positive(clip, limit):
    with pytest.raises(ValueError, match=rf"{clip.__name__}: \w+ is .*; expected a positive number"):
        clip(gradients(np.ones(2)), limit)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e25])
def test_a_norm_that_is_not_finite_is_noticed_also_where_the_gradients_are(bad):
    arrays = [np.array([1.0, bad], np.float32), np.array([2.0], np.float32)]
    assert all(np.isnan(new).all() for new in read(clip_global_norm(gradients(*arrays), 1.0)))
    first, second = read(clip_norm(gradients(*arrays), 1.0))
    assert np.isnan(first).all()
    np.testing.assert_array_equal(second, [1.0])
    assert first.dtype == second.dtype == np.float32


@pytest.mark.parametrize("clip", [clip_global_norm, clip_norm])
@pytest.mark.parametrize("limit", [math.inf, 1e300])
def test_a_limit_beyond_all_numbers_is_none(clip, limit):
    arrays = [np.array([3.0, -4.0], np.float32), np.zeros(2, np.float32)]
    for old, new in zip(arrays, read(clip(gradients(*arrays), limit)), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("clip", [clip_global_norm, clip_norm])
def test_a_plan_clips_the_same_to_the_bit(clip):
    def clipped(model, x, limit):
        return clip(GradientsParams.from_grads(model(mh.Tensor(x)).sum().backward(), model), limit)

    layer, planned, x = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)), mh.compile(clipped), mh.Rng(1).normal((5, 3))
    for scale, limit in ((1.0, 2.0), (100.0, 2.0), (0.001, 2.0), (1.0, math.inf), (1e25, 2.0), (math.nan, 2.0)):
        given = x * np.float32(scale)
        for new, old in zip(read(planned(layer, given, limit)), read(clipped(layer, given, limit)), strict=True):
            assert new.tobytes() == old.tobytes()
    assert len(planned.plans) == 2, "one for a limit, and one for none"


def test_clipped_gradients_of_a_packed_model_step_and_share_its_pool():
    layer, optim = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)), SGD()
    pack(layer)
    x = mh.Rng(1).normal((5, 3))
    for _ in range(20):
        before = np.concatenate([p.numpy().ravel() for p in layer.named_params().values()])
        grads = GradientsParams.from_grads((layer(mh.Tensor(x)) * 100.0).sum().backward(), layer)
        layer = optim.step(1.0, layer, clip_global_norm(grads, 0.1))
        after = np.concatenate([p.numpy().ravel() for p in layer.named_params().values()])
        assert np.linalg.norm(after - before) == pytest.approx(0.1, rel=1e-4)
        assert len(pack(layer).pool) <= 1
