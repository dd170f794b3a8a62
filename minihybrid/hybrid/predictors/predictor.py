"""What a predictor is: it watches real steps, and says where the weights are heading.

A predictor lives on flat vectors: the weights of a model end to end, in its storage's layout. It never moves the model
and never decides; it proposes a displacement, and says how that is to be verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from minihybrid.config import Config
from minihybrid.device import Device
from minihybrid.hybrid.memory import Demand, MemoryPlan
from minihybrid.hybrid.verify import Verification
from minihybrid.optim.optimizer import Optimizer
from minihybrid.train.reading import Readings, later

AT_ONCE = Readings(Device("cpu"))


@later("loss")
@dataclass(frozen=True, eq=False)
class RealStep:
    """What a real step tells. The vectors are borrowed: copy what you keep.

    `loss` was taken at the weights `start`, and `gradient` is its gradient there, before clipping (0 where a parameter
    has none); the optimizer's step led to `weights`. `start` and `gradient` are None for predictors that do not look at
    gradients. All three are [n], of the model's dtype. `readings` takes numbers that are not needed before the next
    loss is read: they are read with it.
    """

    loss: float
    learning_rate: float
    weights: Any
    optimizer: Optimizer
    start: Any = None
    gradient: Any = None
    readings: Readings = AT_ONCE


@dataclass(frozen=True, eq=False)
class Prediction:
    """A displacement of the weights, and what the predictor thinks of it.

    `delta` [n] is to be added to the weights as they are. `est_steps` is how many real steps it stands for.
    `confidence` in [0, 1] is the predictor's own. `cost` is the passes over a vector [n] that were spent on it,
    observing included. Where probes should start from another point than the weights (an average of them, say),
    `origin` [n] is that point. `finite`: the predictor has made sure that `delta` is, so that nobody has to look.
    """

    delta: Any
    est_steps: float
    confidence: float = 1.0
    cost: float = 0.0
    origin: Any = None
    finite: bool = False


class Predictor(Protocol):
    """Learns from real steps alone: a predicted state never enters its history."""

    looks_at_gradients: bool
    """Whether it needs `start` and `gradient` of real steps; keeping them costs two passes a step."""

    @property
    def verification(self) -> Verification:
        """How its predictions are verified."""

    def observe(self, step: RealStep) -> None:
        """A real step was made."""

    def predict(self, horizon: int, trust: float = 1.0) -> Prediction | None:
        """Where the weights would be after `horizon` more real steps; None if there is nothing to say yet.

        `trust` is the controller's: a predictor whose verification adapts it takes it as the limit of the length of
        its proposal, in its own units.
        """

    def translate(self, delta: Any) -> None:
        """A jump was accepted: the weights were moved by `delta` [n] without a real step."""

    def readout(self) -> Any:
        """The weights [n] to evaluate and to keep instead of the last ones (an average, say), borrowed; or None."""

    def reset(self) -> None:
        """Forget how the weights moved, as after a rollback; an average to read out goes on."""

    def state_dict(self) -> dict[str, Any]:
        """All there is to know, as numbers and arrays (copies)."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, which is copied. Raises ValueError, and changes nothing, if it is none."""


class PredictorConfig(Config):
    """The base of the settings of predictors, which build them.

    `reads_out`: whether the predictor keeps an average to read out, which a rollback has to take back, too.
    """

    reads_out: ClassVar[bool] = False

    def init(self) -> Predictor:
        """The predictor."""
        raise TypeError(f"{type(self).__name__} defines no init(); the settings of a predictor build it.")

    def vectors(self) -> int:
        """How many vectors [n] the predictor keeps, at most."""
        raise TypeError(f"{type(self).__name__} defines no vectors(); say how many the predictor keeps.")

    def demand(self) -> Demand:
        """The same for a plan of memory; a predictor whose history can be shorter says so."""
        return Demand(history=0, least=0, fixed=self.vectors())

    def within(self, plan: MemoryPlan) -> Self:
        """These settings, with the history that a plan allows."""
        return self
