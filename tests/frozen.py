"""Which dataclasses of a package can be changed after they were made."""

import dataclasses
import importlib
import pkgutil


def dataclasses_of(package):
    """Whether each is frozen, by name."""
    found = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__module__ == module.name:
                found[thing.__qualname__] = thing.__dataclass_params__.frozen
    return found
