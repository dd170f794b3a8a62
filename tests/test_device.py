"""Device: names, the module it carries, copies, and the sentence when there is no GPU."""

import copy
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from minihybrid.device import Device, DeviceError


@pytest.fixture
def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # `import cupy` then raises ImportError


def install_cupy(monkeypatch, usable=True, count=1):
    """A stand-in with what Device asks of CuPy, so that its decisions are tested where there is no GPU."""
    runtime = types.SimpleNamespace(getDeviceCount=lambda: count)
    cuda = types.SimpleNamespace(is_available=lambda: usable, runtime=runtime)
    fake = types.ModuleType("cupy")
    fake.cuda = cuda
    fake.ndarray = type("ndarray", (), {})
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_the_cpu_carries_numpy():
    cpu = Device("cpu")
    assert cpu.xp is np
    assert cpu.name == "cpu"
    assert repr(cpu) == "Device('cpu')"
    assert Device() == Device(cpu) == cpu
    assert len({Device("cpu"), Device("cpu")}) == 1
    assert cpu != "cpu"


@pytest.mark.parametrize("name", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "cpu:0", " cpu", None, 0])
def test_other_names_are_refused_with_a_sentence(name):
    with pytest.raises(ValueError, match=r"there is no device .*: write 'cpu', 'cuda'"):
        Device(name)


@pytest.mark.parametrize(("name", "named"), [("cuda", "cuda"), ("cuda:0", "cuda"), ("cuda:1", "cuda:1")])
def test_cuda_without_cupy_says_what_to_install(without_cupy, name, named):
    with pytest.raises(DeviceError, match=r"needs CuPy.*minihybrid\[cuda12\].*'cpu'") as caught:
        Device(name)
    assert f"the device {named!r} needs" in str(caught.value)


def test_an_importable_cupy_is_not_a_usable_device(monkeypatch):
    install_cupy(monkeypatch, usable=False)
    with pytest.raises(DeviceError, match="finds no usable CUDA device for 'cuda'"):
        Device("cuda")


def test_a_cupy_that_breaks_on_import_is_a_device_error(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise OSError('libcuda.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    with pytest.raises(DeviceError, match=r"OSError: libcuda\.so\.1 is missing"):
        Device("cuda")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    install_cupy(monkeypatch, count=2)
    with pytest.raises(DeviceError, match=r"no device 'cuda:2': this machine has 2 CUDA"):
        Device("cuda:2")


def test_cuda_and_cuda_0_are_one_device(monkeypatch):
    fake = install_cupy(monkeypatch, count=2)
    first = Device("cuda")
    assert first.xp is fake
    assert first.name == Device("cuda:0").name == "cuda"
    assert first == Device("cuda:0")
    assert hash(first) == hash(Device("cuda:0"))
    assert first != Device("cuda:1") != Device("cpu")


def test_of_numpy_arrays_and_scalars():
    for array in (np.ones(2), np.float32(1), np.ones(2).view(np.recarray)):
        assert Device.of(array) == Device("cpu")


@pytest.mark.parametrize("thing", [[1.0], 1.0, None, "cpu"])
def test_of_anything_else_is_a_type_error(thing):
    with pytest.raises(TypeError, match="lives on no device"):
        Device.of(thing)


def test_array_copies_and_makes_contiguous():
    source = np.arange(6.0).reshape(2, 3).T
    made = Device("cpu").array(source)
    assert not np.shares_memory(made, source)
    assert made.flags.c_contiguous
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, source)
    assert Device("cpu").array(source, np.float32).dtype == np.float32


def test_host_is_a_copy():
    source = np.arange(3)
    assert not np.shares_memory(Device("cpu").host(source), source)


def test_memory_in_use_grows_with_what_is_held():
    before = Device("cpu").memory_in_use()
    held = np.ones(8_000_000)  # more than the C library may serve from memory that was freed before
    assert Device("cpu").memory_in_use() - before > held.nbytes // 2


def test_pickle_and_copy():
    assert pickle.loads(pickle.dumps(Device("cpu"))) == Device("cpu")
    assert copy.deepcopy(Device("cpu")).xp is np


def test_the_low_floor_needs_numpy_alone():
    program = (
        "import sys; before = set(sys.modules)\n"
        "import minihybrid.device, minihybrid.rng, minihybrid.data\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'cupy', 'safetensors', 'rich', 'threadpoolctl', 'matplotlib', 'scipy'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.gpu
def test_a_round_trip_over_the_gpu():
    gpu = Device("cuda")
    source = np.arange(6.0, dtype=np.float32).reshape(2, 3).T
    there = gpu.array(source)
    assert Device.of(there) == gpu
    assert gpu.memory_in_use() >= source.nbytes
    np.testing.assert_array_equal(gpu.host(there), source)
    np.testing.assert_array_equal(Device("cpu").array(there), source)
