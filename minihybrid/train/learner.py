"""The loop: batches to the trainer, scores on the validation set now and then, events to whoever listens."""

from __future__ import annotations

import copy
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from types import FrameType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from minihybrid.data.dataset import Batch
from minihybrid.module.module import Module
from minihybrid.optim.optimizer import Optimizer
from minihybrid.stateful import placed, plain, restored
from minihybrid.train.checkpoint import CheckpointError
from minihybrid.train.checkpoints import Checkpoints
from minihybrid.train.events import Ended, Evaluated, Event, Listener, Started, Stepped, Summary
from minihybrid.train.metrics import Evaluation
from minihybrid.train.reading import BLOCK
from minihybrid.train.step import DivergenceError, StepResult

M = TypeVar("M", bound=Module)
M_co = TypeVar("M_co", bound=Module, covariant=True)

LISTENER = "listener"
"""What the parts of a checkpoint are called that listeners have saved, with a number."""


class Trainer(Protocol[M_co]):
    """Whatever owns a model and improves it by a batch."""

    def readout(self) -> M_co:
        """The model to evaluate and to keep, a copy."""

    def step(self, batch: Batch) -> StepResult:
        """One action on a batch."""


class Batches(Protocol):
    """Whatever `next` gives batches from without end, such as a DataLoader."""

    def __next__(self) -> Batch:
        """The next batch."""


