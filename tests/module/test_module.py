"""Module: a frozen dataclass with one owner."""

from __future__ import annotations

import dataclasses
import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.module.module import pack


def ids(model: mh.Module) -> dict[str, str]:
    return {path: str(param.id) for path, param in model.named_params().items()}


def values(model: mh.Module) -> dict[str, Any]:
    return {path: param.numpy() for path, param in model.named_params().items()}


def zeros(model: mh.Module) -> Any:
    return np.zeros(model.num_params(), "f")


def ones(model: mh.Module) -> Any:
    return np.ones(model.num_params(), "f")


# A dataclass


def test_fields_are_frozen(tree: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tree.rate = 0.1
    assert dataclasses.is_dataclass(tree)


def test_calling_is_forward(tree: Any, x: mh.Tensor) -> None:
    assert tree(x).item() == tree.forward(x).item()

    class Nothing(mh.Module):
        pass

    with pytest.raises(TypeError, match=r"Nothing defines no forward\(\)"):
        Nothing()(x)


def test_counting(tree: Any) -> None:
    assert tree.num_params() == 3 * 4 + 4 + 4 * 2 + 2 + 2 * (2 * 2 + 2) + 2
    assert list(tree.named_buffers()) == ["mean"]
    assert tree.device == mh.Device("cpu")


def test_unknown_fields_and_repr(tree: Any) -> None:
    with pytest.raises(AttributeError, match="Tree has no field 'weigth'"):
        _ = tree.weigth
    assert repr(tree.layers[0]) == "Affine(weight=Param(3, 4), bias=Param(4,), training=True)"
    assert hash(tree) == hash(tree)
    assert tree != tree.clone()


def test_a_large_model_is_shown_a_part_a_line(tree: Any) -> None:
    class Shapes(mh.Module):
        shape: tuple[int, ...]
        weight: mh.Param
        rng: mh.Rng

    assert repr(Shapes((3,), mh.Param(np.zeros(3)).freeze(), mh.Rng(0))) == (
        "Shapes(shape=(3,), weight=Param(3,) frozen, rng=Rng(...))"
    )
    expected = """\
Tree(
  layers=[
    Affine(weight=Param(3, 4), bias=Param(4,), training=True),
    Affine(weight=Param(4, 2), bias=Param(2,), training=True),
  ],
  pair=(
    Affine(weight=Param(2, 2), bias=Param(2,), training=True),
    Affine(weight=Param(2, 2), bias=Param(2,), training=True),
  ),
  table={'scale': Param(2,)},
  mean=Buffer(3,),
  rng=Rng(...),
  rate=0.5,
  name=None,
)"""
    assert repr(tree) == expected


# Ids


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.clone(),
        lambda m: m.map(mh.ModuleMapper()),
        lambda m: m.valid(),
        lambda m: m.train(),
        lambda m: m.to("cpu"),
        lambda m: m.apply_delta(ones(m)),
        lambda m: m.restore(m.snapshot()),
    ],
    ids=["clone", "map", "valid", "train", "to", "apply_delta", "restore"],
)
def test_ids_survive(change: Callable[[Any], Any], tree: Any) -> None:
    before = ids(tree)
    assert ids(change(tree)) == before


# Ownership

CONSUMERS: dict[str, Callable[[Any], Any]] = {
    "map": lambda m: m.map(mh.ModuleMapper()),
    "to": lambda m: m.to("cpu"),
    "train": lambda m: m.train(),
    "apply_delta": lambda m: m.apply_delta(zeros(m)),
    "restore": lambda m: m.restore(m.snapshot()),
}
USES: dict[str, Callable[[Any], Any]] = {
    "a field": lambda m: m.layers,
    "a call": lambda m: m(mh.tensor(np.ones((1, 3), "f"))),
    "visit": lambda m: m.visit(mh.ModuleVisitor()),
    "named_params": lambda m: m.named_params(),
    "num_params": lambda m: m.num_params(),
    "clone": lambda m: m.clone(),
    "valid": lambda m: m.valid(),
    "snapshot": lambda m: m.snapshot(),
    **CONSUMERS,
}


@pytest.mark.parametrize("verb", CONSUMERS)
def test_a_consumed_model_names_the_line(verb: str, tree: Any) -> None:
    CONSUMERS[verb](tree)
    where = f"{__file__}:{CONSUMERS[verb].__code__.co_firstlineno}"
    for use in USES.values():
        with pytest.raises(mh.MovedError, match=rf"was consumed by {verb}\(\) at {re.escape(where)}; .*clone\(\) it"):
            use(tree)
    assert repr(tree) == "Tree(consumed)"


