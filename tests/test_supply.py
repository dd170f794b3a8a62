"""What the package leans on: dependencies within tested bounds, and no network, whoever imports or trains."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NETWORK = {"asyncio", "ftplib", "http", "imaplib", "poplib", "requests", "smtplib", "socket", "socketserver", "ssl"}
NETWORK |= {"urllib", "urllib3", "webbrowser", "xmlrpc"}


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_a_dependency_has_a_lower_and_an_upper_bound(requirement):
    assert re.fullmatch(r"[a-z]+>=\d+(\.\d+)+,<\d+", requirement)


def test_no_file_of_the_package_imports_what_speaks_to_a_network():
    found = {}
    for path in sorted((ROOT / "minihybrid").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {str(path): name for name in names if name.partition(".")[0] in NETWORK}
    assert found == {}


REFUSE = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")) and event != "socket.gethostname":
        raise PermissionError(f"{event} {arguments}")

sys.addaudithook(refuse)
"""
EVERYTHING = """
import minihybrid
for module in pkgutil.walk_packages(minihybrid.__path__, "minihybrid."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from minihybrid.cli import main
sys.exit(main(["train", "--steps", "150", "--hidden", "8", "--compile", "--plain"]))
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="audit hooks are CPython's")
@pytest.mark.parametrize(("code", "allowed"), [(EVERYTHING, True), ("import socket; socket.socket()", False)])
def test_importing_and_training_open_no_connection(tmp_path, code, allowed):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", REFUSE + code]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (run.returncode == 0) == allowed, run.stderr
    assert ("PermissionError: socket.__new__" in run.stderr) == (not allowed)
