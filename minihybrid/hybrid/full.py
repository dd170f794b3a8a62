"""The trainer that predicts nothing: every step is a real one. It is what predictions are measured against."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Generic, TypeVar

from minihybrid.data.dataset import Batch
from minihybrid.hybrid.wrapper import ModelWrapper, OptimizerWrapper
from minihybrid.module.module import Module
from minihybrid.stateful import Stateful, placed
from minihybrid.train.ledger import Ledger
from minihybrid.train.reading import BLOCK, Scalar, may_be_finite
from minihybrid.train.step import DivergenceError, StepResult

M = TypeVar("M", bound=Module)


class FullTrainer(Stateful, Generic[M]):
    """Forward, backward and an optimizer's step for every batch. `ledger` tells what was spent.

    With `compile`, loss and gradients come from a plan (see `mh.compile`): the same to the bit, and sooner. A step
    whose forward function a plan cannot repeat then raises PlanError. On a GPU, losses and norms stay there until 16
    steps have been made, or somebody asks for them: see `catch_up`.

    >>> import minihybrid as mh
    >>> from minihybrid.hybrid import FullTrainer, ModelWrapper, OptimizerWrapper
    >>> def forward(model, batch):
    ...     return model, mh.nn.mse(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> model = ModelWrapper(mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0)), forward)
    >>> trainer = FullTrainer(model, OptimizerWrapper(mh.optim.SGD(), 0.1))
    >>> data = mh.data.sine(mh.Rng(0))
    >>> results = [trainer.step(mh.data.Batch(data.inputs, data.targets)) for _ in range(10)]
    >>> results[-1].loss < results[0].loss, trainer.ledger.backward_passes
    (True, 10)
    """

    transient: ClassVar[tuple[str, ...]] = ("config", "compile", "optimizer_wrapper", "_unread", "_sound")
    on_host: ClassVar[tuple[str, ...]] = ()
    """Parts of the state whose arrays are NumPy's wherever the model is."""

    def __init__(
        self, model_wrapper: ModelWrapper[M], optimizer_wrapper: OptimizerWrapper, compile: bool = False
    ) -> None:
        self.compile = compile
        self.model_wrapper = model_wrapper
        self.optimizer_wrapper = optimizer_wrapper
        self.ledger = Ledger()
        self.steps = 0
        self._unread: list[Any] = []  # steps whose numbers nobody has looked at
        self._sound: Any = None  # model and optimizer before these

    @property
    def model(self) -> M:
        """The model, to look at; training goes on with it."""
        return self.model_wrapper.model

    def step(self, batch: Batch) -> StepResult:
        """A real step on the batch.

        Raises DivergenceError if its loss or its gradient is not finite, and whatever the forward function raises. The
        step then does not count, model and random streams are as they were, and the trainer can go on. On a GPU it may
        be a later step that raises, as `catch_up` does.
        """
        try:
            result = self._real_step(batch, "full")
        except BaseException:
            self.model_wrapper.cancel()
            raise
        self.steps += 1
        if self.model_wrapper.readings.wait and not result.known:
            self._unread.append(result)
            if len(self._unread) == BLOCK:
                self.catch_up()
        return result

    def catch_up(self) -> None:
        """Look at the numbers of the steps that were made on a GPU without waiting for them.

        Raises DivergenceError if one is not finite. Model, optimizer and random streams are then as they were before
        the first of these steps, which do not count, and the trainer can go on.
        """
        unread, self._unread = self._unread, []
        for result in unread:
            for what, value in (("loss", result.loss), ("gradient norm", result.gradient_norm)):
                if not math.isfinite(value):
                    model, optimizer = self._sound
                    self.model_wrapper.restore(model)
                    self.optimizer_wrapper.restore(optimizer)
                    self.steps = unread[0].step
                    raise DivergenceError(
                        f"the {what} of step {result.step} is {value}; the model is as before step {self.steps}, the "
                        f"first since it was looked at. {_advice(result.learning_rate)}"
                    )

    def readout(self) -> M:
        """The model to evaluate and to keep: a copy, with averages of the weights where something keeps them.

        Raises as `catch_up` does.
        """
        self.catch_up()
        return self.optimizer_wrapper.optimizer.readout(self.model)

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on beside the batches, as a plain tree. Raises as `catch_up` does."""
        self.catch_up()
        return {**super().state_dict(), "optimizer_wrapper": self.optimizer_wrapper.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`, of this or of another trainer that was made in the same way, to the bit.

        Raises ValueError for a state of another kind of trainer, model or optimizer; then nothing has changed.
        """
        before = self.state_dict()
        try:
            self._load(state)
        except BaseException:
            self._load(before)
            raise

    def _load(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or "optimizer_wrapper" not in state:
            raise ValueError(f"load_state_dict: this is no state of a {type(self).__name__}.")
        device = self.model.device
        state = {name: part if name in self.on_host else placed(part, device) for name, part in state.items()}
        self._unread = []
        super().load_state_dict({name: part for name, part in state.items() if name != "optimizer_wrapper"})
        self.optimizer_wrapper.load_state_dict(state["optimizer_wrapper"], self.model)

    def _real_step(self, batch: Batch, phase: str) -> StepResult:
        if self.model_wrapper.readings.wait and not self._unread:
            self._sound = self.model_wrapper.snapshot(), self.optimizer_wrapper.snapshot()
        learning_rate = self.optimizer_wrapper.learning_rate()
        loss = self._forward(batch)
        self._require_finite("loss", loss, learning_rate)
        norm = self._backward()
        self._require_finite("gradient norm", norm, learning_rate)
        self.optimizer_wrapper.step(self.model_wrapper)
        return self._result(phase, loss, learning_rate, gradient_norm=norm)

    def _forward(self, batch: Batch) -> Scalar:
        at_once = self.compile and self._backward_follows()
        loss = self.model_wrapper.forward_compiled(batch) if at_once else self.model_wrapper.forward(batch)
        return self.model_wrapper.readings.later(loss.array)

    def _backward_follows(self) -> bool:
        """Whether a forward pass is followed by a backward pass, if its loss is finite."""
        return True

    def _backward(self) -> Scalar:
        """Make the gradients, and return their norm."""
        norm = self.model_wrapper.backward().gradient_norm
        self.ledger.backward_passes += 1
        return norm

    def _require_finite(self, what: str, value: Scalar, learning_rate: float) -> None:
        """Raise DivergenceError for a number that is known not to be finite."""
        if not may_be_finite(value):
            raise DivergenceError(
                f"step {self.steps} was not applied, the model is as before it: the {what} is {float(value)}. "
                f"{_advice(learning_rate)}"
            )

    def _result(self, phase: str, loss: Scalar, learning_rate: float, **rest: Any) -> StepResult:
        return StepResult(
            step=self.steps,
            phase=phase,
            loss=loss,  # type: ignore[arg-type]  # see `later`
            learning_rate=learning_rate,
            backward_passes=self.ledger.backward_passes,
            forward_probes=self.ledger.forward_probes,
            probe_batches=self.ledger.probe_batches,
            **rest,
        )


def _advice(learning_rate: float) -> str:
    return f"Lower the learning rate ({learning_rate:g}), clip the gradients, or look for bad values in the batch."
