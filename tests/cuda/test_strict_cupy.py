"""The stand-in for CuPy refuses what CuPy refuses, counts what waits, and has the signatures of the real one."""

import copy
import inspect
import pickle
import re
import sys

import numpy as np
import pytest

from minihybrid.device import Device, DeviceError, shaped_like
from tests.cuda.strict_cupy import FUNCTIONS, METHODS, SCATTERED, UFUNCS, counting, cupy as cp, ndarray


@pytest.fixture
def a():
    return cp.array(np.arange(6, dtype="f4").reshape(2, 3))


@pytest.mark.parametrize(
    "convert", [np.asarray, np.array, lambda a: np.add(np.ones(3, "f4"), a), lambda a: np.ones(3, "f4") + a]
)
def test_nothing_becomes_a_numpy_array(a, convert):
    with pytest.raises(TypeError, match=r"Implicit conversion|Unsupported type"):
        convert(a)
    assert not hasattr(a, "__array_interface__")
    assert not hasattr(a, "__array_struct__")


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, b: a + b,
        lambda a, b: a @ b.T,
        lambda a, b: a > b,
        lambda a, b: a.__iadd__(b),
        lambda a, b: np.where(a > 0, a, b),
        lambda a, b: np.concatenate([a, b]),
        lambda a, b: np.dot(a, b.T),
        lambda a, b: a.dot(b.T),
        lambda a, b: np.vdot(a, b),
        lambda a, b: np.add(a, a, out=b),
        lambda a, b: a.__setitem__(slice(1), b),
        lambda a, b: np.copyto(a, b),
        lambda a, b: np.linalg.solve(a[:, :2], b[:, :2]),
        lambda a, b: a.clip(b, b),
    ],
)
def test_arrays_of_numpy_do_not_mix(a, mix):
    with pytest.raises((TypeError, ValueError), match=r"Unsupported type|NumPy|non-scalar|numpy"):
        mix(a, np.ones((2, 3), "f4"))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: np.median(a), TypeError),  # not listed
        (lambda a: a.ptp(), AttributeError),
        (lambda a: np.sum(a, where=a > 0), TypeError),  # options that CuPy lacks
        (lambda a: a.sum(initial=0), TypeError),
        (lambda a: np.add(a, a, where=True), TypeError),
        (lambda a: np.argsort(a, kind="quicksort"), ValueError),
        (lambda a: np.maximum.accumulate(a), NotImplementedError),
        (lambda a: np.maximum.reduce(a), NotImplementedError),
        (lambda a: np.add.reduceat(a, [0]), TypeError),
        (lambda a: np.add.at(a, (slice(None), 0), 1.0), TypeError),  # NumPy's dispatch knows no tuple
        (lambda a: cp.add.at(a.astype("i8"), [0], 1), TypeError),
        (lambda a: range(a.astype("i8")[0, 0]), TypeError),
        (lambda a: np.where(True, a, a), AttributeError),
        (lambda a: np.linalg.solve(cp.ones((2, 2, 2)), cp.ones((2, 1))), ValueError),
        (lambda a: hash(a), TypeError),
        (lambda a: bool(a), ValueError),
        (lambda a: a["x"], IndexError),
        (lambda a: a.set([1, 2]), TypeError),
    ],
)
def test_what_cupy_lacks_is_refused(a, call, error):
    with pytest.raises(error):
        call(a)


def test_results_stay_on_the_device(a):
    for result in (a.sum(), a[0, 0], np.exp(a), a.max(axis=0), np.vdot(a, a), np.float64(2) * a, 2 - a, a == a, a.T):
        assert type(result) is ndarray
    assert a.sum().shape == ()
    a[0, 0][...] = 7  # a view, where NumPy gives a number
    assert a.get()[0, 0] == 7
    assert a[0, 0].base is a
    assert a[1:].T.base is a
    assert (a + 1).base is None
    assert np.exp(a.T).flags.c_contiguous
    assert np.isnan(cp.empty(3).get()).all()


@pytest.mark.parametrize(
    "read",
    [
        *(lambda a: a.get(), lambda a: cp.asnumpy(a), lambda a: a[0, 0].item(), lambda a: float(a[0, 0])),
        *(
            lambda a: int(a[0, 0]),
            lambda a: bool(a[0, 0]),
            lambda a: a.tolist(),
            lambda a: a.tobytes(),
            lambda a: str(a),
        ),
        *(str, lambda a: f"{a[0, 0]:.3}", lambda a: a.nonzero(), lambda a: np.where(a), lambda a: a[a > 1], np.unique),
        *(lambda a: a.__setitem__(a > 1, 0.0), lambda a: a.sum() > 0 or None, lambda a: 5.0 in a[0], pickle.dumps),
        *(lambda a: cp.cuda.Device().synchronize(), lambda a: cp.cuda.get_current_stream().synchronize()),
    ],
)
def test_every_wait_for_the_device_is_counted(a, read):
    with counting() as counts:
        read(a)
    assert counts.reads
    assert __file__ in counts.reads[0] or read in (str, pickle.dumps, np.unique)