@pytest.mark.parametrize("verb", CONSUMERS)
def test_the_returned_model_lives(verb: str, tree: Any, x: mh.Tensor) -> None:
    before, result = values(tree), tree(x).item()
    model = CONSUMERS[verb](tree)
    assert model(x).item() == result
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("verb", CONSUMERS)
def test_every_parameter_is_a_leaf_again_and_the_next_backward_reaches_it(verb: str, tree: Any, x: mh.Tensor) -> None:
    tree(x).backward()
    model = CONSUMERS[verb](tree)
    grads = model(x).backward()
    for path, param in model.named_params().items():
        assert param.is_leaf, path
        assert param.requires_grad, path
        assert param in grads, path


def test_visit_borrows(tree: Any, x: mh.Tensor) -> None:
    tree.visit(mh.ModuleVisitor())
    tree.named_params()
    tree.snapshot()
    tree(x)


def test_a_clone_is_independent(tree: Any) -> None:
    clone = tree.clone()
    before = values(clone)
    tree = tree.apply_delta(ones(tree))
    tree.mean.array[...] = 5
    tree.rng.words(4)
    for path, value in values(clone).items():
        np.testing.assert_array_equal(value, before[path])
    assert clone.mean.tolist() == [0.0, 0.0, 0.0]
    assert clone.rng.state() == mh.Rng(0).state()
    assert values(tree).keys() == before.keys()


def test_a_consumed_model_lets_its_arrays_go(tree: Any) -> None:
    storage = weakref.ref(pack(tree))
    model = tree.apply_delta(zeros(tree))
    del model
    gc.collect()  # a Param may be part of the caller's cycles
    assert storage() is None
    assert repr(tree) == "Tree(consumed)"


# valid() and train()


def test_a_valid_view_shares_without_gradients(tree: Any, x: mh.Tensor) -> None:
    view = tree.valid()
    assert not view(x).requires_grad
    assert [layer.training for layer in view.layers] == [False, False]
    assert [layer.training for layer in tree.layers] == [True, True]
    assert np.shares_memory(view.layers[0].weight.array, tree.layers[0].weight.array)
    assert tree(x).requires_grad


@pytest.mark.parametrize("verb", ["apply_delta", "restore"])
def test_a_valid_view_ends_when_the_model_changes(verb: str, tree: Any, x: mh.Tensor) -> None:
    view, second = tree.valid(), tree.valid()
    CONSUMERS[verb](tree)
    for ended in (view, second):
        with pytest.raises(mh.MovedError, match=rf"borrowed by valid\(\), and {__file__}:\d+ has changed the model"):
            ended(x)


def test_a_valid_view_owns_nothing(tree: Any) -> None:
    view = tree.valid()
    for verb in ("map", "to"):
        with pytest.raises(mh.MovedError, match=rf"{verb}: this Tree is a view borrowed by valid\(\), which owns"):
            CONSUMERS[verb](view)
    with pytest.raises(mh.MovedError, match="view borrowed by valid"):
        view.apply_delta(zeros(view))
    assert view.num_params() == tree.num_params()


def test_training_on_from_a_view_or_a_copy_of_it(tree: Any, x: mh.Tensor) -> None:
    for own in (tree.valid().train(), tree.valid().clone().train()):
        assert [layer.training for layer in own.layers] == [True, True]
        own = own.apply_delta(ones(own))
        grads = own(x).backward()
        assert all(param in grads for param in own.named_params().values())
    assert tree(x).requires_grad


# The flat vector


def test_packing_lays_parameters_in_the_order_of_their_paths(tree: Any) -> None:
    before = values(tree)
    storage = pack(tree)
    np.testing.assert_array_equal(storage.values, np.concatenate([value.ravel() for value in before.values()]))
    assert [str(key) for key in storage.keys] == list(ids(tree).values())
    assert pack(tree) is storage
    assert all(np.shares_memory(param.array, storage.values) for param in tree.named_params().values())


def test_packing_refuses_a_mixture_and_says_where(tree: Any) -> None:
    class Widen(mh.ModuleMapper):
        def map_param(self, path: str, param: mh.Param) -> mh.Param:
            return param.replaced(param.array.astype("d")) if path == "table.scale" else param

    tree = tree.map(Widen())
    with pytest.raises(TypeError, match=r"share one dtype and one device: .*table.scale is float64 on cpu; use map"):
        pack(tree)


def test_storage_survives_steps_but_not_other_parameters(tree: Any) -> None:
    storage = pack(tree)
    tree = tree.apply_delta(zeros(tree)).map(mh.ModuleMapper())
    assert pack(tree) is storage

    class Replace(mh.ModuleMapper):
        def map_param(self, path: str, param: mh.Param) -> mh.Param:
            return param.replaced(param)

    assert pack(tree.map(Replace())) is not storage


