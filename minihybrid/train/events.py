"""What happens in a run, as a stream of values. Displays and logs listen to it, and know nothing else of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from minihybrid.module.module import Module
from minihybrid.stateful import savable
from minihybrid.train.ledger import Ledger
from minihybrid.train.metrics import Evaluation
from minihybrid.train.step import StepResult


@dataclass(frozen=True)
class Stepped:
    """The trainer has made a step, in so many seconds, on the clock and of the processor."""

    result: StepResult
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Evaluated:
    """The model was scored on the validation set, after so many steps."""

    steps: int
    evaluation: Evaluation


@savable
@dataclass
class Summary:
    """What a run came to. `seconds` and `cpu_seconds` are by phase, with the evaluations under "evaluate".

    `diverged` is the sentence that a run ended with whose numbers were not finite any more; its evaluation is then the
    best that there was.
    """

    steps: int = 0
    planned: int = 0
    interrupted: bool = False
    diverged: str = ""
    evaluation: Evaluation | None = None
    ledger: Ledger = field(default_factory=Ledger)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def count(self, result: StepResult, seconds: float, cpu_seconds: float) -> None:
        """Add a step."""
        self.steps += 1
        self.ledger.count(result)
        self.spend(result.phase, seconds, cpu_seconds)

    def spend(self, phase: str, seconds: float, cpu_seconds: float) -> None:
        """Add time to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.cpu_seconds[phase] = self.cpu_seconds.get(phase, 0.0) + cpu_seconds


@dataclass(frozen=True)
class Started:
    """A run of so many steps begins, or goes on from where `before` ends; `notes` are sentences about what was found.

    What listeners have told of later steps was told in vain: these steps are made again.
    """

    steps: int
    before: Summary = field(default_factory=Summary)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The run is over, as planned or because it was interrupted; the model is to be read.

    Where it diverged, it is the model that scored best on the validation set.
    """

    summary: Summary
    model: Module


Event: TypeAlias = Started | Stepped | Evaluated | Ended
Listener: TypeAlias = Callable[[Event], None]
