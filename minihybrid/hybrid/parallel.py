"""Data parallel training: one model on every rank, each with its part of the batch, and one gradient.

A trainer knows nothing of ranks. It owns a `ParallelModel`, whose loss is the mean over the examples of all ranks, and
whose gradient is that loss's; so all replicas make the same step, and whatever a trainer decides by its losses it
decides alike everywhere. A prediction is the same on all ranks, too, because it is made from the same weights and
gradients: only the loss that it is verified by is exchanged, a few numbers in place of a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from minihybrid.autodiff.tensor import Tensor
from minihybrid.data.dataset import Batch
from minihybrid.distributed.communicator import CommunicationError, Communicator
from minihybrid.distributed.replicas import make_equal, part_streams, require_equal
from minihybrid.hybrid.wrapper import ForwardFn, GradientInfo, ModelWrapper
from minihybrid.module.module import Module, pack
from minihybrid.optim.gradients import GradientsParams

M = TypeVar("M", bound=Module)


class ParallelModel(ModelWrapper[M]):
    """A ModelWrapper whose loss and gradients are those of the batches of all ranks together.

    A rank's batch may be of any size, also of none (see `Shard`); the mean weighs all examples alike. All ranks begin
    with the weights of rank 0, and with random streams of their own. Running statistics (of batch norm, which
    normalises by the rank's own batch) are the mean of the ranks'. Every `check_every` steps the replicas are compared.

    An exception in the forward function of one rank is raised there, and on the others as CommunicationError, and all
    models are as before. Raises CommunicationError also where models differ in their parameters' paths and shapes, and
    where replicas have parted.

    >>> import minihybrid as mh
    >>> import numpy as np
    >>> from minihybrid.distributed import Alone
    >>> def forward(model, batch):
    ...     return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> wrapper = ParallelModel(mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0)), forward, Alone())
    >>> loss = wrapper.forward(Batch(np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)))
    >>> wrapper.backward().loss == loss.item()
    True
    """

    def __init__(self, model: M, forward_fn: ForwardFn[M], ranks: Communicator, check_every: int = 100) -> None:
        make_equal(ranks, model)
        super().__init__(model, forward_fn)
        self.ranks = ranks
        self.check_every = check_every
        self._updates = 0
        self._local = 0  # examples of this rank's batch
        self._share = 0.0  # of all ranks' examples
        self._agreed: Tensor | None = None  # the loss of all ranks, once it is known
        self._message: Any = None
        part_streams(ranks, self._streams().values())

    def forward(self, batch: Batch) -> Tensor:
        """See `ModelWrapper`: the mean loss of all ranks' examples."""
        return self._together(super().forward, batch)

    def forward_compiled(self, batch: Batch) -> Tensor:
        """See `ModelWrapper`; the gradients are exchanged here, too."""
        loss = self._together(super().forward_compiled, batch)
        if not self._local:
            self._found = self._kept(GradientsParams(), loss)
        return loss

    def evaluate(self, batch: Batch) -> float:
        """See `ModelWrapper`: the mean loss of all ranks' examples."""
        n = len(batch.inputs)
        try:
            loss = float(super().evaluate(batch)) if n else 0.0
        except BaseException:
            self._tell_of_failure()
            raise
        mean, self.examples = self._mean(loss, n)
        return mean

    def backward(self) -> GradientInfo:
        """See `ModelWrapper`: the gradient of that mean."""
        if self._loss is None and self._found is None and not self._local and self._agreed is not None:
            return self._kept(GradientsParams(), self._agreed)
        return super().backward()

    def update(self, step: Callable[[M, GradientsParams], M]) -> None:
        """See `ModelWrapper`; now and then the replicas are compared."""
        super().update(step)
        self._updates += 1
        if self._updates % self.check_every == 0:
            require_equal(self.ranks, self.model)

    def snapshot(self) -> Any:
        """See `ModelWrapper`: with the random streams of rank 0, so that it is the same on all ranks."""
        streams = self._streams().values()
        part_streams(self.ranks, streams)  # done twice, it is undone
        try:
            return super().snapshot()
        finally:
            part_streams(self.ranks, streams)

    def restore(self, snapshot: Any) -> None:
        """See `ModelWrapper`: the snapshot may be of a run on another number of ranks."""
        super().restore(snapshot)
        part_streams(self.ranks, self._streams().values())

    def _together(self, forward: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        with self._failing_together(batch):
            if self._local:
                loss = forward(batch)
            else:
                self._forget()
                loss = Tensor(np.zeros((), self.weights.dtype))
            return self._agree(loss)

    @contextmanager
    def _failing_together(self, batch: Batch) -> Iterator[None]:
        """Where one rank fails, no rank is left waiting for its loss."""
        self._local, self._agreed = len(batch.inputs), None
        try:
            yield
        except BaseException as error:
            self.cancel()
            if not isinstance(error, CommunicationError) and self._agreed is None:
                self._tell_of_failure()
            raise

    def _tell_of_failure(self) -> None:
        """What takes the place of this rank's loss, which the others wait for."""
        self.ranks.all_gather([0.0, 0.0, 1.0])

    def _agree(self, loss: Tensor) -> Tensor:
        """The mean loss of all ranks, which is asked for once a step."""
        if self._agreed is None:
            mean, self.examples = self._mean(float(loss.item()), self._local)
            self._share = self._local / self.examples
            self._agreed = Tensor(self.model.device.array(mean, loss.dtype))
        return self._agreed

    def _mean(self, loss: float, n: int) -> tuple[float, int]:
        """The mean loss over the examples of all ranks, of which this one has n, and their number."""
        # Numbers rather than their sum: each rank adds them up in the same order.
        gathered = self.ranks.all_gather([loss * n, n, 0.0])
        if failed := [rank for rank, (_, _, failed) in enumerate(gathered) if failed]:
            raise CommunicationError(f"the forward pass failed on rank {failed[0]}; what it raised there says why.")
        examples = int(sum(of_rank for _, of_rank, _ in gathered))
        if not examples:
            raise ValueError("ParallelModel: no rank has an example in its batch; a loss needs one or more.")
        return sum(total for total, _, _ in gathered) / examples, examples

    def _kept(self, gradients: GradientsParams, loss: Tensor) -> GradientInfo:
        loss = self._agree(loss)
        return super()._kept(self._exchanged(gradients) if self.ranks.size > 1 else gradients, loss)

    def _exchanged(self, gradients: GradientsParams) -> GradientsParams:
        """The gradients of the common loss, and the common running statistics, by one message.

        It holds the gradient, whether there is one for each parameter, the statistics, and whether there are any.
        """
        storage, device = pack(self.model), self.model.device
        self._streams()  # looks the buffers up
        buffers = [buffer for buffer in self._buffers.values() if buffer.dtype.kind == "f"]
        ends = np.cumsum([storage.values.size, len(storage.slots), *(b.size for b in buffers), len(buffers)]).tolist()
        if self._message is None or self._message.size != ends[-1]:
            self._message = device.xp.empty(ends[-1], storage.values.dtype)
        gradient, present, *statistics, known = (
            self._message[start:end] for start, end in zip([0, *ends], ends, strict=False)
        )

        flat = gradients.flat(storage) if self._local else storage.gradient()
        for view, there in zip(flat.views, flat.present, strict=True):
            if not there:
                view[...] = 0
        gradient[...] = flat.vector
        gradient *= self._share
        present[...] = device.array(flat.present, present.dtype)
        found = [gradients.buffers.get(buffer) for buffer in buffers]
        for values, value in zip(statistics, found, strict=True):
            values[...] = 0 if value is None else value.reshape(-1) * values.dtype.type(self._share)
        known[...] = device.array([0.0 if value is None else self._share for value in found], known.dtype)

        self.ranks.all_reduce(self._message)
        flat.vector[...] = gradient
        flat.present = [bool(count) for count in device.host(present)]
        shares = device.host(known).tolist()
        means = {
            buffer: (values / values.dtype.type(share)).reshape(buffer.shape).astype(buffer.dtype)
            for buffer, values, share in zip(buffers, statistics, shares, strict=True)
            if share
        }
        return GradientsParams.of(flat, {**gradients.buffers, **means})
