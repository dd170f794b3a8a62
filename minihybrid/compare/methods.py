"""The methods of the comparison by name.

A name that ends in /linear or /cosine is the same method with its learning rate decayed to 0 over the budget.
"""

from minihybrid.compare.baselines import baselines
from minihybrid.compare.controls import controls
from minihybrid.compare.hybrids import hybrids
from minihybrid.compare.method import Method

METHODS: dict[str, Method] = {method.name: method for method in (*baselines(), *hybrids(), *controls())}
"""In the order of reports."""
