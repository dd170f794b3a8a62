"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import shaped_like
from minihybrid.optim.optimizer import Moments, Optimizer, require


class SGD(Optimizer):
    """Steps against the gradient, with optional momentum (Polyak 1964; Sutskever et al. 2013 for Nesterov's form).

    `momentum` in [0, 1); `weight_decay` >= 0, times w, is added to the gradient. As in PyTorch, lr is not part of the
    momentum buffer: b = momentum b + (1 - dampening) g, w -= lr b (Nesterov: w -= lr (g + momentum b)); the first b is
    g. To ascend, step with the gradients times -1.

    >>> import minihybrid as mh
    >>> optim = mh.optim.SGD(momentum=0.9)
    """

    def __init__(
        self, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0, dampening: float = 0.0
    ) -> None:
        super().__init__()
        require(0 <= momentum < 1, "SGD", "momentum", momentum, "a number in [0, 1)")
        require(weight_decay >= 0, "SGD", "weight_decay", weight_decay, "a number that is not negative")
        require(0 <= dampening <= 1, "SGD", "dampening", dampening, "a number in [0, 1]")
        allowed = not nesterov or (momentum > 0 and dampening == 0)
        require(allowed, "SGD", "nesterov", nesterov, "False without momentum, and with dampening")
        self.momentum, self.nesterov, self.weight_decay, self.dampening = momentum, nesterov, weight_decay, dampening
        if momentum:
            self.moments = ("momentum",)

    def update(self, w: Any, g: Any, moments: Moments, lr: float, t: int) -> tuple[Any, Moments]:
        """See the class."""
        g = g + self.weight_decay * w
        if not self.momentum:
            return w - lr * g, {}
        b = self.momentum * moments["momentum"] + (g if t == 1 else (1 - self.dampening) * g)
        return w - lr * (g + self.momentum * b if self.nesterov else b), {"momentum": b}

    def update_in_place(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class."""
        if self.weight_decay:
            np.multiply(w, self.weight_decay, out=scratch)
            g += scratch
        if self.momentum:
            b = moments["momentum"]
            b *= self.momentum
            if self.dampening and t > 1:
                g *= 1 - self.dampening
            b += g
            if self.nesterov:
                np.multiply(b, self.momentum, out=scratch)
                g += scratch
            else:
                g = b
        np.multiply(g, lr, out=scratch)
        w -= scratch

    def update_in_one_launch(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class."""
        if not kernels.fits(w, g):
            return self.update_in_place(w, g, moments, lr, t, scratch)
        keep = 1 - self.dampening if self.dampening and t > 1 else 1.0
        arrays = w, moments.get("momentum"), g, shaped_like(np.full_like, w, lr, shape=())
        opaque_call(kernels.sgd, *arrays, self.momentum, keep, self.weight_decay, self.nesterov)
