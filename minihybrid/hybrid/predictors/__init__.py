"""Predictors of weights: one protocol, one file each. The last four are controls, to be compared with."""

from minihybrid.hybrid.predictors.dmd import Dmd as Dmd, DmdConfig as DmdConfig
from minihybrid.hybrid.predictors.drift import Drift as Drift, DriftConfig as DriftConfig
from minihybrid.hybrid.predictors.history import History as History, HistoryConfig as HistoryConfig
from minihybrid.hybrid.predictors.holt import Holt as Holt, HoltConfig as HoltConfig
from minihybrid.hybrid.predictors.outer_nesterov import (
    OuterNesterov as OuterNesterov,
    OuterNesterovConfig as OuterNesterovConfig,
)
from minihybrid.hybrid.predictors.predictor import (
    Prediction as Prediction,
    Predictor as Predictor,
    PredictorConfig as PredictorConfig,
    RealStep as RealStep,
)
from minihybrid.hybrid.predictors.quasi_newton import (
    QuasiNewton as QuasiNewton,
    QuasiNewtonConfig as QuasiNewtonConfig,
)
from minihybrid.hybrid.predictors.rre import Rre as Rre, RreConfig as RreConfig

from minihybrid.hybrid.predictors.coast import Coast as Coast, CoastConfig as CoastConfig  # isort: skip
from minihybrid.hybrid.predictors.gradient_ema import (  # isort: skip
    GradientEma as GradientEma,
    GradientEmaConfig as GradientEmaConfig,
)
from minihybrid.hybrid.predictors.linear_trend import (  # isort: skip
    LinearTrend as LinearTrend,
    LinearTrendConfig as LinearTrendConfig,
)
from minihybrid.hybrid.predictors.null import Null as Null, NullConfig as NullConfig  # isort: skip
