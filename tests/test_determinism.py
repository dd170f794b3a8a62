"""Same seed, same machine, same bits: of the model and of all that is logged, with and without a plan."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minihybrid.cli import main

ROOT = str(Path(__file__).parents[1])
TIMES = {"seconds", "cpu_seconds", "history_seconds", "prediction_seconds"}  # what no seed decides
WAYS = {
    "full": ["--trainer", "full", "--optimizer", "momentum", "--clip", "1"],
    "minibatch": ["--trainer", "hybrid"],
    "full batch": ["--trainer", "hybrid", "--dataset", "xor", "--batch-size", "288", "--lr", "0.03"],
}


def options(way, name, *more):
    return ["train", *WAYS[way], "--hidden", "8", "--steps", "220", "--every", "50", "--name", name, "--quiet", *more]


def kept(name):
    """What a run left: the model's bytes, and the log without its times."""
    folder = Path("runs", name)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return (folder / "model.safetensors").read_bytes(), log


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_repeats_model_and_log_with_and_without_a_plan(way, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, more in (("first", ()), ("second", ()), ("plan", ("--compile",)), ("other", ("--seed", "1"))):
        assert main(options(way, name, *more)) == 0
    first = kept("first")
    assert kept("second") == first == kept("plan")
    assert kept("other")[0] != first[0] and kept("other")[1] != first[1]


def test_what_surrounds_a_process_changes_nothing(tmp_path, monkeypatch):
    """The seed of hashes, the threads that the user allows for products, the folder."""
    surroundings = {"first": {"PYTHONHASHSEED": "1"}, "second": {"PYTHONHASHSEED": "2", "OPENBLAS_NUM_THREADS": "2"}}
    for name, variables in surroundings.items():
        folder = tmp_path / name
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": ROOT, **variables}
        command = [sys.executable, "-m", "minihybrid", *options("minibatch", "run")]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    found = []
    for name in surroundings:
        monkeypatch.chdir(tmp_path / name)
        found.append(kept("run"))
    assert found[0] == found[1]
