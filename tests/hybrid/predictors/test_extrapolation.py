"""A jump in the span of the last steps is what its coefficients say, no longer than it may be."""

import numpy as np
import pytest

from minihybrid.hybrid.predictors.extrapolation import Combination, Extrapolation, ExtrapolationConfig
from minihybrid.hybrid.predictors.history import HistoryConfig

PATH = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 3.0], [4.0, 3.0]])
STEPS = np.diff(PATH, axis=0)


class Fixed(Extrapolation):
    """Always the same coefficients."""

    coefficients = np.array([1.0, -2.0, 4.0])

    def combination(self, gram, horizon):
        if len(gram) < 3:
            return None
        np.testing.assert_array_equal(gram, STEPS @ STEPS.T)
        return Combination(self.coefficients, horizon, 0.5)


def test_a_prediction_is_the_combination_of_the_last_steps(watch):
    predictor = Fixed(ExtrapolationConfig())
    assert watch(predictor, PATH[:3]).predict(7) is None
    prediction = watch(predictor, PATH[3:]).predict(7)
    np.testing.assert_array_equal(prediction.delta, Fixed.coefficients @ STEPS)
    assert (prediction.est_steps, prediction.confidence) == (7, 0.5)


def test_a_jump_begins_a_new_history(watch):
    jump = np.array([9.0, -9.0])
    predictor = watch(Fixed(ExtrapolationConfig()), np.array([[5.0, 5.0], [2.0, 7.0]]))
    predictor.translate(jump)
    after = PATH + np.array([2.0, 6.0]) + jump  # begins where the jump led
    assert watch(predictor, after[1:3]).predict(7) is None
    np.testing.assert_array_equal(watch(predictor, after[3:]).predict(7).delta, Fixed.coefficients @ STEPS)


@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_its_length_is_limited_by_that_of_the_weights(watch, max_norm):
    free = watch(Fixed(ExtrapolationConfig()), PATH).predict(1).delta
    delta = watch(Fixed(ExtrapolationConfig(max_norm=max_norm)), PATH).predict(1).delta
    limit = max_norm * np.linalg.norm(PATH[-1])
    np.testing.assert_allclose(delta, free * min(1.0, limit / np.linalg.norm(free)))


def test_nothing_is_said_where_nothing_finite_follows(watch):
    predictor = Fixed(ExtrapolationConfig())
    path = PATH.copy()
    path[1, 0] = np.inf
    with np.errstate(invalid="ignore"):
        assert watch(predictor, path).predict(1) is None
    predictor = Fixed(ExtrapolationConfig())
    predictor.coefficients = np.array([np.nan, 0.0, 0.0])
    assert watch(predictor, PATH).predict(1) is None


def test_the_kind_is_what_a_subclass_says(watch):
    with pytest.raises(TypeError, match="Extrapolation defines no combination"):
        watch(Extrapolation(ExtrapolationConfig()), PATH).predict(1)


def test_settings_make_sense():
    with pytest.raises(ValueError, match="max_norm is 0; expected a positive number, or None"):
        ExtrapolationConfig(max_norm=0)
    with pytest.raises(ValueError, match="history is 20; expected a HistoryConfig"):
        ExtrapolationConfig(history=20)
    with pytest.raises(ValueError, match="verification is None; expected a way to verify"):
        ExtrapolationConfig(verification=None)
    assert ExtrapolationConfig(HistoryConfig(5)).vectors() == 7
