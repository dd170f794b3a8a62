"""Schedule-Free AdamW."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid.optim.optimizer import Moments, Optimizer, require


class ScheduleFreeAdamW(Optimizer):
    """AdamW without a schedule: gradients are taken between the iterate and its average.

    (Defazio et al. 2024, algorithm 1; Adam's bias correction is in v, as in the authors' code, not in the learning
    rate.) While it trains, the model holds y = (1 - beta1) z + beta1 x, where z is the iterate and x the average,
    weighted by the squares of the learning rates; `readout` gives a model with x, which is the one to evaluate and to
    keep. `betas` in (0, 1) and [0, 1), `eps` > 0, `weight_decay` >= 0 (applied at y). A warm-up of the learning rate is
    still wanted.

    >>> import minihybrid as mh
    >>> optim = mh.optim.ScheduleFreeAdamW()
    """

    moments = ("v", "z", "weight_sum")
    positions = ("z",)

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__()
        name = "ScheduleFreeAdamW"
        require(len(betas) == 2 and 0 < betas[0] < 1 and 0 <= betas[1] < 1, name, "betas", betas, "numbers in (0, 1)")
        require(eps > 0, name, "eps", eps, "a positive number")
        require(weight_decay >= 0, name, "weight_decay", weight_decay, "a number that is not negative")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, w: Any, g: Any, moments: Moments, lr: float, t: int) -> tuple[Any, Moments]:
        """See the class. x is not kept: y moves by 1 - beta1 of z's step, and then by c towards z, as x does."""
        beta1, beta2 = self.betas
        v = beta2 * moments["v"] + (1 - beta2) * g * g
        step = g / (np.sqrt(v / (1 - beta2**t)) + self.eps) + self.weight_decay * w
        z = (w if t == 1 else moments["z"]) - lr * step
        y = w - lr * (1 - beta1) * step
        weight_sum = moments["weight_sum"] + lr * lr
        c = lr * lr / np.maximum(weight_sum, np.finfo(w.dtype).tiny)
        return y + c * (z - y), {"v": v, "z": z, "weight_sum": weight_sum}

    def update_in_place(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """See the class; g becomes the step."""
        beta1, beta2 = self.betas
        v, z, weight_sum = moments["v"], moments["z"], moments["weight_sum"]
        if t == 1:
            z[...] = w
        v *= beta2
        np.multiply(g, g, out=scratch)
        scratch *= 1 - beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch *= (1 - beta2**t) ** -0.5
        scratch += self.eps
        g /= scratch
        if self.weight_decay:
            np.multiply(w, self.weight_decay, out=scratch)
            g += scratch
        g *= lr
        z -= g
        g *= 1 - beta1
        w -= g
        weight_sum += lr * lr
        np.maximum(weight_sum, np.finfo(w.dtype).tiny, out=scratch)
        np.divide(lr * lr, scratch, out=scratch)
        np.subtract(z, w, out=g)
        g *= scratch
        w += g

    def read(self, w: Any, moments: Moments) -> Any:
        """x = (y - (1 - beta1) z) / beta1."""
        beta1 = self.betas[0]
        return (w - (1 - beta1) * moments["z"]) / beta1
