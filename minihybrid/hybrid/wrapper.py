"""What the trainer holds: a model with the user's forward function, and an optimizer with its learning rate.

Optimizer and forward function consume a model and give it back. The wrapper is the cell that it lives in between: a
call takes it out and puts it back, also when the call fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from minihybrid.autodiff.op import no_grad
from minihybrid.autodiff.storage import FlatGradient, MovedError
from minihybrid.autodiff.tensor import Tensor
from minihybrid.data.dataset import Batch as Batch
from minihybrid.device import on_cpu
from minihybrid.hybrid.delta import WeightDelta, apply_deltas_to_model
from minihybrid.module.module import Module, Snapshot, changed, pack
from minihybrid.module.param import Buffer, ParamId
from minihybrid.optim.clip import clip_global_norm
from minihybrid.optim.gradients import GradientsParams
from minihybrid.optim.optimizer import Optimizer
from minihybrid.optim.schedule import Constant, Schedule
from minihybrid.rng import Rng
from minihybrid.train.compiled import Compiled, compile
from minihybrid.train.reading import Readings, Scalar, numbers

M = TypeVar("M", bound=Module)


class ForwardFn(Protocol[M]):
    """The user's part of a step: takes the model and a batch, returns the model and the loss, a tensor of one number.

    Random numbers come from the model's own Rng fields, so that a rollback takes them back, too.
    """

    def __call__(self, model: M, batch: Batch) -> tuple[M, Tensor]:
        """Compute the loss of a batch."""


class GradientInfo:
    """What a backward pass found. Each value is read from a GPU when it is first asked for, at any later time.

    `loss`; `gradient_norm`, the 2-norm of the whole gradient; `per_param_norms`, that of each part by str(ParamId): on
    a GPU these are computed when they are asked for, which has to be before the optimizer's step.
    """

    def __init__(self, loss: Tensor, flat: FlatGradient, readings: Readings) -> None:
        self._loss, self._flat = loss, flat
        self._squares = self._by_parameter() if on_cpu(flat.vector) else None
        if self._squares is not None:
            square: Any = sum(self._squares.values(), np.float64(0))
        elif all(flat.present):
            square = np.vdot(flat.vector, flat.vector)
        else:
            square = sum(self._by_parameter().values())
        self.gradient_norm = readings.later(np.sqrt(square))

    def _by_parameter(self) -> dict[ParamId, Any]:
        """The square of each norm, as a number on the device."""
        flat = self._flat
        found = zip(flat.storage.keys, flat.views, flat.present, strict=True)
        return {key: np.vdot(view, view) for key, view, present in found if present}

    @cached_property
    def loss(self) -> float:
        """The loss that was differentiated."""
        return float(self._loss.item())

    @cached_property
    def per_param_norms(self) -> dict[str, float]:
        """The 2-norm of each parameter's gradient; parameters without one are left out.

        Raises MovedError, on a GPU, after a step has consumed the gradients.
        """
        squares = self._squares
        if squares is None:
            self._flat.require()
            squares = self._by_parameter()
        return {str(id): math.sqrt(square) for id, square in zip(squares, numbers(*squares.values()), strict=True)}


class ModelWrapper(Generic[M]):
    """Owns a model and computes with it: `forward`, then `backward`, then an optimizer's step.

    Whatever the user's function raises or returns, the model is in the cell afterwards; where it failed, its random
    streams stand where they stood.

    >>> import minihybrid as mh
    >>> import numpy as np
    >>> def forward(model, batch):
    ...     return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> wrapper = ModelWrapper(mh.nn.LinearConfig(2, 1).init(rng=mh.Rng(0)), forward)
    >>> batch = Batch(np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32))
    >>> loss = wrapper.forward(batch)
    >>> info = wrapper.backward()
    >>> info.loss == loss.item(), len(info.per_param_norms), wrapper.parameter_count()
    (True, 2, 3)
    """

    def __init__(self, model: M, forward_fn: ForwardFn[M]) -> None:
        storage = pack(model)  # before the first backward pass, which then writes into one vector
        self._cell: M | None = model
        self.forward_fn = forward_fn
        self._loss: Tensor | None = None
        self._gradients: GradientsParams | None = None
        self.readings = Readings(storage.device)  # losses and norms that are still on a GPU
        self._found: GradientInfo | None = None  # what `backward` will say, where it is done already
        self._rngs: dict[str, Rng] = {}  # of the model with these fields: walking the tree each time would be slow
        self._buffers: dict[str, Buffer] = {}
        self._rngs_of: Any = None
        self._rewind: dict[str, Any] = {}  # where random streams stood before the last forward, by path

    @property
    def model(self) -> M:
        """The model, to look at; it stays the wrapper's. Raises MovedError if it was taken."""
        if self._cell is None:
            raise MovedError("this ModelWrapper holds no model: take() gave it away, or a call is at work on it.")
        return self._cell

    def take(self) -> M:
        """Give the model away; the wrapper is empty from then on."""
        model, self._cell = self.model, None
        self._forget()
        return model

    def parameter_count(self) -> int:
        """How many numbers the parameters hold, frozen ones included, tied ones once."""
        return self.model.num_params()

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, kept for `backward`.

        Raises what the user's function raises, TypeError or ValueError if it returns anything but a model and one
        number, and ValueError if that is another model.
        """
        model, fields = self.model, self.model.__dict__
        self._forget()
        self._rewind = {path: rng.state() for path, rng in self._streams().items()}
        self._cell = None
        try:
            returned, loss = _checked(self.forward_fn(model, batch))
            if returned is not model:
                _require_same(fields, returned)
            pack(returned)
            self._cell, self._loss = returned, loss
        finally:
            if self._cell is None:
                self._cell = _revived(model, fields)
                self.cancel()
        return loss

    def forward_compiled(self, batch: Batch) -> Tensor:
        """The same as `forward`, with the gradients in one: both from a plan, to the bit (see `mh.compile`).

        `backward` then has nothing left to do. The forward function is called only where a plan is recorded. It may
        look at no value and use no number or array from outside, and returns the very model that it was given. Raises
        PlanError where a plan cannot repeat what it does, ValueError for another model, and what `forward` raises.
        """
        model, fields = self.model, self.model.__dict__
        self._forget()
        self._rewind = {path: rng.state() for path, rng in self._streams().items()}
        self._cell = None
        try:
            loss, gradients = self._compiled(model, batch, self.forward_fn)
            self._cell = model
            self._found = self._kept(gradients, loss)
        finally:
            if self._cell is None:
                self._cell = _revived(model, fields)
                self.cancel()
        return loss  # type: ignore[no-any-return]

    def evaluate(self, batch: Batch) -> Scalar:
        """The loss of a batch in evaluation mode: nothing is recorded, and no random number of the model is used up."""
        with no_grad():
            _, loss = _checked(self.forward_fn(self.model.valid(), batch), viewed=True)
        return self.readings.later(loss.array)

    def backward(self) -> GradientInfo:
        """The gradients of the last `forward`, kept for the optimizer; raises RuntimeError without one."""
        if self._found is not None:
            found, self._found = self._found, None
            return found
        if self._loss is None:
            raise RuntimeError("backward: there is no loss to start from; call forward(batch) first.")
        loss, self._loss = self._loss, None
        return self._kept(GradientsParams.from_grads(loss.backward(), self.model), loss.detach())

    @cached_property
    def _compiled(self) -> Compiled:
        return compile(_loss_and_gradients)

    def _kept(self, gradients: GradientsParams, loss: Tensor) -> GradientInfo:
        """Keep gradients for the optimizer; gives what `backward` says of them."""
        self._gradients = gradients
        return GradientInfo(loss, gradients.flat(pack(self.model)), self.readings)

    def gradient_into(self, vector: Any) -> None:
        """Write the gradients of the last `backward` into a vector [n], 0 where a parameter has none."""
        if self._gradients is None:
            raise RuntimeError("gradient_into: there are no gradients; call forward(batch) and backward() first.")
        storage = pack(self.model)
        flat = self._gradients.flat(storage)
        if all(flat.present):
            vector[...] = flat.vector
            return
        for slot, view, present in zip(storage.slots, flat.views, flat.present, strict=True):
            slot.view(vector)[...] = view if present else 0

    def cancel(self) -> None:
        """Take the last `forward` back: forget its loss and gradients, and rewind the model's random streams."""
        for path, state in self._rewind.items():
            self._streams()[path].load_state(state)
        self._forget()

    def update(self, step: Callable[[M, GradientsParams], M]) -> None:
        """Hand model and gradients to an optimizer's step. Raises RuntimeError if there are no gradients.

        If the step raises, model and gradients are put back.
        """
        if self._gradients is None:
            raise RuntimeError("step: there are no gradients; call forward(batch) and backward() first.")
        model, fields, gradients = self.model, self.model.__dict__, self._gradients
        self._cell = None
        try:
            self._cell = step(model, gradients)
        finally:
            if self._cell is None:
                self._cell = _revived(model, fields)
            else:
                self._forget()

    def apply_weight_delta(self, delta: WeightDelta) -> None:
        """Add a delta to the weights, to the bit as `apply_deltas_to_model` says."""
        self._cell = apply_deltas_to_model(self.model, delta)
        self._forget()

    @property
    def weights(self) -> Any:
        """The flat vector [n] of all parameters, to look at."""
        return pack(self.model).values

    def move(self, delta: Any, scale: float = 1.0) -> None:
        """Add `scale` times a flat vector [n] to the weights: w + dtype(scale) * delta, to the bit."""
        self._cell = self.model.apply_delta(delta, scale)
        self._forget()

    def place(self, weights: Any) -> None:
        """Write a flat vector [n] into the weights."""
        model = self.model
        pack(model).values[...] = weights
        self._cell = changed(model, "place")
        self._forget()

    def snapshot(self) -> Any:
        """A copy of parameters, buffers and random streams, for `restore`."""
        rngs = self._streams()
        return Snapshot.of(self.weights.copy(), self._buffers, rngs)

    def restore(self, snapshot: Any) -> None:
        """Return to a `snapshot`, to the bit."""
        self._cell = self.model.restore(snapshot)
        self._forget()

    def _forget(self) -> None:
        self._loss = self._gradients = self._found = None
        self._rewind = {}

    def _streams(self) -> dict[str, Rng]:
        fields = self.model.__dict__  # they outlive the handles that steps consume
        if self._rngs_of is not fields:
            self._rngs, self._buffers, self._rngs_of = self.model.named_rngs(), self.model.named_buffers(), fields
        return self._rngs


