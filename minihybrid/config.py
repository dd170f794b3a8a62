"""A configuration is data: a frozen dataclass that builds or computes something, written as JSON and read back."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from typing import Any, ClassVar, dataclass_transform

from minihybrid import strict_json


@dataclass_transform(frozen_default=True)
class Config:
    """The base of layer configurations, initializers, schedules: a subclass is a frozen dataclass, known by its name.

    The name is that of its class, or what `class Constant(Config, known_as="ConstantSchedule")` says.

    >>> import minihybrid as mh
    >>> text = mh.nn.LinearConfig(2, 3, initializer=mh.nn.init.Zeros()).to_json()
    >>> text
    '{"type": "LinearConfig", "d_input": 2, "d_output": 3, "bias": true, "initializer": {"type": "Zeros"}}'
    >>> mh.nn.Config.from_json(text)
    LinearConfig(d_input=2, d_output=3, bias=True, initializer=Zeros())
    """

    known: ClassVar[dict[str, type[Config]]] = {}
    known_as: ClassVar[str]

    def __init_subclass__(cls, known_as: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True)(cls)
        cls.known_as = known_as or cls.__name__
        Config.known[cls.known_as] = cls

    def to_json(self) -> str:
        """The configuration as JSON; nested configurations carry their name as "type".

        Raises TypeError for a field that holds what JSON cannot, such as a function.
        """
        return json.dumps(_plain(self), allow_nan=False, default=_refuse)

    def require(self, setting: str, condition: bool, expected: str) -> None:
        """Raise ValueError with one sentence about a setting's value unless the condition holds."""
        if not condition:
            came = getattr(self, setting)
            raise ValueError(f"{self.known_as}: {setting} is {came!r}; expected {expected}.")

    @staticmethod
    def from_json(text: str) -> Any:
        """The configuration that `to_json` wrote.

        Raises ValueError for text that is no JSON, an unknown type, an unknown or missing field, or a value that the
        configuration refuses.
        """
        try:
            data = strict_json.parse(text)
        except ValueError as error:
            raise ValueError(f"a configuration is written as JSON, and this is none: {error}.") from None
        if not isinstance(data, dict):
            raise ValueError(f"a configuration is a JSON object with a field 'type', not {text[:40]!r}.")
        try:
            return _built(data)
        except RecursionError:
            raise ValueError("a configuration is nested more deeply than any that to_json wrote.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {"type": value.known_as, **fields}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _refuse(value: Any) -> Any:
    raise TypeError(
        f"to_json: a field holds a {type(value).__name__}, which JSON cannot write; expected numbers, strings, "
        "sequences of them, and other configurations."
    )


def _built(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_built(item) for item in value)
    if not isinstance(value, dict):
        return value
    name = value.get("type")
    kind = Config.known.get(name) if isinstance(name, str) else None
    if kind is None:
        near = difflib.get_close_matches(str(name), Config.known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"there is no configuration type {name!r}{hint}")
    fields = {key: _built(item) for key, item in value.items() if key != "type"}
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := [key for key in fields if key not in names]:
        nearest = difflib.get_close_matches(unknown[0], names, 1, cutoff=0)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
        raise ValueError(f"{name} has no field {unknown[0]!r}{hint}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{name}: {str(error).removeprefix(f'{name}: ').rstrip('.')}.") from None


def is_number(value: Any) -> bool:
    """Whether a setting is a finite number (a boolean is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_count(value: Any, least: int) -> bool:
    """Whether a setting is an integer of at least `least` (a boolean is none)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def require_sizes(config: str, **sizes: int) -> None:
    """Raise ValueError with one sentence for the first size that is no positive integer."""
    for option, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{config}: {option} is {size!r}; expected a positive integer.")
