"""Arrays for kernels: their shapes lie around the sizes of warps, tiles and blocks, with no memory beside them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.cuda.emulator import guarded

DTYPES = st.sampled_from([np.float32, np.float64])
LENGTHS = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 255, 256, 257, 1023, 1025]))
SEEDS = st.integers(0, 2**32 - 1)


def normal(seed: int, shape: Any, dtype: Any, misaligned: int = 0) -> np.ndarray:
    return guarded(np.random.default_rng(seed).normal(size=shape).astype(dtype), misaligned)


def empty(shape: Any, dtype: Any, misaligned: int = 0) -> np.ndarray:
    """Memory that holds NaN, or in integers 99, until it is written."""
    array = guarded(np.zeros(shape, dtype), misaligned)
    array[...] = np.nan if array.dtype.kind == "f" else 99
    return array


def close(dtype: Any, n: int = 1) -> dict[str, float]:
    """How far sums of n numbers of size 1 may differ, when they are added in another order."""
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 16 * eps, "atol": 4 * eps * max(1, n) ** 0.5 + 8 * eps}
