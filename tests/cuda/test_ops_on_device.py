"""Every op on the CUDA device gives what it gives on the CPU: values, gradients, and gradients that lead on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import minihybrid as mh
from minihybrid.autodiff import ops
from minihybrid.autodiff.op import registry
from minihybrid.device import Device
from tests.cuda.agree import assert_agree, gradients_of, moved
from tests.samples import calls

# The CPU's own tests draw many examples of each op; what may differ here is what an array module lacks.
few = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("name", sorted(registry))
@few
@given(data=st.data())
def test_ops_agree_with_the_cpu(name: str, cuda: Device, data: st.DataObject) -> None:
    call = data.draw(calls(name, data.draw(st.sampled_from([np.float32, np.float64]))))
    create_graph = data.draw(st.booleans())
    operands = [place for place, a in enumerate(call.arguments) if isinstance(a, np.ndarray)]

    def on(device: Device) -> list[Any]:
        def function(*arrays: Any) -> Any:
            arguments = [moved(a, device) for a in call.arguments]
            for place, array in zip(operands, arrays, strict=True):
                arguments[place] = array
            return call.op(*arguments, **{key: moved(value, device) for key, value in call.settings.items()})

        return gradients_of(function, device, *call.operands, create_graph=create_graph)

    assert_agree(on(cuda), on(Device("cpu")))


RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape)


X, Y, V, CUBE, IMAGES = floats(2, 3), floats(2, 3), floats(3), floats(2, 3, 4), floats(2, 4, 5, 6)
SQUARE = floats(3, 3) + 4 * np.eye(3)
ROWS, PLACES, MASK = np.array([1, 0, 1]), np.array([[0, 2, 1], [2, 2, 0]]), np.array([[True, False, True]] * 2)

COMPOSED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    # functions made of ops: called on tensors of these arrays
    "adaptive_avg_pool1d": (lambda x: ops.adaptive_avg_pool1d(x, 3), (CUBE,)),
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, (2, 5)), (IMAGES,)),
    "adaptive_max_pool1d": (lambda x: ops.adaptive_max_pool1d(x, 3), (CUBE,)),
    "adaptive_max_pool2d": (lambda x: ops.adaptive_max_pool2d(x, (2, None)), (IMAGES,)),
    "array_split": (lambda x: ops.array_split(x, 2, axis=1), (X,)),
    "attention_weights": (lambda q, k, mask: ops.attention_weights(q, k, mask, causal=True), (X, Y, MASK[:, :2])),
    "avg_pool1d": (lambda x: ops.avg_pool1d(x, 2, padding=1), (CUBE,)),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, 1, True, False), (IMAGES,)),
    "batch_norm": (lambda x, w, b, m, v: ops.batch_norm(x, w, b, m, v * v), (X, V, V, V, V)),
    "concatenate": (lambda x, y: ops.concatenate([x, y], axis=None), (X, Y)),
    "conv1d": (lambda x, w, b: ops.conv1d(x, w, b, padding="same"), (CUBE, floats(4, 3, 2), floats(4))),
    "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, 2, 1, groups=2), (IMAGES, floats(6, 2, 3, 2), floats(6))),
    "conv_transpose1d": (lambda x, w: ops.conv_transpose1d(x, w, stride=2), (CUBE, floats(3, 2, 2))),
    "conv_transpose2d": (
        lambda x, w, b: ops.conv_transpose2d(x, w, b, 2, 1, 1, 2),
        (IMAGES, floats(4, 3, 3, 2), floats(6)),
    ),
    "cross": (lambda x, y: ops.cross(x, y), (X, Y)),
    "cummax": (lambda x: ops.cummax(x, 1), (floats(3, 7),)),
    "cummin": (lambda x: ops.cummin(x), (floats(9),)),
    "cumprod": (lambda x: ops.cumprod(x), (X,)),
    "cumsum": (lambda x: ops.cumsum(x, 0), (X,)),
    "diag": (lambda x, v: (ops.diag(x, 1), ops.diag(v, -1)), (SQUARE, V)),
    "diff": (lambda x: ops.diff(x, prepend=0.0), (X,)),
    "dot": (lambda x, y: ops.dot(x, y), (CUBE, floats(4, 2))),
    "dropout": (lambda x: ops.dropout(x, 0.4, mh.Rng(3)), (X,)),
    "einsum": (lambda x, y: ops.einsum("ij,kj", x, y), (X, Y)),
    "embedding": (lambda w, i: ops.embedding(w, i), (X, ROWS)),
    "fliplr": (ops.fliplr, (X,)),
    "flipud": (ops.flipud, (X,)),
    "gather": (lambda x, i: ops.gather(x, i, 1), (X, PLACES[:, :2])),
    "getitem": (lambda x, i, mask: (x[i], x[:, i], x[mask], x[0, 1], x[[1, 1]]), (SQUARE, ROWS, SQUARE > 0)),
    "glu": (ops.glu, (CUBE,)),
    "group_norm": (lambda x, w: ops.group_norm(x, 2, w), (IMAGES, floats(4))),
    "hstack": (lambda x, y: ops.hstack([x, y]), (X, Y)),
    "index_set": (lambda x, i, v: ops.index_set(x, i, v), (SQUARE, ROWS, SQUARE)),
    "inner": (lambda x, y: ops.inner(x, y), (X, Y)),
    "kron": (lambda x, y: ops.kron(x, y), (X, V)),
    "layer_norm": (lambda x, w, b: ops.layer_norm(x, w, b), (X, V, V)),
    "max_pool1d": (lambda x: ops.max_pool1d(x, 2), (CUBE,)),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2, 1, ceil_mode=True), (IMAGES,)),
    "norm": (lambda x: (ops.norm(x), ops.norm(x, 1), ops.norm(x, np.inf, axis=0)), (X,)),
    "one_hot": (lambda i: ops.one_hot(i, 3), (ROWS,)),
    "outer": (lambda x, y: ops.outer(x, y), (V, X)),
    "pad": (lambda x: (ops.pad(x, 1), ops.pad(x, (2, 0), "reflect"), ops.pad(x, 1, "edge")), (floats(3, 3),)),
    "prelu": (lambda x, w: ops.prelu(x, w), (CUBE, V)),
    "put_along_axis": (lambda x, i, v: ops.put_along_axis(x, i, v, 1), (X, PLACES, Y)),
    "repeat": (lambda x: (ops.repeat(x, 2, 1), ops.repeat(x, [0, 2, 1], 1)), (X,)),
    "rms_norm": (lambda x, w: ops.rms_norm(x, w), (X, V)),
    "rot90": (ops.rot90, (X,)),
    "scaled_dot_product_attention": (lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=True), (X, Y, X)),
    "scatter": (lambda x, i, v: ops.scatter(x, i, v, 1), (X, PLACES[:, :2], Y[:, :2])),
    "scatter_add": (lambda x, i, v: ops.scatter_add(x, i, v, 1), (X, PLACES, Y)),
    "segment_sum": (lambda x, i: ops.segment_sum(x, i, 3), (SQUARE, ROWS)),
    "segment_sum of integers": (lambda x, i: ops.segment_sum(x, i, 3), (np.array([-1, 2, 5]), ROWS)),
    "slogdet": (lambda x: ops.slogdet(x), (SQUARE,)),
    "sort": (lambda x: (ops.sort(x), ops.sort(x, None)), (X,)),
    "split": (lambda x: ops.split(x, [1, 2], 1), (X,)),
    "stack": (lambda x, y: ops.stack([x, y], 1), (X, Y)),
    "take": (lambda x, i: ops.take(x, i, 1), (X, ROWS)),
    "take_along_axis": (lambda x, i: ops.take_along_axis(x, i, 1), (X, PLACES)),
    "tensordot": (lambda x, y: ops.tensordot(x, y, 2), (CUBE, floats(3, 4, 2))),
    "tile": (lambda x: ops.tile(x, (2, 1, 2)), (X,)),
    "topk": (lambda x: ops.topk(x, 2), (X,)),
    "trace": (ops.trace, (SQUARE,)),
    "unstack": (ops.unstack, (X,)),
    "vdot": (lambda x, y: ops.vdot(x, y), (X, Y)),
    "vector_norm": (lambda x: [ops.vector_norm(x, 1, ord=p) for p in (0, 1, 2, 3, np.inf)], (X,)),
    "vstack": (lambda x, v: ops.vstack([x, v]), (X, V)),
}


def test_no_function_is_forgotten() -> None:
    known = {id(op) for op in registry.values()} | {id(registry)}
    functions = {name for name in ops.__all__ if id(getattr(ops, name)) not in known}
    assert functions <= COMPOSED.keys()


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_agree_with_the_cpu(name: str, dtype: str, cuda: Device) -> None:
    function, arrays = COMPOSED[name]
    arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays)
    assert_agree(gradients_of(function, cuda, *arrays), gradients_of(function, Device("cpu"), *arrays))
