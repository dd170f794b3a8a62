"""The comparison as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from minihybrid.compare.comparison import Comparison
from minihybrid.compare.figures import Final, Spread, final, reached, targets

COSTS = {
    "gradient_equivalents": "Gradient equivalents",
    "backward_passes": "Backward passes",
    "cpu_seconds": "Seconds of processor time",
}
BESIDE = ("adam", "adam+ema", "lbfgs")
"""The methods whose costs are divided by those of every method."""

EXPLANATION = """\
Every method trains on the same examples. Its learning rate is the best of a grid by factors of two: for the final
training loss of one run on full batches, for the mean final validation loss of two runs on others, with seeds that are
not among those reported. Numbers are medians over the seeds, with the lowest and the highest beside them. A gradient
equivalent is a forward and backward pass over a batch; a forward pass alone counts a third.

Final losses, where batches are noisy, are those of methods whose learning rate has ended at 0, or which need no
schedule, when the budget is spent. A speed-up is what a baseline would have had to spend for that loss, its schedule
that of the budget, over what was spent; none where its curve of loss against budget does not reach so far. Targets are
the training losses that tuned `adam` reaches in 10, 25, 50 and 100 % of its budget; `adam / it` is the cost of tuned
`adam` over that of the method, to each of the four. Methods without a schedule in their name have a constant learning
rate."""


def document(comparison: Comparison, skipped: Sequence[str]) -> str:
    """All tables; `skipped` are sentences about what did not take part."""
    parts = [f"# Comparison: {comparison.suite} suite, seeds: {comparison.seeds}", EXPLANATION]
    if comparison.interrupted:
        parts.append("It was interrupted: only what was finished is here.")
    for task in comparison.aims:
        if comparison.of(task):
            parts += [f"## {task}", *_baselines(comparison, task), final_losses(comparison, task)]
            for cost, title in COSTS.items():
                parts += [f"{title} to the targets:", costs(comparison, task, cost)]
    if comparison.failed:
        failed = sorted(comparison.failed, key=lambda entry: (entry.task, entry.method, entry.seed, entry.lr))
        lines = [[e.task, e.method, str(e.seed), _number(e.lr), _number(e.budget)] for e in failed]
        parts += ["## Runs that diverged", _table(["task", "method", "seed", "lr", "budget"], lines)]
    if untuned := [f"- {r.method} on {r.task}" for r in comparison.results if r.lr is None]:
        parts += ["## No learning rate found", "\n".join(untuned)]
    if skipped:
        parts += ["## Left out", "\n".join(f"- {sentence}" for sentence in skipped)]
    return "\n\n".join(parts) + "\n"


def _baselines(comparison: Comparison, task: str) -> Iterable[str]:
    for baseline in comparison.baselines.get(task, []):
        points = ", ".join(f"{_number(loss)} for {budget:g}" for budget, loss in baseline.curve)
        yield f"`{baseline.method}` ends with {points}."


def final_losses(comparison: Comparison, task: str) -> str:
    """A line for every method that is at its best by then, the best first."""
    finals = [final(comparison, result) for result in comparison.finals(task)]
    finals.sort(key=lambda final: _rank(getattr(final, comparison.aims[task])))
    baselines = [baseline.method for baseline in comparison.baselines.get(task, [])]
    header = ["method", "lr", "spent", "training loss", "validation loss", *(f"over {name}" for name in baselines)]
    return _table(header, [_final(final, baselines) for final in finals])


def _rank(spread: Spread | None) -> float:
    return math.inf if spread is None else spread.median


def _final(final: Final, baselines: Sequence[str]) -> list[str]:
    speed_ups = [_speed_up(final.speed_ups.get(name)) for name in baselines]
    losses = [_spread(final.train_loss), _spread(final.val_loss)]
    note = f", {final.diverged} diverged" if final.diverged else ""
    return [final.method + note, _number(final.lr), _number(final.spent), *losses, *speed_ups]


def _speed_up(value: float | None) -> str:
    return "none" if value is None or value in (0, math.inf) else f"{value:.2f}"


def costs(comparison: Comparison, task: str, cost: str) -> str:
    """What every method spent to each target, and what others spent over that."""
    losses = targets(comparison, task)

    def spent(method: str, target: str) -> list[float]:
        points = [reached(run, losses[target]) for run in comparison.runs_of(task, method)]
        return [math.inf if point is None else float(getattr(point, cost)) for point in points]

    beside = [method for method in BESIDE if losses and comparison.runs_of(task, method)]
    lines = [
        [
            result.method,
            *(_cost(spent(result.method, target)) for target in losses),
            *(
                " ".join(_ratio(spent(method, target), spent(result.method, target)) for target in losses)
                for method in beside
            ),
        ]
        for result in comparison.of(task)
    ]
    header = ["method", *(f"{target} ({_number(loss)})" for target, loss in losses.items())]
    return _table([*header, *(f"{method} / it" for method in beside)], lines)


def _cost(costs: Sequence[float]) -> str:
    spread = Spread.of(costs)
    if spread is None or not math.isfinite(spread.median):
        return "-"
    some = [cost for cost in costs if math.isfinite(cost)]
    note = "" if len(some) == len(costs) else f", {len(some)} of {len(costs)}"
    return f"{_number(spread.median)} ({_number(min(some))} to {_number(max(some))}{note})"


def _ratio(theirs: Sequence[float], own: Sequence[float]) -> str:
    over, under = Spread.of(theirs), Spread.of(own)
    if over is None or under is None or not math.isfinite(over.median) or not 0 < under.median < math.inf:
        return "-"
    return f"{over.median / under.median:.2f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (header, rule, *lines)
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"
