"""A run as a page: what was reached, what it cost, and how it went; several runs side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minihybrid.report.page import page as page
from minihybrid.report.runs import Run as Run, read as read
from minihybrid.train.run import RunError


def write(runs: Sequence[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of these runs (folders, or names in `runs/`) as one HTML file, whole or not at all.

    Without `out` it is report.html, in the folder of the run or, for several, in the current one. Returns where it is;
    raises RunError for a run that is missing or damaged, and if the file cannot be written.
    """
    found = [read(run) for run in runs]
    names = [run.name for run in found]
    found = [
        replace(run, name=given) if names.count(run.name) > 1 else run for run, given in zip(found, runs, strict=True)
    ]
    path = Path("report.html" if len(found) > 1 else found[0].folder / "report.html") if out is None else Path(out)
    try:
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(page(found), "utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError for a path that ends in no name, or holds a null character
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"the report cannot be written to {path}: {reason}.") from None
    return path
