"""The loop around a trainer."""

import itertools
import math
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import minihybrid as mh
from minihybrid.data import Batch
from minihybrid.hybrid import FullTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.train import (
    CheckpointError,
    Checkpoints,
    Ended,
    Evaluated,
    Evaluation,
    Learner,
    Started,
    Stepped,
    StepResult,
    evaluate,
)
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


# Checkpoints


def classify(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


DATA = mh.data.digits().split(0.2, mh.Rng(0))[0]


def training(folder, steps=12, every=4, listeners=(), **options):
    """A run that is made in the same way each time."""
    rng = mh.Rng(0)
    layers = [mh.nn.DropoutConfig(0.2).init(rng), mh.nn.LinearConfig(64, 10).init(rng)]
    trainer = FullTrainer(ModelWrapper(mh.nn.Sequential(layers), classify), OptimizerWrapper(mh.optim.Adam(), 0.01))
    batches = mh.data.DataLoader(DATA, 64, mh.Rng(1))
    checkpoints = None if folder is None else Checkpoints(folder, **{"every": 3, **options})
    score = lambda model: evaluate(model, DATA, mh.nn.cross_entropy)  # noqa: E731
    return Learner(trainer, batches, score, steps, every, listeners, checkpoints)


def outcome(learner, summary):
    """What a run came to, but for the time it took."""
    counts = vars(summary.ledger)
    bits = learner.trainer.model_wrapper.weights.tobytes()
    return bits, summary.steps, summary.evaluation, counts, set(summary.seconds), summary.interrupted


def whole(steps=12, every=4):
    learner = training(None, steps, every)
    return outcome(learner, learner.run())


class Killed(BaseException):
    pass


def kill(at):
    """A listener that ends the run in the middle, as no run ends."""

    def listen(event):
        if isinstance(event, Stepped) and event.result.step + 1 == at:
            raise Killed

    return listen


@pytest.mark.parametrize("at", range(1, 13))
def test_a_run_that_was_killed_goes_on_to_the_bit(tmp_path, at):
    with pytest.raises(Killed):
        training(tmp_path, listeners=[kill(at)]).run()
    events = []
    learner = training(tmp_path, listeners=[events.append])
    assert outcome(learner, learner.resume()) == whole()
    started = events[0].before.steps
    assert 0 <= at - 1 - started <= 3, "from the last checkpoint before"
    assert [event.result.step for event in events if isinstance(event, Stepped)] == list(range(started, 12))
    assert [event.steps for event in events if isinstance(event, Evaluated)] == [s for s in (4, 8, 12) if s > started]


@pytest.mark.parametrize(("half", "every"), [(6, 4), (6, 3), (6, 100)])
def test_half_a_run_and_the_other_half_are_a_whole_one(tmp_path, half, every):
    training(tmp_path, half, every).run()
    learner = training(tmp_path, 12, every)
    assert outcome(learner, learner.resume()) == whole(12, every)


def test_a_run_that_has_nothing_to_do_ends_as_it_had(tmp_path):
    first = training(tmp_path)
    before = outcome(first, first.run())
    events = []
    again = training(tmp_path, listeners=[events.append])
    assert outcome(again, again.resume()) == before
    assert [type(event) for event in events] == [Started, Ended]


def test_without_a_checkpoint_it_begins(tmp_path):
    learner = training(tmp_path / "new")
    assert outcome(learner, learner.resume()) == whole()
    with pytest.raises(ValueError, match="there is nothing to resume from; pass checkpoints"):
        training(None).resume()


def test_a_folder_of_another_run_is_not_begun_in(tmp_path):
    training(tmp_path).run()
    before = sorted(path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match="holds checkpoints already"):
        training(tmp_path).run()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_a_checkpoint(tmp_path, number):
    usual = signal.getsignal(number)

    def press(event):
        if isinstance(event, Stepped) and event.result.step == 4:
            signal.raise_signal(number)

    summary = training(tmp_path, every=5, listeners=[press]).run()
    assert (summary.steps, summary.interrupted) == (5, True) and signal.getsignal(number) is usual
    assert (tmp_path / "latest").read_text() == "step-5.safetensors"
    learner = training(tmp_path, every=5)
    assert outcome(learner, learner.resume()) == whole(every=5)


def test_sigterm_asks_once_and_again(tmp_path):
    """It is no exception, however often it comes: the step under way is finished."""

    def press(event):
        if isinstance(event, Stepped) and event.result.step == 4:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)

    assert training(tmp_path, listeners=[press]).run().steps == 5


