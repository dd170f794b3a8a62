"""The benchmarks of prediction run from end to end, on budgets that say nothing."""

import itertools
import math

import pytest

import minihybrid as mh
from benchmarks import learning_rates, prediction_overhead, prediction_parts, random_problems
from benchmarks.workloads import WORKLOADS
from minihybrid.compare import tasks
from minihybrid.compare.race import Entry, Point, Run


def test_random_problems_are_the_same_each_time_and_of_both_kinds(monkeypatch):
    monkeypatch.setattr(random_problems, "BUDGET", 10)
    first, second = list(random_problems.results(4)), list(random_problems.results(4))
    assert first == second and all(math.isfinite(row["excess"]) for row in first)
    kinds = {random_problems.problem(mh.Rng(seed))[0].full_batch for seed in range(20)}
    assert kinds == {True, False}


def test_parts_are_compared_with_the_baseline_of_their_kind(monkeypatch, capsys):
    monkeypatch.setattr(prediction_parts, "BUDGETS", {"full-batch": 20})
    rows = prediction_parts.rows("full-batch/xor", 0.1, [0])
    assert [row["variant"] for row in rows] == ["adam", *prediction_parts.FULL_BATCH]
    assert rows[0]["cost_over_baseline"] == [1.0] * 4
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_passes_are_a_median_and_infinite_where_a_loss_is_not_reached():
    def run(*losses):
        points = [Point(float(i), i, 0.0, loss, loss) for i, loss in enumerate(losses)]
        return Run(Entry("t", "m", 0, 0.1, 10), tuple(points), diverged=False)

    found = [run(3.0, 2.0, 1.0), run(3.0, 1.0), run(3.0, 2.5)]
    assert learning_rates.passes(found, 1.0) == 2 and learning_rates.passes(found, 0.5) == math.inf


def test_a_rate_is_tuned_as_in_the_comparison():
    rate = learning_rates.tuned_rate(tasks.build("full-batch/xor"), "adam", 20, 10)
    assert math.log2(rate / 0.02) == pytest.approx(round(math.log2(rate / 0.02)))


def test_the_overhead_is_that_of_a_trainer_that_does_not_predict():
    workload = WORKLOADS["2-16-1 b4"]
    trainer = prediction_overhead.trainer(workload, "hybrid")
    batch = mh.data.Batch(*workload.data())
    for _ in itertools.repeat(None, 200):
        trainer.step(batch)
    assert trainer.payoff.pays is False and trainer.ledger.forward_probes == 0
    assert trainer.ledger.predictions_tried == 0
