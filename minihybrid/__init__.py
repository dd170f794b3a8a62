"""minihybrid: automatic differentiation from scratch, and a trainer that predicts."""

import importlib
from typing import TYPE_CHECKING, Any

from minihybrid import autodiff as autodiff
from minihybrid.autodiff import ops as ops
from minihybrid.autodiff.alias import carry as carry
from minihybrid.autodiff.check import GradientError as GradientError, gradcheck as gradcheck
from minihybrid.autodiff.checkpoint import checkpoint as checkpoint
from minihybrid.autodiff.debug import debug as debug
from minihybrid.autodiff.draw import Drawing as Drawing, draw as draw
from minihybrid.autodiff.functional import (
    grad as grad,
    hessian_vector_product as hessian_vector_product,
    jacobian as jacobian,
    value_and_grad as value_and_grad,
)
from minihybrid.autodiff.op import no_grad as no_grad, op as op
from minihybrid.autodiff.ops import *  # noqa: F403 (mh.exp, mh.sum, ... are the ops)
from minihybrid.autodiff.storage import MovedError as MovedError
from minihybrid.autodiff.tape import Gradients as Gradients
from minihybrid.autodiff.tensor import Tensor as Tensor, from_dlpack as from_dlpack, tensor as tensor
from minihybrid.autodiff.trace import PlanError as PlanError
from minihybrid.device import Device as Device, DeviceError as DeviceError
from minihybrid.module import (
    Buffer as Buffer,
    LoadReport as LoadReport,
    ModelSummary as ModelSummary,
    Module as Module,
    ModuleMapper as ModuleMapper,
    ModuleVisitor as ModuleVisitor,
    Param as Param,
    ParamId as ParamId,
    RecordError as RecordError,
    load_torch as load_torch,
    save as save,
    save_torch as save_torch,
    seed_param_ids as seed_param_ids,
    summary as summary,
)
from minihybrid.rng import Rng as Rng

if TYPE_CHECKING:
    from minihybrid import (
        data as data,
        distributed as distributed,
        hybrid as hybrid,
        nn as nn,
        optim as optim,
        plot as plot,
        train as train,
    )
    from minihybrid.train.compiled import compile as compile

__version__ = "0.1.0"

_FLOORS_ABOVE = ("data", "distributed", "hybrid", "nn", "optim", "plot", "train")


def __getattr__(name: str) -> Any:
    # Loaded when they are first touched: who wants tensors and gradients alone should not wait for the rest.
    if name in _FLOORS_ABOVE:
        return importlib.import_module(f"minihybrid.{name}")
    if name == "compile":
        return importlib.import_module("minihybrid.train.compiled").compile
    raise AttributeError(f"minihybrid has no attribute {name!r}.")


def __dir__() -> list[str]:
    return [*globals(), *_FLOORS_ABOVE, "compile"]
