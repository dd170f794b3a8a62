"""The communicator over MPI, on as many processes as mpiexec starts (see program.py for what runs there)."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minihybrid.cli import main
from minihybrid.distributed import CommunicationError, Mpi

PROGRAM = Path(__file__).with_name("program.py")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or MPIEXEC is None, reason="needs mpi4py and mpiexec: minihybrid[mpi]"
)


def on_processes(n, *program, cwd=None):
    root = PROGRAM.parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    program = program if program[0].startswith("-") else [str(PROGRAM), *program]
    return subprocess.run(
        [MPIEXEC, "-n", str(n), sys.executable, "-W", "error", *program],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("name", ["collectives", "all_reduced_equally", "equivalence", "local_steps", "settings"])
def test_on_several_processes(name, n):
    done = on_processes(n, name)
    assert done.returncode == 0, done.stderr


def test_a_rank_that_is_killed_ends_the_job():
    assert on_processes(3, "killed").returncode != 0


def test_a_rank_that_raises_ends_the_job_and_says_why():
    done = on_processes(3, "raises")
    assert done.returncode != 0
    assert "rank 1 of 3 ends the job" in done.stderr and "ZeroDivisionError: on purpose" in done.stderr


def test_a_rank_that_does_not_come_is_waited_for_until_the_timeout():
    done = on_processes(2, "gone")
    assert done.returncode != 0
    assert "rank 0 of 2 has waited 0.5 s for the others" in done.stderr


def test_arrays_that_mpi_cannot_send_are_refused():
    with pytest.raises(TypeError, match=r"contiguous NumPy arrays; got a ndarray\. Arrays on a GPU are sent by Nccl"):
        Mpi().all_reduce(np.ones((4, 4))[:, 1])


def test_without_mpi4py_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(CommunicationError, match=r"install minihybrid\[mpi\]"):
        Mpi()


def train(n, cwd, *options):
    return on_processes(n, "-m", "minihybrid", "train", "--distributed", "--plain", *options, cwd=cwd)


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_training_is_shown_and_kept_by_the_first_rank_alone(tmp_path):
    done = train(3, tmp_path, "--steps", "120", "--name", "together")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept in runs/together") == 1 and "3 ranks on cpu: 120 steps" in done.stdout
    assert re.search(r"sent by each rank: warmup: \d+ messages, [\d,.]+ kB; .*evaluate: ", done.stdout)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["together"]
    assert main(["train", "--quiet", "--steps", "120", "--out", str(tmp_path / "runs"), "--name", "alone"]) == 0
    together, alone = (lines(tmp_path / "runs" / name) for name in ("together", "alone"))
    assert len(together) == len(alone)
    for ours, theirs in zip(together[:100], alone[:100], strict=True):  # later, rounding may decide
        assert ours["event"] == theirs["event"] and ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_a_run_that_was_killed_goes_on_with_another_number_of_ranks(tmp_path):
    killed = on_processes(2, "killed_run", cwd=tmp_path)
    assert killed.returncode != 0 and (tmp_path / "runs" / ".run.partial").exists()
    done = train(3, tmp_path, "--resume", "run")
    assert done.returncode == 0, done.stderr
    found = lines(tmp_path / "runs" / "run")
    assert [line["step"] for line in found if line["event"] == "step"] == list(range(60))


def test_the_same_mistake_is_told_and_ends_all(tmp_path):
    done = train(2, tmp_path, "--batch-size", "100000")
    assert done.returncode == 2
    assert "--batch-size 100000 is more than the 1294 training examples" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "runs").exists()
