"""Evaluations of the ranks' parts of a data set, as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minihybrid.autodiff.tensor import Tensor
from minihybrid.data.dataset import Dataset
from minihybrid.distributed.communicator import Communicator
from minihybrid.distributed.shard import part
from minihybrid.module.module import Module
from minihybrid.train.metrics import Evaluation, Mean, evaluate


def evaluate_together(
    ranks: Communicator, model: Module, data: Dataset, loss: Callable[[Tensor, Any], Tensor]
) -> Evaluation:
    """Score a model on a whole data set, a part of it on each rank: the same result on all.

    >>> import minihybrid as mh
    >>> from minihybrid.distributed import Alone
    >>> model, data = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0)), mh.data.digits()
    >>> evaluate_together(Alone(), model, data, mh.nn.cross_entropy) == evaluate(model, data, mh.nn.cross_entropy)
    True
    """
    mine = part(len(data), ranks.rank, ranks.size)
    n = mine.stop - mine.start
    score = Evaluation(0.0, 0.0)
    if n:
        score = evaluate(model, Dataset(data.inputs[mine], data.targets[mine], data.name, data.classes), loss)
    losses, hits = Mean(), Mean()
    for loss_of_rank, accuracy, count in ranks.all_gather([score.loss, score.accuracy or 0.0, n]):
        if count:
            losses.add(loss_of_rank, count)
            hits.add(accuracy, count)
    return Evaluation(losses.value, None if data.classes is None else hits.value)
