"""A pytest plugin that notes how long each test takes, in the file that $MUTATION_TIMES names."""

import json
import os
from pathlib import Path
from typing import Any

_seconds: dict[str, float] = {}


def pytest_runtest_logreport(report: Any) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish() -> None:
    Path(os.environ["MUTATION_TIMES"]).write_text(json.dumps(_seconds))
