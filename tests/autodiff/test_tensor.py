"""Tensor: how it is made, what it shares with NumPy's arrays, and where it refuses to be one."""

from __future__ import annotations

import copy
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.device import DeviceError


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.0, "float32"),
        (1, "int64"),
        (True, "bool"),
        (1j, "complex64"),
        ([1, 2.5], "float32"),
        ((1, 2), "int64"),
        ([], "float32"),
        ([[True], [False]], "bool"),
        (np.float64(1.0), "float64"),
        ([np.float64(1.0)], "float64"),
        (np.float16([1.0]), "float16"),
        (np.ones(2), "float64"),
        ([mh.tensor(1.0), mh.tensor(2.0)], "float32"),
        ([mh.tensor(1.0), 2.0], "float32"),
        ([np.float32(1.0), 2.0, True], "float32"),
        ([np.float16(1.0), 2.0], "float16"),
        ([np.float64(1.0), np.float32(2.0), 1], "float64"),
        (mh.tensor([1.0]), "float32"),
    ],
)
def test_dtype_of_a_new_tensor(value: Any, dtype: str) -> None:
    assert mh.tensor(value).dtype == dtype
    assert mh.tensor(value, dtype="float64" if dtype != "complex64" else "complex128").dtype.itemsize >= 8


@pytest.mark.parametrize("value", ["a", None, [1.0, "a"], {}, object()])
def test_what_holds_no_numbers_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="tensor: "):
        mh.tensor(value)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(TypeError, match="tensor: the nested lists do not form a rectangular array"):
        mh.tensor([[1.0, 2.0], [3.0]])


def test_a_tensor_is_a_copy_both_ways() -> None:
    array = np.ones(2)
    x = mh.tensor(array)
    array[0] = 5
    x.numpy()[1] = 7
    assert x.tolist() == [1.0, 1.0]


def test_leaves_need_a_float_dtype() -> None:
    with pytest.raises(TypeError, match="require_grad: a gradient needs a float dtype, this tensor is int64"):
        mh.tensor([1, 2], requires_grad=True)
    assert mh.tensor([1.0]).require_grad().requires_grad


def test_attributes() -> None:
    x = mh.tensor(np.ones((2, 3)))
    assert (x.shape, x.ndim, x.size, len(x), x.dtype, x.device.name) == ((2, 3), 2, 6, 2, np.float64, "cpu")
    assert x.is_leaf
    assert not x.requires_grad
    y = x.require_grad() * 2
    assert y.requires_grad
    assert not y.is_leaf
    assert not y.detach().requires_grad


def test_item() -> None:
    assert mh.tensor([[2.5]]).item() == 2.5
    assert type(mh.tensor(2.5).item()) is float
    with pytest.raises(ValueError, match=r"needs a tensor of one element, this one has shape \(2,\); use numpy"):
        mh.tensor([1.0, 2.0]).item()


def test_python_conversions() -> None:
    x = mh.tensor(2.0)
    assert (float(x), int(x), bool(x), bool(mh.tensor(0))) == (2.0, 2, True, False)
    assert [10, 20, 30][mh.tensor(1)] == 20
    assert [float(v) for v in mh.tensor([1.0, 2.0])] == [1.0, 2.0]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(mh.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="only an integer 0-d tensor can be an index"):
        [10, 20][x]  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="0-d tensor"):
        len(x)
    with pytest.raises(TypeError, match="0-d tensor"):
        iter(x)


def test_repr() -> None:
    assert repr(mh.tensor([1.0])) == "tensor([1.], dtype=float32)"
    assert repr(mh.tensor(1.0, requires_grad=True)) == "tensor(1., dtype=float32, requires_grad=True)"
    assert repr(mh.tensor(1.0, requires_grad=True) * 2) == "tensor(2., dtype=float32, op='multiply')"
    assert len(repr(mh.tensor(np.zeros((100, 100))))) < 500


def test_operators() -> None:
    x, y = mh.tensor([4.0, 9.0]), mh.tensor([2.0, 3.0])
    assert (x + y).tolist() == (y + x).tolist() == [6.0, 12.0]
    assert (x - y).tolist() == [2.0, 6.0]
    assert (x / y).tolist() == [2.0, 3.0]
    assert (x**y).tolist() == [16.0, 729.0]
    assert (x @ y).item() == 35.0
    assert (1 - x).tolist() == [-3.0, -8.0]
    assert (36 / x).tolist() == [9.0, 4.0]
    assert (2**y).tolist() == [4.0, 8.0]
    assert ([1.0, 1.0] @ x).item() == 13.0
    assert (-x).tolist() == [-4.0, -9.0]
    assert abs(-x).tolist() == [4.0, 9.0]
    assert [(op).tolist() for op in (x > 4, x >= 4, x < 9, x <= 9, x == 4, x != 4)] == [
        [False, True], [True, True], [True, False], [True, True], [True, False], [False, True],
    ]  # fmt: skip