def test_what_does_not_wait_is_not_counted(a):
    with counting() as counts:
        b = np.exp(a) + a.sum() * 2
        np.multiply(a, b, out=b)
        b[...] = 0
        b[:, 1] = a[:, 0]
        np.add.at(b, cp.zeros(2, int), a)
        np.where(a > 0, a, 0)
        copy.deepcopy(b)
        assert b.dtype == a.dtype
    assert counts.reads == counts.uploads == []


def test_copies_to_the_device_are_counted(a):
    host = np.ones(3, "f4")
    for upload in (cp.array, cp.asarray, lambda h: a[1].set(h), lambda h: a[h.astype(int)], lambda h: a[[0, 1]]):
        with counting() as counts:
            upload(host)
        assert len(counts.uploads) == 1
        assert not counts.reads


def test_memory_is_counted_until_the_last_view_dies():
    pool = cp.get_default_memory_pool()
    before = pool.used_bytes()
    made = cp.zeros(1000, "f8")
    view = made[10:][::2]
    del made
    assert pool.used_bytes() == before + 8192
    del view
    assert pool.used_bytes() == before


def test_memory_can_be_seen_again_at_an_address(a):
    memory = cp.zeros(64, np.uint8)
    there = cp.ndarray((2, 2), np.float32, memory.data + 16, (8, 4))
    there[...] = 1
    assert memory.get().view("f4").tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert there.data.ptr == memory.data.ptr + 16


def test_devices_do_not_mix(a):
    with cp.cuda.Device(1):
        b = cp.ones((2, 3), "f4")
        assert b.device.id == 1
        with pytest.raises(ValueError, match="resides"):
            a + b
    with pytest.raises(ValueError, match="resides"):
        b + 1


def test_the_device_layer_finds_it(strict, monkeypatch):
    assert strict.xp is cp
    assert Device.of(cp.ones(2)) == strict
    monkeypatch.setattr(cp.cuda.runtime, "count", 0)
    with pytest.raises(DeviceError, match="finds no usable CUDA device"):
        Device("cuda")


@pytest.fixture
def real():
    """The real CuPy: importable is enough, no device is needed to read signatures."""
    return pytest.importorskip("cupy", reason="the stand-in is held against CuPy where it can be imported")


def test_functions_have_cupys_signatures(real):
    for line in FUNCTIONS.strip().splitlines():
        name = line.partition("(")[0]
        function = real
        for part in name.split("."):
            function = getattr(function, part)
        signature = inspect.signature(function)
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        found = str(signature.replace(parameters=plain, return_annotation=signature.empty))
        assert line == name + found.replace("<class 'float'>", "float")


def test_methods_have_cupys_signatures(real):
    for line in METHODS.strip().splitlines():
        name = line.partition("(")[0]
        told = getattr(real.ndarray, name).__doc__.strip().splitlines()[0]
        told = told.removeprefix("_ndarray_base.").partition(" -> ")[0]
        assert line == re.sub(r"\b(Py_ssize_t|int|_ndarray_base) ", "", told)
    assert not hasattr(real.ndarray, "__index__")
    assert not hasattr(real.ndarray, "__imatmul__")


def test_ufuncs_are_cupys(real):
    for name in UFUNCS.split():
        assert hasattr(real, name), name
    for name in SCATTERED:
        assert getattr(real, name)._scatter_op


def test_the_stand_in_is_not_left_behind():
    assert "cupy" not in sys.modules or sys.modules["cupy"] is not cp


def test_an_empty_shape_is_no_shape(a):
    """Nor is 0, for the functions that make an array like another one."""
    for function in (cp.empty_like, cp.zeros_like, cp.ones_like, lambda a, **shape: cp.full_like(a, 1, **shape)):
        assert [function(a, shape=shape).shape for shape in ((), 0, (0,), (5,), 5)] == [(2, 3)] * 2 + [(0,), (5,), (5,)]
        assert shaped_like(lambda a, shape, f=function: f(a, shape=shape), a, shape=()).shape == ()
        assert shaped_like(lambda a, shape, f=function: f(a, shape=shape), a, shape=(0, 2)).shape == (0, 2)
