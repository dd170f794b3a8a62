"""Draws of `mh.Rng` on the device: the place of a stream goes there as six words, and kernels make the bits.

The bits are the CPU's, whatever the device. Initial weights are drawn on the CPU and copied once; in a step there is
only dropout.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minihybrid.kernels.launch import along, launch
from minihybrid.rng import Rng

STREAM = 6  # words


def advance(stream: Any, rng: Rng, words: int) -> None:
    """Take a draw of `words` from rng; its place goes to `stream`, uint64 [6] there. Host work, in each step."""
    launch("random.cu", "set_stream", np.dtype(np.float32), (1,), (1,), stream, *map(np.uint64, rng.reserve(words)))


def uniform(out: Any, stream: Any, low: float, high: float) -> None:
    """`Rng.uniform(out.shape, low, high, out.dtype)`, to the bit; a draw of out.size words."""
    _draw("uniform", out.dtype, out, stream, float(low), float(high - low))


def normal(out: Any, stream: Any, mean: float, std: float) -> None:
    """`Rng.normal(out.shape, mean, std, out.dtype)`, but for the last bit; out.size words, and one more if odd."""
    _draw("normal", out.dtype, out, stream, float(mean), float(std))


def bernoulli(out: Any, stream: Any, p: float) -> None:
    """`Rng.bernoulli(out.shape, p)`, booleans; a draw of out.size words."""
    _draw("bernoulli", np.dtype(np.float32), out, stream, math.ceil(p * 2.0**53))


def dropout_factors(out: Any, stream: Any, p: float) -> None:
    """What dropout with probability p multiplies by: 0 or 1 / (1 - p); a draw of out.size words."""
    scale = 1 / (1 - p) if p < 1 else 1.0
    _draw("dropout_factors", out.dtype, out, stream, math.ceil((1 - p) * 2.0**53), scale)


def _draw(kernel: str, dtype: Any, out: Any, stream: Any, *numbers: float) -> None:
    if out.size:
        launch("random.cu", kernel, dtype, *along(out.size, 4), out, stream, out.size, *numbers)
