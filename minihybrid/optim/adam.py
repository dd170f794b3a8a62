"""Adam, AdamW, and their AMSGrad form."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import shaped_like
from minihybrid.optim.optimizer import Moments, Optimizer, require


class Adam(Optimizer):
    """Steps by the mean of past gradients over the root of the mean of their squares (Kingma and Ba 2015, algorithm 1).

    `betas` in [0, 1): how much of either mean is kept in a step. `eps` > 0 is added to the root. `weight_decay` >= 0
    times w is added to the gradient. With `amsgrad` the root is taken of the largest mean of squares so far, so that
    steps never grow when gradients fade (Reddi, Kale and Kumar 2018, algorithm 2; with Adam's bias correction, as in
    PyTorch). Defaults are PyTorch's (Burn's eps is 1e-5, and AdamW's weight decay 1e-4). The moments kept are unscaled
    sums, m / (1 - beta1) and v / (1 - beta2) of the paper, so that scale and bias correction fold into two numbers a
    step.

    >>> import minihybrid as mh
    >>> optim = mh.optim.Adam(betas=(0.9, 0.99))
    """

    moments: tuple[str, ...] = ("m", "v")

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require(len(betas) == 2 and all(0 <= b < 1 for b in betas), name, "betas", betas, "two numbers in [0, 1)")
        require(eps > 0, name, "eps", eps, "a positive number")
        require(weight_decay >= 0, name, "weight_decay", weight_decay, "a number that is not negative")
        self.betas, self.eps, self.weight_decay, self.amsgrad = betas, eps, weight_decay, amsgrad
        if amsgrad:
            self.moments = (*self.moments, "v_max")

    def decayed(self, w: Any, g: Any, lr: float) -> tuple[Any, Any]:
        """w and g after weight decay."""
        return w, g + self.weight_decay * w

    def update(self, w: Any, g: Any, moments: Moments, lr: float, t: int) -> tuple[Any, Moments]:
        """See the class."""
        beta1, beta2 = self.betas
        w, g = self.decayed(w, g, lr)
        m = beta1 * moments["m"] + g
        v = beta2 * moments["v"] + g * g
        after = {"m": m, "v": v}
        if self.amsgrad:
            v = after["v_max"] = np.maximum(moments["v_max"], v)
        m_hat = m * (1 - beta1) / (1 - beta1**t)
        v_hat = v * (1 - beta2) / (1 - beta2**t)
        return w - lr * m_hat / (np.sqrt(v_hat) + self.eps), after

    def scale(self, moments: Moments, t: int) -> Any:
        """1 / (sqrt(v_hat) + eps)."""
        v = moments["v_max"] if self.amsgrad else moments["v"]
        beta2 = self.betas[1]
        return 1 / (np.sqrt(v * ((1 - beta2) / (1 - beta2**t))) + self.eps)

    def decay_in_place(self, w: Any, g: Any, lr: float, scratch: Any) -> None:
        """Weight decay, written into w or g."""
        np.multiply(w, self.weight_decay, out=scratch)
        g += scratch

    def update_in_place(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class; sqrt(v_hat) + eps is taken as root * (sqrt(v) + eps / root)."""
        beta1, beta2 = self.betas
        if self.weight_decay:
            self.decay_in_place(w, g, lr, scratch)
        m, v = moments["m"], moments["v"]
        m *= beta1
        m += g
        np.multiply(g, g, out=scratch)
        v *= beta2
        v += scratch
        if self.amsgrad:
            v = np.maximum(moments["v_max"], v, out=moments["v_max"])
        eps, size = self._numbers(lr, t)
        np.sqrt(v, out=scratch)
        scratch += eps
        np.divide(m, scratch, out=scratch)
        scratch *= size
        w -= scratch

    def _numbers(self, lr: float, t: int) -> tuple[float, float]:
        """eps and lr, with what the bias corrections and the scales of the moments make of them."""
        beta1, beta2 = self.betas
        root = ((1 - beta2) / (1 - beta2**t)) ** 0.5
        return self.eps / root, lr * (1 - beta1) / (1 - beta1**t) / root

    def update_in_one_launch(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class. Numbers that change go into arrays: a recorded graph reads them anew."""
        if not kernels.fits(w, g):
            return self.update_in_place(w, g, moments, lr, t, scratch)
        eps, size = (shaped_like(np.full_like, w, number, shape=()) for number in self._numbers(lr, t))
        m, v, v_max = moments["m"], moments["v"], moments.get("v_max")
        shrink, decay = self._decay_numbers(w, lr)
        opaque_call(kernels.adam, w, m, v, v_max, g, eps, size, shrink, self.betas, decay)

    def _decay_numbers(self, w: Any, lr: float) -> tuple[Any, float]:
        """What w shrinks by, an array or None, and how much of it is added to g."""
        return None, self.weight_decay


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: w shrinks by lr * weight_decay (Loshchilov and Hutter 2019).

    >>> import minihybrid as mh
    >>> optim = mh.optim.AdamW(weight_decay=0.01)
    """

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(betas, eps, weight_decay, amsgrad)

    def decayed(self, w: Any, g: Any, lr: float) -> tuple[Any, Any]:
        """w and g after weight decay."""
        return w * (1 - lr * self.weight_decay), g

    def decay_in_place(self, w: Any, g: Any, lr: float, scratch: Any) -> None:
        """Weight decay, written into w."""
        w *= 1 - lr * self.weight_decay

    def _decay_numbers(self, w: Any, lr: float) -> tuple[Any, float]:
        return shaped_like(np.full_like, w, 1 - lr * self.weight_decay, shape=()), 0.0
