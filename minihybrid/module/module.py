"""A module is a tree of names over one flat vector of parameters, and it has one owner.

Deriving from `Module` makes a class a frozen dataclass. Its fields are Params, Buffers, random streams (Rng), Modules,
lists, tuples and dicts of them, and static values. What changes a model consumes the handle and returns a new one;
underneath, the new handle takes over the old one's fields, and the parameters are written where they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self, TypeVar, dataclass_transform

import numpy as np

from minihybrid.autodiff.storage import FlatGradient, MovedError, Storage, caller
from minihybrid.autodiff.tensor import Tensor
from minihybrid.device import Device
from minihybrid.module.param import Buffer, Param
from minihybrid.module.visitor import ModuleMapper, ModuleVisitor
from minihybrid.rng import Rng

if TYPE_CHECKING:
    from pathlib import Path

    from minihybrid.module.record import LoadReport

V = TypeVar("V", bound=ModuleVisitor)
M = TypeVar("M", bound="Module")


@dataclass_transform(frozen_default=True, eq_default=False)
class Module:
    """The base of layers and models: annotate fields, write `forward`, call the instance.

    `step`, `map`, `to`, `train`, `load`, `apply_delta` and `restore` consume a model: they return it under a new
    handle, and the old one raises MovedError when it is touched. `visit` and `valid` borrow it; `clone` copies it.

    >>> import minihybrid as mh
    >>> class Scale(mh.Module):
    ...     factor: mh.Param
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale(mh.Param(mh.tensor([2.0, 3.0])))
    >>> model(mh.tensor([1.0, 1.0])).tolist()
    [2.0, 3.0]
    >>> moved = model.map(mh.ModuleMapper())
    >>> model.factor
    Traceback (most recent call last):
        ...
    minihybrid.autodiff.storage.MovedError: this Scale was consumed by map() at ...; use the model that map() ...
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every module defines its own."""
        raise TypeError(f"{type(self).__name__} defines no forward(); add one that takes what you called it with.")

    # Reading

    def visit(self, visitor: V) -> V:
        """Show every parameter and buffer to the visitor, with its path, and return the visitor."""
        _require_owned(self)
        _visit(self, "", visitor, set())
        return visitor

    def named_params(self) -> dict[str, Param]:
        """The parameters by path, a tied one at its first path."""
        return self.visit(_Collect()).params

    def named_buffers(self) -> dict[str, Buffer]:
        """The buffers by path."""
        return self.visit(_Collect()).buffers

    def named_rngs(self) -> dict[str, Rng]:
        """The random streams (of dropout, say) by path."""
        return self.visit(_Collect()).rngs

    def num_params(self) -> int:
        """How many numbers the parameters hold, frozen ones included, tied ones once."""
        return sum(param.size for param in self.named_params().values())

    @property
    def device(self) -> Device:
        """Where the parameters are (the CPU for a model without any)."""
        first = next(iter(self.named_params().values()), None)
        return Device("cpu") if first is None else first.device

    def clone(self) -> Self:
        """An independent copy with the same ids."""
        _require_owned(self)
        copy: Self = _rebuild(self, "", _Copy(), {})
        return copy

    def valid(self) -> Self:
        """A view for evaluation: no gradients, `training` False. It shares the parameters and ends when they change."""
        _require_owned(self)
        view: Self = _rebuild(self, "", _Borrow(), {}, training=False)
        parts = view.visit(_Collect()).modules
        for part in parts:
            part.__dict__["_borrowed"] = True
        for storage in {id(p.storage): p.storage for p in self.named_params().values()}.values():
            storage.lend(parts)
        return view

    def end_borrow(self, where: str) -> None:
        """Empty a `valid` view, because the parameters that it shows were changed at line `where`."""
        text = f"this view was borrowed by valid(), and {where} has changed the model since; call valid() again."
        object.__setattr__(self, "__dict__", {"_moved": text})

    # Consuming

    def map(self, mapper: ModuleMapper) -> Self:
        """Rebuild the model with what the mapper makes of each parameter and buffer."""
        _require_owner(self, "map")
        rebuilt: Self = _rebuild(self, "", mapper, {})
        _empty(self, "map", caller())
        return rebuilt

    def to(self, device: Device | str) -> Self:
        """Move the model to a device: new storage, the same ids."""
        _require_owner(self, "to")
        target = Device(device)
        if self.device == target:
            return consume(self, "to", caller())
        moved: Self = _rebuild(self, "", _Copy(target), {})
        _empty(self, "to", caller())
        return moved

    def train(self) -> Self:
        """Set `training` in every part. A `valid` view, which owns nothing, becomes an independent copy."""
        _require_owned(self)
        borrowed = "_borrowed" in self.__dict__
        rebuilt: Self = _rebuild(self, "", _Copy() if borrowed else ModuleMapper(), {}, training=True)
        _empty(self, "train", caller())
        return rebuilt

    def apply_delta(self, delta: Mapping[str, Any] | Any, scale: float = 1.0) -> Self:
        """Add `scale` times a delta to the parameters: a flat vector, or arrays by str(ParamId).

        Each weight becomes w + dtype(scale) * delta, rounded once for each operation; parameters without a delta stay
        as they are. Raises KeyError for an id that is not the model's, ValueError for other shapes, TypeError for other
        dtypes.
        """
        storage, where = pack(self), caller()
        factor = storage.values.dtype.type(scale)
        scaled = storage.gradient()  # a vector from the pool: fresh memory would take as long as the sum
        if isinstance(delta, Mapping):
            positions = _laid_out(self, delta, scaled)
            if len(positions) == len(storage.slots):
                np.multiply(scaled.vector, factor, out=scaled.vector)
                storage.values += scaled.vector
            else:
                for position in positions:
                    storage.slots[position].view(storage.values)[...] += factor * scaled.views[position]
        else:
            change = _array(delta)
            _check_like("the delta", change, storage.values)
            np.multiply(change, factor, out=scaled.vector)
            storage.values += scaled.vector
        scaled.release(where)
        return changed(self, "apply_delta", where)

    def snapshot(self) -> Snapshot:
        """A copy of parameters, buffers and the states of random streams, for `restore`."""
        vector = pack(self).values.copy()
        found = self.visit(_Collect())
        return Snapshot.of(vector, found.buffers, found.rngs)

    def restore(self, snapshot: Snapshot) -> Self:
        """Return to the values of a snapshot, to the bit. Raises ValueError for a snapshot of another model."""
        storage, found = pack(self), self.visit(_Collect())
        same_names = snapshot.buffers.keys() == found.buffers.keys() and snapshot.rngs.keys() == found.rngs.keys()
        if snapshot.vector.shape != storage.values.shape or not same_names:
            raise ValueError(f"restore: the snapshot is not of this {type(self).__name__}: it holds other parameters.")
        storage.values[...] = snapshot.vector
        for path, buffer in found.buffers.items():
            buffer.array[...] = snapshot.buffers[path]
        for path, rng in found.rngs.items():
            rng.load_state(snapshot.rngs[path])
        return changed(self, "restore")

    def load(self, path: str | Path) -> tuple[Self, LoadReport]:
        """Read parameters and buffers from a safetensors file by path; see `minihybrid.module.record.load`."""
        from minihybrid.module.record import load

        return load(self, path)

    def __getattr__(self, name: str) -> NoReturn:
        # Only reached when the normal look-up fails: a living model pays nothing for this.
        if not name.startswith("__"):
            _require_owned(self)
        raise AttributeError(f"{type(self).__name__} has no field {name!r}.")

    def __copy__(self) -> Self:
        return self.clone()  # one owner each: two handles of the same parameters would not know of each other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.clone()

    def __getstate__(self) -> dict[str, Any]:
        _require_owned(self)
        return dict(_fields(self))

    def __repr__(self) -> str:
        if "_moved" in self.__dict__:
            return f"{type(self).__name__}(consumed)"
        body = ", ".join(f"{name}={_brief(value)}" for name, value in _fields(self))
        return f"{type(self).__name__}({body})"


def _brief(value: Any) -> str:
    return f"{type(value).__name__}{value.shape}" if isinstance(value, Tensor) else repr(value)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The values of a model at one moment: the flat vector, buffers and states of random streams by path."""

    vector: Any
    buffers: dict[str, Any]
    rngs: dict[str, Any]

    @staticmethod
    def of(vector: Any, buffers: dict[str, Buffer], rngs: dict[str, Rng]) -> Snapshot:
        """The vector as it is, and copies of what the buffers and streams hold."""
        arrays = {path: buffer.array.copy() for path, buffer in buffers.items()}
        return Snapshot(vector, arrays, {path: rng.state() for path, rng in rngs.items()})


