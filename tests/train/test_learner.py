"""The loop around a trainer."""

import itertools
import math
import signal
import threading

import numpy as np
import pytest
import threadpoolctl

import minihybrid as mh
from minihybrid.data import Batch
from minihybrid.hybrid import FullTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.train import Ended, Evaluated, Evaluation, Learner, Started, Stepped, StepResult
from minihybrid.train.step import DivergenceError


class Counting:
    """A trainer that only notes what it was given."""

    model = mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0))

    def __init__(self, at=None, then=None):
        self.batches, self.at, self.then = [], at, then

    def readout(self):
        return self.model

    def step(self, batch):
        self.batches.append(batch)
        if len(self.batches) == self.at:
            self.then()
        return StepResult(len(self.batches) - 1, "full", 1.0, 0.1, backward_passes=len(self.batches))


def learner(trainer, steps, **options):
    return Learner(trainer, itertools.count(), lambda model: Evaluation(0.5, 0.75), steps, **options)


def test_events_come_in_order():
    events = []
    summary = learner(Counting(), 5, every=2, listeners=[events.append]).run()
    kinds = [type(event) for event in events]
    assert kinds == [Started, Stepped, Stepped, Evaluated, Stepped, Stepped, Evaluated, Stepped, Evaluated, Ended]
    assert [event.steps for event in events if isinstance(event, Evaluated)] == [2, 4, 5]
    assert events[-1].summary is summary and events[-1].model is Counting.model
    assert (summary.steps, summary.planned, summary.interrupted, summary.ledger.backward_passes) == (5, 5, False, 5)
    assert summary.evaluation == Evaluation(0.5, 0.75) and set(summary.seconds) == {"full", "evaluate"}


def test_the_last_step_is_scored_once():
    events = []
    learner(Counting(), 4, every=2, listeners=[events.append]).run()
    assert [event.steps for event in events if isinstance(event, Evaluated)] == [2, 4]


def test_each_step_gets_the_next_batch():
    trainer = Counting()
    learner(trainer, 3).run()
    assert trainer.batches == [0, 1, 2]


def test_ctrl_c_ends_after_the_step_under_way():
    trainer, before = Counting(at=3, then=lambda: signal.raise_signal(signal.SIGINT)), signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    summary = learner(trainer, 100).run()
    assert (summary.steps, summary.interrupted) == (3, True)
    assert summary.evaluation is not None
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_step_interrupts_nothing():
    summary = learner(Counting(at=3, then=lambda: signal.raise_signal(signal.SIGINT)), 3).run()
    assert not summary.interrupted


def test_a_second_ctrl_c_ends_at_once():
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    events = []
    summary = learner(Counting(at=3, then=twice), 100, every=1, listeners=[events.append]).run()
    assert (summary.steps, summary.interrupted, summary.evaluation) == (2, True, None)
    assert type(events[-1]) is Ended and events[-1].summary is summary, "what was learned can be kept"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_while_the_run_is_scored_and_kept_ctrl_c_waits():
    heard = []

    def listener(event):
        if isinstance(event, Evaluated | Ended):
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            heard.append(type(event))

    summary = learner(Counting(at=3, then=lambda: signal.raise_signal(signal.SIGINT)), 100, listeners=[listener]).run()
    assert (summary.steps, summary.interrupted) == (3, True) and heard == [Evaluated, Ended]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_program_that_handles_the_signal_keeps_its_way():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        summary = learner(Counting(at=2, then=lambda: signal.raise_signal(signal.SIGINT)), 4).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT] and summary.steps == 4


def test_a_keyboard_interrupt_that_nobody_pressed_goes_through():
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner(Counting(at=2, then=fail), 4).run()


def test_it_runs_in_other_threads_too():
    summaries = []
    thread = threading.Thread(target=lambda: summaries.append(learner(Counting(), 2).run()))
    thread.start()
    thread.join()
    assert summaries[0].steps == 2


def test_blas_has_one_thread_while_training():
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    seen = []
    before = threads()
    learner(Counting(at=1, then=lambda: seen.extend(threads())), 1).run()
    assert all(n == 1 for n in seen) and threads() == before


def test_what_the_trainer_raises_goes_through():
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        learner(Counting(at=2, then=fail), 4).run()


def test_overflow_ends_in_the_trainers_sentence_without_warnings():
    def forward(model, batch):
        return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)

    model = ModelWrapper(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0)), forward)
    trainer = FullTrainer(model, OptimizerWrapper(mh.optim.SGD(), 1e30))
    ones = Batch(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32))
    with pytest.raises(FloatingPointError, match=r"the loss is (inf|nan)\."):
        Learner(trainer, itertools.repeat(ones), lambda model: Evaluation(0.0), 20).run()


class Failing(Counting):
    """Diverges at a step; each copy that is read out is a model of its own."""

    def __init__(self, at):
        def fail():
            raise DivergenceError("the loss is nan.")

        super().__init__(at, fail)
        self.read = []

    def readout(self):
        self.read.append(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(len(self.read))))
        return self.read[-1]


def test_a_run_that_diverges_ends_with_the_model_that_scored_best():
    scores = iter([3.0, 1.0, math.nan, 2.0, 1.0])
    trainer, events = Failing(at=6), []
    evaluate = lambda model: Evaluation(next(scores))  # noqa: E731
    with pytest.raises(DivergenceError, match="the loss is nan"):
        Learner(trainer, itertools.count(), evaluate, 100, every=1, listeners=[events.append]).run()
    end = events[-1]
    assert type(end) is Ended and end.model is trainer.read[1]
    assert end.summary.evaluation == Evaluation(1.0) and end.summary.diverged == "the loss is nan."
    assert (end.summary.steps, end.summary.interrupted) == (5, False)


@pytest.mark.parametrize("score", [None, math.nan, math.inf])
def test_a_run_that_diverges_before_it_was_scored_has_no_end(score):
    events = []
    every = 100 if score is None else 1
    with pytest.raises(DivergenceError):
        Learner(Failing(at=3), itertools.count(), lambda model: Evaluation(score), 100, every, [events.append]).run()
    assert not any(type(event) is Ended for event in events)


def test_ctrl_c_waits_while_the_best_is_kept():
    def listener(event):
        if isinstance(event, Ended):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(DivergenceError):
        learner(Failing(at=3), 9, every=1, listeners=[listener]).run()
