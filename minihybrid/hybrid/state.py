"""The run in two dozen numbers: what a forecast, or a person, can look at to say how training goes.

Losses are numbers that are there anyway, and are looked at in every step. Weights and gradients are vectors, and each
look is a pass over all of them (and a wait for the device), so they are looked at only at the end of each window of
`every` real steps: at its last three sets of weights, from which two updates in a row can be told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from minihybrid.config import Config, is_count
from minihybrid.stateful import Stateful

if TYPE_CHECKING:
    from minihybrid.hybrid.predictors.predictor import RealStep

SCALES = {"fast": 1 / 4, "medium": 1 / 16, "slow": 1 / 64}
"""Weights of a new value in the exponential means at the three time scales."""

TINY = 1e-12

PHASES = ("warmup", "full", "predict", "correct")

FEATURES = {
    "level_fast": "log of the mean loss over some 4 steps",
    "level_medium": "log of the mean loss over some 16 steps",
    "level_slow": "log of the mean loss over some 64 steps",
    "slope_fast": "change in a step of the mean over some 4 steps, smoothed as long, relative to the medium one",
    "slope_medium": "the same over some 16 steps",
    "slope_slow": "the same over some 64 steps",
    "loss_noise": "log of the loss's standard deviation about its mean over some 4 steps, relative to the medium one",
    "gradient_norm": "log of the 2-norm of the gradient",
    "update_norm": "log of the 2-norm of a step",
    "weight_norm": "log of the 2-norm of the weights",
    "gradient_cosine": "cosine of the gradients of two steps in a row",
    "update_cosine": "cosine of two steps in a row",
    "coherence": "cosine of the displacements over this window and the one before it",
    "straightness": "length of the displacement over the window, relative to that of the path",
    "curvature": "asinh of s'y / s's, for a step s and the change y of the gradient over it",
    "learning_rate": "log of the learning rate",
    "steps": "log of 1 + the real steps made",
    "steps_since_correction": "log of 1 + the real steps made since the last phase Correct",
    "acceptance": "share of predictions accepted, of some 8 of the last; one half before any",
    "phase_warmup": "1 in the phase Warmup, else 0",
    "phase_full": "1 in the phase Full, else 0",
    "phase_predict": "1 in the phase Predict, else 0",
    "phase_correct": "1 in the phase Correct, else 0",
}
"""What each feature means.

