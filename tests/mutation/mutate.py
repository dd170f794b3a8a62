"""Mutation testing: is every line of a folder held by a test that would notice if it were another?

    python tests/mutation/mutate.py autodiff --count 300 --seed 7

A mutant is the source with one small change, of the kinds that are usual (Jia and Harman 2011, table 5): another
comparison, another arithmetic operator, `and` for `or`, a condition turned round, another constant, a statement left
out. Mutants are drawn by the seed, each is run against the tests of its own folder that reach its line (as `coverage`
found them in a first run of the unchanged source), those of the file that mirrors it first, and the first test that
fails kills it. Those that no test kills survive; `report.md` beside this file says what became of them. A mutant that
keeps a test for far longer than the unchanged source did counts as killed.

Everything happens in a copy of the working tree, in processes forked from one that has imported NumPy and pytest. It
needs `coverage`, and a system that forks.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OPTIONS = ["-q", "-x", "--no-header", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
OPTIONS += ["--hypothesis-profile=mutation"]
PATIENCE, LEAST_PATIENCE = 8, 6  # a test may take so many times what it takes without mutants, or so many seconds
FIRST = 40  # tests that are tried before all others are even collected
LONGEST = 1800  # seconds on the clock, for a mutant that waits; the others are of the processor, which may be busy
LARGEST = 6 << 30  # bytes that a mutant may ask for: an endless list is a kill, not the end of this machine

COMPARISONS = {
    "Lt": "LtE", "LtE": "Lt", "Gt": "GtE", "GtE": "Gt", "Eq": "NotEq", "NotEq": "Eq", "Is": "IsNot", "IsNot": "Is",
    "In": "NotIn", "NotIn": "In",
}  # fmt: skip
ARITHMETIC = {
    "Add": "Sub", "Sub": "Add", "Mult": "Div", "Div": "Mult", "FloorDiv": "Mult", "Mod": "Mult", "Pow": "Mult",
    "MatMult": "Mult", "BitAnd": "BitOr", "BitOr": "BitAnd", "BitXor": "BitAnd", "LShift": "RShift", "RShift": "LShift",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file: what stands at [start, end) becomes `text`.

    `reach` are the lines whose tests see it: its own, those of the function whose default it is, or all of the file
    for what runs when the file is imported.
    """

    file: str
    line: int
    kind: str
    start: int
    end: int
    text: str
    reach: tuple[int, ...]

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


# Drawing mutants


