import math
from dataclasses import replace

import pytest

import minihybrid as mh
from minihybrid.compare import race as module
from minihybrid.compare.method import Method, stepwise
from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, Recorder, race
from minihybrid.compare.tasks import build
from minihybrid.train import DivergenceError, Ledger

TASK = build("full-batch/xor")


def run(method, lr=0.03, budget=20, points=10, task=TASK):
    return race(
        task, METHODS[method] if isinstance(method, str) else method, Entry(task.name, "x", 0, lr, budget), points
    )


def test_losses_are_looked_at_on_a_grid_of_charged_cost():
    curve = run("adam").curve
    assert [point.gradient_equivalents for point in curve] == [2.0 * i for i in range(11)]
    assert [point.backward_passes for point in curve] == [2 * i for i in range(11)]


def test_the_losses_are_those_of_the_whole_parts_before_and_after_training():
    found = run("adam", budget=1, points=1)
    model = TASK.init(mh.Rng(0).split())
    assert found.curve[0].train_loss == TASK.mean_loss(model, TASK.train)
    assert found.curve[0].val_loss == TASK.mean_loss(model, TASK.validation)
    assert found.end.train_loss < found.curve[0].train_loss


def test_a_run_repeats_itself_but_for_the_time():
    one, other = run("hybrid/quasi-newton"), run("hybrid/quasi-newton")
    assert [point._replace(cpu_seconds=0) for point in one.curve] == [p._replace(cpu_seconds=0) for p in other.curve]


def test_the_clock_stands_while_losses_are_looked_at(monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "process_time", lambda: now)

    def readout():
        nonlocal now
        now += 1000.0
        return TASK.init(mh.Rng(0))

    recorder, ledger = Recorder(TASK, budget=2, points=2), Ledger()
    assert recorder.goes_on(ledger, readout)
    for passes, goes_on in ((1, True), (2, False)):
        now += 0.5
        ledger.backward_passes = passes
        assert recorder.goes_on(ledger, readout) == goes_on
    assert [point.cpu_seconds for point in recorder.curve] == [0.0, 0.5, 1.0]


def test_forward_probes_are_charged_a_third():
    ledger = Ledger(backward_passes=1, forward_probes=3, probe_batches=3.0)
    assert not Recorder(TASK, budget=2, points=1).goes_on(ledger, lambda: TASK.init(mh.Rng(0)))


def test_a_run_without_a_finite_loss_ends_and_says_so():
    def diverge(task, lr, seed, budget, goes_on):
        assert goes_on(Ledger(), lambda: task.init(mh.Rng(seed)))
        raise DivergenceError("nan")

    found = run(Method("x", diverge, ""))
    assert found.diverged and len(found.curve) == 1 and math.isfinite(found.end.train_loss)

    class Poison(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.replaced(param.numpy() * float("nan"))

    def poison(task, lr, seed, budget, goes_on):
        assert goes_on(Ledger(), lambda: task.init(mh.Rng(seed)))
        assert not goes_on(Ledger(backward_passes=10), lambda: task.init(mh.Rng(seed)).map(Poison()))

    found = run(Method("x", poison, ""))
    assert found.diverged and len(found.curve) == 1


def test_a_learning_rate_that_is_far_too_high_is_a_run_that_diverged_and_no_error():
    assert run("sgd+momentum", lr=1e30, task=build("full-batch/regression")).diverged


def test_a_method_may_spend_a_part_of_the_budget():
    half = replace(METHODS["adam"], share=lambda task: 0.5)
    assert run(half).end.gradient_equivalents == 10


@pytest.mark.parametrize("shape", ["constant", "linear"])
def test_schedules_follow_the_charged_cost(shape):
    rates = []

    class Watched(mh.hybrid.FullTrainer):
        def step(self, batch):
            rates.append(self.optimizer_wrapper.learning_rate())
            self.ledger.probe_batches += 3  # as if it had probed: each step costs 2
            return super().step(batch)

    def make(task, model, lr, rng):
        return Watched(model, mh.hybrid.OptimizerWrapper(mh.optim.SGD(), lr))

    run(Method("x", stepwise(make, shape), ""), lr=1.0, budget=8)
    assert rates == ([1.0, 1.0, 1.0, 1.0] if shape == "constant" else [1.0, 0.75, 0.5, 0.25])
