"""Kernels behind array functions: the same function on both devices, and on a GPU one or two launches.

    @fusible
    def standardized(x, eps):            # NumPy's terms: what it means, how it is done on the CPU, and the oracle
        ...

    @standardized.kernel
    def _(x, eps):                       # on a GPU
        out = np.empty_like(x)
        opaque_call(kernels.standardize, out, x, eps)
        return out

Who calls it, the tape above all, does not know which of the two ran.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, cast

from numpy import ndarray

from minihybrid.device import on_cpu


class Fusible(Protocol):
    """A function that was given a kernel, or waits for one."""

    def __call__(self, *args: Any) -> Any:
        """Call whichever of the two fits the first array."""

    def kernel(self, function: Callable[..., Any]) -> None:
        """Call this in place of the function where the first array is on a GPU.

        It takes the same arguments, and returns NotImplemented for those that it cannot handle.
        """


def fusible(function: Callable[..., Any]) -> Fusible:
    """Let a function have a kernel; as a decorator (see the module's text).

    Its arguments come by position, an array first: this is one more call on the way of all others, and must be cheap.
    """
    on_gpu: Callable[..., Any] = lambda *args: NotImplemented  # noqa: E731

    @functools.wraps(function)
    def either(*args: Any) -> Any:
        if type(args[0]) is ndarray or on_cpu(args[0]):
            return function(*args)
        made = on_gpu(*args)
        return function(*args) if made is NotImplemented else made

    def kernel(function: Callable[..., Any]) -> None:
        nonlocal on_gpu
        on_gpu = function

    either.kernel = kernel  # type: ignore[attr-defined]
    return cast(Fusible, either)
