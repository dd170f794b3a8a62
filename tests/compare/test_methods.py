import pytest

import minihybrid as mh
from minihybrid.compare.controls import ended_early, faster
from minihybrid.compare.hybrids import HYBRIDS, predicting
from minihybrid.compare.methods import METHODS
from minihybrid.compare.race import Entry, race
from minihybrid.compare.tasks import build
from minihybrid.hybrid import ModelWrapper

TASKS = [build("full-batch/xor"), build("minibatch/digits")]
CONSTANT = [name for name in METHODS if not name.endswith(("/linear", "/cosine"))]
PAIRS = [(task, name) for task in TASKS for name in (*CONSTANT, "adam/cosine") if METHODS[name].fits(task)]


@pytest.mark.parametrize(("task", "name"), PAIRS, ids=[f"{task.name} {name}" for task, name in PAIRS])
def test_it_trains_within_its_budget(task, name):
    method, lr = METHODS[name], 0.1 if "sgd" in name else 0.01
    budget = 60
    found = race(task, method, Entry(task.name, name, 0, lr, budget), points=6)
    assert not found.diverged and found.end.train_loss < found.curve[0].train_loss
    spends = budget * method.share(task)
    assert found.end.gradient_equivalents <= spends + 12  # the last action may reach beyond: a search of the guard
    if not name.startswith("lbfgs"):
        assert found.end.gradient_equivalents >= spends


def test_every_method_that_the_figures_need_is_there():
    wanted = """adam adam/linear adam/cosine adamw adamw/linear adamw/cosine adam+ema sgd+momentum lookahead
    schedule-free muon lbfgs hybrid/quasi-newton hybrid/rre hybrid/dmd hybrid/drift hybrid/outer-nesterov hybrid/holt
    hybrid/reference control/null control/skip-updates control/coast control/linear-trend control/gradient-ema
    control/lr-scale control/shorter"""
    assert set(wanted.split()) <= METHODS.keys()


def test_methods_of_one_name_with_other_settings_are_told_apart():
    assert len({method.settings for method in METHODS.values() if method.name.startswith("hybrid/")}) == len(
        [name for name in METHODS if name.startswith("hybrid/")]
    )
    assert '"betas"' in METHODS["adam"].settings and '"Adam"' in METHODS["adam+ema"].settings


def test_each_fits_its_own_kind_of_task():
    full, mini = TASKS
    for name in ("lbfgs", "hybrid/quasi-newton", "hybrid/rre", "hybrid/dmd"):
        assert METHODS[name].fits(full) and not METHODS[name].fits(mini)
    for name in ("hybrid/drift", "hybrid/reference"):
        assert METHODS[name].fits(mini) and not METHODS[name].fits(full)
    assert not METHODS["muon"].fits(build("full-batch/logistic"))  # it has no hidden weights


def test_baselines_are_optimizers_and_most_are_complete_only_when_they_have_decayed():
    baselines = {name for name, method in METHODS.items() if method.baseline}
    assert not any(name.startswith(("hybrid/", "control/")) for name in baselines) and "lbfgs" in baselines
    assert {name for name in baselines if METHODS[name].complete} - {"lbfgs", "lbfgs/scipy"} == {
        *("adam/linear", "adam/cosine", "adamw/linear", "adamw/cosine", "adam+ema/linear", "sgd+momentum/linear"),
        *("lookahead/linear", "schedule-free", "muon/linear"),
    }


def test_a_guard_judges_where_batches_are_noisy_and_the_batch_where_it_is_all_there_is():
    for task, name in zip(TASKS, ("hybrid/rre", "hybrid/drift"), strict=True):
        model = ModelWrapper(task.init(mh.Rng(0)), task.forward)
        trainer = predicting(HYBRIDS[name])(task, model, 0.01, mh.Rng(0))
        assert (trainer.guard is None) == task.full_batch


def test_what_is_not_predicted_is_not_trained():
    for task in TASKS:
        assert ended_early(task) * faster(task) == pytest.approx(1) and faster(task) > 1.5
    for name in ("control/skip-updates", "control/shorter"):
        found = race(TASKS[0], METHODS[name], Entry("x", name, 0, 0.01, 40), points=4)
        assert found.end.backward_passes == 20


def test_skipping_updates_is_adam_ended_early():
    adam, skipping = (
        race(TASKS[0], METHODS[name], Entry("x", name, 3, 0.01, budget), points=1)
        for name, budget in (("adam", 20), ("control/skip-updates", 40))
    )
    assert adam.end.train_loss == skipping.end.train_loss
