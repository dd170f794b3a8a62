"""What a run adds up to."""

import pytest

from minihybrid.train import Ledger, StepResult, Summary


def result(**fields):
    return StepResult(**{"step": 0, "phase": "full", "loss": 1.0, "learning_rate": 0.1, **fields})


def test_every_prediction_is_accepted_rolled_back_or_declined():
    summary = Summary()
    summary.count(result(backward_passes=1), 0.5, 0.4)
    predict = {"phase": "predict", "predicted": True, "backward_passes": 1}
    summary.count(result(**predict, accepted=True, guard="held-out", forward_probes=4, probe_batches=8.0), 0.25, 0.2)
    summary.count(result(**predict, rolled_back=True, forward_probes=8, probe_batches=16.0), 0.25, 0.2)
    summary.count(result(**predict, forward_probes=8, probe_batches=16.0), 0.25, 0.2)
    assert summary.steps == 4
    assert summary.ledger == Ledger(
        backward_passes=1,
        forward_probes=8,
        probe_batches=16.0,
        predictions_tried=3,
        predictions_accepted=1,
        predictions_rolled_back=1,
        predictions_declined=1,
    )
    assert summary.seconds == {"full": 0.5, "predict": 0.75}
    assert summary.cpu_seconds == pytest.approx({"full": 0.4, "predict": 0.6})


def test_a_jump_that_is_taken_back_later_was_not_accepted():
    ledger = Ledger()
    ledger.count(result(phase="predict", predicted=True, accepted=True))
    assert (ledger.predictions_accepted, ledger.predictions_rolled_back, ledger.acceptance_rate) == (1, 0, 1.0)
    ledger.count(result(rolled_back=True))
    assert (ledger.predictions_accepted, ledger.predictions_rolled_back, ledger.acceptance_rate) == (0, 1, 0.0)


def test_probes_are_charged_by_their_examples():
    assert Ledger(backward_passes=10, forward_probes=3, probe_batches=6.0).gradient_equivalents == 12.0
