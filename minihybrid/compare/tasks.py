"""The tasks of the comparison: small, of every kind that matters for prediction, and the same on every machine.

On full batches gradients carry no noise, on minibatches they do, on large batches a little; low-rank adapters are
trained from a network that is nearly right; and of random labels there is nothing to learn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from minihybrid.autodiff.tensor import Tensor
from minihybrid.compare.adapters import adapted, trained
from minihybrid.compare.characters import NextCharacterConfig, following, write
from minihybrid.compare.task import Task
from minihybrid.data import DataError, Dataset, digits, mnist, spirals, xor
from minihybrid.module.module import Module
from minihybrid.nn import LinearConfig, MLPConfig, bce_with_logits, cross_entropy, mse
from minihybrid.rng import Rng

Folder: TypeAlias = str | None

DATA_SEED = 2**64
"""Draws all data and their parts, whatever the seed of a run."""


def names() -> list[str]:
    """The tasks that `build` knows, in the order of reports."""
    return list(_TASKS)


def available(wanted: Sequence[str], folder: Folder = None) -> tuple[list[str], list[str]]:
    """Those of the wanted tasks whose data are there, and a sentence for each other one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as empty:
    ...     available(["minibatch/digits", "minibatch/mnist"], empty)
    (['minibatch/digits'], ['minibatch/mnist is left out: the test part of MNIST is not in ...'])
    """
    there, missing = [], []
    for name in wanted:
        try:
            if name.endswith("/mnist"):
                mnist(folder, train=False)
            there.append(name)
        except DataError as error:
            missing.append(f"{name} is left out: {error}.")
    return there, missing


def build(name: str, folder: Folder = None) -> Task:
    """The task of that name; `folder` is where MNIST's files are. Raises DataError if they are needed and not there.

    >>> task = build("full-batch/xor")
    >>> len(task.train), len(task.guard), len(task.validation), task.full_batch
    (288, 32, 80, True)
    """
    return replace(_TASKS[name](folder), name=name)


def _classes(data: Dataset, rng: Rng, *hidden: int, activation: str = "relu") -> Task:
    """A perceptron with these hidden layers, a logit for each class."""
    sizes = (data.inputs.shape[1], *hidden, data.classes or 0)
    return _split(data, rng, MLPConfig(sizes, activation).init, cross_entropy)


def _split(data: Dataset, rng: Rng, init: Callable[[Rng], Module], loss: Callable[..., Tensor]) -> Task:
    """A fifth of the examples for validation, a tenth of the others as guard."""
    rest, validation = data.split(0.8, rng)
    train, guard = rest.split(0.9, rng)
    return Task(data.name, train, guard, validation, init, loss)


def _digits(folder: Folder) -> Task:
    return _classes(digits(), Rng(DATA_SEED), 64)


def _noisy_digits(folder: Folder) -> Task:
    """A tenth of the labels that are trained on is wrong; those of the validation set are right."""
    task, rng = _digits(folder), Rng(DATA_SEED + 1)

    def wrong(data: Dataset) -> Dataset:
        shift = rng.integers(1, 10, len(data)) * rng.bernoulli(len(data), 0.1)
        return replace(data, targets=(data.targets + shift) % 10)

    return replace(task, train=wrong(task.train), guard=wrong(task.guard))


def _random_digits(folder: Folder) -> Task:
    """All labels are drawn anew, without a look at the images: no loss below that of guessing is real."""
    rng = Rng(DATA_SEED + 2)
    data = digits()
    return _classes(replace(data, targets=rng.integers(0, 10, len(data))), Rng(DATA_SEED), 64)


def _spirals(folder: Folder) -> Task:
    return _classes(spirals(Rng(DATA_SEED + 3), n=600), Rng(DATA_SEED), 32, 32, activation="tanh")


def _xor(folder: Folder) -> Task:
    return _classes(xor(Rng(DATA_SEED + 4), n=400, noise=0.1), Rng(DATA_SEED), 16, activation="tanh")


def _logistic(folder: Folder, n: int = 1000, features: int = 40) -> Task:
    """Logistic regression on features with singular values from 1 to 1e-2, so that curvatures span a factor of 1e4."""
    rng = Rng(DATA_SEED + 5)
    left, _ = np.linalg.qr(rng.normal((n, features), dtype=np.float64))
    right, _ = np.linalg.qr(rng.normal((features, features), dtype=np.float64))
    singular = np.logspace(0, -2, features)
    inputs = np.sqrt(n) * (left * singular) @ right.T
    # A weight of 1 / sqrt(s) along the direction of singular value s: every direction matters to the labels.
    logits = inputs @ right @ (rng.normal(features, dtype=np.float64) / np.sqrt(singular))
    labels = rng.uniform(n, dtype=np.float64) < 1 / (1 + np.exp(-logits))
    data = Dataset(inputs.astype(np.float32), labels.astype(np.float32)[:, None], "logistic")
    return _split(data, rng, LinearConfig(features, 1).init, bce_with_logits)


def _regression(folder: Folder, n: int = 3000) -> Task:
    """The outputs of a random network, with a little noise."""
    rng = Rng(DATA_SEED + 6)
    inputs = rng.normal((n, 20))
    hidden = np.tanh(inputs @ rng.normal((20, 64), std=20**-0.5) + rng.normal(64, std=0.5))
    targets = hidden @ rng.normal((64, 1), std=64**-0.5) + rng.normal((n, 1), std=0.05)
    data = Dataset(inputs, targets, "regression")
    return _split(data, rng, MLPConfig((20, 64, 1), "tanh").init, mse)


def _mnist(folder: Folder) -> Task:
    return _classes(mnist(folder, train=False), Rng(DATA_SEED), 32)


def _small_mnist(folder: Folder) -> Task:
    """Images of 14 x 14 pixels, each the mean of four: large batches of the whole ones would take most of all time."""
    data = mnist(folder, train=False)
    pixels = data.inputs.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    return _classes(replace(data, inputs=pixels.reshape(-1, 14 * 14)), Rng(DATA_SEED), 32)


def _adapted_mnist(folder: Folder) -> Task:
    """Rank-4 adapters that turn a perceptron trained on the digits 0 to 4 into one for 5 to 9."""
    data = mnist(folder, train=False)
    known, new = _part(data, data.targets < 5), _part(data, data.targets >= 5)
    task = _classes(replace(new, targets=new.targets - 5, classes=5), Rng(DATA_SEED), 64)
    network = trained(MLPConfig((784, 64, 5)), known, Rng(DATA_SEED + 7))
    return replace(task, init=partial(adapted, network, 4))


def _part(data: Dataset, which: Any) -> Dataset:
    return replace(data, inputs=data.inputs[which], targets=data.targets[which])


def _characters(folder: Folder, characters: int = 6000, context: int = 8) -> Task:
    """The next character of an invented language; the parts are stretches of one text, one after the other."""
    text = write(Rng(DATA_SEED + 8), characters)
    inputs, targets, alphabet = following(text, context)
    cuts = [0, round(0.72 * len(inputs)), round(0.8 * len(inputs)), len(inputs)]
    # A window reaches back over `context` characters: what lies so near behind a cut belongs to neither part.
    train, guard, validation = (
        Dataset(inputs[start + context : end], targets[start + context : end], "characters", len(alphabet))
        for start, end in itertools.pairwise(cuts)
    )
    return Task("characters", train, guard, validation, NextCharacterConfig(len(alphabet), context).init, cross_entropy)


def _in_batches(make: Callable[[Folder], Task], size: int, **given: Any) -> Callable[[Folder], Task]:
    return lambda folder: replace(make(folder), batch_size=size, **given)


_TASKS: dict[str, Callable[[Folder], Task]] = {
    "full-batch/digits": _digits,
    "full-batch/spirals": _spirals,
    "full-batch/logistic": _logistic,
    "full-batch/regression": _regression,
    "full-batch/xor": _xor,
    "minibatch/digits": _in_batches(_digits, 32),
    "minibatch/digits-noisy": _in_batches(_noisy_digits, 32),
    "minibatch/regression": _in_batches(_regression, 32),
    "minibatch/mnist": _in_batches(_mnist, 64),
    "minibatch/characters": _in_batches(_characters, 32),
    "large-batch/mnist": _in_batches(_small_mnist, 4096),
    "low-rank/mnist": _in_batches(_adapted_mnist, 64, lr=3e-4),
    "control/random-labels": _in_batches(_random_digits, 32, tuned_on="minibatch/digits"),
}
