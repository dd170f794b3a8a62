"""Fused CUDA kernels: for each source (.cu) the launchers that run it (see launch.py).

A kernel is a faster way to compute what an op, or an optimizer's rule, says in NumPy's terms; that text is its
specification and its oracle, and is named beside it.
"""

from minihybrid.kernels.activation import activation_gradient as activation_gradient
from minihybrid.kernels.launch import contiguous as contiguous, fits as fits, labels as labels
from minihybrid.kernels.matmul import column_sum as column_sum, matmul as matmul
from minihybrid.kernels.optimizer import (
    adam as adam,
    clip_factor as clip_factor,
    partial_sums as partial_sums,
    sgd as sgd,
)
from minihybrid.kernels.random import (
    STREAM as STREAM,
    advance as advance,
    bernoulli as bernoulli,
    dropout_factors as dropout_factors,
    normal as normal,
    uniform as uniform,
)
from minihybrid.kernels.rows import (
    cross_entropy as cross_entropy,
    cross_entropy_gradient as cross_entropy_gradient,
    standardize as standardize,
    standardize_gradient as standardize_gradient,
)
from minihybrid.kernels.segment_sum import segment_sum as segment_sum
