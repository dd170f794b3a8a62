"""The graph of a result as a picture: what backward would walk, as SVG without any other program, and as DOT."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any, Literal

from minihybrid.autodiff.formula import Formula
from minihybrid.autodiff.layout import layered
from minihybrid.autodiff.tensor import Leaf, Node, Tensor

Kind = Literal["op", "parameter", "leaf", "more"]

# Boxes bring their own background, and the lines are of middle lightness: so it can be read on any page.
INK, TEXT = "#797979", "#1b1f23"
FILL = {"op": "#d9e8f5", "parameter": "#d3efe4", "leaf": "#f5e3c8"}
CHARACTER, LINE, PADDING, GAP, BETWEEN, MARGIN = 7.3, 15, 9, 22, 34, 8  # in pixels, for a typeface of 12
HEIGHT = 2 * LINE + PADDING


@dataclass(frozen=True)
class Vertex:
    """A box: the name of an op, or what a leaf is called, and the shape of its value."""

    kind: Kind
    name: str
    shape: tuple[int, ...] | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands in the box."""
        return (self.name,) if self.shape is None else (self.name, str(self.shape))


@dataclass(frozen=True)
class Edge:
    """The value of vertex `start` goes into op `end`; `about` says what its gradient formula keeps."""

    start: int
    end: int
    about: str = ""


@dataclass(frozen=True)
class Drawing:
    """A graph, ready to be shown: notebooks show it by themselves.

    `svg` and `dot` are texts for a file; `left_out` is how many vertices are too far from the result to be drawn.
    """

    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    left_out: int = 0

    @property
    def svg(self) -> str:
        """The picture: data flows down, an edge shows under the pointer what its gradient needs."""
        return "\n".join(_svg(self)) + "\n"

    @property
    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        return "\n".join(_dot(self)) + "\n"

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        ops = sum(vertex.kind == "op" for vertex in self.vertices)
        leaves = sum(vertex.kind in ("parameter", "leaf") for vertex in self.vertices)
        told = f"{ops} op{'s' * (ops != 1)} and {leaves} {'leaf' if leaves == 1 else 'leaves'}"
        more = f", and {self.left_out:,} more" if self.left_out else ""
        return f"<drawing of {told}{more}; .svg and .dot are its texts>"


def draw(result: Tensor, model: Any = None, /, *, limit: int = 60, **names: Tensor) -> Drawing:
    """Draw the graph that `result.backward()` would walk, before it does: backward consumes the graph.

    Parameters are called by their paths in `model`, other tensors by the names that they are given as keywords. What
    leads to no leaf is no part of a graph. Of a graph of more than `limit` vertices those nearest to the result are
    drawn. A function under `checkpoint` is run again to be drawn. Raises ValueError if the result depends on nothing
    that requires a gradient, and RuntimeError if its graph was consumed.

    >>> import minihybrid as mh
    >>> x, w = mh.tensor([1.0, 2.0]), mh.tensor([3.0, 4.0], requires_grad=True)
    >>> drawing = mh.draw((w * w).sum() * 2, w=w)
    >>> drawing
    <drawing of 3 ops and 1 leaf; .svg and .dot are its texts>
    >>> print(drawing.dot)
    digraph {
      0 [label="multiply\\n()", shape=box];
      1 [label="sum\\n()", shape=box];
      2 [label="multiply\\n(2,)", shape=box];
      3 [label="w\\n(2,)", shape=ellipse];
      1 -> 0;
      2 -> 1;
      3 -> 2;
      3 -> 2;
    }
    """
    root = result.node
    if root is None:
        raise ValueError(
            "draw: this tensor depends on nothing that requires a gradient, so there is no graph; make a leaf with "
            "mh.tensor(..., requires_grad=True), or compute it outside mh.no_grad()."
        )
    if limit < 1:
        raise ValueError(f"draw: limit is {limit}; expected how many boxes to draw at most, 1 or more.")
    called = {param.node: path for path, param in ({} if model is None else model.named_params()).items()}
    called |= {named.node: name for name, named in names.items()}
    called.pop(None, None)

    found: dict[Node | Leaf, int] = {root: 0}
    edges, waiting, left_out = list[Edge](), deque([root]), 0
    cut: set[int] = set()
    while waiting:
        node = waiting.popleft()
        for parent, formula in _parents(node):
            if parent not in found:
                found[parent] = len(found)
                waiting.append(parent)
                left_out += found[parent] >= limit
            if max(found[parent], found[node]) < limit:
                edges.append(Edge(found[parent], found[node], _kept(formula)))
            elif found[node] < limit:
                cut.add(found[node])
    vertices = [_vertex(node, called.get(node, "")) for node in list(found)[:limit]]
    for end in sorted(cut):
        edges.append(Edge(len(vertices), end))
        vertices.append(Vertex("more", "..."))
    return Drawing(tuple(vertices), tuple(edges), left_out)


def _parents(node: Node | Leaf) -> Iterator[tuple[Node | Leaf, Formula]]:
    if isinstance(node, Node):
        if (edges := node.edges) is None:
            raise RuntimeError(
                f"draw: the graph below '{node.name}' was consumed by an earlier backward(). Draw it before, or pass "
                "create_graph=True to backward(), which consumes nothing."
            )
        for _, parent, formula, _ in edges:
            yield parent, formula


