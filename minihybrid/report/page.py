"""The page of a report: one HTML file that needs nothing else, from the runs that it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from minihybrid.plot import COLOURS, INK, PHASE_COLOURS, ROLLED_BACK, smooth
from minihybrid.report.chart import Chart, Point, Series, Shape, kind
from minihybrid.report.runs import Run, Step

KEEP = 0.9
"""How much of the running mean of a noisy loss stays with each step."""
ABSENT = "-"
DASHES = ("", " dashed", " dotted")
OUTCOMES: dict[str, Shape] = {"accepted": "dots", "rolled back": "squares", "declined": "specks"}
"""What a prediction came to, and how it is drawn."""


def page(runs: Sequence[Run]) -> str:
    """The HTML text that shows these runs, one or several side by side; their names differ."""
    title = escape("minihybrid: " + ", ".join(run.name for run in runs))
    here = Path(__file__)
    body = "\n".join(_body(runs))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{here.with_name("page.css").read_text("utf-8")}{_colours()}</style>
</head>
<body>
{body}
<script>
{here.with_name("page.js").read_text("utf-8")}</script>
</body>
</html>
"""


def _colours() -> str:
    """The colours of the pictures (`minihybrid.plot`) as classes: of runs, and of everything that `kind` knows."""
    named = {f"run-{i}": colour for i, colour in enumerate(COLOURS)}
    kinds = PHASE_COLOURS | {"accepted": PHASE_COLOURS["predict"], "rolled back": ROLLED_BACK, "declined": INK}
    kinds |= {"evaluate": "#a87b00", "other": INK}  # ochre, which nothing else has
    named |= {kind(name): colour for name, colour in kinds.items()}
    return "".join(f".{name} {{ color: {colour}; }}\n" for name, colour in named.items())


def _body(runs: Sequence[Run]) -> Iterator[str]:
    yield f"<h1>{' · '.join(_called(i, run) for i, run in enumerate(runs))}</h1>"
    yield _table(runs, "", _results(runs))
    yield from _settings(runs)
    yield '<h2>Training</h2><div class="charts">'
    yield _training(runs).html()
    yield from (chart.html() for chart in _curves(runs))
    yield "</div>"
    predicting = [run for run in runs if any(step.predicted for step in run.steps)]
    if predicting:
        yield '<h2>Predictions</h2><div class="charts">'
        yield from (chart.html() for run in predicting for chart in _predictions(run, alone=len(runs) == 1))
        yield "</div>"
    yield "<h2>Time by phase</h2>"
    yield from _times(runs)
    for run in runs:
        if notes := [(step.step, step.note) for step in run.steps if step.note]:
            rows = "".join(f"<li>step {step:,}: {escape(note)}</li>" for step, note in notes)
            yield f"<h2>What was done about trouble{_of(run, runs)}</h2><ul>{rows}</ul>"


def _called(i: int, run: Run) -> str:
    return f'<i class="key {_line(i)}"></i>{escape(run.name)}'


def _of(run: Run, runs: Sequence[Run]) -> str:
    return f" in {escape(run.name)}" if len(runs) > 1 else ""


def _line(i: int) -> str:
    return f"run-{i % len(COLOURS)}{DASHES[i // len(COLOURS) % len(DASHES)]}"


# Tables


def _table(runs: Sequence[Run], head: str, rows: Iterable[tuple[str, Sequence[str]]], style: str = "") -> str:
    names = "".join(f"<th>{escape(run.name)}</th>" for run in runs)
    lines = "".join(
        f'<tr><td class="{"indent" if label.startswith(" ") else ""}">{escape(label.strip())}</td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for label, cells in rows
    )
    return f'<div class="scroll"><table class="{style}"><tr><th>{escape(head)}</th>{names}</tr>\n{lines}</table></div>'


def _results(runs: Sequence[Run]) -> Iterator[tuple[str, list[str]]]:
    scores = [run.evaluations[-1][1] if run.evaluations else None for run in runs]
    if any(score is not None and score.accuracy is not None for score in scores):
        known = [math.nan if score is None or score.accuracy is None else score.accuracy for score in scores]
        yield "validation accuracy", [_number(value, ".2%") for value in known]
    yield "validation loss", [_number(math.nan if score is None else score.loss, ".5f") for score in scores]
    yield "steps", [f"{len(run.steps):,}{', interrupted' if run.interrupted else ''}" for run in runs]
    yield "cost in gradient equivalents", [_number(run.ledger.gradient_equivalents, ",.0f") for run in runs]
    yield " backward passes", [f"{run.ledger.backward_passes:,}" for run in runs]
    yield " forward probes", [f"{run.ledger.forward_probes:,}" for run in runs]
    yield "predictions tried", [f"{run.ledger.predictions_tried:,}" for run in runs]
    yield " accepted", [f"{run.ledger.predictions_accepted:,}" for run in runs]
    yield " rolled back", [f"{run.ledger.predictions_rolled_back:,}" for run in runs]
    yield " declined", [f"{run.ledger.predictions_declined:,}" for run in runs]
    yield "time", [_number(sum(run.seconds.values()), ".2f", " s") for run in runs]
    yield "CPU time", [_number(sum(run.cpu_seconds.values()), ".2f", " s") for run in runs]