class _Collect(ModuleVisitor):
    def __init__(self) -> None:
        self.params: dict[str, Param] = {}
        self.buffers: dict[str, Buffer] = {}
        self.rngs: dict[str, Rng] = {}
        self.modules: list[Module] = []

    def enter_module(self, path: str, module: Module) -> None:
        self.modules.append(module)

    def visit_rng(self, path: str, rng: Rng) -> None:
        self.rngs[path] = rng

    def visit_param(self, path: str, param: Param) -> None:
        self.params[path] = param

    def visit_buffer(self, path: str, buffer: Buffer) -> None:
        self.buffers[path] = buffer


# Ownership


def _require_owned(module: Module) -> None:
    if (moved := module.__dict__.get("_moved")) is not None:
        raise MovedError(str(moved))


def _require_owner(module: Module, verb: str) -> None:
    _require_owned(module)
    if "_borrowed" in module.__dict__:
        raise MovedError(
            f"{verb}: this {type(module).__name__} is a view borrowed by valid(), which owns nothing; use the model it "
            "was taken from, or clone() the view."
        )


def _empty(module: Module, verb: str, where: str) -> None:
    object.__setattr__(module, "__dict__", {"_moved": _Consumed(type(module).__name__, verb, where)})


class _Consumed(NamedTuple):
    """Which call took a model, and where; the sentence is made when somebody asks."""

    name: str
    verb: str
    where: str

    def __str__(self) -> str:
        return (
            f"this {self.name} was consumed by {self.verb}() at {self.where}; use the model that {self.verb}() "
            "returned, or clone() it before."
        )


