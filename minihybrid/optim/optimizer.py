"""An optimizer is an update rule for one array; here it is applied to the whole flat vector.

A rule is written twice: `update` is the formula, which takes and returns values; `update_in_place` is the same with
buffers, and the tests hold the two equal. A rule that looks at single elements gives the same for one parameter and for
all of them end to end, and gets the longest runs there are; one that looks at matrices gets parameter by parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np

from minihybrid.autodiff.storage import Storage, caller
from minihybrid.autodiff.trace import host_number, opaque_call
from minihybrid.module.module import Module, changed, pack
from minihybrid.optim.gradients import GradientsParams

M = TypeVar("M", bound=Module)
Moments = dict[str, Any]


class Segment:
    """A run of slots with equal step counts, from `first` to `last`: a part of the vectors, and its views.

    `shape` is that of the views, in which the rule works on them.
    """

    __slots__ = ("first", "last", "moments", "part", "scratch", "shape", "w")

    def __init__(
        self, first: int, last: int, part: slice, shape: tuple[int, ...], w: Any, scratch: Any, moments: Moments
    ) -> None:
        self.first, self.last, self.part, self.shape = first, last, part, shape
        self.w, self.scratch = self.of(w), self.of(scratch)
        self.moments = {name: self.of(vector) for name, vector in moments.items()}

    def of(self, vector: Any) -> Any:
        """What a vector holds of it."""
        return vector[self.part].reshape(self.shape)


class Optimizer:
    """The base of update rules: keeps their moments and step counts by ParamId, and lays them out like the model.

    A rule defines `moments`, the names of its state arrays (all zero at first), and `update`; one that is not
    `elementwise` gets each parameter in its own shape.
    """

    moments: tuple[str, ...] = ()  # an instance may keep more, by its options
    positions: ClassVar[tuple[str, ...]] = ()  # those of the moments that are points among the weights
    elementwise: ClassVar[bool] = True

    def __init__(self) -> None:
        self._storage: Storage | None = None  # whose layout the vectors have
        self._vectors: Moments = {}
        self._steps: list[int] = []  # by slot
        self._present: list[bool] = []
        self._segments: list[Segment] = []
        self._aside: dict[str, Any] = {"steps": {}, "moments": {}}  # of parameters that the storage does not hold

    def update(self, w: Any, g: Any, moments: Moments, lr: float, t: int) -> tuple[Any, Moments]:
        """The new value of an array w and of its moments, given its gradient g in step t = 1, 2, ..."""
        raise TypeError(f"{type(self).__name__} defines no update(); an optimizer is its update rule.")

    def update_in_place(self, w: Any, g: Any, moments: Moments, lr: float, t: int, scratch: Any) -> None:
        """The same, written into w and the moments; g may be overwritten, scratch is an array of w's size."""
        new, after = self.update(w, g, moments, lr, t)
        w[...] = new
        for name, moment in moments.items():
            moment[...] = after[name]

    def step(self, lr: float, model: M, grads: GradientsParams) -> M:
        """Update the parameters that have a gradient, and return the model; consumes the model and the gradients.

        Parameters without a gradient are skipped entirely: value, moments and step count stay. Raises ValueError for a
        learning rate that is negative or not finite, and whatever `GradientsParams.flat` and `check` raise; then
        nothing has changed.
        """
        if not 0 <= lr < math.inf:
            raise ValueError(f"step: the learning rate is {lr}; expected a finite number that is not negative.")
        if isinstance(lr, np.generic):
            lr = lr.item()  # NumPy's numbers are not weak: a float64 would make a float32 step slow and round otherwise
        gradient = grads.flat(pack(model))
        self.check(model, gradient.present)
        self.apply(lr, model, gradient.vector, gradient.present)
        for buffer, value in grads.buffers.items():
            buffer.array[...] = value
        where = caller()
        grads.consume(where)
        if gradient.released_at is None:  # a copy, made because somebody may hold a view
            gradient.release(where)
        return changed(model, "step", where)

    def check(self, model: Module, present: list[bool]) -> None:
        """Raise ValueError if the rule cannot update one of the parameters whose slots are `present`."""

    def apply(self, lr: float, model: Module, gradient: Any, present: list[bool]) -> None:
        """Update, in place, the parameters whose slots of the flat `gradient` are `present`; it may be overwritten."""
        storage = pack(model)
        self.lay_out(storage)
        if present != self._present:
            self._present = list(present)
            self.cut()
        for segment in self._segments:
            t = host_number(self._next, segment.first)
            opaque_call(self._count, segment.first, segment.last)
            g = gradient[segment.part].reshape(segment.shape)
            self.update_in_place(segment.w, g, segment.moments, lr, t, segment.scratch)

    def _next(self, slot: int) -> int:
        """The number of the step that is next for a slot, from 1 on."""
        return self._steps[slot] + 1

    def _count(self, first: int, last: int) -> None:
        self._steps[first : last + 1] = [self._next(first)] * (last + 1 - first)

    def lay_out(self, storage: Storage) -> None:
        """Give the vectors the layout of a storage, whose parameters are going to be updated."""
        if storage is not self._storage:
            self._settle(storage, self.state())

    def parts(self) -> Iterator[Optimizer]:
        """This optimizer, and those that it is made of."""
        yield self

    def translate(self, delta: Any) -> None:
        """The weights were moved by a flat `delta` [n] without a step: moments that are positions move along."""
        for name in self.positions:
            if name in self._vectors:
                self._vectors[name] += delta

    def coasted(self, lr: float, weights: Any, steps: int) -> Any:
        """Where flat weights [n] would be after more steps with gradients of zero, a copy; nothing is changed.

        Their layout is that of the model stepped last; what its last step skipped stays.
        """
        weights = weights.copy()
        gradient, moments = np.empty_like(weights), {name: vector.copy() for name, vector in self._vectors.items()}
        for segment in self._segments:
            w, g = segment.of(weights), segment.of(gradient)
            views = {name: segment.of(vector) for name, vector in moments.items()}
            for t in range(self._next(segment.first), self._next(segment.first) + steps):
                g[...] = 0
                self.update_in_place(w, g, views, lr, t, segment.scratch)
        return weights

    def cut(self) -> None:
        """Find the segments, and what the vectors hold of each."""
        assert self._storage is not None
        self._segments = []
        for first, last in self._runs():
            begin, end = self._storage.slots[first], self._storage.slots[last]
            part = slice(begin.offset, end.offset + end.size)
            shape = (-1,) if self.elementwise else begin.shape
            vectors = self._storage.values, self._scratch, self._vectors
            self._segments.append(Segment(first, last, part, shape, *vectors))

    def readout(self, model: M) -> M:
        """The model to evaluate and to keep, a copy: for rules that average, the average; else the model as it is."""
        copy = model.clone()
        self.read_into(pack(copy))
        return copy

    def read_into(self, storage: Storage) -> None:
        """Replace the parameters in a storage by what `readout` gives for them; those never stepped stay."""
        state = Optimizer.state(self)
        for key, slot in zip(map(str, storage.keys), storage.slots, strict=True):
            if state["steps"].get(key):
                w = slot.view(storage.values)
                w[...] = self.read(w, {name: arrays[key] for name, arrays in state["moments"].items()})

    def read(self, w: Any, moments: Moments) -> Any:
        """What `readout` gives for an array w with its moments."""
        return w

    def scaling(self) -> Any:
        """What the rule multiplies each element of a gradient by, beside the learning rate: a vector [n], or 1.

        Its layout is that of the model stepped last; it is 1 for a parameter that was never stepped.
        """
        if self._storage is None or type(self).scale is Optimizer.scale:
            return 1
        if len(set(self._steps)) == 1:
            return self.scale(self._vectors, self._steps[0])
        scaling = np.ones_like(self._storage.values)
        for slot, t in zip(self._storage.slots, self._steps, strict=True):
            if t:
                moments = {name: slot.view(vector) for name, vector in self._vectors.items()}
                slot.view(scaling)[...] = self.scale(moments, t)
        return scaling

    def scale(self, moments: Moments, t: int) -> Any:
        """The same for an array with these moments after step t; 1 for rules that treat all elements alike."""
        return 1

    def _runs(self) -> list[tuple[int, int]]:
        """The longest runs of slots that have a gradient and the same step count."""
        runs: list[tuple[int, int]] = []
        for i, present in enumerate(self._present):
            if not present:
                continue
            if self.elementwise and runs and runs[-1][1] == i - 1 and self._steps[i] == self._steps[i - 1]:
                runs[-1] = (runs[-1][0], i)
            else:
                runs.append((i, i))
        return runs

    def _settle(self, storage: Storage, state: dict[str, Any]) -> None:
        """Lay a state out like a storage, and keep aside what belongs to other parameters."""
        steps, moments = dict(state["steps"]), {name: dict(arrays) for name, arrays in state["moments"].items()}
        keys = [str(key) for key in storage.keys]
        for key, slot in zip(keys, storage.slots, strict=True):
            for name, arrays in moments.items():
                if key in steps and arrays[key].shape != slot.shape:
                    raise ValueError(
                        f"{type(self).__name__}: the state's {name} of {key} has shape {arrays[key].shape}; expected "
                        f"its parameter's {slot.shape}."
                    )
        if storage is not self._storage:
            self._storage = storage
            self._vectors = {name: np.empty_like(storage.values) for name in self.moments}
            self._scratch = np.empty_like(storage.values)
        self._present = []
        self._steps = [steps.pop(key, 0) for key in keys]
        for name, vector in self._vectors.items():
            for key, slot in zip(keys, storage.slots, strict=True):
                value = moments[name].pop(key, None)
                slot.view(vector)[...] = 0 if value is None else storage.device.array(value)
        self._aside = {
            "steps": steps,
            "moments": {name: {key: a.copy() for key, a in arrays.items()} for name, arrays in moments.items()},
        }

    def state(self) -> dict[str, Any]:
        """Step counts and moments by str(ParamId): {"steps": {id: n}, "moments": {name: {id: array}}}, all copies."""
        steps = dict(self._aside["steps"])
        aside = self._aside["moments"]
        moments = {name: {key: a.copy() for key, a in aside.get(name, {}).items()} for name in self.moments}
        if self._storage is not None:
            keys = [str(key) for key in self._storage.keys]
            steps |= zip(keys, self._steps, strict=True)
            for name, vector in self._vectors.items():
                moments[name] |= {
                    key: slot.view(vector).copy() for key, slot in zip(keys, self._storage.slots, strict=True)
                }
        return {"steps": steps, "moments": moments}

    def load_state(self, state: dict[str, Any], model: Module | None = None) -> None:
        """Continue from a `state`: parameters that it does not know start anew.

        Before the first step, pass the model. Raises ValueError for a state of another rule or of other shapes; then
        nothing has changed.
        """
        if set(state["moments"]) != set(self.moments):
            came = sorted(state["moments"])
            raise ValueError(f"{type(self).__name__} keeps the moments {sorted(self.moments)}, the state has {came}.")
        storage = self._storage if model is None else pack(model)
        if storage is not None:
            self._settle(storage, state)
        elif state["steps"]:
            raise ValueError("load_state: this optimizer has made no step yet; pass the model that it will train.")

    def snapshot(self) -> Any:
        """A copy of the whole state as vectors, for `restore`."""
        return self._storage, list(self._steps), {name: vector.copy() for name, vector in self._vectors.items()}

    def restore(self, snapshot: Any) -> None:
        """Return to a `snapshot`, to the bit."""
        storage, steps, vectors = snapshot
        if storage is None:
            Optimizer.__init__(self)
            return
        if self._storage is None:  # it has been taken back to before its first step, or is another of its kind
            self.lay_out(storage)
        if storage is not self._storage:
            raise ValueError("restore: the snapshot was taken of another model's state; use state() and load_state().")
        self._steps, self._present = list(steps), []
        for name, vector in vectors.items():
            self._vectors[name][...] = vector


def require(condition: bool, optimizer: str, option: str, value: Any, expected: str) -> None:
    """Raise ValueError with one sentence unless an option's value is as expected."""
    if not condition:
        raise ValueError(f"{optimizer}: {option} is {value!r}; expected {expected}.")
