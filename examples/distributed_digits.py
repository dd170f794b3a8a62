"""A network on several processes, with predicted steps that need no gradient from anybody.

    mpiexec -n 4 python examples/distributed_digits.py
    mpiexec -n 4 python examples/distributed_digits.py --local-steps 20
    python examples/distributed_digits.py

Every process gets a part of each batch. In a real step they add up their gradients; in a predicted one they make the
same jump, and exchange the losses that it is judged by. With --local-steps they go their own ways for so many steps,
and then take the mean of where these led. At the end the first process says what was sent.
"""

import argparse
import sys
from typing import Any

from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid.data import Batch, DataLoader
from minihybrid.distributed import (
    Alone,
    CommunicationError,
    Communicator,
    Mpi,
    Shard,
    TrafficByPhase,
    ending_together,
    evaluate_together,
)
from minihybrid.hybrid import (
    HybridConfig,
    HybridTrainer,
    LocalStepsTrainer,
    ModelWrapper,
    OptimizerWrapper,
    ParallelModel,
)
from minihybrid.train import Learner


def forward(model: Any, batch: Batch) -> tuple[Any, mh.Tensor]:
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def train(options: argparse.Namespace, ranks: Communicator) -> float:
    """Train on all ranks, and return the accuracy on examples apart."""
    rest, valid = mh.data.digits().split(0.8, mh.Rng(0))
    examples, held_out = rest.split(0.9, mh.Rng(1))
    rng = mh.Rng(options.seed)  # the same on all ranks: so they shuffle alike, and each takes its part
    model = mh.nn.MLPConfig((64, 64, 10)).init(rng=rng)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(options.lr, total=options.steps))
    batches = Shard(DataLoader(examples, options.batch, rng.split(), drop_last=True), ranks.rank, ranks.size)
    trainer: Any
    if options.local_steps:
        trainer = LocalStepsTrainer(ModelWrapper(model, forward), optimizer, ranks, every=options.local_steps)
    else:
        guard = Shard(DataLoader(held_out, len(held_out), rng.split()), ranks.rank, ranks.size)
        trainer = HybridTrainer(ParallelModel(model, forward, ranks), optimizer, HybridConfig.minibatch(), guard)

    sent = TrafficByPhase(ranks)
    learner = Learner(
        trainer,
        batches,
        lambda model: evaluate_together(ranks, model, valid, mh.nn.cross_entropy),
        options.steps,
        listeners=[sent],
    )
    summary = learner.run()
    assert summary.evaluation is not None and summary.evaluation.accuracy is not None
    if ranks.rank == 0:
        print(f"{ranks.size} ranks: accuracy {summary.evaluation.accuracy:.2%}")
        print(f"sent by each rank: {sent}")
    return summary.evaluation.accuracy


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=128, help="examples a step, of all processes (128)")
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--local-steps", type=int, default=0, metavar="N", help="steps between meetings")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    ranks: Communicator
    try:
        ranks = Mpi()
    except CommunicationError as error:
        print(f"alone: {error}", file=sys.stderr)
        ranks = Alone()
    with ending_together(ranks), threadpool_limits(1):
        train(options, ranks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
