"""What is passed around is a value: nobody changes what another was told."""

import dataclasses
import importlib
import pkgutil

import minihybrid.autodiff

MUTABLE = {"Call", "_Part"}  # of a trace, which its plan gives a place in memory; of a plan, which gets its graph


def test_all_other_dataclasses_are_frozen():
    found = {}
    for module in pkgutil.walk_packages(minihybrid.autodiff.__path__, "minihybrid.autodiff."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__module__ == module.name:
                found[thing.__qualname__] = thing.__dataclass_params__.frozen
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE and len(found) > 3
