"""The README's commands are the ones that are run: they are compared with `.ci/run`, letter for letter."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TRAIN = "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/minihybrid train"
TEST = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest"


def set_up_commands():
    fences = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [fence for fence in fences if "-m venv" in fence]


def test_the_readme_has_exactly_the_two_set_up_commands():
    assert set_up_commands() == [TRAIN, TEST]


def test_ci_runs_the_second_command_as_it_stands_in_the_readme():
    assert set_up_commands()[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_ci_run_can_be_executed():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_readmes_code_trains_a_network():
    parts = re.findall(r"^```python\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    names = {"__name__": "readme"}
    for code in parts:
        exec(code, names)
    assert (
        len(parts) == 2 and names["accuracy"] > 0.95 and len(names["step"].plans) == 2
    )  # the last batch of an epoch is smaller
