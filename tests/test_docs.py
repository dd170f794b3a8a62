"""Pages that are made from the source say what the source says; what pages show as code runs, and prints what they say.

A fence of `python` is run, page by page from top to bottom; one of `py` is an excerpt, or for somewhere else.
"""

import contextlib
import importlib.util
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import minihybrid as mh

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```python\n(.*?)\n```$(?:\n\n((?:    [^\n]*\n|\n(?=    ))+))?", re.DOTALL | re.MULTILINE)
"""Code, and the indented block that follows it, if there is one."""
PAGES = sorted(page.name for page in DOCS.glob("*.md") if FENCE.search(page.read_text()))


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_op_table_is_the_registrys():
    module = script("op_table")
    page = module.table()
    assert "`g * (1 - out * out)`" in page
    assert module.PAGE.read_text() == page, "run `python docs/op_table.py`"


def test_the_readmes_results_are_those_of_the_comparison():
    module = script("results_table")
    (found,) = module.PLACE.findall(module.PAGE.read_text())
    assert found == module.tables(), "run `python docs/results_table.py`"
    assert "| digits | 200 | 59 | 36 |" in found


@pytest.mark.slow
def test_the_pictures_can_be_drawn(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    module = script("pictures")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    module.draw()
    committed = {path.name for path in (DOCS / "pictures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == committed
    for path in tmp_path.iterdir():
        ElementTree.parse(path)
    assert (tmp_path / "graph.svg").read_text() == (DOCS / "pictures" / "graph.svg").read_text()


def test_pages_with_code_are_found():
    assert {"start.md", "integrate.md", "look.md", "extend.md", "faq.md"} <= set(PAGES)


@pytest.fixture
def registry():
    """The ops as they are, whatever a page declares."""
    before = dict(mh.ops.registry)
    yield
    mh.ops.registry.clear()
    mh.ops.registry.update(before)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch, registry):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page}
    for code, expected in FENCE.findall((DOCS / page).read_text()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        if expected:
            assert printed.getvalue().rstrip() == re.sub(r"^    ", "", expected, flags=re.MULTILINE).rstrip()


def test_every_public_name_is_in_the_reference_with_a_docstring():
    api = script("api")
    for path in api.MODULES:
        names = api.public(path)
        assert names, path
        for name, value in names.items():
            assert (value.__doc__ or "").strip(), f"{path}.{name} has no docstring"
    assert {"Tensor", "Module", "draw", "summary", "compile", "MovedError"} <= api.public("minihybrid").keys()
    assert {"exp", "matmul", "softmax_cross_entropy"} <= api.public("minihybrid.autodiff.ops").keys()
    everything = [value for path in api.MODULES for value in api.public(path).values()]
    for module in (mh.nn, mh.optim, mh.hybrid, mh.train, mh.data):
        for name in vars(module):
            value = getattr(module, name)
            if not name.startswith("_") and getattr(value, "__module__", "").startswith("minihybrid."):
                assert value in everything, f"{module.__name__}.{name}"


def test_a_docstring_becomes_restructuredtext():
    lines = ["Takes `x` and *y*, as in x_.", "", "    indented = code", "", "Then text.", "", ">>> `this` * stays", ""]
    script("api").to_rst(lines)
    assert lines == [
        *("Takes ``x`` and \\*y\\*, as in x\\_.", "", "::", "", "    indented = code", "", "Then text.", ""),
        *(">>> `this` * stays", ""),
    ]


def test_links_of_the_repository_become_links_of_the_pages():
    relinked = script("outside").relinked
    for page, link, expected in (
        ("faq", "[b](../benchmarks/README.md#results)", "[b](benchmarks.md#results)"),
        ("faq", "[d](design.md)", "[d](design.md)"),
        ("faq", "[source](../minihybrid/plot.py)", "source"),
        ("faq", "[outside](https://example.org/a)", "[outside](https://example.org/a)"),
        (
            "benchmarks",
            "[p](../docs/prediction.md) ![](results/scaling.png)",
            "[p](prediction.md) ![](../benchmarks/results/scaling.png)",
        ),
        ("contributing", "[c](CHANGELOG.md), [l](LICENSE)", "[c](changelog.md), l"),
        ("tutorials/01_autodiff", "[2](02_ops.ipynb) [99](99_none.ipynb)", "[2](02_ops.ipynb) 99"),
    ):
        assert relinked(page, link) == expected


def test_links_lead_somewhere():
    made = [DOCS / f"{page}.md" for page in script("outside").COPIES]
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]:
        if "_build" in page.parts or page in made:
            continue
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert target.startswith("api/") or (page.parent / target).exists(), (
                f"{page.relative_to(DOCS.parent)} links to {target}"
            )
