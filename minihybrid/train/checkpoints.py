"""The checkpoints of a run: when one is written, which are kept, and which one a run goes on from."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, NamedTuple

from minihybrid.config import is_count
from minihybrid.module.record import RecordError, write_whole
from minihybrid.train.checkpoint import Checkpoint, CheckpointError, read, read_about, write


class Found(NamedTuple):
    """The checkpoint to go on from, with its path; and a sentence on each newer one that is damaged."""

    path: Path
    checkpoint: Checkpoint
    damaged: list[str]


@dataclass
class Checkpoints:
    """Keeps the state of a run in a folder, as `step-N.safetensors`, with the newest one's name in the file `latest`.

    One is written before the first step, so that what cannot be saved is found out at once; after every `every` steps,
    or when `minutes` have passed; after each evaluation with the lowest loss so far, if `best`; and at the end, also
    where the run is interrupted. The last `keep` are kept, and the best. `config` is written into each. Raises
    ValueError for settings that make no sense.

    >>> import numpy as np, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> checkpoints = Checkpoints(folder.name, every=10, keep=2)
    >>> for step in range(0, 50, 10):
    ...     checkpoints.save(step, {"weights": np.full(3, step)})
    >>> sorted(os.listdir(folder.name))
    ['latest', 'step-30.safetensors', 'step-40.safetensors']
    >>> checkpoints.newest().checkpoint.state["weights"]
    array([40, 40, 40])
    >>> folder.cleanup()
    """

    writes: ClassVar[bool] = True

    folder: str | os.PathLike[str]
    every: int | None = None
    minutes: float | None = None
    keep: int = 3
    best: bool = True
    config: dict[str, Any] | None = None
    _losses: dict[int, float] = field(default_factory=dict, init=False, repr=False)  # of those that are there
    _saved_at: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._saved_at = monotonic()
        for name, value in (("every", 1 if self.every is None else self.every), ("keep", self.keep)):
            if not is_count(value, 1):
                raise ValueError(f"Checkpoints: {name} is {value!r}; expected an integer of at least 1.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"Checkpoints: minutes is {self.minutes!r}; expected a positive number.")

    def begin(self) -> None:
        """A new run begins. Raises CheckpointError if another has left its checkpoints in the folder."""
        if steps := self._steps():
            raise CheckpointError(
                f"{self.folder} holds checkpoints already, up to step {steps[-1]}; go on from them with resume(), or "
                "choose another folder."
            )

    def due(self, step: int, loss: float | None = None) -> bool:
        """Whether to write one after this step, where an evaluation, if there was one, had this loss."""
        lowest = self.best and loss is not None and loss < min(self._losses.values(), default=math.inf)
        counted = self.every is not None and step % self.every == 0
        passed = self.minutes is not None and monotonic() - self._saved_at >= 60 * self.minutes
        return lowest or counted or passed

    def save(self, step: int, state: Any, loss: float | None = None) -> None:
        """Write the state after a step, and forget what need not be kept.

        Raises CheckpointError if the system refuses: then those before are still there.
        """
        loss = loss if loss is not None and math.isfinite(loss) else None
        path = self._path(step)
        write(path, state, {"step": step, "loss": loss, "config": self.config})
        try:
            write_whole(Path(self.folder, "latest"), [path.name.encode()])
        except RecordError as error:
            raise CheckpointError(f"the checkpoint {error}") from None
        self._losses.pop(step, None)
        if loss is not None:
            self._losses[step] = loss
        self._saved_at = monotonic()
        self._forget(step)

    def newest(self) -> Found | None:
        """The checkpoint to go on from: the latest that is whole. None where there is none yet.

        Raises CheckpointError where none of them is whole.
        """
        steps = self._steps()[::-1]
        latest, damaged = self._latest(steps)
        self._losses = {}
        for step in sorted(steps, key=lambda step: step != latest):  # the others as they are, the newest first
            try:
                found = Found(self._path(step), read(self._path(step)), damaged)
            except CheckpointError as error:
                damaged.append(str(error))
                continue
            self._losses = self._losses_of(step)
            return found
        if damaged:
            raise CheckpointError(f"no checkpoint in {self.folder} can be read: {damaged[-1]}")
        return None

    def _path(self, step: int) -> Path:
        return Path(self.folder, f"step-{step}.safetensors")

    def _steps(self) -> list[int]:
        """The steps that there are files of."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be read: {error.strerror or error}.") from None
        return sorted(int(match[1]) for name in names if (match := _file(name)))

    def _latest(self, steps: list[int]) -> tuple[int | None, list[str]]:
        """The step that `latest` names, or None with a sentence if it names none of these steps."""
        path = Path(self.folder, "latest")
        try:
            match = _file(path.read_bytes()[:100].decode("ascii"))
        except FileNotFoundError:  # killed between the first file and this one
            return None, []
        except (OSError, ValueError):
            match = None
        if match and int(match[1]) in steps:
            return int(match[1]), []
        return None, [f"{path} is damaged: it names no checkpoint that is there."]

    def _losses_of(self, last: int) -> dict[int, float]:
        """The losses of the checkpoints up to a step, by step."""
        losses = {}
        for step in self._steps():
            try:
                loss = read_about(self._path(step)).get("loss") if step <= last else None
            except CheckpointError:
                continue
            if isinstance(loss, float):
                losses[step] = loss
        return losses

    def _forget(self, last: int) -> None:
        """Remove all but the newest and the best, what killed processes have left, and what is ahead of this step.

        What is ahead was written before the run went back to an older checkpoint, as it does where one is damaged.
        """
        steps = self._steps()
        kept = [step for step in steps if step <= last][-self.keep :]
        if self.best and self._losses:
            kept.append(min(self._losses, key=lambda step: self._losses[step]))
        gone = [self._path(step) for step in steps if step not in kept]
        self._losses = {step: loss for step, loss in self._losses.items() if step in kept}
        try:
            for path in [*gone, *Path(self.folder).glob(".step-*"), *Path(self.folder).glob(".latest.*")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be cleared: {error.strerror or error}.") from None


class ReadCheckpoints(Checkpoints):
    """Those that another process writes: to go on from, for all processes of a run but one."""

    writes = False

    def begin(self) -> None:
        """See `Checkpoints`: the other process looks."""

    def due(self, step: int, loss: float | None = None) -> bool:
        """See `Checkpoints`: never."""
        return False


def _file(name: str) -> re.Match[str] | None:
    """The step in the name of a file, which has no folder in it."""
    return re.fullmatch(r"step-(0|[1-9][0-9]{0,17})\.safetensors", name)
