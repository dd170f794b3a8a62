"""The features of a run: all alive, right where the answer is known, and cheap between looks."""

import itertools
import math

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid.predictors.predictor import RealStep
from minihybrid.hybrid.state import FEATURES, PHASES, StateConfig
from minihybrid.module.module import pack

SGD = mh.optim.SGD()
CONSTANT = itertools.repeat(1.0)


def walk(path, every=4, lr=0.1, losses=CONSTANT):
    """The state after steps along a path; the array is one and the same, as the weights of a model are."""
    state, weights = StateConfig(every=every).init(), np.zeros(np.shape(path[0]), np.float32)
    for point, loss in zip(path, losses, strict=False):
        weights[...] = point
        state.observe(RealStep(loss, lr, weights, SGD))
    return state


@pytest.mark.parametrize("with_gradients", [True, False])
def test_every_feature_is_alive(mlp, forward_fn, digits, with_gradients):
    model, optimizer, loader = mlp(64, 16, 10), mh.optim.Adam(), digits()
    schedule = mh.optim.Cosine(0.01, total=120, warmup=10)
    state, seen = StateConfig(every=4).init(), []
    for t, phase in zip(range(120), itertools.cycle(["full"] * 8 + ["predict"] + ["correct"] * 3), strict=False):
        state.enter("warmup" if t < 10 else phase)
        if state.state_dict()["phase"] == "predict":
            state.judged(accepted=t % 2 == 0)
        else:
            model, loss = forward_fn(model, next(loader))
            grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
            gradient = grads.flat(pack(model)).vector.copy() if with_gradients else None
            model = optimizer.step(schedule(t), model, grads)
            state.observe(RealStep(loss.item(), schedule(t), pack(model).values, optimizer, gradient=gradient))
        seen.append(state.features())
    table = np.array(seen)
    assert table.dtype == np.float32 and np.isfinite(table).all()
    dead = [name for name, column in zip(FEATURES, table.T, strict=True) if len(np.unique(column)) < 2]
    assert not dead, f"these features never change: {dead}"


def test_descent_on_a_quadratic_has_known_features():
    curvature, lr = 3.0, 0.1
    state, w = StateConfig(every=4).init(), np.array([2.0, -1.0], np.float32)
    for _ in range(9):
        start, gradient = w.copy(), curvature * w
        w = w - np.float32(lr) * gradient
        state.observe(RealStep(float(start @ gradient) / 2, lr, w, SGD, start, gradient))
    found, kept = state.values(), 1 - lr * curvature
    assert found["curvature"] == pytest.approx(np.arcsinh(curvature), rel=1e-4)
    assert found["gradient_norm"] == pytest.approx(np.log(np.sqrt(5) * kept**8 * curvature), rel=1e-4)
    assert found["update_norm"] == pytest.approx(found["gradient_norm"] + np.log(lr), rel=1e-4)
    assert found["weight_norm"] == pytest.approx(np.log(np.sqrt(5) * kept**9), rel=1e-4)
    assert [found[name] for name in ("gradient_cosine", "update_cosine", "coherence")] == pytest.approx([1.0] * 3)
    assert found["learning_rate"] == pytest.approx(np.log(lr)) and found["steps"] == pytest.approx(np.log(10))


def test_where_gradients_are_not_kept_steps_stand_for_them():
    kept, bare = StateConfig(every=3).init(), StateConfig(every=3).init()
    rng, w = mh.Rng(0), np.zeros(5, np.float32)
    for t in range(10):
        lr, gradient = 0.1 / (1 + t), rng.normal(5)
        w = w - np.float32(lr) * gradient
        kept.observe(RealStep(1.0, lr, w, SGD, gradient=gradient))
        bare.observe(RealStep(1.0, lr, w, SGD))
    np.testing.assert_allclose(bare.features(), kept.features(), rtol=1e-4, atol=1e-5)


