"""States are copies, and only the right ones are taken."""

import json
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pytest

from minihybrid.optim import Cosine
from minihybrid.rng import Rng
from minihybrid.stateful import Stateful, savable


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


@savable
class Mood(StrEnum):
    GOOD = "good"


@savable
class Pair(NamedTuple):
    first: Any
    second: Any


@savable
@dataclass(frozen=True)
class Note:
    text: str
    pair: Pair | None = None


class Whole(Stateful):
    """All kinds of attributes."""

    transient = ("config", "_scratch")

    def __init__(self):
        self.config, self._scratch = "fixed", object()
        self.note, self.mood = Note("none"), Mood.GOOD
        self.recent = deque([1.0], maxlen=2)
        self._inner, self._schedule = Thing(), Cosine(0.1, total=10)
        self._maybe: Any = None


def test_values_configurations_and_parts_come_back():
    whole, twin = Whole(), Whole()
    whole.note = Note("some", Pair(np.ones(2), [Mood.GOOD, (1, 2)]))
    whole.recent.extend([2.0, 3.0])
    whole._inner.count, whole._schedule, whole._maybe = 7, Cosine(0.2, total=5), np.zeros(2)
    state = whole.state_dict()
    assert set(state) == {"note", "mood", "recent", "inner", "schedule", "maybe"}
    assert json.dumps(state, default=np.ndarray.tolist)
    inner = twin._inner
    twin.load_state_dict(state)
    assert twin.note.pair.first.tolist() == [1, 1] and twin.note.pair.second == [Mood.GOOD, [1, 2]]
    assert twin.recent == deque([2.0, 3.0]) and twin.recent.maxlen == 2
    assert twin._inner is inner and inner.count == 7 and twin._schedule == Cosine(0.2, total=5)
    state["note"]["pair"]["first"] += 1
    assert twin.note.pair.first.tolist() == [1, 1] and whole.note.pair.first.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.float64(1.0), r"Whole\._maybe cannot be saved: it is a float64; expected numbers \(float\(x\)"),
        ({1: 2}, r"Whole\._maybe cannot be saved: it has the key 1; expected strings"),
        ([{"a": {3}}], r"Whole\._maybe\.0\.a cannot be saved: it is a set"),
        (lambda: 0, r"it is a function"),
        (object(), r"it is a object"),
    ],
)
def test_what_cannot_be_saved_is_named_with_its_place(value, sentence):
    whole = Whole()
    whole._maybe = value
    with pytest.raises(TypeError, match=sentence):
        whole.state_dict()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"note": {"type": "Note", "text": "x"}}, "a Note in a state has text, pair, not text"),
        ({"note": {"type": "Nothing"}}, "there is no configuration type 'Nothing'"),
        ({"note": {"type": ["x"]}}, "there is no configuration type"),
        ({"mood": {"type": "Mood", "value": "bad"}}, "'bad' is not a valid Mood"),
        ({"schedule": {"type": "Cosine", "lr": np.ones(2), "total": 3}}, "Cosine"),
        ({"recent": "abc"}, "recent of Whole is a deque, not a str"),
        ({"recent": 3.0}, "recent of Whole is a deque, not a float"),
        ({"maybe": {"a": 1}}, "maybe of Whole is a NoneType, not a dict"),
        ({"inner": None}, "Thing keeps count"),
        ({"inner": {"type": "Rng"}}, "Thing keeps count"),
    ],
)
def test_what_is_no_value_is_refused_and_changes_nothing(change, sentence):
    whole = Whole()
    before = repr(whole.state_dict())
    with pytest.raises((ValueError, TypeError), match=sentence):
        whole.load_state_dict({**whole.state_dict(), **change})
    assert repr(whole.state_dict()) == before


def test_a_method_that_was_replaced_is_no_state():
    thing = Thing()
    thing.state_dict = thing.state_dict
    assert "state_dict" not in Thing.state_dict(thing)
