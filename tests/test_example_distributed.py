"""The example on one process; tests/distributed has several."""

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.parametrize("options", [[], ["--local-steps", "10"]])
def test_it_learns_the_digits(options, capsys):
    path = Path(__file__).parent.parent / "examples" / "distributed_digits.py"
    spec = importlib.util.spec_from_file_location("distributed_digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--steps", "200", *options]) == 0
    printed = capsys.readouterr().out
    assert float(printed.split("accuracy ")[1].split("%")[0]) > 90
    assert "sent by each rank" in printed
