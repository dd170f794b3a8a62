"""Storage: named arrays end to end in one vector, and the ways in which that may not show."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import minihybrid as mh
from minihybrid.autodiff.storage import Storage, caller
from minihybrid.module.module import pack

DTYPES = st.sampled_from([np.float32, np.float64])
SHAPES = st.lists(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), min_size=1, max_size=5)


@st.composite
def named_arrays(draw: st.DrawFn) -> dict[str, Any]:
    """Arrays of one dtype with any bits whatever, NaN and -0.0 too."""
    dtype = draw(DTYPES)
    elements = st.floats(width=32 if dtype is np.float32 else 64)
    return {f"layer.{i}": draw(hnp.arrays(dtype, shape, elements=elements)) for i, shape in enumerate(draw(SHAPES))}


def same_bits(a: Any, b: Any) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@given(named_arrays())
def test_named_to_flat_to_named_is_exact(named: dict[str, Any]) -> None:
    storage = Storage(list(named.values()), list(named))
    flat = storage.values
    assert flat.shape == (sum(array.size for array in named.values()),)
    again = {key: slot.view(flat) for key, slot in zip(storage.keys, storage.slots, strict=True)}
    assert all(same_bits(again[key], array) for key, array in named.items())
    back = Storage(list(again.values()), list(again))
    assert same_bits(back.values, flat)
    assert back.slots == storage.slots


@given(named_arrays())
def test_slots_are_views(named: dict[str, Any]) -> None:
    storage = Storage(list(named.values()))
    for slot, array in zip(storage.slots, named.values(), strict=True):
        slot.view(storage.values)[...] = 7
        assert not np.shares_memory(storage.values, array)
    assert (storage.values == 7).all()


class Named(mh.Module):
    parts: dict[str, mh.Param]


@given(st.data(), st.floats(-1e3, 1e3), st.booleans())
def test_apply_delta_is_one_rounding_for_each_operation(data: st.DataObject, scale: float, flat: bool) -> None:
    values = data.draw(named_arrays())
    dtype = next(iter(values.values())).dtype
    finite = st.floats(-1e6, 1e6, width=32)
    deltas = {key: data.draw(hnp.arrays(dtype, array.shape, elements=finite)) for key, array in values.items()}
    model = Named({key: mh.Param(array) for key, array in values.items()})
    keys = [str(param.id) for param in model.named_params().values()]
    with np.errstate(all="ignore"):
        expected = {key: values[key] + dtype.type(scale) * deltas[key] for key in values}
        if flat:
            model = model.apply_delta(np.concatenate([d.ravel() for d in deltas.values()]), scale)
        else:
            model = model.apply_delta(dict(zip(keys, deltas.values(), strict=True)), scale)
    for key, param in model.parts.items():
        np.testing.assert_array_equal(param.numpy(), expected[key])
        assert param.dtype == dtype


def test_a_storage_of_nothing() -> None:
    storage = Storage([])
    assert storage.values.shape == (0,)
    assert storage.gradient().present == []


def test_gradient_vectors_have_the_layout_of_the_values() -> None:
    storage = Storage([np.ones((2, 3), "f"), np.ones((), "f")])
    flat = storage.gradient()
    assert [view.shape for view in flat.views] == [(2, 3), ()]
    assert flat.vector.dtype == np.float32
    assert all(np.shares_memory(view, flat.vector) for view in flat.views)


def test_a_pooled_gradient_forgets_what_was_present() -> None:
    storage = Storage([np.ones(2, "f")])
    flat = storage.gradient()
    flat.present[0] = True
    flat.release()
    again = storage.gradient()
    assert again.vector is flat.vector
    assert again.present == [False]
    assert storage.pool == []


def test_a_dropped_gradient_is_pooled_once() -> None:
    storage = Storage([np.ones(2, "f")])
    flat = storage.gradient()
    flat.release()
    del flat
    assert len(storage.pool) == 1
    flat = storage.gradient()
    del flat
    assert len(storage.pool) == 1


def test_a_released_gradient_names_the_line() -> None:
    storage = Storage([np.ones(2, "f")])
    flat = storage.gradient()
    flat.release()
    with pytest.raises(mh.MovedError, match=rf"these gradients were consumed at {__file__}:\d+; run backward"):
        flat.require()
    with pytest.raises(mh.MovedError, match="these gradients were consumed"):
        flat.release()


def test_an_escaped_gradient_is_not_pooled() -> None:
    storage = Storage([np.ones(2, "f")])
    flat = storage.gradient()
    flat.escaped = True
    flat.release()
    assert storage.pool == []


def test_a_change_reaches_the_storages_that_moved_in() -> None:
    a, b = mh.Param(np.ones(2, "f")), mh.Param(np.ones(3, "f"))
    before = a.storage
    model = Named({"a": a, "b": b})
    storage = pack(model)
    assert a.storage is b.storage is storage
    assert before.deserted
    assert (before.generation, storage.generation) == (0, 0)
    storage.advance("here")
    assert (before.generation, storage.generation) == (1, 1)
    assert before.changed_at == "here"


def test_caller_is_the_nearest_line_outside_the_package() -> None:
    assert caller().startswith(f"{__file__}:")


@pytest.mark.parametrize(("known", "named"), [({__file__: "In[3]"}, "In[3]"), ({}, __file__)])
def test_caller_in_a_notebook_is_a_line_of_a_cell(monkeypatch: Any, known: dict[str, str], named: str) -> None:
    compiler = SimpleNamespace(format_code_name=lambda name: ("Cell", known[name]) if name in known else None)
    shell = SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert re.fullmatch(rf"{re.escape(named)}:\d+", caller())


def test_caller_where_ipython_is_imported_but_does_not_run(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert caller().startswith(f"{__file__}:")


def test_a_deserted_storage_keeps_no_vectors() -> None:
    storage = Storage([np.ones(2, "f")])
    flat = storage.gradient()
    storage.deserted = True
    flat.release()
    assert storage.pool == []
