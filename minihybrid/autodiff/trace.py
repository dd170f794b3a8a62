"""What a step consists of, written down while it is made: the calls on arrays, numbers that change, and guards.

Arrays that take part are `Tracer`s (tracer.py), numbers that are others in each step `Number`s (number.py). Both tell
the `Trace` what they are asked to do, which does it on the arrays that they stand for, so that a recorded step is a
real one, and keeps the call.

Two things are beyond arrays, and `opaque_call` and `host_number` tell a recording about them; outside of one they
just call the function that they are given.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minihybrid.autodiff.number import Number as Number, PlanError as PlanError
from minihybrid.autodiff.tracer import Tracer as Tracer
from minihybrid.device import Device, on_cpu

R = TypeVar("R")


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
        self.numbers: dict[tuple[str, ...], tuple[Any, Number]] = {}  # arrays for numbers, by text, dtype and device
        self.bound: dict[int, Any] = {}  # memory that is there before and after the step, by the array that owns it
        self.given: set[int] = set()  # of it, what are copies of arguments
        self.fixed: list[Any] = []  # arrays whose values are the same in each step
        self.empty: dict[int, Any] = {}  # arrays made without values: the step writes there before it reads
        self.over = False

    # What the step works on

    def bind(self, array: Any) -> Tracer:
        """Stand for an array that is there before and after the step."""
        self.bound[id(owner(array))] = owner(array)
        return Tracer(array, self)

    def take(self, array: Any) -> Tracer:
        """Stand for an array that the step is given, and does not write to: `array` is a copy of it."""
        self.given.add(id(array))
        return self.bind(array)

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
                f"an optimizer ({type(whose).__name__}) makes two steps in one compiled function, and a plan counts "
                "one; compile a function that makes one."
            )
        name = f"t{len(self.asked_for)}"
        self.asked_for.append((name, function, args))
        return Number(name, function(*args), self)

    def opaque(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """See `opaque_call`."""
        recorded = tuple([arg if type(arg) is Number else _values(arg, self) for arg in args])
        values = [arg.value if type(arg) is Number else arg for arg in recorded]
        result = function(*values)
        given = next((arg for arg, value in zip(args, values, strict=True) if value is result), None)
        if result is None or given is not None:  # it has written to an array that it was given
            self.calls.append(Call(function, recorded, pure=False))
            return given
        self.calls.append(Call(function, recorded, out=result, pure=False))
        return Tracer(result, self)

    # What arrays are asked to do

    def ufunc(self, ufunc: Any, method: str, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
        """A call of a universal function or one of its methods."""
        outs = options.pop("out", None)
        if outs is not None and len(outs) > 1:
            raise PlanError(f"np.{ufunc.__name__} with several arrays as out= is beyond a plan; call it without.")
        if method == "at":
            self._writes(inputs[0])
            values = _values(inputs, self)
            ufunc.at(*values)
            self.calls.append(Call(ufunc.at, values))
            return None
        values = _values(inputs, self) if ufunc in _MIXED else self._operands(inputs, options.get("dtype"))
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if method == "reduce":
            options = {"axis": 0, **options}
        return self._calculated(function, values, _values(options, self), outs and outs[0], takes_out=True)

    def array_function(self, function: Any, args: tuple[Any, ...], options: dict[str, Any], asked: Tracer) -> Any:
        """A call of another function of NumPy's; `asked` is the array that NumPy has found and asks."""
        options, count = dict(options), len(args) + len(options)
        if not any(map(_is_tracer, arrays_within([args, list(options.values())]))):  # it was given as like=
            function = getattr(Device.of(asked).xp, function.__name__)
        decides = arrays_within([args[1:2], list(options.values())]) if function in _SHAPED_BY_THE_SECOND else []
        if function in _BY_VALUES or (function is np.where and count < 3) or any(map(_is_tracer, decides)):
            raise _shape_depends_on_values(f"np.{function.__name__}")
        if function in _SHAPES:
            return function(*_values(args, self), **_values(options, self))
        if function is np.empty_like:
            made = np.empty_like(*_values(args, self), **_values(options, self))
            self.empty[id(made)] = made
            return Tracer(made, self)
        if function in (np.zeros_like, np.ones_like, np.full_like):
            if options.get("shape") == (1,) and type(number := args[1:] and args[1]) is Number and not on_cpu(args[0]):
                dtype, device = np.dtype(options.get("dtype") or args[0].dtype), Device.of(args[0])
                return Tracer(self._changing(number, dtype, device).reshape(1), self)  # a kernel reads it there
            return _filled(function, args, options)
        reduces = function in _REDUCTIONS and 1 <= len(args) <= 2 and options.keys() <= _REDUCING
        plainly = reduces and on_cpu(args[0])  # CuPy's sum and mean are kernels of their own, and round as they do
        if plainly and (ufunc := _REDUCES.get(function)) is not None:
            axis = args[1] if len(args) > 1 else options.get("axis")
            told = {"axis": axis, "keepdims": options.get("keepdims", False)}
            return self.ufunc(ufunc, "reduce", args[:1], {**told, "out": _tuple(options.get("out"))})
        if plainly and function is np.mean and "out" not in options:
            x = args[0]
            if x.dtype.kind == "f" and x.dtype.itemsize > 2:  # others are added up in another dtype
                total = np.sum(*args, **options)
                return np.divide(total, x.size // max(1, total.size), out=total)
        if function is np.copyto:
            self._writes(args[0])
            values, options = _values(args, self), _values(options, self)
            np.copyto(*values, **options)
            self.calls.append(Call(np.copyto, values, options))
            return None
        if function in (np.clip, np.where):
            names = list(options)
            values = self._operands([*args, *options.values()])
            args, options = values[: len(args)], dict(zip(names, values[len(args) :], strict=True))
        if function is np.dot and args[2:]:
            args, options = args[:2], {"out": args[-1]}
        out = options.pop("out", None)
        values, options = _values(args, self), _values(options, self)
        takes_out = function in _TAKES_OUT or (reduces and not plainly)
        return self._calculated(function, values, options, out, takes_out)

    def item(self, tracer: Tracer, index: Any) -> Any:
        """tracer[index]."""
        if _masks(index):
            raise _shape_depends_on_values("an index with a mask")
        return self._calculated(operator.getitem, (tracer.checked(self), _values(index, self)), {}, None, False)

    def set_item(self, tracer: Tracer, index: Any, value: Any) -> None:
        """tracer[index] = value."""
        self._writes(tracer)
        value = self._operand(value, {tracer.dtype}, Device.of(tracer.value))
        if np.ndim(value) and _masks(index):
            raise _shape_depends_on_values("writing an array through a mask")
        target, index = tracer.value, _values(index, self)
        if index is Ellipsis or (isinstance(index, slice) and index == slice(None)):
            np.copyto(target, value, casting="unsafe")
            same = getattr(value, "dtype", None) == target.dtype
            self.calls.append(Call(np.copyto, (target, value), {} if same else {"casting": "unsafe"}))
        else:
            target[index] = value
            self.calls.append(Call(operator.setitem, (target, index, value)))

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
            raise PlanError(
                f"np.{function.__name__} gives no array, but {type(result).__name__}: it reads values, or writes into "
                "an array, which a plan does not see; use where(), or do it outside of the compiled step."
            )
        if isinstance(result, np.generic):
            result = np.asarray(result)
        elif any(owner(result) is owner(value) for value in arrays_within([values, list(options.values())])):
            return Tracer(result, self)  # a view: it shows whatever is written there
        self.calls.append(Call(function, values, options, result, takes_out))
        return Tracer(result, self)

    def _operands(self, values: Sequence[Any], dtype: Any = None) -> tuple[Any, ...]:
        """Arrays; numbers become arrays of the dtype that they take beside the others, which NumPy handles faster."""
        dtypes = {value.dtype for value in values if hasattr(value, "dtype")} if dtype is None else {np.dtype(dtype)}
        device = next((Device.of(value.value) for value in values if isinstance(value, Tracer)), Device("cpu"))
        return tuple([self._operand(value, dtypes, device) for value in values])

    def _operand(self, value: Any, dtypes: set[Any], device: Device) -> Any:
        """The array of a Tracer, or of a number beside others of these dtypes on a device, if it can be one.

        CuPy passes a number that stays as it is to the kernel, which is faster than an array; one that changes has to
        be in memory, where a captured kernel finds it.
        """
        if isinstance(value, Tracer):
            return value.checked(self)
        if type(value) is Number:
            return self._changing(value, np.result_type(*dtypes, value.value), device)
        if device.xp is not np:
            return value
        floats = [dtype for dtype in dtypes if dtype.kind == "f"]
        if type(value) in (int, float) and len(floats) == 1:
            return self._constant(value, floats[0])
        if isinstance(value, np.generic) and value.dtype.kind == "f":
            return self._constant(value.item(), value.dtype)
        return value

    def _changing(self, number: Number, dtype: Any, device: Device) -> Any:
        key = number.text, str(dtype), device.name
        if key not in self.numbers:
            array = device.xp.array(number.value, dtype)
            self.numbers[key] = array, number
            self.bound[id(array)] = array
        return self.numbers[key][0]

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
                "with a function like np.zeros_like."
            )
        if id(owner(target.checked(self))) in self.given:
            raise PlanError(
                "a compiled step writes into an array that it was given; a plan works on a copy, and the caller's "
                "would stay as it is. Write into a copy() of it, and return that."
            )


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


