"""What is passed around is a value: nobody changes what another was told."""

import minihybrid.autodiff
from tests.frozen import dataclasses_of

MUTABLE = {"Call", "_Part"}  # of a trace, which its plan gives a place in memory; of a plan, which gets its graph


def test_all_other_dataclasses_are_frozen():
    found = dataclasses_of(minihybrid.autodiff)
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE and len(found) > 3
