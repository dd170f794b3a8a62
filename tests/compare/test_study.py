"""Which runs are made: with runs that are calculated, and once for real."""

import json
import math
from dataclasses import replace

import pytest

from minihybrid.compare import compare, write
from minihybrid.compare.methods import METHODS
from minihybrid.compare.progress import Plain
from minihybrid.compare.race import Point, Run
from minihybrid.compare.store import Store
from minihybrid.compare.study import Study
from minihybrid.compare.suite import FIRST_TUNING_SEED
from minihybrid.compare.tasks import build
from minihybrid.compare.workers import Workers


class Silent:
    def expect(self, runs):
        pass

    def ran(self, pair, seconds):
        pass

    def finished(self, result):
        pass


class Calculated(Workers):
    """Runs whose loss is lowest at the learning rate 0.04 and falls with the budget; `most` of them are made."""

    def __init__(self, most=10**9, diverges=lambda entry: False):
        super().__init__(1, None)
        self.made, self.most, self.diverges = [], most, diverges

    def execute(self, entry, points):
        if len(self.made) == self.most:
            raise KeyboardInterrupt
        self.made.append(entry)
        loss = (1 + abs(math.log(entry.lr / 0.04)) + entry.seed / 1e4) / entry.budget
        curve = Point(0, 0, 0, 1, 1), Point(entry.budget, round(entry.budget), 0.1, loss, 2 * loss)
        return Run(entry, curve, self.diverges(entry))


TUNING_SEEDS = (FIRST_TUNING_SEED, FIRST_TUNING_SEED + 1)


def study(folder, suite, workers=None):
    workers = workers or Calculated()
    found = Study(suite, None, Store(folder), workers, Silent()).run(suite.tasks, suite.methods)
    return found, workers.made


def test_a_method_runs_with_every_seed_at_the_tuned_learning_rate(tmp_path, tiny):
    found, made = study(tmp_path, tiny)
    (result,) = [r for r in found.results if (r.task, r.method) == ("full-batch/xor", "adam")]
    assert result.lr == pytest.approx(0.04) and [run.entry.seed for run in result.runs] == [0, 1]
    tuning = [e for e in made if (e.task, e.method) == ("full-batch/xor", "adam") and e.seed in TUNING_SEEDS]
    assert min(e.lr for e in tuning) < result.lr < max(e.lr for e in tuning)
    assert all(run.entry.seed < tiny.seeds for result in found.results for run in result.runs)


def test_methods_run_on_the_tasks_that_they_are_meant_for_in_order(tmp_path, tiny):
    found, _ = study(tmp_path, tiny)
    assert [(result.task, result.method) for result in found.results] == [
        (task, method) for task in tiny.tasks for method in tiny.methods if METHODS[method].fits(build(task))
    ]
    assert len(found.of("full-batch/xor")) == 5 and len(found.of("minibatch/digits")) == 4


def test_learning_rates_are_tuned_by_the_loss_that_a_task_is_judged_by(tmp_path, tiny):
    class Contrary(Calculated):
        def execute(self, entry, points):
            run = super().execute(entry, points)
            other = abs(math.log(entry.lr / 0.0025))
            return replace(run, curve=(*run.curve[:-1], run.end._replace(val_loss=other)))

    found, _ = study(tmp_path, tiny, Contrary())
    rates = {r.task: r.lr for r in found.results if r.method == "adam"}
    assert rates == {"full-batch/xor": pytest.approx(0.04), "minibatch/digits": pytest.approx(0.0025)}


def test_learning_rates_are_tuned_by_the_mean_over_seeds_of_their_own(tmp_path, tiny):
    class Noisy(Calculated):
        """The first seed alone would choose the lowest learning rate of the grid."""

        def execute(self, entry, points):
            run = super().execute(entry, points)
            luck = -0.5 if (entry.seed, entry.lr) == (TUNING_SEEDS[0], 0.01) else 0.0
            worse = 1.0 if (entry.seed, entry.lr) == (TUNING_SEEDS[1], 0.01) else 0.0
            return replace(run, curve=(*run.curve[:-1], run.end._replace(val_loss=run.end.val_loss + luck + worse)))

    found, made = study(tmp_path, tiny, Noisy())
    assert all(r.lr == pytest.approx(0.04) for r in found.results if r.method == "adam")
    seeds = {task: {e.seed for e in made if e.task == task and e.seed in TUNING_SEEDS} for task in tiny.tasks}
    assert seeds == {"full-batch/xor": set(TUNING_SEEDS), "minibatch/digits": set(TUNING_SEEDS)}


def test_controls_take_the_learning_rate_of_adam(tmp_path, tiny):
    methods = ("control/lr-scale", "control/lr-scale/linear", "control/skip-updates")
    found, made = study(tmp_path, replace(tiny, methods=methods))
    task = build("full-batch/xor")
    rates = [result.lr for result in found.of(task.name)]
    assert rates == pytest.approx([0.04 * METHODS["control/lr-scale"].lr_factor(task)] * 2 + [0.04])
    assert {e.method for e in made if e.seed in TUNING_SEEDS} == {"adam", "adam/linear"}


def test_a_task_may_be_tuned_elsewhere(tmp_path, tiny):
    suite = replace(tiny, tasks=("control/random-labels",), methods=("adam",))
    suite = replace(suite, budgets={"control/random-labels": 30, "minibatch/digits": 20})
    found, made = study(tmp_path, suite)
    assert {(e.task, e.budget) for e in made if e.seed in TUNING_SEEDS} == {("minibatch/digits", 20)}
    assert found.results[0].lr == pytest.approx(0.04) and found.baselines == {}