def test_augmented_assignment_makes_a_new_tensor() -> None:
    x = before = mh.tensor([1.0])
    x += 1
    assert x is not before
    assert before.tolist() == [1.0]


def test_methods_are_the_ops() -> None:
    x = mh.tensor([[1.0, 4.0, 9.0]])
    assert x.sqrt().tolist() == [[1.0, 2.0, 3.0]]
    assert x.sum(axis=1, keepdims=True).shape == (1, 1)
    assert x.reshape(3, 1).shape == x.reshape((3, 1)).shape == x.T.shape == x.mT.shape == x.reshape(-1, 1).shape
    assert mh.tensor(np.ones((2, 3, 4))).transpose(1, 0, 2).shape == (3, 2, 4)
    assert mh.tensor(np.ones((2, 3, 4))).transpose((2, 0, 1)).shape == (4, 2, 3)
    assert x.gelu(approximate="tanh").shape == x.erf().shape == (1, 3)
    assert x.max(axis=-1).item() == 9.0
    assert x.argmax().item() == 2
    assert x.astype("int32").dtype == np.int32


def test_indices() -> None:
    x = mh.tensor(np.arange(12.0).reshape(3, 4))
    for index in (1, -1, slice(1, None), (0, 2), (..., 1), None, [0, 2], np.array([True, False, True])):
        assert x[index].tolist() == x.numpy()[index].tolist()
    assert x[mh.tensor([2, 0])].tolist() == x.numpy()[[2, 0]].tolist()
    assert x[mh.tensor(1), mh.tensor([0, 1])].tolist() == [4.0, 5.0]
    assert x[x > 9].tolist() == [10.0, 11.0]


def test_tensors_are_not_changed_in_place() -> None:
    x = mh.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=r"not changed in place: build a new one with where"):
        x[0] = 3.0


def test_a_tensor_as_a_key_means_itself() -> None:
    x, same_values = mh.tensor([1.0]), mh.tensor([1.0])
    assert len({x, same_values, x}) == 2
    assert weakref.ref(x)() is x


def test_shallow_copies_are_the_same_tensor_value() -> None:
    x = mh.tensor([1.0, 2.0])
    assert copy.deepcopy(x).tolist() == x.tolist()


# NumPy's functions


def test_numpy_functions_are_the_ops() -> None:
    x = mh.tensor([1.0, 4.0], requires_grad=True)
    ones = np.ones(2, "f")
    for y in (np.exp(x), np.sum(x), np.add(ones, x), ones * x, np.float32(2) * x, np.where(x > 2, x, 0.0)):
        assert isinstance(y, mh.Tensor)
        assert y.requires_grad
        assert y.dtype == np.float32
    assert np.sum(ones * x).backward()[x].tolist() == [1.0, 1.0]
    assert np.concatenate([x, x]).shape == (4,)
    assert (np.float64(2) * x).dtype == np.float32


@pytest.mark.parametrize(
    "call",
    [np.nextafter, np.heaviside],
)
def test_ufuncs_without_an_op_raise_at_once(call: Any) -> None:
    with pytest.raises(TypeError, match=rf"{call.__name__} .*has no op for tensors: use an op of mh.ops"):
        call(mh.tensor(1.0), 2.0)


def test_numpy_functions_without_an_op_raise_at_once() -> None:
    x = mh.tensor([[1.0, 2.0]])
    with pytest.raises(TypeError, match=r"gradient has no op for tensors"):
        np.gradient(x)
    with pytest.raises(TypeError, match=r"np.add \(reduce"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match=r"with out"):
        np.exp(x, out=np.ones((1, 2), "f"))


def test_arrays_of_tensors() -> None:
    x = mh.tensor([1.0, 2.0])
    assert np.asarray(x).tolist() == [1.0, 2.0]
    assert np.asarray(x, dtype="float64").dtype == np.float64
    with pytest.raises(TypeError, match=r"part of a graph.*call detach\(\) first"):
        np.asarray(x.require_grad())


# Devices


def test_the_same_device_is_no_copy() -> None:
    x = mh.tensor([1.0], requires_grad=True)
    assert x.to("cpu") is x
    assert mh.tensor([1.0], device="cpu").device == mh.Device("cpu")


def test_unknown_devices() -> None:
    with pytest.raises(ValueError, match="there is no device 'tpu'"):
        mh.tensor([1.0]).to("tpu")
    with pytest.raises(ValueError, match="there is no device 'gpu'"):
        mh.tensor([1.0], device="gpu")


def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(DeviceError, match="'cuda:99'"):
        mh.tensor([1.0], device="cuda:99")