def test_coherence_and_straightness_tell_a_road_from_a_turn():
    there = [[t, 0.0] for t in range(5)]
    back = [[3.0 - t, 0.0] for t in range(4)]
    aside = [[4.0, t + 1.0] for t in range(4)]
    for path, cosine in ((there + [[5.0 + t, 0.0] for t in range(4)], 1.0), (there + back, -1.0), (there + aside, 0.0)):
        found = walk(path).values()
        assert (found["coherence"], found["straightness"]) == pytest.approx((cosine, 1.0), abs=1e-6)
    zigzag = [[float(t % 2), t / 4] for t in range(9)]
    found = walk(zigzag).values()
    assert found["straightness"] == pytest.approx(0.25 / np.hypot(1, 0.25), rel=1e-5)
    assert found["update_cosine"] == pytest.approx((0.25**2 - 1) / (0.25**2 + 1), rel=1e-5)


def test_levels_and_slopes_follow_a_line_at_their_three_speeds():
    losses = [100.0 - t for t in range(60)] + [41.0] * 8
    found = walk(np.zeros((68, 1)), losses=losses).values()
    assert 41 < np.exp(found["level_fast"]) < np.exp(found["level_medium"]) < np.exp(found["level_slow"]) < 100
    assert found["slope_medium"] < found["slope_fast"] < 0, "the fast one has seen the end of it"
    steady = walk(np.zeros((600, 1)), losses=[1000.0 - t for t in range(600)]).values()
    slopes = [steady[f"slope_{scale}"] * np.exp(steady["level_medium"]) for scale in ("fast", "medium", "slow")]
    assert slopes == pytest.approx([-1.0] * 3, rel=1e-2)


def test_noise_is_relative_to_the_loss():
    losses = 1 + 0.1 * mh.Rng(0).normal(300, dtype=np.float64)
    small = walk(np.zeros((300, 1)), losses=losses.tolist()).values()
    large = walk(np.zeros((300, 1)), losses=(100 * losses).tolist()).values()
    calm = walk(np.zeros((300, 1)), losses=(1 + (losses - 1) / 10).tolist()).values()
    assert small["loss_noise"] == pytest.approx(np.log(0.1), abs=0.5)
    assert large["loss_noise"] == pytest.approx(small["loss_noise"], abs=1e-5)
    assert calm["loss_noise"] == pytest.approx(small["loss_noise"] - np.log(10), abs=0.05)


def test_a_jump_is_no_motion_of_the_run():
    path = mh.Rng(0).integers(-9, 10, (20, 3)).cumsum(axis=0).astype(np.float32)  # whole numbers: no rounding
    still, moved = StateConfig(every=5).init(), StateConfig(every=5).init()
    jump = np.zeros(3, np.float32)
    for t, point in enumerate(path):
        still.observe(RealStep(1.0, 0.1, point, SGD))
        moved.observe(RealStep(1.0, 0.1, point + jump, SGD))
        if t in (3, 9, 10, 14):
            delta = np.array([t, -2.0 * t, 1.0], np.float32)
            moved.translate(delta)
            jump += delta
    expected, found = still.values(), moved.values()
    assert found.pop("weight_norm") != expected.pop("weight_norm")
    assert found == expected


def test_vectors_are_left_alone_between_looks():
    state = StateConfig(every=16).init()
    for t in range(1, 50):
        at_the_end = t == 1 or (t - 1) % 16 in (0, 14, 15)
        weights = np.full(3, t, np.float32) if at_the_end else object()  # whoever touches it fails
        state.observe(RealStep(1.0, 0.1, weights, SGD))
    assert state.values()["coherence"] == pytest.approx(1.0)


@pytest.mark.parametrize("every", [1, 2, 3, 4, 7])
def test_windows_of_any_length_see_the_same_road(every):
    state, w = StateConfig(every=every).init(), np.zeros(2, np.float32)
    for _ in range(3 * every + 1):
        w += np.array([1.0, 2.0], np.float32)
        state.observe(RealStep(1.0, 0.5, w, SGD, gradient=np.array([-2.0, -4.0], np.float32)))
    found = state.values()
    exact = [found[name] for name in ("gradient_cosine", "update_cosine", "coherence", "straightness", "curvature")]
    assert exact == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.0])


