"""Pictures: a style that everybody can read on any page, and helpers that draw what they are given."""

import itertools

import numpy as np
import pytest

from minihybrid import plot

LIGHT, DARK = "#ffffff", "#131416"

# Machado, Oliveira and Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision Deficiency":
# what linear RGB looks like to people who lack one of the three kinds of cones.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """As the Web Content Accessibility Guidelines define it."""
    darker, lighter = sorted(float(XYZ[1] @ linear(colour)) + 0.05 for colour in (one, other))
    return lighter / darker


def lab(colour, vision):
    xyz = XYZ @ np.clip(vision @ linear(colour), 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("page", [LIGHT, DARK])
def test_colours_stand_out_from_the_page(page):
    assert contrast(plot.INK, page) > 4
    for colour in (*plot.COLOURS, *plot.PHASE_COLOURS.values(), plot.ROLLED_BACK):
        assert contrast(colour, page) >= 3, colour


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_can_be_told_apart(vision):
    for one, other in itertools.combinations(plot.COLOURS, 2):
        difference = np.linalg.norm(lab(one, VISIONS[vision]) - lab(other, VISIONS[vision]))
        assert difference > 15, (one, other)


@pytest.fixture
def axes():
    figures = pytest.importorskip("matplotlib.figure")
    with pytest.importorskip("matplotlib.style").context(plot.STYLE):
        yield figures.Figure().subplots()


def test_a_learning_curve_shows_the_losses_their_mean_and_the_phases(axes):
    plot.learning_curve(axes, [2.0, 1.0, 4.0], phases=["warmup", "full", "full"], keep=0.5, label="SGD")
    mean, raw = axes.lines
    assert list(raw.get_ydata()) == [2.0, 1.0, 4.0] and mean.get_color() == raw.get_color()
    np.testing.assert_allclose(mean.get_ydata(), plot.smooth([2.0, 1.0, 4.0], 0.5))
    assert [(band.get_x(), band.get_width()) for band in axes.patches] == [(0, 1), (1, 2)]
    assert [text.get_text() for text in axes.get_legend().texts] == ["warmup", "full", "SGD"]


def test_curves_take_the_colours_one_after_the_other(axes):
    for _ in range(5):
        plot.learning_curve(axes, [2.0, 1.0])
    lines = [(line.get_color(), line.get_linestyle()) for line in axes.lines[::2]]
    assert lines == [*((colour, "-") for colour in plot.COLOURS), (plot.COLOURS[0], "--")]


def test_exact_losses_are_drawn_alone_where_they_were_measured(axes):
    plot.learning_curve(axes, [2.0, 1.0], steps=[0, 50], keep=0)
    (line,) = axes.lines
    assert list(line.get_xdata()) == [0, 50] and axes.get_legend() is None


def test_ticks_of_losses_are_plain_numbers(axes):
    def labels(losses):
        plot.learning_curve(axes, losses, keep=0)
        axes.set_ylim(min(losses), max(losses))
        axes.figure.draw_without_rendering()
        return {tick.get_text() for tick in axes.get_yticklabels(which="both") if tick.get_text()}

    assert {"0.2", "0.5", "1", "2"} <= labels([0.15, 3.0])
    assert {"0.001", "1"} <= labels([0.0001, 10.0]) and "0.5" not in labels([0.0001, 10.0])


def test_a_phase_too_short_for_a_band_is_a_line(axes):
    plot.phase_bands(axes, ["full"] * 300 + ["predict"] + ["full"] * 300)
    assert [band.get_linewidth() for band in axes.patches] == [0, 0.8, 0]


def test_what_is_not_finite_is_left_out_of_the_mean():
    assert plot.smooth([float("inf"), 3.0, float("nan"), 0.0], keep=0.5)[1:] == [3.0, 3.0, 1.0]


def test_a_contour_calls_the_function_once_and_a_path_ends_where_it_ends(axes):
    calls = []

    def bowl(x, y):
        calls.append(x.shape)
        return x * x + 10 * y * y

    plot.contour(axes, bowl, (-2, 2), (-1, 1), levels=5, resolution=20)
    assert calls == [(20, 20)] and axes.get_xlim() == (-2, 2)
    (lines,) = axes.collections
    assert len(lines.get_paths()) == 5
    plot.path(axes, [(2, 1), (1, 0), (0, 0)], label="descent")
    walk, start, end = axes.lines
    assert walk.get_xydata().tolist() == [[2, 1], [1, 0], [0, 0]]
    assert start.get_xydata().tolist() == [[2, 1]] and end.get_xydata().tolist() == [[0, 0]]


def test_images_stand_in_rows_with_their_titles(axes):
    plot.images(axes, np.arange(5 * 64).reshape(5, 64), titles="abcde", columns=2)
    corners = [image.get_extent()[::3] for image in axes.images]
    assert len({x for x, _ in corners}) == 2 and len({y for _, y in corners}) == 3
    assert [text.get_text() for text in axes.texts] == list("abcde")
    assert {image.get_clim() for image in axes.images} == {(0, 319)}, "one scale for all"


def test_pixels_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match="rows of 63 pixels are no square"):
        plot.images(None, np.zeros((2, 63)))


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_picture_is_the_same_file(tmp_path, axes, kind):
    axes.plot([1, 2], label="a")
    axes.legend()
    for name in ("one", "two"):
        plot.save(axes.figure, tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
