"""Models and optimizers on the CUDA device: moved, copied, saved, stepped, rolled back as on the CPU."""

from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid import optim
from minihybrid.device import Device
from minihybrid.optim import GradientsParams

pytestmark = pytest.mark.usefixtures("emulated")  # a GPU runs the kernels, too

OPTIMIZERS = {
    "sgd": lambda: optim.SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: optim.Adam(weight_decay=0.1),
    "amsgrad": lambda: optim.AdamW(amsgrad=True),
    "adagrad": lambda: optim.Adagrad(),
    "adadelta": lambda: optim.Adadelta(),
    "rmsprop": lambda: optim.RMSprop(momentum=0.8),
    "lion": lambda: optim.Lion(),
    "schedule-free": lambda: optim.ScheduleFreeAdamW(),
    "muon": lambda: optim.Grouped({"*.weight": optim.Muon(), "*": optim.Adam()}),
    "ema": lambda: optim.Ema(optim.Adam(), 0.9),
    "swa": lambda: optim.Swa(optim.SGD(), start=1, every=2),
    "lookahead": lambda: optim.Lookahead(optim.Adam(), k=2),
}
RNG = mh.Rng(5)
X, Y = RNG.normal((6, 4), dtype=np.float64), RNG.normal((6, 2), dtype=np.float64)


def network(device: Device | str, dtype: str = "float64", seed: int = 0) -> mh.nn.MLP:
    return mh.nn.MLPConfig((4, 3, 2)).init(mh.Rng(seed), device, dtype)


def loss_of(model: Any, device: Device) -> mh.Tensor:
    dtype = next(iter(model.named_params().values())).dtype
    return mh.nn.mse(model(mh.Tensor(device.array(X, dtype))), device.array(Y, dtype))


def weights(model: Any) -> list[Any]:
    return [param.numpy() for param in model.named_params().values()]


def test_every_optimizer_is_here() -> None:
    rules = {rule for rule in vars(optim).values() if isinstance(rule, type) and issubclass(rule, optim.Optimizer)}
    made = [make() for make in OPTIMIZERS.values()]
    used = {type(part) for one in made for part in one.parts()} | {type(one) for one in made}
    assert rules <= used | {optim.Optimizer, optim.AdamW, optim.Adam, optim.SGD}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_agree_with_the_cpu(name: str, dtype: str, cuda: Device) -> None:
    def on(device: Device) -> list[Any]:
        model, rule = network(device, dtype), OPTIMIZERS[name]()
        for step in range(6):
            grads = GradientsParams.from_grads(loss_of(model, device).backward(), model)
            model = rule.step(0.01, model, optim.clip_global_norm(grads, 0.5))
            if step == 2:
                snapshot, kept = rule.snapshot(), model.snapshot()
            if step == 4:
                rule.restore(snapshot)
                model = model.restore(kept)
        fresh = OPTIMIZERS[name]()
        fresh.load_state(rule.state(), model)
        assert model.device == device
        return weights(model) + weights(fresh.readout(model))

    near = 1e-5 if dtype == "float32" else 1e-12
    for one, other in zip(on(cuda), on(Device("cpu")), strict=True):
        np.testing.assert_allclose(one, other, rtol=near, atol=near)


@pytest.mark.parametrize("clip", [optim.clip_global_norm, optim.clip_norm, optim.clip_value])
def test_clipping_agrees_with_the_cpu(clip: Any, cuda: Device) -> None:
    def on(device: Device) -> list[Any]:
        model = network(device)
        grads = GradientsParams.from_grads(loss_of(model, device).backward(), model)
        return [gradient.numpy() for _, gradient in clip(grads, 0.01).items()]

    for one, other in zip(on(cuda), on(Device("cpu")), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_lbfgs_agrees_with_the_cpu(cuda: Device) -> None:
    def on(device: Device) -> list[Any]:
        model, rule = network(device), optim.LBFGS()

        for _ in range(4):
            model, _ = rule.step(1.0, model, lambda model: loss_of(model, device))
        return weights(model)

    for one, other in zip(on(cuda), on(Device("cpu")), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_model_goes_there_and_back(cuda: Device) -> None:
    model = network("cpu")
    ids, before = list(model.named_params().values()), weights(model)
    model = model.to(cuda)
    assert model.device == cuda
    assert [p.id for p in model.named_params().values()] == [p.id for p in ids]
    model = model.to("cpu")
    for one, other in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_copies_deltas_and_snapshots(cuda: Device) -> None:
    model = network(cuda)
    before, snapshot, twin = weights(model), model.snapshot(), model.clone()
    storage = next(iter(model.named_params().values())).storage
    delta = cuda.array(np.arange(model.num_params()) / 7)
    model = model.apply_delta(delta, 0.5)
    flat = np.concatenate([w.ravel() for w in before]) + 0.5 * cuda.host(delta)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in weights(model)]), flat)
    for one, other in zip(weights(twin), before, strict=True):
        np.testing.assert_array_equal(one, other)
    model = model.apply_delta({str(p.id): p.detach() for p in model.named_params().values()}, -1.0)
    assert not any(w.any() for w in weights(model))
    model = model.restore(snapshot)
    for one, other in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert next(iter(model.named_params().values())).storage is storage
    view = model.valid()
    assert not loss_of(view, cuda).requires_grad


def test_a_file_does_not_know_where_it_was_written(cuda: Device, tmp_path: Any) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    model = network(cuda)
    mh.save(model, path)
    written = path.read_bytes()
    mh.save(network("cpu"), path)
    assert path.read_bytes() == written
    other, report = network(cuda, seed=9).load(path)
    assert report.complete
    for one, theirs in zip(weights(other), weights(model), strict=True):
        np.testing.assert_array_equal(one, theirs)


def test_named_deltas(cuda: Device) -> None:
    from minihybrid.hybrid import WeightDelta

    model = network(cuda)
    vector = cuda.array(np.arange(model.num_params(), dtype=float))
    delta = WeightDelta.from_flat(model, vector)
    np.testing.assert_array_equal(cuda.host(delta.flat(model)), cuda.host(vector))


def test_gradients_of_a_function(cuda: Device) -> None:
    x = mh.tensor([1.0, 2.0], device=cuda)
    value, gradient = mh.value_and_grad(lambda x: (x**3).sum())(x)
    assert (value.item(), gradient.tolist()) == (9.0, [3.0, 12.0])
    assert mh.gradcheck(lambda x: mh.tanh(x).sum(), mh.tensor([0.1, 0.2], "float64", device=cuda), order=2)
    f = mh.checkpoint(lambda x: mh.exp(mh.sin(x)))
    leaf = x.require_grad()
    np.testing.assert_allclose(
        f(leaf).sum().backward()[leaf].numpy(), (np.exp(np.sin(v := x.numpy())) * np.cos(v)), 1e-6
    )


def test_tensors_show_where_they_are(cuda: Device) -> None:
    x = mh.tensor([1.0, 2.0], device=cuda)
    assert repr(x) == "tensor([1., 2.], dtype=float32, device='cuda')"
    assert x.to("cpu").device == Device("cpu")
    assert mh.tensor(x, device="cpu").tolist() == [1.0, 2.0]
    with mh.debug():
        assert mh.exp(x).device == cuda
