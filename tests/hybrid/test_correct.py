"""Residuals correct the next proposal as far as they have proved right."""

import math

import numpy as np
import pytest

from minihybrid.config import Config
from minihybrid.device import Device
from minihybrid.hybrid.correct import CorrectionConfig, Corrector, _signs
from minihybrid.rng import Rng

PREDICTED = np.array([1, 2, 3, 4, 5, 6, 7], np.float32)


@pytest.fixture
def corrector():
    return Corrector()


def cycle(corrector, predicted, real, losses=(None, None)):
    """A prediction, and where the real steps went; `losses` are those predicted and real."""
    weights = np.ones_like(predicted)
    corrector.begin(predicted, weights, losses[0])
    weights += real.astype(predicted.dtype)
    corrector.finish(weights, losses[1])


def normal(seed, *shape):
    return Rng(seed).normal(shape)


def test_signs_are_the_bits_of_a_stream():
    words = Rng(0).words(80).astype("<u8").view(np.uint8)
    for n in (1, 63, 64, 65, 128, 64 * 66):
        np.testing.assert_array_equal(_signs(n, Device("cpu")), 1 - 2 * np.unpackbits(words)[:n].astype(np.int8))


def test_corrections_vanish_when_predictions_are_right(corrector):
    for _ in range(3):
        cycle(corrector, PREDICTED, PREDICTED, losses=(2.0, 2.0))
        np.testing.assert_array_equal(corrector.corrected(PREDICTED), PREDICTED)
        assert corrector.corrected_loss(3.0) == 3.0
    assert corrector.relative_errors == (0.0, 0.0)


def test_they_vanish_again_when_predictions_become_right(corrector):
    for _ in range(30):
        cycle(corrector, PREDICTED, 0.5 * PREDICTED)
    for _ in range(60):
        cycle(corrector, PREDICTED, PREDICTED)
    np.testing.assert_allclose(corrector.corrected(PREDICTED), PREDICTED, rtol=1e-3)


@pytest.mark.parametrize("factor", [0.4, 1.5])
def test_a_wrong_length_is_learned_and_removed(corrector, factor):
    for _ in range(60):
        cycle(corrector, PREDICTED, factor * PREDICTED)
    assert corrector.shrinkage.length > 0.99
    np.testing.assert_allclose(corrector.corrected(2 * PREDICTED), 2 * factor * PREDICTED, rtol=1e-2)


def test_a_constant_bias_is_learned_and_removed(corrector):
    bias = np.array([2, 0, -2, 0, 0, 1, 0], np.float32)
    for _ in range(60):
        cycle(corrector, PREDICTED, PREDICTED + bias)
    np.testing.assert_allclose(corrector.corrected(PREDICTED), PREDICTED + bias, rtol=1e-2, atol=1e-2)
    uncorrected, corrected = corrector.relative_errors
    assert uncorrected == pytest.approx(3 / np.linalg.norm(PREDICTED + bias)) and corrected < 0.01 * uncorrected


def test_a_bias_is_removed_from_predictions_that_vary(corrector):
    base, bias = normal(0, 2000), 0.5 * normal(1, 2000)
    for noise in normal(2, 60, 2000):
        cycle(corrector, base + 0.2 * noise, base + bias)
    uncorrected, corrected = corrector.relative_errors
    assert corrected < 0.5 * uncorrected


def test_nothing_is_corrected_before_a_correction_has_proved_right(corrector):
    cycle(corrector, PREDICTED, 2 * PREDICTED)
    np.testing.assert_array_equal(corrector.corrected(PREDICTED), PREDICTED)
    cycle(corrector, PREDICTED, 2 * PREDICTED)
    assert (corrector.corrected(PREDICTED) > PREDICTED).all()


def test_what_contradicts_itself_switches_off():
    corrector = Corrector(CorrectionConfig(recency=0.0))
    for turn in range(60):
        cycle(corrector, PREDICTED, (1.0 + 0.5 * (-1) ** turn) * PREDICTED)
    assert corrector.shrinkage.length == 0.0
    np.testing.assert_array_equal(corrector.corrected(PREDICTED), PREDICTED)


