"""Random programs over all ops, against an engine that only knows NumPy and differences.

A machine calls ops on what earlier calls gave, runs backward passes, steps parameters in place, drops results; and
holds everything against a model. A result's model is the program that made it: run again on NumPy's functions, with
other leaves, it gives the values and, by differences, the slopes. The model also knows which graphs are consumed, which
are stale since a step, and what must be free when nobody holds it.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import minihybrid as mh
from minihybrid.autodiff import tape
from minihybrid.autodiff.op import registry
from minihybrid.autodiff.storage import Storage
from minihybrid.autodiff.tensor import Node
from tests.samples import Call, Interval, Matrices, calls, reference, samples_of

Leaves = dict[int, Any]
"""The values of the leaves of a program, by their number."""


class Pair(mh.Module):
    """Two parameters that a step changes in place."""

    a: mh.Param
    b: mh.Param


@dataclass(eq=False)
class Known:
    """A tensor, and what is known of it without the engine."""

    tensor: Any  # None when it was dropped
    replay: Callable[[Leaves, dict[int, Any]], Any]  # from the leaves; the dict remembers what was calculated
    parents: tuple[Known, ...] = ()
    leaf: int | None = None  # its number
    reads: int | None = None  # the generation of the parameters that it is, or was made from
    tracked: bool = True
    consumed: bool = False

    def run(self, leaves: Leaves, done: dict[int, Any]) -> Any:
        """What the program gives on these leaves."""
        if id(self) not in done:
            done[id(self)] = self.replay(leaves, done)
        return done[id(self)]

    def below(self) -> list[Known]:
        """All that a backward pass from here reaches, itself included."""
        seen: dict[int, Known] = {}
        stack = [self]
        while stack:
            known = stack.pop()
            if known.tracked and id(known) not in seen:
                seen[id(known)] = known
                stack += known.parents
        return list(seen.values())


def into(interval: Interval, x: Any, shape: tuple[int, ...], sin: Callable[[Any], Any]) -> Any:
    """Any values as values of a domain, in any shape: spread over one piece of it, no two of them the same."""
    size = int(np.prod(shape))
    low, high = interval.bounds[-1]
    spread = np.linspace(0.0, 0.3, size) if size > 1 else np.zeros(size)
    flat = x.reshape(-1)[np.arange(size) % x.size]
    return ((sin(flat) * 0.3 + 0.35 + spread) * (high - low) + low).reshape(shape)


class Programs(RuleBasedStateMachine):
    """Values live in `self.known`; whatever is not held there is held by nobody."""

    names: Sequence[str] = sorted(registry)

    def __init__(self) -> None:
        super().__init__()
        gc.disable()
        self.known: list[Known] = []
        self.leaves: Leaves = {}
        self.generation = 0

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        """Two parameters and a leaf."""
        self.rng = np.random.default_rng(seed)
        self.model = Pair(mh.Param(self.rng.normal(size=(2, 3))), mh.Param(self.rng.normal(size=3)))
        self.model = self.model.apply_delta(np.zeros(9))
        for param in (self.model.a, self.model.b):
            self.add_leaf(param, self.generation)
        self.new_leaf()

    def add_leaf(self, tensor: mh.Tensor, reads: int | None = None) -> None:
        number = len(self.leaves)
        self.leaves[number] = tensor.numpy()
        self.known.append(Known(tensor, lambda leaves, done: leaves[number], leaf=number, reads=reads))

    @rule()
    def new_leaf(self) -> None:
        """A leaf of the user's."""
        self.add_leaf(mh.tensor(self.rng.normal(size=self.rng.integers(1, 4, 2)), requires_grad=True))

    @rule(data=st.data(), count=st.integers(1, 5), record=st.sampled_from([True, True, True, False]))
    def calls(self, data: st.DataObject, count: int, record: bool) -> None:
        """A few ops, one after the other."""
        for _ in range(count):
            self.call(data, record)

    def call(self, data: st.DataObject, record: bool) -> None:
        """An op, on earlier results where its operands may be any reals of some kind."""
        name = data.draw(st.sampled_from(self.names), label="op")
        call = data.draw(calls(name))
        parents: list[Known | None] = []
        for i, operand in enumerate(call.operands):
            domain = samples_of(name).domains[min(i, len(samples_of(name).domains) - 1)]
            free = isinstance(domain, Interval | Matrices) and operand.dtype.kind == "f"
            parents.append(self.draw(data) if free else None)
        if len(parents) and all(parent is None for parent in parents):
            return  # nothing of the program is in it

        def arguments(values: list[Any], sin: Callable[[Any], Any]) -> list[Any]:
            given = []
            for i, (operand, value) in enumerate(zip(call.operands, values, strict=True)):
                domain = samples_of(name).domains[min(i, len(samples_of(name).domains) - 1)]
                if value is None:
                    given.append(operand)
                elif isinstance(domain, Matrices):
                    flat = into(Interval(((-1.0, 1.0),)), value, operand.shape, sin)
                    given.append(domain.make(flat))
                else:
                    given.append(into(domain, value, operand.shape, sin))
            return given

        def replay(leaves: Leaves, done: dict[int, Any]) -> Any:
            values = [None if parent is None else parent.run(leaves, done) for parent in parents]
            return np.asarray(call.on(arguments(values, np.sin), reference(name)))

        tensors = [None if parent is None else parent.tensor for parent in parents]
        if record:
            tensor = call.on(arguments(tensors, mh.sin))
        else:
            with mh.no_grad():
                tensor = call.on(arguments(tensors, mh.sin))
        if tensor.dtype.kind != "f" or not tensor.size:
            return  # the end of a program
        made_from = tuple(parent for parent in parents if parent is not None)
        known = Known(
            tensor, replay, made_from,
            reads=min((p.reads for p in made_from if p.reads is not None), default=None),
            tracked=tensor.requires_grad,
        )  # fmt: skip
        self.expect_tracked(known, call, parents, record)
        self.require_values(known)
        self.known.append(known)

    def expect_tracked(self, known: Known, call: Call, parents: list[Known | None], record: bool) -> None:
        """A result leads to a leaf where an argument with a gradient formula does."""
        pairs = zip(parents, call.names, strict=True)
        leads = any(p is not None and p.tracked and name in call.op.formulas for p, name in pairs)
        assert known.tracked == (leads and record)

    def draw(self, data: st.DataObject, start: int = 0) -> Known:
        """One of the results, mostly a late one (by its place: what hypothesis has drawn, it holds on to)."""
        least = data.draw(st.sampled_from([start, max(start, len(self.known) - 3)]))
        return self.known[data.draw(st.integers(least, len(self.known) - 1), label="place")]

    def stale(self, known: Known) -> bool:
        """Whether a parameter that it was made from has changed since."""
        return known.reads is not None and known.reads < self.generation

    def require_values(self, known: Known) -> None:
        if not self.stale(known):
            np.testing.assert_allclose(known.tensor.numpy(), known.run(self.leaves, {}), rtol=1e-9, atol=1e-9)

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """The values of a result are those of its program, whatever has happened since."""
        self.require_values(self.draw(data))

    @rule(data=st.data(), create_graph=st.booleans())
    def backward(self, data: st.DataObject, create_graph: bool) -> None:
        """A backward pass: refused if its graph is used up or stale, else its slopes are those of the program."""
        known = self.draw(data)
        if not known.tracked:
            with pytest.raises(ValueError, match="depends on nothing that requires a gradient"):
                known.tensor.backward(np.ones(known.tensor.shape))
            return
        below = known.below()
        weights = self.rng.normal(size=known.tensor.shape)
        stale = any(self.stale(one) for one in below if one.leaf is None)
        consumed = any(one.consumed for one in below)
        if stale or consumed:
            expected = mh.MovedError if not consumed else RuntimeError  # a MovedError is a RuntimeError
            with pytest.raises(expected, match="has changed since" if not consumed else "has changed since|consumed"):
                known.tensor.backward(weights)
        else:
            grads = known.tensor.backward(weights, create_graph)
            assert len(grads) == sum(one.leaf is not None for one in below)
            for one in below:
                if one.leaf is not None:
                    gradient = grads[one.tensor].detach().numpy()
                    assert gradient.shape == one.tensor.shape and gradient.dtype == one.tensor.dtype
                    self.require_slope(known, one.leaf, gradient, weights)
        if not create_graph or stale or consumed:  # also a pass that fails uses up what it walked through
            for one in below:
                one.consumed = one.leaf is None
            self.forget_half_used(below) if stale or consumed else None

    def forget_half_used(self, below: list[Known]) -> None:
        """After a pass that failed nobody can say which nodes are left: nothing more is built on them."""
        used = {id(one) for one in below if one.leaf is None}
        self.known = [one for one in self.known if not used & {id(b) for b in one.below()}]

    def require_slope(self, known: Known, leaf: int, gradient: Any, weights: Any) -> None:
        """A gradient, along a direction, is how the program's result moves with the leaf."""
        direction = self.rng.normal(size=gradient.shape)

        def along(step: float) -> Any:
            return (known.run({**self.leaves, leaf: self.leaves[leaf] + step * direction}, {}) * weights).sum()

        slope = (along(1e-5) - along(-1e-5)) / 2e-5
        scale = np.abs(gradient * direction).sum() + np.abs(weights).sum() + 1
        found = (gradient * direction).sum()
        assert abs(found - slope) <= 1e-5 * scale, f"leaf {leaf}: the slope is {slope}, the gradient says {found}"

    @rule()
    def step(self) -> None:
        """Parameters change in place: graphs that read them are stale from here on, and new ones see the new values."""
        delta = self.rng.normal(size=9)
        before = self.model
        self.model = self.model.apply_delta(delta, 0.1)
        with pytest.raises(mh.MovedError, match="was consumed by apply_delta"):
            before.a  # noqa: B018
        self.generation += 1
        for one, change in zip(self.known[:2], (delta[:6].reshape(2, 3), delta[6:]), strict=True):
            self.leaves[one.leaf] = self.leaves[one.leaf] + 0.1 * change
            one.reads = self.generation

    @precondition(lambda self: len(self.known) > 3)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """A result that nobody holds is free at once, without the collector, unless a graph needs it."""
        known = self.draw(data, start=3)
        if known.leaf is not None:  # it is asked for when its gradient is looked up
            return
        self.known.remove(known)
        node = weakref.ref(known.tensor.node) if known.tracked else None
        known.tensor = None
        assert node is None or node() is None or any(known in other.below() for other in self.known)

    @invariant()
    def nothing_is_left_between(self) -> None:
        """Operands are never written to."""
        for number, value in self.leaves.items():
            for one in self.known:
                if one.leaf == number:
                    np.testing.assert_allclose(one.tensor.array, value, rtol=1e-12)

    def teardown(self) -> None:
        """Nothing is left when nobody holds anything."""
        try:
            nodes = [weakref.ref(one.tensor.node) for one in self.known if one.tracked and one.leaf is None]
            for one in self.known:
                one.tensor = None
            assert [node().name for node in nodes if node() is not None] == []
        finally:
            gc.enable()


