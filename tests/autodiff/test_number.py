"""A number of a recorded step computes as its value does, and writes down how."""

import math
import operator

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minihybrid.autodiff.trace import Number, PlanError, Trace

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]

leaves = st.sampled_from(["t", 2, -3, 0.5, -0.0, True, math.inf, -math.inf, math.nan])
expressions = st.recursive(leaves, lambda parts: st.tuples(st.sampled_from(BINARY), parts, parts), max_leaves=6)


def computed(expression, t):
    if isinstance(expression, tuple):
        operation, left, right = expression
        return operation(computed(left, t), computed(right, t))
    return t if isinstance(expression, str) else expression


@given(expressions, st.integers(1, 4), st.integers(1, 4))
def test_the_text_computes_what_the_expression_does_for_any_other_value(expression, recorded, replayed):
    try:
        text = getattr(computed(expression, Number("t", recorded, Trace())), "text", "None")
        expected = computed(expression, replayed)
    except (ArithmeticError, TypeError):  # 1 / 0, a power that is too large, a remainder of complex numbers
        return
    if text != "None":
        found = eval(text, {"t": replayed})
        assert type(found) is type(expected) and repr(found) == repr(expected)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_a_decision_is_a_guard(compare):
    trace = Trace()
    outcome = bool(compare(Number("t", 2, trace), 3))
    ((text, guarded),) = trace.guards
    assert guarded == outcome == compare(2, 3)
    assert eval(text, {"t": 3}) == compare(3, 3)


def test_min_max_abs_negation_and_divmod():
    trace = Trace()
    t = Number("t", -2.5, trace)
    assert min(t, 1.0) is t and abs(t).text == "abs(t)" and (-t).value == 2.5
    assert [part.value for part in divmod(t, 2)] == list(divmod(-2.5, 2)) and len(trace.guards) == 1


def test_it_passes_for_the_kind_of_number_that_it_is():
    assert isinstance(Number("t", 2.5, Trace()), float) and not isinstance(Number("t", 2.5, Trace()), int)
    assert isinstance(Number("t", 2, Trace()), int)


def test_who_prints_it_gets_a_plan_for_this_value():
    trace = Trace()
    t = Number("t", 0.25, trace)
    assert f"the rate is {t}, or {t:.1e}" == "the rate is 0.25, or 2.5e-01" and str(t) == "0.25"
    assert all(eval(text, {"t": 0.25}) and not eval(text, {"t": 0.5}) for text, _ in trace.guards)


@pytest.mark.parametrize(
    "read", [float, int, round, math.sqrt, math.floor, np.asarray, np.array, lambda t: [1, 2, 3][t], range]
)
def test_reading_the_value_is_refused(read):
    with pytest.raises(PlanError, match="another in each call"):
        read(Number("t", 2, Trace()))


def test_it_does_not_mix_with_text():
    with pytest.raises(TypeError):
        Number("t", 2, Trace()) + "a"
    assert Number("t", 2, Trace()) != "a"


def test_a_number_that_is_shown_is_a_guard_for_what_is_shown():
    trace = Trace()
    t = Number("t", 0.12345, trace)
    assert f"{t:.2f}" == "0.12" and str(t) == "0.12345"
    assert [(eval(text, {"t": 0.1201}), outcome) for text, outcome in trace.guards] == [(True, True), (False, True)]