def test_noise_leaves_little_of_the_correction(corrector):
    predicted, shrinkages, errors = normal(0, 500), [], []
    for noise in normal(1, 300, 500):
        cycle(corrector, predicted, predicted + noise)
        shrinkages.append(corrector.shrinkage)
        errors.append(corrector.relative_errors)
    _, direction, _ = np.mean(shrinkages[20:], axis=0)
    assert direction < 0.05
    uncorrected, corrected = np.mean(errors[20:], axis=0)
    assert corrected < 1.01 * uncorrected


def test_noise_in_the_length_costs_little(corrector):
    shrinkages, errors = [], []
    for noise in Rng(0).uniform(400, -0.8, 0.8):
        cycle(corrector, PREDICTED, (1.0 + float(noise)) * PREDICTED)
        shrinkages.append(corrector.shrinkage.length)
        errors.append(corrector.relative_errors)
    assert np.mean(shrinkages[20:]) < 0.25
    uncorrected, corrected = np.mean(errors[20:], axis=0)
    assert corrected < 1.1 * uncorrected


def test_a_wild_residual_at_most_doubles_or_cancels(corrector):
    for real in (50, -50):
        for _ in range(60):
            cycle(corrector, PREDICTED, real * PREDICTED)
        correction = corrector.corrected(PREDICTED) - PREDICTED
        assert np.linalg.norm(correction) <= np.linalg.norm(PREDICTED) * (1 + 1e-5)
        np.testing.assert_allclose(correction, np.sign(real) * PREDICTED, rtol=1e-2)


def test_a_proposal_is_corrected_by_what_was_like_it(corrector):
    one, other = np.repeat(np.eye(2, dtype=np.float32), 3000, axis=1)
    for _ in range(30):
        cycle(corrector, one, 0.5 * one)
        cycle(corrector, other, 1.5 * other)
    lengths = [corrector.corrected(p) @ p / 3000 for p in (one, other)]
    np.testing.assert_allclose(lengths, [0.5, 1.5], atol=0.1)
    np.testing.assert_array_equal(corrector.corrected(-one - other), -one - other), "the opposite of all before"


def test_the_newest_residuals_weigh_most():
    corrector = Corrector(CorrectionConfig(recency=0.3))
    for factor in [1.5] * 20 + [0.5] * 3:
        cycle(corrector, PREDICTED, factor * PREDICTED)
    assert corrector.shrinkage.length > 0.5 and (corrector.corrected(PREDICTED) < PREDICTED).all()


@pytest.mark.parametrize("usual", [1.5 * PREDICTED, 1.5 * PREDICTED[::-1]])
@pytest.mark.parametrize("wild", [50 * PREDICTED, np.array([100, -50, 0, 0, 0, 0, 0], np.float32)])
def test_one_wild_residual_is_soon_forgotten(corrector, usual, wild):
    for real in [usual] * 20 + [wild] + [usual] * 3:
        cycle(corrector, PREDICTED, real)
    assert np.linalg.norm(corrector.corrected(PREDICTED) - usual) < 0.2 * np.linalg.norm(usual)


def test_the_store_is_bounded():
    corrector = Corrector(CorrectionConfig(capacity=3))
    for _ in range(10):
        cycle(corrector, PREDICTED, 2 * PREDICTED, losses=(1.0, 2.0))
    state = corrector.state_dict()
    assert [len(state[name]) for name in ("sketches", "lengths", "losses")] == [3, 3, 3]


def test_losses_are_corrected_by_their_own_residuals(corrector):
    for _ in range(60):
        cycle(corrector, PREDICTED, PREDICTED, losses=(1.0, 1.25))
    assert corrector.corrected_loss(2.0) == pytest.approx(2.25, rel=1e-2)
    for noise in normal(0, 200).tolist():
        cycle(corrector, PREDICTED, PREDICTED, losses=(1.0, 1.0 + noise))
    assert corrector.shrinkage.loss < 0.5


