"""What a run has left in its folder, read and checked: a report is made of what is there, or of nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minihybrid.train.ledger import Ledger
from minihybrid.train.metrics import Evaluation
from minihybrid.train.run import RunError

RUNS = Path("runs")
"""Where a run is looked for that is given by its name alone."""


@dataclass(frozen=True)
class Step:
    """What the report needs of a StepResult (which says what the fields mean); what was not finite is NaN."""

    step: int
    phase: str
    loss: float
    learning_rate: float
    gradient_norm: float | None
    predicted: bool
    accepted: bool
    rolled_back: bool
    horizon: float
    scale: float
    confidence: float | None
    loss_after: float | None
    guard: str | None
    note: str
    seconds: float
    cost: float

    @property
    def outcome(self) -> str:
        """What a prediction came to."""
        return "rolled back" if self.rolled_back else "accepted" if self.accepted else "declined"


@dataclass
class Run:
    """A run by its name: its folder, its configuration, its steps, and its evaluations with the cost that they came at.

    Costs are in gradient equivalents. `seconds` are by phase. `ledger` counts what was spent and predicted.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    evaluations: list[tuple[float, Evaluation]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def exact(self) -> bool:
        """Whether each step saw all of the training set, so that losses are no noise."""
        examples = self.config.get("examples")
        return isinstance(examples, dict) and self.config.get("batch_size", "") == examples.get("train")


def read(run: str) -> Run:
    """The run in this folder, or of this name in `runs/`. Raises RunError for one that is missing or damaged."""
    folder = next((folder for folder in (Path(run), RUNS / run) if os.path.isdir(folder)), None)
    if folder is None:
        raise RunError(f"there is no run {run!r}; write the folder of a run, or its name if it is in runs/.")
    config = _Entry(folder / "config.json", 0, _text(folder / "config.json"))
    found = Run(folder.resolve().name, folder, config.content)
    path, ended = folder / "metrics.jsonl", False
    for number, line in enumerate(_text(path).splitlines(), start=1):
        entry = _Entry(path, number, line)
        match entry.content.get("event"):
            case "step":
                found.steps.append(_step(entry))
            case "evaluation":
                cost = found.steps[-1].cost if found.steps else 0.0
                found.evaluations.append((cost, _evaluation(entry)))
            case "end":
                ended = True
                _end(found, entry)
    if not ended:
        raise RunError(f"{path} has no end: the run was killed or is still going on.")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise RunError(f"{path} is damaged: it is no UTF-8 text.") from None


class _Entry:
    """A JSON object from a file, whose fields are checked as they are read."""

    def __init__(self, path: Path, number: int, text: str) -> None:
        self.where = f"{path}, line {number}," if number else str(path)
        try:
            content = json.loads(text, parse_constant=self._refuse)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RunError(f"{self.where} is damaged: expected a JSON object.")
        self.content: dict[str, Any] = content

    def _refuse(self, constant: str) -> None:
        raise ValueError(constant)

    def _wrong(self, name: str, expected: str) -> RunError:
        came = json.dumps(self.content.get(name))
        return RunError(f"{self.where} is damaged: {name} is {came[:40]}; expected {expected}.")

    def number(self, name: str) -> float:
        """A number; NaN where null stands for one that was not finite."""
        value = self.content.get(name)
        if value is None and name in self.content:
            return math.nan
        try:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value) if math.isfinite(value) else math.nan
        except OverflowError:
            pass
        raise self._wrong(name, "a number")

    def maybe(self, name: str) -> float | None:
        """A number, or None where there is none."""
        return None if self.content.get(name) is None else self.number(name)

    def count(self, name: str) -> int:
        """A whole number from 0 on."""
        value = self.content.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return value
        raise self._wrong(name, "a whole number from 0 on")

    def text(self, name: str) -> str:
        """A text."""
        if isinstance(value := self.content.get(name), str):
            return value
        raise self._wrong(name, "a text")

    def flag(self, name: str) -> bool:
        """True or false."""
        if isinstance(value := self.content.get(name), bool):
            return value
        raise self._wrong(name, "true or false")

    def inside(self, name: str) -> _Entry:
        """An object within this one."""
        value = self.content.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        entry = object.__new__(_Entry)
        entry.where, entry.content = f"{self.where} {name}", value
        return entry

    def numbers(self, name: str) -> Iterator[tuple[str, float]]:
        """The numbers of an object within this one, by name."""
        inside = self.inside(name)
        return ((key, inside.number(key)) for key in inside.content)


def _step(entry: _Entry) -> Step:
    spent = Ledger(backward_passes=entry.count("backward_passes"), probe_batches=entry.number("probe_batches"))
    return Step(
        step=entry.count("step"),
        phase=entry.text("phase"),
        loss=entry.number("loss"),
        learning_rate=entry.number("learning_rate"),
        gradient_norm=entry.maybe("gradient_norm"),
        predicted=entry.flag("predicted"),
        accepted=entry.flag("accepted"),
        rolled_back=entry.flag("rolled_back"),
        horizon=entry.number("horizon"),
        scale=entry.number("scale"),
        confidence=entry.maybe("confidence"),
        loss_after=entry.maybe("loss_after"),
        guard=None if entry.content.get("guard") is None else entry.text("guard"),
        note=entry.text("note"),
        seconds=entry.number("seconds"),
        cost=spent.gradient_equivalents,
    )


def _evaluation(entry: _Entry) -> Evaluation:
    return Evaluation(entry.number("loss"), entry.maybe("accuracy"))


def _end(run: Run, entry: _Entry) -> None:
    run.interrupted = entry.flag("interrupted")
    run.seconds = dict(entry.numbers("seconds"))
    run.cpu_seconds = dict(entry.numbers("cpu_seconds"))
    counts = ("backward_passes", "forward_probes", *(f"predictions_{what}" for what in OUTCOMES))
    run.ledger = Ledger(probe_batches=entry.number("probe_batches"), **{name: entry.count(name) for name in counts})


OUTCOMES = ("tried", "accepted", "rolled_back", "declined")
