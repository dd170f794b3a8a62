"""The runs that are done, one JSON object a line: what is interrupted goes on from there."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minihybrid import strict_json
from minihybrid.compare.race import Entry, Point, Run
from minihybrid.train.run import RunError


class Store:
    """The file `runs.jsonl` in a folder, which is made if it is not there.

    A run is found again by its entry and its `settings`, a text that stands for all else that determines it. What a
    killed process left half written is dropped. Raises RunError for a line that is whole, but no run.

    >>> import tempfile
    >>> entry = Entry("full-batch/xor", "adam", seed=0, lr=0.01, budget=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(folder).add(Run(entry, (Point(0, 0, 0.0, 0.7, 0.7),), diverged=False), "v1")
    ...     store = Store(folder)
    ...     store.find(entry, "v1").end.train_loss, store.find(entry, "v2")
    (0.7, None)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / "runs.jsonl"
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        whole = 0
        with self.path.open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                run, settings = self._told(line)
                self._runs[_key(run.entry, settings)] = run
                whole += len(line)
            file.truncate(whole)

    def _told(self, line: bytes) -> tuple[Run, str]:
        try:
            told = strict_json.parse(line)
            curve = tuple(Point(*point) for point in told["curve"])
            return Run(Entry(**told["entry"]), curve, told["diverged"]), told["settings"]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"the line {strict_json.shortened(line.decode(errors='replace'))} in {self.path} is no finished run "
                f"({str(error).rstrip('.')}); take it out, or keep the comparison in another folder."
            ) from None

    def find(self, entry: Entry, settings: str) -> Run | None:
        """The run, if it is done."""
        return self._runs.get(_key(entry, settings))

    def add(self, run: Run, settings: str) -> None:
        """Keep a run."""
        told: dict[str, Any] = {"entry": asdict(run.entry), "settings": settings, "diverged": run.diverged}
        line = json.dumps({**told, "curve": run.curve}, allow_nan=False) + "\n"
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            self._runs[_key(run.entry, settings)] = run


def _key(entry: Entry, settings: str) -> str:
    return json.dumps([asdict(entry), settings])
