"""L-BFGS."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minihybrid.autodiff.storage import Storage, caller
from minihybrid.autodiff.tensor import Tensor
from minihybrid.module.module import Module, changed, pack
from minihybrid.module.param import Buffer
from minihybrid.optim.gradients import GradientsParams
from minihybrid.optim.optimizer import require

M = TypeVar("M", bound=Module)


class LBFGS:
    """Quasi-Newton steps from the last pairs of steps and gradient differences.

    (Nocedal and Wright 2006, algorithm 7.5.) For losses without noise (full batches): `step` evaluates the loss several
    times. `iterations` directions per step, at most `evaluations` losses (5/4 of them by default); a step ends early
    when the largest gradient is below `gradient_tolerance` or the change below `change_tolerance`. `history` pairs are
    kept. With `line_search`, step lengths satisfy the strong Wolfe conditions (algorithms 3.5 and 3.6); without, the
    length is lr, as in PyTorch, whose defaults these are. It remembers the parameters of one model; with those of
    another it starts anew.

    >>> import minihybrid as mh
    >>> model = mh.nn.LinearConfig(1, 1).init(rng=mh.Rng(0), dtype="float64")
    >>> x = mh.tensor([[0.0], [1.0], [2.0]], dtype="float64")
    >>> optim = mh.optim.LBFGS(line_search=True)
    >>> model, loss = optim.step(1.0, model, lambda model: mh.nn.mse(model(x), 3 * x + 1))
    >>> bool(optim.last_loss < 1e-8)
    True
    """

    def __init__(
        self,
        iterations: int = 20,
        evaluations: int | None = None,
        history: int = 100,
        gradient_tolerance: float = 1e-7,
        change_tolerance: float = 1e-9,
        line_search: bool = False,
    ) -> None:
        evaluations = iterations * 5 // 4 if evaluations is None else evaluations
        require(iterations >= 1, "LBFGS", "iterations", iterations, "a positive integer")
        require(evaluations >= 1, "LBFGS", "evaluations", evaluations, "a positive integer")
        require(history >= 1, "LBFGS", "history", history, "a positive integer")
        for name, value in {"gradient_tolerance": gradient_tolerance, "change_tolerance": change_tolerance}.items():
            require(value >= 0, "LBFGS", name, value, "a number that is not negative")
        self.iterations, self.evaluations = iterations, evaluations
        self.gradient_tolerance, self.change_tolerance = gradient_tolerance, change_tolerance
        self.line_search = line_search
        self.last_loss = float("nan")  # of the last evaluation
        self._storage: Storage | None = None  # whose layout the vectors have
        self._pairs: deque[tuple[Any, Any, float]] = deque(maxlen=history)  # (s, y, 1 / y.s)
        self._forget()

    def _forget(self) -> None:
        self._pairs.clear()
        self._scale = 1.0  # of the first guess of the inverse Hessian
        self._length = 0.0
        self._direction: Any = None
        self._before: Any = None  # the gradient that the direction was made from

    def step(self, lr: float, model: M, closure: Callable[[M], Tensor]) -> tuple[M, float]:
        """Improve the model on `closure`, a function model -> loss; returns it and the loss that it had before.

        Consumes the model: the closure must use its argument. New values of buffers are those of the first evaluation.
        Raises ValueError for a learning rate that is not positive and finite, and whatever the closure raises; then
        nothing has changed.
        """
        require(0 < lr < math.inf, "LBFGS", "lr", lr, "a positive number")
        storage = pack(model)
        self._settle(storage)
        values, memory = storage.values.copy(), self.snapshot()
        try:
            first = self._improve(float(lr), model, closure)
        except BaseException:
            storage.values[...] = values
            storage.advance(caller())
            self.restore(memory)
            raise
        return changed(model, "step"), first

    def _improve(self, lr: float, model: M, closure: Callable[[M], Tensor]) -> float:
        storage = pack(model)
        values, spent = storage.values, 0
        buffers: dict[Buffer, Any] = {}

        def evaluate() -> tuple[float, Any]:
            nonlocal spent
            loss = closure(model)
            grads = GradientsParams.from_grads(loss.backward(), model)
            flat, gradient = grads.flat(storage), np.zeros_like(values)
            for slot, view, present in zip(storage.slots, flat.views, flat.present, strict=True):
                if present:
                    slot.view(gradient)[...] = view
            if spent == 0:
                buffers.update(grads.buffers)
            grads.consume()
            spent += 1
            return float(loss.item()), gradient

        def move(start: Any, length: float) -> None:
            np.add(start, length * self._direction, out=values)
            storage.advance(caller())

        loss, gradient = evaluate()
        first = self.last_loss = loss
        for iteration in range(1, self.iterations + 1):
            if _largest(gradient) <= self.gradient_tolerance:
                break
            if self._before is None:
                self._direction, self._length = -gradient, min(1.0, 1.0 / float(np.abs(gradient).sum())) * lr
            else:
                self._remember(gradient - self._before)
                self._direction, self._length = -self._times_inverse_hessian(gradient), lr
            self._before, slope = gradient, float(gradient @ self._direction)
            if not slope <= -self.change_tolerance:
                break
            loss_before = loss
            if self.line_search:
                start = _Point(0.0, loss, gradient, slope)
                found = self._strong_wolfe(evaluate, move, values.copy(), start)
                self._length, loss, gradient = found.length, found.loss, found.gradient
            else:
                move(values, self._length)
                if iteration < self.iterations:
                    loss, gradient = evaluate()
            self.last_loss = loss
            small = abs(self._length) * _largest(self._direction) <= self.change_tolerance
            if small or abs(loss - loss_before) < self.change_tolerance or spent >= self.evaluations:
                break
        for buffer, value in buffers.items():
            buffer.array[...] = value
        return first

    def _remember(self, y: Any) -> None:
        s = self._length * self._direction
        curvature = float(y @ s)
        if curvature > 1e-10:
            self._pairs.append((s, y, 1.0 / curvature))
            self._scale = curvature / float(y @ y)

    def _times_inverse_hessian(self, gradient: Any) -> Any:
        """The two-loop recursion (algorithm 7.4)."""
        q = gradient.copy()
        alphas = []
        for s, y, rho in reversed(self._pairs):
            alphas.append(alpha := rho * float(s @ q))
            q -= alpha * y
        q *= self._scale
        for (s, y, rho), alpha in zip(self._pairs, reversed(alphas), strict=True):
            q += (alpha - rho * float(y @ q)) * s
        return q

    def _strong_wolfe(
        self,
        evaluate: Callable[[], tuple[float, Any]],
        move: Callable[[Any, float], None],
        origin: Any,
        start: _Point,
        c1: float = 1e-4,
        c2: float = 0.9,
        most: int = 25,
    ) -> _Point:
        """Move to a point on the way that meets the strong Wolfe conditions, or else to the lowest found."""
        lower, upper, length = start, None, self._length
        for _ in range(most):
            move(origin, length)
            loss, gradient = evaluate()
            here = _Point(length, loss, gradient, float(gradient @ self._direction))
            searched = upper is not None or lower is not start
            if not loss <= start.loss + c1 * length * start.slope or (searched and loss >= lower.loss):
                upper = here
            elif abs(here.slope) <= -c2 * start.slope:
                return here
            elif here.slope * (1.0 if upper is None else upper.length - lower.length) >= 0:
                lower, upper = here, lower
            else:
                lower = here
            if upper is None:
                length *= 2.0
                continue
            if abs(upper.length - lower.length) * _largest(self._direction) < self.change_tolerance:
                break
            length = _between(lower, upper)
        move(origin, lower.length)
        return lower

    # State

    def _settle(self, storage: Storage) -> None:
        """Lay the memory out like a storage; start anew if its parameters are others."""
        if storage is self._storage:
            return
        known = self._storage is not None and set(self._storage.keys) == set(storage.keys)
        state = self.state() if known else None
        self._storage = storage
        self._forget()
        if state is not None:
            self._fill(state)

    def state(self) -> dict[str, Any]:
        """What it remembers: {"numbers": {name: number}, "vectors": {name: {str(ParamId): array}}}, all copies."""
        if self._storage is None or self._before is None:
            return {"numbers": {}, "vectors": {}}
        vectors = {"direction": self._direction, "before": self._before}
        numbers = {"scale": self._scale, "length": self._length}
        for i, (s, y, rho) in enumerate(self._pairs):
            vectors |= {f"s{i}": s, f"y{i}": y}
            numbers[f"rho{i}"] = rho
        slots = dict(zip(map(str, self._storage.keys), self._storage.slots, strict=True))
        named = {name: {key: slot.view(v).copy() for key, slot in slots.items()} for name, v in vectors.items()}
        return {"numbers": numbers, "vectors": named}

    def load_state(self, state: dict[str, Any], model: Module | None = None) -> None:
        """Continue from a `state`. Before the first step, pass the model.

        Raises ValueError for a state of other parameters; then nothing has changed.
        """
        storage = self._storage if model is None else pack(model)
        if storage is None:
            if state["vectors"]:
                raise ValueError("load_state: this optimizer has made no step yet; pass the model that it will train.")
            return
        shapes = {str(key): slot.shape for key, slot in zip(storage.keys, storage.slots, strict=True)}
        for name, arrays in state["vectors"].items():
            came = {key: array.shape for key, array in arrays.items()}
            if came != shapes:
                raise ValueError(f"LBFGS: the state's {name} is of parameters {came}; expected those of {shapes}.")
        self._storage = storage
        self._forget()
        if state["vectors"]:
            self._fill(state)

    def _fill(self, state: dict[str, Any]) -> None:
        storage, numbers, vectors = self._storage, state["numbers"], state["vectors"]
        assert storage is not None

        def flat(name: str) -> Any:
            vector = np.empty_like(storage.values)
            for key, slot in zip(storage.keys, storage.slots, strict=True):
                slot.view(vector)[...] = storage.device.array(vectors[name][str(key)])
            return vector

        self._scale, self._length = numbers["scale"], numbers["length"]
        self._direction, self._before = flat("direction"), flat("before")
        count = sum(name.startswith("rho") for name in numbers)
        self._pairs.extend((flat(f"s{i}"), flat(f"y{i}"), numbers[f"rho{i}"]) for i in range(count))

    def snapshot(self) -> dict[str, Any]:
        """What it remembers, for `restore`, as a plain tree: no copy, because no vector of it is ever written to."""
        return {
            "ids": [] if self._storage is None or self._before is None else list(self._storage.positions),
            "pairs": [list(pair) for pair in self._pairs],
            "direction": self._direction,
            "before": self._before,
            "scale": self._scale,
            "length": self._length,
            "last_loss": self.last_loss,
        }

    def restore(self, snapshot: dict[str, Any], model: Module | None = None) -> None:
        """Return to a `snapshot`, to the bit; with a model, to that of another process, whose parameters are its own.

        Raises ValueError for a snapshot of another model; then nothing has changed.
        """
        storage, before, ids = self._storage if model is None else pack(model), snapshot["before"], snapshot["ids"]
        if before is not None and (
            storage is None
            or before.shape != storage.values.shape
            or (model is None and ids != list(storage.positions))
        ):
            raise ValueError("restore: the snapshot was taken of another model's state; use state() and load_state().")
        self._storage = storage
        self._scale, self._length = snapshot["scale"], snapshot["length"]
        self._direction, self._before = snapshot["direction"], before
        self.last_loss = snapshot["last_loss"]
        self._pairs.clear()
        self._pairs.extend((s, y, rho) for s, y, rho in snapshot["pairs"])


@dataclass(frozen=True)
class _Point:
    """A point on the way of a line search; `slope` is the derivative along the way."""

    length: float
    loss: float
    gradient: Any
    slope: float


def _largest(vector: Any) -> float:
    return float(np.abs(vector).max()) if vector.size else 0.0


def _between(lower: _Point, upper: _Point) -> float:
    """The minimum of the cubic through both ends' values and slopes (equation 3.59), kept off both ends."""
    way = upper.length - lower.length
    d1 = lower.slope + upper.slope - 3 * (upper.loss - lower.loss) / way
    square, share = d1 * d1 - lower.slope * upper.slope, math.nan
    if 0 <= square < math.inf:
        d2 = math.copysign(math.sqrt(square), way)
        below = upper.slope - lower.slope + 2 * d2
        share = 1 - (upper.slope + d2 - d1) / below if below else math.nan
    return lower.length + (min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5) * way