def _is_tracer(value: Any) -> bool:
    return isinstance(value, Tracer)


def _masks(index: Any) -> list[Any]:
    """The masks in an index that are others in each step."""
    return [array for array in arrays_within(index) if _is_tracer(array) and array.dtype == bool]


def _filled(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What zeros_like, ones_like and full_like do, in two calls."""
    if function is np.full_like:
        value = options.pop("fill_value") if "fill_value" in options else args[1]
        args = (args[0], *args[2:])
    else:
        value = 1 if function is np.ones_like else 0
    made = np.empty_like(*args, **options)
    made[...] = value
    return made


def _values(value: Any, trace: Trace) -> Any:
    """Arrays in place of Tracers, in whatever tuples and lists they are."""
    if isinstance(value, Tracer):
        return value.checked(trace)
    if type(value) is Number:
        value.read("a shape, an axis, an index or a setting")
    if isinstance(value, (tuple, list)):
        return type(value)([_values(item, trace) for item in value])
    if isinstance(value, dict):
        return {key: _values(item, trace) for key, item in value.items()}
    return value


def _tuple(out: Any) -> Any:
    return None if out is None else (out,)


# What is known of arrays without their values
_SHAPES = {
    *(np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type, np.iscomplexobj, np.isrealobj),
    *(np.may_share_memory, np.shares_memory),
}
_BY_VALUES = {
    *(np.nonzero, np.flatnonzero, np.argwhere, np.compress, np.extract, np.bincount, np.trim_zeros),
    *(np.unique, np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values),
    *(np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d),
}
_SHAPED_BY_THE_SECOND = {np.repeat, np.tile, np.resize, np.delete, np.insert, np.split, np.array_split}
_MIXED = {np.ldexp, np.float_power}  # ufuncs whose arguments and results are not of one dtype
_REDUCING = {"axis", "keepdims", "out"}
_REDUCES = {
    **{np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum},
    **{np.amax: np.maximum, np.amin: np.minimum},
    **{np.any: np.logical_or, np.all: np.logical_and},
}
_REDUCTIONS = {*_REDUCES, np.mean}
_TAKES_OUT = {np.dot, np.concatenate, np.stack, np.take, np.clip, np.cumsum, np.cumprod, np.round}