QUICK = settings(max_examples=100, stateful_step_count=20, suppress_health_check=list(HealthCheck), deadline=None)
TestPrograms = Programs.TestCase
TestPrograms.settings = QUICK


# The machine itself is tested: whatever is broken, it finds.


def wrong_formula(patch: pytest.MonkeyPatch) -> None:
    @mh.op(x=lambda g, out: g * (1 - out * out) * 1.001)
    def tanh(x: Any) -> Any:
        return np.tanh(x)


def lost_contribution(patch: pytest.MonkeyPatch) -> None:
    """The last one counts, and not the sum."""
    patch.setattr(tape.Gradients, "receive", lambda self, leaf, cotangent: self.by_leaf.update({leaf: cotangent}))


def steps_that_end_no_graph(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Storage, "advance", lambda self, where: None)


def graphs_that_are_not_consumed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tape, "walk", partial(tape.walk, consume=False))


def a_graph_that_is_kept(patch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    patch.setattr("minihybrid.autodiff.op.as_node", lambda *parts: kept.append(Node(*parts)) or kept[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [wrong_formula, lost_contribution, steps_that_end_no_graph, graphs_that_are_not_consumed, a_graph_that_is_kept],
)
def test_what_is_broken_is_found(broken: Any, monkeypatch: pytest.MonkeyPatch, scratch_ops: None) -> None:
    broken(monkeypatch)

    class Few(Programs):
        names = ("tanh", "multiply", "sum")

    quick = settings(QUICK, max_examples=1000, phases=[Phase.generate], database=None, derandomize=True)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(Few, settings=quick)
