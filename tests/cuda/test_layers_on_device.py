"""Layers and losses on the CUDA device give what they give on the CPU, from the same seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid import nn
from minihybrid.device import Device
from tests.cuda.agree import AGREEMENT, assert_agree, flat, gradients_of

IMAGES = (2, 4, 5, 6)
SEQUENCES = (2, 3, 4)

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2dConfig((2, 3)), IMAGES),
    "AvgPool2d": (nn.AvgPool2dConfig(2, padding=1), IMAGES),
    "BatchNorm1d": (nn.BatchNorm1dConfig(4), (5, 4)),
    "BatchNorm2d": (nn.BatchNorm2dConfig(4), IMAGES),
    "Conv1d": (nn.Conv1dConfig(3, 2, 2), SEQUENCES),
    "Conv2d": (nn.Conv2dConfig(4, 2, 3, stride=2), IMAGES),
    "ConvTranspose2d": (nn.ConvTranspose2dConfig(4, 2, 3, stride=2), IMAGES),
    "Dropout": (nn.DropoutConfig(0.3), SEQUENCES),
    "Embedding": (nn.EmbeddingConfig(3, 2, padding=1), ()),
    "GRU": (nn.GRUConfig(4, 3), SEQUENCES),
    "GroupNorm": (nn.GroupNormConfig(2, 4), IMAGES),
    "LSTM": (nn.LSTMConfig(4, 3), SEQUENCES),
    "LayerNorm": (nn.LayerNormConfig((3, 4)), SEQUENCES),
    "Linear": (nn.LinearConfig(4, 3), SEQUENCES),
    "MLP": (nn.MLPConfig((4, 5, 2)), (3, 4)),
    "MaxPool2d": (nn.MaxPool2dConfig(2), IMAGES),
    "MultiHeadAttention": (nn.MultiHeadAttentionConfig(4, 2, rotary=True), SEQUENCES),
    "PRelu": (nn.PReluConfig(3), SEQUENCES),
    "PositionalEncoding": (nn.PositionalEncodingConfig(4), SEQUENCES),
    "RMSNorm": (nn.RMSNormConfig(4), SEQUENCES),
    "RNN": (nn.RNNConfig(4, 3), SEQUENCES),
    "RotaryEncoding": (nn.RotaryEncodingConfig(4), SEQUENCES),
    "Sequential": (nn.SequentialConfig((nn.LayerNormConfig(4), nn.ActivationConfig("gelu"))), SEQUENCES),
    "TransformerEncoderLayer": (nn.TransformerEncoderLayerConfig(4, 2, 8, norm_first=True), SEQUENCES),
} | {
    f"Activation {name}": (nn.ActivationConfig(name), (3, 4)) for name in ("relu", "softmax", "hardswish", "softshrink")
}


def test_no_layer_is_forgotten() -> None:
    configs = {name.removesuffix("Config") for name in dir(nn) if name.endswith("Config")} - {"", "Activation"}
    assert configs <= LAYERS.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree_with_the_cpu(name: str, dtype: str, cuda: Device) -> None:
    config, shape = LAYERS[name]
    x = mh.Rng(1).normal(shape, dtype=dtype) if shape else np.array([[1, 0, 1], [2, 1, 1]])

    def on(device: Device) -> list[Any]:
        layer = config.init(rng=mh.Rng(0), device=device, dtype=dtype)
        assert layer.device in (device, Device("cpu") if not layer.named_params() else device)
        params = layer.named_params()
        given = mh.Tensor(device.array(x))
        outputs = flat(layer(given.require_grad() if shape else given.array))
        found = [y.detach().numpy() for y in outputs]
        total = sum((y * y).sum() for y in outputs)
        if total.requires_grad:
            grads = total.backward()
            found += [grads[p].numpy() for p in params.values()]
            found += [device.host(grads.buffers[b]) for b in layer.named_buffers().values()]
        return found + [y.numpy() for y in flat(layer.valid()(given if shape else given.array))]

    assert_agree(on(cuda), on(Device("cpu")))


RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
P = np.exp(B) / np.exp(B).sum(axis=-1, keepdims=True)
BITS = (B > 0).astype(float)
LABELS, SOME, WEIGHT = np.array([2, 0, 1, 1]), np.array([2, 0, -7, 1]), np.array([0.5, 2.0, 1.25])
SIGNS, ROW_SIGNS = np.where(B > 0, 1.0, -1.0), np.array([1, -1, 1, -1])

LOSSES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "mse": (nn.mse, (A, B)),
    "mse sum": (lambda x, y: nn.mse(x, y, "sum"), (A, B)),
    "l1": (nn.l1, (A, B)),
    "huber": (lambda x, y: nn.huber(x, y, 0.3), (A, B)),
    "smooth_l1": (lambda x, y: nn.smooth_l1(x, y, 0.4), (A, B)),
    "cross_entropy": (nn.cross_entropy, (A, LABELS)),
    "cross_entropy smoothed": (lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1), (A, LABELS)),
    "cross_entropy all": (lambda x, y, w: nn.cross_entropy(x, y, w, -7, 0.1, "none"), (A, SOME, WEIGHT)),
    "cross_entropy soft": (nn.cross_entropy, (A, P)),
    "nll": (lambda x, y, w: nn.nll(x, y, w, -7), (A, SOME, WEIGHT)),
    "bce_with_logits": (lambda x, y, w: nn.bce_with_logits(x, y, w), (A, BITS, WEIGHT)),
    "bce": (nn.bce, (P, BITS)),
    "poisson_nll": (nn.poisson_nll, (A, BITS)),
    "kl_divergence": (nn.kl_divergence, (A, P)),
    "cosine_similarity": (nn.cosine_similarity, (A, B)),
    "cosine_embedding": (nn.cosine_embedding, (A, B, ROW_SIGNS)),
    "hinge": (nn.hinge, (A, SIGNS)),
}


def test_no_loss_is_forgotten() -> None:
    from minihybrid.nn import loss

    losses = {name for name in dir(nn) if getattr(getattr(nn, name), "__module__", "") == loss.__name__}
    assert losses <= {name.split()[0] for name in LOSSES}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree_with_the_cpu(name: str, dtype: str, cuda: Device) -> None:
    function, arrays = LOSSES[name]
    arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays)
    assert_agree(gradients_of(function, cuda, *arrays), gradients_of(function, Device("cpu"), *arrays))


def test_what_agrees_is_checked_closely() -> None:
    assert AGREEMENT[np.dtype("float64")] == 1e-12
    with pytest.raises(AssertionError):
        assert_agree([np.float64([1.0])], [np.float64([1.0 + 1e-11])])
