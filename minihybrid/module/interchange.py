"""Models to and from PyTorch, through its state_dict in a safetensors file.

A model with the same tree has nearly the same paths there. What differs is one table here: the names of a few fields,
the layout of linear weights ([out, in] there, [in, out] here), and attention's three matrices, which PyTorch joins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minihybrid.module.module import Module, changed, pack
from minihybrid.module.param import Buffer, Param
from minihybrid.module.record import LoadReport, named_arrays, read, write_whole
from minihybrid.module.visitor import ModuleVisitor

M = TypeVar("M", bound=Module)
Names = Mapping[str, str] | Callable[[str], str] | None


@dataclass(frozen=True)
class _Entry:
    """Where an array stands in PyTorch's file: under a name, perhaps transposed, perhaps as one third of the rows."""

    name: str
    transposed: bool = False
    third: int | None = None


_ENTRIES = {
    "Linear": {"weight": _Entry("weight", transposed=True)},
    **{
        kind: {
            "weight_input": _Entry("weight_ih_l0", transposed=True),
            "weight_hidden": _Entry("weight_hh_l0", transposed=True),
            "bias_input": _Entry("bias_ih_l0"),
            "bias_hidden": _Entry("bias_hh_l0"),
        }
        for kind in ("RNN", "LSTM", "GRU")
    },
    "MultiHeadAttention": {
        f"{part}.{kind}": _Entry(f"in_proj_{kind}", third=i)
        for i, part in enumerate(("query", "key", "value"))
        for kind in ("weight", "bias")
    },
}

_BEGINNINGS = {
    "Sequential": {"layers.": ""},
    "MultiHeadAttention": {"output.": "out_proj."},
    "TransformerEncoderLayer": {"attention.": "self_attn.", "expand.": "linear1.", "contract.": "linear2."},
}


class _Entries(ModuleVisitor):
    """The entry of each parameter and buffer of a module, by path."""

    def __init__(self) -> None:
        self.owners: list[tuple[str, str]] = []
        self.found: dict[str, _Entry] = {}

    def enter_module(self, path: str, module: Module) -> None:
        self.owners.append((f"{path}." if path else "", type(module).__name__))

    def exit_module(self, path: str, module: Module) -> None:
        self.owners.pop()

    def visit_param(self, path: str, param: Param) -> None:
        self._place(path)

    def visit_buffer(self, path: str, buffer: Buffer) -> None:
        self._place(path)

    def _place(self, path: str) -> None:
        entry = _Entry(path)
        for owner, kind in reversed(self.owners):  # each module translates what it holds, the innermost first
            tail = entry.name.removeprefix(owner)
            if there := _ENTRIES.get(kind, {}).get(tail):
                transposed = entry.transposed or there.transposed
                entry = replace(there, name=owner + there.name, transposed=transposed)
            for here, beginning in _BEGINNINGS.get(kind, {}).items():
                if tail.startswith(here):
                    entry = replace(entry, name=owner + beginning + tail.removeprefix(here))
        self.found[path] = entry


def _entries(model: Module, names: Names) -> dict[str, _Entry]:
    renamed = names if callable(names) else _by_beginning(names or {})
    found = model.visit(_Entries()).found
    return {path: replace(entry, name=renamed(entry.name)) for path, entry in found.items()}


def _by_beginning(names: Mapping[str, str]) -> Callable[[str], str]:
    """The function that replaces a whole name, or else the longest beginning, up to a dot, that a dict knows."""

    def renamed(name: str) -> str:
        parts = name.split(".")
        for n in range(len(parts), 0, -1):
            if (beginning := names.get(".".join(parts[:n]))) is not None:
                return ".".join([beginning, *parts[n:]])
        return name

    return renamed


def load_torch(model: M, path: str | Path, names: Names = None) -> tuple[M, LoadReport]:
    """Read a PyTorch state_dict, saved as safetensors, into a model; consumes it and returns it with a report.

    An array is looked up under its path, as PyTorch's layers would call it: a `Sequential` holds "0.weight", an `LSTM`
    "weight_ih_l0". Where the trees differ, `names` maps these paths to the names in the file: a dict of names or their
    beginnings ({"0": "features", "2": "head"}), or a function. Layouts are converted, and floats to the model's dtype.

    The report is that of `load`; PyTorch's counters num_batches_tracked, which nothing here uses, are not reported.
    Raises RecordError for a file that is no readable safetensors file; the model is then untouched.

    >>> import minihybrid as mh, tempfile
    >>> model = mh.nn.Sequential([mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mh.save_torch(model, folder + "/model.safetensors", names={"0": "head"})
    ...     model, report = mh.load_torch(model, folder + "/model.safetensors", names={"0": "head"})
    >>> report.complete
    True
    """
    content = read(Path(path))
    pack(model)
    arrays, entries, device = named_arrays(model), _entries(model, names), model.device
    values: dict[str, Any] = {}
    mismatched = {}
    for name, entry in entries.items():
        if entry.name in content:
            value, array = _ours(content[entry.name], entry), arrays[name]
            floats = value.dtype.kind == array.dtype.kind == "f"
            if value.shape == array.shape and (floats or value.dtype == array.dtype):
                values[name] = value
            else:
                came = f"{content[entry.name].dtype} {content[entry.name].shape} as {entry.name!r}"
                mismatched[name] = f"the file has {came}, the model {array.dtype} {array.shape}"
    for name, value in values.items():
        arrays[name][...] = device.array(value)
    used = {entry.name for entry in entries.values()}
    unused = [name for name in content if name not in used and not name.endswith("num_batches_tracked")]
    missing = [name for name, entry in entries.items() if entry.name not in content]
    return changed(model, "load_torch"), LoadReport(missing, unused, mismatched)


def _ours(value: Any, entry: _Entry) -> Any:
    if entry.third is not None and value.ndim and value.shape[0] % 3 == 0:
        value = np.split(value, 3)[entry.third]
    return value.T if entry.transposed else value


def save_torch(model: Module, path: str | Path, names: Names = None) -> None:
    """Write a model as PyTorch would its state_dict, for `load_state_dict(safetensors.torch.load_file(path))` there.

    `names` are those of `load_torch`. The file appears whole or not at all; raises RecordError if it cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    arrays, device = named_arrays(model), model.device
    content: dict[str, Any] = {}
    thirds: dict[str, list[Any]] = {}
    for name, entry in _entries(model, names).items():
        value = device.host(arrays[name])
        value = value.T if entry.transposed else value
        if entry.third is None:
            content[entry.name] = value
        else:
            thirds.setdefault(entry.name, []).append(value)  # visited in the order in which they are joined
    content |= {name: np.concatenate(parts) for name, parts in thirds.items()}
    in_order = {name: np.asarray(value, order="C") for name, value in content.items()}
    write_whole(Path(path), [to_bytes(in_order, {"format": "pt"})])