def test_a_model_of_nothing() -> None:
    class Empty(mh.Module):
        size: int

    model = Empty(3)
    assert model.num_params() == 0
    model = model.apply_delta(np.zeros(0, "f"))
    assert model.size == 3
    assert model.clone().size == model.valid().size == model.to("cpu").size == 3


# Deltas


def test_a_delta_by_id_changes_only_what_it_names(tree: Any) -> None:
    before = values(tree)
    key = ids(tree)["layers.1.bias"]
    tree = tree.apply_delta({key: mh.tensor([1.0, 2.0])}, scale=0.5)
    for path, value in values(tree).items():
        np.testing.assert_array_equal(value, before[path] + ([0.5, 1.0] if path == "layers.1.bias" else 0))


def test_a_flat_delta_may_be_a_tensor(tree: Any) -> None:
    before = values(tree)
    tree = tree.apply_delta(mh.Tensor(ones(tree)))
    assert all((value == before[path] + 1).all() for path, value in values(tree).items())


@pytest.mark.parametrize(
    ("delta", "kind", "sentence"),
    [
        (lambda m: zeros(m)[1:], ValueError, r"the delta has shape \(39,\); expected the parameter's \(40,\)"),
        (lambda m: zeros(m).astype("d"), TypeError, r"the delta is float64; expected the parameter's float32"),
        (lambda m: {"0" * 13: zeros(m)}, KeyError, r"names '0000000000000', which is no ParamId of this Tree"),
        (lambda m: {ids(m)["table.scale"]: np.zeros(3, "f")}, ValueError, r"has shape \(3,\); expected .*\(2,\)"),
        (lambda m: {ids(m)["table.scale"]: np.zeros(2)}, TypeError, r"is float64; expected the parameter's float32"),
        (lambda m: {ids(m)["table.scale"]: [0.0, 0.0]}, ValueError, r"has shape None; expected .*\(2,\)"),
        (lambda m: {ids(m)["layers.0.bias"]: np.ones(4, "f"), ids(m)["table.scale"]: [0.0]}, ValueError, "shape None"),
    ],
)  # fmt: skip
def test_a_delta_that_does_not_fit_changes_nothing(delta: Any, kind: type[Exception], sentence: str, tree: Any) -> None:
    before = values(tree)
    with pytest.raises(kind, match=sentence):
        tree.apply_delta(delta(tree))
    for path, value in values(tree).items():
        np.testing.assert_array_equal(value, before[path])


# Stale graphs


@pytest.mark.parametrize("verb", ["apply_delta", "restore"])
@pytest.mark.parametrize("packed_before", [True, False])
def test_a_graph_recorded_before_a_change_is_refused(verb: str, packed_before: bool, tree: Any, x: mh.Tensor) -> None:
    if packed_before:
        pack(tree)
    loss = tree(x)
    model = CONSUMERS[verb](tree)
    with pytest.raises(mh.MovedError, match=rf"read parameters that {re.escape(__file__)}:\d+ has changed since"):
        loss.backward()
    model(x).backward()


def test_a_graph_recorded_before_packing_is_still_good(tree: Any, x: mh.Tensor) -> None:
    loss = tree(x)
    tree.snapshot()
    grads = loss.backward()
    assert all(param in grads for param in tree.named_params().values())


# Snapshots


def test_restoring_is_exact(tree: Any) -> None:
    before, snapshot = values(tree), tree.snapshot()
    tree = tree.apply_delta(np.full(tree.num_params(), 1e-3, "f"))
    tree.mean.array[...] = 3
    tree.rng.words(8)
    tree = tree.restore(snapshot)
    for path, value in values(tree).items():
        assert value.tobytes() == before[path].tobytes()
    assert tree.mean.tolist() == [0.0, 0.0, 0.0]
    assert tree.rng.state() == mh.Rng(0).state()


def test_a_snapshot_of_another_model_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match="the snapshot is not of this Affine"):
        tree.layers[0].clone().restore(tree.snapshot())


def test_what_two_layers_share_they_share_in_a_copy_too():
    class Pair(mh.Module):
        first: mh.nn.Dropout
        second: mh.nn.Dropout
        mean: mh.Buffer
        same: mh.Buffer

        def forward(self, x):
            return self.second(self.first(x))

    rng, mean = mh.Rng(0), mh.Buffer(np.zeros(2))
    model = Pair(mh.nn.Dropout(0.5, rng), mh.nn.Dropout(0.5, rng), mean, mean)
    copy, x = model.clone(), mh.Tensor(np.ones(64, np.float32))
    assert copy.first.rng is copy.second.rng is not rng and copy.mean is copy.same is not mean
    np.testing.assert_array_equal(copy(x).numpy(), model(x).numpy())
