"""Drawings of graphs: what backward would walk, no more, no less."""

import xml.etree.ElementTree as ElementTree
from collections import Counter

import numpy as np
import pytest

import minihybrid as mh

SVG = "{http://www.w3.org/2000/svg}"


def leaf(*shape):
    return mh.tensor(np.ones(shape), requires_grad=True)


def parsed(drawing):
    """The texts of the boxes, and the tooltips of the edges."""
    root = ElementTree.fromstring(drawing.svg)
    tooltips = [path[0].text for path in root.iter(f"{SVG}path") if len(path)]
    return [text.text for text in root.iter(f"{SVG}text")], tooltips


def test_ops_shapes_names_and_what_is_kept():
    x, y = leaf(2), leaf(3, 2)
    drawing = mh.draw(mh.tanh(x * y).sum(), x=x, y=y)
    texts, tooltips = parsed(drawing)
    assert Counter(texts) == Counter(["sum", "()", "tanh", "(3, 2)", "multiply", "(3, 2)", "x", "(2,)", "y", "(3, 2)"])
    assert Counter(tooltips)["its gradient needs out"] == 1, "tanh keeps its result"
    assert {"its gradient needs x", "its gradient needs y"} <= set(tooltips)
    assert drawing._repr_svg_() == drawing.svg
    assert repr(drawing) == "<drawing of 3 ops and 2 leaves; .svg and .dot are its texts>"


def test_parameters_are_called_by_their_paths():
    model = mh.nn.MLPConfig((4, 3, 2)).init(rng=mh.Rng(0))
    x = mh.tensor(np.ones((5, 4), "f"))
    loss = mh.nn.cross_entropy(model(x), np.zeros(5, int))
    texts, _ = parsed(mh.draw(loss, model))
    assert set(model.named_params()) < set(texts)
    assert Counter(texts)["linear"] == 2 and "relu" in texts
    assert Counter(parsed(mh.draw(loss))[0])["parameter"] == 4, "without the model, what they are"


def test_what_leads_to_no_leaf_is_not_drawn():
    x = leaf(2)
    drawing = mh.draw(x * mh.exp(mh.tensor(np.ones(2))), x=x)
    assert [vertex.name for vertex in drawing.vertices] == ["multiply", "x"]


def test_a_value_used_twice_is_one_box_with_two_edges():
    x = leaf()
    y = x * x
    drawing = mh.draw(y + y, y=y)
    assert [vertex.name for vertex in drawing.vertices] == ["add", "y = multiply", "leaf"]
    assert [(edge.start, edge.end) for edge in drawing.edges] == [(1, 0), (1, 0), (2, 1), (2, 1)]
    curves = {line for line in drawing.svg.splitlines() if 'fill="none"' in line}
    assert len(curves) == 4, "two can be seen to be two"


def test_drawing_leaves_the_graph_as_it_is():
    x = leaf()
    y = x * x
    first = mh.draw(y).svg
    assert mh.draw(y).svg == first
    assert y.backward()[x].item() == 2


def test_a_consumed_graph_says_so():
    x = leaf()
    y = mh.exp(x)
    z = y * 2
    y.backward()
    with pytest.raises(
        RuntimeError, match=r"the graph below 'exp' was consumed .* Draw it before, or pass create_graph"
    ):
        mh.draw(z)


def test_a_result_without_a_graph_says_so():
    with pytest.raises(ValueError, match="draw: this tensor depends on nothing that requires a gradient"):
        mh.draw(mh.tensor(1.0) * 2)


def test_a_limit_leaves_something_to_draw():
    assert len(mh.draw(leaf() * 2, limit=1).vertices) == 2, "the result and what is cut"
    with pytest.raises(ValueError, match="limit is 0; expected"):
        mh.draw(leaf(), limit=0)


def test_a_leaf_is_drawn_alone():
    x = leaf(2)
    assert parsed(mh.draw(x, x=x))[0] == ["x", "(2,)"]


def test_of_a_large_graph_what_is_near_the_result_is_drawn():
    x = y = leaf()
    for _ in range(100):
        y = y * x
    drawing = mh.draw(y, limit=10, x=x)
    assert drawing.left_out == 91
    texts, _ = parsed(drawing)
    assert "91 more are not drawn" in texts and texts.count("...") == 1
    assert Counter(vertex.name for vertex in drawing.vertices) == {"multiply": 9, "x": 1, "...": 1}
    for edge in drawing.edges:
        assert max(edge.start, edge.end) < len(drawing.vertices)


def test_a_long_chain_needs_no_recursion():
    x = leaf()
    y = x
    for _ in range(20_000):
        y = -y
    assert mh.draw(y).left_out == 20_001 - 60


def test_a_checkpoint_is_drawn_with_what_it_computes_again():
    x = leaf()
    y = mh.checkpoint(lambda x: mh.exp(mh.sin(x)))(x)
    assert [vertex.name for vertex in mh.draw(y, x=x).vertices] == ["checkpoint", "exp", "sin", "x"]
    assert y.backward()[x].item() == pytest.approx(np.cos(1) * np.exp(np.sin(1)))


def test_names_are_escaped():
    x = leaf()
    drawing = mh.draw(mh.exp(x), **{'<b>"&\\': x})
    assert '<b>"&\\' in parsed(drawing)[0]
    assert 'label="<b>\\"&\\\\\\n()"' in drawing.dot


def test_boxes_are_within_the_picture():
    model = mh.nn.LSTMConfig(3, 4).init(mh.Rng(0))
    out, _ = model(mh.tensor(np.zeros((2, 3, 3), "f")))
    root = ElementTree.fromstring(mh.draw(out.sum(), model, limit=100).svg)
    wide, high = float(root.get("width")), float(root.get("height"))
    boxes = [[float(rect.get(key)) for key in ("x", "y", "width", "height")] for rect in root.iter(f"{SVG}rect")]
    assert len(boxes) > 50
    assert all(x >= 0 and y >= 0 and x + w <= wide and y + h <= high for x, y, w, h in boxes)
