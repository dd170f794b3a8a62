"""The hybrid predictive trainer: real steps, and jumps along a prediction that are verified or taken back."""

from minihybrid.hybrid import predictors as predictors
from minihybrid.hybrid.config import HybridConfig as HybridConfig, TrustConfig as TrustConfig
from minihybrid.hybrid.delta import (
    WeightDelta as WeightDelta,
    apply_deltas_to_model as apply_deltas_to_model,
    extract_gradients as extract_gradients,
    tensor_to_vec as tensor_to_vec,
    vec_to_tensor as vec_to_tensor,
)
from minihybrid.hybrid.divergence import DivergenceLimits as DivergenceLimits
from minihybrid.hybrid.full import FullTrainer as FullTrainer
from minihybrid.hybrid.local_steps import LocalStepsTrainer as LocalStepsTrainer
from minihybrid.hybrid.parallel import ParallelModel as ParallelModel
from minihybrid.hybrid.payoff import PayoffConfig as PayoffConfig
from minihybrid.hybrid.phase import Phase as Phase, PhaseController as PhaseController
from minihybrid.hybrid.trainer import HybridTrainer as HybridTrainer
from minihybrid.hybrid.wrapper import (
    Batch as Batch,
    ForwardFn as ForwardFn,
    GradientInfo as GradientInfo,
    ModelWrapper as ModelWrapper,
    OptimizerWrapper as OptimizerWrapper,
)
from minihybrid.train.ledger import Ledger as Ledger
from minihybrid.train.step import DivergenceError as DivergenceError, StepResult as StepResult
