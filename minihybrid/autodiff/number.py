"""A number that is another in each step (the learning rate, the count of steps), while a step is recorded.

Arithmetic on a `Number` is written down as text, which each replay evaluates anew; a decision that rests on it
(`t == 1`) becomes a guard of the plan.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from minihybrid.autodiff.trace import Trace


class PlanError(RuntimeError):
    """A step does something that a plan cannot repeat; the message says what, and what to do instead."""


class Number:
    """Its value now, and the text that computes it in each replay. To `isinstance` it is what its value is."""

    __slots__ = ("text", "trace", "value")

    __class__ = property(lambda self: type(self.value))

    def __init__(self, text: str, value: Any, trace: Trace) -> None:
        self.text = text
        self.value = value
        self.trace = trace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return self.trace.ufunc(ufunc, method, inputs, options)

    def _with(self, operation: Callable[[Any, Any], Any], symbol: str, other: Any, swapped: bool) -> Any:
        if type(other) not in (int, float, bool, Number):
            return NotImplemented
        value, text = (other.value, other.text) if type(other) is Number else (other, _written(other))
        if swapped:
            return Number(f"({text} {symbol} {self.text})", operation(value, self.value), self.trace)
        return Number(f"({self.text} {symbol} {text})", operation(self.value, value), self.trace)

    def __neg__(self) -> Any:
        return Number(f"(-{self.text})", -self.value, self.trace)

    def __abs__(self) -> Any:
        return Number(f"abs({self.text})", abs(self.value), self.trace)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __bool__(self) -> bool:
        outcome = bool(self.value)
        self.trace.guards.append((self.text, outcome))
        return outcome

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"

    def __str__(self) -> str:
        return self.__format__("")

    def __format__(self, how: str) -> str:
        shown = format(self.value, how)  # in a message, mostly; where it is kept, the plan is for this value alone
        self.trace.guards.append((f"(format({self.text}, {how!r}) == {shown!r})", True))
        return shown

    # What would need the value now

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

    def __round__(self, digits: int | None = None) -> Any:
        self.read("round()")

    def __index__(self) -> int:
        self.read("a shape, an axis, an index or a setting")

    def __array__(self, *args: Any, **options: Any) -> Any:
        self.read("making an array of it")


def _written(value: float) -> str:
    if not math.isfinite(value):
        return f"float({str(value)!r})"
    text = repr(value)
    return f"({text})" if text.startswith("-") else text  # -1 ** t would be -(1 ** t)


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