Logarithms are of the absolute value, held within [1e-12, 1e12], so that all losses have one; slopes are held within
[-1, 1]. What comes of vectors is 0 until the first window has ended. Where gradients are not kept, -step / learning
rate stands for the gradient: plain descent would have needed it to make the step.
"""


class StateConfig(Config):
    """How often a `RunState` looks at vectors: at the end of every `every` real steps.

    Raises ValueError for anything but a positive integer.

    >>> StateConfig(every=4).init().features().shape
    (23,)
    """

    every: int = 16

    def __post_init__(self) -> None:
        self.require("every", is_count(self.every, 1), "a positive integer")

    def init(self) -> RunState:
        """The state of a run that has not begun."""
        return RunState(self)


class RunState(Stateful):
    """The features of a run, kept up to date by its real steps and by what became of its predictions.

    Between looks it keeps four copies of the weights' size, and a fifth where there are gradients.

    >>> import minihybrid as mh, numpy as np
    >>> from minihybrid.hybrid.predictors.predictor import RealStep
    >>> state = StateConfig(every=2).init()
    >>> for t in range(5):
    ...     state.observe(RealStep(2.0 ** -t, 0.1, np.full(3, t, np.float32), mh.optim.SGD()))
    >>> values = state.values()
    >>> round(values["coherence"], 6), round(values["update_cosine"], 6), values["slope_fast"] < 0
    (1.0, 1.0, True)
    """

    names = tuple(FEATURES)

    def __init__(self, config: StateConfig | None = None) -> None:
        self.config = config or StateConfig()
        self._phase = PHASES[0]
        self._steps = self._steps_since_correction = self._predictions = 0
        self._learning_rate = self._variance = 0.0
        self._acceptance = 0.5
        self._levels = [0.0] * len(SCALES)
        self._slopes = [0.0] * len(SCALES)
        self._looked: dict[str, float] = {}  # the features of vectors at the last look
        self.reset()

    def reset(self) -> None:
        """Forget the vectors, as after a rollback; a new window begins with the next step."""
        self._window = 0  # steps of this window
        self._last: Any = None  # the weights after the step before
        self._update: Any = None  # the step before
        self._gradient: Any = None  # its gradient
        self._start: Any = None  # the weights when the window began
        self._displacement: Any = None  # over the window before
        self._square = 0.0  # of its length

    def enter(self, phase: str) -> None:
        """A phase begins. Raises ValueError for one that is not in `PHASES`."""
        if phase not in PHASES:
            raise ValueError(f"RunState: there is no phase {phase!r}; expected one of {', '.join(PHASES)}.")
        self._phase = str(phase)

    def observe(self, step: RealStep) -> None:
        """A real step was made in the phase entered last; its loss and learning rate are finite numbers."""
        self._steps += 1
        self._steps_since_correction = 0 if self._phase == "correct" else self._steps_since_correction + 1
        for i, weight in enumerate(SCALES.values()):
            share = max(weight, 1 / self._steps)  # a plain mean until it is warm
            rise = share * (step.loss - self._levels[i])
            self._levels[i] += rise
            self._slopes[i] += share * (rise - self._slopes[i]) if self._steps > 1 else 0.0
        off = step.loss - self._levels[0]
        self._variance += SCALES["medium"] * (off * off - self._variance)
        self._watch(step)
        self._learning_rate = step.learning_rate

    def judged(self, accepted: bool) -> None:
        """A prediction was accepted, or it was not."""
        self._predictions += 1
        self._acceptance += max(1 / 8, 1 / (self._predictions + 1)) * (accepted - self._acceptance)

    def translate(self, delta: Any) -> None:
        """The weights were moved by `delta` [n] without a real step, which is no motion of the run."""
        if self._start is not None:
            self._start += delta
            self._last += delta

    def features(self) -> Any:
        """All features, float32 [len(names)], finite, in the order of `names`."""
        return np.array(list(self.values().values()), np.float32)

    def values(self) -> dict[str, float]:
        """All features by name."""
        level = max(TINY, abs(self._levels[1]))
        values = {
            **{f"level_{scale}": _log(mean) for scale, mean in zip(SCALES, self._levels, strict=True)},
            **{f"slope_{scale}": _cut(slope / level) for scale, slope in zip(SCALES, self._slopes, strict=True)},
            "loss_noise": _log(math.sqrt(self._variance) / level),
            **self._looked,
            "learning_rate": _log(self._learning_rate),
            "steps": math.log1p(self._steps),
            "steps_since_correction": math.log1p(self._steps_since_correction),
            "acceptance": self._acceptance,
            **{f"phase_{phase}": float(phase == self._phase) for phase in PHASES},
        }
        return {name: values.get(name, 0.0) for name in self.names}

    def _watch(self, step: RealStep) -> None:
        """Keep what the look at the end of the window will need, or look."""
        if self._start is None:
            self._last, self._start = step.weights.copy(), step.weights.copy()
            self._update, self._displacement = np.zeros_like(self._last), np.zeros_like(self._last)
        else:
            self._window += 1
            left = self.config.every - self._window
            if left > 2:
                return
            if left < 2:  # the weights before this step were kept: their array takes the update, and they the old one's
                update = np.subtract(step.weights, self._last, out=self._last)
                if left == 0:
                    self._look(step, update)
                self._last, self._update = self._update, update
            self._last[...] = step.weights
        if step.gradient is not None:
            self._gradient = np.empty_like(self._last) if self._gradient is None else self._gradient
            self._gradient[...] = step.gradient

    def _look(self, step: RealStep, update: Any) -> None:
        """The window has ended with this step and its update: measure, and begin the next."""
        weights, gradient, before = step.weights, step.gradient, self._update
        displacement = np.subtract(weights, self._start, out=self._start)
        pairs = [(weights, weights), (displacement, displacement), (displacement, self._displacement)]
        pairs += [(update, update), (before, before), (before, update)]
        if gradient is not None:
            kept = self._gradient
            pairs += [(gradient, gradient), (kept, kept), (kept, gradient), (before, gradient), (before, kept)]
        # Stacked, so that a device is waited for once.
        ww, dd, cd, uu, vv, vu, *products = np.stack([np.vdot(a, b) for a, b in pairs]).tolist()
        if gradient is None:
            lr, lr_before = max(step.learning_rate, TINY), max(self._learning_rate, TINY)
            products = [uu / lr**2, vv / lr_before**2, vu / (lr * lr_before), -vu / lr, -vv / lr_before]
        gg, hh, hg, vg, vh = products
        path = self._window * (math.sqrt(uu) + math.sqrt(vv)) / 2
        self._looked = {
            "gradient_norm": _log(math.sqrt(gg)),
            "update_norm": _log(math.sqrt(uu)),
            "weight_norm": _log(math.sqrt(ww)),
            "gradient_cosine": _ratio(hg, math.sqrt(gg) * math.sqrt(hh)),
            "update_cosine": _ratio(vu, math.sqrt(uu) * math.sqrt(vv)),
            "coherence": _ratio(cd, math.sqrt(dd) * math.sqrt(self._square)),
            "straightness": _ratio(math.sqrt(dd), path),
            "curvature": math.asinh(_ratio(vg - vh, vv)),
        }
        self._start, self._displacement, self._square = self._displacement, displacement, dd
        self._start[...] = weights
        self._window = 0


def _log(x: float) -> float:
    return math.log(min(max(TINY, abs(x)), 1 / TINY))  # in this order also of what is no number


def _cut(x: float) -> float:
    return min(max(-1.0, x), 1.0)


def _ratio(a: float, b: float) -> float:
    """a / b, and 0 where that is no finite number."""
    ratio = a / b if b else 0.0
    return ratio if math.isfinite(ratio) else 0.0
