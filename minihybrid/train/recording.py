"""One call of a compiled function, while it is recorded: what it is given, the step itself, and what it gives.

What the step is given decides how it is bound. Arrays and tensors are copied into the plan, numbers are read anew in
each call, models and optimizers are the same objects whose memory the plan works on, and anything else is a constant of
the plan.

A recording is tried out at once: the step is taken back and replayed, and what it leaves behind must be equal to the
bit. So the first call makes one step, and a step that cannot be replayed makes none.
"""

from __future__ import annotations

import builtins
import dataclasses
import enum
import inspect
import itertools
import pickle
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy as shallow_copy
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from minihybrid.autodiff.plan import Expression, Plan
from minihybrid.autodiff.storage import Storage
from minihybrid.autodiff.tensor import Tensor
from minihybrid.autodiff.trace import PlanError, Trace, Tracer, active, is_array
from minihybrid.module.module import Module, changed, pack
from minihybrid.module.param import Buffer, Param
from minihybrid.optim.gradients import GradientsParams
from minihybrid.optim.optimizer import Optimizer
from minihybrid.rng import Rng
from minihybrid.train.outside import uses


class _Model(NamedTuple):
    """A model that a step is given: its name there, its handle, what the handle holds, and the storage."""

    name: str
    handle: Module
    fields: dict[str, Any]
    storage: Storage
    params: dict[str, Param]
    buffers: dict[str, Buffer]
    rngs: dict[str, Rng]


