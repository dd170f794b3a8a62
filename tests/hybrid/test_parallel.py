"""Ranks with parts of a batch train as one process does with the whole, and stay equal to the bit."""

from dataclasses import replace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.data import Batch, DataLoader, Dataset
from minihybrid.distributed import Alone, CommunicationError, Shard
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper, ParallelModel
from minihybrid.train import DivergenceError
from tests.distributed.threads import on_ranks, results

DATA = Dataset(
    np.random.default_rng(0).normal(size=(50, 3)), np.random.default_rng(1).normal(size=(50, 2)), "normal numbers"
)


class Net(mh.Module):
    first: mh.nn.Linear
    second: mh.nn.Linear

    def forward(self, x):
        return self.second(mh.tanh(self.first(x)))


def net(seed=0, dtype="float64"):
    rng = mh.Rng(seed)
    first = mh.nn.LinearConfig(3, 8).init(rng=rng, dtype=dtype)
    return Net(first, mh.nn.LinearConfig(8, 2).init(rng=rng, dtype=dtype))


def squared(model, batch):
    return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)


def weights(trainer):
    return trainer.model_wrapper.weights.copy()


def trained(ranks, optimizer, steps=100, batch=13, compile=False, trainer=None, drop_last=False):
    """After some steps over batches of which the last of an epoch is smaller."""
    batches = Shard(DataLoader(DATA, batch, mh.Rng(3), drop_last=drop_last), ranks.rank, ranks.size)
    model = ParallelModel(net(), squared, ranks, check_every=10)
    made = FullTrainer(model, OptimizerWrapper(optimizer(), 0.01, clip=1.0), compile)
    for _ in range(steps):
        made.step(next(batches))
    return made


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("optimizer", [mh.optim.SGD, mh.optim.Adam])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_train_as_one_process_does(size, optimizer, compile):
    batches = DataLoader(DATA, 13, mh.Rng(3))
    alone = FullTrainer(ModelWrapper(net(), squared), OptimizerWrapper(optimizer(), 0.01, clip=1.0))
    losses = [alone.step(next(batches)).loss for _ in range(100)]
    trainers = results(size, lambda ranks: trained(ranks, optimizer, compile=compile))
    for trainer in trainers:
        np.testing.assert_allclose(weights(trainer), weights(alone), rtol=0, atol=1e-12)
        assert weights(trainer).tobytes() == weights(trainers[0]).tobytes()
        assert trainer.ledger == alone.ledger
    assert sum(losses[-8:]) < sum(losses[:8]), "two epochs"


def test_one_rank_is_an_ordinary_wrapper_to_the_bit():
    alone = FullTrainer(ModelWrapper(net(), squared), OptimizerWrapper(mh.optim.Adam(), 0.01, clip=1.0))
    batches = DataLoader(DATA, 13, mh.Rng(3))
    for _ in range(20):
        alone.step(next(batches))
    assert weights(trained(Alone(), mh.optim.Adam, 20)).tobytes() == weights(alone).tobytes()


@pytest.mark.parametrize("compile", [False, True])
def test_a_rank_without_examples_takes_part(compile):
    trainers = results(3, lambda ranks: trained(ranks, mh.optim.Adam, 30, batch=2, compile=compile))
    alone = trained(Alone(), mh.optim.Adam, 30, batch=2)
    np.testing.assert_allclose(weights(trainers[2]), weights(alone), rtol=0, atol=1e-12)


def hybrid(ranks, config, guarded=True, steps=150, batch=20, lr=0.003):
    guard = Shard(DataLoader(DATA, 25, mh.Rng(4)), ranks.rank, ranks.size) if guarded else None
    batches = Shard(DataLoader(DATA, batch, mh.Rng(3), drop_last=True), ranks.rank, ranks.size)
    stepper = OptimizerWrapper(mh.optim.Adam(), lr)
    trainer = HybridTrainer(ParallelModel(net(), squared, ranks, check_every=10), stepper, config, guard)
    sent, told = {}, []
    for _ in range(steps):
        before = ranks.traffic
        result = trainer.step(next(batches))
        told.append(result)
        sent.setdefault((result.phase, result.accepted), []).append(ranks.traffic - before)
    return trainer, told, sent


