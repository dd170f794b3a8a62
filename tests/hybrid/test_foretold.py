"""What was foretold is held against the mean of the losses, and the whole displacement, that came."""

import numpy as np
import pytest

from minihybrid.hybrid.agreement import Agreement
from minihybrid.hybrid.correct import Corrector
from minihybrid.hybrid.foretold import Foretold


def test_the_error_is_that_of_the_mean_loss():
    foretold = Foretold(np.ones(2), np.zeros(2), loss=3.0)
    for loss in (1.0, 3.0):
        foretold.observe(loss)
    assert foretold.loss_error == 0.5


@pytest.mark.parametrize(("foretold_loss", "real"), [(None, 1.0), (1.0, 0.0)])
def test_without_two_losses_there_is_no_error(foretold_loss, real):
    foretold = Foretold(np.ones(2), np.zeros(2), foretold_loss)
    foretold.observe(real)
    assert foretold.loss_error is None


def test_agreement_and_corrections_learn_from_the_displacement():
    start, agreement, corrector = np.array([1.0, 1.0]), Agreement(), Corrector()
    foretold = Foretold(np.array([2.0, 0.0]), start, None)
    start += 5.0  # it was borrowed
    foretold.hold_against(np.array([2.0, 1.0]), agreement, corrector)
    assert (agreement.cosine, agreement.norm_ratio) == (1.0, 2.0)
    assert corrector.state_dict()["lengths"] == [-0.5]