def _kept(formula: Formula) -> str:
    names = ", ".join(formula.names)
    return f"its gradient needs {names}" if names else "its gradient needs nothing but g"


def _vertex(node: Node | Leaf, name: str) -> Vertex:
    if isinstance(node, Node):
        return Vertex("op", f"{name} = {node.name}" if name else node.name, node.shape)
    parameter = node.storage is not None
    return Vertex("parameter" if parameter else "leaf", name or ("parameter" if parameter else "leaf"), node.shape)


def _svg(drawing: Drawing) -> Iterator[str]:
    vertices, edges = drawing.vertices, drawing.edges
    widths = [max(map(len, vertex.lines)) * CHARACTER + 2 * PADDING for vertex in vertices]
    layout = layered(widths, [(edge.start, edge.end) for edge in edges], GAP)
    note = f"{drawing.left_out:,} more are not drawn" if drawing.left_out else ""
    top = MARGIN + (2 * LINE if note else 0)
    right = max(x + width / 2 for x, width in zip(layout.x, widths, strict=True))
    wide = max(right, len(note) * CHARACTER) + 2 * MARGIN
    high = top + (max(layout.layers) + 1) * (HEIGHT + BETWEEN) - BETWEEN + MARGIN

    def up(layer: int) -> float:
        """Where the boxes of a layer begin."""
        return top + layer * (HEIGHT + BETWEEN)

    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}" font-family="ui-monospace, monospace" font-size="12" '
        'text-anchor="middle" role="img">'
    )
    yield f"<title>{escape(repr(drawing).strip('<>'))}</title>"
    if note:
        yield f'<text x="{wide / 2:.1f}" y="{MARGIN + LINE}" fill="{INK}">{note}</text>'
    aside = _aside(edges, [way[-2][0] for way in layout.edges], widths)
    for edge, way, shift in zip(edges, layout.edges, aside, strict=True):
        # Straight down through the layers on the way, past their boxes.
        points = [(MARGIN + x, up(layer) + end) for x, layer in way for end in (0, HEIGHT)][1:-1]
        points[-1] = points[-1][0] + shift, points[-1][1]
        yield from _arrow(points, edge.about, cut=vertices[edge.start].kind == "more")
    for vertex, x, layer, width in zip(vertices, layout.x, layout.layers, widths, strict=True):
        yield from _box(vertex, MARGIN + x, up(layer), width)
    yield "</svg>"


def _arrow(points: list[tuple[float, float]], about: str, cut: bool) -> Iterator[str]:
    dashes = ' stroke-dasharray="3 3"' if cut else ""
    yield f'<path d="{_curve(points)}" fill="none" stroke="{INK}" stroke-width="1.3"{dashes}>'
    yield f"<title>{escape(about)}</title></path>"
    x, y = points[-1]
    yield f'<path d="M{x:.1f} {y:.1f}l-4 -7h8z" fill="{INK}"/>'


def _box(vertex: Vertex, x: float, top: float, width: float) -> Iterator[str]:
    if vertex.kind == "more":
        yield f'<text x="{x:.1f}" y="{top + HEIGHT - LINE / 4:.1f}" fill="{INK}">{vertex.name}</text>'
        return
    corner = 4 if vertex.kind == "op" else HEIGHT // 2
    yield (
        f'<rect x="{x - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{HEIGHT}" rx="{corner}" '
        f'fill="{FILL[vertex.kind]}" stroke="{INK}"/>'
    )
    for i, line in enumerate(vertex.lines):
        place = f'x="{x:.1f}" y="{top + PADDING / 2 + LINE * (i + 0.75):.1f}"'
        weight = "" if i else ' font-weight="bold"'
        yield f'<text {place} fill="{TEXT}"{weight}>{escape(line)}</text>'


def _aside(edges: Sequence[Edge], origins: Sequence[float], widths: Sequence[float]) -> list[float]:
    """How far from the middle of a box each edge arrives, so that several edges are seen to be several."""
    places = [0.0] * len(edges)
    for end in {edge.end for edge in edges}:
        arriving = sorted((i for i, edge in enumerate(edges) if edge.end == end), key=lambda i: origins[i])
        step = min(12, (widths[end] - 2 * PADDING) / len(arriving))
        for rank, i in enumerate(arriving):
            places[i] = (rank - (len(arriving) - 1) / 2) * step
    return places


def _curve(points: list[tuple[float, float]]) -> str:
    """A line that goes straight up and down at each point."""
    (x, y), *_ = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (y + to_y) / 2
        parts.append(f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}")
    return "".join(parts)


def _dot(drawing: Drawing) -> Iterator[str]:
    yield "digraph {"
    for i, vertex in enumerate(drawing.vertices):
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in vertex.lines)
        shape = {"op": "box", "more": "plain"}.get(vertex.kind, "ellipse")
        yield f'  {i} [label="{label}", shape={shape}];'
    for edge in drawing.edges:
        yield f"  {edge.start} -> {edge.end};"
    yield "}"
