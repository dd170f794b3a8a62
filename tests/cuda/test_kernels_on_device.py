"""On the device, ops and optimizers launch their kernels; where these do not fit, it is array code as for any other."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.device import Device
from minihybrid.kernels import launch

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture
def launched(strict: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the kernels launched so far."""
    names: list[str] = []
    function = launch.function

    def noted(cupy: Any, source: str, kernel: str, dtype: str) -> Callable[..., None]:
        names.append(kernel)
        return function(cupy, source, kernel, dtype)

    monkeypatch.setattr(launch, "function", noted)
    yield names


def both(f: Callable[..., Any], arrays: list[np.ndarray], device: Device) -> None:
    """Results and gradients are the CPU's; arrays of floats are differentiated."""
    found = []
    for where in (Device("cpu"), device):
        tensors = [mh.Tensor(where.array(a)).require_grad() if a.dtype.kind == "f" else where.array(a) for a in arrays]
        out = f(*tensors)
        grads = (out * out).sum().backward()
        leaves = [t for t in tensors if isinstance(t, mh.Tensor)]
        found.append([out.numpy(), *(grads[leaf].numpy() for leaf in leaves)])
    for ours, theirs in zip(*reversed(found), strict=True):
        tolerance = 1e-5 if ours.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def floats(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


LABELS = np.array([3, 0, 6, 6, 1])
CASES: dict[str, tuple[Callable[..., Any], list[np.ndarray], list[str]]] = {
    "cross-entropy": (
        lambda x, y: mh.nn.cross_entropy(x, y),
        [floats(5, 7), LABELS],
        ["cross_entropy", "mean", "cross_entropy_gradient"],
    ),
    "smoothed cross-entropy of int32 labels, in float64": (
        lambda x, y: mh.nn.cross_entropy(x, y, label_smoothing=0.2),
        [floats(5, 7, dtype=np.float64), LABELS.astype(np.int32)],
        ["cross_entropy", "mean", "cross_entropy_gradient"],
    ),
    "cross-entropy of transposed logits": (
        lambda x, y: mh.nn.cross_entropy(x.T, y),
        [floats(7, 5), LABELS],
        ["cross_entropy", "mean", "cross_entropy_gradient"],
    ),
    "layer norm": (mh.ops.layer_norm, [floats(2, 3, 33)], ["standardize", "standardize_gradient"]),
    "layer norm over two axes": (
        lambda x: mh.ops.layer_norm(x, axis=(-2, -1)),
        [floats(4, 3, 5)],
        ["standardize", "standardize_gradient"],
    ),
    "layer norm of a transposed array": (
        lambda x: mh.ops.layer_norm(x.T),
        [floats(4, 9)],
        ["standardize", "standardize_gradient"],
    ),
    "rms norm": (mh.ops.rms_norm, [floats(3, 8, dtype=np.float64)], ["standardize", "standardize_gradient"]),
    "embedding": (lambda w, i: mh.embedding(w, i), [floats(7, 4), LABELS.reshape(5, 1)], ["segment_sum"]),
    "embedding, the cotangent broadcast": (
        lambda w, i: mh.embedding(w, i).sum(),
        [floats(7, 4), LABELS],
        ["segment_sum"],
    ),
    "segment sum of numbers": (lambda x, i: mh.ops.segment_sum(x, i, 8), [floats(5), LABELS], ["segment_sum"]),
    "relu": (mh.relu, [floats(5, 5)], ["activation_gradient"]),
    "tanh of a transposed array": (lambda x: mh.tanh(x.T), [floats(5, 4)], ["activation_gradient"]),
    "sigmoid": (mh.sigmoid, [floats(9, dtype=np.float64)], ["activation_gradient"]),
    "batch norm, which has none": (mh.ops.batch_norm, [floats(6, 4)], []),
}


@pytest.mark.parametrize("name", CASES)
def test_an_op_launches_its_kernel_and_agrees_with_the_cpu(name: str, strict: Device, launched: list[str]) -> None:
    f, arrays, expected = CASES[name]
    both(f, arrays, strict)
    assert [kernel for kernel in launched if kernel not in ("matmul", "column_sum")] == expected


@pytest.mark.parametrize("shape, axis", [((0, 3), -1), ((3, 0), -1), ((2, 3, 4), 1)])
def test_what_no_kernel_fits_is_array_code(shape: Any, axis: int, strict: Device, launched: list[str]) -> None:
    x = np.ones(shape, np.float32)
    with np.errstate(all="ignore"):
        came = mh.ops.layer_norm(mh.Tensor(strict.array(x)), axis=axis) if x.size else mh.Tensor(strict.array(x)).relu()
    assert came.shape == shape and not launched


def test_dropout_draws_the_same_on_both_devices(strict: Device, launched: list[str]) -> None:
    x = floats(6, 7)
    ours, theirs = mh.Rng(3), mh.Rng(3)
    for _ in range(2):
        came = mh.ops.dropout(mh.Tensor(strict.array(x)), 0.4, ours).numpy()
        np.testing.assert_array_equal(came, mh.ops.dropout(mh.tensor(x), 0.4, theirs).numpy())
    assert ours.state() == theirs.state() and launched == ["set_stream", "dropout_factors"] * 2


RULES = {
    "adam": (lambda: mh.optim.Adam(), "adam"),
    "adamw": (lambda: mh.optim.AdamW(amsgrad=True, weight_decay=0.1), "adam"),
    "sgd": (lambda: mh.optim.SGD(), "sgd"),
    "momentum": (lambda: mh.optim.SGD(momentum=0.9, nesterov=True, weight_decay=0.1), "sgd"),
    "dampening": (lambda: mh.optim.SGD(momentum=0.9, dampening=0.2), "sgd"),
}


@pytest.mark.parametrize("name", RULES)
def test_steps_and_clipping_have_the_bits_of_the_cpu(name: str, strict: Device, launched: list[str]) -> None:
    make, kernel = RULES[name]
    weights = []
    for device in (Device("cpu"), strict):
        model = mh.nn.LinearConfig(3, 5).init(mh.Rng(0), device)
        optim = make()
        for i in range(3):
            grads = mh.optim.GradientsParams()
            for j, param in enumerate(model.named_params().values()):
                grads.register(param.id, mh.Tensor(device.array(floats(*param.shape) * (i + j + 1))))
            if name == "adam":
                grads = mh.optim.clip_global_norm(grads, 1e6)
            model = optim.step(0.01, model, grads)
        weights.append([param.numpy() for param in model.named_params().values()])
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert launched.count(kernel) == 3 and launched.count("clip_factor") == 3 * (name == "adam")
