"""The folder of a run: `runs/<name>/` with config.json, metrics.jsonl and model.safetensors, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Self

from minihybrid.module.record import RecordError, save, sync_folder, write_whole
from minihybrid.train.events import Ended, Event
from minihybrid.train.logger import JsonLines, finite


class RunError(RuntimeError):
    """A run folder that cannot be made or written; the message names it and says what to do."""


class RunFolder:
    """Writes a run under a name that nobody has, and shows it under that name only when it is complete.

    The folder is a listener: it logs steps, evaluations and the end to metrics.jsonl (see `JsonLines`), and with the
    end it saves the model; `kept` tells whether there was one. Until then everything is in the hidden `.<name>.partial`
    beside it, which also keeps the name for this run; leaving the `with` block without an end removes it, unless there
    are checkpoints in it (`checkpoints` is the folder for them): then `reopen` can take the run up again, also one that
    was killed. `name` is letters, digits, dots, dashes and underscores; `prefix` instead of a name takes the first of
    `<prefix>-1`, `<prefix>-2`, ... that is free. Raises RunError for a name that is no such name or is taken, and
    whenever the system refuses to write.

    >>> import minihybrid as mh, tempfile
    >>> from minihybrid.train import Ended, Summary
    >>> with tempfile.TemporaryDirectory() as runs:
    ...     with RunFolder(runs, {"lr": 0.1}, name="first") as folder:
    ...         folder(Ended(Summary(), mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0))))
    ...     sorted(file.name for file in folder.path.iterdir())
    ['config.json', 'metrics.jsonl', 'model.safetensors']
    """

    def __init__(
        self, runs: str | os.PathLike[str], config: dict[str, Any], name: str | None = None, prefix: str = "run"
    ) -> None:
        self._runs, self._shown, self.kept = Path(runs), False, False
        if name is not None:
            _require_name(name)
        self._made: list[Path] = []  # the folders made for this run alone, the innermost first
        try:
            if self._runs.exists() and not self._runs.is_dir():
                raise RunError(f"no run can be kept in {self._runs}: it is no folder.")
            self._made = [folder for folder in (self._runs, *self._runs.parents) if not folder.exists()]
            self._runs.mkdir(parents=True, exist_ok=True)
            self.name = self._claim_first_free(prefix) if name is None else self._claim(name)
        except (OSError, ValueError) as error:  # ValueError for a name with a null character
            self._unmake()
            raise RunError(f"no run can be kept in {self._runs}: {_reason(error)}.") from None
        try:
            self._metrics = JsonLines(self.writing / "metrics.jsonl")
            self._lock()
            # The last thing that is made: where it is, the run can be taken up.
            write_whole(self.writing / "config.json", [json.dumps(finite(config), indent=2).encode() + b"\n"])
        except (OSError, RecordError) as error:
            self._unmake()
            raise self._refused(error) from None
        except BaseException:
            self._unmake()
            raise

    @classmethod
    def reopen(cls, runs: str | os.PathLike[str], name: str) -> Self:
        """Take up a run that was killed, that an error ended, or that was interrupted, where it has checkpoints.

        Where it stands is told by its `load_state_dict`; without, it begins anew. One that was shown under its name,
        because it was interrupted, is shown again when it is left without an end. Raises RunError for a run that is not
        there, that another process is at work on, or that has ended as planned.
        """
        _require_name(name)
        folder = object.__new__(cls)
        folder._runs, folder.name, folder._made, folder.kept = Path(runs), name, [], False
        found = _found(folder._runs, name)
        folder._shown = found == folder.path
        try:
            folder._metrics = JsonLines(found / "metrics.jsonl")
        except OSError as error:
            raise folder._refused(error) from None
        try:
            folder._lock()
            if folder._shown and folder._metrics.ended:
                raise RunError(f"the run {name!r} has ended; there is nothing to go on with.")
            if folder._shown:
                found.rename(folder.writing)
            elif os.path.lexists(folder.path):
                raise RunError(f"there is a run {name!r} in {runs} by now; rename it, so that this one can end there.")
        except BaseException as error:
            folder._metrics.close()
            if isinstance(error, OSError):
                raise folder._refused(error) from None
            raise
        return folder

    @property
    def path(self) -> Path:
        """Where the run will be."""
        return self._runs / self.name

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints are, until it ends."""
        return self.writing / "checkpoints"

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint in it."""
        return any(self.checkpoints.glob("step-*.safetensors"))

    @property
    def writing(self) -> Path:
        """Where it is until it ends; who listens, too, may keep something there."""
        return self._runs / f".{self.name}.partial"

    def _claim(self, name: str) -> str:
        self.name = name
        try:
            self.writing.mkdir()
        except FileExistsError:
            raise RunError(
                f"the run {name!r} is being written in {self.writing}; choose another name, or delete that folder if "
                f"its run was killed{f' (or go on with it: --resume {name})' if self.resumable else ''}."
            ) from None
        # Looked for only now: a run of that name that ended a moment ago would be missed before the claim.
        if os.path.lexists(self.path):
            self.writing.rmdir()
            raise RunError(f"there is already a run {name!r} in {self._runs}; choose another name, or delete it.")
        return name

    def _claim_first_free(self, prefix: str) -> str:
        number = 1
        while True:
            try:
                return self._claim(f"{prefix}-{number}")
            except RunError:
                number += 1

    def __call__(self, event: Event) -> None:
        """Log an event."""
        try:
            self._metrics(event)
            if isinstance(event, Ended):
                self._metrics.close()
                save(event.model, self.writing / "model.safetensors")
                self.writing.rename(self.path)
                sync_folder(self._runs)
                self.kept = True
        except (OSError, RecordError) as error:
            raise self._refused(error) from None

    def state_dict(self) -> dict[str, Any]:
        """How far metrics.jsonl is written, on the disk."""
        try:
            return self._metrics.state_dict()
        except OSError as error:
            raise self._refused(error) from None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: what was written since is cut off. Raises ValueError if it was never written."""
        try:
            self._metrics.load_state_dict(state)
        except OSError as error:
            raise self._refused(error) from None

    def _lock(self) -> None:
        """Keep other processes away while this one lives; where the system has no such locks, nothing does."""
        with contextlib.suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(self._metrics.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another process is at work on the run {self.name!r}; wait until it ends.") from None

    def _refused(self, error: Exception) -> RunError:
        return RunError(f"the run {self.name!r} cannot be written to {self._runs}: {_reason(error)}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._unmake()

    def _unmake(self) -> None:
        """Remove what is not kept, and what was made to hold it."""
        if hasattr(self, "_metrics"):
            with contextlib.suppress(OSError):  # what cannot be flushed was told after the last checkpoint
                self._metrics.close()
        if self._shown and self.writing.exists():
            with contextlib.suppress(OSError):  # it can be taken up from there as well
                self.writing.rename(self.path)
        elif hasattr(self, "name") and not self.resumable:
            shutil.rmtree(self.writing, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # other runs are in it
                folder.rmdir()


def read_config(runs: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """The configuration of a run that `RunFolder.reopen` can take up; raises RunError where there is none."""
    _require_name(name)
    path = _found(Path(runs), name) / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        if path.parent.name == name:
            raise RunError(f"{path.parent} holds no run: there is no config.json in it.") from None
        raise RunError(f"the run {name!r} was killed before it began; delete {path.parent}.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {_reason(error)}.") from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise RunError(f"{path} is damaged: expected a JSON object.")
    return config


def _found(runs: Path, name: str) -> Path:
    """The folder of a run, under way or ended."""
    try:
        for path in (runs / f".{name}.partial", runs / name):
            if path.is_dir():
                return path
        there = sorted(path.name[1 : -len(".partial")] for path in runs.glob(".*.partial"))
    except OSError as error:
        raise RunError(f"{runs} cannot be read: {_reason(error)}.") from None
    known = f"; not ended are {', '.join(there)}" if there else ""
    raise RunError(f"there is no run {name!r} in {runs}{known}.")


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise RunError(
            f"{name!r} cannot name a run: write up to 100 letters, digits, dots, dashes and underscores, the first "
            "a letter or digit."
        )


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")
