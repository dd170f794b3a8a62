"""How every op of the registry is called in tests. An elementwise function of any reals needs no line here.

    "log": Samples(on=positive)                      the domain of each operand; the last one goes for all that follow
    "relu": Samples(numpy=lambda x: ...)             the reference, where NumPy has no function of the op's name
    "clip": Samples(each(min=-1.0, max=1.0))         operands of mutually broadcastable shapes, and settings
    "sum": Samples(over_axes())                      one operand of any shape, reduced over any of its axes
    "reshape": Samples(call((2, 3), shape=(3, 2)))   written out: a tuple in the operands' places is an operand's shape
    "absolute": Samples(complex_step=False)          differentiated by central differences: on complex arrays the
                                                     forward function means something else

From one such line `test_ops_properties.py` makes all tests of the op. Each operand comes in several memory layouts, and
the float values of one call are all different, so that maxima have no ties; ties and kinks have their own tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from minihybrid.autodiff.op import Op, registry
from minihybrid.autodiff.ops.windows import Window, window_over
from minihybrid.autodiff.tensor import Tensor
from tests import naive

# What an operand may hold


@dataclass(frozen=True)
class Interval:
    """Floats between pairs of bounds."""

    bounds: tuple[tuple[float, float], ...]

    def at(self, u: Any, dtype: Any) -> Any:
        """The values at fractions u of the total length."""
        lows, highs = np.array(self.bounds).T
        ends = np.cumsum(highs - lows)
        place = u * ends[-1]
        piece = np.searchsorted(ends, place, side="right")
        return (highs[piece] - (ends[piece] - place)).astype(dtype)


@dataclass(frozen=True)
class Choice:
    """One of some values; floats take the dtype of the call, integers and booleans keep theirs."""

    values: tuple[Any, ...]

    def at(self, u: Any, dtype: Any) -> Any:
        chosen = np.array(self.values)[(u * len(self.values)).astype(int)]
        return chosen.astype(dtype) if chosen.dtype.kind == "f" else chosen


@dataclass(frozen=True)
class Matrices:
    """Square matrices of some kind, made of any."""

    make: Callable[[Any], Any]

    def at(self, u: Any, dtype: Any) -> Any:
        return (2 * u - 1).astype(dtype)


Domain = Interval | Choice | Matrices


def between(low: float, high: float) -> Domain:
    return Interval(((low, high),))


def apart_from(*points: float) -> Domain:
    """Reals that keep away from the points where a function has a kink or a pole."""
    ends = [-3.0, *itertools.chain.from_iterable((p - 0.1, p + 0.1) for p in points), 3.0]
    return Interval(tuple(zip(ends[::2], ends[1::2], strict=True)))


reals = between(-3, 3)
positive = between(0.2, 3)
nonzero = apart_from(0)
booleans = Choice((False, True))
few = Choice((-1.0, 0.0, 1.0))  # equal values are likely
around_three = Interval(((-5, -3.1), (-2.9, 2.9), (3.1, 5)))
dividends = Interval(((-4.8, -4.2), (4.2, 4.8)))  # no quotient with these divisors is near an integer
divisors = Interval(((-1.39, -1.31), (1.31, 1.39)))
special = Choice((0.0, 1.0, math.nan, math.inf, -math.inf))
invertible = Matrices(lambda a: a * 0.5 + 2 * np.eye(a.shape[-1], dtype=a.dtype)[::-1])
positive_definite = Matrices(lambda a: a @ np.swapaxes(a, -1, -2) * 0.5 + np.eye(a.shape[-1], dtype=a.dtype))

# Forms of calls. A form gives, for an op, a strategy of (arguments with shapes for operands, settings).

Form = Callable[[Op], "st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]]"]


def call(*arguments: Any, **settings: Any) -> Form:
    return lambda op: st.just((arguments, settings))


def each(**settings: Any) -> Form:
    def form(op: Op) -> Any:
        parameters = op.signature.whole.parameters
        count = sum(p.default is p.empty and name not in settings for name, p in parameters.items())
        shapes = mutually_broadcastable_shapes(num_shapes=count, min_dims=0, max_dims=3, min_side=0, max_side=3)
        return shapes.map(lambda drawn: (drawn.input_shapes, settings))

    return form


def over_axes(empty: bool = True, **settings: Any) -> Form:
    """axis: none, one or several; keepdims or not."""

    def axes(shape: tuple[int, ...]) -> list[Any]:
        n = len(shape)
        return [None, *range(-n, n), *(c for k in range(n + 1) for c in itertools.combinations(range(n), k))]

    return _reduction(0 if empty else 1, axes, {"keepdims": st.booleans()}, settings)


def over_axis(**settings: Any) -> Form:
    """axis: none or one; keepdims or not."""
    return _reduction(1, lambda s: [None, *range(-len(s), len(s))], {"keepdims": st.booleans()}, settings)


def along_axis(**settings: Any) -> Form:
    """axis: one."""
    return _reduction(1, lambda s: [*range(-len(s), len(s))], {}, settings, min_dims=1)


def _reduction(min_side: int, axes: Any, drawn: dict[str, Any], settings: Any, min_dims: int = 0) -> Form:
    shapes = st.lists(st.integers(min_side, 3), min_size=min_dims, max_size=3).map(tuple)

    def of_shape(shape: tuple[int, ...]) -> Any:
        keywords = st.fixed_dictionaries({"axis": st.sampled_from(axes(shape))} | drawn)
        return keywords.map(lambda chosen: ((shape,), chosen | settings))

    return lambda op: shapes.flatmap(of_shape)


# Samples of an op


class Samples:
    """One op's line: see the text of this file."""

    def __init__(
        self,
        *forms: Form,
        on: Domain | tuple[Domain, ...] = reals,
        numpy: Callable[..., Any] | None = None,
        complex_step: bool = True,
        order: int = 2,
    ) -> None:
        self.forms = forms or (each(),)
        self.domains = on if isinstance(on, tuple) else (on,)
        self.numpy = numpy
        self.complex_step = complex_step
        self.order = order  # how often the gradient tests differentiate


