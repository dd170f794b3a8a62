"""Make the notebooks: `python tutorials/build.py [NN ...]` runs NN_name.py in a fresh kernel and writes NN_name.ipynb.

A tutorial is a Python script in jupytext's percent format: `# %%` begins a cell of code, `# %% [markdown]` one of text,
whose lines are comments. Running needs the extra `tutorials`; reading needs nothing.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PICTURE_BYTES = 100_000
ABSOLUTE_PATH = re.compile(r"(?<![\w/.<:])/\w[\w.-]*/")

Cell = tuple[str, str]  # "code" or "markdown", and the text


def sources() -> list[Path]:
    """The scripts of all tutorials, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def read(source: Path) -> list[Cell]:
    """The cells of a percent script."""
    _, *parts = re.split(r"^# %%(.*)\n", source.read_text(), flags=re.MULTILINE)
    cells = []
    for header, body in zip(parts[::2], parts[1::2], strict=True):
        body = body.strip("\n")
        if header.strip() == "[markdown]":
            lines = [
                line.removeprefix("#").removeprefix(" ") for line in body.splitlines()
            ]
            cells.append(("markdown", "\n".join(lines)))
        else:
            cells.append(("code", body))
    return cells


def solutions(markdown: str) -> list[str]:
    """The Python code in each of the folds (<details>) of a cell of text."""
    folds = re.findall(
        r"^<details>$.*?^</details>$", markdown, re.DOTALL | re.MULTILINE
    )
    return [
        "\n".join(
            re.findall(r"^```python\n(.*?)\n```$", fold, re.DOTALL | re.MULTILINE)
        )
        for fold in folds
    ]


def execute(source: Path) -> dict[str, Any]:
    """The notebook of a script, run in a fresh kernel; raises CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    make = {
        "code": nbformat.v4.new_code_cell,
        "markdown": nbformat.v4.new_markdown_cell,
    }
    cells = [
        make[kind](text, id=f"{i:02}") for i, (kind, text) in enumerate(read(source))
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    # One BLAS thread gives the same sums everywhere; the kernel finds the package of this very tree.
    search = os.pathsep.join(
        filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH")))
    )
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": search,
    }
    environment.pop("MPLBACKEND", None)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # or where the output is cut depends on the machine
    )
    client.execute(cwd=str(FOLDER), env=environment)
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    return notebook


def complaints(notebook: dict[str, Any]) -> Iterator[str]:
    """What a published notebook must not hold: failures, warnings, paths of one machine, large pictures."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            where = f"the output of the cell that begins {''.join(cell['source']).splitlines()[0]!r}"
            if output["output_type"] == "error" or output.get("name") == "stderr":
                yield f"{where} is an error or a warning"
            data = output.get("data", {})
            text = "".join(output.get("text", "")) + "".join(data.get("text/plain", ""))
            if found := ABSOLUTE_PATH.search(text):
                yield f"{where} holds a path: {text[found.start() : found.start() + 60]!r}"
            sizes = [
                len(base64.b64decode(data.get("image/png", ""))),
                len("".join(data.get("image/svg+xml", ""))),
            ]
            if max(sizes) > PICTURE_BYTES:
                yield f"{where} is a picture of {max(sizes):,} bytes"


def main(numbers: list[str]) -> int:
    chosen = [
        source for source in sources() if not numbers or source.name[:2] in numbers
    ]
    failed = not chosen
    for source in chosen:
        notebook = execute(source)
        for complaint in complaints(notebook):
            failed = True
            print(f"{source.name}: {complaint}", file=sys.stderr)
        source.with_suffix(".ipynb").write_text(
            json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
