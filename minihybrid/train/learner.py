"""The loop: batches to the trainer, scores on the validation set now and then, events to whoever listens."""

from __future__ import annotations

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
from minihybrid.train.events import Ended, Evaluated, Event, Listener, Started, Stepped, Summary
from minihybrid.train.metrics import Evaluation
from minihybrid.train.step import DivergenceError, StepResult

M = TypeVar("M", bound=Module)
M_co = TypeVar("M_co", bound=Module, covariant=True)


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
    in the middle of it, without a last evaluation; listeners hear of the end either way. What the trainer raises goes
    through. Before a DivergenceError does, listeners hear of the end, with the model that scored best, if one was
    scored.

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
    """

    trainer: Trainer[M]
    batches: Batches
    evaluate: Callable[[M], Evaluation]
    steps: int
    every: int = 100
    listeners: Sequence[Listener] = ()
    _best: tuple[Evaluation, M] | None = field(default=None, init=False, repr=False)

    def run(self) -> Summary:
        """Train, and say what it came to."""
        from threadpoolctl import threadpool_limits

        summary = Summary(planned=self.steps)
        # Overflow needs no warning of its own: a loss that is not finite ends the run with a sentence.
        quiet = np.errstate(over="ignore", invalid="ignore")
        with threadpool_limits(1, user_api="blas"), quiet, _Interrupt() as interrupt:
            self._emit(Started(self.steps))
            try:
                self._train(summary, interrupt)
                interrupt.ending = True
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
        for step in self._steps():
            summary.count(step.result, step.seconds, step.cpu_seconds)
            self._emit(step)
            if interrupt.requested:
                break
            if summary.steps % self.every == 0 and summary.steps < self.steps:
                self._score(summary)

    def _steps(self) -> Iterator[Stepped]:
        for _ in range(self.steps):
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
        self._emit(Evaluated(summary.steps, summary.evaluation))

    def _end_with_the_best(self, summary: Summary, error: DivergenceError) -> None:
        if self._best is not None:
            summary.diverged = str(error)
            summary.evaluation, model = self._best
            self._emit(Ended(summary, model))

    def _emit(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


class _Interrupt:
    """While it is entered, the first Ctrl-C is a request: an exception could end a step with half its work done.

    A second one is an exception, unless the run is `ending`: then what was learned is being scored and kept.
    Only Python's own handling is replaced (a program that handles or ignores the signal keeps its way), and only the
    main thread may do so.
    """

    def __enter__(self) -> Self:
        self.requested = self.ending = False
        main = threading.current_thread() is threading.main_thread()
        self._replaced = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._replaced:
            signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self.ending:
            raise KeyboardInterrupt
        self.requested = True
