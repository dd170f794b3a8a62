"""Ranks with a GPU each: which one, and who carries their messages."""

from types import SimpleNamespace

import pytest

import minihybrid as mh
from minihybrid import cli
from minihybrid.distributed import Alone


@pytest.fixture
def nccl(monkeypatch):
    monkeypatch.setattr(cli, "Nccl", lambda host, device: ("Nccl", host, device.name))


def test_the_ranks_of_a_machine_take_its_gpus_by_turns(strict, nccl):
    count = mh.Device("cuda").xp.cuda.runtime.getDeviceCount()
    for rank in range(2 * count):
        ranks = SimpleNamespace(rank=rank, size=2 * count)
        device, talk = cli._of_rank(mh.Device("cuda"), ranks)
        assert device == mh.Device(f"cuda:{rank % count}") and talk == ("Nccl", ranks, device.name)


def test_one_process_and_the_cpu_stay_as_they_are(strict, nccl):
    alone, ranks = Alone(), SimpleNamespace(rank=1, size=2)
    assert cli._of_rank(mh.Device("cuda"), alone) == (mh.Device("cuda"), alone)
    assert cli._of_rank(mh.Device("cpu"), ranks) == (mh.Device("cpu"), ranks)
