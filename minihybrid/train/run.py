"""The folder of a run: `runs/<name>/` with config.json, metrics.jsonl and model.safetensors, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, Self

from minihybrid.module.record import RecordError, save
from minihybrid.train.events import Ended, Evaluated, Event, Stepped


class RunError(RuntimeError):
    """A run folder that cannot be made or written; the message names it and says what to do."""


class RunFolder:
    """Writes a run under a name that nobody has, and shows it under that name only when it is complete.

    The folder is a listener: it logs steps (see `is_logged`), evaluations and the end to metrics.jsonl, one JSON object
    a line, and with the end it saves the model. Until then everything is in the hidden `.<name>.partial` beside it,
    which also keeps the name for this run; leaving the `with` block without an end removes it, and `kept` tells whether
    there was one. `name` is letters, digits, dots, dashes and underscores; `prefix` instead of a name takes the first
    of `<prefix>-1`, `<prefix>-2`, ... that is free. Raises RunError for a name that is no such name or is taken, and
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
        self._runs = Path(runs)
        self.kept = False
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise RunError(
                f"{name!r} cannot name a run: write up to 100 letters, digits, dots, dashes and underscores, the first "
                "a letter or digit."
            )
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
            self._partial.joinpath("config.json").write_text(json.dumps(_finite(config), indent=2) + "\n", "utf-8")
            self._metrics = self._partial.joinpath("metrics.jsonl").open("w", encoding="utf-8")
        except OSError as error:
            self._unmake()
            raise self._refused(error) from None
        except BaseException:
            self._unmake()
            raise

    @property
    def path(self) -> Path:
        """Where the run will be."""
        return self._runs / self.name

    @property
    def _partial(self) -> Path:
        return self._runs / f".{self.name}.partial"

    def _claim(self, name: str) -> str:
        self.name = name
        try:
            self._partial.mkdir()
        except FileExistsError:
            raise RunError(
                f"the run {name!r} is being written in {self._partial}; choose another name, or delete that folder if "
                "its run was killed."
            ) from None
        # Looked for only now: a run of that name that ended a moment ago would be missed before the claim.
        if os.path.lexists(self.path):
            self._partial.rmdir()
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
        if isinstance(event, Stepped) and not is_logged(event.result.step):
            return
        entry = _entry(event)
        if entry is None:
            return
        try:
            self._metrics.write(json.dumps(_finite(entry), allow_nan=False) + "\n")
            if not isinstance(event, Stepped):
                self._metrics.flush()
            if isinstance(event, Ended):
                self._metrics.close()
                save(event.model, self._partial / "model.safetensors")
                self._partial.rename(self.path)
                self.kept = True
        except (OSError, RecordError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> RunError:
        return RunError(f"the run {self.name!r} cannot be written to {self._runs}: {_reason(error)}.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        with contextlib.suppress(OSError):  # what cannot be flushed is thrown away just below
            self._metrics.close()
        self._unmake()

    def _unmake(self) -> None:
        """Remove what is not kept, and what was made to hold it."""
        if hasattr(self, "name"):
            shutil.rmtree(self._partial, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # other runs are in it
                folder.rmdir()


def is_logged(step: int) -> bool:
    """Whether a run logs this step: all below 10,000, every tenth below 100,000, every hundredth below a million, ...

    So a log grows by 9,000 lines with each digit, and the rule needs to remember nothing when a run is taken up again.

    >>> [is_logged(step) for step in (7, 9_999, 10_000, 10_001, 123_400, 123_410)]
    [True, True, True, False, True, False]
    """
    return step % int(10 ** max(0, len(str(step)) - 4)) == 0


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")


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


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
