"""Activations as modules, for `Sequential`; everywhere else the ops themselves will do.

One has a parameter of its own: PRelu.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from minihybrid.autodiff import ops
from minihybrid.autodiff.tensor import Tensor
from minihybrid.config import Config, require_sizes
from minihybrid.device import Device
from minihybrid.module.module import Module
from minihybrid.module.param import Param
from minihybrid.rng import Rng


class Activation(Module):
    """An op as a module: `function` of the input and the fields, which are the op's options in their order.

    >>> import minihybrid as mh
    >>> mh.nn.LeakyRelu(0.5)(mh.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    function: ClassVar[Callable[..., Any]]
    options: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.options = tuple(field.name for field in dataclasses.fields(cls))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the op, to x of any shape."""
        out: Tensor = type(self).function(x, *[getattr(self, name) for name in self.options])
        return out


class Relu(Activation):
    """See `mh.relu`."""

    function = ops.relu


class LeakyRelu(Activation):
    """See `mh.leaky_relu`."""

    function = ops.leaky_relu
    negative_slope: float = 0.01


class Elu(Activation):
    """See `mh.elu`."""

    function = ops.elu
    alpha: float = 1.0


class Celu(Activation):
    """See `mh.celu`."""

    function = ops.celu
    alpha: float = 1.0


class Selu(Activation):
    """See `mh.selu`."""

    function = ops.selu


class Gelu(Activation):
    """See `mh.gelu`."""

    function = ops.gelu
    approximate: str = "none"


class Silu(Activation):
    """See `mh.silu`."""

    function = ops.silu


class Mish(Activation):
    """See `mh.mish`."""

    function = ops.mish


class Tanh(Activation):
    """See `mh.tanh`."""

    function = ops.tanh


class Sigmoid(Activation):
    """See `mh.sigmoid`."""

    function = ops.sigmoid


class Softplus(Activation):
    """See `mh.softplus`."""

    function = ops.softplus
    beta: float = 1.0


class LogSigmoid(Activation):
    """See `mh.logsigmoid`."""

    function = ops.logsigmoid


class Hardtanh(Activation):
    """See `mh.hardtanh`."""

    function = ops.hardtanh
    min: float = -1.0
    max: float = 1.0


class Hardsigmoid(Activation):
    """See `mh.hardsigmoid`."""

    function = ops.hardsigmoid


class Hardswish(Activation):
    """See `mh.hardswish`."""

    function = ops.hardswish


class Softsign(Activation):
    """See `mh.softsign`."""

    function = ops.softsign


class Tanhshrink(Activation):
    """See `mh.tanhshrink`."""

    function = ops.tanhshrink


class Hardshrink(Activation):
    """See `mh.hardshrink`."""

    function = ops.hardshrink
    lambd: float = 0.5


class Softshrink(Activation):
    """See `mh.softshrink`."""

    function = ops.softshrink
    lambd: float = 0.5


class Softmax(Activation):
    """See `mh.softmax`."""

    function = ops.softmax
    axis: int = -1


class LogSoftmax(Activation):
    """See `mh.log_softmax`."""

    function = ops.log_softmax
    axis: int = -1


ACTIVATIONS: dict[str, type[Activation]] = {kind.function.__name__: kind for kind in Activation.__subclasses__()}


class ActivationConfig(Config):
    """An activation by the name of its op, with default options. Raises ValueError for a name not in `ACTIVATIONS`.

    >>> import minihybrid as mh
    >>> ActivationConfig("relu").init()(mh.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ValueError(f"ActivationConfig: name is {self.name!r}; expected one of {', '.join(ACTIVATIONS)}.")

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> Activation:
        """The module; it has no parameters, and nothing is drawn."""
        return ACTIVATIONS[self.name]()


class PRelu(Module):
    """x where it is positive, else x * weight: one number [1], or one for each channel [c] of x [n, c, ...]."""

    weight: Param

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, to x of any shape, or with `c` channels on its second axis."""
        out: Tensor = ops.prelu(x, self.weight)
        return out


class PReluConfig(Config):
    """A relu whose slope below 0 is learnt, one for all or one for each of `channels`; see `mh.prelu`.

    >>> import minihybrid as mh
    >>> PReluConfig().init()(mh.tensor([-2.0, 3.0])).tolist()
    [-0.5, 3.0]
    """

    channels: int = 1
    slope: float = 0.25

    def __post_init__(self) -> None:
        require_sizes("PReluConfig", channels=self.channels)

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> PRelu:
        """A layer with all slopes the same; nothing is drawn."""
        return PRelu(Param(Device(device).array(np.full(self.channels, self.slope, dtype))))
