"""An op is its forward function and one gradient formula per argument.

    @op(x=lambda g, y: g * y,
        y=lambda g, x: g * x)
    def multiply(x, y):
        return x * y

`g` is the cotangent of the result. The other names of a formula are what backward needs, and exactly that is saved:
an argument, `out` (the result), `x_shape` or `x_dtype` (of argument `x`, without its values). A formula may ignore
broadcasting: the tape sums its result to the argument's shape. It is written with ops and operators, and ops applied
to plain arrays are plain array functions; so the same text gives first derivatives at array speed, and derivatives of
any order when it runs on Tensors. Where speed asks for array tricks, `multiply.fast(x=...)` puts a twin for arrays
beside it. A twin names what the formula names and then, if it wants, auxiliary results of the forward function
(`@op(..., saves=("probabilities",))`) and `into`, an array that it may write its result to.

An op over many tensors takes them last, as `*tensors`; its formula is called once for each, with its index `i`.

Array code is the same on both devices: NumPy's functions dispatch to the array they are given, CuPy's included.
Nothing is copied for the graph: who passes an array of his own to an op leaves it as it is until backward has run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import numpy as np

from minihybrid.autodiff.formula import Formula, Signature
from minihybrid.autodiff.operands import WEAK, agree, explained
from minihybrid.autodiff.tensor import Node, Tensor


class _Recording(threading.local):
    """What this thread does with the ops that it calls."""

    on = True  # whether a graph is recorded
    depth = 0  # how many functions that `grad` and its relatives differentiate are running, one inside the other


recording = _Recording()


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside the block: results depend on no leaf.

    >>> import minihybrid as mh
    >>> x = mh.tensor(3.0, requires_grad=True)
    >>> with mh.no_grad():
    ...     (x * x).requires_grad
    False
    """
    before, recording.on = recording.on, False
    try:
        yield
    finally:
        recording.on = before


# `mh.debug` puts functions of its own here: looking costs nothing while nobody looks.
as_node: Callable[..., Node] = Node
look: Callable[[Signature, list[Any], Any], None] | None = None  # at the values of a call and its result


class Op(Protocol):
    """What `@op` returns: the public function, with its parts as attributes."""

    __name__: str
    __doc__: str | None
    forward: Callable[..., Any]
    formulas: dict[str, Formula]
    signature: Signature
    composition: Callable[..., Any] | None

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the op: with a Tensor among the arguments it gives a Tensor, on plain arrays a plain array."""

    def fast(self, **twins: Callable[..., Any]) -> None:
        """Put array-only twins beside the formulas of the arguments named."""


registry: dict[str, Op] = {}


def op(
    *, saves: tuple[str, ...] = (), composition: Callable[..., Any] | None = None, **formulas: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Op]:
    """Turn a function on arrays into an op (see the module's text) and enter it in the registry.

    `saves` names further results of the forward function, which then returns a tuple (result, *saved), for its fast
    twins. `composition` is the same function written with simpler ops: the oracle of a fused op.
    Raises TypeError if a formula belongs to no argument or names something that is no part of a call.

    >>> import minihybrid as mh
    >>> @mh.op(x=lambda g, x: g * 3 * x * x)
    ... def cube(x):
    ...     return x * x * x
    >>> mh.grad(cube)(mh.tensor(2.0)).item()
    12.0
    >>> _ = mh.ops.registry.pop("cube")
    """

    def decorate(forward: Callable[..., Any]) -> Op:
        signature = Signature(forward, frozenset(formulas), saves)
        name, arity, variadic = signature.name, signature.arity, signature.variadic
        table = {argument: Formula(function, signature) for argument, function in formulas.items()}
        pairs = [(signature.positions[argument], formula) for argument, formula in table.items()]
        operands = signature.operands(arity if variadic is None else sys.maxsize)

        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs or len(args) != arity:
                args = signature.bind(args, kwargs)
            for argument in args:
                if isinstance(argument, Tensor):
                    break
            else:  # plain arrays: a gradient formula at work, or a user with NumPy data
                return forward(*args)[0] if saves else forward(*args)

            values: list[Any] = []
            versions: tuple[Any, ...] = ()
            tracked = mixed = False
            dtype = None
            for argument in args:
                if isinstance(argument, Tensor):
                    array = argument.array
                    if argument.node is not None:
                        tracked = True
                    if array.dtype is not dtype and len(values) in operands:
                        mixed = mixed or dtype is not None
                        dtype = array.dtype
                    if (storage := argument.storage) is not None:
                        versions = (*versions, (len(values), storage, storage.generation))
                    values.append(array)
                elif type(argument) in WEAK or (
                    type(argument) is np.ndarray and (argument.dtype is dtype or len(values) not in operands)
                ):
                    values.append(argument)
                else:
                    values.append(argument.item() if isinstance(argument, np.generic) else argument)
                    mixed = True
            if mixed:
                agree(signature, values)
            try:
                out = forward(*values)
            except (ValueError, TypeError, IndexError) as error:
                raise explained(name, signature.labels(len(values)), values, error) from None
            if saves:
                out, *saved = out
                values += saved
            if look is not None:
                look(signature, values, out)

            edges = []
            if tracked and recording.on and out.dtype.kind in "fc":
                values.append(out)
                for position, formula in pairs if variadic is None else spread(args):
                    argument = args[position]
                    if isinstance(argument, Tensor) and (parent := argument.node) is not None:
                        edges.append((position, parent, formula, formula.pick(values, position)))
            if edges:
                return Tensor(out, as_node(name, edges, out.shape, versions))
            # A view of a parameter would change with the next step, and no node is there to tell.
            return Tensor(out.copy() if versions and out.base is not None else out)

        def spread(args: tuple[Any, ...]) -> list[tuple[int, Formula]]:
            return [(i, formula) for start, formula in pairs for i in range(start, len(args))]

        def fast(**twins: Callable[..., Any]) -> None:
            for argument, twin in twins.items():
                table[argument].set_fast(twin)

        call.__name__, call.__qualname__, call.__module__ = name, forward.__qualname__, forward.__module__
        call.__doc__, call.__wrapped__ = forward.__doc__, forward  # type: ignore[attr-defined]
        made = cast(Op, call)
        made.forward, made.formulas, made.signature = forward, table, signature
        made.composition, made.fast = composition, fast  # type: ignore[method-assign]
        registry[name] = made
        return made

    return decorate