QUICK = HybridConfig.minibatch()
QUICK = replace(QUICK, warmup=20, full=10)


@pytest.mark.parametrize("compile", [False, True])
def test_predictions_are_accepted_alike_and_exchange_numbers_alone(compile):
    found = results(3, lambda ranks: hybrid(ranks, replace(QUICK, compile=compile)))
    first, told, sent = found[0]
    for trainer, others, _ in found:
        assert others == told
        assert weights(trainer).tobytes() == weights(first).tobytes()
    predictions = [result for result in told if result.predicted]
    assert any(result.accepted for result in predictions)
    n = weights(first).nbytes
    real = [traffic.bytes for (phase, _), steps in sent.items() if phase != "predict" for traffic in steps]
    assert min(real) > n
    jumps = [traffic for (phase, _), steps in sent.items() if phase == "predict" for traffic in steps]
    assert max(traffic.bytes for traffic in jumps) < n / 2
    probes = sum(traffic.messages for traffic in jumps)
    assert probes == first.ledger.forward_probes


def test_the_next_real_step_verifies_a_jump_on_all_ranks_alike():
    found = results(2, lambda ranks: hybrid(ranks, HybridConfig.full_batch(), False, 60, batch=50, lr=1.0))
    (first, told, _), (second, others, _) = found
    assert told == others and weights(first).tobytes() == weights(second).tobytes()
    assert any(result.accepted for result in told)
    assert any(result.rolled_back or result.shortened for result in told)


def test_an_exception_on_one_rank_reaches_all_and_changes_nothing():
    def run(ranks):
        failing = [False]

        def forward(model, batch):
            if failing[0] and ranks.rank == 1:
                raise ZeroDivisionError("on purpose")
            return squared(model, batch)

        batch = Batch(DATA.inputs[:4], DATA.targets[:4])
        trainer = FullTrainer(ParallelModel(net(), forward, ranks), OptimizerWrapper(mh.optim.Adam(), 0.01))
        trainer.step(batch)
        before, failing[0] = weights(trainer), True
        expected = ZeroDivisionError if ranks.rank == 1 else CommunicationError
        with pytest.raises(expected, match=r"on purpose|failed on rank 1"):
            trainer.step(batch)
        with pytest.raises(expected, match=r"on purpose|failed on rank 1"):
            trainer.model_wrapper.evaluate(batch)
        assert weights(trainer).tobytes() == before.tobytes()
        failing[0] = False
        trainer.step(batch)
        return weights(trainer)

    assert len({found.tobytes() for found in results(3, run)}) == 1


@pytest.mark.parametrize("compile", [False, True])
def test_a_loss_that_is_no_number_on_one_rank_stops_all(compile):
    def run(ranks):
        inputs = np.full((4, 3), np.nan if ranks.rank == 1 else 1.0)
        trainer = FullTrainer(ParallelModel(net(), squared, ranks), OptimizerWrapper(mh.optim.SGD(), 0.1), compile)
        with np.errstate(invalid="ignore"), pytest.raises(DivergenceError, match="the loss is nan"):
            trainer.step(Batch(inputs, np.ones((4, 2))))
        return weights(trainer)

    assert len({found.tobytes() for found in results(2, run)}) == 1


class Normed(mh.Module):
    linear: mh.nn.Linear
    norm: mh.nn.BatchNorm1d

    def forward(self, x):
        return self.norm(self.linear(x))


