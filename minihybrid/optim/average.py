"""Optimizers around an optimizer: averages of the weights along the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from minihybrid.autodiff.trace import host_number
from minihybrid.module.module import Module, pack
from minihybrid.optim.optimizer import Moments, Optimizer, require


class Averaged(Optimizer):
    """The base of wrappers: lets `inner` make the step, then moves its own average, the moment "average".

    A subclass defines `share`. Before a parameter's first step its average is its value. Averages are of parameters;
    buffers, such as running statistics, are those of training.
    """

    moments = ("average",)
    positions = ("average",)
    returns: ClassVar[bool] = False  # whether the weights go to the average when it has moved

    def __init__(self, inner: Optimizer) -> None:
        super().__init__()
        self.inner = inner

    def share(self, t: int) -> float:
        """How much of the way to the weights the average goes after step t = 1, 2, ... of a parameter: 0 to 1."""
        raise TypeError(f"{type(self).__name__} defines no share().")

    def check(self, model: Module, present: list[bool]) -> None:
        """What the inner optimizer cannot update."""
        self.inner.check(model, present)

    def apply(self, lr: float, model: Module, gradient: Any, present: list[bool]) -> None:
        """The inner step, then the average."""
        storage = pack(model)
        self.lay_out(storage)
        if host_number(self._begins):
            for slot, steps in zip(storage.slots, self._steps, strict=True):
                if steps == 0:
                    slot.view(self._vectors["average"])[...] = slot.view(storage.values)
        self.inner.apply(lr, model, gradient, present)
        super().apply(lr, model, gradient, present)

    def _begins(self) -> bool:
        """Whether a parameter may be about to make its first step."""
        return 0 in self._steps

    def parts(self) -> Iterator[Optimizer]:
        """This optimizer, and those that it is made of."""
        yield self
        yield from self.inner.parts()

    def update(self, w: Any, g: Any, moments: Moments, lr: float, t: int) -> tuple[Any, Moments]:
        """See the class: the inner optimizer has made the step already, and g is not looked at."""
        share, average = self.share(t), moments["average"]
        average = w if share == 1 else average + share * (w - average)
        return average if self.returns and share else w, {"average": average}

    def update_in_place(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class."""
        share, average = self.share(t), moments["average"]
        if share == 1:
            average[...] = w
        elif share:
            np.subtract(w, average, out=scratch)
            scratch *= share
            average += scratch
            if self.returns:
                w[...] = average

    def translate(self, delta: Any) -> None:
        """The average moves along, and what of the inner rule's is a position."""
        super().translate(delta)
        self.inner.translate(delta)

    def coasted(self, lr: float, weights: Any, steps: int) -> Any:
        """The inner rule's, without what its average would make of it."""
        return self.inner.coasted(lr, weights, steps)

    def scaling(self) -> Any:
        """The inner rule's."""
        return self.inner.scaling()

    def read(self, w: Any, moments: Moments) -> Any:
        """The average."""
        return moments["average"]

    def state(self) -> dict[str, Any]:
        """Its own state, with the inner optimizer's under "inner"."""
        return {**super().state(), "inner": self.inner.state()}

    def load_state(self, state: dict[str, Any], model: Module | None = None) -> None:
        """Continue from a `state`."""
        before = self.inner.state()
        self.inner.load_state(state["inner"], model)
        try:
            super().load_state(state, model)
        except ValueError:
            self.inner.load_state(before, model)
            raise

    def snapshot(self) -> dict[str, Any]:
        """The state of both, for `restore`."""
        return {**super().snapshot(), "inner": self.inner.snapshot()}

    def restore(self, snapshot: dict[str, Any], model: Module | None = None) -> None:
        """Return to a `snapshot`, to the bit."""
        self._require_like(snapshot, model)
        self.inner.restore(snapshot["inner"], model)
        super().restore(snapshot, model)


class Ema(Averaged):
    """Keeps an exponential moving average of the weights, which training never sees; `readout` gives a model with it.

    (Polyak and Juditsky 1992 for averaging; the exponential form as in Morales-Brotons et al. 2024.) `decay` in [0, 1)
    is how much of the average is kept in a step; at first less, min(decay, (1 + t) / (10 + t)), so that it forgets
    where it began.

    >>> import minihybrid as mh
    >>> optim = mh.optim.Ema(mh.optim.Adam(), decay=0.99)
    """

    def __init__(self, inner: Optimizer, decay: float = 0.999) -> None:
        super().__init__(inner)
        require(0 <= decay < 1, "Ema", "decay", decay, "a number in [0, 1)")
        self.decay = decay

    def share(self, t: int) -> float:
        """See the class."""
        return 1 - min(self.decay, (1 + t) / (10 + t))


class Swa(Averaged):
    """Keeps the plain mean of the weights after every `every` steps from step `start` on (Izmailov et al. 2018).

    It counts the weights after steps start + every, start + 2 every, ...; up to the first of these, the average is the
    last weights. Training never sees it; `readout` gives a model with it.

    >>> import minihybrid as mh
    >>> optim = mh.optim.Swa(mh.optim.SGD(), start=100, every=10)
    """

    def __init__(self, inner: Optimizer, start: int = 0, every: int = 1) -> None:
        super().__init__(inner)
        require(start >= 0, "Swa", "start", start, "an integer that is not negative")
        require(every >= 1, "Swa", "every", every, "a positive integer")
        self.start, self.every = start, every

    def share(self, t: int) -> float:
        """See the class."""
        count, since = divmod(t - self.start, self.every)
        if count < 1:
            return 1.0
        return 0.0 if since else 1 / count


class Lookahead(Averaged):
    """Every `k` steps, goes back to a point between where it was k steps ago and now (Zhang et al. 2019, algorithm 1).

    `alpha` in (0, 1] is how far towards the new point; 1 is the inner optimizer to the bit. `readout` gives the last
    such point.

    >>> import minihybrid as mh
    >>> optim = mh.optim.Lookahead(mh.optim.Adam(), k=5, alpha=0.5)
    """

    returns = True

    def __init__(self, inner: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        super().__init__(inner)
        require(k >= 1, "Lookahead", "k", k, "a positive integer")
        require(0 < alpha <= 1, "Lookahead", "alpha", alpha, "a number in (0, 1]")
        self.k, self.alpha = k, alpha

    def share(self, t: int) -> float:
        """See the class."""
        return 0.0 if t % self.k else self.alpha
