"""Pages from elsewhere in the repository, copied into the documentation before each build, with links that fit there.

On the pages themselves all links are those of the repository, so that they can be followed there as well.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent

PAGES = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "benchmarks/README.md": "benchmarks",
    "benchmarks/results/compare/compare.md": "compare",
    "tutorials/README.md": "tutorials",
} | {f"tutorials/{file.name}": f"tutorials/{file.stem}" for file in (ROOT / "tutorials").glob("[0-9]*.ipynb")}
"""The page that stands for each file."""
OWN = ("index", "tutorials")
"""Pages of the documentation's own, which stand for a file and are no copy of it."""
COPIES = {page: ROOT / file for file, page in PAGES.items() if page not in OWN}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")


def write() -> None:
    """Copy the pages, and take away those whose file is gone."""
    (DOCS / "tutorials").mkdir(exist_ok=True)
    targets = {DOCS / f"{page}{file.suffix}": file for page, file in COPIES.items()}
    for left_over in set((DOCS / "tutorials").iterdir()) - targets.keys():
        left_over.unlink()
    for target, file in targets.items():
        if not target.exists() or target.read_text() != file.read_text():  # or Sphinx would read it again each time
            target.write_text(file.read_text())


def relinked(page: str, text: str) -> str:
    """The text of a page with links to pages where there are any; a link to any other file is only its text."""
    origin = COPIES.get(page, DOCS / f"{page}.md").parent
    here = (DOCS / page).parent

    def relink(match: re.Match[str]) -> str:
        sign, label, target, anchor = match.groups(default="")
        file = Path(os.path.normpath(origin / target))
        inside = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else ""
        made = file.is_relative_to(DOCS / "api")
        if inside in PAGES:
            file = DOCS / f"{PAGES[inside]}{file.suffix}"
        elif not (made or (file.is_file() and (sign or (file.is_relative_to(DOCS) and file.suffix == ".md")))):
            return label
        return f"{sign}[{label}]({os.path.relpath(file, here)}{anchor})"

    return LINK.sub(relink, text)
