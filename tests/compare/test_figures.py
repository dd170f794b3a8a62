import json
import math

import pytest

from minihybrid.compare.comparison import Baseline, Comparison, Result
from minihybrid.compare.figures import Spread, final, lowest, reached, rows, speed_up, targets
from minihybrid.compare.race import Entry, Point, Run


def run(losses, method="adam", seed=0, diverged=False):
    """A run of budget 100 with these training losses at equal distances; validation losses are 1 higher."""
    step = 100 / (len(losses) - 1)
    curve = tuple(Point(i * step, round(i * step), i * step / 10, loss, loss + 1) for i, loss in enumerate(losses))
    return Run(Entry("full-batch/xor", method, seed, 0.1, 100.0), curve, diverged)


def comparison(*results, aim="train_loss", baselines=()):
    found = [Result("full-batch/xor", method, 0.1, tuple(runs)) for method, runs in results]
    return Comparison("tiny", 1, {"full-batch/xor": aim}, found, {"full-batch/xor": list(baselines)})


FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1]


def test_targets_are_what_the_yardstick_reaches_in_shares_of_its_budget():
    found = targets(comparison(("adam", [run(FALLING)])), "full-batch/xor")
    assert found == {"10%": 0.9, "25%": 0.8, "50%": 0.5, "100%": 0.1}


def test_targets_are_medians_over_the_seeds():
    runs = [run([factor * loss for loss in FALLING]) for factor in (1, 2, 7)]
    assert targets(comparison(("adam", runs)), "full-batch/xor") == {"10%": 1.8, "25%": 1.6, "50%": 1.0, "100%": 0.2}


def test_a_loss_once_reached_counts_as_reached_though_it_rises_again():
    spiking = run([1.0, 0.2, 3.0])
    assert [lowest(spiking, cost) for cost in (0, 49, 50, 100)] == [1.0, 1.0, 0.2, 0.2]


def test_without_the_yardstick_there_is_no_target():
    assert targets(comparison(("lbfgs", [run(FALLING)])), "full-batch/xor") == {}


def test_a_target_is_reached_at_the_first_point_that_is_as_low():
    assert reached(run([1.0, 0.5, 0.2, 0.6, 0.1]), 0.5).gradient_equivalents == 25
    assert reached(run([1.0, 0.5]), 0.4) is None


def test_there_is_a_row_for_every_run_and_target():
    found = rows([run(FALLING, seed=0), run([1.0, 0.6, 0.5], seed=1)], {"50%": 0.5, "100%": 0.1})
    assert [(row["seed"], row["target"], row["backward_passes"]) for row in found] == [
        (0, "50%", 50),
        (0, "100%", 100),
        (1, "50%", 100),
        (1, "100%", None),
    ]
    assert found[0] == {
        "task": "full-batch/xor",
        "method": "adam",
        "seed": 0,
        "lr": 0.1,
        "target": "50%",
        "target_loss": 0.5,
        "backward_passes": 50,
        "gradient_equivalents": 50.0,
        "cpu_seconds": 5.0,
        "final_train_loss": 0.1,
        "final_val_loss": 1.1,
        "budget": 100.0,
        "diverged": False,
    }
    assert found[3]["gradient_equivalents"] is None and found[3]["cpu_seconds"] is None
    json.dumps(found, allow_nan=False)


def test_a_run_that_diverged_has_no_final_loss():
    (row,) = rows([run([1.0, 0.5, 0.3], diverged=True)], {"50%": 0.5})
    assert row["diverged"] and row["final_train_loss"] is None and row["final_val_loss"] is None
    assert row["backward_passes"] == 50  # it was there


def test_the_speed_up_is_the_baselines_budget_for_that_loss():
    curve = [(cost, 100 / cost**0.5) for cost in (50, 70, 100, 140, 200)]
    for worth in (50, 60, 99, 100, 101, 180, 200):
        assert speed_up(100 / worth**0.5, 100, curve) == pytest.approx(worth / 100)
        assert speed_up(100 / worth**0.5, 50, curve) == pytest.approx(worth / 50)


def test_beyond_the_curve_there_is_no_speed_up():
    curve = [(50, 0.4), (100, 0.2)]
    assert speed_up(0.41, 100, curve) == 0 and speed_up(0.19, 100, curve) == math.inf
    assert speed_up(math.nan, 100, curve) == 0 and speed_up(0.3, 100, []) == 0


def test_a_baseline_that_gets_worse_with_more_is_taken_at_its_best():
    assert speed_up(0.2, 100, [(50, 0.4), (100, 0.5), (200, 0.2)]) == 2.0
    assert speed_up(0.4, 50, [(50, 0.4), (100, 0.0)]) == 1.0


def test_final_losses_are_medians_and_their_worth():
    baselines = [Baseline("adam/linear", ((50.0, 0.4), (100.0, 0.2), (200.0, 0.1)))]
    runs = [run([1.0, loss], "hybrid/x") for loss in (0.1, 0.3, 0.2)]
    found = comparison(("hybrid/x", runs), baselines=baselines)
    told = final(found, found.results[0])
    assert told.train_loss == Spread(0.2, 0.1, 0.3) and told.val_loss == Spread(1.2, 1.1, 1.3)
    assert told.spent == 100 and told.speed_ups == {"adam/linear": pytest.approx(1.0)}
    by_validation = comparison(("hybrid/x", runs), aim="val_loss", baselines=baselines)
    assert final(by_validation, by_validation.results[0]).speed_ups == {"adam/linear": 0.0}


def test_a_method_with_a_run_that_diverged_has_no_speed_up():
    baselines = [Baseline("adam/linear", ((50.0, 0.4), (100.0, 0.2)))]
    found = comparison(("x", [run([1.0, 0.2]), run([1.0, 0.2], diverged=True)]), baselines=baselines)
    told = final(found, found.results[0])
    assert told.diverged == 1 and told.speed_ups == {} and told.train_loss == Spread(0.2, 0.2, 0.2)
