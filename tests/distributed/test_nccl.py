"""The communicator over NCCL: on GPUs where there are some, and otherwise what it asks a stand-in for."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.distributed import Alone, CommunicationError, Mpi, Nccl, Traffic


class Recorded:
    """NcclCommunicator's methods, as far as they are used; notes the calls."""

    def __init__(self, *args):
        self.calls = [("init", *args)]

    def allReduce(self, *args):
        self.calls.append(("allReduce", *args))

    def broadcast(self, *args):
        self.calls.append(("broadcast", *args))


@pytest.fixture
def nccl(monkeypatch):
    """Puts a module in the place of cupy.cuda.nccl; gives it."""
    module = ModuleType("cupy.cuda.nccl")
    constants = dict(NCCL_FLOAT16=6, NCCL_FLOAT32=7, NCCL_FLOAT64=8, NCCL_UINT8=1, NCCL_SUM=0)
    vars(module).update(constants, available=True, get_unique_id=lambda: b"\x01\xff", NcclCommunicator=Recorded)
    for name in ("cupy", "cupy.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", module)
    sys.modules["cupy.cuda"].nccl = module
    return module


class Context:
    def __init__(self, index):
        self.index = index

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None


DEVICE = SimpleNamespace(
    index=0,
    xp=SimpleNamespace(cuda=SimpleNamespace(Device=Context, get_current_stream=lambda: SimpleNamespace(ptr=77))),
)


def on_gpu(dtype, size=10):
    array = np.zeros(size, dtype)
    return SimpleNamespace(data=SimpleNamespace(ptr=1000), size=size, nbytes=array.nbytes, dtype=array.dtype)


def test_it_adds_up_in_place_on_the_current_stream(nccl):
    ranks = Nccl(Alone(), DEVICE)
    ranks.all_reduce(on_gpu(np.float32))
    ranks.all_reduce(on_gpu(np.float64))
    ranks.broadcast(on_gpu(np.int64), root=0)
    assert ranks._ranks.calls == [
        ("init", 1, b"\x01\xff", 0),
        ("allReduce", 1000, 1000, 10, 7, 0, 77),
        ("allReduce", 1000, 1000, 10, 8, 0, 77),
        ("broadcast", 1000, 1000, 80, 1, 0, 77),
    ]
    assert ranks.traffic == Traffic(3, 40 + 80 + 80)
    assert ranks.all_gather([1.0]) == [(1.0,)] and ranks.all_gather_text("a") == ["a"]


def test_what_it_cannot_add_up_is_refused(nccl):
    with pytest.raises(TypeError, match="adds up float16, float32 and float64; got int64"):
        Nccl(Alone(), DEVICE).all_reduce(on_gpu(np.int64))


def test_without_the_library_the_message_says_what_to_install(nccl):
    nccl.available = False
    with pytest.raises(CommunicationError, match="install the wheel nvidia-nccl"):
        Nccl(Alone(), DEVICE)


@pytest.mark.gpu
def test_a_sum_on_the_gpu():
    pytest.importorskip("mpi4py")
    device = mh.Device("cuda")
    try:
        ranks = Nccl(Mpi(), device)
    except CommunicationError as error:
        pytest.skip(str(error))
    vector = device.array(np.arange(5.0))
    ranks.all_reduce(vector)
    ranks.barrier()
    assert (device.host(vector) == ranks.size * np.arange(5.0)).all()
