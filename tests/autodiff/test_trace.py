"""What is recorded of array code computes what the code does, for other values too; what would not is refused."""

import copy

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.plan import Plan
from minihybrid.autodiff.trace import PlanError, Trace, arrays_within, host_number, opaque_call, owner

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=(4, 3)).astype(np.float32) for _ in range(2))
LABELS = np.array([0, 2, 1, 2])


def recorded(function, *arrays, **numbers):
    """A plan for a function of arrays and numbers that returns an array or several."""
    trace = Trace()
    copies = [array.copy() for array in arrays]
    given = {name: trace.number(name, value) for name, value in numbers.items()}
    returned = function(*map(trace.take, copies), **given)
    results = [tracer.checked(trace) for tracer in (returned if isinstance(returned, tuple) else (returned,))]
    names = [f"x{i}" for i in range(len(arrays))]
    returns = lambda text: "(" + "".join(f"{text(result)}.copy(), " for result in results) + ")"  # noqa: E731
    return Plan(trace, [*names, *numbers], list(zip(names, copies, strict=True)), results, lambda text: [], returns)


def assert_repeats(function, *calls, **numbers):
    """The plan of the first call gives what the function does, in dtype and to the bit, for all calls."""
    plan = recorded(function, *calls[0], **numbers)
    for arrays in calls:
        for factor in (1, 2) if numbers else (1,):
            changed = {name: value * factor for name, value in numbers.items()}
            expected = function(*[array.copy() for array in arrays], **changed)
            found = plan.replay(*arrays, *changed.values())
            if found is None:  # it decides on the number
                found = recorded(function, *arrays, **changed).replay(*arrays, *changed.values())
            for a, b in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
                assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def written(array, write):
    write(made := array * 1)
    return made


