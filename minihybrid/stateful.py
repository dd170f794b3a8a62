"""State as plain trees, which a snapshot keeps and a file can hold.

A plain tree is None, a boolean, an integer, a float, a string, an array, a list of plain trees, or a dict of them by
string. What else may be part of a state is written as a dict with its "type": random streams, configurations, and the
NamedTuples, dataclasses and enums that are declared `savable`.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from enum import Enum
from typing import Any, ClassVar, TypeVar

from minihybrid.config import Config
from minihybrid.device import Device
from minihybrid.rng import Rng

T = TypeVar("T")

_SAVABLE: dict[str, type] = {}


def savable(kind: type[T]) -> type[T]:
    """Declare that instances of a NamedTuple, a dataclass or an enum may be part of a state, by what they hold.

    >>> @savable
    ... @dataclasses.dataclass(frozen=True)
    ... class Point:
    ...     x: float
    >>> plain(Point(2.0))
    {'type': 'Point', 'x': 2.0}
    >>> restored(plain([Point(2.0)]))
    [Point(x=2.0)]
    """
    _SAVABLE[kind.__name__] = kind
    return kind


def plain(value: Any, name: str = "state") -> Any:
    """A value as a plain tree, with copies of its arrays; a tuple becomes a list.

    Whatever has a `state_dict` is what that gives. Raises TypeError, with the `name` of the place, for anything else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is dict:
        if odd := [key for key in value if type(key) is not str]:
            raise TypeError(f"{name} cannot be saved: it has the key {odd[0]!r}; expected strings.")
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if type(value) in (list, tuple, deque):
        return [plain(item, f"{name}.{i}") for i, item in enumerate(value)]
    if _is_array(value):
        return value.copy()
    if isinstance(value, Rng):
        return {"type": "Rng", **value.state()}
    if isinstance(value, Config):
        return json.loads(value.to_json())
    if hasattr(value, "state_dict"):
        return plain(value.state_dict(), name)
    kind = type(value).__name__
    if _SAVABLE.get(kind) is type(value):
        if isinstance(value, Enum):
            return {"type": kind, "value": value.value}
        return {"type": kind} | {
            field: plain(getattr(value, field), f"{name}.{field}") for field in _fields(type(value))
        }
    raise TypeError(
        f"{name} cannot be saved: it is a {kind}; expected numbers (float(x) makes one of NumPy's), strings, arrays, "
        "lists and dicts of them, configurations, or something with a state_dict()."
    )


def restored(tree: Any) -> Any:
    """What `plain` was given, but for what has a `state_dict`, with copies of the arrays.

    Raises ValueError for a type that is not known, or that does not have these fields.
    """
    if isinstance(tree, list):
        return [restored(item) for item in tree]
    if not isinstance(tree, dict):
        return tree.copy() if _is_array(tree) else tree
    if "type" not in tree:
        return {key: restored(item) for key, item in tree.items()}
    name, fields = tree["type"], {key: item for key, item in tree.items() if key != "type"}
    if name == "Rng":
        rng = Rng()
        rng.load_state(fields)
        return rng
    kind = _SAVABLE.get(name) if isinstance(name, str) else None
    if kind is None:
        return Config.from_json(json.dumps(tree, default=lambda array: None))  # no field of one is an array
    expected = ["value"] if issubclass(kind, Enum) else _fields(kind)
    if sorted(fields) != sorted(expected):
        raise ValueError(f"a {name} in a state has {', '.join(expected)}, not {', '.join(fields)}.")
    return kind(**{key: restored(item) for key, item in fields.items()})


def placed(tree: Any, device: Device) -> Any:
    """A plain tree from a file, whose arrays are on the CPU, with its arrays on a device."""
    if device.name == "cpu":
        return tree
    if isinstance(tree, dict):
        return {key: placed(item, device) for key, item in tree.items()}
    if isinstance(tree, list):
        return [placed(item, device) for item in tree]
    return device.array(tree) if _is_array(tree) else tree


class Stateful:
    """The base of whatever changes in a run: `state_dict` copies every attribute that is not `transient`.

    >>> class Counter(Stateful):
    ...     def __init__(self, config):
    ...         self.config, self._count = config, 0
    >>> counter = Counter(config="fixed")
    >>> counter.state_dict()
    {'count': 0}
    """

    transient: ClassVar[tuple[str, ...]] = ("config",)
    """Attributes that are given when it is made, or that last no longer than a call."""

    def state_dict(self) -> dict[str, Any]:
        """All there is to know, by attribute, as a plain tree. Raises TypeError for what cannot be part of one."""
        kind = type(self).__name__
        return {name: plain(getattr(self, of), f"{kind}.{of}") for name, of in self._attributes().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, which is copied. Raises ValueError, and changes nothing, if it is none."""
        attributes = self._attributes()
        if not isinstance(state, dict) or state.keys() != attributes.keys():
            raise ValueError(
                f"load_state_dict: {type(self).__name__} keeps {', '.join(attributes)}; the state has "
                f"{', '.join(state) if isinstance(state, dict) else repr(state)}."
            )
        values: dict[str, Any] = {}
        for name, attribute in attributes.items():
            present = getattr(self, attribute)
            if not hasattr(present, "load_state_dict"):
                value = restored(state[name])
                if not _may_become(present, value):
                    kinds = f"is a {type(present).__name__}, not a {type(value).__name__}"
                    raise ValueError(f"load_state_dict: {name} of {type(self).__name__} {kinds}.")
                values[attribute] = deque(value, present.maxlen) if isinstance(present, deque) else value
        for name, attribute in attributes.items():
            if attribute not in values:
                getattr(self, attribute).load_state_dict(state[name])
        vars(self).update(values)

    def _attributes(self) -> dict[str, str]:
        """The names of attributes, without and with their underscore; a method that was replaced is none."""
        own = (name for name in vars(self) if not callable(getattr(type(self), name, None)))
        return {name.lstrip("_"): name for name in own if name not in self.transient}


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "__setitem__")


def _fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else list(kind._fields)


def _may_become(present: Any, value: Any) -> bool:
    """Whether an attribute can have this value, too: arrays take turns with None and numbers, other kinds remain."""
    if value is None or _is_array(value) or _is_array(present):
        return True
    if present is None:
        return not isinstance(value, dict)
    kinds = ((bool, int, float), str, (list, deque), dict)
    return all(isinstance(present, kind) == isinstance(value, kind) for kind in kinds)
