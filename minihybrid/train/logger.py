"""Where the numbers of a run are kept: as lines of JSON, or for TensorBoard."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from minihybrid.train.events import Ended, Evaluated, Event, Stepped
from minihybrid.train.step import StepResult

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


class MetricLogger(Protocol):
    """A listener that is entered for the time of a run, and keeps what it hears.

    Whatever has these methods is one; a Learner takes it as one of its listeners.
    """

    def __call__(self, event: Event) -> None:
        """Keep an event."""

    def __enter__(self) -> Self:
        """Begin to listen."""

    def __exit__(self, *exception: Any) -> None:
        """Finish what is written."""


class JsonLines:
    """Steps, evaluations and the end of a run, one JSON object a line; null stands for what is not finite.

    A file of this name is written anew. What the system says if it cannot be written goes through (OSError).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with JsonLines(folder + "/metrics.jsonl") as logger:
    ...         logger(Stepped(StepResult(0, "full", loss=2.0, learning_rate=0.1), seconds=0.5, cpu_seconds=0.5))
    ...     print(Path(folder, "metrics.jsonl").read_text()[:60])
    {"event": "step", "step": 0, "phase": "full", "loss": 2.0, "
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 (until `close`)

    def __call__(self, event: Event) -> None:
        """Write an event as a line."""
        entry = _entry(event)
        if entry is not None:
            self._file.write(json.dumps(finite(entry), allow_nan=False) + "\n")
            if not isinstance(event, Stepped):
                self._file.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class TensorBoard:
    """The curves of a run for TensorBoard, in a folder of its own; needs tensorboardX (the extra `tensorboard`).

    `train/...` is of real steps, `predict/...` of predictions, `validation/...` of evaluations, all by the step. What
    is not finite is left out. Raises ImportError, which says what to install.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError("TensorBoard needs tensorboardX: pip install 'minihybrid[tensorboard]'.") from None
        self._writer: SummaryWriter = SummaryWriter(str(folder))

    def __call__(self, event: Event) -> None:
        """Write an event's numbers."""
        if isinstance(event, Stepped):
            self._step(event.result)
        elif isinstance(event, Evaluated):
            self._add(event.steps, "validation", loss=event.evaluation.loss, accuracy=event.evaluation.accuracy)
        elif isinstance(event, Ended):
            self._writer.close()

    def _step(self, result: StepResult) -> None:
        if result.predicted:
            told = {"horizon": result.horizon, "scale": result.scale, "confidence": result.confidence}
            self._add(result.step, "predict", **told, accepted=float(result.accepted))
        else:
            told = {"loss": result.loss, "gradient_norm": result.gradient_norm, "learning_rate": result.learning_rate}
            self._add(result.step, "train", **told)

    def _add(self, step: int, group: str, **values: float | None) -> None:
        for name, value in values.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.close()


def _entry(event: Event) -> dict[str, Any] | None:
    if isinstance(event, Stepped):
        return {"event": "step", **vars(event.result), "seconds": event.seconds, "cpu_seconds": event.cpu_seconds}
    if isinstance(event, Evaluated):
        return {"event": "evaluation", "steps": event.steps, **vars(event.evaluation)}
    if isinstance(event, Ended):
        summary = event.summary
        score = None if summary.evaluation is None else vars(summary.evaluation)
        told = {name: value for name, value in vars(summary).items() if name != "ledger"}
        return {"event": "end", **told, "evaluation": score, **vars(summary.ledger)}
    return None


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; null stands for them, at any depth of dicts."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