class OptimizerWrapper:
    """Owns an optimizer and says what the learning rate is.

    A schedule is asked with the number of real steps made: a prediction, however far it jumps, does not move it. What
    it says is multiplied by `scale`, which belongs to the controller of a hybrid trainer. `clip` limits the global norm
    of the gradients before each step.

    >>> import minihybrid as mh
    >>> optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.1, total=100))
    >>> optimizer.learning_rate()
    0.1
    >>> optimizer.set_learning_rate(0.01)
    >>> optimizer.learning_rate()
    0.01
    """

    def __init__(self, optimizer: Optimizer, learning_rate: float | Schedule, clip: float | None = None) -> None:
        if clip is not None and not clip > 0:
            raise ValueError(f"OptimizerWrapper: clip is {clip}; expected a positive number, or None for no limit.")
        self.optimizer = optimizer
        self.clip = clip
        self.schedule = _schedule(learning_rate)
        self.scale = 1.0
        self.steps = 0

    def step(self, model_wrapper: ModelWrapper[Any]) -> None:
        """Update the wrapped model by the gradients of its last backward pass."""
        model_wrapper.update(self._step)
        self.steps += 1

    def _step(self, model: M, grads: GradientsParams) -> M:
        grads = grads if self.clip is None else clip_global_norm(grads, self.clip)
        return self.optimizer.step(self.learning_rate(), model, grads)

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.scale * float(self.schedule(self.steps))

    def set_learning_rate(self, learning_rate: float | Schedule) -> None:
        """From the next step on, another learning rate, or another schedule (asked with all steps made so far)."""
        self.schedule = _schedule(learning_rate)

    def zero_grad(self) -> None:
        """Do nothing: every backward pass returns fresh gradients and a step consumes them, so none are left over.

        It is here for loops written in the manner of other frameworks.
        """

    def snapshot(self) -> Any:
        """A copy of moments, step counts, schedule and its position, for `restore`."""
        return self.optimizer.snapshot(), self.schedule, self.steps

    def restore(self, snapshot: Any) -> None:
        """Return to a `snapshot`, to the bit."""
        state, self.schedule, self.steps = snapshot
        self.optimizer.restore(state)


def _schedule(learning_rate: float | Schedule) -> Schedule:
    return learning_rate if callable(learning_rate) else Constant(learning_rate)


def _loss_and_gradients(model: Any, batch: Batch, forward_fn: Any) -> tuple[Tensor, GradientsParams]:
    returned, loss = _checked(forward_fn(model, batch))
    if returned is not model:
        raise ValueError(
            f"the forward function returned another {type(returned).__name__} than the one that it was given; a plan "
            "needs that one. Return it, or train without compile."
        )
    return loss.detach(), GradientsParams.from_grads(loss.backward(), model)


def _checked(returned: Any, viewed: bool = False) -> tuple[Any, Tensor]:
    """What a forward function returned, if it is a model and a loss."""
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Module)):
        raise TypeError(
            f"the forward function returned {_brief(returned)}; expected a tuple (model, loss): the model that it was "
            "given, and a tensor of one number."
        )
    model, loss = returned
    if "_moved" in model.__dict__ or ("_borrowed" in model.__dict__) > viewed:
        raise TypeError(
            "the forward function returned a model that is consumed or borrowed by valid(); expected the model that it "
            "was given, or what became of it."
        )
    if not isinstance(loss, Tensor):
        raise TypeError(f"the forward function returned {_brief(loss)} as the loss; expected a tensor of one number.")
    if loss.size != 1 or loss.dtype.kind != "f":
        raise ValueError(
            f"the forward function returned a loss of shape {loss.shape} and dtype {loss.dtype}; expected one float: "
            "take the mean over the batch."
        )
    return model, loss


def _require_same(fields: dict[str, Any], returned: Module) -> None:
    """Raise ValueError for a model without exactly the parameters of the one with these fields."""
    if [param.id for param in returned.named_params().values()] != list(fields["_packed"].keys):
        raise ValueError(
            f"the forward function returned another {type(returned).__name__}, with other parameters; expected the "
            "model that it was given, or what became of it."
        )


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} ({', '.join(type(item).__name__ for item in value)})"
    return f"a {type(value).__name__}"


def _revived(model: M, fields: dict[str, Any]) -> M:
    """The model as it was, also if the function that failed had consumed the handle before."""
    if "_moved" not in model.__dict__:
        return model
    handle = object.__new__(type(model))
    object.__setattr__(handle, "__dict__", fields)
    return handle
