"""The public convolutions: options become windows, shapes are checked. What they compute is held to loops in naive.py.

The layers have tests of their own, beside PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.autodiff.ops import conv
from minihybrid.autodiff.ops.windows import Window
from tests import naive

RNG = np.random.default_rng(0)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"padding": "valid"},
    {"padding": "same"},
    {"dilation": 2},
    {"groups": 2},
    {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
]
TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 3, "output_padding": 2},
    {"padding": 1},
    {"dilation": 3, "output_padding": 2},
    {"groups": 2},
    {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2, "groups": 2},
]


def window(n: int, k: int, options: dict[str, Any], axes: int, out: int | None = None) -> Window:
    """The window by its definition, the same along each axis."""
    stride, dilation, padding = options.get("stride", 1), options.get("dilation", 1), options.get("padding", 0)
    span = dilation * (k - 1) + 1
    pair = {"valid": (0, 0), "same": ((span - 1) // 2, span // 2)}.get(padding) or (padding, padding)
    out = (n + sum(pair) - span) // stride + 1 if out is None else out
    return Window((n,) * axes, (k,) * axes, (stride,) * axes, (pair,) * axes, (dilation,) * axes, (out,) * axes)


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("k", [2, 3])
def test_a_convolution_is_its_definition(axes: int, k: int, options: dict[str, Any]) -> None:
    groups = options.get("groups", 1)
    x, weight = RNG.normal(size=(2, 4, *[7] * axes)), RNG.normal(size=(6, 4 // groups, *[k] * axes))
    bias = RNG.normal(size=6)
    function = getattr(mh, f"conv{axes}d")
    for b in (None, bias):
        expected = naive.conv(x, weight, b, window(7, k, options, axes), groups)
        np.testing.assert_allclose(function(x, weight, b, **options), expected, rtol=1e-12)
    np.testing.assert_allclose(function(x[0], weight, bias, **options), expected[0], rtol=1e-12)


@pytest.mark.parametrize("options", TRANSPOSED, ids=repr)
@pytest.mark.parametrize("axes", [1, 2])
def test_a_transposed_convolution_is_its_definition(axes: int, options: dict[str, Any]) -> None:
    groups, stride, dilation = (options.get(name, 1) for name in ("groups", "stride", "dilation"))
    n = 2 * stride - 2 * options.get("padding", 0) + dilation + 1 + options.get("output_padding", 0)
    y, weight = RNG.normal(size=(2, 4, *[3] * axes)), RNG.normal(size=(4, 3, *[2] * axes))
    bias = RNG.normal(size=3 * groups)
    function = getattr(mh, f"conv_transpose{axes}d")
    for b in (None, bias):
        expected = naive.conv_transpose(y, weight, b, window(n, 2, options, axes, out=3), groups)
        found = function(y, weight, b, **options)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(function(y[0], weight, bias, **options), expected[0], rtol=1e-12)


def test_batches_are_done_in_parts_that_fit_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = RNG.normal(size=(5, 2, 6, 6)), RNG.normal(size=(3, 2, 2, 2))
    whole, adjoint = mh.conv2d(x, weight), mh.conv_transpose2d(mh.conv2d(x, weight), weight)
    asked = []
    of = conv._parts
    monkeypatch.setattr(conv, "_parts", lambda *a: asked.append(list(of(*a))) or iter(asked[-1]))
    for most, parts in ((2 * 4 * 25 * 8, 5), (2 * 4 * 25 * 8 * 2, 3), (2**30, 1), (1, 5)):
        asked.clear()
        monkeypatch.setattr(conv, "_CACHE", most)
        np.testing.assert_array_equal(mh.conv2d(x, weight), whole)
        assert len(asked[0]) == parts and asked[0][0].start == 0
        np.testing.assert_allclose(mh.conv_transpose2d(whole, weight), adjoint, rtol=1e-12)


def array(*shape: int) -> Any:
    return np.ones(shape)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: mh.conv1d(array(1, 2, 5), array(3, 2)),
            r"conv1d: the weight has shape \(3, 2\); expected 3 axes that",
        ),
        (lambda: mh.conv2d(array(1, 2, 5, 5), array(3, 2, 0, 1)), r"expected 4 axes that are not empty, .*kh, kw"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 1, 2), groups=2), r"groups is 2; expected a positive integer"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 1, 2), groups=0), r"groups is 0; expected a positive integer"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 1, 2), groups=True), r"groups is True; expected"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 2, 2), array(2)), r"the bias has shape \(2,\); expected \(3,\)"),
        (lambda: mh.conv1d(array(1, 3, 5), array(3, 2, 2)), r"x has 3 channels, but the weight .* groups=1 takes 2"),
        (lambda: mh.conv1d(array(5), array(3, 2, 2)), r"x has shape \(5,\); expected \[n, channels, length\], or"),
        (lambda: mh.conv2d(array(1, 2, 0, 5), array(3, 2, 2, 2)), r"expected \[n, channels, height, width\], or"),
        (lambda: mh.conv1d(array(1, 2, 3), array(3, 2, 4)), r"spatial axis 0 the window spans 4 elements .* only 3"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 2, 2), stride=0), r"stride is 0; expected an integer, at least 1"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 2, 2), stride=2, padding="same"), "'same' needs stride 1"),
        (lambda: mh.conv1d(array(1, 2, 5), array(3, 2, 2), padding="full"), "padding is 'full'; expected integers, "),
        (lambda: mh.conv2d(array(1, 2, 5, 5), array(3, 2, 2, 2), padding=(1,)), "expected an integer or 2 of them"),
        (lambda: mh.conv_transpose1d(array(1, 3, 5), array(2, 3, 2)), "x has 3 channels, but the weight .* takes 2"),
        (
            lambda: mh.conv_transpose1d(array(1, 2, 5), array(2, 3, 2), stride=2, output_padding=2),
            "output_padding is 2; expected less than the stride, 2, or the dilation, 1",
        ),
        (
            lambda: mh.conv_transpose1d(array(1, 2, 1), array(2, 3, 2), padding=1),
            "an input of length 1 with kernel size 2, stride 1 and padding 1 gives a result of length 0",
        ),
        (
            lambda: mh.conv_transpose1d(array(1, 2, 5), array(2, 3, 2), array(2)),
            r"bias has shape \(2,\); expected \(3,",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_what_just_fits() -> None:
    assert mh.conv1d(array(1, 2, 4), array(3, 2, 4)).shape == (1, 3, 1)
    assert mh.conv_transpose1d(array(1, 2, 2), array(2, 3, 1), padding=0).shape == (1, 3, 2)
    assert mh.conv_transpose1d(array(1, 2, 2), array(2, 3, 2), padding=1).shape == (1, 3, 1)
    assert mh.conv_transpose1d(array(1, 2, 2), array(2, 3, 2), stride=2, output_padding=1).shape == (1, 3, 5)
