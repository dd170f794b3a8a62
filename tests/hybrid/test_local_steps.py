"""Local steps with a meeting now and then: the mean over the ranks, and the outer step from it."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.data import Batch
from minihybrid.distributed import Alone
from minihybrid.hybrid import FullTrainer, LocalStepsTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.hybrid.predictors import OuterNesterovConfig
from tests.distributed.threads import results

INPUTS, TARGETS = (np.random.default_rng(seed).normal(size=(6, 8, 2)) for seed in (0, 1))
PLAIN = OuterNesterovConfig(learning_rate=1.0, momentum=0.0)


def squared(model, batch):
    return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)


def wrapped(seed=0):
    return ModelWrapper(mh.nn.LinearConfig(2, 2).init(rng=mh.Rng(seed), dtype="float64"), squared)


def batch(i):
    return Batch(INPUTS[i], TARGETS[i])


def run(ranks, every, steps, outer=PLAIN, optimizer=mh.optim.SGD):
    trainer = LocalStepsTrainer(wrapped(ranks.rank), OptimizerWrapper(optimizer(), 0.1), ranks, every, outer)
    for i in range(steps):
        trainer.step(batch((i + ranks.rank) % 6))
    return trainer


def test_between_meetings_ranks_go_their_own_ways_and_there_they_are_equal():
    apart = results(2, lambda ranks: run(ranks, 4, 3).model_wrapper.weights.tobytes())
    met = results(2, lambda ranks: run(ranks, 4, 4).model_wrapper.weights.tobytes())
    assert apart[0] != apart[1] and met[0] == met[1]


def test_an_outer_step_of_1_without_momentum_is_the_mean_of_where_they_were():
    before = results(3, lambda ranks: run(ranks, 9, 2).model_wrapper.weights.copy())
    met = results(3, lambda ranks: run(ranks, 2, 2).model_wrapper.weights.copy())
    np.testing.assert_allclose(met[0], np.mean(before, axis=0), atol=1e-15)


def test_meeting_at_each_step_with_sgd_is_data_parallel_training():
    met = results(2, lambda ranks: run(ranks, 1, 5).model_wrapper.weights.copy())
    alone = FullTrainer(wrapped(), OptimizerWrapper(mh.optim.SGD(), 0.1))
    for i in range(5):
        both = [batch((i + rank) % 6) for rank in range(2)]
        alone.step(Batch(*(np.concatenate(parts) for parts in zip(*both, strict=True))))
    np.testing.assert_allclose(met[0], alone.model_wrapper.weights, atol=1e-14)


def test_momentum_goes_on_from_meeting_to_meeting():
    def step(trainer):
        before = trainer.model_wrapper.weights.copy()
        trainer.step(batch(0))
        return trainer.model_wrapper.weights - before

    lr, mu = 0.5, 0.5
    trainer = LocalStepsTrainer(
        wrapped(), OptimizerWrapper(mh.optim.SGD(), 0.0), Alone(), 1, OuterNesterovConfig(learning_rate=lr, momentum=mu)
    )
    trainer._momentum[...] = 1.0  # of earlier steps; these do not move, so s = 0 and b = mu b
    np.testing.assert_allclose(step(trainer), -lr * mu * mu)
    np.testing.assert_allclose(step(trainer), -lr * mu * mu**2)


def test_an_average_that_the_optimizer_keeps_moves_along():
    trainer = run(Alone(), 2, 2, OuterNesterovConfig(learning_rate=0.5), mh.optim.ScheduleFreeAdamW)
    z = trainer.optimizer_wrapper.optimizer._vectors
    other = run(Alone(), 9, 2, optimizer=mh.optim.ScheduleFreeAdamW)
    moved = trainer.model_wrapper.weights - other.model_wrapper.weights
    assert (moved != 0).any()
    for name in trainer.optimizer_wrapper.optimizer.positions:
        np.testing.assert_allclose(z[name] - other.optimizer_wrapper.optimizer._vectors[name], moved, atol=1e-15)


def test_one_message_of_the_weights_size_a_meeting():
    def counted(ranks):
        trainer = run(ranks, 4, 0)
        before = ranks.traffic
        for i in range(8):
            trainer.step(batch(i % 6))
        sent = ranks.traffic - before
        return sent.messages, sent.bytes, trainer.model_wrapper.weights.nbytes

    for messages, sent, n in results(2, counted):
        assert (messages, sent) == (2, 2 * n)


def test_meetings_that_never_come_are_refused():
    with pytest.raises(ValueError, match="every is 0; expected 1 or more"):
        run(Alone(), 0, 0)


def test_a_run_that_differs_from_rank_to_rank_is_not_saved():
    with pytest.raises(TypeError, match="save the model that readout"):
        run(Alone(), 4, 1).state_dict()
