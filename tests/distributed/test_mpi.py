"""The communicator over MPI, on as many processes as mpiexec starts (see program.py for what runs there)."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minihybrid.distributed import CommunicationError, Mpi

PROGRAM = Path(__file__).with_name("program.py")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or MPIEXEC is None, reason="needs mpi4py and mpiexec: minihybrid[mpi]"
)


def on_processes(n, name):
    root = PROGRAM.parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [MPIEXEC, "-n", str(n), sys.executable, "-W", "error", str(PROGRAM), name],
        env=environment,
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
