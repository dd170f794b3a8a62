"""Visitors and mappers see every part with its path; a tied parameter once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minihybrid as mh

PATHS = [
    *("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"),
    *("pair.0.weight", "pair.0.bias", "pair.1.weight", "pair.1.bias", "table.scale"),
]


class Log(mh.ModuleVisitor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def enter_module(self, path: str, module: mh.Module) -> None:
        self.seen.append(f"<{path}")

    def exit_module(self, path: str, module: mh.Module) -> None:
        self.seen.append(f">{path}")

    def visit_param(self, path: str, param: mh.Param) -> None:
        self.seen.append(path)

    def visit_buffer(self, path: str, buffer: mh.Buffer) -> None:
        self.seen.append(f"buffer {path}")

    def visit_rng(self, path: str, rng: mh.Rng) -> None:
        self.seen.append(f"rng {path}")


class Twice(mh.ModuleMapper):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def map_param(self, path: str, param: mh.Param) -> mh.Param:
        self.seen.append(path)
        return param.replaced(param.array * 2)

    def map_buffer(self, path: str, buffer: mh.Buffer) -> mh.Buffer:
        return mh.Buffer(buffer.array + 1)

    def map_rng(self, path: str, rng: mh.Rng) -> mh.Rng:
        return mh.Rng(7)


class Tied(mh.Module):
    encoder: mh.Param
    decoder: mh.Param

    def forward(self, x: Any) -> Any:
        return x @ self.encoder @ self.decoder


def test_a_visitor_meets_everything_in_order(tree: Any) -> None:
    seen = tree.visit(Log()).seen
    assert [s for s in seen if s in PATHS] == PATHS
    assert seen[:4] == ["<", "<layers.0", "layers.0.weight", "layers.0.bias"]
    assert seen[-3:] == ["buffer mean", "rng rng", ">"]
    assert "<pair.0" in seen
    assert seen.count(">pair.1") == 1


def test_base_visitor_and_mapper_change_nothing(tree: Any) -> None:
    ids, values = [p.id for p in tree.named_params().values()], tree.snapshot()
    tree.visit(mh.ModuleVisitor())
    mapped = tree.map(mh.ModuleMapper())
    assert [p.id for p in mapped.named_params().values()] == ids
    np.testing.assert_array_equal(mapped.snapshot().vector, values.vector)


def test_a_mapper_rebuilds_with_the_same_structure(tree: Any) -> None:
    before = {path: param.numpy() for path, param in tree.named_params().items()}
    mapper = Twice()
    mapped = tree.map(mapper)
    assert mapper.seen == PATHS
    for path, param in mapped.named_params().items():
        np.testing.assert_array_equal(param.numpy(), 2 * before[path])
    assert mapped.mean.tolist() == [1.0, 1.0, 1.0]
    assert mapped.rng.state() == mh.Rng(7).state()
    assert (type(mapped.layers), type(mapped.pair).__name__, mapped.rate, mapped.name) == (list, "Pair", 0.5, None)


def test_the_other_paths_of_a_tied_parameter_can_be_asked_for() -> None:
    class Paths(mh.ModuleVisitor):
        def __init__(self) -> None:
            self.first: list[str] = []
            self.further: list[tuple[str, mh.Param]] = []

        def visit_param(self, path: str, param: mh.Param) -> None:
            self.first.append(path)

        def visit_tied(self, path: str, param: mh.Param) -> None:
            self.further.append((path, param))

    param = mh.Param(np.eye(2))
    found = Tied(param, param).visit(Paths())
    assert found.first == ["encoder"] and found.further == [("decoder", param)]


def test_tied_parameters_are_met_once() -> None:
    w = mh.Param(np.eye(2, dtype="f"))
    model = Tied(w, w)
    assert list(model.named_params()) == ["encoder"]
    assert model.num_params() == 4
    mapper = Twice()
    model = model.map(mapper)
    assert mapper.seen == ["encoder"]
    assert model.encoder is model.decoder
    assert model.encoder.tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_gradients_of_tied_parameters_add() -> None:
    w = mh.Param(np.eye(2, dtype="f"))
    model = Tied(w, w)
    tied = model(mh.tensor([[1.0, 2.0]])).sum().backward()
    assert len(tied) == 1
    apart = Tied(mh.Param(w.array), mh.Param(w.array))
    grads = apart(mh.tensor([[1.0, 2.0]])).sum().backward()
    assert tied[model.decoder].tolist() == (grads[apart.encoder] + grads[apart.decoder]).tolist()


def test_freezing_some(tree: Any, x: mh.Tensor) -> None:
    class Freeze(mh.ModuleMapper):
        def map_param(self, path: str, param: mh.Param) -> mh.Param:
            return param.freeze() if path.startswith("layers") else param

    tree = tree.map(Freeze())
    grads = tree(x).backward()
    reached = [path for path, param in tree.named_params().items() if param in grads]
    assert reached == [path for path in PATHS if not path.startswith("layers")]


def test_a_mapper_that_raises_leaves_the_model(tree: Any) -> None:
    class Failing(mh.ModuleMapper):
        def map_buffer(self, path: str, buffer: mh.Buffer) -> mh.Buffer:
            raise KeyError(path)

    with pytest.raises(KeyError, match="mean"):
        tree.map(Failing())
    assert list(tree.named_params()) == PATHS


def test_plain_tensors_have_no_place_in_a_module() -> None:
    class Wrong(mh.Module):
        inner: dict[str, Any]

    with pytest.raises(TypeError, match=r"inner.scale is a plain Tensor; make it a Param \(trained\) or a Buffer"):
        Wrong({"scale": mh.tensor(1.0)}).named_params()