FUNCTIONS = {
    "norms that are one number": lambda x: tuple(mh.ops.registry["p_norm"].forward(x * k, 3) for k in range(1, 30)),
    "norms of one number": lambda x: tuple(
        mh.ops.registry["p_norm"].forward(x[i, j] * 1.0, 3) for i, j in np.ndindex(4, 3)
    ),
    # methods, with their arguments apart and together
    "reshape": lambda x: x.reshape(3, 4) + x.reshape((3, 4)) + x.reshape([3, 4]),
    "reshape, flat": lambda x: x.reshape(-1) * x.reshape((-1,)),
    "reshape, in another order": lambda x: x.reshape(6, 2, order="F"),
    "transpose": lambda x: x.transpose() @ x + x.transpose(1, 0) @ x + x.transpose((1, 0)) @ x,
    "iterate": lambda x: sum(x),
    "astype": lambda x: x.astype(np.float64) * 2.0,
    "astype, which it has": lambda x: x.astype(np.float32, copy=False) * x.astype(np.float32),
    "a scalar of NumPy": lambda x: x * np.float32(0.1) + np.float32(0.1),
    # the same function, called in the ways that NumPy knows
    "sum": lambda x: np.sum(x, 0),
    "sum, positional dtype": lambda x: np.sum(x, 0, np.float64),
    "sum, named": lambda x: np.sum(a=x, axis=1, keepdims=True),
    "sum, of some": lambda x: np.sum(x, where=x > 0),
    "sum of masks": lambda x: (x > 0).sum(),
    "mean": lambda x: x.mean(axis=(0, 1)),
    "mean of integers": lambda x: np.mean(x.astype(int)),
    "mean of masks": lambda x: np.mean(x > 0),
    "mean in half precision": lambda x: x.astype(np.float16).mean(),
    "max, from": lambda x: np.max(x, initial=0.5),
    "any": lambda x: np.any(x > 1, axis=1),
    "reduce": lambda x: np.add.reduce(x),
    "accumulate": lambda x: np.multiply.accumulate(x, axis=1),
    "reduceat": lambda x: np.add.reduceat(x, [0, 2]),
    "outer": lambda x: np.multiply.outer(x[0], x[:, 1]),
    "in double precision": lambda x: np.add(x, 0.1, dtype=np.float64),
    "where": lambda x: np.where(x > 0, x, 0.1),
    "out and where": lambda x: np.add(x, 1, out=np.zeros_like(x), where=x > 0),
    "clip": lambda x: np.clip(x, a_min=-0.5, a_max=0.1),
    "clip of integers": lambda x: np.clip(x.astype(int), 0, 1),
    "float_power": lambda x: np.float_power(np.abs(x), 0.1),
    "ldexp": lambda x: np.ldexp(x, 2),
    "powers": lambda x: (x**2, x**1, np.abs(x) ** 0.5, x**-1, x**3, 2**x, x.astype(int) ** 2.0, x.astype(int) ** 2),
    "several results": lambda x: np.modf(x),
    "divmod": lambda x: divmod(x, 0.3),
    "svd": lambda x: np.linalg.svd(x, full_matrices=False),
    "eigh": lambda x: np.linalg.eigh(x.T @ x).eigenvalues,
    "dot with a number": lambda x: np.dot(2.0, x),
    "dot into an array": lambda x: np.dot(x, x.T, np.empty_like(x, shape=(4, 4))),
    "real and imag": lambda x: (x.real + (x * 1j).imag,),
    "median": lambda x: np.median(x, axis=0),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, x),
    "split": lambda x: np.split(x, 2)[1] * 2,
    "repeat": lambda x: np.repeat(x, [2, 0, 1, 1], axis=0),
    "like": lambda x: (np.full_like(x, x[0, 0]), np.ones_like(x, dtype=int) + np.zeros_like(x, shape=3), x * 1),
    "arange": lambda x: x[0] + np.arange(3, like=x),
    "masked by constants": lambda x: x[np.array([True, False, True, True])],
    "methods": lambda x: (x.flatten(), x.T.copy(), x.astype(int), x.dot(x.T), x.view(np.int32), x.ravel().take([1, 5])),
    "copies": lambda x: (copy.copy(x), copy.deepcopy(x)),
    # writing
    "in place": lambda x: written(x, lambda a: (a.__iadd__(1), a.__imul__(x), a.__ipow__(2))),
    "write all": lambda x: written(x, lambda a: a.__setitem__(..., x[0])),
    "write some": lambda x: written(x, lambda a: a.__setitem__((slice(1, None), [0, 2]), x[0, 0])),
    "write through a mask": lambda x: written(x, lambda a: a.__setitem__(x > 0, 0)),
    "write another dtype": lambda x: written(x, lambda a: a.__setitem__(slice(None), (x > 0) * 2)),
    "write to a view": lambda x: written(x, lambda a: a.T[0].fill(3)),
    "copyto": lambda x: written(x, lambda a: np.copyto(a, 3, where=x > 0)),
    "add at": lambda x: written(x, lambda a: np.add.at(a, ([0, 0], [1, 1]), 2.5)),
    "sort in place": lambda x: written(x, lambda a: a.sort()),
    "an overlap": lambda x: written(x, lambda a: np.add(a[1:], a[:-1], out=a[1:])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_a_call_is_repeated_to_the_bit(name):
    assert_repeats(FUNCTIONS[name], (X,), (Y,), (-X,))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.float16, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("number", [2, 0.5])
def test_a_number_takes_the_dtype_that_it_would_take(dtype, number):
    x = np.arange(6).astype(dtype)
    assert_repeats(lambda x, n: (x * n, n - x, np.maximum(x, n), np.where(x == n, x, n)), (x,), n=number)


def test_numbers_as_powers_in_clip_and_as_what_is_written():
    def function(x, n):
        return np.abs(x) ** n, n**x, np.clip(x, -n, n), np.full_like(x, n), written(x, lambda a: a.__setitem__(0, n))

    assert_repeats(function, (X,), n=0.25)
    for exponent in (2, 1, 0.5, -1, 3):
        assert_repeats(lambda x, n: np.abs(x) ** n, (X,), n=exponent)


def test_indices_are_read_anew():
    assert_repeats(
        lambda x, y: (x[y], x[1:, y], x[y[0]], np.take_along_axis(x, y[:, None], 1), np.choose(y, list(x.T))),
        *[(a, b % 3) for a, b in [(X, LABELS), (Y, LABELS[::-1].copy())]],
    )


DOES_NOT_FIT = {
    "a mask": lambda x: x[x > 0],
    "a mask with more": lambda x: x[x[:, 0] > 0, 1],
    "writing": lambda x: written(x, lambda a: a.__setitem__(x > 0, x[0, :1])),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: np.where(x),
    "unique": np.unique,
    "bincount": lambda x: np.bincount(np.abs(x.astype(int)).ravel()),
    "repeat": lambda x: np.repeat(x, np.abs(x[:, 0].astype(int)), axis=0),
    "split": lambda x: np.split(x, x[0].astype(int)),
}


@pytest.mark.parametrize("name", DOES_NOT_FIT)
def test_shapes_that_depend_on_values_are_refused(name):
    with pytest.raises(PlanError, match=r"shape depends on values|through a mask"):
        recorded(DOES_NOT_FIT[name], X)


NO_ARRAY = {
    "array_equal": lambda x: np.array_equal(x, x + 1),
    "allclose": lambda x: np.allclose(x, x),
    "array2string": np.array2string,
    **{name: lambda x, f=f: written(x, f) for name, f in {
        "put": lambda a: np.put(a, [0], 1),
        "putmask": lambda a: np.putmask(a, a > 0, 1),
        "place": lambda a: np.place(a, a > 0, [1]),
        "put_along_axis": lambda a: np.put_along_axis(a, np.zeros((4, 1), int), 1, 1),
        "fill_diagonal": lambda a: np.fill_diagonal(a, 1),
    }.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ARRAY)
def test_functions_that_give_no_array_are_refused(name):
    with pytest.raises(PlanError, match=rf"np.{name} gives no array"):
        recorded(NO_ARRAY[name], X)


READS = {
    "item": lambda x: x.item(0),
    "tolist": lambda x: x.tolist(),
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "complex": lambda x: complex(x[0, 0]),
    "index": lambda x: range(x.astype(int)[0, 0]),
    "if": lambda x: 1 if x[0, 0] > 0 else 2,
    "in": lambda x: 1.0 in x[0],
    "array": np.asarray,
    "format": lambda x: f"{x}",
    "a list of arrays": lambda x: np.array([x[0], x[1]]),
}


@pytest.mark.parametrize("name", READS)
def test_reading_a_value_is_refused(name):
    with pytest.raises(PlanError, match="reads a value inside a compiled step"):
        recorded(READS[name], X)


def test_writing_to_other_peoples_arrays_is_refused():
    outside = np.zeros_like(X)
    for write in (lambda x: np.add(x, x, out=outside), lambda x: np.copyto(outside, x), lambda x: outside.__iadd__(x)):
        with pytest.raises(PlanError, match="made outside"):
            recorded(write, X)
    for write in (lambda x: x.__iadd__(1), lambda x: x[0].fill(1), lambda x: x.T.sort(), lambda x: np.add.at(x, 0, 1)):
        with pytest.raises(PlanError, match="an array that it was given"):
            recorded(write, X)
    with pytest.raises(PlanError, match="several arrays as out="):
        recorded(lambda x: np.modf(x, out=(np.empty_like(x), np.empty_like(x))), X)


def test_what_is_known_of_an_array_without_its_values():
    def function(x):
        assert (np.shape(x), x.shape, len(x), x.ndim, x.size) == ((4, 3), (4, 3), 4, 2, 12)
        assert (x.dtype, x.itemsize, x.nbytes, x.strides) == (np.float32, 4, 48, (12, 4))
        assert np.result_type(x, np.float64) == np.float64 and not np.iscomplexobj(x)
        assert np.shares_memory(x, x.T) and x.flags.c_contiguous and x.T.base is not None
        return sum(row * i for i, row in enumerate(x))

    assert_repeats(function, (X,), (Y,))


def test_arrays_of_another_recording_are_refused():
    trace, other = Trace(), Trace()
    with pytest.raises(PlanError, match="was kept, and is used outside"):
        np.add(trace.bind(X.copy()), other.bind(X.copy()))
    kept = trace.bind(X.copy())
    trace.over = True
    for use in (lambda x: x + 1, lambda x: x[0], lambda x: x.view(int), lambda x: x.fill(0), np.sum):
        with pytest.raises(PlanError, match="was kept"):
            use(kept)


def test_a_call_as_a_whole_is_made_in_each_replay():
    drawn = iter(range(100))

    def noisy(x, factor):
        return x + factor * next(drawn)

    def into(x, out):
        out[...] = x + 1
        return out

    trace = Trace()
    x, n = X.copy(), trace.number("n", 3)
    given = trace.take(x)
    results = [trace.opaque(noisy, (given, n)), trace.opaque(into, (given, np.empty_like(given))) * 2]
    assert trace.opaque(lambda: None, ()) is None
    arrays = [result.checked(trace) for result in results]
    np.testing.assert_array_equal(arrays, [x, 2 * (x + 1)])
    returns = lambda text: f"({text(arrays[0])}.copy(), {text(arrays[1])}.copy())"  # noqa: E731
    plan = Plan(trace, ["x", "n"], [("x", x)], arrays, lambda text: [], returns)
    for i in (1, 2):
        np.testing.assert_array_equal(plan.replay(Y, 0.5), [Y + np.float32(0.5) * i, 2 * (Y + 1)])


def test_outside_of_a_recording_calls_are_just_calls():
    assert opaque_call(max, 1, 2) == 2 and host_number(len, "abc") == 3


class Counter:
    """Counts steps by slot, as an optimizer does."""

    def __init__(self):
        self.steps = [4, 7]

    def next(self, slot):
        return self.steps[slot] + 1

    def count(self, slot):
        self.steps[slot] += 1


def test_a_number_that_is_asked_for_is_asked_for_again_in_each_replay():
    counter, trace = Counter(), Trace()
    x = X.copy()
    result = trace.take(x) * trace.asked(counter.next, (0,))
    trace.opaque(counter.count, (0,))
    result = result * trace.asked(counter.next, (1,))  # of another slot, which was not counted
    array = result.checked(trace)
    np.testing.assert_array_equal(array, X * np.float32(5) * np.float32(8))
    plan = Plan(trace, ["x"], [("x", x)], [array], lambda text: [], lambda text: f"{text(array)}.copy()")
    for steps in (6, 7):
        np.testing.assert_array_equal(plan.replay(Y), Y * np.float32(steps) * np.float32(8))


def test_a_count_that_is_asked_for_twice_is_refused():
    counter, trace = Counter(), Trace()
    trace.asked(counter.next, (0,))
    trace.opaque(counter.count, (0,))
    with pytest.raises(PlanError, match=r"an optimizer \(Counter\) makes two steps in one compiled function"):
        trace.asked(counter.next, (0,))
    Trace().asked(len, ("abc",)), trace.asked(len, ("abc",)), trace.asked(len, ("abc",))  # nobody's, and no count


def test_who_owns_the_memory():
    x = np.arange(6.0)
    windows = np.lib.stride_tricks.sliding_window_view(x, 2)  # not every link of this chain is an array
    assert owner(windows[1:]) is x and owner(x) is x
    assert [id(array) for array in arrays_within([x, (1, [windows]), x[0]])] == [id(x), id(windows)]