class Recording:
    """One call of a function, while it is recorded; see `compile`."""

    def __init__(self, function: FunctionType, args: Sequence[Any]) -> None:
        self.function = function
        self.args = args
        self.trace = Trace()
        self.inputs: list[tuple[str, Any]] = []
        self.models: list[_Model] = []
        self.optimizers: list[Optimizer] = []
        self.results: list[Any] = []
        self._checks: list[Expression] = []
        self._returned_models: list[_Model] = []
        self.parameters = [_named(parameter) for parameter in inspect.signature(function).parameters]
        self._given = [self._taken(arg, name) for arg, name in zip(args, self.parameters, strict=True)]
        self._uses(function)
        if any(model.storage.deserted for model in self.models):
            raise PlanError("compile: two of the models share parameters; pass the one that holds the other, alone.")
        self.parts = [part for optimizer in self.optimizers for part in optimizer.parts()]
        self._checks += itertools.chain.from_iterable(map(_as_it_was, self.parts))

    # Arguments

    def _taken(self, value: Any, name: str) -> Any:
        """What the function is called with for an argument; notes how a replay recognises and reads it."""
        check = self._checks.append
        if isinstance(value, Module):
            if "_borrowed" in value.__dict__:
                raise PlanError(
                    f"compile: {name} is a view borrowed by valid(), and a plan would be of this view alone; evaluate "
                    "without a plan, or pass a clone()."
                )
            storage = pack(value)
            fields = value.__dict__
            check(lambda text: f"{name}.__dict__ is {text(fields)} and not {text(storage)}.deserted")
            kept = value.named_params(), value.named_buffers(), value.named_rngs()
            self.models.append(_Model(name, value, fields, storage, *kept))
            return value
        if isinstance(value, Optimizer):
            check(lambda text: f"{name} is {text(value)}")
            self._optimizer(value)
            return value
        if isinstance(value, Tensor) and value.node is None and not isinstance(value, Param):
            check(lambda text: f"type({name}) is {text(type(value))} and {name}.node is None")
            return Tensor(self._input(value.array, f"{name}.array"))
        if isinstance(value, (np.integer, np.floating, np.bool_)):
            check(lambda text: f"type({name}) is {text(type(value))}")
            return self.trace.number(f"{name}.item()", value.item())
        if is_array(value):
            return self._input(value, name)
        if type(value) in (int, float):
            check(lambda text: f"type({name}) is {text(type(value))}")
            return self.trace.number(name, value)
        if isinstance(value, Mapping) and all(type(key) in (str, int) for key in value):
            check(lambda text: f"type({name}) is {text(type(value))} and list({name}) == {text(list(value))}")
            return {key: self._taken(item, f"{name}[{key!r}]") for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            check(lambda text: f"type({name}) is {text(type(value))} and len({name}) == {len(value)}")
            items = [self._taken(item, f"{name}[{i}]") for i, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            check(lambda text: f"type({name}) is {text(type(value))}")
            given = shallow_copy(value)
            for field in dataclasses.fields(value):
                item = self._taken(getattr(value, field.name), f"{name}.{field.name}")
                object.__setattr__(given, field.name, item)
            return given
        if value is None or isinstance(value, (bool, type)):
            check(lambda text: f"{name} is {text(value)}")
        elif callable(value) or isinstance(value, (str, bytes, complex, enum.Enum, range, slice, np.dtype, np.generic)):
            check(lambda text: f"{name} == {text(value)}")
            self._uses(getattr(value, "__func__", value))
        else:
            raise PlanError(
                f"compile: {name} is a {type(value).__name__}"
                f"{' that requires a gradient' if isinstance(value, Tensor) else ''}; a step takes models, optimizers, "
                "arrays, tensors that are constants (detach()), numbers, strings, functions, and tuples, lists, dicts "
                "by strings or dataclasses of these."
            )
        return value

    def _uses(self, function: Any) -> None:
        """What a function uses from outside has to be the same in a replay."""
        for value, found in uses(function) if isinstance(function, FunctionType) else ():
            self._checks.append(_same(found, value))
            if isinstance(value, Optimizer):
                self._optimizer(value)

    def _input(self, array: Any, name: str) -> Tracer:
        kind, shape, dtype = type(array), array.shape, array.dtype
        self._checks.append(
            lambda text: (
                f"type({name}) is {text(kind)} and {name}.shape == {text(shape)} and {name}.dtype == {text(dtype)}"
            )
        )
        # Products depend on the order in memory, by an ulp. What has no axes may be one of NumPy's numbers.
        copy = np.asarray(array.copy()) if isinstance(array, np.generic) else array.copy(order="K")
        self.inputs.append((name, copy))
        return self.trace.take(copy)

    def _optimizer(self, optimizer: Optimizer) -> None:
        if not any(optimizer is known for known in self.optimizers):
            self.optimizers.append(optimizer)

    # Recording

    def make(self) -> tuple[Plan | None, Any]:
        """The plan, and the result of the call."""
        self.storages = list({id(model.storage): model.storage for model in self.models}.values())
        unsettled = [part for part in self.parts if not any(part._storage is storage for storage in self.storages)]
        if unsettled and len(self.storages) > 1:  # whose parameters it updates is seen when it does
            return None, self.function(*self.args)
        for part in unsettled:
            for storage in self.storages:
                part.lay_out(storage)
        before = _State(self.storages, self.models, self.parts)
        try:
            returns = self._record()
            self._revive()
            after = _State(self.storages, self.models, self.parts)
            plan = Plan(
                self.trace,
                self.parameters,
                self.inputs,
                self.results,
                lambda text: [check(text) for check in self._checks],
                lambda text: f"({returns(text)},)",
            )
            found = [_bits(array) for array in self.results]
            before.restore()
            outcome = plan.replay(*self.args)
            if outcome is None:
                raise PlanError("the step changes what it decides by, so that its plan does not even fit this call.")
            different = after.difference(_State(self.storages, self.models, self.parts))
            if different or found != [_bits(array) for array in self.results]:
                raise PlanError(
                    f"a replay of the step does not leave {different or 'its results'} as the step itself does. Random "
                    "numbers that are drawn inside it, other than by dropout, or code that changes more than arrays, "
                    "can be the reason; do that outside, and pass what comes of it as an argument."
                )
        except BaseException:
            self._revive()
            before.restore()
            raise
        return plan, outcome[0]

    def _record(self) -> Expression:
        """Call the function with Tracers; gives what writes the expression of its result."""
        with self._bound():
            hidden = _hidden_streams()
            returned = self.function(*self._given)
            if _hidden_streams() != hidden:
                raise PlanError(
                    f"{self.function.__name__} draws from a random stream of NumPy's or Python's; draw from a mh.Rng "
                    "outside, and pass the numbers as an argument."
                )
            returns = self._returned(returned)
            for model in self.models:
                stepped = model.handle.__dict__ is not model.fields
                if stepped and not any(part is model for part in self._returned_models):
                    raise PlanError(
                        f"{self.function.__name__}: {model.name} is changed by the step, and not returned; return the "
                        "model that step() gives."
                    )
        return returns

    def _revive(self) -> None:
        """Give the handles that the recorded step has consumed their models back."""
        for model in self.models:
            object.__setattr__(model.handle, "__dict__", model.fields)

    @contextmanager
    def _bound(self) -> Iterator[None]:
        """Models and optimizers hold Tracers inside the block."""
        if active.trace is not None:
            raise PlanError("a compiled function is called inside another one; compile the outer one alone.")
        trace = self.trace
        values = [(storage, storage.values, storage.pool) for storage in self.storages]
        held = [[*model.params.values(), *model.buffers.values()] for model in self.models]
        tensors = [(tensor, tensor.array) for tensor in itertools.chain(*held)]
        laid_out = [part for part in self.parts if part._storage is not None]
        state = [(part, part._storage, part._vectors, part._scratch, part._aside) for part in laid_out]
        active.trace = trace
        try:
            for storage, array, _ in values:
                storage.values, storage.pool = trace.bind(array), []
            for tensor, array in tensors:
                tensor.array = trace.bind(array)
            for part in laid_out:
                part._vectors = {name: trace.bind(vector) for name, vector in part._vectors.items()}
                part._scratch = trace.bind(part._scratch)
                part.cut()
            yield
            if any(part._storage is not laid for part, laid, *_ in state):
                raise PlanError("an optimizer steps another model inside a compiled step than before; give it its own.")
        finally:
            active.trace, trace.over = None, True
            for storage, array, pool in values:
                storage.values, storage.pool = array, pool
            for tensor, array in tensors:
                tensor.array = array
            for part, laid, named, scratch, aside in state:
                part._storage, part._vectors, part._scratch, part._aside = laid, named, scratch, aside
                part.cut()

    # Results

    def _returned(self, value: Any) -> Expression:
        """What writes the expression of a part of the result."""
        if isinstance(value, Module):
            return self._returned_model(value)
        if isinstance(value, GradientsParams):
            return self._returned_gradients(value)
        if isinstance(value, Tensor):
            array = self._kept(value.array)
            return lambda text: f"{text(Tensor)}({array(text)})"
        if isinstance(value, Tracer) or is_array(value):
            return self._kept(value)
        if isinstance(value, Mapping):
            items = {key: self._returned(item) for key, item in value.items()}
            return lambda text: "{" + ", ".join(f"{text(key)}: {item(text)}" for key, item in items.items()) + "}"
        if isinstance(value, (tuple, list)):
            parts, kind = [self._returned(item) for item in value], type(value)
            if hasattr(value, "_fields"):
                return lambda text: f"{text(kind)}({', '.join(part(text) for part in parts)})"
            opens, closes = "()" if isinstance(value, tuple) else "[]"
            return lambda text: opens + "".join(f"{part(text)}, " for part in parts) + closes
        if value is None or isinstance(value, (Optimizer, bool, str, int, float, np.generic)):
            return lambda text: text(value)
        raise PlanError(
            f"{self.function.__name__} returns a {type(value).__name__}; a compiled step returns models, tensors, "
            "arrays, GradientsParams and numbers."
        )

    def _returned_model(self, value: Module) -> Expression:
        for model in self.models:
            if value.__dict__ is model.fields:
                self._returned_models.append(model)
                stepped, name = value is not model.handle, model.name
                return lambda text: f"{text(changed)}({name}, 'step')" if stepped else name
        raise PlanError(
            f"{self.function.__name__} returns a {type(value).__name__} that is none of its arguments after a step; "
            "rebuild models (map, to, train, valid, clone) outside of a compiled step."
        )

    def _returned_gradients(self, grads: GradientsParams) -> Expression:
        for storage in self.storages:
            try:
                flat = grads.flat(storage)
            except KeyError:
                continue
            vector, present = flat.vector, list(flat.present)
            self.results.append(vector.value)
            buffers = [(buffer, self._kept(array)) for buffer, array in grads.buffers.items()]
            return lambda text: (
                f"{text(_gradients)}({text(storage)}, {text(vector.value)}, {text(present)}, "
                f"{{{', '.join(f'{text(buffer)}: {array(text)}' for buffer, array in buffers)}}})"
            )
        raise PlanError(f"{self.function.__name__} returns gradients that belong to none of its models.")

    def _kept(self, array: Any) -> Expression:
        value = array.checked(self.trace) if isinstance(array, Tracer) else array
        self.results.append(value)
        order = "" if value.flags.c_contiguous else "'K'"
        return lambda text: f"{text(value)}.copy({order})"


class _State:
    """What a step may change: copies of vectors, buffers, states of random streams, moments and counts of steps."""

    def __init__(self, storages: Sequence[Storage], models: Sequence[_Model], parts: Sequence[Optimizer]) -> None:
        self._arrays: dict[str, tuple[Any, Any]] = {}
        self._rngs: dict[str, tuple[Rng, Any]] = {}
        self._steps = [(part, list(part._steps)) for part in parts]
        for i, storage in enumerate(storages):
            self._keep(f"the weights {i}", storage.values)
        for model in models:
            for path, buffer in model.buffers.items():
                self._keep(f"the buffer {path}", buffer.array)
            for path, rng in model.rngs.items():
                self._rngs[f"the random stream {path}"] = rng, rng.state()
        for part in parts:
            for name, vector in part._vectors.items():
                self._keep(f"{type(part).__name__}'s {name} {len(self._arrays)}", vector)

    def _keep(self, name: str, array: Any) -> None:
        self._arrays[name] = array, array.copy()

    def restore(self) -> None:
        for array, copy in self._arrays.values():
            array[...] = copy
        for rng, state in self._rngs.values():
            rng.load_state(state)
        for part, steps in self._steps:
            part._steps = list(steps)

    def difference(self, other: _State) -> str:
        """The name of something that is not equal; empty where all is, to the bit."""
        for name, (_, copy) in self._arrays.items():
            if _bits(copy) != _bits(other._arrays[name][1]):
                return name
        for name, (_, state) in self._rngs.items():
            if state != other._rngs[name][1]:
                return name
        mine, theirs = ([steps for _, steps in state._steps] for state in (self, other))
        return "" if mine == theirs else "an optimizer's count of steps"


def _bits(array: Any) -> bytes:
    """An array as bytes, all that is no number as one NaN: neither its sign nor its payload is promised by anybody."""
    if array.dtype.kind == "f" and (nan := np.isnan(array)).any():
        array = np.where(nan, array.dtype.type(np.nan), array)
    return bytes(array.tobytes())


def _same(expression: Expression, value: Any) -> Expression:
    symbol = "==" if isinstance(value, (str, bytes, tuple, list)) else "is"  # what is a literal in the source
    return lambda text: f"{expression(text)} {symbol} {text(value)}"


def _as_it_was(part: Optimizer) -> list[Expression]:
    """An optimizer works on the memory, on the parameters and with the settings of when it was recorded."""

    def same(name: str) -> Expression:
        return lambda text: f"{text(part)}.{name} == {text(getattr(part, name))}"

    names = [
        name
        for name, value in vars(part).items()
        if not name.startswith("_") and (value is None or isinstance(value, (bool, int, float, str, tuple, Optimizer)))
    ]
    return [
        lambda text: f"{text(part)}._vectors is {text(part._vectors)}",  # made anew for another storage
        lambda text: f"{text(part)}._present == {text(part._present)}",
        *map(same, names),
    ]


def _named(parameter: str) -> str:
    """What a parameter is called in the source of a plan, which has other uses for some names."""
    return f"{parameter}_" if hasattr(builtins, parameter) or re.fullmatch(r"t\d+", parameter) else parameter


def _hidden_streams() -> bytes:
    """Where the random streams stand that no plan knows of."""
    return pickle.dumps((np.random.get_state(), random.getstate()))


def _gradients(storage: Storage, vector: Any, present: list[bool], buffers: dict[Buffer, Any]) -> GradientsParams:
    """Gradients that a plan has calculated, with a vector of their own."""
    flat = storage.gradient()
    np.copyto(flat.vector, vector)
    flat.present = list(present)
    return GradientsParams.of(flat, buffers)
