"""States are copies, and only the right ones are taken."""

import numpy as np
import pytest

from minihybrid.rng import Rng
from minihybrid.stateful import Stateful


class Thing(Stateful):
    def __init__(self):
        self.config = "fixed"
        self.count, self._array, self._rng = 1, np.zeros(3), Rng(0)
        self._nested = {"list": [np.ones(2), 3.0]}


def test_a_state_is_a_copy_all_the_way_down():
    thing = Thing()
    state = thing.state_dict()
    assert set(state) == {"count", "array", "rng", "nested"}
    thing._array += 1
    thing._nested["list"][0] += 1
    thing._rng.words(4)
    assert state["array"].tolist() == [0, 0, 0] and state["nested"]["list"][0].tolist() == [1, 1]
    other = Thing()
    other.load_state_dict(state)
    state["array"] += 5
    assert other._array.tolist() == [0, 0, 0] and other._rng.state() == Rng(0).state()


@pytest.mark.parametrize("state", [{}, {"count": 1}, {"count": 1, "array": 0, "rng": 0, "nested": 0, "more": 0}])
def test_what_is_no_state_is_refused_and_changes_nothing(state):
    thing = Thing()
    with pytest.raises(ValueError, match="load_state_dict: Thing keeps count, array, rng, nested; the state has"):
        thing.load_state_dict(state)
    assert thing.count == 1
