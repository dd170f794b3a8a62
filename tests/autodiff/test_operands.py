"""What a function made of ops takes for a tensor."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.operands import as_operands


@pytest.mark.parametrize(
    ("first", "value", "dtype"),
    [
        (np.float32, [1, 2], np.float32),
        (np.float32, 0.5, np.float32),
        (np.float32, True, np.float32),
        (np.complex64, [0.5], np.complex64),
        (np.float32, [1j], np.complex128),
        (np.int8, [1, 2], np.int64),
        (np.int8, 0.5, np.float64),
        (bool, [True], bool),
    ],
)
def test_numbers_and_lists_take_the_float_dtype_that_they_meet(first, value, dtype):
    x = mh.Tensor(np.ones(3, first))
    for operands in (as_operands("f", x, value), as_operands("f", value, x)[::-1]):
        assert operands[0] is x and operands[1].dtype == dtype
        assert operands[1].tolist() == np.asarray(value).tolist()


def test_arrays_stay_as_they_are():
    x, array = mh.Tensor(np.ones(3, np.float32)), np.ones(2)
    assert as_operands("f", x, array)[1] is array
    assert as_operands("f", [1, 2])[0].dtype == np.int64


@pytest.mark.parametrize(("value", "error"), [("text", TypeError), (None, TypeError), ([[1], [2, 3]], ValueError)])
def test_what_is_no_operand_is_one_sentence(value, error):
    with pytest.raises(error, match="f: an argument is"):
        as_operands("f", value)


def test_functions_made_of_ops_take_lists():
    assert mh.pad([1, 2], 1).tolist() == [0, 1, 2, 0]
    assert mh.tile([1, 2], 2).tolist() == [1, 2, 1, 2]
    assert mh.repeat([1, 2], 2).tolist() == [1, 1, 2, 2]
    assert mh.roll([1, 2, 3], 1).tolist() == [3, 1, 2]
    assert mh.flip([1, 2, 3]).tolist() == [3, 2, 1]