def _number(value: float, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if math.isfinite(value) else "-"


def _settings(runs: Sequence[Run]) -> Iterator[str]:
    flat = [dict(_flat(run.config)) for run in runs]
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    rows = [(name, [settings.get(name, ABSENT) for settings in flat]) for name in names]
    different = [(name, cells) for name, cells in rows if len({*cells} - {ABSENT}) > 1]
    if different:
        yield f"<h2>Settings that differ</h2>{_table(runs, '', different, 'settings')}"
    yield f"<details><summary>All settings</summary>{_table(runs, '', rows, 'settings')}</details>"


def _flat(config: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# Charts


def _training(runs: Sequence[Run]) -> Chart:
    """Losses of real steps; where one run is alone, its phases and what its predictions came to as well."""
    series = []
    for i, run in enumerate(runs):
        points = [(float(step.step), step.loss) for step in run.steps if not step.predicted]
        if run.exact:
            series.append(Series(run.name, _line(i), points))
        else:
            mean = list(zip((x for x, _ in points), smooth([y for _, y in points], KEEP), strict=True))
            series += [Series(run.name, _line(i), points, "pale"), Series(f"{run.name}, running mean", _line(i), mean)]
    phases = []
    if len(runs) == 1:
        came = _outcomes(runs[0].steps)
        phases = [outcome or step.phase for step, outcome in zip(runs[0].steps, came, strict=True)]
    return Chart("Training loss", "step", series, log=True, phases=phases, wide=True)


def _curves(runs: Sequence[Run]) -> Iterator[Chart]:
    losses, accuracies, norms, rates = [], [], [], []
    for i, run in enumerate(runs):
        line = _line(i)
        losses.append(Series(run.name, line, [(cost, score.loss) for cost, score in run.evaluations]))
        hits = [(cost, score.accuracy) for cost, score in run.evaluations if score.accuracy is not None]
        accuracies.append(Series(run.name, line, hits))
        lengths = [(float(step.step), step.gradient_norm) for step in run.steps if step.gradient_norm is not None]
        norms.append(Series(run.name, line, lengths))
        rates.append(Series(run.name, line, [(float(step.step), step.learning_rate) for step in run.steps]))
    cost = "cost in gradient equivalents"
    yield Chart("Validation loss", cost, losses, log=True)
    yield Chart("Validation accuracy", cost, accuracies, percent=True)
    yield Chart("Gradient norm", "step", norms, log=True)
    yield Chart("Learning rate", "step", rates)


def _predictions(run: Run, alone: bool) -> Iterator[Chart]:
    steps = list(zip(run.steps, _outcomes(run.steps), strict=True))
    of = "" if alone else f" of {run.name}"

    def by_outcome(value: Any) -> list[Series]:
        return [
            Series(
                outcome,
                kind(outcome),
                [(float(step.step), value(step)) for step, came in steps if came == outcome],
                shape,
                [_told(step, came) for step, came in steps if came == outcome],
            )
            for outcome, shape in OUTCOMES.items()
        ]

    yield Chart(f"Horizon{of}: steps that a prediction stands for", "step", by_outcome(lambda step: step.horizon))
    if any(step.confidence is not None for step in run.steps):
        known = by_outcome(lambda step: math.nan if step.confidence is None else step.confidence)
        yield Chart(f"Confidence{of}: what the predictor says of itself", "step", known)
    made = [(float(step.step), step.scale * step.horizon) for step, came in steps if came == "accepted"]
    total: list[Point] = [(0.0, 0.0), *zip((x for x, _ in made), accumulate(y for _, y in made), strict=True)]
    yield Chart(f"Steps jumped{of}, in all", "step", [Series("horizon times scale, summed", kind("accepted"), total)])


def _outcomes(steps: Sequence[Step]) -> list[str]:
    """What each prediction came to, "" for a real step: one that was accepted may have been taken back later."""
    found, last = [""] * len(steps), -1
    for i, step in enumerate(steps):
        if step.predicted:
            found[i], last = step.outcome, i
        elif step.rolled_back and last >= 0:
            found[last] = "rolled back"
    return found


def _told(step: Step, outcome: str) -> str:
    parts = [f"{outcome}, horizon {step.horizon:.4g}"]
    if step.scale:
        parts.append(f"scale {step.scale:.4g}")
    if step.confidence is not None:
        parts.append(f"confidence {step.confidence:.3g}")
    if step.guard is not None:
        parts.append(f"judged by {step.guard} data" if step.guard != "next step" else "judged by the next step")
    if step.loss_after is not None:
        parts.append(f"loss {step.loss:.4g} to {step.loss_after:.4g}")
    return ", ".join(parts)


def _times(runs: Sequence[Run]) -> Iterator[str]:
    phases = list(dict.fromkeys(phase for run in runs for phase in run.seconds))
    longest = max((sum(_finite(run.seconds.values())) for run in runs), default=0.0)
    for run in runs:
        parts = [(phase, run.seconds.get(phase, 0.0)) for phase in phases]
        whole = sum(_finite(value for _, value in parts))
        pieces = "".join(
            f'<i class="{kind(phase)}" style="flex-grow:{seconds / whole:.4f}" '
            f'title="{escape(phase)} {seconds:.2f} s"></i>'
            for phase, seconds in parts
            if seconds > 0
        )
        name = escape(run.name) if len(runs) > 1 else ""
        share = whole / longest if longest else 0.0
        yield f'{name}<div class="bar" style="width:{share:.2%}">{pieces}</div>'
    keys = "".join(f'<span><i class="key squares {kind(phase)}"></i>{escape(phase)}</span>' for phase in phases)
    yield f'<div class="legend">{keys}</div>'
    rows = [(phase, [_number(run.seconds.get(phase, 0.0), ".2f", " s") for run in runs]) for phase in phases]
    yield _table(runs, "phase", rows)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _phase(phase: str) -> str:
    return f"phase-{phase}" if phase in (*PHASE_COLOURS, "evaluate") else "phase-other"