def _erf(x: Any) -> Any:
    return np.vectorize(math.erf, otypes="d")(x)


def _softmax(x: Any, axis: int = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def _cross_entropy(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
    log_p = np.log(_softmax(logits))
    picked = np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    return -((1 - smoothing) * picked + smoothing * log_p.mean(-1)).mean()


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + _erf(x / math.sqrt(2)))


def _standardize(x: Any, axis: Any = -1, eps: float = 1e-5, centred: bool = True) -> Any:
    centre = x.mean(axis, keepdims=True) if centred else 0
    return (x - centre) / np.sqrt(np.mean((x - centre) ** 2, axis, keepdims=True) + eps)


def _masked_softmax(x: Any, mask: Any = None) -> Any:
    weights = np.exp(x) * np.where(True if mask is None else mask, 1, 0)
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total > 0, total, 1)


def _segment_sum(x: Any, indices: Any, count: int) -> Any:
    return _index_add(x, indices, (count, *x.shape[indices.ndim :]))


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


def _recurrence(a: Any, b: Any, axis: int = -1, start: float = 0.0, reverse: bool = False) -> Any:
    a, b = (np.moveaxis(np.broadcast_to(v, a.shape), axis, 0) for v in (a, b))
    if reverse:
        a, b = a[::-1], b[::-1]
    states = [np.full(a.shape[1:], start)]
    for factor, term in zip(a, b, strict=True):
        states.append(factor * states[-1] + term)
    out = np.array(states[:-1]).reshape(a.shape)
    return np.moveaxis(out[::-1] if reverse else out, 0, axis)


def _index_add(x: Any, index: Any, shape: Any) -> Any:
    out = np.zeros(shape)
    np.add.at(out, index, x)
    return out


def _index_set(x: Any, index: Any, values: Any) -> Any:
    out = x.copy()
    out[index] = values
    return out


