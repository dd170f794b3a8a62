"""Training with rare communication: every rank makes some steps of its own, then all meet at one outer step.

The outer step is that of `predictors.OuterNesterov`, on the mean over the ranks of where their steps led. So instead of
a gradient a step, one displacement every so many steps is exchanged (Douillard et al. 2023, "DiLoCo: Distributed
Low-Communication Training of Language Models", algorithm 1).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minihybrid.data.dataset import Batch
from minihybrid.distributed.communicator import Communicator
from minihybrid.distributed.replicas import make_equal, part_streams
from minihybrid.hybrid.full import FullTrainer
from minihybrid.hybrid.predictors.outer_nesterov import OuterNesterovConfig, outer_step
from minihybrid.hybrid.wrapper import ModelWrapper, OptimizerWrapper
from minihybrid.module.module import Module
from minihybrid.train.step import StepResult

M = TypeVar("M", bound=Module)


class LocalStepsTrainer(FullTrainer[M]):
    """Real steps on the rank's own batches, and after every `every` of them an outer step that all ranks make.

    Moments of the optimizer stay the rank's own, as in DiLoCo; moments that are averages of the weights move along
    with them. Losses that results tell are the rank's own, too, and a rank whose loss is not finite raises alone:
    `distributed.ending_together` makes that the end of all. Every rank needs an example in each batch (`drop_last`).
    With one rank it is the outer optimizer alone. There are no checkpoints of it, because what a run is differs from
    rank to rank. Raises ValueError for `every` below 1.

    >>> import minihybrid as mh
    >>> from minihybrid.distributed import Alone
    >>> def forward(model, batch):
    ...     return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> model = ModelWrapper(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0)), forward)
    >>> trainer = LocalStepsTrainer(model, OptimizerWrapper(mh.optim.SGD(), 0.1), Alone(), every=5)
    >>> data = mh.data.sine(mh.Rng(0))
    >>> results = [trainer.step(Batch(data.inputs, data.targets)) for _ in range(10)]
    >>> results[-1].loss < results[0].loss, results[4].note
    (True, 'met the other ranks')
    """

    def __init__(
        self,
        model_wrapper: ModelWrapper[M],
        optimizer_wrapper: OptimizerWrapper,
        ranks: Communicator,
        every: int = 20,
        outer: OuterNesterovConfig | None = None,
        compile: bool = False,
    ) -> None:
        if every < 1:
            raise ValueError(f"LocalStepsTrainer: every is {every}; expected 1 or more steps between meetings.")
        make_equal(ranks, model_wrapper.model)
        part_streams(ranks, model_wrapper.model.named_rngs().values())
        super().__init__(model_wrapper, optimizer_wrapper, compile)
        self.ranks, self.every, self.outer = ranks, every, outer or OuterNesterovConfig()
        self._slow = model_wrapper.weights.copy()
        self._momentum = np.zeros_like(self._slow)

    def step(self, batch: Batch) -> StepResult:
        """See `FullTrainer`; each `every`-th one ends at the weights that the ranks agree on."""
        result = super().step(batch)
        if self.steps % self.every:
            return result
        self.catch_up()
        self._meet()
        return StepResult(**{**vars(result), "note": "met the other ranks"})

    def state_dict(self) -> dict[str, Any]:
        """Raise TypeError: weights, moments and random streams are each rank's own, and no one of them is the run."""
        raise TypeError(
            "LocalStepsTrainer cannot be saved: between meetings each rank has weights and moments of its own; save "
            "the model that readout() gives after a meeting."
        )

    def _meet(self) -> None:
        here = self.model_wrapper.weights.copy()
        fast = here / here.dtype.type(self.ranks.size)
        self.ranks.all_reduce(fast)
        fast += outer_step(self._slow, fast, self._momentum, self.outer.learning_rate, self.outer.momentum)
        self._slow[...] = fast
        self.model_wrapper.place(fast)
        self.optimizer_wrapper.optimizer.translate(fast - here)
