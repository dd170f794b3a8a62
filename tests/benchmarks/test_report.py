"""Rows, tables, verdicts and the README's section, from results that are made up."""

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.bars import judge
from benchmarks.contenders import NAIVE, OURS, TORCH
from benchmarks.memory import Memory, transient_peak
from benchmarks.race import Result, disagreement


def _result(ours: float, torch: float) -> Result:
    seconds = {NAIVE: 1e-4, OURS: ours * 1e-4, TORCH: torch * 1e-4}
    return Result(seconds, {a: {b: seconds[a] / seconds[b] for b in seconds} for a in seconds})


def _rows() -> list[report.Row]:
    results = [_result(0.5, 2.0), _result(0.6, 2.0), _result(0.7, 2.0)]
    return report.rows_of("784-128-10 b64", results, {OURS: Memory(1000, 20_000_000, 0)})


def test_rows_are_medians_over_processes() -> None:
    naive, ours, _ = _rows()
    assert ours["us_per_step"] == 60.0
    assert (ours["ratio_to_naive"], ours["ratio_to_torch_eager"]) == (0.6, 0.3)
    assert ours["ratios"][NAIVE] == {"median": 0.6, "interval": [0.5, 0.7]}
    assert (naive["ratio_to_naive"], naive["peak_bytes"], ours["peak_bytes"]) == (1.0, None, 1000)


def test_a_ratio_to_somebody_absent_is_none() -> None:
    result = Result({OURS: 1e-4}, {OURS: {OURS: 1.0}})
    (row,) = report.rows_of("784-128-10 b64", [result], {})
    assert row["ratio_to_naive"] is None


def test_a_bar_is_missed_when_the_whole_interval_lies_above_it() -> None:
    def missed(*ours: float, headroom: float = 1.0) -> bool:
        rows = report.rows_of("784-128-10 b64", [_result(x, 10.0) for x in ours], {})
        return next(v.missed for v in judge(rows, headroom) if v.bar.reference == NAIVE)

    assert not missed(0.9, 1.2, 1.3)
    assert missed(1.1, 1.2, 1.3)
    assert not missed(1.1, 1.2, 1.3, headroom=1.15)


def test_a_bar_that_was_missed_before_is_missed_again_when_the_ratio_got_worse() -> None:
    def rows(*ours: float) -> list[report.Row]:
        return report.rows_of("784-128-10 b64", [_result(x, 10.0) for x in ours], {})

    def missed(found: list[report.Row], published: list[report.Row]) -> bool:
        return next(v.missed for v in judge(found, 1.15, published) if v.bar.reference == NAIVE)

    assert not missed(rows(1.3), published=rows(1.2))
    assert missed(rows(1.4), published=rows(1.2))
    assert not missed(rows(1.1), published=rows(0.5)), "a bar that is met is all that is asked for"


def test_a_grid_has_a_dash_where_there_is_no_value() -> None:
    text = report.grid(_rows(), "peak_bytes", str)
    assert text.splitlines() == ["|  | 784-128-10 b64 |", "| --- | ---: |", f"| {OURS} | 1000 |"]


def test_a_section_is_replaced_between_its_marks() -> None:
    text = report.replace_section("before <!-- cpu -->old<!-- /cpu --> after", "cpu", "new\n")
    assert text == "before <!-- cpu -->\nnew\n<!-- /cpu --> after"
    assert report.replace_section(text, "cpu", "new") == text
    with pytest.raises(ValueError, match="no marks <!-- cpu -->"):
        report.replace_section("nothing", "cpu", "new")


def test_the_readme_has_the_marks() -> None:
    for name in ("cpu", "wrappers"):
        report.replace_section(report.README.read_text(encoding="utf-8"), name, "")


def test_results_are_json(tmp_path: Path) -> None:
    path = tmp_path / "results" / "cpu.json"
    report.write_json(path, {"machine": {"cores": 2}, "rows": _rows()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"machine": {"cores": 2}, "rows": _rows()}


def test_losses_that_differ_are_named() -> None:
    assert disagreement([1.0, 0.5], [1.0, 0.50001]) == ""
    assert disagreement([1.0, 0.6], [1.0, 0.5]) == f"disagrees: the loss of step 2 is 0.6, that of {NAIVE} 0.5"


def test_a_transient_peak_is_seen_and_what_stays_is_not() -> None:
    kept = []

    def step() -> None:
        kept.append(bytes(100))
        bytes(1_000_000)

    assert 1_000_000 <= transient_peak(step) < 1_010_000
