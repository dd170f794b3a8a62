"""How parameters begin. An initializer is data; called with a shape and a random stream, it makes an array.

Fans are what the layer says they are, so that one initializer serves weights of any layout: a linear layer's [in, out]
and a convolution's [out, in, ...].
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from minihybrid.config import Config, is_number
from minihybrid.rng import Rng


class Initializer(Protocol):
    """Makes the first values of a parameter."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """An array of a shape; fan_in and fan_out count the inputs and outputs that one weight connects."""


class Constant(Config):
    """Every element the same.

    >>> Constant(0.5)((2,), 1, 1, Rng(0))
    array([0.5, 0.5], dtype=float32)
    """

    value: float = 0.0

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return np.full(shape, self.value, dtype)


class Zeros(Config):
    """Every element 0.

    >>> Zeros()((2,), 1, 1, Rng(0))
    array([0., 0.], dtype=float32)
    """

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return np.zeros(shape, dtype)


class Ones(Config):
    """Every element 1.

    >>> Ones()((2,), 1, 1, Rng(0))
    array([1., 1.], dtype=float32)
    """

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return np.ones(shape, dtype)


class Uniform(Config):
    """Uniform in [low, high). Raises ValueError for bounds that are not finite or not in order.

    >>> Uniform(0.0, 0.1)((2, 3), 1, 1, Rng(0)).shape
    (2, 3)
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _require("Uniform", "low", self.low, -math.inf < self.low < math.inf, "a finite number")
        _require("Uniform", "high", self.high, self.low <= self.high < math.inf, f"a number from {self.low} on")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return rng.uniform(shape, self.low, self.high, dtype)


class Normal(Config):
    """Normal with a mean and a standard deviation >= 0.

    >>> Normal(std=0.02)((2, 3), 1, 1, Rng(0)).shape
    (2, 3)
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _require_normal("Normal", self.mean, self.std)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return rng.normal(shape, self.mean, self.std, dtype)


class TruncatedNormal(Config):
    """Normal with a mean and a standard deviation, drawn again where it falls outside [low, high].

    Raises ValueError for a standard deviation that is not positive, and for bounds that hold less than a hundredth of
    the distribution (it would be drawn again for ever).

    >>> bool(abs(TruncatedNormal(std=0.5, low=-0.5, high=0.5)((1000,), 1, 1, Rng(0))).max() <= 0.5)
    True
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -2.0
    high: float = 2.0

    def __post_init__(self) -> None:
        _require_normal("TruncatedNormal", self.mean, self.std)
        _require("TruncatedNormal", "std", self.std, self.std > 0, "a positive number")
        bounds = (self.low, self.high)
        known = all(is_number(bound) or bound in (-math.inf, math.inf) for bound in bounds)
        inside = self._below(self.high) - self._below(self.low) if known else 0.0
        _require("TruncatedNormal", "(low, high)", bounds, inside >= 0.01, "bounds that hold 1 % of the distribution")

    def _below(self, x: float) -> float:
        return (1 + math.erf((x - self.mean) / (self.std * math.sqrt(2)))) / 2

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        values = rng.normal(shape, self.mean, self.std, np.float64).reshape(-1)
        while (outside := np.flatnonzero((values < self.low) | (values > self.high))).size:
            values[outside] = rng.normal(outside.size, self.mean, self.std, np.float64)
        return values.reshape(shape).astype(dtype)


class KaimingUniform(Config):
    """Uniform with standard deviation gain / sqrt(fan) (He et al. 2015, equation 10 with gain sqrt 2).

    `mode` "fan_in" keeps the variance of activations, "fan_out" that of gradients (equation 14). The gain 1 / sqrt(3)
    gives [-1 / sqrt(fan_in), 1 / sqrt(fan_in)), the default of PyTorch's and Burn's linear layers.

    >>> KaimingUniform(calculate_gain("relu"), "fan_out")((3, 4), 3, 4, Rng(0)).shape
    (3, 4)
    """

    gain: float = 1 / math.sqrt(3)
    mode: str = "fan_in"

    def __post_init__(self) -> None:
        _require_gain("KaimingUniform", self.gain)
        _require_mode("KaimingUniform", self.mode)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        bound = self.gain * math.sqrt(3 / max(1, fan_in if self.mode == "fan_in" else fan_out))
        return rng.uniform(shape, -bound, bound, dtype)


class KaimingNormal(Config):
    """Normal with standard deviation gain / sqrt(fan) (He et al. 2015, equation 10; `mode` as in `KaimingUniform`).

    >>> KaimingNormal()((3, 4), 3, 4, Rng(0)).shape
    (3, 4)
    """

    gain: float = math.sqrt(2)
    mode: str = "fan_in"

    def __post_init__(self) -> None:
        _require_gain("KaimingNormal", self.gain)
        _require_mode("KaimingNormal", self.mode)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        fan = fan_in if self.mode == "fan_in" else fan_out
        return rng.normal(shape, 0.0, self.gain / math.sqrt(max(1, fan)), dtype)


