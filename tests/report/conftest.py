"""Runs as `minihybrid train` leaves them, with every kind of thing that may happen in one."""

import json

import pytest

import minihybrid as mh
from minihybrid.train import Ended, Evaluated, Evaluation, RunFolder, Stepped, StepResult, Summary

CONFIG = {"dataset": "digits", "lr": 0.1, "hidden": [8, 8], "hybrid": {"type": "HybridConfig", "warmup": 2}}


def results():
    """Two real steps, a prediction that stood, one that fell later, one that fell at once, one that was none."""
    prediction = {"phase": "predict", "predicted": True, "learning_rate": 0.1, "backward_passes": 2}
    yield StepResult(0, "warmup", 2.0, 0.1, gradient_norm=3.0, backward_passes=1)
    yield StepResult(1, "full", 1.5, 0.1, gradient_norm=float("nan"), backward_passes=2)
    yield StepResult(2, loss=1.5, accepted=True, horizon=8, scale=2.0, loss_after=1.2, guard="held-out", **prediction)
    yield StepResult(3, loss=1.1, accepted=True, horizon=4, scale=1.0, guard="next step", confidence=0.9, **prediction)
    yield StepResult(4, "correct", 9.0, 0.1, gradient_norm=2.0, rolled_back=True, note="the jump </script> was bad.")
    yield StepResult(5, loss=1.0, rolled_back=True, horizon=4, probe_batches=3.0, **prediction)
    yield StepResult(6, loss=1.0, **prediction)


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Writes a run of a name in runs/, with what the real RunFolder writes, and returns its folder."""
    monkeypatch.chdir(tmp_path)

    def make(name="first", config=CONFIG, lr=0.1, repeat=1, folder="runs"):
        summary = Summary(planned=7 * repeat)
        with RunFolder(folder, {**config, "lr": lr}, name=name) as kept:
            for step, result in enumerate(list(results()) * repeat):
                result = StepResult(**{**vars(result), "step": step})
                summary.count(result, seconds=0.5, cpu_seconds=0.25)
                kept(Stepped(result, seconds=0.5, cpu_seconds=0.25))
            kept(Evaluated(summary.steps, Evaluation(0.5, 0.875)))
            summary.evaluation = Evaluation(0.5, 0.875)
            summary.spend("evaluate", 0.125, 0.125)
            kept(Ended(summary, mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0))))
        return kept.path

    return make


@pytest.fixture
def change():
    """Rewrites a line of a run's metrics."""

    def changed(run, number, **values):
        path = run / "metrics.jsonl"
        lines = path.read_text().splitlines()
        lines[number] = json.dumps({**json.loads(lines[number]), **values})
        path.write_text("\n".join(lines) + "\n")

    return changed