def test_float32_stays_float32(corrector):
    for _ in range(3):
        cycle(corrector, PREDICTED, 2 * PREDICTED)
    assert corrector.corrected(PREDICTED).dtype == corrector.state_dict()["direction"].dtype == np.float32


def test_neither_proposal_nor_weights_are_written_to(corrector):
    predicted, weights = PREDICTED.copy(), 2 * PREDICTED
    for _ in range(3):
        corrector.begin(predicted, weights)
        corrector.finish(weights + 2 * predicted)
    corrector.corrected(predicted)
    np.testing.assert_array_equal(predicted, PREDICTED)
    np.testing.assert_array_equal(weights, 2 * PREDICTED)


@pytest.mark.parametrize("real", [0.0, math.nan, math.inf])
def test_numbers_that_teach_nothing_leave_everything_as_it_was(corrector, real):
    cycle(corrector, PREDICTED, 2 * PREDICTED, losses=(1.0, 2.0))
    before = corrector.state_dict()
    cycle(corrector, PREDICTED, np.full(7, real), losses=(1.0, math.nan))
    cycle(corrector, 0 * PREDICTED, PREDICTED)
    corrector.finish(PREDICTED, 1.0)
    np.testing.assert_equal(corrector.state_dict(), before)


def test_reset_forgets_everything(corrector):
    assert math.isnan(corrector.relative_errors.corrected)
    before = corrector.state_dict()
    cycle(corrector, PREDICTED, 2 * PREDICTED)
    corrector.begin(PREDICTED, PREDICTED)
    corrector.reset()
    np.testing.assert_equal(corrector.state_dict(), before)


def test_a_state_is_all_there_is_to_know(corrector):
    for factor in (1.5, 1.4, 1.6):
        cycle(corrector, PREDICTED, factor * PREDICTED, losses=(1.0, factor))
    corrector.begin(PREDICTED, np.zeros_like(PREDICTED), 1.0)
    twin = Corrector()
    twin.load_state_dict(state := corrector.state_dict())
    for one in (corrector, twin):
        one.finish(0.5 * PREDICTED, 0.5)
    np.testing.assert_equal(twin.state_dict(), corrector.state_dict())
    np.testing.assert_array_equal(twin.corrected(PREDICTED), corrector.corrected(PREDICTED))
    assert state["lengths"] == pytest.approx([0.5, 0.4, 0.6]), "a copy"
    with pytest.raises(ValueError, match=r"Corrector keeps sketches, lengths, .*; the state has lengths"):
        twin.load_state_dict({"lengths": []})


def test_settings_are_written_as_json_and_those_that_make_no_sense_are_refused():
    config = CorrectionConfig(capacity=5, inertia=0.0)
    assert Config.from_json(config.to_json()) == config
    for setting, value in (("capacity", 0), ("recency", 1.0), ("inertia", -0.1), ("evidence", "much")):
        with pytest.raises(ValueError, match=rf"^CorrectionConfig: {setting} is .*; expected an? "):
            CorrectionConfig(**{setting: value})


def test_a_direction_is_an_average_of_residuals_none_longer_than_what_was_predicted_or_left():
    corrector, rng = Corrector(CorrectionConfig(inertia=0.5)), Rng(4)
    lengths = []
    for i in range(20):
        predicted = rng.normal(7)
        cycle(corrector, predicted, (10.0 if i % 2 else 0.1) * rng.normal(7))
        lengths.append(float(np.linalg.norm(corrector.state_dict()["direction"])))
    assert max(lengths) <= 1 + 1e-6 and max(lengths) > 0.5


def test_the_evidence_for_a_correction_starts_against_it():
    corrector = Corrector(CorrectionConfig(evidence=0.9))
    for _ in range(2):
        cycle(corrector, PREDICTED, PREDICTED, losses=(2.0, 3.0))
    # The second time 1 was expected and 1 came: (0.9 * 0 + 1/2) / (0.9 * PRIOR + 1/2).
    assert corrector.corrected_loss(3.0) == pytest.approx(3.0 + 0.5 / (0.9 * 0.5 + 0.5))
