"""A plan: a recorded step as a Python function of straight-line array calls, each with its memory beside it.

`Plan` takes what a `Trace` has written down. Calls whose results nobody uses are dropped, arrays that are needed one
after the other share memory, views are made once, and what is left becomes the source of a function: `Plan.show` prints
it, `Plan.replay` runs it. On a GPU the calls are a function of their own, which becomes one launch (graph.py).
"""

from __future__ import annotations

import builtins
import itertools
import keyword
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minihybrid.autodiff.graph import Graph, put, why_not
from minihybrid.autodiff.trace import Call, Number, Trace, arrays_in, is_array, owner
from minihybrid.device import Device, on_cpu
from minihybrid.rng import Rng

LINE = 64  # bytes of a line of the cache, at which arrays begin
NUMBER = 16  # bytes between numbers that are copied to a GPU together: the largest dtype has as many

Text = Callable[[Any], str]  # gives what stands in the source for an object
Expression = Callable[[Text], str]  # writes an expression of the source


class Plan:
    """The program of a step.

    `parameters` are the names that `replay` takes. Each of `inputs` is an expression of them, and the array that its
    value is copied to. `checks` and `returns` are given a function that names any object in the source, and give
    conditions, without which `replay` does nothing and returns None, and the expression that it returns; it may be of
    the arrays `results`, which keep their values until the next replay.
    """

    def __init__(
        self,
        trace: Trace,
        parameters: Sequence[str],
        inputs: Sequence[tuple[str, Any]],
        results: Sequence[Any],
        checks: Callable[[Text], list[str]],
        returns: Callable[[Text], str],
    ) -> None:
        kept = [*(array for _, array in inputs), *results]
        calls, constants = _without_constants(trace, _used(trace, kept))
        gpu = next((Device.of(array) for call in calls for array in arrays_in(call) if not on_cpu(array)), None)
        host, calls = ([], calls) if gpu is None else _host_first(calls)
        numbers = _Numbers(trace)
        stay = {id(owner(array)) for array in [*kept, *constants]} | set(trace.bound)
        layout = _Layout([*host, *calls], stay, trace.empty.values(), gpu)
        source = _Source(trace, parameters, {id(array) for _, array in inputs}, layout, numbers)

        text = source.text
        parts = [_Part(calls)] if gpu is None else _parted(calls, gpu)
        body = [
            *_unless(checks(text)),
            *(f"{name} = {text(asked)}({', '.join(map(text, args))})" for name, asked, args in trace.asked_for),
            *_unless([guard if outcome else f"not {guard}" for guard, outcome in dict.fromkeys(trace.guards)]),
            *numbers.lines(text),
            *(f"{text(_copying(array))}({text(array)}, {expression})" for expression, array in inputs),
            *map(source.line, host),
            *(line for part in parts for line in part.lines(source)),
            f"return {returns(text)}",
        ]

        self.nbytes = layout.nbytes
        """How much memory the arrays that are calculated on the way share."""
        self.graphs = [part.graph for part in parts if part.graph is not None]
        """What is captured, in the order of its launches; nothing on a CPU."""
        captured = [(f"{text(part.graph)}_calls", part) for part in parts if part.graph is not None]
        functions = [_function(name, [], map(source.line, part.calls)) for name, part in captured]
        self.source = "\n".join([*functions, _function("replay", parameters, body)])
        self._parts = parts
        self._namespace = source.namespace()
        exec(compile(self.source, "<plan>", "exec"), self._namespace)
        for graph, (name, _) in zip(self.graphs, captured, strict=True):
            graph.body = self._namespace[name]
        self.replay: Callable[..., Any] = self._namespace["replay"]

    def show(self) -> str:
        """The program as text: the arrays that it names, and its source."""
        lines = [
            "# x are inputs, n numbers, w the memory of models and optimizers, c constants and results",
            *(["# h are numbers on their way to the GPU"] if self.graphs else []),
            f"# a is calculated on the way, by turns in the same {self.nbytes:,} bytes",
        ]
        for name, value in self._namespace.items():
            if is_array(value):
                shown = f" = {value}" if name[0] == "c" and value.ndim == 0 else ""
                lines.append(f"# {name} {value.dtype} {value.shape}{shown}")
            if isinstance(value, Graph):
                lines.append(f"# {name} {value.reason or 'is one launch'}")
        lines += [
            f"# not captured: {reason}" for reason in dict.fromkeys(part.reason for part in self._parts) if reason
        ]
        return "\n".join([*lines, self.source])


