"""Arrays that write down what is done with them: how a plan finds out what a step consists of.

Ops are array code that runs on NumPy's arrays and on CuPy's, through NumPy's own dispatch. A `Tracer` is a third kind
of array, which answers to the same calls: it does what is asked on the array that it stands for, so that a recorded
step is a real one, and writes the call down. A `Number` is a Python number that is another in each step (the learning
rate, the count of steps): arithmetic on it is written down as text, and a decision that rests on it (`t == 1`) becomes
a guard of the plan.

Two things are beyond arrays, and `opaque_call` and `host_number` tell a recording about them; outside of one they
just call the function that they are given.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

R = TypeVar("R")


class PlanError(RuntimeError):
    """A step does something that a plan cannot repeat; the message says what, and what to do instead."""


class _Active(threading.local):
    trace: Trace | None = None


active = _Active()


def opaque_call(function: Callable[..., R], *args: Any) -> R:
    """function(*args), as a whole; a plan calls it in every replay.

    For what is no array code (random numbers, checks of values) and for array code whose shapes depend on values. Gives
    one array, or None.
    """
    trace = active.trace
    return function(*args) if trace is None else trace.opaque(function, args)


def host_number(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), a number; a plan asks for it anew at the beginning of every replay."""
    trace = active.trace
    return function(*args) if trace is None else trace.asked(function, args)


