"""Who competes: each module here makes training steps of a workload, in one framework or in none.

`make(workload, **options)` returns a function without arguments that makes one step of training and returns the loss
before it. It raises ImportError where its framework is missing and `Unfit` for a workload that it does not do.
"""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.timing import Step
from benchmarks.workloads import Workload


class Unfit(Exception):
    """A contender has no form of a workload."""


# name: (module, options)
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "naive NumPy": ("naive", {}),
    "optimised NumPy": ("optimised", {}),
    "GEMM only": ("gemm", {}),
    "minihybrid eager": ("ours", {}),
    "minihybrid plan": ("ours", {"through": "compile"}),
    "PyTorch eager": ("pytorch", {"foreach": False}),
    "PyTorch foreach": ("pytorch", {"foreach": True}),
    "PyTorch fused": ("pytorch", {"fused": True}),
    "JAX jit": ("in_jax", {}),
    "HIPS autograd": ("hips", {}),
    "MyGrad": ("in_mygrad", {}),
}

# On a GPU
_THERE = {"device": "cuda"}
ON_GPU: dict[str, tuple[str, dict[str, Any]]] = {
    "minihybrid eager": ("ours", _THERE),
    "minihybrid plan": ("ours", {**_THERE, "through": "compile"}),
    "PyTorch eager": ("pytorch", _THERE),
    "PyTorch CUDA graphs": ("pytorch", {**_THERE, "launch": "graph", "fused": True, "capturable": True}),
    "JAX jit": ("in_jax", _THERE),
    "torch.compile": ("pytorch", {**_THERE, "launch": "compile", "fused": True}),
}

NAIVE, OPTIMISED, OURS, PLAN = "naive NumPy", "optimised NumPy", "minihybrid eager", "minihybrid plan"
TORCH, JAX, TORCH_GRAPHS, TORCH_COMPILE = "PyTorch eager", "JAX jit", "PyTorch CUDA graphs", "torch.compile"

FLOORS = ("GEMM only",)  # they train nothing, so there is no loss to compare


def make(contender: str, workload: Workload, on_gpu: bool = False) -> Step:
    """A contender's step; see the package's text for what it raises."""
    module, options = (ON_GPU if on_gpu else CONTENDERS)[contender]
    step: Step = importlib.import_module(f"benchmarks.contenders.{module}").make(workload, **options)
    return step
