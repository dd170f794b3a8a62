"""What an op accepts beside tensors, and the sentence that it raises when it cannot use what it got.

The rules: Python numbers and NumPy scalars are weak, lists and integer arrays take the float dtype that they meet,
and two different float dtypes are a mistake (a float64 leak costs twice the time and is hard to find later).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from minihybrid.autodiff.tensor import Array, Tensor
from minihybrid.autodiff.trace import Number, opaque_call
from minihybrid.device import Device, on_cpu

if TYPE_CHECKING:
    from minihybrid.autodiff.formula import Signature

WEAK = frozenset({Number, int, float, bool, complex, type(None), str, slice, type, type(Ellipsis)})


def agree(signature: Signature, values: list[Any]) -> None:
    """Bring the operands of a call, lists among them, to arrays of one float dtype, in place.

    Masks, indices and settings are left alone. Raises TypeError for what is no operand, and if two float dtypes meet.
    """
    op = signature.name
    operands = [i for i in sorted(signature.operands(len(values))) if i < len(values)]
    floats = {i: values[i].dtype for i in operands if hasattr(values[i], "dtype") and values[i].dtype.kind in "fc"}
    if len(set(floats.values())) > 1:
        labels = signature.labels(len(values))
        came = ", ".join(f"{labels[i]} is {dtype}" for i, dtype in floats.items())
        raise TypeError(f"{op}: {came}; one op works in one float dtype: convert one side with astype().")
    dtype = next(iter(floats.values()), None)
    for i in operands:
        value = values[i]
        if isinstance(value, (list, tuple)):
            value = _as_array(op, signature.labels(len(values))[i], value)
            other = next((values[i] for i in operands if hasattr(values[i], "dtype")), value)
            value = value if on_cpu(other) else Device.of(other).array(value)
        elif not hasattr(value, "dtype") and type(value) not in WEAK:
            raise _refused(op, signature.labels(len(values))[i], value)
        if dtype is not None and hasattr(value, "dtype") and value.dtype.kind in "biuf" and value.dtype != dtype:
            value = value.astype(dtype)
        values[i] = value


def as_operands(op: str, *values: Any) -> tuple[Any, ...]:
    """The operands of a function that is made of ops, each a Tensor or an array, so that it can ask for shapes.

    Numbers and lists become arrays on the device, and of the float dtype, of the first Tensor among them.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    made = []
    for value in values:
        if not hasattr(value, "dtype"):
            if not isinstance(value, (int, float, complex, list, tuple)):
                raise _refused(op, "an argument", value)
            value = _as_array(op, "an argument", value)
            if tensors:
                weak = value.dtype.kind in "biuf" and tensors[0].dtype.kind in "fc"
                value = tensors[0].device.array(value, tensors[0].dtype if weak else None)
        made.append(value)
    return tuple(made)


def _as_array(op: str, label: str, numbers: Any) -> Array:
    try:
        return np.asarray(numbers)
    except ValueError:
        raise ValueError(f"{op}: {label} is a nested list whose rows differ in length; expected equal rows.") from None


def _refused(op: str, label: str, value: Any) -> TypeError:
    came = type(value).__name__
    return TypeError(f"{op}: {label} is a {came}; expected a Tensor, an array, a number or a list of numbers.")


def require_axis(op: str, axis: int, x: Any) -> int:
    """An axis of x counted from 0; raises IndexError if x has no such axis."""
    if not -x.ndim <= axis < x.ndim:
        axes = f"the axes 0 to {x.ndim - 1}, or -1 to {-x.ndim} from the last" if x.ndim else "no axis"
        raise IndexError(f"{op}: axis is {axis}; x of shape {tuple(x.shape)} has {axes}.")
    return axis % int(x.ndim)


def require_one_device(op: str, **arrays: Any) -> None:
    """Raise TypeError unless all these arrays live on one device; nothing is ever moved silently.

    For ops that would take an array from elsewhere, as CuPy takes NumPy's as indices; all others fail by themselves.
    """
    found = [value.array if isinstance(value, Tensor) else value for value in arrays.values()]
    if len(set(map(type, found))) > 1 and (apart := _apart([*arrays], found)):
        raise TypeError(f"{op}: {apart}.")