@dataclass
class Call:
    """One call of a program: `function(*args, **options)`, whose result is written to `out`, if there is any."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    out: Any = None
    takes_out: bool = False  # whether the function itself writes there
    pure: bool = True  # whether nothing changes but what it writes to
    initial: bool = False  # whether it gives an array its first values, which depend on no other

    @property
    def target(self) -> Any:
        """The array that is written to; None where nothing is."""
        writes_first = self.function in (np.copyto, operator.setitem) or getattr(self.function, "__name__", "") == "at"
        return self.args[0] if writes_first else self.out


class Trace:
    """What is written down: the calls, the numbers that the step is given or asks for, and the guards."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.asked_for: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []
        self.guards: list[tuple[str, bool]] = []
        self.numbers: dict[tuple[str, str], tuple[Any, Number]] = {}  # arrays that stand for numbers, by text and dtype
        self.bound: dict[int, Any] = {}  # memory that is there before and after the step, by the array that owns it
        self.fixed: list[Any] = []  # arrays whose values are the same in each step
        self.over = False

    # What the step works on

    def bind(self, array: Any) -> Tracer:
        """Stand for an array that is there before and after the step."""
        self.bound[id(owner(array))] = owner(array)
        return Tracer(array, self)

    def number(self, text: str, value: Any) -> Number:
        """Stand for a number that each replay is given under the name `text`."""
        return Number(text, value, self)

    # What it asks for

    def asked(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Number:
        """See `host_number`."""
        whose = getattr(function, "__self__", None)
        counted = [call for call in self.calls if getattr(call.function, "__self__", None) is whose]
        if whose is not None and any(call.args[:1] == args[:1] for call in counted):
            raise PlanError(
                f"a {type(whose).__name__} makes two steps in one compiled function, and a plan counts one; compile a "
                "function that makes one."
            )
        name = f"t{len(self.asked_for)}"
        self.asked_for.append((name, function, args))
        return Number(name, function(*args), self)

    def opaque(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """See `opaque_call`."""
        values = _values(args, self)
        result = function(*values)
        given = next((arg for arg, value in zip(args, values, strict=True) if value is result), None)
        if result is None or given is not None:  # it has written to an array that it was given
            self.calls.append(Call(function, values, pure=False))
            return given
        self.calls.append(Call(function, values, out=result, pure=False))
        return Tracer(result, self)

    # What arrays are asked to do

    def ufunc(self, ufunc: Any, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """A call of a universal function or one of its methods."""
        outs = options.pop("out", None)
        if method == "at":
            values = _values(inputs, self)
            ufunc.at(*values)
            self._writes(inputs[0])
            self.calls.append(Call(ufunc.at, values))
            return None
        if outs is not None and len(outs) > 1:
            raise PlanError(f"np.{ufunc.__name__} with several arrays as out= is beyond a plan; call it without.")
        out = None if outs is None else outs[0]
        values = self._operands(ufunc, inputs, out)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "reduce":
            options = {"axis": options.pop("axis", 0 if len(values) < 2 else values[1]), **options}
            values = values[:1]
        return self._calculated(function, values, _values(options, self), out, takes_out=True)

    def array_function(self, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A call of another function of NumPy's."""
        options = dict(options)
        if function in _BY_VALUES:
            raise _shape_depends_on_values(f"np.{function.__name__}")
        if function in _SHAPES:
            return function(*_values(args, self), **_values(options, self))
        if function in _CREATES:
            result = function(*_values(args, self), **{k: _values(v, self) for k, v in options.items()})
            if function is np.empty_like:
                return Tracer(result, self)
            self.calls.append(Call(np.copyto, (result, result.copy()), initial=True))
            return Tracer(result, self)
        if (ufunc := _REDUCES.get(function)) is not None and set(options) <= {"axis", "keepdims", "out"}:
            axis = args[1] if len(args) > 1 else options.get("axis")
            told = {"axis": axis, "keepdims": options.get("keepdims", False)}
            return self.ufunc(ufunc, "reduce", args[:1], {**told, "out": _tuple(options.get("out"))})
        if function is np.mean and set(options) <= {"axis", "keepdims"} and args[0].dtype.itemsize > 2:
            axis = args[1] if len(args) > 1 else options.get("axis")
            total = self.ufunc(np.add, "reduce", args[:1], {"axis": axis, "keepdims": options.get("keepdims", False)})
            return np.divide(total, args[0].size // max(1, total.size), out=total)
        if function is np.copyto:
            target = args[0]
            self._writes(target)
            values, options = _values(args, self), _values(options, self)
            np.copyto(*values, **options)
            self.calls.append(Call(np.copyto, values, options))
            return None
        out = options.pop("out", None)
        if function is np.clip:
            args = tuple([self._as_array(value, args[0].dtype) for value in args])
            options = {name: self._as_array(value, args[0].dtype) for name, value in options.items()}
        return self._calculated(
            function, _values(args, self), _values(options, self), out, takes_out=function in _TAKES_OUT
        )

    def item(self, tracer: Tracer, index: Any) -> Any:
        """tracer[index]."""
        index = _values(index, self)
        if any(array.dtype == bool for array in arrays_within(index)):
            raise _shape_depends_on_values("an index with a mask")
        return self._calculated(operator.getitem, (tracer.value, index), {}, None, takes_out=False)

    def set_item(self, tracer: Tracer, index: Any, value: Any) -> None:
        """tracer[index] = value."""
        self._writes(tracer)
        index, value = _values(index, self), self._as_array(value, tracer.value.dtype)
        if np.ndim(value) and any(array.dtype == bool for array in arrays_within(index)):
            raise _shape_depends_on_values("writing an array through a mask")
        if index is Ellipsis or (isinstance(index, slice) and index == slice(None)):
            np.copyto(tracer.value, value, casting="unsafe")
            same = getattr(value, "dtype", None) == tracer.value.dtype
            self.calls.append(Call(np.copyto, (tracer.value, value), {} if same else {"casting": "unsafe"}))
        else:
            tracer.value[index] = value
            self.calls.append(Call(operator.setitem, (tracer.value, index, value)))

    def _calculated(
        self, function: Any, values: tuple[Any, ...], options: dict[str, Any], out: Any, takes_out: bool
    ) -> Any:
        if out is not None:
            out = out[0] if isinstance(out, tuple) else out
            self._writes(out)
            function(*values, out=out.value, **options)
            self.calls.append(Call(function, values, options, out.value, takes_out=True))
            return out
        result = function(*values, **options)
        if isinstance(result, (tuple, list)):
            parts = [self._result(_Part(function, i), values, options, r, False) for i, r in enumerate(result)]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        return self._result(function, values, options, result, takes_out)

    def _result(self, function: Any, values: Any, options: Any, result: Any, takes_out: bool) -> Any:
        if not hasattr(result, "dtype"):
            return result
        if isinstance(result, np.generic):
            result = np.asarray(result)
        elif any(owner(result) is owner(value) for value in arrays_within(values)):
            return Tracer(result, self)  # a view: it shows whatever is written there
        self.calls.append(Call(function, values, options, result, takes_out))
        return Tracer(result, self)

    def _operands(self, ufunc: Any, inputs: Sequence[Any], out: Any) -> tuple[Any, ...]:
        """Arrays; numbers become arrays of the dtype that they take beside the others, which NumPy handles faster."""
        dtypes = {value.dtype for value in inputs if hasattr(value, "dtype") and value.dtype.kind == "f"}
        dtype = dtypes.pop() if len(dtypes) == 1 else None
        return tuple([self._as_array(value, dtype) for value in inputs])

    def _as_array(self, value: Any, dtype: Any) -> Any:
        """The array of a Tracer; a Number, or a Python number that fits the dtype, as one of no axes."""
        if isinstance(value, Tracer):
            return value.checked(self)
        if isinstance(value, Number):
            dtype = dtype if dtype is not None and dtype.kind == "f" else np.dtype(np.float64)
            key = value.text, str(dtype)
            if key not in self.numbers:
                array = np.array(value.value, dtype)
                self.numbers[key] = array, value
                self.bound[id(array)] = array
            return self.numbers[key][0]
        if dtype is not None and dtype.kind == "f" and type(value) in (int, float):
            return self._constant(value, dtype)
        if isinstance(value, np.generic) and value.dtype.kind == "f":
            return self._constant(value.item(), value.dtype)
        return value

    def _constant(self, value: float, dtype: Any) -> Any:
        for array in self.fixed:
            if array.dtype == dtype and array.item().hex() == float(dtype.type(value)).hex():
                return array
        self.fixed.append(np.array(value, dtype))
        return self.fixed[-1]

    def _writes(self, target: Any) -> None:
        if not isinstance(target, Tracer):
            raise PlanError(
                "a compiled step writes into an array that was made outside of its own calculations; make it inside, "
                "with a function like np.zeros_like, or pass it as an argument."
            )
        target.checked(self)


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
        # NumPy's arrays have these powers computed so, and not by np.power.
        ufuncs = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
        if type(other) in (int, float) and other in ufuncs:
            return ufuncs[other](self)
        return np.power(self, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if any(map(_is_tensor, inputs)):
            return NotImplemented
        return self.trace.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if any(map(_is_tensor, types)):
            return NotImplemented
        return self.trace.array_function(function, args, options)

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
        return Tracer(self.value.view(*args), self.trace)

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
    *("argsort", "sort", "clip", "take", "squeeze", "repeat", "round", "ravel", "swapaxes", "diagonal"),
    *("nonzero", "searchsorted", "real", "imag", "conj"),
):
    setattr(Tracer, _name, _method(_name))


class Number:
    """A number of a step that is being recorded: its value now, and the text that computes it in each replay."""

    __slots__ = ("text", "trace", "value")

    def __init__(self, text: str, value: Any, trace: Trace) -> None:
        self.text = text
        self.value = value
        self.trace = trace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return self.trace.ufunc(ufunc, method, inputs, options)

    def _with(self, operation: Callable[[Any, Any], Any], symbol: str, other: Any, swapped: bool) -> Any:
        if isinstance(other, Number):
            text, value = other.text, other.value
        elif type(other) in (int, float):
            text, value = repr(other) if np.isfinite(other) else f"float({str(other)!r})", other
        else:
            return NotImplemented
        if swapped:
            return Number(f"({text} {symbol} {self.text})", operation(value, self.value), self.trace)
        return Number(f"({self.text} {symbol} {text})", operation(self.value, value), self.trace)

    def __neg__(self) -> Any:
        return Number(f"(-{self.text})", -self.value, self.trace)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __bool__(self) -> bool:
        outcome = bool(self.value)
        self.trace.guards.append((self.text, outcome))
        return outcome

    def read(self, how: str) -> NoReturn:
        """Raise PlanError: the value is another in each call."""
        raise PlanError(
            f"{how} needs a number that is another in each call of a compiled step; arithmetic and comparisons are "
            "possible. What decides on shapes belongs into a function of its own, or is passed as a string."
        )

    def __float__(self) -> float:
        self.read("float()")

    def __int__(self) -> int:
        self.read("int()")

    def __index__(self) -> int:
        self.read("a shape, an axis, an index or a setting")

    def __hash__(self) -> int:
        return hash(self.text)


def _arithmetic(operation: Any, symbol: str) -> tuple[Any, Any]:
    return (
        lambda self, other: self._with(operation, symbol, other, False),
        lambda self, other: self._with(operation, symbol, other, True),
    )


for _name, _symbol in dict(add="+", sub="-", mul="*", truediv="/", floordiv="//", mod="%", pow="**").items():
    _own, _swapped = _arithmetic(getattr(operator, _name), _symbol)
    setattr(Number, f"__{_name}__", _own)
    setattr(Number, f"__r{_name}__", _swapped)
for _name, _symbol in dict(lt="<", le="<=", gt=">", ge=">=", eq="==", ne="!=").items():
    setattr(Number, f"__{_name}__", _arithmetic(getattr(operator, _name), _symbol)[0])


def _shape_depends_on_values(what: str) -> PlanError:
    return PlanError(
        f"{what} gives an array whose shape depends on values, and the arrays of a plan have one shape each; use "
        "where(), or do it outside of the compiled step."
    )


class _Part:
    """One of several results of a function, which is called for each."""

    def __init__(self, function: Callable[..., Any], i: int) -> None:
        self.function, self.i = function, i
        self.__name__ = f"{function.__name__}_{i}"

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)[self.i]


def owner(array: Any) -> Any:
    """The array whose memory this one shows."""
    link = array
    while (link := getattr(link, "base", None)) is not None:  # not all links of the chain are arrays
        if hasattr(link, "dtype"):
            array = link
    return array


def is_array(value: Any) -> bool:
    """Whether it is an array of NumPy's or CuPy's, and neither a class nor a single number of these."""
    return hasattr(value, "strides") and not isinstance(value, (type, np.generic))


def arrays_within(value: Any) -> list[Any]:
    """The arrays in whatever tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in arrays_within(item)]
    return [value] if is_array(value) else []


def arrays_in(call: Call) -> list[Any]:
    """The arrays that a call works on."""
    return arrays_within([call.out, call.args, list(call.options.values())])


def _is_tensor(value: Any) -> bool:
    """Whether it is a Tensor, which makes an op of a call, or the class."""
    return hasattr(value, "node")


def _values(value: Any, trace: Trace) -> Any:
    """Arrays in place of Tracers, in whatever tuples and lists they are."""
    if isinstance(value, Tracer):
        return value.checked(trace)
    if isinstance(value, Number):
        value.read("a shape, an axis, an index or a setting")
    if isinstance(value, (tuple, list)):
        return type(value)([_values(item, trace) for item in value])
    if isinstance(value, dict):
        return {key: _values(item, trace) for key, item in value.items()}
    return value


def _tuple(out: Any) -> Any:
    return None if out is None else (out,)


_SHAPES = {np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.may_share_memory, np.shares_memory}
_CREATES = {np.empty_like, np.zeros_like, np.ones_like, np.full_like, np.arange}
_BY_VALUES = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.compress, np.extract}
_REDUCES = {
    **{np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum},
    **{np.amax: np.maximum, np.amin: np.minimum},
    **{np.any: np.logical_or, np.all: np.logical_and},
}
_TAKES_OUT = {np.dot, np.concatenate, np.stack, np.take, np.clip, np.cumsum, np.cumprod, np.round}
