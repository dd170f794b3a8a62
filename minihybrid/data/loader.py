"""Batches in a seeded order that can be taken up again anywhere, also in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minihybrid.data.dataset import Batch, Dataset
from minihybrid.rng import Rng

__all__ = ["DataLoader"]


class DataLoader:
    """An endless stream of batches with a mark at the end of each epoch.

    A `for` loop runs to the end of the epoch: of the one under way if it is not finished, else of the next. `next`
    goes on for ever. With `shuffle` each epoch has its own order, drawn from a stream split off `rng`; without, `rng`
    may be left out. The last batch of an epoch may be smaller unless `drop_last`. `len` is the batches per epoch,
    `epoch` counts from 0. Raises ValueError for a batch size below 1, for `shuffle` without `rng` and for `drop_last`
    that would drop everything.

    >>> data = Dataset(np.arange(10.0), np.arange(10), "count")
    >>> loader = DataLoader(data, 4, Rng(0))
    >>> [len(batch.inputs) for batch in loader]
    [4, 4, 2]
    >>> ahead = next(loader)
    >>> state = loader.state()
    >>> following = next(loader)
    >>> loader.load_state(state)
    >>> bool((next(loader).inputs == following.inputs).all())
    True
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, rng: Rng | None = None, shuffle: bool = True, drop_last: bool = False
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch has 1 or more examples, not {batch_size}")
        if shuffle and rng is None:
            raise ValueError("a DataLoader that shuffles needs an rng: pass one, or shuffle=False")
        if drop_last and batch_size > len(dataset):
            raise ValueError(
                f"drop_last leaves no batch: data set {dataset.name!r} has {len(dataset)} examples, "
                f"fewer than the batch size {batch_size}"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self._device = dataset.device
        self._rng = rng.split() if rng is not None else Rng()
        self.epoch = 0
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._rng_before = self._rng.state()
        n = len(self.dataset)
        order = self._rng.permutation(n) if self.shuffle else np.arange(n)
        self._order = self._device.array(order)
        self._done = 0  # batches of this epoch already given

    def __len__(self) -> int:
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __next__(self) -> Batch:
        if self._done == len(self):
            self.epoch += 1
            self._begin_epoch()
        start = self._done * self.batch_size
        rows = self._order[start : start + self.batch_size]
        self._done += 1
        return Batch(self.dataset.inputs.take(rows, axis=0), self.dataset.targets.take(rows, axis=0))

    def __iter__(self) -> Iterator[Batch]:
        yield next(self)
        while self._done < len(self):
            yield next(self)

    def forever(self) -> Iterator[Batch]:
        """The batches from here on, epoch after epoch, without end.

        >>> loader = DataLoader(Dataset(np.arange(3.0), np.arange(3), "count"), 2, shuffle=False)
        >>> [batch.targets.tolist() for batch, _ in zip(loader.forever(), range(3))]
        [[0, 1], [2], [0, 1]]
        """
        while True:
            yield next(self)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, for JSON: the epoch, the batches given in it, and the rng that orders it.

        >>> DataLoader(Dataset(np.arange(3.0), np.arange(3), "count"), 2, shuffle=False).state()["done"]
        0
        """
        return {"epoch": self.epoch, "done": self._done, "rng": self._rng_before, "settings": self._settings()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, of this or of another loader over the same number of examples.

        Raises ValueError, and changes nothing, if the state is none or was taken with other settings, because the
        batches would not be the same.
        """
        if not (isinstance(state, dict) and state.keys() == self.state().keys()):
            raise ValueError(f"a state of DataLoader holds {sorted(self.state())}, not {state!r}")
        if state["settings"] != self._settings():
            raise ValueError(
                f"the state belongs to a DataLoader with {state['settings']}, this one has {self._settings()}: "
                "make the two equal"
            )
        epoch, done = state["epoch"], state["done"]
        if not (isinstance(epoch, int) and epoch >= 0 and isinstance(done, int) and 0 <= done <= len(self)):
            raise ValueError(
                f"a DataLoader with {len(self)} batches an epoch cannot stand at epoch {epoch!r}, batch {done!r}"
            )
        self._rng.load_state(state["rng"])
        self._begin_epoch()
        self.epoch, self._done = epoch, done

    state_dict, load_state_dict = state, load_state  # as checkpoints call them

    def _settings(self) -> dict[str, int | bool]:
        return {
            "examples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }
