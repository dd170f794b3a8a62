"""Gradients as an optimizer takes them: by parameter, and as one vector where the model is flat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minihybrid.autodiff.storage import FlatGradient, MovedError, Storage, caller
from minihybrid.autodiff.tape import Gradients
from minihybrid.autodiff.tensor import Tensor
from minihybrid.device import Device
from minihybrid.module.module import Module
from minihybrid.module.param import Buffer, ParamId


class GradientsParams:
    """A gradient for each parameter that has one, by ParamId; a value like any other, until a step consumes it.

    Gradients of the same parameters can be added and subtracted, and all scaled: `a + b`, `a - b`, `a * 0.5`, `a / 2`.

    >>> import minihybrid as mh
    >>> model = mh.nn.LinearConfig(3, 1).init(rng=mh.Rng(0))
    >>> grads = mh.optim.GradientsParams.from_grads(model(mh.tensor([[1.0, 2.0, 3.0]])).sum().backward(), model)
    >>> grads.get(model.weight.id).tolist()
    [[1.0], [2.0], [3.0]]
    """

    __slots__ = ("_consumed", "_flat", "_named", "buffers")

    def __init__(self) -> None:
        self._named: dict[ParamId, Any] | None = {}  # None while only the vector is known
        self._flat: FlatGradient | None = None
        self._consumed: str | None = None
        self.buffers: dict[Buffer, Any] = {}

    @staticmethod
    def from_grads(grads: Gradients, model: Module) -> GradientsParams:
        """What a backward pass found for the parameters of a model.

        Parameters that the loss did not depend on, and frozen ones, have none. Raises ValueError if none has one: then
        the loss was computed by another model (a clone, a `valid` view).
        """
        packed = model.__dict__.get("_packed")
        flat = None if packed is None or packed.deserted else grads.flat.get(packed)
        if flat is not None:
            flat.require()
            return GradientsParams.of(flat, grads.buffers)
        found = {p.id: grads[p].array for p in model.named_params().values() if p in grads}
        if not found:
            raise ValueError(
                f"from_grads: none of these {len(grads)} gradients belongs to a parameter of this "
                f"{type(model).__name__}; call backward() on a loss that this model computed (not a clone or a valid() "
                "view of it)."
            )
        made = GradientsParams()
        made._named, made.buffers = found, grads.buffers
        return made

    @staticmethod
    def of(flat: FlatGradient, buffers: dict[Buffer, Any]) -> GradientsParams:
        """Gradients that are there as a vector, with what backward found for buffers."""
        made = GradientsParams()
        made._flat, made._named, made.buffers = flat, None, buffers
        return made

    def _arrays(self) -> dict[ParamId, Any]:
        """The gradients by id; from here on somebody may hold views of the vector."""
        if self._consumed is not None:
            raise MovedError(f"these gradients were consumed at {self._consumed}; run backward() again.")
        if self._flat is not None:
            self._flat.require()
        if self._named is None and self._flat is not None:
            flat = self._flat
            flat.escaped = True
            keys = flat.storage.keys
            self._named = {keys[i]: view for i, view in enumerate(flat.views) if flat.present[i]}
        assert self._named is not None
        return self._named

    def get(self, id: ParamId) -> Tensor | None:
        """The gradient of a parameter, in its shape and dtype, or None where there is none."""
        array = self._arrays().get(id)
        return None if array is None else Tensor(array)

    def remove(self, id: ParamId) -> Tensor | None:
        """Take the gradient of a parameter out, so that a step skips it; None if there was none."""
        array = self._arrays().pop(id, None)
        self._flat = None
        return None if array is None else Tensor(array)

    def register(self, id: ParamId, gradient: Tensor) -> None:
        """Set the gradient of a parameter; a step will check its shape and dtype."""
        self._arrays()[id] = gradient.array
        self._flat = None

    def items(self) -> Iterator[tuple[ParamId, Tensor]]:
        """Pairs of id and gradient."""
        return ((id, Tensor(array)) for id, array in self._arrays().items())

    def __len__(self) -> int:
        return len(self._arrays())

    def __contains__(self, id: ParamId) -> bool:
        return id in self._arrays()

    def norm(self) -> float:
        """The 2-norm of all gradients taken as one vector; reading it waits for the device."""
        return math.sqrt(sum(float(np.vdot(array, array)) for array in self.parts()))

    def parts(self) -> list[Any]:
        """Arrays that together hold every gradient once: the whole vector where it is full, else one per parameter."""
        if self._flat is not None and self._consumed is None and all(self._flat.present):
            return [self._flat.vector]
        return list(self._arrays().values())

    def flat(self, storage: Storage) -> FlatGradient:
        """The gradients as a vector in a storage's layout, with a mark for each slot that has one.

        A step may overwrite it, so it is a copy if somebody may hold a view of these gradients. Raises KeyError for
        gradients of parameters that are not in the storage, ValueError and TypeError for gradients whose shape or dtype
        is not their parameter's.
        """
        if self._flat is not None and self._flat.storage is storage and not self._flat.escaped:
            self._flat.require()
            return self._flat
        arrays = self._arrays()
        flat = storage.gradient()
        position = {key: i for i, key in enumerate(storage.keys)}
        for id, array in arrays.items():
            if id not in position:
                raise KeyError(f"the gradient of {id} belongs to no parameter of this model.")
            view = flat.views[position[id]]
            if array.shape != view.shape:
                raise ValueError(
                    f"the gradient of {id} has shape {array.shape}; expected its parameter's {view.shape}."
                )
            if array.dtype != view.dtype:
                raise TypeError(f"the gradient of {id} is {array.dtype}; expected its parameter's {view.dtype}.")
            if type(array) is not type(view) and (here := Device.of(array)) != storage.device:
                raise TypeError(f"the gradient of {id} is on {here.name}, its parameter on {storage.device.name}.")
            view[...] = array
            flat.present[position[id]] = True
        return flat

    def consume(self, where: str = "") -> None:
        """Give the vector back to its pool and mark these gradients as used up at line `where`."""
        where = where or caller()
        if self._flat is not None:
            self._flat.release(where)
        self._flat, self._named, self._consumed = None, None, where

    def map(self, f: Callable[[Any], Any]) -> GradientsParams:
        """New gradients, f applied to each array."""
        return self._made({id: f(array) for id, array in self._arrays().items()})

    def scaled(self, factor: Any) -> GradientsParams:
        """New gradients, each times a number (Python's, or a 0-d array on the device)."""
        if self._flat is None or self._consumed is not None or not all(self._flat.present):
            return self.map(lambda array: np.multiply(array, factor, dtype=array.dtype))
        flat = self._flat.storage.gradient()
        np.multiply(self._flat.vector, factor, out=flat.vector, dtype=flat.vector.dtype)
        flat.present = [True] * len(flat.present)
        made = self._made(None)
        made._flat = flat
        return made

    def _made(self, named: dict[ParamId, Any] | None) -> GradientsParams:
        made = GradientsParams()
        made._named, made.buffers = named, self.buffers
        return made

    def _combined(self, other: GradientsParams, f: Callable[[Any, Any], Any]) -> GradientsParams:
        mine, theirs = self._arrays(), other._arrays()
        if mine.keys() != theirs.keys():
            odd = next(iter(mine.keys() ^ theirs.keys()))
            raise ValueError(f"gradients can be combined parameter by parameter, but only one side has {odd}.")
        made = self._made({id: f(array, theirs[id]) for id, array in mine.items()})
        made.buffers = self.buffers | other.buffers
        return made

    def __add__(self, other: GradientsParams) -> GradientsParams:
        return self._combined(other, np.add)

    def __sub__(self, other: GradientsParams) -> GradientsParams:
        return self._combined(other, np.subtract)

    def __mul__(self, factor: float) -> GradientsParams:
        return self.scaled(factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> GradientsParams:
        return self.scaled(1.0 / divisor)
