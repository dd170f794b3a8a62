"""JSON as its standard has it (RFC 8259), from files that nobody vouches for.

Python's reader takes more: the last of two values under one name, NaN, numbers that become infinite, and it gives up in
its own way at deep nesting and at integers of thousands of digits. Here each of them is one sentence.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def parse(text: str | bytes) -> Any:
    """The value that a JSON text stands for.

    Raises ValueError, one sentence without a full stop, for text that is no JSON (bytes are UTF-8), a name that an
    object has twice, NaN, Infinity, a number beyond float64 or of thousands of digits, and nesting without reason.

    >>> parse('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
        ...
    ValueError: the name 'a' stands twice in one object
    """
    try:
        decoded = text if isinstance(text, str) else text.decode()
        return json.loads(
            decoded, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_float, parse_int=_int
        )
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the name {shortened(twice)} stands twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shortened(text)} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > 1000:
        raise ValueError(f"the number {shortened(text)} is too large")
    return int(text)


def shortened(text: str) -> str:
    """A text from outside as a sentence may quote it: in quotes, on one line, 40 characters at most."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
