"""A plan calculates what its calls would, in less memory, and leaves out what nobody needs."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid.autodiff.plan as plan_module
from minihybrid.autodiff.plan import Plan
from minihybrid.autodiff.trace import PlanError, Trace

UNARY = [np.tanh, np.square, np.negative, lambda x: x.T.copy().T, lambda x: x[::-1] * 2, lambda x: x - x.mean(axis=0)]
BINARY = [np.add, np.multiply, np.maximum, lambda x, y: x @ y.T @ y * 0.1]
IN_PLACE = [np.add, np.subtract]


def program(steps):
    """A function of two arrays: each step takes earlier results and adds one, or changes one in place."""

    def run(x, y):
        known = [x, y * 1]
        for kind, which, i, j in steps:
            a, b = known[i % len(known)], known[j % len(known)]
            if kind == "unary":
                known.append(UNARY[which % len(UNARY)](a))
            elif kind == "binary":
                known.append(BINARY[which % len(BINARY)](a, b))
            elif kind == "in place" and i % len(known):
                IN_PLACE[which % len(IN_PLACE)](a, b, out=a)
            elif kind == "write" and i % len(known):
                a[1:] = b[:-1]
        return known[-1], known[len(known) // 2]

    return run


steps = st.lists(
    st.tuples(st.sampled_from(["unary", "binary", "in place", "write"]), *[st.integers(0, 11)] * 3), max_size=12
)


def recorded(run, x, y):
    trace = Trace()
    given_x, given_y = x.copy(), y.copy()
    results = [tracer.checked(trace) for tracer in run(trace.bind(given_x), trace.bind(given_y))]
    inputs = [("x", given_x), ("y", given_y)]
    returns = lambda text: f"({text(results[0])}.copy(), {text(results[1])}.copy())"  # noqa: E731
    return Plan(trace, ["x", "y"], inputs, results, lambda text: [], returns)


def arrays(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)


@given(steps)
def test_arrays_that_share_memory_do_not_disturb_each_other(steps):
    run = program(steps)
    with np.errstate(all="ignore"):
        plan = recorded(run, *arrays(0))
        for seed in (1, 2):
            x, y = arrays(seed)
            for found, expected in zip(plan.replay(x, y), run(x.copy(), y.copy()), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_the_property_notices_memory_that_is_shared_too_early(monkeypatch):
    monkeypatch.setattr(plan_module._Layout, "_gap", lambda self, living, key: 0)
    with pytest.raises(AssertionError):
        test_arrays_that_share_memory_do_not_disturb_each_other()


def test_a_chain_needs_the_memory_of_one_array():
    def chain(x, y):
        for _ in range(10):
            x = np.tanh(x) + y
        return x, x

    plan = recorded(chain, *arrays(0))
    assert (
        plan.nbytes <= 64
    )  # the last result is kept apart; what is on the way takes over the place of what it is from


def test_what_nobody_needs_and_what_never_changes_is_left_out():
    def wasteful(x, y):
        np.exp(x)
        ones = np.ones_like(x) * 3 + np.zeros_like(x)
        return x * ones, y * 2

    source = recorded(wasteful, *arrays(0)).source
    assert "exp(" not in source and "add(" not in source and source.count("multiply(") == 2


def test_the_source_is_the_program():
    plan = recorded(lambda x, y: (np.tanh(x) + y, y * 2), *arrays(0))
    assert plan.source in plan.show() and "float32 (4, 3)" in plan.show()
    lines = [line.strip() for line in plan.source.splitlines()]
    assert lines[:3] == ["def replay(x, y):", "copyto(x0, x)", "copyto(x1, y)"] and lines[3].startswith("tanh(x0, ")


def test_an_array_from_outside_is_not_written_to():
    outside = np.zeros((4, 3), np.float32)
    with pytest.raises(PlanError, match="made outside"):
        recorded(lambda x, y: (np.add(x, y, out=outside), x * 1), *arrays(0))
