"""What a notebook's cell shows while a run goes on."""

import sys
from types import SimpleNamespace

import pytest

from minihybrid.compare import progress
from minihybrid.compare.comparison import Result
from minihybrid.train import Ended, Evaluated, Evaluation, Started, Stepped, StepResult, Summary
from minihybrid.train.display import Notebook, Plain, choose_display
from minihybrid.train.notebook import ProgressBar, Table, in_notebook


@pytest.fixture
def shown(monkeypatch):
    """What the cell holds, one thing after the other in the same place."""
    values = []

    def display(value, display_id):
        assert display_id and not values, "one place"
        values.append(html(value))
        return SimpleNamespace(update=lambda value: values.append(html(value)))

    def html(value):
        return value._repr_html_()

    kernel = SimpleNamespace(kernel=1)
    fake = SimpleNamespace(get_ipython=lambda: kernel, display=SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    return values


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    for shell, expected in ((None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)):
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert in_notebook() is expected
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_run(shown):
    display = choose_display("live", "digits <b>")
    assert type(display) is Notebook
    display.RATE = 1e9  # every step is drawn
    summary = Summary(steps=2, planned=2, evaluation=Evaluation(0.25, 0.5), seconds={"full": 1.5})
    with display:
        display(Started(2))
        display(Stepped(StepResult(0, "full", 2.0, 0.1), 0.5, 0.5))
        display(Evaluated(1, Evaluation(0.25, 0.5)))
        display(Stepped(StepResult(1, "predict", 9.0, 0.1, predicted=True), 0.5, 0.5))
        display(Ended(summary, None))
    first, second, third, last = shown
    assert 'value="0" max="2"' in first and "digits &lt;b&gt;" in first and "<b>" not in "".join(shown)
    assert "loss 2" in second and 'value="1" max="2"' in second
    assert "loss 2" in third and "accuracy 50.00%" in third and "predict" in third
    assert "<td>50.00%</td>" in last and "&emsp;full</td><td>1.50 s</td>" in last and "<progress" not in last


def test_it_is_drawn_now_and_then(shown):
    display = Notebook("digits")
    display(Started(1000))
    for i in range(1000):
        display(Stepped(StepResult(i, "full", 2.0, 0.1), 0.0, 0.0))
    assert len(shown) < 20


def test_plain_lines_where_they_are_asked_for(shown, capsys):
    assert type(choose_display("plain", "digits")) is Plain
    assert type(choose_display("live", "digits", sys.stdout)) is Plain, "a stream that is given is no cell"


def test_a_comparison(shown, capsys):
    with progress.choose_progress("live", 1) as watcher:
        assert type(watcher) is progress.Notebook
        watcher.expect({("a", "adam"): 2})
        watcher.ran(("a", "adam"), 1.0)
        watcher.finished(Result("a", "adam", None, ()))
    assert 'value="1" max="2"' in shown[0] and "about 1 s left" in shown[0]
    assert "found no learning rate" in capsys.readouterr().out


def test_a_bar_tells_the_pace(monkeypatch):
    now = iter([0.0, 0.0, 4.0])
    monkeypatch.setattr("minihybrid.train.notebook.perf_counter", lambda: next(now))
    bar = ProgressBar("x", began=0.0)
    bar.begin(10)
    assert bar.pace == "0 s"
    bar.done = 4
    assert bar.pace == "4 s < 6 s, 1/s"


def test_a_table_is_text_as_well():
    assert repr(Table("digits", [("steps", "3")])) == "digits\nsteps                     3"


CELL = """
from minihybrid.train.notebook import Cell, ProgressBar, Table
cell = Cell()
cell.show(ProgressBar("a"))
cell.show(Table("b", []))
"""


def test_in_a_real_kernel():
    client, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    asked = "from minihybrid.train.notebook import in_notebook; in_notebook()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (CELL, asked)])
    client.NotebookClient(notebook, timeout=60).execute()
    (output,) = notebook.cells[0].outputs
    assert "<caption>b</caption>" in output["data"]["text/html"]
    assert notebook.cells[1].outputs[0]["data"]["text/plain"] == "True"
