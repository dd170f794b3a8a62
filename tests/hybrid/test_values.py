"""What the parts of the trainer tell each other are values: nobody changes what another was told."""

import minihybrid.hybrid
from tests.frozen import dataclasses_of

MUTABLE = {"Foretold"}  # the losses of Correct, as they come in


def test_all_other_dataclasses_are_frozen():
    found = dataclasses_of(minihybrid.hybrid)
    assert {name for name, frozen in found.items() if not frozen} == MUTABLE and len(found) > 20
