"""Pooling layers. They have no parameters; what `forward` does, the ops of the same names say."""

from __future__ import annotations

from typing import Any

from minihybrid.autodiff import ops
from minihybrid.autodiff.ops.windows import each_axis
from minihybrid.autodiff.tensor import Tensor
from minihybrid.config import Config
from minihybrid.device import Device
from minihybrid.module.module import Module
from minihybrid.rng import Rng

Numbers = int | tuple[int, ...]


class MaxPool2d(Module):
    """The layer of `max_pool2d`: x [n, c, h, w] -> [n, c, h', w'].

    >>> import minihybrid as mh
    >>> MaxPool2d(2)(mh.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    6.0
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    dilation: Numbers = 1
    ceil_mode: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        y: Tensor = ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return y


class AvgPool2d(Module):
    """The layer of `avg_pool2d`: x [n, c, h, w] -> [n, c, h', w'].

    >>> import minihybrid as mh
    >>> AvgPool2d(2)(mh.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    3.0
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        options = (self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        y: Tensor = ops.avg_pool2d(x, self.kernel_size, *options)
        return y


class AdaptiveAvgPool2d(Module):
    """The layer of `adaptive_avg_pool2d`: x [n, c, h, w] -> [n, c, *output_size].

    >>> import minihybrid as mh
    >>> AdaptiveAvgPool2d(1)(mh.tensor([[[[1.0, 2.0, 6.0]]]])).item()
    3.0
    """

    output_size: int | tuple[int | None, ...]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        y: Tensor = ops.adaptive_avg_pool2d(x, self.output_size)
        return y


class MaxPool2dConfig(Config):
    """The options of a `MaxPool2d`. Raises ValueError for those that are no numbers in range.

    >>> MaxPool2dConfig(3, stride=2, padding=1).init()
    MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    dilation: Numbers = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        _require_window(self)
        each_axis("MaxPool2dConfig", "dilation", self.dilation, 2, 1)

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> MaxPool2d:
        """The layer; nothing is drawn."""
        return MaxPool2d(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool2dConfig(Config):
    """The options of an `AvgPool2d`. Raises ValueError for those that are no numbers in range.

    >>> AvgPool2dConfig(2).init()
    AvgPool2d(
      kernel_size=2,
      stride=None,
      padding=0,
      ceil_mode=False,
      count_include_pad=True,
    )
    """

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        _require_window(self)

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> AvgPool2d:
        """The layer; nothing is drawn."""
        return AvgPool2d(self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AdaptiveAvgPool2dConfig(Config):
    """The option of an `AdaptiveAvgPool2d`. Raises ValueError for sizes that are neither positive integers nor None.

    >>> AdaptiveAvgPool2dConfig((1, None)).init()
    AdaptiveAvgPool2d(output_size=(1, None))
    """

    output_size: int | tuple[int | None, ...]

    def __post_init__(self) -> None:
        size = self.output_size
        numbers = tuple(1 if n is None else n for n in size) if isinstance(size, tuple) else size
        each_axis("AdaptiveAvgPool2dConfig", "output_size", numbers, 2, 1)

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> AdaptiveAvgPool2d:
        """The layer; nothing is drawn."""
        return AdaptiveAvgPool2d(self.output_size)


def _require_window(config: Any) -> None:
    name = type(config).__name__
    each_axis(name, "kernel_size", config.kernel_size, 2, 1)
    each_axis(name, "padding", config.padding, 2, 0)
    if config.stride is not None:
        each_axis(name, "stride", config.stride, 2, 1)
