"""What a trainer tells about one step. Displays, metrics and reports know trainers only by this."""

from __future__ import annotations

from dataclasses import dataclass

from minihybrid.train.reading import Reading, later


class DivergenceError(FloatingPointError):
    """A real step had a loss or a gradient that is no finite number; it was not applied, the model is as before it.

    On a GPU, where numbers are looked at later, it is as before some steps more; the message says which.
    """


@later("loss", "gradient_norm")
@dataclass(frozen=True)
class StepResult:
    """One call of a trainer's `step`.

    `loss` is the training loss of the batch, before the step's change (for a prediction: the loss that it was verified
    by, before the jump; for one that was not probed: the loss of the last real step). `gradient_norm` is that of a real
    step, before clipping. `backward_passes`, `forward_probes` and `probe_batches` count what the run has spent so far,
    as `Ledger` says. `predicted`: the step was a prediction; it may be `accepted` (a jump was made) or `rolled_back`. A
    real step that is `rolled_back` showed by its loss that the jump before it was no good, and it was taken back; one
    that `shortened` what came before it made no step either. `horizon` is how many steps a prediction stands for,
    `scale` what it was multiplied by (0 if no jump was made). `guard` says which data verified it, "held-out",
    "in-sample" or "next step", and is None where nothing did. `note` says in a sentence what else was done, such as an
    action of recovery.

    `loss` and `gradient_norm` may be given as Readings (see reading.py): they are read when they are first asked for.
    """

    step: int
    phase: str
    loss: float
    learning_rate: float
    gradient_norm: float | None = None
    predicted: bool = False
    accepted: bool = False
    rolled_back: bool = False
    shortened: bool = False
    horizon: float = 0
    scale: float = 0.0
    loss_after: float | None = None
    guard: str | None = None
    backward_passes: int = 0
    forward_probes: int = 0
    probe_batches: float = 0.0
    note: str = ""

    @property
    def known(self) -> bool:
        """Whether nobody has to wait for a device to see its numbers."""
        return all(value.known for value in vars(self).values() if isinstance(value, Reading))
