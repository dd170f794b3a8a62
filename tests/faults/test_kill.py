"""Runs that are killed, in the middle of a write as well (see kill.py)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill.py")


def survives(kills):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", str(kills), "--seed", str(kills)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "runs ended as the one that nobody touched" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes to kill")
def test_a_run_survives_some_kills():
    survives(6)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes to kill")
def test_a_run_survives_two_hundred_kills():
    survives(200)
