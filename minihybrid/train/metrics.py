"""How good a model is: on examples that it was not trained on, and as it goes along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minihybrid.autodiff.tensor import Tensor
from minihybrid.data.dataset import Dataset
from minihybrid.data.loader import DataLoader
from minihybrid.module.module import Module
from minihybrid.stateful import savable


def accuracy(logits: Tensor, labels: Any) -> float:
    """The fraction of rows whose largest logit is the label's: logits [n, classes], labels [n] integers.

    >>> import minihybrid as mh, numpy as np
    >>> accuracy(mh.tensor([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float((logits.array.argmax(axis=1) == labels).mean())


@savable
@dataclass
class Mean:
    """The mean of numbers as they come, each with a weight.

    With `keep` below 1 it is a running mean that forgets: what came before weighs `keep` times as much with each new
    number. The first numbers count fully (the bias correction of Kingma and Ba 2015, section 3).

    >>> mean, running = Mean(), Mean(keep=0.5)
    >>> mean.add(3.0), mean.add(0.0)
    (3.0, 1.5)
    >>> running.add(3.0), running.add(0.0)
    (3.0, 1.0)
    """

    keep: float = 1.0
    total: float = 0.0
    weight: float = 0.0

    def add(self, value: float, weight: float = 1.0) -> float:
        """Take a number in, and return the mean so far."""
        self.total = self.keep * self.total + weight * value
        self.weight = self.keep * self.weight + weight
        return self.value

    @property
    def value(self) -> float:
        """The mean so far; NaN before the first number."""
        return self.total / self.weight if self.weight else float("nan")


@savable
@dataclass(frozen=True)
class Evaluation:
    """What a model scores on a data set: the mean loss, and the accuracy in [0, 1] where there are classes."""

    loss: float
    accuracy: float | None = None


def evaluate(model: Module, data: Dataset, loss: Callable[[Tensor, Any], Tensor], batch_size: int = 1024) -> Evaluation:
    """Score a model on a whole data set, in evaluation mode and without a graph; the model is only read.

    >>> import minihybrid as mh
    >>> model = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0))
    >>> 0 <= evaluate(model, mh.data.digits(), mh.nn.cross_entropy).accuracy <= 1
    True
    """
    view = model.valid()
    losses, hits = Mean(), Mean()
    for batch in DataLoader(data, batch_size, shuffle=False):
        outputs = view(Tensor(batch.inputs))
        losses.add(float(loss(outputs, batch.targets).item()), len(batch.inputs))
        if data.classes is not None:
            hits.add(accuracy(outputs, batch.targets), len(batch.inputs))
    return Evaluation(losses.value, hits.value if data.classes is not None else None)
