"""The public poolings, by their definitions, and what they refuse. The layers have tests beside PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minihybrid as mh

RNG = np.random.default_rng(0)


def starts(n: int, k: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[int]:
    """Where the windows start along an axis; one that ceil_mode adds and that begins beyond the input is left out."""
    room = n + 2 * padding - dilation * (k - 1) - 1
    count = (math.ceil if ceil_mode else math.floor)(room / stride) + 1
    return [s for i in range(count) if (s := i * stride - padding) < n or not ceil_mode]


def pooled(x: Any, k: int, kind: str, stride: int | None = None, padding: int = 0, dilation: int = 1,
           ceil_mode: bool = False, count_include_pad: bool = True) -> Any:  # fmt: skip
    """One axis at a time is enough: x [length]."""
    found = []
    for start in starts(len(x), k, k if stride is None else stride, padding, dilation, ceil_mode):
        places = [start + i * dilation for i in range(k)]
        inside = [x[p] for p in places if 0 <= p < len(x)]
        counted = sum(-padding <= p < len(x) + padding for p in places) if count_include_pad else len(inside)
        found.append(max(inside) if kind == "max" else sum(inside) / counted)
    return np.array(found)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 1},
    {"stride": 3},
    {"padding": 1},
    {"stride": 2, "ceil_mode": True},
    {"stride": 3, "padding": 1, "ceil_mode": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("n", [6, 7, 8])
def test_pooling_along_an_axis_is_its_definition(options: dict[str, Any], n: int) -> None:
    x = RNG.normal(size=(2, 3, n))
    for k in (2, 3):
        for more in ({}, {"count_include_pad": False}):
            expected = np.apply_along_axis(pooled, -1, x, k, "mean", **options, **more)
            np.testing.assert_allclose(mh.avg_pool1d(x, k, **options, **more), expected)
        for more in ({}, {"dilation": 2}):
            expected = np.apply_along_axis(pooled, -1, x, k, "max", **options, **more)
            np.testing.assert_array_equal(mh.max_pool1d(x, k, **options, **more), expected)
            np.testing.assert_array_equal(mh.max_pool1d(x[0], k, **options, **more), expected[0])


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_pooling_of_images_is_pooling_along_both_axes(options: dict[str, Any]) -> None:
    x = RNG.normal(size=(2, 3, 7, 8))
    for function, kind in ((mh.max_pool2d, "max"), (mh.avg_pool2d, "mean")):
        expected = x
        for axis, k in ((2, 3), (3, 2)):
            expected = np.apply_along_axis(pooled, axis, expected, k, kind, **options)
        np.testing.assert_allclose(function(x, (3, 2), **options), expected)
        np.testing.assert_allclose(function(x[1], (3, 2), **options), expected[1])


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("out", [1, 2, 3, 7])
def test_adaptive_pooling_is_its_definition(n: int, out: int) -> None:
    x = RNG.normal(size=(2, 3, n))
    parts = [x[..., i * n // out : math.ceil((i + 1) * n / out)] for i in range(out)]
    np.testing.assert_allclose(mh.adaptive_avg_pool1d(x, out), np.stack([p.mean(-1) for p in parts], -1))
    np.testing.assert_array_equal(mh.adaptive_max_pool1d(x, out), np.stack([p.max(-1) for p in parts], -1))


def test_adaptive_pooling_of_images() -> None:
    x = RNG.normal(size=(2, 3, 6, 5))
    for two, one in (
        (mh.adaptive_avg_pool2d, mh.adaptive_avg_pool1d),
        (mh.adaptive_max_pool2d, mh.adaptive_max_pool1d),
    ):
        rows = one(x.reshape(2, 18, 5), 2).reshape(2, 3, 6, 2)
        expected = one(rows.swapaxes(2, 3).reshape(2, 6, 6), 4).reshape(2, 3, 2, 4).swapaxes(2, 3)
        np.testing.assert_allclose(two(x, (4, 2)), expected)
        np.testing.assert_allclose(two(x, (None, 2)), rows)
        np.testing.assert_allclose(two(x, [4, 2])[0], two(x[0], [4, 2]))
        assert two(x, 3).shape == (2, 3, 3, 3)


def test_equal_maxima_share_or_the_first_wins() -> None:
    x = mh.tensor([[[1.0, 1.0, 0.0]]], requires_grad=True)
    assert mh.max_pool1d(x, 3).sum().backward()[x].tolist() == [[[1.0, 0.0, 0.0]]]
    assert mh.adaptive_max_pool1d(x, 1).sum().backward()[x].tolist() == [[[0.5, 0.5, 0.0]]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: mh.max_pool1d(x, 0), "max_pool1d: kernel_size is 0; expected an integer, at least 1"),
        (lambda x: mh.max_pool1d(x, 2, padding=2), r"padding is 2; expected at most half of kernel_size, \(2,\)"),
        (lambda x: mh.max_pool1d(x, 2, stride=0), "stride is 0; expected"),
        (lambda x: mh.max_pool1d(x, 2, dilation=5), "the window spans 6 elements .* but the input only 4"),
        (lambda x: mh.avg_pool1d(x, 5), "the window spans 5 elements"),
        (lambda x: mh.adaptive_avg_pool1d(x, 0), "output_size is .*; expected an integer, at least 1"),
        (lambda x: mh.adaptive_avg_pool1d(x, (1, 2)), r"output_size is \(1, 2\); expected"),
        (lambda x: mh.max_pool2d(x[0], 1), r"expected \[n, channels, height, width\], or \[channels, height, width\]"),
    ],
)
def test_what_does_not_fit_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call(np.ones((1, 2, 4)))