def _function(name: str, parameters: Sequence[str], body: Iterable[str]) -> str:
    return "\n    ".join([f"def {name}({', '.join(parameters)}):", *body]) + "\n"


def _unless(conditions: Sequence[str]) -> list[str]:
    return [f"if not ({' and '.join(conditions)}): return None"] if conditions else []


@dataclass
class _Part:
    """Calls that follow each other: of a graph, or, for a reason if they work on a GPU, one by one."""

    calls: list[Call]
    graph: Graph | None = None
    reason: str = ""

    def lines(self, source: _Source) -> list[str]:
        """What stands for them in the source of a replay."""
        return [*map(source.line, self.calls)] if self.graph is None else [f"{source.text(self.graph)}()"]


def _copying(array: Any) -> Callable[..., None]:
    """What copies an argument to an array of the plan."""
    return np.copyto if on_cpu(array) or not array.flags.c_contiguous else put


def _host_first(calls: Sequence[Call]) -> tuple[list[Call], list[Call]]:
    """What is done on the host alone, and the calls on the GPU.

    The first are what keeps count of something, and what says where a random stream stands; they can be done before all
    others, as they read nothing that these write.
    """
    host: list[Call] = []
    others: list[Call] = []
    touched: set[int] = set()
    for call in calls:
        arrays = {id(owner(array)) for array in arrays_in(call)}
        draws = any(isinstance(arg, Rng) for arg in call.args)
        if not arrays or (draws and not arrays & touched):
            host.append(call)
        else:
            others.append(call)
            touched |= arrays
    return host, others


def _parted(calls: Sequence[Call], gpu: Device) -> list[_Part]:
    """Calls on a GPU, in parts that can be captured and parts that cannot."""
    parts = []
    for stays_out, run in itertools.groupby(calls, lambda call: bool(why_not(call))):
        part = _Part([*run])
        if stays_out:
            part.reason = "; ".join(dict.fromkeys(map(why_not, part.calls)))
        elif len(part.calls) > 1:  # one is a launch as it is
            part.graph = Graph(gpu)
        parts.append(part)
    return parts


class _Numbers:
    """Arrays that stand for numbers, and what writes them before the calls.

    Those on a GPU are one vector there, and one here, which is copied there at once. It is not pinned: so the driver
    has taken the few bytes over when the copy returns, and the next step may write them without waiting.
    """

    def __init__(self, trace: Trace) -> None:
        self._all = [*trace.numbers.values()]
        there = [array for array, _ in self._all if not on_cpu(array)]
        self._here = np.zeros(NUMBER * len(there), np.uint8)
        self._vector = _aligned(there[0], len(self._here)) if there else None
        self._places = {id(array): NUMBER * i for i, array in enumerate(there)}
        self._twins = {id(array): np.ndarray((), array.dtype, self._here, self._places[id(array)]) for array in there}
        numbers, twins = [self._vector, *(array for array, _ in self._all)], [self._here, *self._twins.values()]
        self.kinds = dict.fromkeys(map(id, numbers), "n") | dict.fromkeys(map(id, twins), "h")

    def placed(self, array: Any) -> Any:
        """The array where it lives."""
        place = self._places.get(id(owner(array)))
        return array if place is None else _view(array, self._vector, place)

    def lines(self, text: Text) -> list[str]:
        """What gives them the values of a step."""
        written = [f"{text(self._twins.get(id(array), array))}[()] = {number.text}" for array, number in self._all]
        return written if self._vector is None else [*written, f"{text(self._vector)}.set({text(self._here)})"]


