"""Modules: trees of named parameters with one owner."""

from minihybrid.module.interchange import load_torch as load_torch, save_torch as save_torch
from minihybrid.module.module import Module as Module
from minihybrid.module.param import (
    Buffer as Buffer,
    Param as Param,
    ParamId as ParamId,
    seed_param_ids as seed_param_ids,
)
from minihybrid.module.record import LoadReport as LoadReport, RecordError as RecordError, save as save
from minihybrid.module.summary import ModelSummary as ModelSummary, summary as summary
from minihybrid.module.visitor import ModuleMapper as ModuleMapper, ModuleVisitor as ModuleVisitor
