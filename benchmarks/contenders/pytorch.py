"""PyTorch with modules of its own and its Adam: for loop, foreach or fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.timing import Step
from benchmarks.workloads import CNN, LINEARS, MLP, Transformer, Workload


class LanguageModel(nn.Module):
    """Transformer encoder layers over an embedding."""

    def __init__(self, workload: Transformer) -> None:
        super().__init__()
        d, n = workload.d, workload.vocabulary
        sizes = d, workload.heads, workload.hidden
        options: dict[str, Any] = dict(dropout=0.0, batch_first=True, norm_first=True)
        layers = [nn.TransformerEncoderLayer(*sizes, **options) for _ in range(workload.layers)]
        self.embedding, self.positions = nn.Embedding(n, d), nn.Parameter(torch.empty(workload.length, d))
        self.layers, self.norm, self.head = nn.ModuleList(layers), nn.LayerNorm(d), nn.Linear(d, n)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(workload.length))

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(x))


def _layers(workload: MLP | CNN) -> list[nn.Module]:
    if isinstance(workload, MLP):
        layers: list[nn.Module] = []
        for n, m in zip(workload.sizes, workload.sizes[1:], strict=False):
            layers += [nn.Linear(n, m), nn.Tanh() if workload.regression else nn.ReLU()]
        return layers[:-1]
    a, b = workload.channels
    first = [nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return [*first, *second, nn.Flatten(), nn.Linear(b * 7 * 7, 10)]


def _sequential(workload: MLP | CNN) -> nn.Module:
    """The layers, with the initial parameters, which come in the layers' order; linear weights are transposed."""
    model = nn.Sequential(*_layers(workload))
    for parameter, value in zip(model.parameters(), workload.parameters().values(), strict=True):
        parameter.copy_(torch.from_numpy(value.T if value.ndim == 2 else value))
    return model


def _language_model(workload: Transformer) -> nn.Module:
    """The model, with the initial parameters; query, key and value are one matrix here."""
    model, w = LanguageModel(workload), {k: torch.from_numpy(v) for k, v in workload.parameters().items()}

    def linear(layer: nn.Linear, weight: str, bias: str) -> None:
        layer.weight.copy_(w[weight].T)
        layer.bias.copy_(w[bias])

    def norm(layer: nn.LayerNorm, name: str) -> None:
        layer.weight.copy_(w[f"{name}_scale"])
        layer.bias.copy_(w[f"{name}_shift"])

    model.embedding.weight.copy_(w["embedding"])
    model.positions.copy_(w["positions"])
    for i, layer in enumerate(model.layers):
        attention = layer.self_attn
        attention.in_proj_weight.copy_(torch.cat([w[f"{name}{i}"].T for name in LINEARS[:3]]))
        attention.in_proj_bias.copy_(torch.cat([w[f"{name}_bias{i}"] for name in LINEARS[:3]]))
        for part, name in zip((attention.out_proj, layer.linear1, layer.linear2), LINEARS[3:], strict=True):
            linear(part, f"{name}{i}", f"{name}_bias{i}")
        norm(layer.norm1, f"norm1_{i}")
        norm(layer.norm2, f"norm2_{i}")
    norm(model.norm, "norm")
    linear(model.head, "head", "head_bias")
    return model


def make(workload: Workload, device: str = "cpu", launch: str = "", **options: bool) -> Step:
    """`options` are those of PyTorch's Adam. `launch` is "" for one kernel after the other, "graph" for a CUDA graph of
    the whole step, or "compile" for torch.compile."""
    torch.set_num_threads(1)
    with torch.no_grad():
        if isinstance(workload, Transformer):
            model = _language_model(workload)
        else:
            assert isinstance(workload, (MLP, CNN))
            model = _sequential(workload)
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=workload.lr, **options)
    loss_function = nn.MSELoss() if isinstance(workload, MLP) and workload.regression else nn.CrossEntropyLoss()
    x, y = (torch.from_numpy(array).to(device) for array in workload.data())

    def loss_of(x: Any, y: Any) -> Any:
        out = model(x)
        return loss_function(out, y) if out.ndim == 2 else loss_function(out.flatten(0, 1), y.flatten())

    if launch == "compile":
        loss_of = torch.compile(loss_of, mode="max-autotune")

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return _captured(step, model, optimizer, (x, y)) if launch == "graph" else step


def _captured(step: Step, model: nn.Module, optimizer: Any, inputs: tuple[Any, ...]) -> Step:
    """The step as a CUDA graph, whose inputs are copied there each time; its first runs, which it needs, are undone."""
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    given = [value.clone() for value in inputs]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
        for moments in optimizer.state.values():
            for moment in moments.values():
                moment.zero_()

    def replay() -> Any:
        for value, array in zip(inputs, given, strict=True):
            value.copy_(array)
        graph.replay()
        return loss

    return replay