class Changes(ast.NodeVisitor):
    """All mutants of one file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source = file, source
        self.offsets = [0]
        for line in source.splitlines(keepends=True):
            self.offsets.append(self.offsets[-1] + len(line))
        self.found: list[Mutant] = []
        self.inside: list[ast.AST] = []  # the functions around a node
        self.called: tuple[int, ...] = ()  # the lines of the function whose defaults are looked at
        self.visit(ast.parse(source))

    def span(self, node: Any) -> tuple[int, int]:
        start, end = (self.offsets[line - 1] for line in (node.lineno, node.end_lineno))
        return start + node.col_offset, end + node.end_col_offset

    def add(self, node: Any, kind: str, changed: Any) -> None:
        """Note that `node` can become another node, or a text."""
        start, end = self.span(node)
        text = changed if isinstance(changed, str) else f"({ast.unparse(changed)})"
        last = len(self.offsets)
        reach = tuple(range(node.lineno, node.end_lineno + 1)) if self.inside else self.called or tuple(range(1, last))
        self.found.append(Mutant(self.file, node.lineno, kind, start, end, text, reach))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.called = tuple(range(node.body[0].lineno, node.body[-1].end_lineno + 1))  # type: ignore[operator]
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        self.called = ()
        self.inside.append(node)
        self.visit_body(node.body)
        self.inside.pop()

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.inside.append(node)
        self.visit(node.body)
        self.inside.pop()

    def visit_body(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.leave_out(statement)
            self.visit(statement)

    def leave_out(self, node: ast.stmt) -> None:
        """A statement that does something is left out; what only names or documents is none."""
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if self.inside and isinstance(node, ast.Expr | ast.Assign | ast.AugAssign | ast.Raise) and not docstring:
            self.add(node, "statement left out", "pass")
        elif self.inside and isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
            self.add(node, "nothing returned", "return None")

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            if name in ("body", "orelse", "finalbody") and isinstance(value, list) and not isinstance(node, ast.Module):
                self.visit_body(value)
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.visit(item)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("__all__", "__slots__"):
            return
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.add(node.test, "condition turned round", ast.UnaryOp(ast.Not(), node.test))
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.add(node.test, "condition turned round", ast.UnaryOp(ast.Not(), node.test))
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.add(node.test, "condition turned round", ast.UnaryOp(ast.Not(), node.test))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for i, op in enumerate(node.ops):
            other = getattr(ast, COMPARISONS[type(op).__name__])()
            self.add(
                node, "comparison", ast.Compare(node.left, [*node.ops[:i], other, *node.ops[i + 1 :]], node.comparators)
            )
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.add(node, "and/or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = getattr(ast, ARITHMETIC[type(node.op).__name__])()
        text = any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right))
        if not text:
            self.add(node, "arithmetic", ast.BinOp(node.left, other, node.right))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        other = getattr(ast, ARITHMETIC[type(node.op).__name__])()
        self.add(node, "arithmetic", ast.unparse(ast.AugAssign(node.target, other, node.value)))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.add(node, "sign or not dropped", node.operand)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, "constant", str(not node.value))
        elif isinstance(node.value, int | float):
            self.add(node, "constant", repr(node.value + 1))

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, "break/continue", "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "break/continue", "break")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """The wording of messages is no behaviour."""


def mutants(folder: str) -> list[Mutant]:
    """All mutants of a folder of the package that still are Python."""
    found = []
    for path in sorted((ROOT / "minihybrid" / folder).rglob("*.py")):
        source = path.read_bytes()
        for mutant in Changes(str(path.relative_to(ROOT)), source).found:
            try:
                compile(mutant.applied(source), mutant.file, "exec")
            except SyntaxError:
                continue
            found.append(mutant)
    return found


# Running tests


def tests_of(folder: str) -> list[str]:
    """The tests and the examples in the documentation of a folder of the package."""
    return [f"tests/{folder}", f"minihybrid/{folder}"]


def explored(copy: Path, folder: str) -> tuple[dict[str, dict[int, list[str]]], dict[str, float]]:
    """For each file and line, the tests that reach it; and how long each test takes."""
    data, times = copy / ".coverage", copy / "times.json"
    environment = {**os.environ, "COVERAGE_FILE": str(data), "MUTATION_TIMES": str(times), "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "pytest", *OPTIONS, *tests_of(folder), "-p", "tests.mutation.timed"]
    command += [f"--cov=minihybrid/{folder}", "--cov-context=test", "--cov-report="]
    subprocess.run(command, cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)
    import coverage

    measured = coverage.CoverageData(str(data))
    measured.read()
    reached: dict[str, dict[int, list[str]]] = {}
    for file in measured.measured_files():
        by_line = measured.contexts_by_lineno(file)
        # A context is "tests/test_x.py::test_name|run"; the empty one is what importing reaches.
        reached[str(Path(file).relative_to(copy.resolve()))] = {
            line: sorted({context.rpartition("|")[0] for context in contexts if context})
            for line, contexts in by_line.items()
        }
    return reached, json.loads(times.read_text())


class Chosen:
    """A pytest plugin: only these tests, in this order; the one that failed."""

    def __init__(self, order: list[str], times: dict[str, float]) -> None:
        self.order = {name: i for i, name in enumerate(order)}
        self.times = times
        self.killer = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        wanted = [item for item in items if item.nodeid in self.order or item.nodeid not in self.times]
        items[:] = sorted(wanted, key=lambda item: self.order.get(item.nodeid, -1))  # new ones may reach every line

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_PROF, max(LEAST_PATIENCE, PATIENCE * self.times.get(nodeid, 0.0)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.killer = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.killer = f"{report.nodeid}, as it is collected"


def order_for(mutant: Mutant, reached: dict[int, list[str]], times: dict[str, float]) -> list[str]:
    """The tests for a mutant: those of the mirroring file first, the quick ones first."""
    names = {name for line in mutant.reach for name in reached.get(line, [])}
    folder, _, file = mutant.file.removeprefix("minihybrid/").rpartition("/")
    mirror = f"tests/{folder}/test_{file}::"
    return sorted(names & times.keys(), key=lambda name: (not name.startswith(mirror), times[name]))


def outcome(copy: Path, folder: str, mutant: Mutant, order: list[str], times: dict[str, float]) -> str:
    """What killed the mutant, or "" if nothing did."""
    path = copy / mutant.file
    original = path.read_bytes()
    reading, writing = os.pipe()
    path.write_bytes(mutant.applied(original))
    try:
        child = os.fork()
        if not child:
            os.close(reading)
            _run_child(copy, folder, order, times, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
    finally:
        path.write_bytes(original)
    if os.WIFSIGNALED(status):
        ending = os.WTERMSIG(status)
        return "time" if ending in (signal.SIGPROF, signal.SIGALRM) else f"signal {ending}"
    return said


def _run_child(copy: Path, folder: str, order: list[str], times: dict[str, float], writing: int) -> None:
    """Run the tests in this process, which then ends."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST, LARGEST))
    signal.setitimer(signal.ITIMER_PROF, LEAST_PATIENCE)  # for what is imported; each test sets its own
    signal.alarm(LONGEST)
    import pytest

    first = order[:FIRST]  # most mutants die here, and few files are read for it
    stages = [(first, list(dict.fromkeys(name.partition("::")[0] for name in first)))] if first else []
    said = ""
    try:
        for part, files in (*stages, (order[FIRST:], tests_of(folder))):
            chosen = Chosen(part, times)
            code = pytest.main([*OPTIONS, *files], plugins=[chosen])
            if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                said = chosen.killer or f"pytest ended with {int(code)}"
                break
    except BaseException as error:
        said = f"{type(error).__name__} before any test"
    os.write(writing, said.encode())
    os._exit(0)


