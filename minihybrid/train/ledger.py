"""What a run has spent, and what its predictions came to."""

from __future__ import annotations

from dataclasses import dataclass

from minihybrid.stateful import savable
from minihybrid.train.step import StepResult


@savable
@dataclass
class Ledger:
    """Counters of a run.

    `forward_probes` counts forward passes without a backward pass; `probe_batches` weighs each by its examples, in
    training batches. `vector_passes`, over vectors of the size of the model, are what predictors say that proposals
    took; `history_seconds` and `prediction_seconds` are what watching and proposing took by the clock. Every prediction
    tried is accepted, rolled back (made or probed, and not believed) or declined (nothing was proposed, or a gate
    failed).

    >>> ledger = Ledger(backward_passes=20, forward_probes=3, probe_batches=6.0)
    >>> ledger.gradient_equivalents
    22.0
    """

    backward_passes: int = 0
    forward_probes: int = 0
    probe_batches: float = 0.0
    predictions_tried: int = 0
    predictions_accepted: int = 0
    predictions_rolled_back: int = 0
    predictions_declined: int = 0
    vector_passes: float = 0.0
    history_seconds: float = 0.0
    prediction_seconds: float = 0.0

    @property
    def gradient_equivalents(self) -> float:
        """The cost in real steps, where a backward pass (its forward pass included) is 1 and a forward pass 1/3."""
        return self.backward_passes + self.probe_batches / 3

    @property
    def acceptance_rate(self) -> float:
        """The share accepted of the predictions that were made or probed; NaN before there was one."""
        judged = self.predictions_accepted + self.predictions_rolled_back
        return self.predictions_accepted / judged if judged else float("nan")

    def count(self, result: StepResult) -> None:
        """Enter a step: its costs, which results tell as sums over the run, and what a prediction came to."""
        self.backward_passes, self.forward_probes = result.backward_passes, result.forward_probes
        self.probe_batches = result.probe_batches
        self.predictions_tried += result.predicted
        if result.rolled_back:  # of a prediction that was accepted before, unless it is told in the same breath
            self.predictions_rolled_back += 1
            self.predictions_accepted -= not result.predicted
        elif result.accepted:
            self.predictions_accepted += 1
        elif result.predicted:
            self.predictions_declined += 1