class _Source:
    """Writes the source: what stands in it for calls and for objects, which get names."""

    def __init__(
        self, trace: Trace, parameters: Sequence[str], inputs: set[int], layout: _Layout, numbers: _Numbers
    ) -> None:
        self._bound, self._layout, self._numbers = trace.bound, layout, numbers
        self._kinds = numbers.kinds | dict.fromkeys(inputs, "x")
        self._names: dict[Any, str] = {}
        self._locals = [*parameters, *(name for name, *_ in trace.asked_for)]
        self._named: dict[str, Any] = {**dict.fromkeys(self._locals), "__name__": __name__}

    def namespace(self) -> dict[str, Any]:
        """The objects by their names."""
        return {name: value for name, value in self._named.items() if name not in self._locals}

    def line(self, call: Call) -> str:
        """A call."""
        args, text = [self.text(arg) for arg in call.args], self.text
        options = [f"{name}={text(value)}" for name, value in call.options.items()]
        if call.function is operator.setitem:
            return f"{args[0]}[{args[1]}] = {args[2]}"
        if call.out is None:
            return f"{text(call.function)}({', '.join([*args, *options])})"
        out = text(call.out)
        if call.function is operator.getitem:
            return f"{out}[...] = {args[0]}[{args[1]}]"
        if call.function is np.dot and is_array(call.args[0]) and not options:
            # The method saves a look at who may want to overload it.
            return f"{args[0]}.dot({args[1]}, {out})"
        if not call.takes_out:
            return f"{out}[...] = {text(call.function)}({', '.join([*args, *options])})"
        if isinstance(call.function, np.ufunc) and call.function not in (np.maximum, np.minimum):
            return f"{text(call.function)}({', '.join([*args, out, *options])})"  # by position, it is faster
        if call.options.keys() == {"axis", "keepdims"} and call.function.__name__ == "reduce":
            axis, keepdims = text(call.options["axis"]), call.options["keepdims"]
            return f"{text(call.function)}({args[0]}, {axis}, None, {out}{', True' if keepdims else ''})"
        return f"{text(call.function)}({', '.join([*args, *options, f'out={out}'])})"

    def text(self, value: Any) -> str:
        """What stands for a value in the source."""
        if isinstance(value, Number):
            return value.text
        if is_array(value):
            return self._array(value)
        if isinstance(value, slice):
            return f"slice({self.text(value.start)}, {self.text(value.stop)}, {self.text(value.step)})"
        if type(value) in (tuple, list):
            inside = "".join(f"{self.text(item)}, " for item in value)
            return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
        if value is Ellipsis:
            return "..."
        if value is None or type(value) in (int, bool, str) or (type(value) is float and abs(value) < np.inf):
            return repr(value)
        return self._object(value)

    def _object(self, value: Any) -> str:
        """The name of a function, or of another object that has no text of its own."""
        of = getattr(value, "__self__", None)
        key = id(value) if of is None else (id(of), value.__name__)
        if key not in self._names:
            owner_name = of.__name__ if isinstance(of, np.ufunc) else ""
            own = getattr(value, "__name__", type(value).__name__.lower())
            self._add(key, "_".join(filter(None, [owner_name, own.strip("<_>")])), value)
        return self._names[key]

    def _array(self, array: Any) -> str:
        placed = self._numbers.placed(self._layout.placed(array))
        key = _address(placed), placed.shape, placed.strides, str(placed.dtype)
        if key not in self._names:
            of = id(owner(array))
            kind = self._kinds.get(id(array)) or self._numbers.kinds.get(of) or ("w" if of in self._bound else "")
            self._add(key, kind or ("a" if placed is not array else "c"), placed, numbered=True)
        return self._names[key]

    def _add(self, key: Any, wanted: str, value: Any, numbered: bool = False) -> None:
        wanted = re.sub(r"\W", "_", wanted)
        name, i = f"{wanted}0" if numbered else wanted, 1
        while name in self._named or keyword.iskeyword(name) or getattr(builtins, name, value) is not value:
            name, i = f"{wanted}{'' if numbered else '_'}{i}", i + 1
        self._names[key] = name
        self._named[name] = value


def _used(trace: Trace, wanted: Sequence[Any]) -> list[Call]:
    """The calls without those whose results nobody looks at."""
    needed = {id(owner(array)) for array in wanted} | set(trace.bound)
    used = []
    for call in reversed(trace.calls):
        if call.pure and id(owner(call.target)) not in needed:
            continue
        used.append(call)
        needed |= {id(owner(array)) for array in arrays_in(call)}
    return used[::-1]


