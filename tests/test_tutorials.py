"""The tutorials run, with the solutions of their exercises, and the notebooks are what their sources make."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from minihybrid.autodiff.op import registry

FOLDER = Path(__file__).parents[1] / "tutorials"


def load_build():
    spec = importlib.util.spec_from_file_location("tutorials_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()
each_tutorial = pytest.mark.parametrize("source", build.sources(), ids=lambda source: source.stem)


def run(source):
    """Run the cells one after the other as in a notebook; the names that a solution leaves behind are taken back."""
    names = {"__name__": "__main__"}
    for i, (kind, text) in enumerate(build.read(source)):
        where = f"{source.name}, cell {i + 1}"
        if kind == "code":
            exec(compile(text, where, "exec"), names)
        else:
            for code in build.solutions(text):
                before = dict(names)
                exec(compile(code, f"{where}, solution", "exec"), names)
                names.clear()
                names.update(before)


def notebook_of(source):
    return json.loads(source.with_suffix(".ipynb").read_text())


@each_tutorial
def test_a_tutorial_runs_with_its_solutions(source, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason="the tutorials draw with the extra plot")
    matplotlib.use("Agg")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(FOLDER)
    from matplotlib import pyplot

    known = set(registry)
    try:
        with pyplot.rc_context():
            run(source)
    finally:
        pyplot.close("all")
        for name in set(registry) - known:  # other tests sweep over all ops that there are
            del registry[name]


@each_tutorial
def test_a_notebook_is_what_its_source_says(source):
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook_of(source)["cells"]]
    assert cells == build.read(source), f"run `python tutorials/build.py {source.name[:2]}`"


@each_tutorial
def test_a_notebook_was_run_from_top_to_bottom_and_can_be_published(source):
    notebook = notebook_of(source)
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert list(build.complaints(notebook)) == []


@each_tutorial
def test_a_tutorial_has_exercises_with_folded_solutions(source):
    texts = [text for kind, text in build.read(source) if kind == "markdown"]
    assert sum(bool(code) for text in texts for code in build.solutions(text)) >= 2
    assert all(text.count("<details>") == text.count("</details>") for text in texts)


@pytest.mark.slow  # quick, but only there is the extra `tutorials` installed
@each_tutorial
def test_jupytext_reads_the_same_cells(source):
    jupytext = pytest.importorskip("jupytext", reason="needs the extra tutorials")
    cells = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    assert cells == build.read(source)


def test_every_tutorial_begins_with_the_same_set_up():
    first = {next(text for kind, text in build.read(source) if kind == "code") for source in build.sources()}
    assert len(first) == 1


def test_the_set_up_installs_what_is_missing_and_nothing_else(monkeypatch):
    code = next(text for kind, text in build.read(build.sources()[0]) if kind == "code")
    installed = []
    monkeypatch.setattr(subprocess, "check_call", installed.append)
    exec(code, {})
    assert installed == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    exec(code, {})
    assert installed == [[sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]]


def test_complaints_see_what_must_not_be_published():
    cell = {"cell_type": "code", "source": "x", "outputs": []}
    bad = [
        {"output_type": "error"},
        {"output_type": "stream", "name": "stderr", "text": ["UserWarning"]},
        {"output_type": "stream", "name": "stdout", "text": ["wrote /some/where/file.txt"]},
        {"output_type": "display_data", "data": {"image/png": "A" * 200_000}},
    ]
    good = {"output_type": "stream", "name": "stdout", "text": ["a/b/c 1/2 and/or 3 / 4 file.py:3"]}
    assert [len(list(build.complaints({"cells": [{**cell, "outputs": [output]}]}))) for output in [*bad, good]] == [
        *[1] * len(bad),
        0,
    ]


@pytest.mark.slow
@each_tutorial
def test_a_notebook_runs_in_a_fresh_kernel(source):
    pytest.importorskip("nbclient", reason="needs the extra tutorials")
    pytest.importorskip("ipykernel", reason="needs the extra tutorials")
    assert list(build.complaints(build.execute(source))) == []
