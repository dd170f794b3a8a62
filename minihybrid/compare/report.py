"""The comparison as files: rows and figures as JSON, tables as Markdown, curves as PNG; each whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minihybrid.compare import tables
from minihybrid.compare.comparison import Comparison
from minihybrid.compare.figures import Final, final, rows, targets


def write(comparison: Comparison, folder: str | os.PathLike[str], skipped: Sequence[str] = ()) -> str:
    """Write compare.json, summary.json, compare.md and compare.png, and return the tables of final losses.

    `skipped` are sentences about what did not take part. Without matplotlib there is no picture, but a sentence.
    """
    folder, skipped = Path(folder), list(skipped)
    found = [
        row
        for task in comparison.aims
        for result in comparison.of(task)
        for row in rows(result.runs, targets(comparison, task))
    ]
    _write_json(folder / "compare.json", found)
    if importlib.util.find_spec("matplotlib"):
        from minihybrid.compare.plot import draw

        draw(comparison, folder / "compare.png")
    else:
        skipped.append("There is no picture: pip install 'minihybrid[plot]' brings matplotlib.")
    _write_json(folder / "summary.json", _summary(comparison, skipped))
    _write(folder / "compare.md", tables.document(comparison, skipped))
    finals = [f"{task}\n\n{tables.final_losses(comparison, task)}\n" for task in comparison.aims if comparison.of(task)]
    return "\n".join([*finals, *skipped])


def _summary(comparison: Comparison, skipped: Sequence[str]) -> dict[str, Any]:
    return {
        "suite": comparison.suite,
        "seeds": comparison.seeds,
        "interrupted": comparison.interrupted,
        "aims": comparison.aims,
        "baselines": {task: [asdict(one) for one in found] for task, found in comparison.baselines.items()},
        "finals": [_plain(final(comparison, result)) for result in comparison.results],
        "diverged": [asdict(entry) for entry in comparison.failed],
        "skipped": list(skipped),
    }


def _plain(final: Final) -> dict[str, Any]:
    """JSON has no infinity: a speed-up that the baseline's curve does not tell is null."""
    told = {name: value if 0 < value < math.inf else None for name, value in final.speed_ups.items()}
    return {**asdict(final), "speed_ups": told}


def _write_json(path: Path, content: Any) -> None:
    _write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)
