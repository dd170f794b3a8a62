"""A third kind of array, beside NumPy's and CuPy's: it writes down what is done with it, on its way into a plan.

Ops are array code that dispatches, through NumPy's own protocols, to the arrays that it is given; so none of them knows
of `Tracer`. What would need values, which a later step will have others of, raises PlanError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minihybrid.autodiff.number import Number, PlanError
from minihybrid.device import on_cpu

if TYPE_CHECKING:
    from minihybrid.autodiff.trace import Trace


class Tracer(NDArrayOperatorsMixin):
    """An array of a step that is being recorded."""

    __slots__ = ("trace", "value")

    def __init__(self, value: Any, trace: Trace) -> None:
        self.value = value
        self.trace = trace

    def checked(self, trace: Trace) -> Any:
        """The array, if this belongs to the recording that is going on."""
        if self.trace is not trace or trace.over:
            raise PlanError(
                "a tensor from inside a compiled step was kept, and is used outside of it; return it from the step."
            )
        return self.value

    # Dispatch

    def __pow__(self, other: Any) -> Any:
        return self._power(other)(self)

    def __ipow__(self, other: Any) -> Any:
        return self._power(other)(self, out=self)

    def _power(self, exponent: Any) -> Callable[..., Any]:
        """What arrays do themselves: for some exponents it is another function than np.power."""
        if self.dtype.kind == "f" and type(exponent) in (int, float, Number) and on_cpu(self.value):
            for known, ufunc in {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}.items():
                if exponent == known:
                    return ufunc
        return lambda base, **options: np.power(base, exponent, **options)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(map(_is_tensor, inputs)):
            return NotImplemented
        return self.trace.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if any(map(_is_tensor, types)):
            return NotImplemented
        return self.trace.array_function(function, args, options, self)

    def __getitem__(self, index: Any) -> Any:
        return self.trace.item(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.trace.set_item(self, index, value)

    # What is known of an array without its values

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    nbytes = property(lambda self: self.value.nbytes)
    itemsize = property(lambda self: self.value.itemsize)
    strides = property(lambda self: self.value.strides)
    flags = property(lambda self: self.value.flags)
    base = property(lambda self: self.value.base)
    real = property(lambda self: np.real(self))
    imag = property(lambda self: np.imag(self))
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))
    __minihybrid_array__ = property(lambda self: self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    # Methods that are functions, too

    def reshape(self, *shape: Any, order: str = "C") -> Any:
        """As of arrays."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order=order)  # type: ignore[call-overload]

    def transpose(self, *axes: Any) -> Any:
        """As of arrays."""
        return np.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def astype(self, dtype: Any, copy: bool = True, casting: str = "unsafe") -> Any:
        """As of arrays."""
        if not copy and self.value.dtype == dtype:
            return self
        made = np.empty_like(self, dtype=dtype)
        made[...] = self
        return made

    def copy(self, order: str = "C") -> Any:
        """As of arrays."""
        made: Any = np.empty_like(cast(Any, self), order=cast(Any, order))
        made[...] = self
        return made

    def flatten(self) -> Any:
        """As of arrays."""
        return np.ravel(self).copy()

    def fill(self, value: Any) -> None:
        """As of arrays."""
        self[...] = value

    def dot(self, other: Any, out: Any = None) -> Any:
        """As of arrays."""
        return np.dot(self, other, out=out)

    def view(self, *args: Any) -> Any:
        """As of arrays."""
        return Tracer(self.checked(self.trace).view(*args), self.trace)

    def sort(self, axis: int = -1) -> None:
        """As of arrays."""
        self[...] = np.sort(self, axis)

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.copy()

    # What would need the values now

    def _read(self, how: str) -> NoReturn:
        raise PlanError(
            f"{how} reads a value inside a compiled step, where values are not known yet: a plan repeats calls on "
            "arrays. Return the tensor and read it outside, or decide with where(), maximum() and the like."
        )

    def item(self, *args: Any) -> NoReturn:
        """Raise PlanError."""
        self._read("item()")

    def tolist(self) -> NoReturn:
        """Raise PlanError."""
        self._read("tolist()")

    def __array__(self, *args: Any, **options: Any) -> Any:
        self._read("numpy()")

    def __bool__(self) -> bool:
        self._read("a decision (if, while, and, or) on a tensor")

    def __float__(self) -> float:
        self._read("float()")

    def __int__(self) -> int:
        self._read("int()")

    def __index__(self) -> int:
        self._read("using a tensor as an index of Python's")

    def __complex__(self) -> complex:
        self._read("complex()")

    def __format__(self, how: str) -> str:
        self._read("printing a tensor")

    def __repr__(self) -> str:
        return f"Tracer({self.dtype}, {self.shape})"


def _method(name: str) -> Any:
    function = getattr(np, name)

    def method(self: Tracer, *args: Any, **options: Any) -> Any:
        return function(self, *args, **options)

    method.__name__ = name
    return method


for _name in (
    *("sum", "prod", "mean", "max", "min", "all", "any", "var", "std", "cumsum", "cumprod", "argmax", "argmin"),
    *("argsort", "clip", "take", "squeeze", "repeat", "round", "ravel", "swapaxes", "diagonal"),
    *("nonzero", "searchsorted", "conj"),
):
    setattr(Tracer, _name, _method(_name))


def _is_tensor(value: Any) -> bool:
    """Whether it is a Tensor, which makes an op of a call, or the class."""
    return hasattr(value, "node")
