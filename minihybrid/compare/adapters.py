"""Low-rank adapters: a trained network is frozen, and learns something new through small matrices beside its own.

(Hu et al. 2022, "LoRA: low-rank adaptation of large language models", section 4.)
"""

from __future__ import annotations

import numpy as np

from minihybrid.autodiff import ops
from minihybrid.autodiff.tensor import Tensor
from minihybrid.data import DataLoader, Dataset
from minihybrid.module.module import Module
from minihybrid.module.param import Param
from minihybrid.nn import MLP, Linear, MLPConfig, cross_entropy
from minihybrid.nn.activation import Activation
from minihybrid.optim import Adam, GradientsParams, Linear as LinearSchedule
from minihybrid.rng import Rng


class AdaptedLinear(Module):
    """y = x W + b + (x A) B: x [..., in] -> y [..., out], with W and b frozen.

    `down` is A [in, rank], `up` is B [rank, out], which begins at 0.
    """

    base: Linear
    down: Param
    up: Param

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and its adapter."""
        out: Tensor = self.base(x) + ops.matmul(ops.matmul(x, self.down), self.up)
        return out


class AdaptedMLP(Module):
    """A perceptron of adapted layers."""

    layers: list[AdaptedLinear]
    activation: Activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


def adapted(network: MLP, rank: int, rng: Rng) -> AdaptedMLP:
    """A copy of a perceptron with its parameters frozen, but for the output's bias, and adapters of this rank.

    It computes what the perceptron computes until its adapters are trained.

    >>> network = MLPConfig((6, 5, 3)).init(Rng(0))
    >>> model = adapted(network, 2, Rng(1))
    >>> x = Tensor(np.ones((4, 6), np.float32))
    >>> model(x).tolist() == network(x).tolist()
    True
    >>> [path for path, param in model.named_params().items() if param.trainable]
    ['layers.0.down', 'layers.0.up', 'layers.1.base.bias', 'layers.1.down', 'layers.1.up']
    """
    copy = network.clone()
    layers = [_adapted(layer, rank, rng, trains_bias=layer is copy.layers[-1]) for layer in copy.layers]
    return AdaptedMLP(layers, copy.activation)


def _adapted(layer: Linear, rank: int, rng: Rng, trains_bias: bool) -> AdaptedLinear:
    inputs, outputs = layer.weight.shape
    bias = layer.bias if layer.bias is None or trains_bias else layer.bias.freeze()
    down = rng.normal((inputs, rank), std=inputs**-0.5)
    up = np.zeros((rank, outputs), np.float32)
    return AdaptedLinear(Linear(layer.weight.freeze(), bias), Param(down), Param(up))


def trained(
    config: MLPConfig, data: Dataset, rng: Rng, steps: int = 400, batch_size: int = 64, lr: float = 3e-3
) -> MLP:
    """A perceptron that was trained on a data set: by Adam, with the learning rate decayed to 0."""
    from threadpoolctl import threadpool_limits

    model = config.init(rng.split())
    batches, optimizer, schedule = DataLoader(data, batch_size, rng.split()), Adam(), LinearSchedule(lr, 0.0, steps)
    with threadpool_limits(1, user_api="blas"):
        for step in range(steps):
            batch = next(batches)
            loss = cross_entropy(model(Tensor(batch.inputs)), batch.targets)
            model = optimizer.step(schedule(step), model, GradientsParams.from_grads(loss.backward(), model))
    return model
