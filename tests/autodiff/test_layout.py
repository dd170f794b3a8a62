"""Graphs in layers: nothing overlaps, every edge leads down, and places are as near to those wanted as can be."""

from itertools import pairwise

import numpy as np
from hypothesis import given, strategies as st

from minihybrid.autodiff.layout import _apart, _crossings, layered


@st.composite
def graphs(draw):
    count = draw(st.integers(2, 12))
    widths = draw(st.lists(st.floats(1, 50), min_size=count, max_size=count))
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = draw(st.lists(ends.filter(lambda ends: ends[0] < ends[1]), max_size=20))
    return widths, edges


@given(graphs())
def test_nothing_overlaps_and_every_edge_leads_down(graph):
    widths, edges = graph
    layout = layered(widths, edges, gap=5)
    assert layout == layered(widths, edges, gap=5)
    for layer in set(layout.layers):
        row = sorted((layout.x[i], widths[i]) for i, at in enumerate(layout.layers) if at == layer)
        for (x, width), (next_x, next_width) in pairwise(row):
            assert next_x - x >= (width + next_width) / 2 + 5 - 1e-6
    assert min(x - width / 2 for x, width in zip(layout.x, widths, strict=True)) > -1e-6
    for (start, end), way in zip(edges, layout.edges, strict=True):
        assert [layer for _, layer in way] == list(range(layout.layers[start], layout.layers[end] + 1))
        assert (way[0][0], way[-1][0]) == (layout.x[start], layout.x[end])


def test_what_is_used_late_stands_beside_its_use():
    chain = [(0, 1), (1, 2), (2, 3), (4, 3)]
    assert layered([10] * 5, chain, gap=5).layers == [0, 1, 2, 3, 2]


def test_crossings_are_counted_and_avoided():
    below = [[3, 4], [2], [], [], []]
    assert _crossings([[0, 1], [2, 3, 4]], below) == 2
    layout = layered([10] * 5, [(0, 3), (0, 4), (1, 2)], gap=5)
    left, right = (0, 1) if layout.x[0] < layout.x[1] else (1, 0)
    ends = {0: (3, 4), 1: (2,)}
    assert max(layout.x[i] for i in ends[left]) < min(layout.x[i] for i in ends[right])


def test_a_chain_is_a_straight_line():
    layout = layered([10, 30, 20], [(0, 1), (1, 2)], gap=5)
    assert layout.x == [15, 15, 15]


def test_an_edge_past_a_box_goes_around_it():
    layout = layered([40, 40, 40], [(0, 1), (1, 2), (0, 2)], gap=5)
    (_, (x, _), _) = layout.edges[2]
    assert abs(x - layout.x[1]) >= 20 + 5 - 1e-6


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(1, 20)), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_no_other_places_are_nearer_to_those_wanted(points, seed):
    wanted, widths = (list(column) for column in zip(*points, strict=True))
    places = _apart(wanted, widths, gap=3)
    least = [(one + other) / 2 + 3 for one, other in pairwise(widths)]
    assert (np.diff(places) >= np.array(least) - 1e-9).all()
    cost = np.square(np.subtract(places, wanted)).sum()
    rng = np.random.default_rng(seed)
    for scale in (0.1, 1, 10):
        room = np.maximum(np.diff(places) + rng.normal(0, scale, len(least)), least)
        others = np.cumsum([places[0] + rng.normal(0, scale), *room])
        assert np.square(others - wanted).sum() >= cost - 1e-6


def test_a_single_vertex():
    assert layered([10], [], gap=5) == layered([10], [], gap=9)