def test_a_second_ctrl_c_waits_for_an_optimizer(tmp_path):
    """Weights and moments change in place: half of that would be neither here nor there."""

    class Pressing(mh.optim.Adam):
        def update_in_place(self, *args):
            if self.pressed:
                for _ in range(3):
                    signal.raise_signal(signal.SIGINT)
            super().update_in_place(*args)

    learner = training(tmp_path)
    optimizer = learner.trainer.optimizer_wrapper.optimizer = Pressing()
    optimizer.pressed = True
    summary = learner.run()
    assert (summary.steps, summary.interrupted) == (1, True) and optimizer.state()["steps"]


def test_the_best_one_is_kept(tmp_path):
    scores = iter([3.0, 1.0, 2.0, 2.5, 2.6, 2.7])
    learner = training(tmp_path, steps=12, every=2, keep=1)
    learner.every, learner.checkpoints.every = 2, None
    learner.evaluate = lambda model: Evaluation(next(scores))
    learner.run()
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-12.safetensors", "step-4.safetensors"]


def test_a_damaged_checkpoint_is_told_of(tmp_path):
    with pytest.raises(Killed):
        training(tmp_path, listeners=[kill(11)]).run()
    path = tmp_path / "step-9.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    events = []
    learner = training(tmp_path, listeners=[events.append])
    assert outcome(learner, learner.resume()) == whole()
    assert events[0].before.steps == 8  # whose evaluation was the best
    damaged, found = events[0].notes
    assert (
        "step-9.safetensors is damaged or cut short" in damaged
        and found == f"going on from {tmp_path}/step-8.safetensors."
    )


def test_a_checkpoint_of_something_else_does_not_fit(tmp_path):
    training(tmp_path, 3).run()
    learner = training(tmp_path)
    learner.batches = mh.data.DataLoader(DATA, 32, mh.Rng(1))
    with pytest.raises(
        CheckpointError, match=r"step-3\.safetensors does not fit this run: the state belongs to a DataLoader"
    ):
        learner.resume()
    learner = training(tmp_path)
    learner.trainer.model_wrapper = ModelWrapper(mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0)), classify)
    with pytest.raises(CheckpointError, match="the parameter weight the shape None"):
        learner.resume()


def test_what_cannot_say_where_it_stands_is_found_out_at_once(tmp_path):
    learner = training(tmp_path)
    learner.batches = itertools.repeat(next(learner.batches))
    with pytest.raises(TypeError, match=r"needs the state_dict\(\) of batches, and a repeat has none; .* DataLoader"):
        learner.run()
    assert learner.trainer.steps == 0 and not tmp_path.joinpath("latest").exists()


class Noting:
    """A listener with a state."""

    def __init__(self):
        self.heard = []

    def __call__(self, event):
        if isinstance(event, Stepped):
            self.heard.append(event.result.step)

    def state_dict(self):
        return {"heard": list(self.heard)}

    def load_state_dict(self, state):
        self.heard = state["heard"]


def test_listeners_that_have_a_state_go_on_too(tmp_path):
    first, second = Noting(), Noting()
    with pytest.raises(Killed):
        training(tmp_path, listeners=[first, kill(8)]).run()
    training(tmp_path, listeners=[second]).resume()
    assert second.heard == list(range(12)) and len(first.heard) == 8
    with pytest.raises(CheckpointError, match="it is of trainer, batches, listener 0, and these are trainer, batches"):
        training(tmp_path).resume()


def test_another_process_goes_on_to_the_bit(tmp_path):
    """The same run in a fresh interpreter, whose parameters have other ids."""
    with pytest.raises(Killed):
        training(tmp_path, listeners=[kill(8)]).run()
    code = (
        "import sys; from tests.train.test_learner import training; from pathlib import Path; import minihybrid as mh\n"
        f"learner = training(Path({str(tmp_path)!r})); learner.resume()\n"
        "sys.stdout.write(learner.trainer.model_wrapper.weights.tobytes().hex())"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == whole()[0]


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


def test_a_run_that_diverges_after_it_was_taken_up_ends_with_the_best_of_before(tmp_path):
    def failing(listeners):
        learner = training(tmp_path, 12, 4, listeners)
        step, trainer = learner.trainer.step, learner.trainer

        def diverging(batch):
            if trainer.steps == 6:
                raise DivergenceError("on purpose")
            return step(batch)

        trainer.step = diverging
        return learner

    with pytest.raises(Killed):
        failing([kill(6)]).run()
    events = []
    with pytest.raises(DivergenceError):
        failing([events.append]).resume()
    first = training(None, 4, 4)
    first.run()
    assert isinstance(events[-1], Ended) and events[-1].summary.diverged == "on purpose"
    best, expected = (
        mh.hybrid.ModelWrapper(m.clone(), classify).weights for m in (events[-1].model, first.trainer.model)
    )
    assert best.tobytes() == expected.tobytes()
