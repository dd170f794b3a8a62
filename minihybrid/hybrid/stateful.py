"""Objects whose attributes are all that they know: saved and restored as they stand."""

from __future__ import annotations

from typing import Any

from minihybrid.rng import Rng


class Stateful:
    """The base of predictors and watches: `state_dict` copies every attribute but the configuration.

    >>> class Counter(Stateful):
    ...     def __init__(self, config):
    ...         self.config, self._count = config, 0
    >>> counter = Counter(config="fixed")
    >>> counter.state_dict()
    {'count': 0}
    """

    def state_dict(self) -> dict[str, Any]:
        """All there is to know, as numbers and arrays (copies), by attribute."""
        return {name: _copied(value) for name, value in self._attributes().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, which is copied. Raises ValueError, and changes nothing, if it is none."""
        attributes = {name.lstrip("_"): name for name in vars(self)}
        if state.keys() != (known := self._attributes().keys()):
            raise ValueError(
                f"load_state_dict: {type(self).__name__} keeps {', '.join(known)}; the state has {', '.join(state)}."
            )
        for name, value in state.items():
            setattr(self, attributes[name], _copied(value))

    def _attributes(self) -> dict[str, Any]:
        return {name.lstrip("_"): value for name, value in vars(self).items() if name != "config"}


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, Rng):
        return value.clone()
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value.copy() if hasattr(value, "copy") else value
