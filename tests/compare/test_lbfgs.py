import pytest

from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, race
from minihybrid.compare.tasks import build

TASK = build("full-batch/logistic")


def run(name="lbfgs", budget=60, points=60):
    return race(TASK, METHODS[name], Entry(TASK.name, name, 0, 1.0, budget), points)


def test_every_evaluation_is_charged():
    curve = run().curve
    assert [point.backward_passes for point in curve] == list(range(61))


def test_the_model_that_is_looked_at_is_the_best_so_far():
    losses = [point.train_loss for point in run().curve]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.24 < losses[0]


def test_it_ends_where_nothing_lower_is_found():
    task = build("full-batch/xor")
    found = race(task, METHODS["lbfgs"], Entry(task.name, "lbfgs", 0, 1.0, 1000), 1000)
    assert found.end.train_loss < 1e-6 and found.end.backward_passes < 900


def test_ours_is_level_with_that_of_scipy():
    pytest.importorskip("scipy")
    ours, theirs = run("lbfgs"), run("lbfgs/scipy")
    assert ours.end.train_loss == pytest.approx(theirs.end.train_loss, rel=0.02)
