"""A plan calculates what its calls would, in less memory, and leaves out what nobody needs."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import Phase, given, settings, strategies as st

import minihybrid.autodiff.plan as plan_module
from minihybrid.autodiff.plan import Plan
from minihybrid.autodiff.trace import PlanError, Trace, arrays_within, owner

UNARY = [np.tanh, np.square, np.negative, lambda x: x.T.copy().T, lambda x: x[::-1] * 2, lambda x: x - x.mean(axis=0)]
UNARY += [lambda x: x[::-1], lambda x: np.concatenate([x, x[:2]])[1:5], lambda x: np.modf(x)[1], np.zeros_like]
BINARY = [np.add, np.multiply, np.maximum, lambda x, y: x @ y.T @ y * 0.1, lambda x, y: x + y.sum()]
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


def check(steps):
    run = program(steps)
    with np.errstate(all="ignore"):
        plan = recorded(run, *arrays(0))
        for seed in (1, 2):
            x, y = arrays(seed)
            for found, expected in zip(plan.replay(x, y), run(x.copy(), y.copy()), strict=True):
                np.testing.assert_array_equal(found, expected)


test_arrays_that_share_memory_do_not_disturb_each_other = given(steps)(check)


def without_in_place(trace, wanted):
    return [call for call in used(trace, wanted) if call.function is not np.subtract]


used = plan_module._used
WRONG = {
    "all arrays at one place": (plan_module._Layout, "_gap", lambda self, living, key: 0),
    "a result over an argument that is needed": (plan_module._Layout, "_predecessor", lambda self, call, i, key: next(
        (id(owner(arg)) for arg in arrays_within(call.args) if id(owner(arg)) in self._offsets), 0
    )),
    "a call left out": (plan_module, "_used", without_in_place),
    "all calls made once": (plan_module, "_without_constants", lambda trace, calls: (
        [call for call in calls if id(owner(call.target)) in trace.bound], [call.target for call in calls]
    )),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_the_property_notices(monkeypatch, what):
    monkeypatch.setattr(*WRONG[what])
    with pytest.raises(AssertionError):
        settings(max_examples=1000, derandomize=True, phases=[Phase.generate], database=None)(given(steps)(check))()


def test_a_chain_needs_the_memory_of_one_array():
    def chain(x, y):
        for _ in range(10):
            x = np.tanh(x) + y
        return x, x

    plan = recorded(chain, *arrays(0))
    assert plan.nbytes == 64  # 48 in a whole line; the result is kept apart


def test_memory_is_for_what_lives_at_one_time():
    def function(x, y):
        a = x @ y.T  # [4, 4], a line; it lives to the end
        b = a @ x  # [4, 3]
        c = np.concatenate([b, b], axis=1)  # [4, 6], two lines; b ends here
        d = np.tanh(c)  # takes over from c
        e = d.sum(axis=1)  # [4]; c and d end here
        return a @ e, e * 2

    plan = recorded(function, *arrays(0))
    places = {name: array for name, array in plan._namespace.items() if name[0] == "a" and name[1:].isdigit()}
    first = min(array.__array_interface__["data"][0] for array in places.values())
    begins = {name: (array.__array_interface__["data"][0] - first, array.shape) for name, array in places.items()}
    assert sorted(begins.values()) == [(0, (4, 4)), (64, (4,)), (64, (4, 3)), (128, (4, 6))]
    assert plan.nbytes == 256 < sum(-(-array.nbytes // 64) * 64 for array in places.values()) + 128


def test_what_a_function_writes_to_is_part_of_it():
    def doubled(out, x):
        out[...] = x * 2

    def function(x, y):
        made = np.empty_like(x)
        x.trace.opaque(doubled, (made, x))
        return made + 1, y * 1

    plan = recorded(function, *arrays(0))
    assert plan.nbytes == 64
    x, y = arrays(1)
    np.testing.assert_array_equal(plan.replay(x, y)[0], x * 2 + 1)


def test_a_plan_keeps_nothing_of_the_recording():
    met = []

    def function(x, y):
        met.append(weakref.ref((x @ y.T).value))
        return np.tanh(x @ y.T) @ y, y * 2

    plan = recorded(function, *arrays(0))
    gc.collect()
    assert met[0]() is None and plan.replay(*arrays(1))


def test_names_do_not_collide():
    def copyto(x):  # a user's function may be called as anything
        return x * 2

    def abs(x):
        return x * 3

    def function(x, y):
        lr = x.trace.number("lr", -2.0)
        return x.trace.opaque(copyto, (x,)), x.trace.opaque(abs, (x,)), y * lr.__abs__()

    trace, copies = Trace(), arrays(0)
    results = [tracer.checked(trace) for tracer in function(*map(trace.bind, copies))]
    inputs = list(zip(["x0", "c0"], copies, strict=True))
    returns = lambda text: "[" + ", ".join(f"{text(array)}.copy()" for array in results) + "]"  # noqa: E731
    plan = Plan(trace, ["x0", "c0", "lr"], inputs, results, lambda text: [], returns)
    x, y = arrays(1)
    for found, expected in zip(plan.replay(x, y, -3.0), [x * 2, x * 3, y * 3], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_nobody_needs_and_what_never_changes_is_left_out():
    def wasteful(x, y):
        np.exp(x)
        ones = np.ones_like(x) * 3 + np.zeros_like(x)
        return x * ones, y * 2

    source = recorded(wasteful, *arrays(0)).source
    assert "exp(" not in source and "add(" not in source and source.count("multiply(") == 2


def test_an_array_that_a_superfluous_call_changes_is_no_constant():
    def function(x, y):
        zeros = np.zeros_like(x)
        result = x + zeros
        zeros += y  # nobody looks at it
        return result, y * 2

    plan = recorded(function, *arrays(0))
    np.testing.assert_array_equal(plan.replay(*arrays(1))[0], arrays(1)[0])


def test_the_source_is_the_program():
    plan = recorded(lambda x, y: (np.tanh(x) + y, y * 2), *arrays(0))
    assert plan.source in plan.show() and "float32 (4, 3)" in plan.show()
    lines = [line.strip() for line in plan.source.splitlines()]
    assert lines[:3] == ["def replay(x, y):", "copyto(x0, x)", "copyto(x1, y)"] and lines[3].startswith("tanh(x0, ")
    text = plan.show()
    namespace = {name: value for name, value in plan._namespace.items() if name != "replay"}
    exec(text[text.index("def replay") :], namespace)
    for found, expected in zip(namespace["replay"](*arrays(1)), plan.replay(*arrays(1)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_array_from_outside_is_not_written_to():
    outside = np.zeros((4, 3), np.float32)
    with pytest.raises(PlanError, match="made outside"):
        recorded(lambda x, y: (np.add(x, y, out=outside), x * 1), *arrays(0))