def _without_constants(trace: Trace, calls: Sequence[Call]) -> tuple[list[Call], list[Any]]:
    """The calls without those that calculate the same values each time; and the arrays that hold these."""
    bound = set(trace.bound)
    writers: dict[int, int] = {}
    for call in trace.calls:  # all of them: by now an array holds also what a call wrote that is left out
        for array in arrays_in(call) if not call.pure else [call.target]:
            writers[id(owner(array))] = writers.get(id(owner(array)), 0) + 1
    constants: list[Any] = []
    left = []
    varying = set(writers) | bound
    for call in calls:
        target = id(owner(call.target)) if call.target is not None else None
        read = {id(owner(array)) for array in arrays_in(call)} - {target}
        if target in varying and writers[target] == 1 and call.pure and target not in bound and not read & varying:
            constants.append(call.target)
            varying.discard(target)
        else:
            left.append(call)
    return left, constants


class _Layout:
    """Where arrays live: those that are calculated on the way in one piece of memory, by turns; all others stay."""

    def __init__(self, calls: Sequence[Call], stay: set[int], empty: Iterable[Any], gpu: Device | None) -> None:
        self._owners: dict[int, Any] = {}
        self._last: dict[int, int] = {}
        begins: dict[int, list[int]] = {}
        targets = [owner(call.target) for call in calls if call.target is not None]
        written = {id(array) for array in [*targets, *empty] if on_cpu(array) is (gpu is None)} - stay
        for i, call in enumerate(calls):
            for array in arrays_in(call):
                if (key := id(owner(array))) in written:
                    if key not in self._owners:
                        self._owners[key] = owner(array)
                        begins.setdefault(i, []).append(key)
                    self._last[key] = i
        self._offsets: dict[int, int] = {}
        living: set[int] = set()
        for i, keys in begins.items():
            living = {key for key in living if self._last[key] >= i}
            for key in keys:
                predecessor = self._predecessor(calls[i], i, key)
                living.discard(predecessor)
                taken_over = self._offsets.get(predecessor)
                self._offsets[key] = self._gap(living, key) if taken_over is None else taken_over
                living.add(key)
        self.nbytes = max((self._end(key) for key in self._offsets), default=0)
        some = next(iter(self._owners.values()), None)
        self._memory = None if some is None else _aligned(some, self.nbytes)

    def _end(self, key: int) -> int:
        return self._offsets[key] + -(-int(self._owners[key].nbytes) // LINE) * LINE

    def _gap(self, living: set[int], key: int) -> int:
        """The first place where an array fits between those that are alive."""
        place = 0
        for other in sorted(living, key=self._offsets.__getitem__):
            if place + self._owners[key].nbytes <= self._offsets[other]:
                break
            place = max(place, self._end(other))
        return place

    def _predecessor(self, call: Call, i: int, key: int) -> int:
        """The argument of an element-wise call whose place its result takes, as nobody needs it any more; else 0."""
        out, function = call.out, call.function
        if isinstance(function, np.ufunc) and function.signature is None and out is owner(out) and id(out) == key:
            for value in call.args:
                array = getattr(value, "strides", None) == out.strides and value is owner(value)
                if array and value.dtype == out.dtype and value.shape == out.shape and self._last.get(id(value)) == i:
                    return id(value)
        return 0

    def placed(self, array: Any) -> Any:
        """The array where it lives."""
        of = owner(array)
        if (offset := self._offsets.get(id(of))) is None:
            return array
        return _view(array, self._memory, offset + _address(array) - _address(of))


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr)


def _aligned(like: Any, nbytes: int) -> Any:
    """Fresh memory on the device of an array, as bytes; it begins at a line of the cache."""
    memory = Device.of(like).xp.empty(nbytes + LINE, np.uint8)
    begin = -_address(memory) % LINE
    return memory[begin : begin + nbytes]


def _view(array: Any, memory: Any, offset: int) -> Any:
    """An array like another, in memory at an offset."""
    if isinstance(array, np.ndarray):
        return np.ndarray(array.shape, array.dtype, memory, offset, array.strides)
    return Device.of(array).xp.ndarray(array.shape, array.dtype, memory.data + offset, array.strides)
