"""What a task of the comparison is: examples in three parts, a network, a loss, and how large a batch is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from minihybrid.autodiff.tensor import Tensor
from minihybrid.data import Batch, DataLoader, Dataset
from minihybrid.module.module import Module, pack
from minihybrid.rng import Rng

GUARD_BATCH = 256
"""Examples that judge a prediction at a time, if the guard has so many."""


@dataclass(frozen=True, eq=False)
class Task:
    """Examples in three parts, a network and a loss.

    Every method trains on `train`; `guard` judges predictions, and `validation` is for reports alone: no two parts
    share an example. `init` makes the network from a stream. `batch_size` is None where the batch is all of `train`.
    `lr` is the learning rate where the task is about a given one; `tuned_on` names another task whose tuned learning
    rates are taken, where tuning on this one would choose none at all.
    """

    name: str
    train: Dataset
    guard: Dataset
    validation: Dataset
    init: Callable[[Rng], Module]
    loss: Callable[..., Tensor]
    batch_size: int | None = None
    lr: float | None = None
    tuned_on: str | None = None

    @property
    def full_batch(self) -> bool:
        """Whether the batch is the whole training set, so that gradients carry no noise."""
        return self.batch_size is None

    @property
    def aim(self) -> str:
        """The loss that a method is tuned for and judged by: that of training on full batches, else of validation."""
        return "train_loss" if self.full_batch else "val_loss"

    def forward(self, model: Module, batch: Batch) -> tuple[Module, Tensor]:
        """The loss of a batch, in the form that trainers call."""
        return model, self.loss(model(Tensor(batch.inputs)), batch.targets)

    def batches(self, rng: Rng) -> Iterator[Batch]:
        """The batches to train on, without end."""
        return _batches(self.train, self.batch_size, rng)

    def guard_batches(self, rng: Rng) -> Iterator[Batch]:
        """The batches that judge predictions, without end."""
        return _batches(self.guard, min(GUARD_BATCH, len(self.guard)), rng)

    @cached_property
    def fingerprint(self) -> str:
        """Stands for all that the task consists of: its data to the bit, its network as it begins, its batches."""
        model = self.init(Rng(0))
        settings = self.name, self.batch_size, self.lr, self.tuned_on, self.loss.__name__, model
        digest = hashlib.sha256(repr(settings).encode() + pack(model).values.tobytes())
        for data in (self.train, self.guard, self.validation):
            digest.update(data.inputs.tobytes() + data.targets.tobytes())
        return digest.hexdigest()[:16]

    def mean_loss(self, model: Module, data: Dataset) -> float:
        """The loss of a model in evaluation mode over all of a data set."""
        return float(self.loss(model.valid()(Tensor(data.inputs)), data.targets).item())


def _batches(data: Dataset, batch_size: int | None, rng: Rng) -> Iterator[Batch]:
    if batch_size is None:
        whole = Batch(data.inputs, data.targets)
        while True:
            yield whole
    yield from DataLoader(data, batch_size, rng, drop_last=True).forever()
