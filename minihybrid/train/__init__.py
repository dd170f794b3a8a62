"""Training runs: what a step reports, how it is measured, shown and kept."""

from minihybrid.train.events import (
    Ended as Ended,
    Evaluated as Evaluated,
    Event as Event,
    Listener as Listener,
    Started as Started,
    Stepped as Stepped,
    Summary as Summary,
)
from minihybrid.train.learner import Learner as Learner, Trainer as Trainer
from minihybrid.train.ledger import Ledger as Ledger
from minihybrid.train.logger import JsonLines as JsonLines, MetricLogger as MetricLogger, TensorBoard as TensorBoard
from minihybrid.train.metrics import (
    Evaluation as Evaluation,
    Mean as Mean,
    accuracy as accuracy,
    evaluate as evaluate,
)
from minihybrid.train.run import RunError as RunError, RunFolder as RunFolder
from minihybrid.train.step import DivergenceError as DivergenceError, StepResult as StepResult
from minihybrid.train.task import Task as Task
