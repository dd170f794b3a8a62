"""The settings of the hybrid trainer, as data: checked when made, written as JSON and read back."""

from __future__ import annotations

from minihybrid.config import Config, is_count, is_number
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.divergence import DivergenceLimits
from minihybrid.hybrid.hindsight import HindsightConfig
from minihybrid.hybrid.memory import MemoryBudget
from minihybrid.hybrid.payoff import PayoffConfig
from minihybrid.hybrid.predictors import DriftConfig, PredictorConfig, QuasiNewtonConfig
from minihybrid.hybrid.recovery import RecoveryConfig
from minihybrid.hybrid.state import StateConfig


class TrustConfig(Config):
    """How far a prediction may go, in units of its predictor: multiples of the last update, or of the proposal.

    From `initial` it grows `growth` times with every jump that proves good, up to `largest`, and is `cut` times smaller
    after a rejection, but not below what Warmup has found, at most 1. Where the next real step verifies the jump before
    it, the first steps are verified, too: they begin with the learning rate times `warmup`, which grows `cut` times
    with every step after which the loss is lower, up to 1, and is cut where it is higher. So too high a learning rate
    is found out before it does harm. Raises ValueError for values that make no sense.
    """

    initial: float = 4.0
    largest: float = 16.0
    growth: float = 2.0
    cut: float = 4.0
    warmup: float = 0.0625

    def __post_init__(self) -> None:
        self.require("largest", is_number(self.largest) and self.largest >= 1, "a number of at least 1")
        fits = is_number(self.initial) and 1 <= self.initial <= self.largest
        self.require("initial", fits, f"a number from 1 to the largest, {self.largest}")
        for name in ("growth", "cut"):
            self.require(name, is_number(getattr(self, name)) and getattr(self, name) > 1, "a number above 1")
        self.require("warmup", is_number(self.warmup) and 0 < self.warmup <= 1, "a number in (0, 1]")


class HybridConfig(Config):
    """The cycle of phases, the gates before a prediction, and the settings of every part.

    The cycle: `warmup` real steps once, then again and again `full` real steps, one prediction, `correct` real steps.
    After k rejections in a row the next 2^(k-1) predictions, at most `longest_wait`, are skipped: Correct is `full`
    longer for each. A prediction stands for `horizon` real steps, or for as many as the forecast of the loss reaches
    with `confidence` (0 to do without a forecast, which reaches 80 steps at most); its scale never takes it beyond
    `max_horizon`. Nothing is tried where the predictor's own confidence is below `coherence`.

    The parts: the `predictor`; how far it is trusted (`trust`); whether a jump is taken back late (`hindsight`) and
    whether predicting pays (`payoff`), how proposals are corrected (`correction`), what describes the run (`state`):
    None does without. `divergence` and `recovery` say what trouble is and what is done about it, `memory` what may be
    kept. With `compile`, loss and gradients come from a plan (see `mh.compile`), but for steps that verify the one
    before: by their loss it is decided whether there is a backward pass.

    Raises ValueError, one sentence, for values that make no sense.

    >>> config = HybridConfig(warmup=10, full=5)
    >>> HybridConfig.from_json(config.to_json()) == config
    True
    >>> HybridConfig.from_json('{"type": "HybridConfig", "horizn": 10}')
    Traceback (most recent call last):
        ...
    ValueError: HybridConfig has no field 'horizn'; did you mean 'horizon'?
    """

    warmup: int = 100
    full: int = 20
    correct: int = 5
    horizon: int = 20
    max_horizon: int = 80
    longest_wait: int = 16
    confidence: float = 0.85
    coherence: float = 0.3
    predictor: PredictorConfig = DriftConfig()
    trust: TrustConfig = TrustConfig()
    hindsight: HindsightConfig | None = HindsightConfig()
    payoff: PayoffConfig | None = PayoffConfig()
    correction: CorrectionConfig | None = None
    state: StateConfig | None = None
    divergence: DivergenceLimits = DivergenceLimits()
    recovery: RecoveryConfig = RecoveryConfig()
    memory: MemoryBudget = MemoryBudget()
    compile: bool = False

    def __post_init__(self) -> None:
        for name, least in (("warmup", 0), ("full", 1), ("correct", 0), ("horizon", 1), ("longest_wait", 0)):
            self.require(name, is_count(getattr(self, name), least), f"an integer of at least {least}")
        reaches = is_count(self.max_horizon, 1) and self.max_horizon >= self.horizon
        self.require("max_horizon", reaches, f"an integer of at least the horizon, {self.horizon}")
        self.require("confidence", is_number(self.confidence) and 0 <= self.confidence < 1, "a number in [0, 1)")
        self.require("coherence", is_number(self.coherence) and 0 <= self.coherence <= 1, "a number in [0, 1]")
        self.require("compile", isinstance(self.compile, bool), "True or False")
        fits = isinstance(self.predictor, PredictorConfig)
        self.require("predictor", fits, "the settings of a predictor, as DriftConfig()")
        for name, kind in _PARTS.items():
            value, optional = getattr(self, name), name in _OPTIONAL
            fits = isinstance(value, kind) or (optional and value is None)
            self.require(name, fits, f"{kind.__name__}(...){' or None' * optional}")

    @staticmethod
    def full_batch() -> HybridConfig:
        """For training on one batch that is the whole data set: `QuasiNewton`, a prediction after every real step."""
        return HybridConfig(
            warmup=5,
            full=1,
            correct=0,
            horizon=1,
            max_horizon=1,
            confidence=0.0,
            coherence=0.0,
            predictor=QuasiNewtonConfig(),
            trust=TrustConfig(largest=10.0),
            hindsight=None,  # every jump is verified by the step after it, and costs nothing where it was good
            payoff=None,
        )

    @staticmethod
    def minibatch() -> HybridConfig:
        """For training on small batches: `Drift`, a prediction after every 40 real steps."""
        return HybridConfig(full=40, horizon=40, max_horizon=640, confidence=0.0)

    @staticmethod
    def reference() -> HybridConfig:
        """The numbers that hybrid-predict-trainer-rs calls its optimum, and all of its parts, for comparison."""
        return HybridConfig(
            full=15,
            horizon=75,
            max_horizon=75,
            confidence=0.6,
            correction=CorrectionConfig(),
            state=StateConfig(),
            divergence=DivergenceLimits(loss_sigma=2.2),
        )


_OPTIONAL = {"hindsight": HindsightConfig, "payoff": PayoffConfig, "correction": CorrectionConfig, "state": StateConfig}
_PARTS = {
    **_OPTIONAL,
    "trust": TrustConfig,
    "divergence": DivergenceLimits,
    "recovery": RecoveryConfig,
    "memory": MemoryBudget,
}
