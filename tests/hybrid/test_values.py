"""What the parts of the trainer tell each other are values: nobody changes what another was told."""

import dataclasses
import importlib
import pkgutil

import minihybrid.hybrid

MUTABLE = {"Foretold"}  # the losses of Correct, as they come in


def test_all_other_dataclasses_are_frozen():
    found = {}
    for module in pkgutil.walk_packages(minihybrid.hybrid.__path__, "minihybrid.hybrid."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__module__ == module.name:
                found[thing.__qualname__] = thing.__dataclass_params__.frozen
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE and len(found) > 20
