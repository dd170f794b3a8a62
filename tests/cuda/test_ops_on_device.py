"""Every op on the CUDA device gives what it gives on the CPU: values, gradients, and gradients that lead on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from minihybrid.autodiff.op import registry
from minihybrid.autodiff.tensor import Tensor
from minihybrid.device import Device
from tests.samples import Call, calls, leaf

AGREEMENT = {np.float32: 1e-5, np.float64: 1e-12}

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def moved(value: Any, device: Device) -> Any:
    """The arrays in a setting (a mask, an index), on the device; lists are no arrays."""
    if isinstance(value, np.ndarray):
        return device.array(value)
    if isinstance(value, tuple):
        return tuple(moved(item, device) for item in value)
    return value


def on(call: Call, device: Device, create_graph: bool) -> tuple[Any, list[Any]]:
    """The result, and the gradients of the operands that have one."""
    operands = [
        leaf(array) if name in call.op.formulas else Tensor(array)
        for name, array in zip(call.names, [device.array(operand) for operand in call.operands], strict=True)
    ]
    given = iter(operands)
    arguments = [next(given) if isinstance(a, np.ndarray) else moved(a, device) for a in call.arguments]
    result = call.op(*arguments, **{name: moved(value, device) for name, value in call.settings.items()})
    assert result.device == device
    if not result.requires_grad:
        return result.detach().numpy(), []
    weights = np.asarray(np.random.default_rng(0).normal(size=result.shape), result.dtype)
    grads = result.backward(Tensor(device.array(weights)), create_graph)
    found = [grads[x].detach() for x in operands if x.requires_grad]
    assert all(gradient.device == device for gradient in found)
    return result.detach().numpy(), [gradient.numpy() for gradient in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(registry))
@few
@given(data=st.data())
def test_ops_agree_with_the_cpu(name: str, dtype: Any, cuda: Device, data: st.DataObject) -> None:
    call = data.draw(calls(name, dtype))
    create_graph = data.draw(st.booleans())
    result, gradients = on(call, cuda, create_graph)
    expected, exact = on(call, Device("cpu"), create_graph)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    near = dict(rtol=AGREEMENT[dtype], atol=AGREEMENT[dtype])
    np.testing.assert_allclose(result, expected, **near)
    for gradient, right in zip(gradients, exact, strict=True):
        assert gradient.dtype == right.dtype
        np.testing.assert_allclose(gradient, right, **near)
