"""Where arrays live: nothing moves by itself, what does not go together says so, and data stay on the device."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.cli import main
from minihybrid.data import Batch, DataLoader, Dataset
from minihybrid.device import Device, DeviceError
from minihybrid.optim import GradientsParams
from tests.cuda.strict_cupy import counting, cupy

pytestmark = pytest.mark.usefixtures("emulated")  # a GPU runs the kernels, too


def host(*shape: int) -> mh.Tensor:
    return mh.Tensor(np.ones(shape, np.float32))


MIXED: dict[str, Any] = {
    "add": lambda x: x + host(3),
    "reversed": lambda x: host(2, 3) * x,
    "array": lambda x: x - np.ones((2, 3), np.float32),
    "matmul": lambda x: x @ host(3, 2),
    "linear": lambda x: mh.linear(x, host(3, 2), host(2)),
    "concatenate": lambda x: mh.concatenate([x, host(2, 3)]),
    "where": lambda x: mh.where(np.ones((2, 3), bool), x, 0.0),
    "getitem": lambda x: x[np.array([0, 1])],
    "getitem of two": lambda x: x[mh.tensor([0, 1]), mh.tensor([1, 1])],
    "take": lambda x: mh.take(x, np.array([0]), axis=1),
    "gather": lambda x: mh.gather(x, mh.tensor([[0], [1]]), axis=1),
    "index_set": lambda x: mh.ops.index_set(x, np.array([1]), 0.0),
    "embedding": lambda x: mh.embedding(x, np.array([0, 1])),
    "segment_sum": lambda x: mh.segment_sum(x, np.array([0, 1]), 2),
    "cross-entropy": lambda x: mh.nn.cross_entropy(x, np.array([0, 1])),
    "smoothed cross-entropy": lambda x: mh.nn.cross_entropy(x, np.array([0, 1]), label_smoothing=0.1),
    "mse": lambda x: mh.nn.mse(x, host(2, 3)),
    "einsum": lambda x: mh.einsum("ij,ij", x, host(2, 3)),
    "solve": lambda x: mh.ops.solve(x[:, :2], host(2, 2)),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixing_devices_names_both(name: str, cuda: Device) -> None:
    x = mh.tensor(np.arange(6, dtype="f4").reshape(2, 3), device=cuda)
    with pytest.raises((TypeError, ValueError)) as caught:
        MIXED[name](x)
    sentence = str(caught.value)
    assert " on cuda" in sentence
    assert " on cpu" in sentence
    assert "one device" in sentence
    assert sentence.count("\n") == 0


def test_lists_and_numbers_go_where_the_tensor_is(cuda: Device) -> None:
    x = mh.tensor([[1.0, 2.0]], device=cuda)
    assert mh.take(x, [1, 0], axis=1).tolist() == [[2.0, 1.0]]
    assert mh.embedding(x, [0, 0]).device == cuda
    assert mh.maximum(x, [1.5, 1.5]).tolist() == [[1.5, 2.0]]
    assert mh.repeat(x, [0, 2], axis=1).tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda model: model.apply_delta(np.zeros(8, np.float32)),
        lambda model: model.apply_delta({str(p.id): np.zeros(p.shape, "f4") for p in model.named_params().values()}),
        lambda model: mh.optim.SGD().step(0.1, model, registered(model, np.zeros((3, 2), np.float32))),
        lambda model: mh.Tensor(model.weight.array).sum().backward(host()),
    ],
)
def test_what_is_not_where_the_model_is_says_so(misuse: Any, cuda: Device) -> None:
    model = mh.nn.LinearConfig(3, 2).init(mh.Rng(0), cuda)
    with pytest.raises((TypeError, ValueError), match=r"on cpu.*on cuda|depends on nothing"):
        misuse(model)


def registered(model: Any, gradient: Any) -> GradientsParams:
    grads = GradientsParams()
    grads.register(model.weight.id, mh.Tensor(gradient))
    return grads


def test_an_epoch_copies_its_order_and_nothing_else(strict: Device) -> None:
    data = Dataset(np.arange(20.0)[:, None], np.arange(20), "count").to(strict)
    loader = DataLoader(data, 4, mh.Rng(0))
    assert data.device == strict
    for _ in range(3):
        with counting() as counts:
            batches = [next(loader) for _ in range(5)]
        assert all(Device.of(array) == strict for batch in batches for array in batch)
        assert counts.reads == []
        assert len(counts.uploads) <= 1


def test_batches_are_the_cpus(cuda: Device) -> None:
    data = Dataset(np.arange(20.0)[:, None], np.arange(20), "count", classes=20)
    here, there = DataLoader(data, 6, mh.Rng(0)), DataLoader(data.to(cuda), 6, mh.Rng(0))
    for _ in range(9):
        one, other = next(here), next(there)
        np.testing.assert_array_equal(one.inputs, cuda.host(other.inputs))
        np.testing.assert_array_equal(one.targets, cuda.host(other.targets))
    there.load_state(json.loads(json.dumps(here.state())))
    np.testing.assert_array_equal(next(here).targets, cuda.host(next(there).targets))


def test_a_model_and_a_batch_apart_are_named(cuda: Device) -> None:
    model = mh.nn.LinearConfig(3, 2).init(mh.Rng(0), cuda)
    batch = Batch(np.ones((4, 3), np.float32), np.zeros(4, int))
    with pytest.raises(TypeError, match=r"linear: x is on cpu, w is on cuda, b is on cuda; .* one device"):
        model(mh.Tensor(batch.inputs))


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
@pytest.mark.parametrize("options", [[], ["--trainer", "full"], ["--batch-size", "720", "--dataset", "xor"]])
def test_the_command_trains_there(name: str, options: list[str], strict: Device, tmp_path: Any) -> None:
    out = ["--out", str(tmp_path), "--name", "run", "--quiet"]
    if "xor" in options:  # the whole of its training examples: every step is a verified one
        options = ["--dataset", "xor", "--batch-size", "288"]
    assert main(["train", "--device", name, "--steps", "40", "--hidden", "16", "--clip", "1", *options, *out]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [entry for entry in map(json.loads, lines) if entry["event"] == "step"]
    assert len(steps) == 40
    assert all(np.isfinite(entry["loss"]) for entry in steps)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["device"] == name
    assert mh.nn.MLPConfig  # the file is read as any other
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_the_second_gpu_is_used_inside_its_context(strict: Device) -> None:
    second = Device("cuda:1")
    with second.use():
        model = mh.nn.LinearConfig(3, 2).init(mh.Rng(0), second)
        x = mh.tensor(np.ones((4, 3), "f4"), device=second)
        assert model(x).device == second
        assert second.memory_in_use() > 0
    with pytest.raises(ValueError, match=r"cuda:1.*with mh.Device\('cuda:1'\).use\(\)"):
        model(x)
    model = model.to("cuda")
    assert model.device == strict
    assert model.to("cuda:1").device == second  # whose vector is there, too


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda cuda: setattr(cuda, "is_available", lambda: False), "finds no usable CUDA device for 'cuda'; check"),
        (lambda cuda: setattr(cuda.runtime, "count", 0), "finds no usable CUDA device for 'cuda'; check"),
        (
            lambda cuda: setattr(cuda, "runtime", SimpleNamespace(getDeviceCount=fail)),
            r"\(OSError: insufficient driver",
        ),
        (lambda cuda: setattr(cuda, "is_available", fail), r"\(OSError: insufficient driver"),
    ],
)
def test_a_cupy_without_a_usable_device(
    break_it: Any, told: str, strict: Device, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(cupy, "cuda", SimpleNamespace(**vars(cupy.cuda)))
    monkeypatch.setattr(cupy.cuda, "runtime", SimpleNamespace(count=2, getDeviceCount=lambda: cupy.cuda.runtime.count))
    monkeypatch.setattr(cupy.cuda, "is_available", lambda: cupy.cuda.runtime.getDeviceCount() > 0)
    break_it(cupy.cuda)
    with pytest.raises(DeviceError, match=told):
        Device("cuda")
    assert Device("cpu").array([1.0]).tolist() == [1.0]  # and all else works
    assert mh.exp(mh.tensor([0.0])).tolist() == [1.0]
    assert main(["train", "--device", "cuda", "--steps", "1"]) == 2
    assert "no usable CUDA device" in capsys.readouterr().err


def fail() -> int:
    raise OSError("insufficient driver")
