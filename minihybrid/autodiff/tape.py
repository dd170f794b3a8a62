"""The backward pass: walk the recorded graph from the result to the leaves, the latest op first.

Every node was created after what it was made from. So if the node with the highest order is always taken next, all
cotangents of a node have arrived by the time it is visited, however the graph branches and meets again.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from minihybrid.autodiff.alias import Carrier
from minihybrid.autodiff.operands import explained
from minihybrid.autodiff.ops.reduce import sum as _sum
from minihybrid.autodiff.ops.shape import reshape
from minihybrid.autodiff.storage import FlatGradient, MovedError, Storage
from minihybrid.autodiff.tensor import Leaf, Node, Tensor

if TYPE_CHECKING:
    from minihybrid.autodiff.formula import Formula
    from minihybrid.autodiff.tensor import TensorLike


def unbroadcast(cotangent: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: sum over the axes that were added or stretched."""
    added = len(cotangent.shape) - len(shape)
    stretched = [i + added for i, n in enumerate(shape) if n == 1 and cotangent.shape[i + added] != 1]
    return reshape(_sum(cotangent, axis=(*range(added), *stretched)), shape)


class Gradients:
    """What a backward pass found: one gradient for every leaf that it reached.

    `grads[x]` is a Tensor of x's shape and dtype; `x in grads` says whether x was reached. A gradient is a value: it
    stays as it is, whatever is computed later. `buffers` carries what the forward pass wants to store in the model's
    Buffers (running statistics), keyed by the Buffer.

    >>> import minihybrid as mh
    >>> x, y = mh.tensor(3.0, requires_grad=True), mh.tensor(4.0)
    >>> grads = (x * y).backward()
    >>> grads[x].item(), y in grads
    (4.0, False)
    """

    __slots__ = ("buffers", "by_leaf", "flat")

    def __init__(self) -> None:
        self.by_leaf: dict[Leaf, Any] = {}
        self.flat: dict[Storage, FlatGradient] = {}
        self.buffers: dict[Any, Any] = {}

    def __contains__(self, x: Tensor) -> bool:
        return getattr(x, "node", None) in self.by_leaf

    def __len__(self) -> int:
        return len(self.by_leaf)

    def __getitem__(self, x: Tensor) -> Tensor:
        if x not in self:
            raise KeyError(_absent(x))
        gradient = self.by_leaf[x.node]  # type: ignore[index]
        if isinstance(gradient, Tensor):
            return gradient
        if x.storage is not None and (flat := self.flat.get(x.storage)) is not None:
            flat.require()
            flat.escaped = True
        return Tensor(gradient)

    def get(self, x: Tensor) -> Tensor | None:
        """The gradient of x, or None where there is none."""
        if x not in self:
            return None
        return self[x]

    def __repr__(self) -> str:
        return f"<Gradients of {len(self)} leaves>"

    def receive(self, leaf: Leaf, cotangent: Any) -> None:
        """Add one contribution to the gradient of a leaf."""
        if leaf.storage is None or isinstance(cotangent, Tensor):
            earlier = self.by_leaf.get(leaf)  # not added to in place: somebody else may hold it
            self.by_leaf[leaf] = cotangent if earlier is None else earlier + cotangent
        elif (view := self.unwritten(leaf)) is not None:
            view[...] = cotangent
        else:
            view = self.by_leaf[leaf] = self.flat[leaf.storage].views[leaf.position]
            view += cotangent

    def unwritten(self, leaf: Leaf) -> Any:
        """Where to write the first contribution to a parameter's gradient; None if it has one, or for another leaf."""
        storage, position = leaf.storage, leaf.position
        if storage is None:
            return None
        flat = self.flat.get(storage)
        if flat is None:
            flat = self.flat[storage] = storage.gradient()
        if flat.present[position]:
            return None
        flat.present[position] = True
        view = self.by_leaf[leaf] = flat.views[position]
        return view


def backward(result: Tensor, seed: TensorLike | None = None, create_graph: bool = False) -> Gradients:
    """The gradients of `result` with respect to every leaf that it depends on.

    `seed` is the cotangent of the result (its shape and dtype); without one the result must be a single number. The
    graph is consumed, and its buffers are freed on the way, unless `create_graph` records the pass itself, so that
    gradients can be differentiated again. Raises ValueError if nothing requires a gradient or the seed does not fit,
    RuntimeError if the graph was consumed before, and MovedError if a parameter in it was updated since.
    """
    root = result.node
    if root is None:
        raise ValueError(
            "backward: this tensor depends on nothing that requires a gradient; make a leaf with "
            "mh.tensor(..., requires_grad=True), or compute it outside mh.no_grad()."
        )
    cotangent: Any = _seed(result, seed)
    if not create_graph and isinstance(cotangent, Tensor):
        cotangent = cotangent.array
    return walk(root, cotangent, create_graph)


