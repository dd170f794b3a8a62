"""Results as rows, as tables, and as a section of the README."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import NAIVE, TORCH
from benchmarks.memory import Memory
from benchmarks.race import Result
from benchmarks.timing import bootstrap

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"
PEERS = ("torch", "jax", "autograd", "mygrad")

Row = dict[str, Any]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        libraries = []
    else:
        libraries = threadpool_info()
    blas = next((lib for lib in libraries if lib["user_api"] == "blas"), None)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['internal_api']} {blas['version']}, kernels for {blas.get('architecture')}" if blas else None,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        **{name: version for name in PEERS if (version := _version(name))},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def rows_of(workload: str, results: Sequence[Result], memory: dict[str, Memory]) -> list[Row]:
    """One row for each contender that was timed, from the results of several processes."""
    rows = []
    for name in results[0].seconds:
        runs = [result for result in results if name in result.seconds]
        ratios = {
            other: _spread([run.ratios[name][other] for run in runs if other in run.ratios[name]])
            for other in runs[0].ratios[name]
            if other != name
        }
        peak, resident, growth = memory.get(name, (None, None, None))
        rows.append(
            {
                "workload": workload,
                "contender": name,
                "us_per_step": round(1e6 * statistics.median(run.seconds[name] for run in runs), 2),
                "ratio_to_naive": _ratio_to(NAIVE, name, ratios),
                "ratio_to_torch_eager": _ratio_to(TORCH, name, ratios),
                "peak_bytes": peak,
                "rss_bytes": resident,
                "rss_growth_bytes": growth,
                "ratios": ratios,
            }
        )
    return rows


def _spread(values: Sequence[float]) -> dict[str, Any]:
    low, high = bootstrap(values)
    return {"median": round(statistics.median(values), 4), "interval": [round(low, 4), round(high, 4)]}


def _ratio_to(reference: str, name: str, ratios: dict[str, dict[str, Any]]) -> float | None:
    if name == reference:
        return 1.0
    return ratios[reference]["median"] if reference in ratios else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the results, rows one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({key: value for key, value in content.items() if key != "rows"}, indent=2)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in content["rows"])
    path.write_text(f'{head[:-2]},\n  "rows": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def published(name: str) -> list[Row]:
    """The rows of results/NAME.json."""
    rows: list[Row] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grid(rows: Sequence[Row], key: str, show: Any) -> str:
    """A table of one value: contenders down, workloads across; a dash where there is none."""
    workloads, contenders = (list(dict.fromkeys(row[name] for row in rows)) for name in ("workload", "contender"))
    values = {(row["contender"], row["workload"]): row[key] for row in rows}
    body = []
    for contender in contenders:
        cells = [values.get((contender, workload)) for workload in workloads]
        if any(cell is not None for cell in cells):
            body.append([contender, *("-" if cell is None else show(cell) for cell in cells)])
    return table(["", *workloads], body)


def replace_section(text: str, name: str, body: str) -> str:
    """The text with another body between its marks `<!-- name -->` and `<!-- /name -->`.

    Raises ValueError if the marks are not there.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"the README has no marks {begin} and {end} to write the results between; put them in.")
    return f"{text.partition(begin)[0]}{begin}\n{body.strip()}\n{end}{text.partition(end)[2]}"


def write_section(name: str, body: str) -> None:
    """Put a generated section into the README."""
    README.write_text(replace_section(README.read_text(encoding="utf-8"), name, body), encoding="utf-8")
