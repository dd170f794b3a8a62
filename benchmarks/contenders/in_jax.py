"""JAX: the whole step as one compiled function that writes over its old state."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # read when XLA starts
import jax
import jax.numpy as jnp

from benchmarks.contenders import Unfit
from benchmarks.timing import Step
from benchmarks.workloads import MLP, Workload


def make(workload: Workload, device: str = "cpu") -> Step:
    """`device` is "cpu", where a step waits for its loss, or "cuda", where products are in float32 as elsewhere."""
    if not isinstance(workload, MLP):
        raise Unfit("written for perceptrons only")
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # read when the device is first used
        jax.config.update("jax_default_matmul_precision", "highest")  # by default it rounds to TF32
    layers, regression, lr = len(workload.sizes) - 1, workload.regression, workload.lr

    def loss_of(w: Any, x: Any, y: Any) -> Any:
        for i in range(layers):
            x = x @ w[2 * i] + w[2 * i + 1]
            if i < layers - 1:
                x = jnp.tanh(x) if regression else jax.nn.relu(x)
        if regression:
            return jnp.mean((x - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1))

    def train(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        w, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(w, x, y)
        t = t + 1
        scale, root = lr / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        w = [a - scale * b / (jnp.sqrt(c) / root + 1e-8) for a, b, c in zip(w, m, v, strict=True)]
        return (w, m, v, t), loss

    compiled = jax.jit(train, donate_argnums=0)
    w = [jnp.asarray(value) for value in workload.parameters().values()]
    state: Any = (w, [jnp.zeros_like(a) for a in w], [jnp.zeros_like(a) for a in w], jnp.float32(0))
    x, y = (jnp.asarray(array) for array in workload.data())

    def step() -> Any:
        nonlocal state
        state, loss = compiled(state, x, y)
        return loss.block_until_ready() if device == "cpu" else loss

    return step
