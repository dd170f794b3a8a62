"""minihybrid, as a user would write it."""

from __future__ import annotations

from typing import Any

import minihybrid as mh
from benchmarks.timing import Step
from benchmarks.workloads import CNN, MLP, Transformer, Workload


class LanguageModel(mh.Module):
    """Transformer encoder layers over an embedding."""

    embedding: mh.nn.Embedding
    positions: mh.Param
    layers: list[mh.nn.TransformerEncoderLayer]
    norm: mh.nn.LayerNorm
    head: mh.nn.Linear

    def forward(self, tokens: Any) -> mh.Tensor:
        x = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = layer(x, causal=True)
        logits: mh.Tensor = self.head(self.norm(x))
        return logits


def _model(workload: Workload) -> Any:
    rng = mh.Rng(0)
    if isinstance(workload, MLP):
        return mh.nn.MLPConfig(workload.sizes, "tanh" if workload.regression else "relu").init(rng)
    if isinstance(workload, CNN):
        a, b = workload.channels
        layers = [mh.nn.Conv2dConfig(1, a, 3, padding=1).init(rng), mh.relu, lambda x: mh.max_pool2d(x, 2)]
        layers += [mh.nn.Conv2dConfig(a, b, 3, padding=1).init(rng), mh.relu, lambda x: mh.max_pool2d(x, 2)]
        layers += [lambda x: mh.reshape(x, (x.shape[0], -1)), mh.nn.LinearConfig(b * 7 * 7, 10).init(rng)]
        return mh.nn.Sequential(layers)
    assert isinstance(workload, Transformer)
    options = dict(heads=workload.heads, d_hidden=workload.hidden, dropout=0.0, norm_first=True)
    layer = mh.nn.TransformerEncoderLayerConfig(workload.d, **options)
    return LanguageModel(
        mh.nn.EmbeddingConfig(workload.vocabulary, workload.d).init(rng),
        mh.Param(rng.normal((workload.length, workload.d))),
        [layer.init(rng) for _ in range(workload.layers)],
        mh.nn.LayerNormConfig(workload.d).init(rng),
        mh.nn.LinearConfig(workload.d, workload.vocabulary).init(rng),
    )


def model_of(workload: Workload) -> Any:
    """The workload's model with its initial parameters, which come in the order of the model's own."""
    model = _model(workload)
    for param, value in zip(model.named_params().values(), workload.parameters().values(), strict=True):
        assert param.shape == value.shape, f"{workload.name}: a parameter is {param.shape}, its value {value.shape}"
        param.array[...] = value
    return model


def loss_of(workload: Workload) -> Any:
    """The loss of a model's predictions."""
    return mh.nn.mse if isinstance(workload, MLP) and workload.regression else mh.nn.cross_entropy


def make(workload: Workload, through: str = "", device: str = "cpu") -> Step:
    """`through` names a function of `mh` that the training step goes through first, such as a compiler."""
    model, optimizer, loss_function = model_of(workload).to(device), mh.optim.Adam(), loss_of(workload)
    x, y = map(mh.Device(device).array, workload.data())
    inputs = x if isinstance(workload, Transformer) else mh.Tensor(x)

    def train(model: Any, inputs: Any, targets: Any, lr: float) -> tuple[Any, mh.Tensor]:
        loss = loss_function(model(inputs), targets)
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        return optimizer.step(lr, model, grads), loss.detach()

    train = getattr(mh, through)(train) if through else train

    def step() -> mh.Tensor:
        nonlocal model
        model, loss = train(model, inputs, y, workload.lr)
        return loss

    return step
