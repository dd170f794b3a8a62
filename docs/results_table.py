"""Write the README's table of results: `python docs/results_table.py`.

It is made from benchmarks/results/compare/compare.json, which `minihybrid compare --suite full` has written.
"""

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
PLACE = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- /results -->)", re.DOTALL)

BATCHES = {  # the methods that are compared, ours last, and the tasks by what they are called
    "full batches": (
        {"adam": "Adam", "lbfgs": "L-BFGS", "hybrid/quasi-newton": "hybrid"},
        {"digits": "digits", "spirals": "spirals", "logistic": "logistic", "regression": "regression", "xor": "XOR"},
    ),
    "minibatches": (
        {"adam": "Adam", "adam+ema": "Adam, averaged", "hybrid/drift": "hybrid"},
        {"digits": "digits", "digits-noisy": "digits, some labels wrong", "regression": "regression", "mnist": "MNIST"}
        | {"characters": "characters"},
    ),
}
TARGET = "50%"
"""The training loss that tuned Adam reaches in half of its budget."""


def tables() -> str:
    """Gradient equivalents to the target, medians over the seeds, in Markdown."""
    rows = json.loads((ROOT / "benchmarks/results/compare/compare.json").read_text())
    found = []
    for batches, (methods, tasks) in BATCHES.items():
        found += [f"| {batches} | {' | '.join(methods.values())} |", "|---|" + "---:|" * len(methods)]
        for task, name in tasks.items():
            costs = [
                _cost(rows, f"{batches.removesuffix('es').replace(' ', '-')}/{task}", method) for method in methods
            ]
            found.append(f"| {name} | {' | '.join(costs)} |")
        found.append("")
    return "\n".join(found)


def _cost(rows: list[dict[str, Any]], task: str, method: str) -> str:
    costs = [
        math.inf if row["gradient_equivalents"] is None else row["gradient_equivalents"]
        for row in rows
        if (row["task"], row["method"], row["target"]) == (task, method, TARGET)
    ]
    median = statistics.median(costs)
    return f"{median:,.0f}" if median < math.inf else "-"


if __name__ == "__main__":
    PAGE.write_text(PLACE.sub(lambda _: tables(), PAGE.read_text()))
