"""What a compiled function uses from outside is found, refused where it could change unseen, and watched."""

import dataclasses
import enum
import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.trace import PlanError
from minihybrid.train.outside import uses

ARRAY = np.ones(3, np.float32)
NUMBER = 2.0


class Kind(enum.Enum):
    A = 1


def scaled(x):
    return x * NUMBER


def shifted(x):
    return [x + ARRAY for _ in range(2)]


def through_another(x):
    return scaled(x)


def around(value):
    def function(x):
        return x, value

    return function


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: object


@dataclasses.dataclass
class Changeable:
    value: object


MODEL = mh.nn.LinearConfig(1, 1).init(mh.Rng(0))
CHANGING = {
    **{type(value).__name__: value for value in (1.5, 3, 1j, ARRAY, np.float32(1), mh.tensor(1.0), mh.Rng(0), MODEL)},
    **{type(value).__name__: value for value in (np.random.default_rng(0), np.random.RandomState(0), random.Random())},
    "an iterator": iter([1]),
    "a generator": (i for i in range(3)),
    "a counter": itertools.count(),
    "a list of numbers": ["a", [1]],
    "a dict of numbers": {"a": 1},
    "an object that can be changed": Changeable(1),
    "options": SimpleNamespace(rate=0.1),
    "a tuple of arrays": (1, ARRAY),
    "a frozen object with a model": Frozen(MODEL),
}


@pytest.mark.parametrize("name", CHANGING)
def test_what_a_plan_would_freeze_is_refused(name):
    with pytest.raises(PlanError, match=r"function uses value from outside, which (is|holds) a .* as an argument"):
        uses(around(CHANGING[name]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (scaled, "scaled uses NUMBER from outside, which is a float"),
        (shifted, "shifted uses ARRAY from outside, which is a ndarray"),
        (through_another, "scaled uses NUMBER from outside"),
        (around(scaled), "scaled uses NUMBER from outside"),
        (around(around(NUMBER)), "function uses value from outside"),
    ],
)
def test_global_names_and_functions_that_are_called_are_looked_at(function, message):
    with pytest.raises(PlanError, match=message):
        uses(function)


LASTING = [
    True,
    None,
    "a",
    b"a",
    Kind.A,
    (1, 2.5),
    Frozen((1, "a")),
    ["a"],
    {"a": "b"},
    {"a"},
    SimpleNamespace(a="b"),
    mh.relu,
]
LASTING += [mh.optim.SGD(), mh.optim.Cosine(0.1, 10), int]


@pytest.mark.parametrize("value", LASTING)
def test_what_lasts_is_found(value):
    function = around(value)
    (use,) = uses(function)
    assert use.value is value
    cell = function.__closure__[0]
    assert eval(use.found(lambda known: "cell" if known is cell else "?"), {"cell": cell}) is value


def test_modules_and_variables_without_a_value_are_left_out():
    def function(x):
        return np.exp(x) + later

    assert uses(function) == []
    later = ARRAY
    with pytest.raises(PlanError, match="uses later from outside"):
        uses(function)


def test_what_leads_to_itself_is_looked_at_once():
    names = ["a"]
    names.append(names)
    assert [use.value for use in uses(around(names))] == [names]

    def function(x):
        return function, x

    uses(function)


def test_a_function_that_is_rebound_or_switched_is_another_plan():
    how, scale = "twice", mh.square

    def function(x):
        return scale(mh.Tensor(x)) * (2 if how == "twice" else 3)

    compiled = mh.compile(function)
    assert compiled(ARRAY).tolist() == [2.0] * 3
    how = "thrice"
    assert compiled(ARRAY).tolist() == [3.0] * 3
    scale = mh.negative
    assert compiled(ARRAY).tolist() == [-3.0] * 3
    how, scale = "twice", mh.square
    assert compiled(ARRAY).tolist() == [2.0] * 3 and len(compiled.plans) == 3


def test_what_becomes_an_array_later_is_refused_then():
    mask = None

    def function(x):
        return x if mask is None else x * mask

    compiled = mh.compile(function)
    compiled(ARRAY)
    mask = ARRAY
    with pytest.raises(PlanError, match="uses mask from outside"):
        compiled(ARRAY)