def _diagonal_embed(x: Any, shape: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    out = np.zeros(shape)
    for place in np.ndindex(shape):
        i, j = place[axis1], place[axis2]
        others = [p for a, p in enumerate(place) if a not in (axis1 % len(shape), axis2 % len(shape))]
        if j - i == offset:
            out[place] = x[(*others, min(i, j))]
    return out


def _window(spatial: Any, size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Window:
    return window_over("samples", spatial, size, stride, padding, dilation)


LINE = _window((5,), 2, stride=2, padding=1)
PLANE = _window((3, 4), (2, 3), stride=(2, 1), padding=(0, 1), dilation=(1, 2))
SAME = _window((2, 3), (2, 2), padding="same")
# As of a transposed convolution with output padding: the last element is seen by no window.
UNSEEN = Window((4, 4), (2, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), (2, 2))

SQUARE = [(1, 1), (2, 2), (3, 3), (2, 3, 3), (2, 1, 2, 2), (0, 2, 2), (0, 0)]
MASK = np.array([[True, False, True], [False, False, True]])

SAMPLES = {
    # elementwise
    "absolute": Samples(on=nonzero, complex_step=False),
    **{name: Samples(on=between(-0.9, 0.9)) for name in ("arccos", "arcsin", "arctanh")},
    "arccosh": Samples(on=between(1.2, 3)),
    "arctan2": Samples(on=nonzero),
    "alias": Samples(numpy=lambda x: x),
    "astype": Samples(each(dtype=np.float64), numpy=lambda x, dtype: x.astype(dtype), complex_step=False),
    "clip": Samples(
        *(each(min=-1.0, max=1.0), each(min=-1.0), each(max=1.0), call((3,), (2, 3), (2, 1)), call((2,), (2,), None)),
        *(call((), None, (3,)), call((3,), -1.0, (3,))),
        on=apart_from(-1, 1),
        numpy=lambda x, min=None, max=None: np.clip(x, min, max),
    ),
    "divide": Samples(on=(reals, nonzero)),
    "cbrt": Samples(on=nonzero, complex_step=False),
    **{name: Samples(complex_step=False) for name in ("deg2rad", "logaddexp2", "rad2deg")},
    "erf": Samples(numpy=_erf, complex_step=False),
    "gelu": Samples(each(), each(approximate="tanh"), numpy=_gelu, complex_step=False),
    **{name: Samples(on=apart_from(*range(-2, 3))) for name in ("ceil", "floor", "trunc")},
    **{name: Samples(on=(dividends, divisors)) for name in ("floor_divide", "fmod", "remainder")},
    "hypot": Samples(on=nonzero),
    **{name: Samples(on=positive) for name in ("log", "log2", "log10")},
    "log1p": Samples(on=between(-0.8, 3)),
    **{name: Samples(complex_step=False) for name in ("fmax", "fmin")},
    "power": Samples(each(), each(y=2), each(y=-1.5), each(y=0), on=(positive, reals), numpy=lambda x, y: x**y),
    "reciprocal": Samples(on=nonzero),
    "round": Samples(on=apart_from(*(n + 0.5 for n in range(-3, 3)))),
    "rsqrt": Samples(on=positive, numpy=lambda x: 1 / np.sqrt(x)),
    "sinc": Samples(on=nonzero),
    "sign": Samples(on=nonzero, complex_step=False),
    "sqrt": Samples(on=positive),
    "tan": Samples(on=between(-1.2, 1.2)),
    "where": Samples(on=(booleans, reals)),
    # activations
    "celu": Samples(
        *(each(), each(alpha=0.5)),
        on=nonzero,
        numpy=lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x / alpha) - 1)),
    ),
    "elu": Samples(each(), each(alpha=0.5), on=nonzero, numpy=_elu),
    "hardsigmoid": Samples(on=around_three, numpy=lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hardswish": Samples(on=around_three, numpy=lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "hardtanh": Samples(on=apart_from(-1, 1), numpy=lambda x: np.clip(x, -1, 1)),
    "leaky_relu": Samples(
        *(each(), each(negative_slope=0.5)),
        on=nonzero,
        numpy=lambda x, negative_slope=0.01: np.where(x > 0, x, x * negative_slope),
    ),
    "logsigmoid": Samples(numpy=lambda x: -np.log(1 + np.exp(-x)), complex_step=False),
    "mish": Samples(numpy=lambda x: x * np.tanh(np.log(1 + np.exp(x))), complex_step=False),
    "relu": Samples(on=nonzero, numpy=lambda x: np.where(x > 0, x, 0)),
    "selu": Samples(on=nonzero, numpy=lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772)),
    "sigmoid": Samples(numpy=lambda x: 1 / (1 + np.exp(-x))),
    "silu": Samples(numpy=lambda x: x / (1 + np.exp(-x))),
    "softplus": Samples(
        each(), each(beta=3.0), numpy=lambda x, beta=1.0: np.log(1 + np.exp(x * beta)) / beta, complex_step=False
    ),
    "softsign": Samples(on=nonzero, numpy=lambda x: x / (1 + abs(x)), complex_step=False),
    "tanhshrink": Samples(numpy=lambda x: x - np.tanh(x)),
    "hardshrink": Samples(on=apart_from(-0.5, 0.5), numpy=lambda x: np.where(abs(x) > 0.5, x, 0), complex_step=False),
    "softshrink": Samples(
        on=apart_from(-0.5, 0.5), numpy=lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0), complex_step=False
    ),
    "prelu": Samples(on=nonzero, numpy=lambda x, weight: np.where(x > 0, x, x * weight), complex_step=False),
    # comparisons
    **{name: Samples(on=few) for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")},
    **{name: Samples(on=booleans) for name in ("logical_and", "logical_or", "logical_not", "logical_xor")},
    **{name: Samples(on=special) for name in ("isfinite", "isinf", "isnan")},
    # reductions
    **{name: Samples(over_axes(), on=booleans) for name in ("all", "any")},
    **{name: Samples(over_axis()) for name in ("argmax", "argmin")},
    **{name: Samples(over_axes(empty=False)) for name in ("max", "mean", "min")},
    "count_nonzero": Samples(over_axes(), on=few),
    "logsumexp": Samples(
        over_axes(empty=False),
        numpy=lambda x, axis, keepdims: np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)),
    ),
    "p_norm": Samples(
        *(over_axes(empty=False, ord=p) for p in (2, 3, 1.5, -1)),
        on=nonzero,
        numpy=lambda x, ord, axis, keepdims: (abs(x) ** ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord),
        complex_step=False,
    ),
    **{name: Samples(over_axes()) for name in ("prod", "sum")},
    **{
        name: Samples(
            *(over_axes(empty=False), over_axes(empty=False, ddof=0.5), call((2, 3), axis=1, ddof=1)),
            complex_step=False,
        )
        for name in ("std", "var")
    },
    # along an axis
    **{name: Samples(along_axis()) for name in ("cumprod", "cumsum")},
    "cummax": Samples(along_axis(), numpy=np.maximum.accumulate),
    "cummin": Samples(along_axis(), numpy=np.minimum.accumulate),
    "recurrence": Samples(
        *(call((4,), (4,)), call((2, 3), (2, 3), axis=0, start=0.5), call((2, 3), (2, 3), reverse=True)),
        *(call((3,), 2.0, start=1.0), call((1,), (1,), reverse=True), call((2, 0), (2, 0)), call((0,), (0,), axis=0)),
        numpy=_recurrence,
    ),
    "softmax": Samples(along_axis(), numpy=_softmax),
    "log_softmax": Samples(along_axis(), numpy=lambda x, axis: np.log(_softmax(x, axis))),
    "softmax_cross_entropy": Samples(
        *(call((4, 3), (4,)), call((2, 4, 3), (2, 4)), call((3,), ()), call((4, 3), (4,), smoothing=0.3)),
        on=(reals, Choice((0, 1, 2))),
        numpy=_cross_entropy,
    ),
    "mean_squared_error": Samples(
        *(call((2, 3), (2, 3)), call((4,), (4,)), call((), ())),
        numpy=lambda x, y: ((x - y) ** 2).mean(),
        complex_step=False,
    ),
    # shapes
    "broadcast_to": Samples(call((3, 1), shape=(2, 3, 4)), call((), shape=(2,)), call((2, 1), shape=(2, 0))),
    "expand_dims": Samples(call((2, 3), axis=1), call((), axis=0), call((2, 0), axis=(0, -1))),
    "moveaxis": Samples(call((2, 3, 4), source=0, destination=-1), call((2, 3, 4), source=(0, 1), destination=(2, 0))),
    "ravel": Samples(each()),
    "reshape": Samples(
        *(call((2, 3), shape=(3, 2)), call((2, 3), shape=-1), call((1,), shape=()), call((0, 3), shape=(3, 0))),
        numpy=lambda x, shape: np.reshape(x, shape),  # before NumPy 2.1 the keyword was newshape
    ),
    "squeeze": Samples(call((1, 3, 1)), call((1, 3, 1), axis=0), call((1, 3, 1), axis=(0, -1)), call(())),
    "swapaxes": Samples(call((2, 3, 4), axis1=0, axis2=-1), call((0, 3), axis1=0, axis2=1)),
    "transpose": Samples(call((2, 3, 4)), call((2, 3, 4), axes=(1, -1, 0)), call(()), call((0, 3))),
    "concatenate": Samples(
        *(call(0, (2, 3), (1, 3)), call(-1, (2, 3), (2, 0), (2, 1)), call(1, (2, 3))),
        numpy=lambda axis, *tensors: np.concatenate(tensors, axis),
    ),
    "stack": Samples(
        *(call(0, (2, 3), (2, 3)), call(-1, (2, 3), (2, 3), (2, 3)), call(0, (), ()), call(1, (2, 0))),
        numpy=lambda axis, *tensors: np.stack(tensors, axis),
    ),
    "flip": Samples(call((2, 3)), call((2, 3), axis=-1), call((2, 3, 2), axis=(0, 2)), call((2, 0)), call(())),
    "roll": Samples(
        *(call((2, 3), shift=2), call((2, 3), shift=-4, axis=1), call((2, 3), shift=(1, 2), axis=(0, 1))),
        *(call((2, 3), shift=(1, 2), axis=1), call((2, 3), shift=1, axis=(0, 1)), call((0, 3), shift=1)),
    ),
    "pad": Samples(
        *(call((2, 3), widths=[(1, 0), (0, 2)]), call((0,), widths=[(1, 2)], constant_values=3)),
        numpy=lambda x, widths, **settings: np.pad(x, widths, **settings),
    ),
    # rows and columns
    "diagonal": Samples(
        *(call((3, 3)), call((2, 3), offset=1), call((3, 2), offset=-1), call((2, 3), offset=3), call((0, 2))),
        *(call((2, 3, 4), offset=1, axis1=0, axis2=2), call((2, 3, 4), axis1=-1, axis2=0), call((2, 2, 3, 3))),
    ),
    "diagonal_embed": Samples(
        *(call((3,), shape=(3, 3)), call((2,), shape=(3, 2), offset=-1), call((0,), shape=(2, 3), offset=3)),
        *(call((3, 2), shape=(2, 3, 3), offset=1, axis1=0, axis2=2), call((4, 2), shape=(4, 2, 2), axis1=1, axis2=2)),
        *(call((4, 2), shape=(2, 4, 2), axis1=2, axis2=0),),
        numpy=_diagonal_embed,
    ),
    **{
        name: Samples(*(call((3, 3)), call((2, 4), k=1), call((2, 3, 2), k=-1), call((3,)), call((0, 2))))
        for name in ("tril", "triu")
    },
    # square matrices
    "inv": Samples(*(call(s) for s in SQUARE), on=invertible, numpy=np.linalg.inv),
    "det": Samples(*(call(s) for s in SQUARE), on=invertible, numpy=np.linalg.det),
    "logabsdet": Samples(
        *(call(s) for s in SQUARE), on=invertible, numpy=lambda x: np.linalg.slogdet(x)[1], complex_step=False
    ),
    "cofactors": Samples(
        *(call(s) for s in SQUARE),
        on=invertible,
        numpy=lambda x: np.linalg.det(x)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2),
        complex_step=False,
    ),
    "cholesky": Samples(
        *(call(s) for s in SQUARE), on=positive_definite, numpy=np.linalg.cholesky, complex_step=False
    ),
    "solve": Samples(
        *(call((3, 3), (3,)), call((3, 3), (3, 2)), call((2, 3, 3), (3,)), call((2, 3, 3), (2, 3, 1))),
        *(call((3, 3), (4, 3, 2)), call((2, 1, 2, 2), (5, 2, 3)), call((0, 0), (0,)), call((0, 0), (0, 2))),
        on=(invertible, reals),
        numpy=np.linalg.solve,
    ),
    # positions
    "getitem": Samples(
        *(call((2, 3), index=i) for i in (1, -1, (slice(None), 1), (..., None, slice(None, None, -2)), MASK)),
        *(call((4,), index=i) for i in ([0, 2, 2], np.array([[3, 3], [0, 3]]), slice(4, None), np.zeros(4, bool))),
        *(call((2, 3, 2), index=i) for i in (([0, 1, 1], [2, 0, 0]), (slice(None), [0, 0], slice(1)))),
        numpy=lambda x, index: x[index],
    ),
    "index_add": Samples(
        *(call((3,), index=[0, 2, 2], shape=(4,)), call((2,), index=(slice(None), 1), shape=(2, 3))),
        *(call((3,), index=MASK, shape=(2, 3)), call((2, 2), index=([1, 1],), shape=(2, 2))),
        *(call((), index=1, shape=(2,)), call((4,), index=([0, 1, 0, 0], [1, 1, 1, 0]), shape=(2, 2))),
        *(call((2, 3), index=(..., [0, 0, 1]), shape=(2, 2)), call((1,), index=([0], [1], [1]), shape=(3, 4, 2))),
        call((0,), index=([], 0), shape=(2, 2)),
        numpy=_index_add,
    ),
    "index_set": Samples(
        *(call((3,), 1, ()), call((3,), slice(1, None), (2,)), call((2, 3), [0], (3,)), call((2, 3), slice(0), (0, 3))),
        *(call((4,), [0, 2, 2], (3,)), call((2, 3), [1, 1], (2, 3)), call((4,), [[1, 3], [3, 1]], (2, 2))),
        *(call((3,), [True, False, True], (2,)), call((4,), [0, 0, 1], ())),
        numpy=_index_set,
    ),
    "embedding": Samples(
        *(call((3, 2), (4,)), call((3,), (2, 3)), call((3, 2), ()), call((3, 2), (0,)), call((3, 0), (2,))),
        *(call((4, 2, 3), (5,)), call((3, 2), (2, 3))),
        on=(reals, Choice((0, 1, 2))),
        numpy=lambda weight, indices: weight[indices],
    ),
    "segment_sum": Samples(
        *(call((4, 2), (4,), count=3), call((2, 3), (2, 3), count=4), call((2,), (), count=3)),
        *(call((0, 2), (0,), count=3), call((2, 3, 2), (2, 3), count=3), call((5,), (5,), count=3)),
        on=(reals, Choice((0, 1, 2))),
        numpy=_segment_sum,
    ),
    # sliding windows
    "sliding_windows": Samples(
        call((2, 3, 5), window=LINE),
        call((2, 1, 3, 4), window=PLANE),
        call((1, 2, 2, 3), window=SAME),
        call((1, 1, 4, 4), window=UNSEEN),
        call((0, 1, 3, 4), window=PLANE),
        call((2, 1, 5), window=LINE, fill=2.0),
        numpy=naive.sliding_windows,
    ),
    "overlap_add": Samples(
        call((2, 2, 3, 3), window=LINE),
        call((2, 2, 3, 1, 1, 2), window=PLANE),
        call((1, 2, 1, 1, 2, 2), window=UNSEEN),
        call((1, 2, 2, 2, 2, 3), window=SAME),
        call((0, 2, 1, 3), window=LINE),
        numpy=naive.overlap_add,
    ),
    "conv": Samples(
        call((2, 2, 5), (3, 2, 2), (3,), window=LINE, groups=1),
        call((2, 1, 3, 4), (1, 1, 2, 3), None, window=PLANE, groups=1),
        call((2, 4, 3, 4), (2, 2, 2, 3), (2,), window=PLANE, groups=2),
        call((0, 1, 5), (2, 1, 2), (2,), window=LINE, groups=1),
        call((1, 2, 2, 3), (2, 1, 2, 2), (2,), window=SAME, groups=2),
        call((1, 1, 4, 4), (2, 1, 2, 1), None, window=UNSEEN, groups=1),
        numpy=naive.conv,
    ),
    "conv_transpose": Samples(
        call((2, 3, 3), (3, 2, 2), (2,), window=LINE, groups=1),
        call((2, 1, 1, 2), (1, 1, 2, 3), None, window=PLANE, groups=1),
        call((2, 2, 1, 2), (2, 2, 2, 3), (4,), window=PLANE, groups=2),
        call((0, 2, 3), (2, 1, 2), (1,), window=LINE, groups=1),
        call((1, 2, 2, 3), (2, 1, 2, 2), (2,), window=SAME, groups=2),
        call((1, 2, 2, 2), (2, 1, 2, 1), None, window=UNSEEN, groups=1),
        numpy=naive.conv_transpose,
    ),
    "conv_weight": Samples(
        call((2, 2, 5), (2, 3, 3), window=LINE, groups=1),
        call((2, 4, 3, 4), (2, 2, 1, 2), window=PLANE, groups=2),
        call((0, 1, 5), (0, 2, 3), window=LINE, groups=1),
        call((1, 1, 4, 4), (1, 2, 2, 2), window=UNSEEN, groups=1),
        numpy=naive.conv_weight,
    ),
    "max_pool": Samples(
        call((2, 3, 5), window=LINE),
        call((2, 1, 3, 4), window=PLANE),
        call((1, 2, 2, 3), window=SAME),
        call((1, 1, 4, 4), window=UNSEEN),
        call((0, 1, 5), window=LINE),
        numpy=naive.max_pool,
        complex_step=False,
    ),
    # norms and attention
    "standardize": Samples(
        *(call((2, 3), **settings) for settings in ({}, {"axis": 0}, {"axis": (0, 1)}, {"centred": False})),
        *(call((2, 3, 4), axis=(0, 2), eps=0.1), call((2, 3, 2, 2), axis=(-2, -1)), call((4,)), call((0, 3))),
        numpy=_standardize,
    ),
    "masked_softmax": Samples(
        *(call((2, 3)), call((2, 3), mask=MASK), call((4, 2, 3), mask=MASK), call((3,), mask=np.zeros(3, bool))),
        *(call((2, 3), mask=MASK[:1]), call((0, 3), mask=MASK[0])),
        numpy=_masked_softmax,
    ),
    # products
    "einsum": Samples(
        *(call("ij,jk->ik", (2, 3), (3, 4)), call("ij->ji", (2, 3)), call("ij->", (2, 3)), call("i,j->ij", (2,), (3,))),
        *(call("ii->i", (3, 3)), call("ii->", (3, 3)), call("iij->ji", (2, 2, 3)), call("iii->", (2, 2, 2))),
        *(call("aij,ajk->aik", (2, 1, 3), (1, 3, 2)), call("ij,i,j->", (2, 3), (2,), (3,)), call("i,i->i", (1,), (3,))),
        *(call(",i->i", (), (3,)), call("ij,kj->", (2, 3), (4, 3)), call("ij,jk->ik", (2, 0), (0, 3)), call("->", ())),
        *(call("ii,ij->j", (2, 2), (2, 3)), call("ij,jk->ik", (20, 30), (30, 10))),
        numpy=lambda subscripts, *tensors: np.einsum(subscripts, *tensors),
    ),
    "matmul": Samples(
        *(call((3,), (3,)), call((2, 3), (3,)), call((3,), (3, 2)), call((2, 3), (3, 4)), call((0, 3), (3, 2))),
        *(call((2, 0), (0, 3)), call((5, 2, 3), (3, 4)), call((2, 1, 2, 3), (5, 3, 4)), call((3,), (5, 3, 2))),
        *(call((5, 2, 3), (3,)), call((1, 2, 3), (5, 3, 1)), call((2, 5, 2, 3), (3, 4)), call((2, 3), (5, 3, 2))),
    ),
    "linear": Samples(
        *(call((4, 3), (3, 2), (2,)), call((4, 3), (3, 2)), call((3,), (3, 2), (2,)), call((2, 4, 3), (3, 2), (2,))),
        *(call((0, 3), (3, 2), (2,)), call((1, 3), (3, 1), (1,))),
        numpy=lambda x, w, b=0: x @ w + b,
    ),
}  # fmt: skip