# The whole


def copied() -> Iterator[Path]:
    """A copy of the working tree, while it is needed."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder).resolve() / "tree"
        leave = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".hypothesis", ".*_cache", "runs")
        shutil.copytree(ROOT, copy, ignore=leave)
        yield copy


def main() -> None:
    """Draw mutants, run them, and write what became of each beside this file."""
    parser = argparse.ArgumentParser(description="Mutation testing of one folder of the package.")
    parser.add_argument("folder", choices=("autodiff", "hybrid"))
    parser.add_argument("--count", type=int, default=300, help="mutants to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the draw (default: %(default)s)")
    parser.add_argument("--explored", type=Path, help="a file that keeps which tests reach which lines, for next time")
    parser.add_argument("--survivors", action="store_true", help="only those that survived last time, after new tests")
    options = parser.parse_args()

    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", CI="")
    results = Path(__file__).with_name(f"{options.folder}.json")
    drawn = random.Random(options.seed).sample(mutants(options.folder), options.count)
    before = json.loads(results.read_text())["mutants"] if options.survivors else []
    known = {_identity(entry): entry["killed_by"] for entry in before if entry["killed_by"]}
    for tree in copied():
        start = time.perf_counter()
        if options.explored and options.explored.exists():
            reached, times = json.loads(options.explored.read_text())
        else:
            reached, times = explored(tree, options.folder)
        if options.explored:
            options.explored.write_text(json.dumps([reached, times]))
        print(
            f"{len(times)} tests in {sum(times.values()):.0f} s, {time.perf_counter() - start:.0f} s traced", flush=True
        )
        for module in ("numpy.random", "pytest", "hypothesis.extra.numpy", "hypothesis.stateful"):
            importlib.import_module(module)  # so that a fork has them at once
        told: list[dict[str, Any]] = []
        for i, mutant in enumerate(drawn):
            entry = {**asdict(mutant), "was": (ROOT / mutant.file).read_bytes()[mutant.start : mutant.end].decode()}
            order = order_for(mutant, {int(line): names for line, names in reached.get(mutant.file, {}).items()}, times)
            found = known.get(_identity(entry)) or outcome(tree, options.folder, mutant, order, times)
            del entry["reach"]
            told.append({**entry, "tests": len(order), "killed_by": found})
            print(
                f"{i + 1:4} {'killed' if found else 'SURVIVES':8} {mutant.file}:{mutant.line} {mutant.kind}", flush=True
            )
            killed = sum(bool(entry["killed_by"]) for entry in told)
            summary = {"folder": options.folder, "seed": options.seed, "drawn": len(told), "killed": killed}
            lines = ",\n".join(json.dumps(entry) for entry in told)
            results.write_text(f'{{"summary": {json.dumps(summary)},\n"mutants": [\n{lines}\n]}}\n')
        print(f"{killed} of {len(told)} killed, in {time.perf_counter() - start:.0f} s")


def _identity(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[key] for key in ("file", "line", "kind", "start", "end", "text"))


if __name__ == "__main__":
    main()
