"""What the tests on the CUDA device share: the same calculation on two devices, and how closely the results agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minihybrid.autodiff.tensor import Tensor
from minihybrid.device import Device

AGREEMENT: dict[Any, float] = {np.dtype("float32"): 1e-5, np.dtype("float64"): 1e-12}


def moved(value: Any, device: Device) -> Any:
    """The arrays in a value, on the device. Lists of numbers are no arrays."""
    if isinstance(value, np.ndarray):
        return device.array(value)
    if isinstance(value, (tuple, list)) and any(isinstance(item, (np.ndarray, tuple)) for item in value):
        return type(value)(moved(item, device) for item in value)
    return value


def gradients_of(function: Callable[..., Any], device: Device, *values: Any, create_graph: bool = False) -> list[Any]:
    """The results of a function of arrays, and the gradients in those of floats, as NumPy's.

    Floats come to it as leaves, other arrays as arrays, all of them on the device, where everything has to stay.
    """
    given = [moved(value, device) for value in values]
    leaves = [Tensor(g).require_grad() if getattr(g, "dtype", np.dtype(int)).kind == "f" else g for g in given]
    outputs = flat(function(*leaves))
    assert all(y.device == device for y in outputs)
    found = [y.detach().numpy() for y in outputs]
    followed = [y for y in outputs if y.requires_grad]
    if followed:
        total = sum((y * moved(cotangent(y), device)).sum() for y in followed)
        grads = total.backward(create_graph=create_graph)
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf in grads:
                assert grads[leaf].device == device
                found.append(grads[leaf].detach().numpy())
    return found


def cotangent(y: Tensor) -> Any:
    """Random numbers in the shape and dtype of a tensor, the same for each device."""
    return np.asarray(np.random.default_rng(0).normal(size=y.shape), y.dtype)


def flat(outputs: Any) -> list[Tensor]:
    """The tensors in whatever tuples and lists."""
    if isinstance(outputs, (tuple, list)):
        return [leaf for part in outputs for leaf in flat(part)]
    return [outputs if isinstance(outputs, Tensor) else Tensor(outputs)]


def assert_agree(found: list[Any], expected: list[Any]) -> None:
    """Equal shapes and dtypes, and equal values to what the dtype allows."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        near = AGREEMENT.get(one.dtype, 0.0)
        np.testing.assert_allclose(one, other, rtol=near, atol=near)
