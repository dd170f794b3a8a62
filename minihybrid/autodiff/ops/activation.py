"""Activation functions: what a layer does to single numbers after its affine map."""

from __future__ import annotations

from typing import Any

import numpy as np

from minihybrid import kernels
from minihybrid.autodiff.fusible import Fusible, fusible
from minihybrid.autodiff.op import Op, op
from minihybrid.autodiff.operands import as_operands, require_axis
from minihybrid.autodiff.ops.compare import greater, less, logical_and
from minihybrid.autodiff.ops.elementwise import absolute, exp, square, tanh, where
from minihybrid.autodiff.ops.join import split
from minihybrid.autodiff.ops.shape import reshape
from minihybrid.autodiff.ops.special import erf
from minihybrid.autodiff.trace import opaque_call


@op(x=lambda g, out: g * out * (1 - out))
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x), computed through tanh, which overflows nowhere.

    Far below 0 its digits are those of a number near 1/2, for twice the speed; exp(logsigmoid(x)) has them all.
    """
    out = np.tanh(x * 0.5)
    out *= 0.5
    out += 0.5
    return out


@op(x=lambda g, x, beta: g * sigmoid(x * beta))
def softplus(x: Any, beta: float = 1.0) -> Any:
    """log(1 + e^(beta x)) / beta, exact far from 0 on both sides (np.logaddexp would do, but is not vectorised)."""
    if beta != 1:
        return softplus(x * beta) / beta
    return np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))


@op(x=lambda g, x: g * sigmoid(-x))
def logsigmoid(x: Any) -> Any:
    """The logarithm of the sigmoid, -softplus(-x)."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.absolute(x)))


@op(x=lambda g, out: g * greater(out, 0))
def relu(x: Any) -> Any:
    """x where it is positive, else 0; the gradient at 0 is 0."""
    return np.maximum(x, 0)


def _in_one_launch(activation: Op) -> Fusible:
    """The gradient of relu, tanh or sigmoid as it stands in its formula, and as a kernel."""
    formula = fusible(activation.formulas["x"].function)

    @formula.kernel
    def _(g: Any, out: Any) -> Any:
        if not kernels.fits(g, out):
            return NotImplemented
        dx = np.empty_like(out, order="C")
        arrays = dx, kernels.contiguous(g), kernels.contiguous(out)
        opaque_call(kernels.activation_gradient, *arrays, activation.__name__)
        return dx

    return formula


for _activation in (relu, tanh, sigmoid):
    _activation.fast(x=_in_one_launch(_activation))


@op(x=lambda g, x, negative_slope: where(greater(x, 0), g, g * negative_slope))
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where it is positive, else x * negative_slope (Maas, Hannun and Ng 2013, equation 2)."""
    return np.maximum(x, 0) + np.minimum(x, 0) * negative_slope


@op(x=lambda g, out, x, alpha: g * where(greater(x, 0), 1, out + alpha))
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else alpha * (e^x - 1) (Clevert, Unterthiner and Hochreiter 2016, equation 15)."""
    return np.maximum(x, 0) + np.expm1(np.minimum(x, 0)) * alpha


