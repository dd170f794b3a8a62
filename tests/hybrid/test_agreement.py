"""Predicted and real displacements are compared as they are."""

import math

import numpy as np
import pytest

from minihybrid.hybrid.agreement import Agreement


def test_means_over_predictions():
    agreement, start = Agreement(), np.array([1.0, 1.0])
    for predicted, real in (([1.0, 0.0], [2.0, 0.0]), ([1.0, 0.0], [0.0, 1.0])):
        agreement.begin(np.array(predicted), start)
        agreement.finish(start + real)
    assert (agreement.count, agreement.cosine, agreement.norm_ratio) == (2, 0.5, 0.75)


@pytest.mark.parametrize("predicted", [[0.0, 0.0], [np.nan, 1.0]])
def test_what_has_no_direction_does_not_count(predicted):
    agreement = Agreement()
    agreement.begin(np.array(predicted), np.zeros(2))
    agreement.finish(np.ones(2))
    assert agreement.count == 0 and math.isnan(agreement.cosine) and math.isnan(agreement.norm_ratio)


def test_an_end_without_a_beginning_is_none():
    agreement = Agreement()
    agreement.finish(np.ones(2))
    assert agreement.count == 0


def test_the_start_is_copied():
    agreement, weights = Agreement(), np.zeros(2)
    agreement.begin(np.array([1.0, 0.0]), weights)
    weights += [3.0, 0.0]
    agreement.finish(weights)
    assert agreement.norm_ratio == pytest.approx(1 / 3)