def consume(model: M, verb: str, where: str) -> M:
    """Hand the model over to a new handle; the old one remembers only which call, at which line, took it."""
    handle = object.__new__(type(model))
    object.__setattr__(handle, "__dict__", model.__dict__)
    _empty(model, verb, where)
    return handle


def changed(model: M, verb: str, where: str = "") -> M:
    """After the parameters were written: end what was recorded or borrowed before, and hand the model over."""
    where = where or caller()
    pack(model).advance(where)
    return consume(model, verb, where)


# The flat vector


def pack(model: Module) -> Storage:
    """The storage that holds exactly the model's parameters, in the order of their paths, made at the first call.

    Raises TypeError if they are of several dtypes or on several devices.
    """
    packed = model.__dict__.get("_packed")
    if packed is not None and not packed.deserted:
        return packed  # type: ignore[no-any-return]
    _require_owner(model, "pack")
    params = list(model.named_params().values())
    storage = _common_storage(params)
    if storage is None:
        kinds = {(str(p.dtype), p.device.name): path for path, p in model.named_params().items()}
        if len(kinds) > 1:
            came = ", ".join(f"{path} is {dtype} on {device}" for (dtype, device), path in kinds.items())
            raise TypeError(f"a model's parameters share one dtype and one device: {came}; use map() to cast or move.")
        former = list({id(p.storage): p.storage for p in params}.values())
        storage = Storage([p.array for p in params], [p.id for p in params], former)
        for position, param in enumerate(params):
            param.move_in(storage, position)
    model.__dict__["_packed"] = storage
    return storage


def _common_storage(params: list[Param]) -> Storage | None:
    if not params:
        return Storage([])
    storage = params[0].storage
    fits = len(storage.slots) == len(params) and not storage.deserted
    return storage if fits and all(p.storage is storage and p.position == i for i, p in enumerate(params)) else None


