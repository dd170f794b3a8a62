"""The control does nothing, in the right shape, and no probe finds it better than that."""

import numpy as np
import pytest

from minihybrid.hybrid.predictors.null import NullConfig
from minihybrid.hybrid.verify import LineSearch


def test_null_predicts_no_change_whatever_it_saw(watch):
    with np.errstate(invalid="ignore"):
        null = watch(NullConfig().init(), np.array([[1.0, np.nan]], np.float32))
    null.translate(np.ones(2))
    prediction = null.predict(7)
    np.testing.assert_array_equal(prediction.delta, np.zeros(2, np.float32))
    assert prediction.delta.dtype == np.float32 and prediction.est_steps == 7 and prediction.confidence == 1.0


def test_it_is_never_accepted():
    assert NullConfig().init().verification.search(lambda scale: 1.0).scale == 0.0


def test_settings_make_sense():
    assert NullConfig(LineSearch()).init().verification == LineSearch()
    with pytest.raises(ValueError, match="NullConfig: verification is 'no'; expected a way to verify"):
        NullConfig("no")