class XavierUniform(Config):
    """Uniform with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16).

    >>> XavierUniform(calculate_gain("tanh"))((3, 4), 3, 4, Rng(0)).shape
    (3, 4)
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_gain("XavierUniform", self.gain)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        bound = self.gain * math.sqrt(6 / max(1, fan_in + fan_out))
        return rng.uniform(shape, -bound, bound, dtype)


class XavierNormal(Config):
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 12).

    >>> XavierNormal()((3, 4), 3, 4, Rng(0)).shape
    (3, 4)
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_gain("XavierNormal", self.gain)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        return rng.normal(shape, 0.0, self.gain * math.sqrt(2 / max(1, fan_in + fan_out)), dtype)


class Orthogonal(Config):
    """`gain` times a random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014, section 3).

    It is uniform over all such matrices. More than two axes count as a matrix: the first by all others. Raises
    ValueError for a shape of fewer than two axes.

    >>> w = Orthogonal()((2, 3), 2, 3, Rng(0), np.float64)
    >>> bool(np.allclose(w @ w.T, np.eye(2)))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_gain("Orthogonal", self.gain)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        _require("Orthogonal", "the shape", shape, len(shape) >= 2, "two axes or more")
        rows, columns = shape[0], math.prod(shape[1:])
        tall = rng.normal((max(rows, columns), min(rows, columns)), dtype=np.float64)
        q, r = np.linalg.qr(tall)
        q *= np.sign(np.diagonal(r))  # without it the signs are LAPACK's, and q is not uniform
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


class Eye(Config):
    """`gain` on the diagonal of a matrix, 0 elsewhere. Raises ValueError for a shape that is no matrix's.

    >>> Eye()((2, 3), 2, 3, Rng(0)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_gain("Eye", self.gain)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        _require("Eye", "the shape", shape, len(shape) == 2, "two axes")
        return self.gain * np.eye(*shape, dtype=dtype)


class Dirac(Config):
    """Weights [out, in, kernel...] of a convolution that hands its input channels on: 1 at the centre of each kernel.

    Channel i goes to channel i; with `groups`, within each group of output channels. Raises ValueError for a shape of
    fewer than three axes, and for `groups` that do not divide the output channels.

    >>> Dirac()((2, 2, 3), 6, 6, Rng(0)).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """

    groups: int = 1

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        _require("Dirac", "the shape", shape, len(shape) >= 3, "at least three axes, [out, in, kernel...]")
        divides = self.groups >= 1 and shape[0] % self.groups == 0
        _require("Dirac", "groups", self.groups, divides, f"a divisor of the {shape[0]} output channels")
        values, each = np.zeros(shape, dtype), shape[0] // self.groups
        centre = tuple(size // 2 for size in shape[2:])
        for channel in range(min(each, shape[1])):
            for out in range(channel, shape[0], each):
                values[(out, channel, *centre)] = 1
        return values


class Sparse(Config):
    """Normal, with the share `sparsity` in [0, 1] of each column set to 0 (Martens 2010, section 5).

    For a linear layer's weight [in, out], that leaves each unit few incoming weights. Raises ValueError for a shape
    that is no matrix's.

    >>> int((Sparse(0.9)((20, 3), 20, 3, Rng(0)) != 0).sum())
    6
    """

    sparsity: float
    std: float = 0.01

    def __post_init__(self) -> None:
        _require("Sparse", "sparsity", self.sparsity, 0 <= self.sparsity <= 1, "a number in [0, 1]")
        _require_normal("Sparse", 0.0, self.std)

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Rng, dtype: Any = np.float32) -> Any:
        """See `Initializer`."""
        _require("Sparse", "the shape", shape, len(shape) == 2, "two axes")
        values = rng.normal(shape, 0.0, self.std, dtype)
        zeros = math.ceil(self.sparsity * shape[0])
        for column in values.T:
            column[rng.permutation(shape[0])[:zeros]] = 0
        return values


_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}


def calculate_gain(activation: str, negative_slope: float = 0.01) -> float:
    """The gain that keeps the variance through an activation, in PyTorch's table.

    linear, sigmoid, tanh, relu, selu, or leaky_relu with its `negative_slope` (He et al. 2015, equation 15). Raises
    ValueError for another name.

    >>> calculate_gain("relu")
    1.4142135623730951
    """
    if activation == "leaky_relu":
        return math.sqrt(2 / (1 + negative_slope**2))
    if activation not in _GAINS:
        raise ValueError(f"calculate_gain: activation is {activation!r}; expected one of {[*_GAINS, 'leaky_relu']}.")
    return _GAINS[activation]


def _require(initializer: str, what: str, value: Any, condition: bool, expected: str) -> None:
    if not condition:
        raise ValueError(f"{initializer}: {what} is {value!r}; expected {expected}.")


def _require_normal(initializer: str, mean: float, std: float) -> None:
    _require(initializer, "mean", mean, is_number(mean), "a finite number")
    _require(initializer, "std", std, is_number(std) and std >= 0, "a finite number that is not negative")


def _require_gain(initializer: str, gain: float) -> None:
    _require(initializer, "gain", gain, is_number(gain) and gain >= 0, "a finite number that is not negative")


def _require_mode(initializer: str, mode: str) -> None:
    _require(initializer, "mode", mode, mode in ("fan_in", "fan_out"), "'fan_in' or 'fan_out'")
