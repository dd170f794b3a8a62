"""The documentation as pages: `sphinx-build -W docs docs/_build/html`. Needs the extra `docs`, and no network."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import api
import op_table
import outside

import minihybrid

project = "minihybrid"
author = "minihybrid contributors"
release = minihybrid.__version__
html_title = f"minihybrid {release}"

extensions = ["myst_nb", "sphinx.ext.autodoc", "mathml"]
exclude_patterns = ["_build"]
html_math_renderer = "mathml"

# Pages that are made from the source. Tutorials are shown as they were run.
op_table.PAGE.write_text(op_table.table())
api.write(HERE / "api")
outside.write()
nb_execution_mode = "off"
nb_merge_streams = True

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False
maximum_signature_line_length = 100

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_copyright = False


def relink(app: Any, page: str, source: list[str]) -> None:
    """Links of the repository become links of these pages."""
    if not page.startswith("api/"):
        source[0] = outside.relinked(page, source[0])


def setup(app: Any) -> None:
    """Docstrings are written like Markdown, and autodoc reads reStructuredText."""
    app.connect("autodoc-process-docstring", lambda app, what, name, value, options, lines: api.to_rst(lines))
    app.connect("source-read", relink)