@pytest.mark.gpu
def test_two_devices_in_one_op_raise() -> None:
    with pytest.raises((TypeError, ValueError), match="Tensors of one op must live on one device"):
        mh.tensor([1.0], device="cuda") + mh.tensor([1.0])


# DLPack


def test_dlpack_shares_memory_both_ways() -> None:
    x = mh.tensor([[1.0, 2.0]])
    theirs = np.from_dlpack(x)
    assert np.shares_memory(theirs, x.array)
    array = np.arange(3)
    ours = mh.from_dlpack(array)
    assert np.shares_memory(ours.array, array)
    assert (ours.dtype, ours.requires_grad, ours.device.name) == (array.dtype, False, "cpu")
    assert mh.from_dlpack(x).tolist() == [[1.0, 2.0]]


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="sharing memory with PyTorch needs torch")
    x = mh.tensor(np.arange(6.0).reshape(2, 3))
    theirs = torch.from_dlpack(x)
    assert theirs.tolist() == x.tolist()
    theirs[0, 0] = 9
    assert x.tolist()[0][0] == 9.0
    assert mh.from_dlpack(torch.arange(3).float()[::2]).tolist() == [0.0, 2.0]


def test_dlpack_refuses_what_would_go_wrong() -> None:
    x = mh.tensor([1.0], requires_grad=True)
    for tracked in (x, x * x, mh.Param(mh.tensor([1.0]))):
        with pytest.raises(TypeError, match=r"sharing its memory would silently cut it: call detach\(\) first"):
            np.from_dlpack(tracked)
    with pytest.raises(TypeError, match=r"from_dlpack: a list has no __dlpack__; copy it with mh.tensor"):
        mh.from_dlpack([1.0])


def test_format() -> None:
    x = mh.tensor(3.14159, requires_grad=True)
    assert f"{x:.2f}" == "3.14"
    assert f"{mh.tensor(7):03d} {x}" == "007 tensor(3.14159, dtype=float32, requires_grad=True)"
    with pytest.raises(ValueError, match="item"):
        f"{mh.tensor([1.0, 2.0]):.2f}"


def test_masks_are_combined_with_signs() -> None:
    x = mh.tensor([1.0, 2.0, 3.0])
    assert ((x > 1) & (x < 3)).tolist() == (~((x <= 1) | (x >= 3))).tolist() == [False, True, False]
    assert (True ^ (x > 1)).tolist() == [True, False, False]
    assert (np.array([True, True, False]) | (x > 2)).tolist() == [True, True, True]
    assert (x[(x > 1) & True]).tolist() == [2.0, 3.0]
    for wrong in (lambda: x & x, lambda: mh.tensor([1]) | 1, lambda: ~x, lambda: (x > 1) & 1):
        with pytest.raises(TypeError, match=r"logical_\w+: & \| \^ ~ combine boolean tensors, this is .*compare first"):
            wrong()


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_leaves_are_copied_and_results_are_not(copied: Any) -> None:
    x = mh.tensor([1.0, 2.0], requires_grad=True)
    other = copied(x)
    grads = (other * other).sum().backward()
    assert grads[other].tolist() == [2.0, 4.0]
    assert copied((x * x).detach()).tolist() == [1.0, 4.0]
    with pytest.raises(TypeError, match=r"'multiply' made is copied or saved without its graph only: call detach\(\)"):
        copied(x * x)


def test_arrays_without_numbers_are_refused() -> None:
    for value in (np.array(["a"]), np.array([None]), np.array(["2020-01-01"], "datetime64[D]")):
        with pytest.raises(TypeError, match=r"tensor: a value of type ndarray holds no numbers \(NumPy read it as "):
            mh.tensor(value)
    with pytest.raises(TypeError, match="a value of type list holds no numbers"):
        mh.tensor([1.0], dtype=object)
    with pytest.raises(TypeError, match="tensor: cannot convert float NaN to integer"):
        mh.tensor(float("nan"), dtype="int32")


def test_results_in_a_list_are_not_cut_silently() -> None:
    with pytest.raises(TypeError, match="part of a graph"):
        mh.tensor([mh.tensor(1.0, requires_grad=True), 2.0])


def test_the_kinds_of_devices_that_dlpack_numbers(monkeypatch):
    asked = []

    class Home:
        """A device that takes arrays over, whatever it is called."""

        def __init__(self, name):
            asked.append(name)
            self.xp = self

        def from_dlpack(self, value):
            return np.ones(2)

    class Foreign:
        def __init__(self, kind):
            self.kind = kind

        def __dlpack__(self):
            raise AssertionError

        def __dlpack_device__(self):
            return self.kind, 1

    monkeypatch.setattr("minihybrid.autodiff.tensor.Device", Home)
    for kind in (1, 2, 3, 13, 14):
        mh.from_dlpack(Foreign(kind))
    assert asked == ["cpu", "cuda:1", "cpu", "cuda:1", "cpu"]
