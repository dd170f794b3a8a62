"""Numbers that are still on a GPU: read when somebody asks, all that wait there in one transfer.

Whoever reads a number waits until everything before it is computed. So steps leave their losses and norms where they
are, and somebody looks once in a while: every `BLOCK` steps, or earlier if something depends on it. On the CPU a number
is there at once, and nothing waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import total_ordering
from typing import Any, TypeAlias, TypeVar

import numpy as np

from minihybrid.device import Device

T = TypeVar("T")

BLOCK = 16
"""Steps whose numbers may wait on a GPU."""

ROOM = 4 * BLOCK
"""Numbers that may wait there together: losses, norms, and what is looked at now and then."""


@total_ordering
class Reading:
    """A number on a device; `float`, comparing and formatting read it, and all that wait with it."""

    __slots__ = ("_readings", "_value")

    def __init__(self, readings: Readings) -> None:
        self._readings: Readings | None = readings
        self._value = float("nan")

    @property
    def known(self) -> bool:
        """Whether it has been read."""
        return self._readings is None

    def __float__(self) -> float:
        if self._readings is not None:
            self._readings.read()
        return self._value

    def __eq__(self, other: object) -> bool:
        return float(self) == other

    def __lt__(self, other: Any) -> bool:
        return float(self) < other  # type: ignore[no-any-return]

    def __format__(self, how: str) -> str:
        return format(float(self), how)

    def __repr__(self) -> str:
        return f"Reading({self._value if self.known else '...'})"

    def tell(self, value: float) -> None:
        """It has been read."""
        self._value, self._readings = value, None


Scalar: TypeAlias = "float | Reading"


class Readings:
    """The numbers of a run that wait to be read. They are copied: what computed them may overwrite them meanwhile.

    `wait` says whether any do: not on the CPU, where a number is given back as it is.

    >>> Readings(Device("cpu")).later(np.float32(0.5))
    0.5
    """

    def __init__(self, device: Device) -> None:
        self.wait = device.name != "cpu"
        self._waiting: list[Reading] = []
        self._numbers: Any = None

    def later(self, number: Any) -> Scalar:
        """An array of one number: the number itself on the CPU, else one to be read later."""
        if not self.wait:
            return float(number.item())
        if self._numbers is None:
            self._numbers = np.empty_like(number, np.float64, shape=(ROOM,))
        if len(self._waiting) == ROOM:
            self.read()
        reading, place = Reading(self), len(self._waiting)
        self._numbers[place : place + 1] = number
        self._waiting.append(reading)
        return reading

    def read(self) -> None:
        """Read what waits, in one transfer."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            values = Device.of(self._numbers).host(self._numbers[: len(waiting)]).tolist()
            for reading, value in zip(waiting, values, strict=True):
                reading.tell(value)


def numbers(*arrays: Any) -> list[float]:
    """Arrays of one number each, read now, in one transfer.

    >>> numbers(np.float32(0.5), np.ones(()))
    [0.5, 1.0]
    """
    if isinstance(arrays[0], (np.ndarray, np.generic)):
        return [float(array) for array in arrays]
    together = np.stack([array.astype(np.float64) for array in arrays])
    return Device.of(together).host(together).tolist()  # type: ignore[no-any-return]


def may_be_finite(number: Scalar) -> bool:
    """Whether a number is finite, or not known yet."""
    return (isinstance(number, Reading) and not number.known) or math.isfinite(number)


def later(*names: str) -> Callable[[type[T]], type[T]]:
    """Declare that fields of a frozen dataclass may be given Readings: who asks for them gets numbers.

    `vars` shows what was given, as long as nobody has asked.
    """

    def decorate(kind: type[T]) -> type[T]:
        for name in names:
            setattr(kind, name, _Later(name))
        return kind

    return decorate


class _Later:
    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self._name]
        if isinstance(value, Reading):
            value = instance.__dict__[self._name] = float(value)
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._name] = value