def samples_of(name: str) -> Samples:
    return SAMPLES.get(name) or Samples()


def reference(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = samples_of(name).numpy or getattr(np, name, None)
    if found is None:
        raise AssertionError(f"the op {name!r} has no reference: give it Samples(numpy=...) in tests/samples.py.")
    return found


# Calls of an op


def leaf(array: Any) -> Tensor:
    return Tensor(array).require_grad()


@dataclass(frozen=True)
class Call:
    """An op and what to call it with: arrays as operands, and the settings."""

    op: Op
    arguments: tuple[Any, ...]
    settings: dict[str, Any]

    def on(self, arrays: list[Any], function: Callable[..., Any] | None = None) -> Any:
        """The op, or a function in its place, with `arrays` (or Tensors) where this call has its operands."""
        given = iter(arrays)
        arguments = [next(given) if isinstance(a, np.ndarray) else a for a in self.arguments]
        return (function or self.op)(*arguments, **self.settings)

    @property
    def operands(self) -> list[Any]:
        return [a for a in self.arguments if isinstance(a, np.ndarray)]

    @property
    def names(self) -> list[str]:
        """The argument that each operand stands for."""
        names = self.op.signature.names
        return [names[min(i, len(names) - 1)] for i, a in enumerate(self.arguments) if isinstance(a, np.ndarray)]

    def cast(self, dtype: Any) -> list[Any]:
        """Fresh operands, the float ones in another dtype."""
        return [a.astype(dtype) if a.dtype.kind == "f" else a.copy() for a in self.operands]

    def leaves(self, make: Callable[[Any], Tensor] = leaf, dtype: Any = None) -> list[Any]:
        """The operands as Tensors, those with a gradient formula as leaves."""
        pairs = zip(self.names, self.operands if dtype is None else self.cast(dtype), strict=True)
        return [make(array) if name in self.op.formulas else Tensor(array) for name, array in pairs]


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda a: a,
    "Fortran": lambda a: np.array(a, order="F"),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
}


@st.composite
def calls(draw: st.DrawFn, name: str, dtype: Any = np.float64) -> Call:
    """A call of the op named, with operands of a float dtype."""
    op, samples = registry[name], samples_of(name)
    arguments, settings = draw(draw(st.sampled_from(samples.forms))(op))
    shapes = [a for a in arguments if isinstance(a, tuple)]
    layouts = [LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))] if shape else LAYOUTS["C"] for shape in shapes]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes)
    # One value out of each of `total` equal parts of the domain: no two values meet.
    fractions = (rng.permutation(total) + rng.uniform(0.1, 0.9, total)) / max(total, 1)
    operands = []
    for i, (shape, layout) in enumerate(zip(shapes, layouts, strict=True)):
        domain = samples.domains[min(i, len(samples.domains) - 1)]
        start = sum(sizes[:i])
        operand = domain.at(fractions[start : start + sizes[i]], dtype).reshape(shape)
        operands.append(layout(domain.make(operand) if isinstance(domain, Matrices) else operand))
    given = iter(operands)
    return Call(op, tuple(next(given) if isinstance(a, tuple) else a for a in arguments), settings)
