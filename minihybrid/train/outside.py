"""What a function uses from outside: names of its module, and variables of the functions around it.

A plan would keep all of it as it is in the first call. So what changes without being rebound (an array, a model, a
random stream), and what changes from step to step (a number), has to be an argument. Everything else must still be the
same object in later calls.
"""

from __future__ import annotations

import dataclasses
import dis
import random
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from minihybrid.autodiff.plan import Expression
from minihybrid.autodiff.tensor import Tensor
from minihybrid.autodiff.trace import PlanError, is_array
from minihybrid.module.module import Module
from minihybrid.optim.gradients import GradientsParams
from minihybrid.optim.optimizer import Optimizer
from minihybrid.rng import Rng

_CHANGING = (
    *(Tensor, Module, Rng, GradientsParams, Iterator),
    *(np.random.Generator, np.random.RandomState, random.Random),
)


class Use(NamedTuple):
    """A value that a function uses from outside, and what finds it there in a replay."""

    value: Any
    found: Expression


def uses(function: FunctionType) -> list[Use]:
    """All that it uses, but modules; functions of its own module are followed into.

    Raises PlanError for what has to be an argument.
    """
    found = []
    for user, name, value, expression in _looked_up(function, set()):
        reason = _changing(value, set())
        if reason is not None:
            verb = "is" if reason is value else "holds"
            raise PlanError(
                f"compile: {user.__name__} uses {name} from outside, which {verb} a {type(reason).__name__}: a plan "
                "would keep it as it is now. Pass it as an argument."
            )
        if not isinstance(value, ModuleType):
            found.append(Use(value, expression))
    return found


def _looked_up(function: FunctionType, seen: set[FunctionType]) -> Iterator[tuple[FunctionType, str, Any, Expression]]:
    """Each name from outside with who uses it, its value and what finds it."""
    seen.add(function)
    values: list[tuple[str, Any, Expression]] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values.append((name, cell.cell_contents, _in_cell(cell)))
        except ValueError:  # it gets its value later
            continue
    names = function.__globals__
    for name in sorted(_globals(function.__code__) & names.keys()):
        values.append((name, names[name], _in_namespace(names, name)))
    for name, value, expression in values:
        yield function, name, value, expression
        if isinstance(value, FunctionType) and value.__globals__ is names and value not in seen:
            yield from _looked_up(value, seen)


def _in_cell(cell: CellType) -> Expression:
    return lambda text: f"{text(cell)}.cell_contents"


def _in_namespace(namespace: dict[str, Any], name: str) -> Expression:
    return lambda text: f"{text(namespace)}[{name!r}]"


def _globals(code: CodeType) -> set[str]:
    """The global names that code reads, itself or in functions inside it."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return names.union(*(_globals(part) for part in code.co_consts if isinstance(part, CodeType)))


def _changing(value: Any, seen: set[int], numbers: bool = True) -> Any:
    """What a value is, or holds, that may change while it stays the same object; None if there is nothing.

    A number in a tuple or in a frozen dataclass cannot be replaced there.
    """
    number = isinstance(value, (int, float, complex, np.number)) and not isinstance(value, bool)
    if (number and numbers) or isinstance(value, _CHANGING) or is_array(value):
        return value
    items: Iterable[Any] = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (list, set, tuple)):
        items, numbers = value, not isinstance(value, tuple)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, field.name) for field in dataclasses.fields(value)]
        numbers = not value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    elif hasattr(value, "__dict__") and not (callable(value) or isinstance(value, (ModuleType, Enum, Optimizer))):
        items, numbers = vars(value).values(), True
    if id(value) in seen:  # it leads to itself
        return None
    seen.add(id(value))
    return next((found for item in items if (found := _changing(item, seen, numbers)) is not None), None)