def test_phases_corrections_and_acceptance_are_counted():
    state = StateConfig().init()
    assert [state.values()[f"phase_{phase}"] for phase in PHASES] == [1.0, 0.0, 0.0, 0.0]
    state.enter("correct")
    state.observe(RealStep(1.0, 0.1, np.zeros(1), SGD))
    assert state.values()["steps_since_correction"] == 0.0 and state.values()["phase_correct"] == 1.0
    state.enter("full")
    for _ in range(3):
        state.observe(RealStep(1.0, 0.1, np.zeros(1), SGD))
    assert state.values()["steps_since_correction"] == pytest.approx(np.log(4))
    assert state.values()["acceptance"] == 0.5
    for _ in range(40):
        state.judged(accepted=True)
    assert state.values()["acceptance"] > 0.98
    state.judged(accepted=False)
    assert 0.8 < state.values()["acceptance"] < 0.9
    with pytest.raises(ValueError, match=r"no phase 'dream'; expected one of warmup, full"):
        state.enter("dream")


def test_features_are_finite_where_nothing_moves_or_everything_does():
    noise = mh.Rng(0).normal((12, 3), dtype=np.float64)
    for loss, lr, scale in ((0.0, 0.0, 0.0), (-1e30, 1e-30, 1e30), (1e-30, 1e30, 1e-30), (1.0, 0.1, math.inf)):
        with np.errstate(over="ignore", invalid="ignore"):
            state = walk(scale * noise, lr=lr, losses=itertools.repeat(loss))
            state.observe(RealStep(-loss, lr, noise[0], SGD))
        assert np.isfinite(state.features()).all()


def test_float32_stays_float32():
    state = walk(np.ones((9, 3)))
    assert {array.dtype for array in state.state_dict().values() if isinstance(array, np.ndarray)} == {np.dtype("f4")}


def test_a_rollback_begins_a_new_window():
    path = [[float(t * t)] for t in range(7)]
    state = walk(path)
    before = state.values()
    state.reset()
    assert state.values() == before, "what was measured stays"
    for point in ([100.0], [99.0], [98.0], [97.0], [96.0]):
        state.observe(RealStep(1.0, 0.1, np.array(point, np.float32), SGD))
    after = state.values()
    assert after["straightness"] == pytest.approx(1.0) and after["update_norm"] == pytest.approx(0.0)
    assert after["coherence"] == 0.0, "there is no window before it"


def test_a_state_dict_is_all_there_is_to_know():
    path = mh.Rng(0).normal((30, 3))
    state, twin = walk(path[:18], every=5), StateConfig(every=5).init()
    state.judged(accepted=True)
    saved = state.state_dict()
    twin.load_state_dict(saved)
    for one in (state, twin):
        for point in path[18:]:
            one.observe(RealStep(0.5, 0.2, point, SGD))
    assert twin.features().tobytes() == state.features().tobytes()
    again = StateConfig(every=5).init()
    again.load_state_dict(saved)
    assert again.features().tobytes() != state.features().tobytes(), "the saved state was copied"
    with pytest.raises(ValueError, match="RunState keeps"):
        twin.load_state_dict({"phase": "full"})


def test_a_window_has_a_length():
    with pytest.raises(ValueError, match="StateConfig: every is 0; expected a positive integer"):
        StateConfig(every=0)


def test_a_logarithm_of_anything_is_finite():
    from minihybrid.hybrid.state import TINY, _cut, _log, _ratio

    assert _log(math.inf) == _log(-math.inf) == math.log(1 / TINY) and _log(0.0) == _log(math.nan) == math.log(TINY)
    assert _log(-2.0) == math.log(2.0)
    assert [_cut(x) for x in (-1.5, -1.0, 0.25, 1.0, 1.5)] == [-1.0, -1.0, 0.25, 1.0, 1.0]
    assert [_ratio(3.0, 2.0), _ratio(1.0, 0.0), _ratio(math.inf, 1.0), _ratio(math.nan, 1.0)] == [1.5, 0.0, 0.0, 0.0]
