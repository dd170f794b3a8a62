"""What users write becomes a window, padded no further than its last position reaches."""

import numpy as np
import pytest

from minihybrid.autodiff.ops.windows import each_axis, on_batch, padding_pairs, window_over


@pytest.mark.parametrize(
    ("n", "size", "stride", "padding", "dilation", "ceil_mode", "pair", "out"),
    [
        (5, 2, 2, 0, 1, False, (0, 0), 2),
        (5, 2, 2, 0, 1, True, (0, 1), 3),
        (5, 3, 2, 1, 1, True, (1, 1), 3),
        (6, 3, 2, 1, 1, True, (1, 2), 4),
        (6, 2, 3, 0, 1, True, (0, 0), 2),  # a third position would see nothing
        (7, 2, 1, 0, 3, False, (0, 0), 4),
        (3, 3, 1, "same", 1, False, (1, 1), 3),
        (3, 2, 1, "same", 1, False, (0, 1), 3),
        (3, 3, 1, "valid", 1, False, (0, 0), 1),
    ],
)
def test_a_window_over_a_line(n, size, stride, padding, dilation, ceil_mode, pair, out):
    window = window_over("f", (n,), size, stride, padding, dilation, ceil_mode)
    assert (window.padding, window.out) == ((pair,), (out,))
    assert (window.spatial, window.size, window.stride, window.dilation) == ((n,), (size,), (stride,), (dilation,))


def test_numbers_go_for_all_axes_or_for_each():
    assert each_axis("f", "stride", 2, 3, 1) == (2, 2, 2) and each_axis("f", "stride", [1, np.int64(2)], 2, 1) == (1, 2)
    for value in (0, True, 1.0, "1", (1,), (1, 2, 3), (1, 0)):
        with pytest.raises(ValueError, match=r"f: stride is .*; expected an integer or 2 of them, at least 1"):
            each_axis("f", "stride", value, 2, 1)
    assert padding_pairs("f", (1, 2), (3, 3), (1, 1), (1, 1)) == ((1, 1), (2, 2))


def test_a_sample_without_a_batch_is_given_one_for_the_while():
    seen = []
    for shape in ((2, 3), (4, 2, 3)):
        found = on_batch("f", 1, np.ones(shape), lambda x: seen.append(x.shape) or x)
        assert found.shape == shape
    assert seen == [(1, 2, 3), (4, 2, 3)]
    for shape in ((3,), (1, 4, 2, 3), (4, 0, 3), (4, 2, 0)):
        with pytest.raises(ValueError, match=r"f: x has shape .*; expected \[n, channels, length\]"):
            on_batch("f", 1, np.ones(shape), lambda x: x)