def walk(
    root: Node | Leaf,
    seed: Any,
    create_graph: bool,
    stops: frozenset[Node] = frozenset(),
    oldest: int = 0,
    older_leaves: bool = False,
    consume: bool = True,
) -> Gradients:
    """Run the formulas from `root` down; cotangents that reach a node of `stops` are kept and go no further.

    Nothing of a lower order than `oldest` is visited: what was there before leads to no leaf that was made after it.
    With `older_leaves`, leaves that were there before receive their gradients all the same.
    """
    gradients = Gradients()
    if isinstance(root, Leaf):
        gradients.receive(root, seed)
        return gradients

    waiting: dict[Any, Any] = {root: seed}
    heap: list[tuple[int, Any]] = [(-root.order, root)]
    while heap:
        node: Node = heappop(heap)[1]
        g = waiting.pop(node)
        if node in stops:
            gradients.by_leaf[node] = g  # type: ignore[index]
            continue
        if (edges := node.edges) is None:
            raise RuntimeError(
                f"backward: the graph below '{node.name}' was consumed by an earlier backward(). Compute the result "
                "again, add the losses up before one backward(), or pass create_graph=True to the first, which "
                "consumes nothing."
            )
        if isinstance(node, Carrier):
            gradients.buffers.update(node.updates)
        for _, storage, generation in node.versions:
            if storage.generation != generation:
                raise MovedError(
                    f"backward: '{node.name}' read parameters that {storage.changed_at} has changed since, and its "
                    "gradient would be wrong. Run the forward pass again with the model that step() returned."
                )
        for _, parent, formula, values in edges:
            leaf = parent if isinstance(parent, Leaf) else None
            if parent.order < oldest and not (older_leaves and leaf):
                continue
            cotangent: Any
            try:
                if create_graph:
                    cotangent = formula.on_tensors(g, node, values)
                elif leaf and formula.into and (view := gradients.unwritten(leaf)) is not None:
                    formula.fast(g, *values, into=view)
                    continue
                else:
                    cotangent = formula.fast(g, *values)
                if cotangent.shape != parent.shape:
                    cotangent = unbroadcast(cotangent, parent.shape)
            except (ValueError, TypeError, IndexError, AttributeError) as error:
                raise _failed(node, formula, [g, *values], error) from error
            if leaf:
                gradients.receive(leaf, cotangent)
            elif parent in waiting:
                waiting[parent] = waiting[parent] + cotangent
            else:
                waiting[parent] = cotangent
                heappush(heap, (-parent.order, parent))
        if consume and not create_graph:
            node.edges = None
    return gradients


def _failed(node: Node, formula: Formula, values: list[Any], error: Exception) -> Exception:
    """What to say when a formula raises: the op, the line that called it if it is known, and what the formula got."""
    where = f"called at {node.line}" if node.line else "run the forward pass inside mh.debug() to see its line"
    arrays = [value.array if isinstance(value, Tensor) else value for value in values]
    return explained(f"backward of '{node.name}' ({where})", ["g", *formula.names], arrays, error)


def _seed(result: Tensor, seed: TensorLike | None) -> Tensor:
    if seed is None:
        if result.size != 1:
            raise ValueError(
                f"backward: a result of shape {result.shape} has no single gradient; reduce it (sum, mean) or pass a "
                "seed of that shape."
            )
        return Tensor(result.device.xp.ones(result.shape, result.dtype))
    given = seed if isinstance(seed, Tensor) else Tensor(result.device.array(np.asarray(seed), result.dtype))
    if given.shape != result.shape or given.dtype != result.dtype:
        raise ValueError(
            f"backward: the seed is {given.dtype} {given.shape}; expected {result.dtype} {result.shape}, as the result."
        )
    return given


def _absent(x: Any) -> str:
    if not isinstance(x, Tensor):
        return f"gradients are looked up by the tensor that they belong to, not by {type(x).__name__}."
    if x.node is None:
        return "this tensor does not require a gradient (made without requires_grad=True, detached or frozen)."
    if isinstance(x.node, Node):
        return f"this tensor is the result of '{x.node.name}', and gradients are kept for leaves only; use mh.grad."
    return "the result did not depend on this tensor, so it has no gradient; ask with `x in grads`."
