"""Charts: what is drawn is where the numbers are."""

import json
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from minihybrid.report.chart import HIGH, MOST, WIDE, Chart, Series, _Axis, _thinned


def parts(chart):
    html = chart.html()
    svg = ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])
    numbers = json.loads(re.search(r'<script type="application/json">(.*)</script>', html)[1])
    return html, svg, numbers


def test_a_line_goes_through_its_points():
    chart = Chart("Loss", "step", [Series("a", "run-0", [(0, 1.0), (5, 3.0), (10, 2.0)])])
    html, svg, numbers = parts(chart)
    (line,) = (path for path in svg.iter("path") if path.get("class") == "line run-0")
    places = [tuple(map(float, point.split())) for point in line.get("d")[1:].split("L")]
    assert [x for x, _ in places] == [0, WIDE / 2, WIDE]
    heights = [y for _, y in places]
    assert min(heights) == heights[1] and max(heights) == heights[0] and (heights[0] + heights[1]) / 2 == heights[2]
    assert all(0 < y < HIGH for y in heights)
    assert numbers["series"] == [{"label": "a", "x": [0, 5, 10], "y": [1, 3, 2], "notes": [], "exact": False}]
    assert (numbers["low"], numbers["high"]) == (0, 10)
    assert ">Loss</figcaption>" in html


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    chart = Chart("Loss", "step", [Series("a", "run-0", [(0, 0.01), (1, 0.1), (2, 1.0)])], log=True)
    _, svg, _ = parts(chart)
    (line,) = (path for path in svg.iter("path") if path.get("class") == "line run-0")
    first, second, third = (float(point.split()[1]) for point in line.get("d")[1:].split("L"))
    assert first - second == pytest.approx(second - third, abs=0.2)


def test_what_cannot_be_drawn_is_left_out_with_its_note():
    points = [(0, math.nan), (1, 1.0), (2, -1.0), (3, math.inf), (4, 2.0)]
    _, _, numbers = parts(Chart("Loss", "step", [Series("a", "run-0", points, "dots", "vwxyz")], log=True))
    (series,) = numbers["series"]
    assert (series["x"], series["notes"]) == ([1, 4], ["w", "z"])
    assert Chart("Loss", "step", [Series("a", "run-0", points[2:4])], log=True).html() == ""
    assert Chart("Loss", "step", []).html() == ""


def test_phases_are_shaded_where_they_were():
    phases = ["warmup"] * 5 + ["full"] * 4 + ["predict"]
    _, svg, numbers = parts(Chart("Loss", "step", [Series("a", "run-0", [(0, 1), (9, 2)])], phases=phases))
    bands = [(rect.get("class"), float(rect.get("x")), float(rect.get("width"))) for rect in svg.iter("rect")]
    assert bands == [("is-warmup", 0, 500), ("is-full", 500, 400), ("is-predict", 900, 100)]
    assert numbers["phases"] == [["warmup", 0, 5], ["full", 5, 9], ["predict", 9, 10]]


def test_a_single_step_among_many_is_wide_enough_to_be_seen():
    phases = ["full"] * 5000 + ["predict"] + ["full"] * 5000
    _, svg, _ = parts(Chart("Loss", "step", [Series("a", "run-0", [(0, 1), (9, 2)])], phases=phases))
    before, single, after = svg.iter("rect")
    assert float(single.get("width")) >= 2 and single.get("class") == "is-predict narrow"
    assert before.get("class") == after.get("class") == "is-full"


def test_text_that_is_no_text():
    nasty = '</script><img src=x onerror="alert(1)">&'
    chart = Chart(nasty, nasty, [Series(nasty, "run-0", [(0, 1), (1, 2)], notes=[nasty] * 2)], phases=[nasty])
    html, _, numbers = parts(chart)
    assert "<img" not in html and html.count("</script>") == 1
    assert numbers["series"][0]["label"] == nasty == numbers["series"][0]["notes"][0] == numbers["phases"][0][0]


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=5))
def test_ticks_are_few_and_on_the_axis(values):
    axis = _Axis.around(values)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 7 or axis.high - axis.low < 1e-9 * max(map(abs, values))
    assert all(-1e-6 <= place <= 1 + 1e-6 for place, _ in ticks)


@given(st.lists(st.floats(1e-30, 1e30), min_size=1, max_size=5))
def test_logarithmic_ticks_are_few_and_on_the_axis(values):
    axis = _Axis.around(values, log=True, margin=0.05)
    ticks = axis.ticks()
    assert len(ticks) <= 14
    assert all(-1e-6 <= place <= 1 + 1e-6 for place, _ in ticks)
    if axis.high - axis.low > 0.4:
        assert len(ticks) >= 2


def test_ticks_are_round():
    assert [text for _, text in _Axis(0, 1500).ticks()] == ["0", "500", "1,000", "1,500"]
    assert [text for _, text in _Axis(0.93, 0.99).ticks(percent=True)][:2] == ["94 %", "96 %"]
    assert [text for _, text in _Axis(-3, 0, log=True).ticks()] == ["0.001", "0.01", "0.1", "1"]


@given(st.integers(1, 20_000))
def test_thinning_keeps_order_and_peaks(count):
    points = [(float(i), math.sin(i * i)) for i in range(count)]
    kept = _thinned(points)
    assert list(kept) == sorted(set(kept)) and set(kept) <= set(points)
    assert len(kept) <= MOST + 2
    assert max(y for _, y in kept) == max(y for _, y in points)
