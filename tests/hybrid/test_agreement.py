"""Predicted and real displacements are compared as they are."""

import math

import numpy as np
import pytest

from minihybrid.hybrid.agreement import Agreement


def test_means_over_predictions():
    agreement = Agreement()
    for predicted, real in (([1.0, 0.0], [2.0, 0.0]), ([1.0, 0.0], [0.0, 1.0])):
        agreement.add(np.array(predicted), np.array(real))
    assert (agreement.count, agreement.cosine, agreement.norm_ratio) == (2, 0.5, 0.75)


@pytest.mark.parametrize("predicted", [[0.0, 0.0], [np.nan, 1.0]])
def test_what_has_no_direction_does_not_count(predicted):
    agreement = Agreement()
    agreement.add(np.array(predicted), np.ones(2))
    assert agreement.count == 0 and math.isnan(agreement.cosine) and math.isnan(agreement.norm_ratio)
