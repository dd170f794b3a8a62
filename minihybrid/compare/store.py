"""The runs that are done, one JSON object a line: what is interrupted goes on from there."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minihybrid.compare.race import Entry, Point, Run


class Store:
    """The file `runs.jsonl` in a folder, which is made if it is not there.

    A run is found again by its entry and its `settings`, a text that stands for all else that determines it. What a
    killed process left half written is dropped.

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
                told = json.loads(line)
                run = Run(Entry(**told["entry"]), tuple(Point(*point) for point in told["curve"]), told["diverged"])
                self._runs[_key(run.entry, told["settings"])] = run
                whole += len(line)
            file.truncate(whole)

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
