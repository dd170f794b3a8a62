"""Memory for time: a function that keeps nothing of its inside for backward, and runs again when backward comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minihybrid.autodiff.alias import alias
from minihybrid.autodiff.functional import is_module
from minihybrid.autodiff.op import recording
from minihybrid.autodiff.tensor import Leaf, Node, Tensor
from minihybrid.autodiff.trace import opaque_call
from minihybrid.rng import Rng


class _Streams:
    """Collects the random streams of a module; it is a ModuleVisitor, which lives a floor above."""

    def __init__(self) -> None:
        self.found: list[Rng] = []

    def visit_rng(self, path: str, rng: Rng) -> None:
        self.found.append(rng)

    def visit_param(self, path: str, value: Any) -> None:
        pass

    visit_tied = visit_buffer = enter_module = exit_module = visit_param


class _Bookmark:
    """Where random streams stand now, to put them back there; a plan does the same in each replay."""

    def __init__(self, streams: list[Rng]) -> None:
        self.streams = streams
        opaque_call(self._set)

    def _set(self) -> None:
        self.states = [stream.state() for stream in self.streams]

    def turn_back(self) -> None:
        """Put them back."""
        opaque_call(self._turn_back)

    def _turn_back(self) -> None:
        for stream, state in zip(self.streams, self.states, strict=True):
            stream.load_state(state)


class _Rerun(Node):
    """A node whose edge leads to a graph that is made when a backward pass asks for it, anew for each."""

    __slots__ = ("again",)

    def __init__(self, again: Callable[[], Tensor], shape: tuple[int, ...], versions: Any) -> None:
        super().__init__("checkpoint", [], shape, versions)
        self.again: Callable[[], Tensor] | None = again

    @property
    def edges(self) -> Any:
        if self.again is None:
            return None
        node = self.again().node
        return [] if node is None else [(0, node, alias.formulas["x"], ())]

    @edges.setter
    def edges(self, value: Any) -> None:
        if value is None:  # consumed
            self.again = None


def checkpoint(f: Callable[..., Any], rngs: Iterable[Rng] = ()) -> Callable[..., Tensor]:
    """A function like f that keeps nothing for backward but its arguments, and runs f again when backward comes.

    f is a module, or any function that returns one tensor; gradients reach the parameters that it closes over, and are
    of any order. For the second run the random streams of f, if it is a module, and of arguments that are modules are
    rewound; name others that f draws from as `rngs`. Raises TypeError if f returns something else; backward raises
    RuntimeError if f's second result differs from its first.

    >>> import minihybrid as mh
    >>> x = mh.tensor([0.5, 1.0], requires_grad=True)
    >>> f = mh.checkpoint(lambda x: mh.exp(mh.sin(x)))
    >>> bool((f(x).sum().backward()[x] == mh.exp(mh.sin(x)).sum().backward()[x]).all())
    True
    """
    named = list(rngs)

    def checkpointed(*args: Any, **kwargs: Any) -> Tensor:
        modules = [x for x in (getattr(f, "__self__", f), *args, *kwargs.values()) if is_module(x)]
        streams = [*named, *(rng for module in modules for rng in module.visit(_Streams()).found)]
        begin = _Bookmark(streams)
        start = Leaf(()).order
        result = f(*args, **kwargs)
        if not isinstance(result, Tensor):
            raise TypeError(f"checkpoint: the function returned {type(result).__name__}; expected a Tensor.")
        if not isinstance(result.node, Node) or result.node.order < start:
            return result
        values, depth = result.array, recording.depth

        def again() -> Tensor:
            now = _Bookmark(streams)
            outside = recording.on, recording.depth
            recording.on, recording.depth = True, depth
            try:
                begin.turn_back()
                repeated: Tensor = f(*args, **kwargs)
            finally:
                recording.on, recording.depth = outside
                now.turn_back()
            opaque_call(_require_alike, repeated.array, values)
            return repeated

        return Tensor(values, _Rerun(again, result.shape, _versions(result.node, start)))

    return checkpointed


def _require_alike(repeated: Any, values: Any) -> None:
    alike = repeated.shape == values.shape
    if not (alike and np.allclose(repeated, values, rtol=1e-3, atol=1e-5, equal_nan=True)):
        raise RuntimeError(
            "checkpoint: the function gave another result when backward ran it again; if it draws random numbers, pass "
            "the streams: checkpoint(f, rngs=[...])."
        )


def _versions(root: Node, start: int) -> tuple[Any, ...]:
    """The parameters that the graph below a node has read since `start`, as it saw them."""
    seen, waiting, found = {root}, [root], {}
    while waiting:
        node = waiting.pop()
        for version in node.versions:
            found[version[1]] = version
        for _, parent, _, _ in () if isinstance(node, _Rerun) else node.edges or ():
            if isinstance(parent, Node) and parent.order >= start and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return tuple(found.values())