def _laid_out(model: Module, named: Mapping[str, Any], vector: FlatGradient) -> list[int]:
    """Copy values by str(ParamId) to their slots of a vector, whose positions are returned; all are checked."""
    known, slots = pack(model).positions, pack(model).slots
    if unknown := named.keys() - known.keys():
        raise KeyError(f"the delta names {min(unknown)!r}, which is no ParamId of this {type(model).__name__}.")
    positions = sorted(map(known.__getitem__, named))
    keys = list(known)
    values = [_array(named[keys[position]]) for position in positions]
    for position, value in zip(positions, values, strict=True):
        same_kind = type(value) is type(vector.vector) and value.dtype == vector.vector.dtype
        if not same_kind or value.shape != slots[position].shape:
            _check_like(f"the delta for {keys[position]}", value, vector.views[position])
    if len(positions) == len(slots):
        np.concatenate(values, axis=None, out=vector.vector)
    else:
        for position, value in zip(positions, values, strict=True):
            vector.views[position][...] = value
    return positions


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Tensor) else value


def _check_like(what: str, value: Any, array: Any) -> None:
    if getattr(value, "shape", None) != array.shape:
        raise ValueError(f"{what} has shape {getattr(value, 'shape', None)}; expected the parameter's {array.shape}.")
    if value.dtype != array.dtype:
        raise TypeError(f"{what} is {value.dtype}; expected the parameter's {array.dtype}.")
    if Device.of(value) != Device.of(array):
        raise TypeError(
            f"{what} is on {Device.of(value).name}, the parameter on {Device.of(array).name}; move one with to()."
        )


# The tree


def _fields(module: Module) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(module):  # type: ignore[arg-type]
        yield field.name, getattr(module, field.name)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    else:
        yield from ((str(i), item) for i, item in enumerate(value))


def _visit(value: Any, path: str, visitor: ModuleVisitor, seen: set[Any]) -> None:
    if isinstance(value, Param):
        if value.id not in seen:
            seen.add(value.id)
            visitor.visit_param(path, value)
    elif isinstance(value, Buffer):
        visitor.visit_buffer(path, value)
    elif isinstance(value, Rng):
        visitor.visit_rng(path, value)
    elif isinstance(value, Module):
        visitor.enter_module(path, value)
        for name, item in _fields(value):
            _visit(item, _join(path, name), visitor, seen)
        visitor.exit_module(path, value)
    elif isinstance(value, (list, tuple, Mapping)):
        for name, item in _items(value):
            _visit(item, _join(path, name), visitor, seen)
    elif isinstance(value, Tensor):
        raise TypeError(f"{path} is a plain Tensor; make it a Param (trained) or a Buffer (kept).")


def _rebuild(value: Any, path: str, mapper: ModuleMapper, done: dict[Any, Any], training: bool | None = None) -> Any:
    """The same tree with what the mapper gives for its leaves; `training` replaces the fields of that name."""

    def rebuilt(item: Any, name: str) -> Any:
        return _rebuild(item, _join(path, name), mapper, done, training)

    if isinstance(value, Param):
        if value.id not in done:
            done[value.id] = mapper.map_param(path, value)
        return done[value.id]
    if isinstance(value, (Buffer, Rng)):
        if id(value) not in done:
            done[id(value)] = mapper.map_rng(path, value) if isinstance(value, Rng) else mapper.map_buffer(path, value)
        return done[id(value)]
    if isinstance(value, Module):
        fields = {name: rebuilt(item, name) for name, item in _fields(value)}
        if training is not None and "training" in fields:
            fields["training"] = training
        module = object.__new__(type(value))
        object.__setattr__(module, "__dict__", fields)
        return module
    if isinstance(value, Mapping):
        return {key: rebuilt(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [rebuilt(item, str(i)) for i, item in enumerate(value)]
        return items if isinstance(value, list) else type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


class _Copy(ModuleMapper):
    """Nothing shared; on another device, if one is named."""

    def __init__(self, device: Device | None = None) -> None:
        self.device = device

    def _array(self, tensor: Tensor) -> Any:
        return tensor.array if self.device is None else self.device.array(tensor.array)

    def map_param(self, path: str, param: Param) -> Param:
        return param.replaced(self._array(param))

    def map_buffer(self, path: str, buffer: Buffer) -> Buffer:
        return Buffer(self._array(buffer))

    def map_rng(self, path: str, rng: Rng) -> Rng:
        return rng.clone()


class _Borrow(ModuleMapper):
    def map_param(self, path: str, param: Param) -> Param:
        return param.borrow()

    def map_rng(self, path: str, rng: Rng) -> Rng:
        return rng.clone()  # looking at a model uses up none of its random numbers


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