@op(x=lambda g, out, x, alpha: g * where(greater(x, 0), 1, out / alpha + 1))
def celu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else alpha * (e^(x / alpha) - 1): its slope has no jump (Barron 2017, equation 2)."""
    return np.maximum(x, 0) + np.expm1(np.minimum(x, 0) / alpha) * alpha


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


@op(x=lambda g, out, x: g * where(greater(x, 0), SELU_SCALE, out + SELU_SCALE * SELU_ALPHA))
def selu(x: Any) -> Any:
    """elu, scaled so that mean 0 and variance 1 are preserved (Klambauer et al. 2017, equation 2)."""
    return (np.maximum(x, 0) + np.expm1(np.minimum(x, 0)) * SELU_ALPHA) * SELU_SCALE


_SLOPE = 0.7978845608028654  # sqrt(2 / pi), the slope of 2 * Phi at 0


def _phi(x: Any, approximate: str) -> Any:
    """The normal distribution function Phi, or the tanh that stands in for it."""
    if approximate == "none":
        return erf(x * 0.7071067811865476) * 0.5 + 0.5
    if approximate == "tanh":
        return tanh(_SLOPE * (x + 0.044715 * x * x * x)) * 0.5 + 0.5
    raise ValueError(f"approximate is {approximate!r}; expected 'none' or 'tanh'")


def _gelu_x(g: Any, x: Any, approximate: str, phi: Any) -> Any:
    if approximate == "none":
        density = exp(x * x * -0.5) * (0.5 * _SLOPE)
    else:
        density = phi * (1 - phi) * (2 * _SLOPE) * (1 + 0.134145 * x * x)
    return g * (phi + x * density)


@op(x=lambda g, x, approximate: _gelu_x(g, x, approximate, _phi(x, approximate)), saves=("phi",))
def gelu(x: Any, approximate: str = "none") -> Any:
    """The Gaussian error linear unit x * Phi(x) (Hendrycks and Gimpel 2016, section 2), or its "tanh" approximation."""
    phi = _phi(x, approximate)
    return x * phi, phi


gelu.fast(x=_gelu_x)


@op(x=lambda g, out, x: g * (out + sigmoid(x) * (1 - out)))
def silu(x: Any) -> Any:
    """x * sigmoid(x), also called swish (Elfwing, Uchibe and Doya 2018, equation 8)."""
    return x * sigmoid(x)


def _mish_x(g: Any, x: Any) -> Any:
    gate = tanh(softplus(x))
    return g * (gate + x * sigmoid(x) * (1 - square(gate)))


@op(x=_mish_x)
def mish(x: Any) -> Any:
    """x * tanh(softplus(x)) (Misra 2020, equation 1)."""
    return x * np.tanh(softplus(x))


def _between(x: Any, low: float, high: float) -> Any:
    return logical_and(greater(x, low), less(x, high))


@op(x=lambda g, x, min, max: g * _between(x, min, max))
def hardtanh(x: Any, min: float = -1.0, max: float = 1.0) -> Any:
    """x limited to [min, max]; unlike that of clip, the gradient on a bound is 0."""
    return np.clip(x, min, max)


@op(x=lambda g, x: g * _between(x, -3, 3) / 6)
def hardsigmoid(x: Any) -> Any:
    """x / 6 + 1 / 2, limited to [0, 1] (Howard et al. 2019, section 5.2); the gradient at -3 and 3 is 0."""
    return np.clip(x / 6 + 0.5, 0, 1)


@op(x=lambda g, x: g * (hardsigmoid(x) + x * _between(x, -3, 3) / 6))
def hardswish(x: Any) -> Any:
    """x * hardsigmoid(x) (Howard et al. 2019, section 5.2)."""
    return x * np.clip(x / 6 + 0.5, 0, 1)


@op(x=lambda g, x: g / square(absolute(x) + 1))
def softsign(x: Any) -> Any:
    """x / (1 + |x|) (Bergstra et al. 2009)."""
    return x / (np.absolute(x) + 1)


@op(x=lambda g, x: g * square(tanh(x)))
def tanhshrink(x: Any) -> Any:
    """x - tanh(x)."""
    return x - np.tanh(x)


@op(x=lambda g, x, lambd: g * greater(absolute(x), lambd))
def hardshrink(x: Any, lambd: float = 0.5) -> Any:
    """x where |x| exceeds lambd, else 0 (Donoho and Johnstone 1994, equation 5)."""
    return np.where(np.absolute(x) <= lambd, 0, x)


@op(x=lambda g, x, lambd: g * greater(absolute(x), lambd))
def softshrink(x: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 where |x| is less (Donoho and Johnstone 1994, equation 6)."""
    return x - np.clip(x, -lambd, lambd)


# With a parameter, or with gates


@op(x=lambda g, x, weight: where(greater(x, 0), g, g * weight), weight=lambda g, x: where(greater(x, 0), 0, g * x))
def _prelu(x: Any, weight: Any) -> Any:
    return np.where(x > 0, x, x * weight)


def prelu(x: Any, weight: Any) -> Any:
    """x where it is positive, else x * weight, which is learnt (He et al. 2015, equation 1).

    `weight` is one number, or one for each channel: [c] for x [n, c, ...]. Any other shape broadcasts.

    >>> import minihybrid as mh
    >>> mh.prelu(mh.tensor([[-2.0, -2.0, 3.0]]), mh.tensor([0.5, 0.25, 0.5])).tolist()
    [[-1.0, -0.5, 3.0]]
    """
    x, weight = as_operands("prelu", x, weight)
    if weight.size == 1:
        weight = reshape(weight, ())
    elif weight.ndim == 1 and x.ndim > 2:
        weight = reshape(weight, (-1, *(1 for _ in x.shape[2:])))
    return _prelu(x, weight)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half of x along an axis, times the sigmoid of the second (Dauphin et al. 2017, equation 1).

    Raises ValueError for an axis of odd length.

    >>> import minihybrid as mh
    >>> mh.glu(mh.tensor([3.0, 4.0, 0.0, 0.0])).tolist()
    [1.5, 2.0]
    """
    (x,) = as_operands("glu", x)
    axis = require_axis("glu", axis, x)
    if x.shape[axis] % 2:
        raise ValueError(f"glu: axis {axis} of x {x.shape} does not divide into two halves.")
    value, gate = split(x, 2, axis)
    return value * sigmoid(gate)