def test_running_statistics_are_the_mean_of_the_ranks():
    def run(ranks):
        rng = mh.Rng(0)
        model = Normed(
            mh.nn.LinearConfig(3, 2).init(rng=rng, dtype="float64"), mh.nn.BatchNorm1dConfig(2).init(dtype="float64")
        )
        trainer = FullTrainer(ParallelModel(model, squared, ranks), OptimizerWrapper(mh.optim.SGD(), 0.0))
        batch = next(Shard(DataLoader(DATA, 9, mh.Rng(1)), ranks.rank, ranks.size))
        single = ModelWrapper(trainer.model.clone(), squared)
        single.forward(batch)
        gradients = single.backward() and single._gradients
        own = {path: gradients.buffers.get(buffer) for path, buffer in single.model.named_buffers().items()}
        trainer.step(batch)
        return {path: buffer.numpy() for path, buffer in trainer.model.named_buffers().items()}, own, len(batch.inputs)

    found = results(2, run)
    for path, value in found[0][0].items():
        parts = [(own[path], n) for _, own, n in found if own[path] is not None]
        if parts:
            expected = sum(np.asarray(own, np.float64) * n for own, n in parts) / sum(n for _, n in parts)
            np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert value.tobytes() == found[1][0][path].tobytes()


class Dropping(mh.Module):
    dropout: mh.nn.Dropout
    linear: mh.nn.Linear

    def forward(self, x):
        return self.linear(self.dropout(x))


def test_ranks_drop_out_different_things():
    def run(ranks):
        rng = mh.Rng(0)
        model = Dropping(mh.nn.DropoutConfig(0.5).init(rng=rng), mh.nn.LinearConfig(3, 2).init(rng=rng))
        wrapper = ParallelModel(model, squared, ranks)
        return wrapper.model.dropout.rng.state()["key"]

    first, second = results(2, run)
    assert first != second
    assert (
        first
        == Dropping(
            mh.nn.DropoutConfig(0.5).init(rng=(rng := mh.Rng(0))), mh.nn.LinearConfig(3, 2).init(rng=rng)
        ).dropout.rng.state()["key"]
    )


def test_a_failure_elsewhere_takes_random_numbers_back():
    def run(ranks):
        def forward(model, batch):
            if ranks.rank == 1:
                raise ZeroDivisionError("on purpose")
            return squared(model, batch)

        rng = mh.Rng(0)
        model = Dropping(mh.nn.DropoutConfig(0.5).init(rng=rng), mh.nn.LinearConfig(3, 2).init(rng=rng))
        wrapper = ParallelModel(model, forward, ranks)
        before = wrapper.model.dropout.rng.state()
        with pytest.raises((ZeroDivisionError, CommunicationError)):
            wrapper.forward(Batch(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)))
        assert wrapper.model.dropout.rng.state() == before

    results(2, run)


def test_an_evaluation_between_forward_and_backward_changes_neither():
    def run(ranks):
        whole, other = DataLoader(DATA, 9, mh.Rng(1)), DataLoader(DATA, 10, mh.Rng(2))
        wrapper = ParallelModel(net(), squared, ranks)
        loss = wrapper.forward(next(Shard(whole, ranks.rank, ranks.size))).item()
        rows = slice(0, 1) if ranks.rank == 0 else slice(1, 10)
        wrapper.evaluate(Batch(*(part[rows] for part in next(other))))
        assert wrapper.backward().loss == loss and wrapper.examples == 10
        vector = np.empty_like(wrapper.weights)
        wrapper.gradient_into(vector)
        return vector

    alone = ModelWrapper(net(), squared)
    alone.forward(next(DataLoader(DATA, 9, mh.Rng(1))))
    alone.backward()
    expected = np.empty_like(alone.weights)
    alone.gradient_into(expected)
    for found in results(2, run):
        np.testing.assert_allclose(found, expected, atol=1e-14)


def test_a_state_and_a_snapshot_are_the_same_on_all_ranks_and_give_each_its_streams_back():
    def run(ranks):
        rng = mh.Rng(0)
        model = Dropping(mh.nn.DropoutConfig(0.5).init(rng=rng), mh.nn.LinearConfig(3, 2).init(rng=rng))
        trainer = FullTrainer(ParallelModel(model, squared, ranks), OptimizerWrapper(mh.optim.SGD(), 0.1))
        own = trainer.model.dropout.rng.state()
        state, snapshot = trainer.state_dict(), trainer.model_wrapper.snapshot()
        trainer.load_state_dict(state)
        assert trainer.model.dropout.rng.state() == own
        trainer.model_wrapper.restore(snapshot)
        assert trainer.model.dropout.rng.state() == own
        return repr(state["model_wrapper"])

    assert len(set(results(3, run))) == 1