@dataclass
class Learner(Generic[M]):
    """Runs a trainer for `steps` steps over `batches`, with an evaluation every `every` steps and at the end.

    `evaluate(model)` scores the model on data that the trainer never sees. NumPy's BLAS is held to one thread, because
    the products of small networks are slower with more. Ctrl-C ends the run after the step under way, and a second one
    in the middle of it, without a last evaluation; SIGTERM does what the first does. Listeners hear of the end either
    way. What the trainer raises goes through. Where the numbers of a step are still on a GPU, listeners hear of up to
    16 steps at a time. Before a DivergenceError goes through, they hear of the end, with the model that scored best, if
    one was scored.

    With `checkpoints`, the state of all that the run depends on is saved now and then, and at the end, however it ends:
    the trainer's, that of `batches`, and those of listeners that have one. `resume` then goes on in another process,
    to the bit. Trainer and batches must be able to say where they stand (`state_dict`), as those of this package can.

    `agree` is asked after every step whether to stop, given whether this process was told to: for processes that train
    together (`distributed.SharedStop`).

    >>> import minihybrid as mh
    >>> from minihybrid.hybrid import FullTrainer, ModelWrapper, OptimizerWrapper
    >>> from minihybrid.train import Learner, evaluate
    >>> def forward(model, batch):
    ...     return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
    >>> train, valid = mh.data.digits().split(0.8, mh.Rng(0))
    >>> model = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0))
    >>> trainer = FullTrainer(ModelWrapper(model, forward), OptimizerWrapper(mh.optim.Adam(), 0.01))
    >>> batches = mh.data.DataLoader(train, 32, mh.Rng(0))
    >>> learner = Learner(trainer, batches, lambda model: evaluate(model, valid, mh.nn.cross_entropy), steps=200)
    >>> learner.run().evaluation.accuracy > 0.9
    True

    A run that is saved every 50 steps is cut short after 100, and made again from where it was saved:

    >>> import tempfile
    >>> from minihybrid.train import Checkpoints
    >>> folder = tempfile.TemporaryDirectory()
    >>> def learner(steps):
    ...     model = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0))
    ...     trainer = FullTrainer(ModelWrapper(model, forward), OptimizerWrapper(mh.optim.Adam(), 0.01))
    ...     batches, score = mh.data.DataLoader(train, 32, mh.Rng(0)), lambda m: evaluate(m, valid, mh.nn.cross_entropy)
    ...     return Learner(trainer, batches, score, steps, checkpoints=Checkpoints(folder.name, every=50))
    >>> done, after = learner(100).run().steps, learner(200).resume()
    >>> done, after.steps, after.evaluation.accuracy > 0.9
    (100, 200, True)
    >>> folder.cleanup()
    """

    trainer: Trainer[M]
    batches: Batches
    evaluate: Callable[[M], Evaluation]
    steps: int
    every: int = 100
    listeners: Sequence[Listener] = ()
    checkpoints: Checkpoints | None = None
    agree: Callable[[bool], bool] = bool
    _held: list[Event] = field(default_factory=list, init=False, repr=False)
    _best: tuple[Evaluation, M] | None = field(default=None, init=False, repr=False)

    def run(self) -> Summary:
        """Train, and say what it came to. Raises CheckpointError if the folder of checkpoints is another run's."""
        if self.checkpoints is not None:
            self.checkpoints.begin()
        return self._run(Summary(), scored_at=None)

    def resume(self) -> Summary:
        """Go on from the latest checkpoint that is whole, or from the beginning where there is none yet.

        Trainer, batches and listeners are as they were made for the run (listeners where the checkpoints are written);
        only `steps`, `every` and the evaluation may be others. Raises CheckpointError if no checkpoint is whole, or if
        it does not fit them.
        """
        if self.checkpoints is None:
            raise ValueError("Learner: there is nothing to resume from; pass checkpoints=Checkpoints(folder).")
        found = self.checkpoints.newest()
        if found is None:
            return self._run(Summary(), scored_at=None)
        try:
            state = found.checkpoint.state
            summary, scored_at = restored(state["summary"]), state["scored_at"]
            parts = self._parts()
            saved = {name for name in state["parts"] if self.checkpoints.writes or not name.startswith(LISTENER)}
            if parts.keys() != saved or not isinstance(summary, Summary):
                raise ValueError(f"it is of {', '.join(state['parts'])}, and these are {', '.join(parts)}.")
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            self._best = self._best_of(state["best"])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint {found.path} does not fit this run: {error}") from error
        notes = (*found.damaged, f"going on from {found.path}.") if found.damaged else ()
        return self._run(summary, scored_at, notes)

    def _run(self, summary: Summary, scored_at: int | None, notes: tuple[str, ...] = ()) -> Summary:
        from threadpoolctl import threadpool_limits

        summary.planned, summary.interrupted, self._scored_at = self.steps, False, scored_at
        # Overflow needs no warning of its own: a loss that is not finite ends the run with a sentence.
        quiet = np.errstate(over="ignore", invalid="ignore")
        with threadpool_limits(1, user_api="blas"), quiet, _Interrupt() as interrupt:
            self._emit(Started(self.steps, copy.deepcopy(summary), notes))
            try:
                if not summary.steps:
                    self._save(summary)
                self._train(summary, interrupt)
                interrupt.ending = True
                if self._scored_at != summary.steps:
                    self._score(summary)
            except KeyboardInterrupt:
                if not interrupt.requested:
                    raise
                interrupt.ending = True
                summary.evaluation = None
            except DivergenceError as error:
                interrupt.ending = True
                self._end_with_the_best(summary, error)
                raise
            summary.interrupted = summary.steps < self.steps
            self._emit(Ended(summary, self.trainer.readout()))
        return summary

    def _train(self, summary: Summary, interrupt: _Interrupt) -> None:
        for step in self._steps(self.steps - summary.steps):
            summary.count(step.result, step.seconds, step.cpu_seconds)
            self._emit(step)
            stops = self.agree(interrupt.requested)
            scores, last = summary.steps % self.every == 0, stops or summary.steps == self.steps
            interrupt.ending = last
            if scores:
                self._score(summary)
            if self.checkpoints is not None and (last or self.checkpoints.due(summary.steps, self._loss(summary))):
                self._save(summary)
            if last:
                break

    def _steps(self, left: int) -> Iterator[Stepped]:
        for _ in range(left):
            batch = next(self.batches)
            start, cpu_start = perf_counter(), process_time()
            result = self.trainer.step(batch)
            yield Stepped(result, perf_counter() - start, process_time() - cpu_start)

    def _score(self, summary: Summary) -> None:
        start, cpu_start = perf_counter(), process_time()
        model = self.trainer.readout()
        summary.evaluation = found = self.evaluate(model)
        if math.isfinite(found.loss) and (self._best is None or found.loss < self._best[0].loss):
            self._best = found, model
        summary.spend("evaluate", perf_counter() - start, process_time() - cpu_start)
        self._scored_at = summary.steps
        self._emit(Evaluated(summary.steps, summary.evaluation))

    def _loss(self, summary: Summary) -> float | None:
        """The validation loss of the model as it is now, if it is known."""
        evaluation = summary.evaluation
        return evaluation.loss if evaluation is not None and self._scored_at == summary.steps else None

    def _save(self, summary: Summary) -> None:
        if self.checkpoints is not None and self.checkpoints.writes:
            self._tell()  # what listeners have not heard, their states would not know
            parts = {name: part.state_dict() for name, part in self._parts().items()}
            state = {"summary": plain(summary), "scored_at": self._scored_at, "parts": parts, "best": None}
            if self._best is not None:
                evaluation, model = self._best
                state["best"] = {"evaluation": plain(evaluation), "model": plain(model.snapshot())}
            self.checkpoints.save(summary.steps, state, self._loss(summary))

    def _best_of(self, state: dict[str, Any] | None) -> tuple[Evaluation, M] | None:
        """The best that a checkpoint knows of."""
        if state is None:
            return None
        model = self.trainer.readout()
        return restored(state["evaluation"]), model.restore(restored(placed(state["model"], model.device)))

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint is made of, by name. Raises TypeError for what cannot say where it stands."""
        parts: dict[str, Any] = {"trainer": self.trainer, "batches": self.batches}
        for name, part in parts.items():
            if not hasattr(part, "state_dict"):
                raise TypeError(
                    f"Learner: a checkpoint needs the state_dict() of {name}, and a {type(part).__name__} has none; "
                    "pass one that can say where it stands, such as a DataLoader for batches."
                )
        listening = [listener for listener in self.listeners if hasattr(listener, "state_dict")]
        return parts | {f"{LISTENER} {i}": listener for i, listener in enumerate(listening)}

    def _end_with_the_best(self, summary: Summary, error: DivergenceError) -> None:
        if self._best is not None:
            summary.diverged = str(error)
            summary.evaluation, model = self._best
            self._emit(Ended(summary, model))

    def _emit(self, event: Event) -> None:
        """Tell the listeners; of steps whose numbers are still on a GPU together with those that follow."""
        self._held.append(event)
        waits = isinstance(event, Stepped) and not event.result.known
        if not waits or len(self._held) >= BLOCK:
            self._tell()

    def _tell(self) -> None:
        """Tell the listeners what they have not heard yet."""
        held, self._held = self._held, []
        for event in held:
            for listener in self.listeners:
                listener(event)


class _Interrupt:
    """While it is entered, the first Ctrl-C is a request: an exception could end a step with half its work done.

    A second one is an exception, unless the run is `ending`: then what was learned is being scored and kept; or an
    optimizer is at work, which changes weights and moments in place, and is done in a moment. SIGTERM is a request,
    too. Only Python's own handling is replaced (a program that handles or ignores a signal keeps its way),
    and only the main thread may do so.
    """

    def __enter__(self) -> Self:
        self.requested = self.ending = False
        main = threading.current_thread() is threading.main_thread()
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        self._replaced = {number: way for number, way in usual.items() if main and signal.getsignal(number) is way}
        for number in self._replaced:
            signal.signal(number, self._request)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, way in self._replaced.items():
            signal.signal(number, way)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.ending and number == signal.SIGINT and not _optimizes(frame):
            raise KeyboardInterrupt
        self.requested = True


def _optimizes(frame: FrameType | None) -> bool:
    """Whether an optimizer's step is under way."""
    while frame is not None and frame.f_code is not Optimizer.step.__code__:
        frame = frame.f_back
    return frame is not None
