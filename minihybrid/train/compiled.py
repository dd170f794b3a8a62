"""`mh.compile`: a training step is recorded once, and then replayed without the tape, from a plan (`autodiff/plan.py`).

A call that does not fit a plan, as with arrays of other shapes, is recorded anew (recording.py).
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

from minihybrid.autodiff.plan import Plan
from minihybrid.autodiff.trace import PlanError
from minihybrid.train.outside import uses
from minihybrid.train.recording import Recording

MOST_PLANS = 8
"""For more shapes than these, the plan that was not used for longest is dropped."""


def compile(function: Callable[..., Any]) -> Compiled:
    """A training step that is recorded at its first call, and replayed from then on.

    The function takes models, optimizers, arrays, tensors, numbers, strings, and tuples, lists, dicts or dataclasses of
    these; it gives models, optimizers, tensors, arrays, gradients (`GradientsParams`) or numbers, or tuples, lists or
    dicts of them. A model that is stepped inside must be returned. Everything that changes from step to step is an
    argument: raises PlanError for a function that uses an array, a model, a random stream or a number from outside, and
    in the first call for a step that reads a value (`if loss > 1`, `float(loss)`), or that a replay does not repeat to
    the bit. Optimizers may be used from outside. Only array calls are repeated: what else the function does (printing,
    appending to a list) it does when a plan is recorded, alone. On a GPU a plan is one launch of a CUDA graph, from its
    second call on; `show` says what had to stay out of it.

    >>> import minihybrid as mh, numpy as np
    >>> optim = mh.optim.SGD()
    >>> @mh.compile
    ... def step(model, x, y, lr):
    ...     loss = mh.nn.mse(model(mh.Tensor(x)), y)
    ...     grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    ...     return optim.step(lr, model, grads), loss
    >>> model = mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0))
    >>> x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    >>> for _ in range(100):
    ...     model, loss = step(model, x, 3 * x, lr=0.3)
    >>> loss.item() < 1e-6, len(step.plans)
    (True, 1)
    """
    return Compiled(function)


class _Plans(threading.local):
    """Each thread has plans of its own: two could not share the memory that a plan works in."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []


class Compiled:
    """See `compile`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not isinstance(function, FunctionType):
            raise PlanError(f"compile: expected a function, got {type(function).__name__}; wrap it in one.")
        functools.update_wrapper(self, function)
        self._function = function
        uses(function)
        self._signature = inspect.signature(function)
        self._arity = len(self._signature.parameters)
        for parameter in self._signature.parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                raise PlanError(f"compile: {function.__name__} takes {parameter}; name each argument.")
        self._of_thread = _Plans()

    @property
    def plans(self) -> list[Plan]:
        """Those that this thread has recorded, the last used first."""
        return self._of_thread.plans

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """One step: a replay of a plan that fits, or a recording."""
        if kwargs or len(args) != self._arity:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        plans = self._of_thread.plans
        for i, plan in enumerate(plans):
            if (result := plan.replay(*args)) is not None:
                if i:
                    plans.insert(0, plans.pop(i))
                return result[0]
        recorded, result = Recording(self._function, args).make()
        if recorded is not None:
            plans[MOST_PLANS - 1 :] = []
            plans.insert(0, recorded)
        return result

    def show(self) -> None:
        """Print the plans."""
        print("\n".join(plan.show() for plan in self.plans))