def test_a_task_may_give_the_learning_rate(tmp_path, tiny, mnist_folder):
    suite = replace(tiny, tasks=("low-rank/mnist",), methods=("adam", "sgd+momentum"), budgets={"low-rank/mnist": 20})
    workers = Calculated()
    found = Study(suite, mnist_folder, Store(tmp_path), workers, Silent()).run(suite.tasks, suite.methods)
    assert [(result.method, result.lr) for result in found.results] == [("adam", 3e-4)]
    assert all(entry.seed not in TUNING_SEEDS for entry in workers.made)


class Favoured(Calculated):
    """One method is twice as good."""

    def __init__(self, method):
        super().__init__()
        self.method = method

    def execute(self, entry, points):
        run = super().execute(entry, points)
        factor = 0.5 if entry.method == self.method else 1
        end = run.end._replace(train_loss=factor * run.end.train_loss, val_loss=factor * run.end.val_loss)
        return replace(run, curve=(*run.curve[:-1], end))


def test_the_best_baseline_runs_with_other_budgets(tmp_path, tiny):
    suite = replace(tiny, tasks=("full-batch/xor",), methods=("lbfgs", "adam/linear", "schedule-free"))
    found, _ = study(tmp_path, suite, Favoured("schedule-free"))
    (linear, best) = found.baselines["full-batch/xor"]
    assert (linear.method, best.method) == ("adam/linear", "schedule-free")
    loss = 1 + 0.5e-4  # the median of the two seeds
    assert linear.curve == ((10.0, pytest.approx(loss / 10)), (20.0, pytest.approx(loss / 20)))
    assert best.curve == ((10.0, pytest.approx(loss / 20)), (20.0, pytest.approx(loss / 40)))
    found, _ = study(tmp_path / "other", suite, Favoured("lbfgs"))
    assert [baseline.method for baseline in found.baselines["full-batch/xor"]] == ["adam/linear"]


def test_a_constant_learning_rate_is_a_baseline_where_there_is_no_noise(tmp_path, tiny):
    found, _ = study(tmp_path, replace(tiny, methods=("adam", "adam/linear")), Favoured("adam"))
    assert {task: [baseline.method for baseline in curves] for task, curves in found.baselines.items()} == {
        "full-batch/xor": ["adam/linear", "adam"],
        "minibatch/digits": ["adam/linear"],
    }


def test_every_run_that_diverged_is_listed(tmp_path, tiny):
    bad = Calculated(diverges=lambda entry: 0.05 < entry.lr < 1 or (entry.method == "adam" and entry.seed == 1))
    found, made = study(tmp_path, tiny, bad)
    assert found.failed and set(found.failed) == {entry for entry in made if bad.diverges(entry)}
    assert {entry.seed for entry in found.failed} == {1, *TUNING_SEEDS}
    again, made = study(tmp_path, tiny)
    assert made == [] and set(again.failed) == set(found.failed)


def test_a_method_that_always_diverges_gets_no_learning_rate(tmp_path, tiny):
    found, _ = study(tmp_path, tiny, Calculated(diverges=lambda entry: entry.method == "adam"))
    assert [(r.lr, r.runs) for r in found.results if r.method == "adam"] == [(None, ())] * 2
    assert [r.lr for r in found.results if r.method == "control/shorter"] == pytest.approx([0.04, 0.04])


@pytest.mark.parametrize("most", [0, 1, 7, 40])
def test_what_was_interrupted_goes_on_from_there(tmp_path, tiny, most):
    whole, made = study(tmp_path / "whole", tiny)
    part, before = study(tmp_path / "part", tiny, Calculated(most))
    assert part.interrupted and len(before) == most and len(part.results) < len(whole.results)
    resumed, after = study(tmp_path / "part", tiny)
    assert resumed == whole
    assert sorted(map(str, before + after)) == sorted(map(str, made))


def test_what_is_not_the_same_run_is_made_again(tmp_path, tiny):
    study(tmp_path, tiny)
    assert study(tmp_path, tiny)[1] == []
    assert study(tmp_path, replace(tiny, full_batch_points=11))[1] != []
    assert study(tmp_path, replace(tiny, seeds=3))[1] != []


def test_the_whole_comparison_in_earnest(tmp_path, tiny, capsys):
    found = compare(tiny, tiny.tasks, tiny.methods, tmp_path, Plain())
    assert not found.interrupted and not found.failed
    text = write(found, tmp_path)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 9 and out[-1].startswith("   9/9  minibatch/digits") and out[-1].endswith("left")
    assert "full-batch/xor" in text and "over adam/linear" in text
    rows = json.loads((tmp_path / "compare.json").read_text())
    assert len(rows) == 9 * tiny.seeds * 4
    keys = ("task", "method", "seed", "lr", "target", "backward_passes", "gradient_equivalents", "cpu_seconds")
    keys += ("final_train_loss", "final_val_loss")
    assert all(set(keys) <= row.keys() for row in rows)
    assert {row["target"] for row in rows} == {"10%", "25%", "50%", "100%"}
    adam = [row for row in rows if row["method"] == "adam" and row["target"] == "10%"]
    assert len(adam) == 4 and all(0 <= row["backward_passes"] <= 20 for row in adam if row["backward_passes"])
    assert all(row["final_val_loss"] > 0 for row in rows)
