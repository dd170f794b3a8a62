"""Where the numbers of a run are kept: as lines of JSON, or for TensorBoard."""

from __future__ import annotations

import json
import math
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from minihybrid.train.events import Ended, Evaluated, Event, Started, Stepped
from minihybrid.train.step import StepResult

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

LONGEST_LINE = 2**16
"""Bytes in a line of JSON, at most."""


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
    """Steps (see `is_logged`), evaluations and the end of a run, one JSON object a line; null is what is not finite.

    Lines are added to a file of this name. A run that begins cuts off what was there, and one that goes on what was
    written since its checkpoint. What the system says if it cannot be written goes through (OSError).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with JsonLines(folder + "/metrics.jsonl") as logger:
    ...         logger(Stepped(StepResult(0, "full", loss=2.0, learning_rate=0.1), seconds=0.5, cpu_seconds=0.5))
    ...     print(Path(folder, "metrics.jsonl").read_text()[:60])
    {"event": "step", "step": 0, "phase": "full", "loss": 2.0, "
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).open("a+b")  # noqa: SIM115 (until `close`)

    def __call__(self, event: Event) -> None:
        """Write an event as a line."""
        if isinstance(event, Started) and not event.before.steps:
            self._cut(0)  # what a run that is taken up before its first checkpoint had told
        thinned = isinstance(event, Stepped) and not is_logged(event.result.step)
        entry = None if thinned else _entry(event)
        if entry is not None:
            self._file.write(json.dumps(finite(entry), allow_nan=False).encode() + b"\n")
            if not isinstance(event, Stepped):
                self._file.flush()

    @property
    def ended(self) -> bool:
        """Whether the last line tells of an end that was no interruption."""
        self._file.seek(max(0, self._file.seek(0, os.SEEK_END) - LONGEST_LINE))
        last = self._file.read().rstrip(b"\n").rpartition(b"\n")[2]
        try:
            entry = json.loads(last)
        except ValueError:  # cut short, as by a kill
            return False
        return isinstance(entry, dict) and entry.get("event") == "end" and entry.get("interrupted") is False

    def state_dict(self) -> dict[str, Any]:
        """How far the file is written, in bytes, which are on the disk then."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"metrics": self._file.tell()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: what was written since is cut off. Raises ValueError if it was never written."""
        written, there = state["metrics"], self._file.seek(0, os.SEEK_END)
        if not (isinstance(written, int) and 0 <= written <= there):
            raise ValueError(f"{Path(self._file.name).name} has {there} bytes, and was written up to {written!r}.")
        self._cut(written)

    def _cut(self, length: int) -> None:
        self._file.seek(length)
        self._file.truncate()

    def fileno(self) -> int:
        """The system's number for the open file."""
        return self._file.fileno()

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
        self._made = partial(SummaryWriter, str(folder))
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write an event's numbers; where a run goes on, those that were written after its checkpoint are hidden."""
        if self._writer is None:
            before = event.before.steps if isinstance(event, Started) else 0
            self._writer = self._made(purge_step=before) if before else self._made()
        if isinstance(event, Stepped):
            self._step(event.result)
        elif isinstance(event, Evaluated):
            self._add(event.steps, "validation", loss=event.evaluation.loss, accuracy=event.evaluation.accuracy)
        elif isinstance(event, Ended):
            self.close()

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
                assert self._writer is not None
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def __exit__(self, *exception: Any) -> None:
        self.close()


def is_logged(step: int) -> bool:
    """Whether a run logs this step: all below 10,000, every tenth below 100,000, every hundredth below a million, ...

    So a log grows by 9,000 lines with each digit, and the rule needs to remember nothing when a run is taken up again.

    >>> [is_logged(step) for step in (7, 9_999, 10_000, 10_001, 123_400, 123_410)]
    [True, True, True, False, True, False]
    """
    return step % int(10 ** max(0, len(str(step)) - 4)) == 0


def _entry(event: Event) -> dict[str, Any] | None:
    if isinstance(event, Stepped):
        result = {name: getattr(event.result, name) for name in vars(event.result)}  # read, where it was on a GPU
        return {"event": "step", **result, "seconds": event.seconds, "cpu_seconds": event.cpu_seconds}
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