def _apart(labels: list[str], values: list[Any]) -> str:
    """Which of some values are on which devices, if these are several; else nothing."""
    places = {label: Device.of(v).name for label, v in zip(labels, values, strict=False) if _is_placed(v)}
    if len(set(places.values())) < 2:
        return ""
    where = ", ".join(f"{label} is on {place}" for label, place in places.items())
    return f"{where}; the tensors of one op live on one device: move some with to()"


def _is_placed(value: Any) -> bool:
    return hasattr(value, "strides") and not isinstance(value, (np.generic, type))


def require_between(array: Any, low: int, high: int, sentence: Callable[[int, int], str]) -> None:
    """Raise IndexError unless all elements lie in low..high-1; `sentence` is given the lowest and the highest.

    On a GPU nothing is checked: looking would wait for it.
    """
    if on_cpu(array):
        opaque_call(_check_between, array, low, high, sentence)


def _check_between(array: Array, low: int, high: int, sentence: Callable[[int, int], str]) -> None:
    if array.size and not low <= array.min() <= array.max() < high:
        raise IndexError(sentence(int(array.min()), int(array.max())))


_HINTS = {
    "did not contain a loop": "Operands are tensors, arrays, numbers or lists of numbers.",
    "unsupported operand type": "Operands are tensors, arrays, numbers or lists of numbers.",
    "not supported between": "Operands are tensors, arrays, numbers or lists of numbers.",
    "has no attribute 'shape'": "A gradient formula returns an array, or a Tensor where it is given Tensors.",
    "broadcast": "Shapes are compared from the right; on each axis the lengths must be equal, or one of them 1.",
    "mismatch in its core dimension": "The last axis of x must be as long as the second-to-last axis of y.",
    "not aligned": "The last axis of x must be as long as the second-to-last axis of y.",
    "cannot reshape": "The new shape must hold as many elements; one of its lengths may be -1.",
    "out of bounds for array of dimension": "Axes count from 0, or from -1 backwards.",
    "repeated axis": "Name each axis once.",
    "cannot select an axis to squeeze": "squeeze() removes axes of length 1 only; an index removes others.",
    "does not have enough dimensions": "Matrices have two axes or more; numbers are multiplied with *.",
    "array dimensions": "All axes but the one along which they are joined must be equally long.",
    "must have the same shape": "stack() joins tensors of one shape; concatenate() joins along an axis that they have.",
    "boolean index did not match": "A mask has the shape of x, or of its first axes.",
    "too many indices": "There can be no more indices than axes; None adds an axis.",
    "only integers, slices": "An index holds integers, slices, None, an ellipsis, or arrays of integers or booleans.",
    "arrays used as indices": "An index holds integers, slices, None, an ellipsis, or arrays of integers or booleans.",
    "Singular matrix": "It has no inverse; adding a small multiple of np.eye gives it one.",
    "not positive definite": "Only a symmetric matrix like a @ a.mT + np.eye has a Cholesky factor.",
    "must be square": "The last two axes are the rows and columns of a square matrix.",
    "at least two-dimensional": "The last two axes are the rows and columns of a matrix.",
    "zero-size array": "An empty axis has no largest or smallest element; give the op at least one.",
    "axes don't match array": "transpose() takes every axis of x once.",
    "different from the current device": "Work with a second GPU inside `with mh.Device('cuda:1').use():`.",
}


def explained(op: str, labels: list[str], values: list[Any], error: Exception) -> Exception:
    """The same kind of error as a sentence: the op, what failed, what every argument was, what to do."""
    came = ", ".join(f"{label}: {_described(value)}" for label, value in zip(labels, values, strict=False))
    reason = _apart(labels, values) or str(error).strip().rstrip(".").removeprefix(f"{op}: ")
    hint = next((text for key, text in _HINTS.items() if key in reason), "")
    kind = next((kind for kind in (IndexError, ValueError) if isinstance(error, kind)), TypeError)
    return kind(f"{op}: {reason}. It was called with {came}. {hint}".rstrip())


def _described(value: Any) -> str:
    if hasattr(value, "dtype"):
        device = Device.of(value).name
        return f"{value.dtype} {value.shape}" + ("" if device == "cpu" else f" on {device}")
    long = isinstance(value, (list, tuple)) and len(value) > 8
    return f"a {type(value).__name__} of {len(value)}" if long else repr(value)
