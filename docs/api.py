"""Pages of the API reference: every public name with its docstring, as `conf.py` writes them before each build."""

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minihybrid.autodiff.op import registry

OPS = "minihybrid.autodiff.ops"
MODULES = {
    "minihybrid": "Tensors, gradients, modules",
    OPS: "Ops",
    "minihybrid.nn": "Layers and losses",
    "minihybrid.nn.init": "Initializers",
    "minihybrid.optim": "Optimizers, clipping, schedules",
    "minihybrid.data": "Data",
    "minihybrid.train": "Runs",
    "minihybrid.hybrid": "The hybrid trainer",
    "minihybrid.hybrid.predictors": "Predictors",
    "minihybrid.compare": "The comparison",
    "minihybrid.distributed": "Many processes",
    "minihybrid.report": "Reports",
    "minihybrid.plot": "Pictures",
}
"""A page for each, with its title."""


@functools.cache
def public(path: str) -> dict[str, Any]:
    """The functions and classes of a module that are for users, by name; those of ops are on their own page alone."""
    module = importlib.import_module(path)
    return {
        name: value
        for name in sorted(dir(module), key=str.lower)
        if not name.startswith("_")
        and callable(value := getattr(module, name))
        and getattr(value, "__module__", "").startswith("minihybrid.")
        and (registry.get(name) is value or value.__module__.startswith(f"{OPS}.")) == (path == OPS)
        and (path != "minihybrid.plot" or value.__module__ == path)  # this one is no list of names
    }


def home(name: str, value: Any) -> str:
    """The page that shows a thing which several modules have: that of its own package, or else the first."""
    having = [path for path in MODULES if public(path).get(name) is value]
    return max((path for path in having if value.__module__.startswith(f"{path}.")), key=len, default=having[0])


def page(path: str) -> str:
    """A page of the reference, as reStructuredText."""
    return "\n".join(_lines(path)) + "\n"


def _lines(path: str) -> Iterator[str]:
    title = MODULES[path]
    shown = "minihybrid" if path == OPS else path  # an op is called mh.exp
    about = (inspect.getdoc(importlib.import_module(path)) or "").splitlines()
    to_rst(about)
    yield from (title, "=" * len(title), "")
    if path == OPS:
        yield from ("Each is ``mh.NAME``, and most are methods of a tensor. :doc:`../ops` lists their gradients.", "")
    else:
        yield from (f"``import {path}``", "", *about, "")
    yield from (f".. py:currentmodule:: {shown}", "")
    for name, value in public(path).items():
        kind, role = ("class", "class") if inspect.isclass(value) else ("function", "func")
        if (there := home(name, value)) != path:
            yield from (f"``{name}`` is :{role}:`{there}.{name}`.", "")
            continue
        yield f".. auto{kind}:: {shown}.{name}"
        if kind == "class":
            yield "   :members:"
        yield ""


def write(folder: Path) -> None:
    """Write all pages, and their list."""
    folder.mkdir(exist_ok=True)
    names = "\n".join(f"   {path}" for path in MODULES)
    index = f"API reference\n=============\n\nEvery public name. ``mh`` is ``minihybrid``.\n\n.. toctree::\n\n{names}\n"
    for name, text in {"index": index, **{path: page(path) for path in MODULES}}.items():
        target = folder / f"{name}.rst"
        if not target.exists() or target.read_text() != text:  # or Sphinx would read it again each time
            target.write_text(text)


def to_rst(lines: list[str]) -> None:
    """Turn a docstring of this project, in place, into reStructuredText: code in backticks, indented examples."""
    done: list[str] = []
    example = block = False
    for line in lines:
        indented = line.startswith("    ")
        if line.startswith(">>>"):
            example = True
        elif not line.strip():
            example = False
        if example:
            done.append(line)
        elif indented and (block or not (done and done[-1].strip())):
            if not block:
                done += ["::", ""]
            block = True
            done.append(line)
        else:
            block = block and not line.strip()
            parts = re.split(r"(`[^`]*`)", line)
            done.append("".join(f"`{part}`" if part.startswith("`") else _plain(part) for part in parts))
    lines[:] = done


def _plain(text: str) -> str:
    """Signs that mean something in reStructuredText mean themselves."""
    return re.sub(r"([\\*|])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", text)
