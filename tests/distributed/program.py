"""What test_mpi.py runs on several processes: mpiexec -n 4 python tests/distributed/program.py NAME."""

import os
import signal
import sys

import numpy as np

import minihybrid as mh
from minihybrid.cli import main
from minihybrid.data import DataLoader, Dataset
from minihybrid.distributed import CommunicationError, Mpi, Shard, Traffic, ending_together, require_same_settings
from minihybrid.hybrid import FullTrainer, LocalStepsTrainer, ModelWrapper, OptimizerWrapper, ParallelModel

DATA = Dataset(
    np.random.default_rng(0).normal(size=(50, 3)), np.random.default_rng(1).normal(size=(50, 2)), "normal numbers"
)


def squared(model, batch):
    return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)


def network():
    return mh.nn.MLPConfig((3, 8, 2)).init(rng=mh.Rng(0), dtype="float64")


def collectives(ranks):
    n = ranks.size
    for dtype in (np.float32, np.float64):
        vector = np.arange(1000, dtype=dtype) + ranks.rank
        ranks.all_reduce(vector)
        assert (vector == n * np.arange(1000) + n * (n - 1) / 2).all()
    vector = np.full(5, ranks.rank)
    ranks.broadcast(vector, root=n - 1)
    assert (vector == n - 1).all()
    assert ranks.all_gather([ranks.rank, 0.1]) == [(rank, 0.1) for rank in range(n)]
    assert ranks.all_gather_text("ü" * ranks.rank) == ["ü" * rank for rank in range(n)]
    ranks.barrier()
    assert ranks.traffic == Traffic(7, 4000 + 8000 + 40 + 16 + 8 + 2 * (n - 1))


def all_reduced_equally(ranks):
    """Sums that round: every rank has the same bits, at all sizes (libraries change their algorithm with it)."""
    for size in (1, 3, 100, 10_000, 300_001):
        vector = np.random.default_rng(ranks.rank).normal(size=size).astype(np.float32)
        ranks.all_reduce(vector)
        of_all = ranks.all_gather_text(vector.tobytes().hex())
        assert len(set(of_all)) == 1, size


def equivalence(ranks):
    for optimizer in (mh.optim.SGD, mh.optim.Adam):
        batches = DataLoader(DATA, 13, mh.Rng(3))
        alone = FullTrainer(ModelWrapper(network(), squared), OptimizerWrapper(optimizer(), 0.01))
        mine = Shard(DataLoader(DATA, 13, mh.Rng(3)), ranks.rank, ranks.size)
        together = FullTrainer(
            ParallelModel(network(), squared, ranks, check_every=1), OptimizerWrapper(optimizer(), 0.01)
        )
        for _ in range(100):
            alone.step(next(batches))
            together.step(next(mine))
        np.testing.assert_allclose(together.model_wrapper.weights, alone.model_wrapper.weights, rtol=0, atol=1e-12)


def local_steps(ranks):
    trainer = LocalStepsTrainer(
        ModelWrapper(network(), squared), OptimizerWrapper(mh.optim.Adam(), 0.01), ranks, every=10
    )
    batches = Shard(DataLoader(DATA, 12, mh.Rng(3), drop_last=True), ranks.rank, ranks.size)
    for _ in range(30):
        trainer.step(next(batches))
    assert len(set(ranks.all_gather_text(trainer.model_wrapper.weights.tobytes().hex()))) == 1


def settings(ranks):
    try:
        require_same_settings(ranks, {"lr": 0.1, "steps": 10 + ranks.rank})
    except CommunicationError as error:
        assert "rank 0 has steps = 10, rank 1 has 11" in str(error)
    else:
        raise AssertionError("other settings were accepted")


def killed(ranks):
    ranks.barrier()
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    ranks.barrier()


def killed_run(ranks):
    """Rank 1 dies in step 45; checkpoints are written every 20."""
    steps, step = [0], FullTrainer.step

    def dying(trainer, batch):
        steps[0] += 1
        if ranks.rank == 1 and steps[0] == 45:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, batch)

    FullTrainer.step = dying
    options = ["--steps", "60", "--name", "run", "--checkpoint-every", "20", "--trainer", "full", "--distributed"]
    main(["train", *options])


def raises(ranks):
    if ranks.rank == 1:
        raise ZeroDivisionError("on purpose")
    ranks.barrier()


def gone(ranks):
    ranks.timeout = 0.5
    if ranks.rank == 0:
        try:
            ranks.barrier()
        except CommunicationError as error:
            print(error, file=sys.stderr)
            ranks.abort(3)


if __name__ == "__main__":
    ranks = Mpi(timeout=60)
    with ending_together(ranks):
        globals()[sys.argv[1]](ranks)