class Branching(mh.Module):
    left: mh.nn.Linear
    right: mh.nn.Linear

    def forward(self, x):
        return self.left(x) if float(x.array[0, 0]) > 0 else self.right(x)


def test_a_parameter_that_only_some_ranks_use_has_their_gradient():
    inputs = np.array([[1.0, 2.0, 3.0], [-1.0, 1.0, 0.5]])

    def run(ranks):
        rng = mh.Rng(0)
        model = Branching(*(mh.nn.LinearConfig(3, 2).init(rng=rng, dtype="float64") for _ in range(2)))
        trainer = FullTrainer(ParallelModel(model, squared, ranks), OptimizerWrapper(mh.optim.SGD(), 0.1))
        before = weights(trainer)
        row = inputs[ranks.rank : ranks.rank + 1]
        trainer.step(Batch(row, np.zeros((1, 2))))
        moved = weights(trainer) - before
        trainer.step(Batch(inputs[:1], np.zeros((1, 2))))  # in the vector of gradients that the first step gave back
        trainer.step(Batch(row, np.zeros((1, 2))))
        return moved, weights(trainer)

    def model_alone():
        rng = mh.Rng(0)
        return Branching(*(mh.nn.LinearConfig(3, 2).init(rng=rng, dtype="float64") for _ in range(2)))

    (first, after), (second, _) = results(2, run)
    assert first.tobytes() == second.tobytes() and (first != 0).all()
    alone, optim = model_alone(), mh.optim.SGD()
    for rows in (inputs, inputs[[0, 0]], inputs):
        loss = sum(mh.nn.mse(alone(mh.Tensor(rows[i : i + 1])), np.zeros((1, 2))) for i in range(2)) / 2
        alone = optim.step(0.1, alone, mh.optim.GradientsParams.from_grads(loss.backward(), alone))
    np.testing.assert_allclose(after, mh.hybrid.ModelWrapper(alone, squared).weights, atol=1e-14)


def test_all_ranks_begin_with_the_weights_of_the_first():
    models = results(3, lambda ranks: ParallelModel(net(seed=ranks.rank), squared, ranks).weights.copy())
    assert {model.tobytes() for model in models} == {ParallelModel(net(), squared, Alone()).weights.tobytes()}


def test_replicas_that_part_are_found_and_the_parameter_named():
    def run(ranks):
        wrapper = ParallelModel(net(), squared, ranks, check_every=2)
        trainer = FullTrainer(wrapper, OptimizerWrapper(mh.optim.SGD(), 0.1))
        batch = Batch(DATA.inputs[:4], DATA.targets[:4])
        trainer.step(batch)
        if ranks.rank == 1:
            wrapper.weights[30] += 1e-9
        with pytest.raises(CommunicationError, match=r"parted: first\.bias is another on rank 1"):
            trainer.step(batch)

    results(2, run)


def test_models_of_other_shapes_are_refused_at_the_start():
    def run(ranks):
        model = mh.nn.LinearConfig(3, 2 + ranks.rank).init(rng=mh.Rng(0))
        with pytest.raises(CommunicationError, match=r"rank 0 has bias = 'float32 \(2,\)', rank 1"):
            ParallelModel(model, squared, ranks)

    results(2, run)


def test_a_batch_of_none_on_all_ranks_is_refused():
    def run(ranks):
        wrapper = ParallelModel(net(), squared, ranks)
        with pytest.raises(ValueError, match="no rank has an example"):
            wrapper.forward(Batch(DATA.inputs[:0], DATA.targets[:0]))

    assert not any(isinstance(found, Exception) for found in on_ranks(2, run))
