"""The two ways to walk a module: a visitor reads, a mapper rebuilds. Both are told each thing's path.

A tied parameter is met once, at its first path (a visitor can ask for the others, too); a mapper's answer for it stands
at all its paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minihybrid.module.param import Buffer, Param
from minihybrid.rng import Rng

if TYPE_CHECKING:
    from minihybrid.module.module import Module


class ModuleVisitor:
    """Reads a module; override what you are interested in.

    >>> import minihybrid as mh
    >>> class Count(mh.ModuleVisitor):
    ...     total = 0
    ...     def visit_param(self, path, param):
    ...         self.total += param.size
    >>> model = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0))
    >>> model.visit(Count()).total
    8
    """

    def enter_module(self, path: str, module: Module) -> None:
        """Called before what the module holds; the root's path is empty."""

    def exit_module(self, path: str, module: Module) -> None:
        """Called after what the module holds."""

    def visit_param(self, path: str, param: Param) -> None:
        """Called for each parameter."""

    def visit_tied(self, path: str, param: Param) -> None:
        """Called for each further path of a parameter."""

    def visit_buffer(self, path: str, buffer: Buffer) -> None:
        """Called for each buffer."""

    def visit_rng(self, path: str, rng: Rng) -> None:
        """Called for each random stream (of dropout, say)."""


class ModuleMapper:
    """Rebuilds a module with other parameters and buffers; override what you change.

    >>> import minihybrid as mh
    >>> class FreezeBiases(mh.ModuleMapper):
    ...     def map_param(self, path, param):
    ...         return param.freeze() if path.endswith("bias") else param
    >>> model = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)).map(FreezeBiases())
    >>> model.bias.requires_grad
    False
    """

    def map_param(self, path: str, param: Param) -> Param:
        """The parameter that takes this one's place; keep the id (`freeze`, `replaced`) if it is the same one."""
        return param

    def map_buffer(self, path: str, buffer: Buffer) -> Buffer:
        """The buffer that takes this one's place."""
        return buffer

    def map_rng(self, path: str, rng: Rng) -> Rng:
        """The random stream that takes this one's place."""
        return rng
