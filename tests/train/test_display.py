"""What is shown while a run goes on."""

import io

import pytest
from rich.console import Console

from minihybrid.train import Ended, Evaluated, Evaluation, Started, Stepped, StepResult, Summary
from minihybrid.train.display import Live, Plain, Quiet, choose_display, summary_rows


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def events(accuracy=0.975):
    prediction = {"phase": "predict", "loss": 9.0, "predicted": True, "guard": "held-out"}
    results = [
        StepResult(0, "warmup", 2.0, 0.1, backward_passes=1),
        StepResult(1, "full", 2.0, 0.1, backward_passes=2),
        StepResult(2, learning_rate=0.1, accepted=True, backward_passes=2, forward_probes=4, **prediction),
        StepResult(3, learning_rate=0.1, rolled_back=True, backward_passes=2, forward_probes=8, **prediction),
    ]
    summary = Summary(planned=4)
    yield Started(4)
    for result in results:
        summary.count(result, 0.25, 0.2)
        yield Stepped(result, 0.25, 0.2)
    yield Evaluated(4, summary.evaluation) if summary.evaluation else Evaluated(4, Evaluation(0.125, accuracy))
    summary.evaluation = Evaluation(0.125, accuracy)
    yield Ended(summary, None)


def shown(display, stream, **options):
    with display:
        for event in events(**options):
            display(event)
    return stream.getvalue()


CLOSING = {
    "validation accuracy": "97.50%",
    "validation loss": "0.12500",
    "steps": "4",
    "backward passes": "2",
    "forward probes": "8",
    "predictions tried": "2",
    "accepted": "1",
    "rolled back": "1",
    "declined": "0",
    "time": "1.00 s",
    "CPU time": "0.80 s",
    "warmup": "0.25 s",
    "predict": "0.50 s",
}


def test_plain_lines():
    stream = io.StringIO()
    lines = shown(Plain("digits", stream), stream).splitlines()
    assert lines[0] == "digits: 4 steps"
    assert lines[1] == "step 4/4  predict  loss 2         validation loss 0.1250  accuracy 97.50%"
    assert {" ".join(line.split()) for line in lines[2:]} >= {f"{label} {value}" for label, value in CLOSING.items()}
    assert all(line.isascii() for line in lines)


def test_values_are_shown_without_an_accuracy():
    stream = io.StringIO()
    assert "accuracy" not in shown(Plain("sine", stream), stream, accuracy=None)
    stream = Terminal()
    assert "accuracy" not in shown(live("sine", stream, 80), stream, accuracy=None).partition("╭─────")[2]


def test_a_reader_that_has_gone_ends_the_display_only():
    class Closed(io.StringIO):
        tries = 0

        def write(self, text):
            self.tries += 1
            raise BrokenPipeError

    stream = Closed()
    shown(Plain("digits", stream), stream)
    assert stream.tries == 1


def live(title, stream, width):
    return Live(title, Console(file=stream, force_terminal=True, width=width, height=30, color_system="standard"))


@pytest.mark.parametrize("width", [12, 40, 78, 200])
def test_the_live_panel_fits_any_width(width):
    stream = Terminal()
    display = live("digits", stream, width)
    display.RATE = 1e9  # every step is drawn
    text = shown(display, stream)
    if width >= 78:
        for word in ("loss", "accuracy", "phase", "predict", "steps/s", "1 accepted", "of 2, 1 rolled back"):
            assert word in text
        table = [" ".join(line.strip("│ ").replace("│", " ").split()) for line in text.splitlines()]
        for label, value in CLOSING.items():
            assert any(label in line and value in line for line in table)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor comes back


def test_the_terminal_is_left_as_it_was_if_the_run_fails():
    stream = Terminal()
    with pytest.raises(ZeroDivisionError), live("digits", stream, 80) as display:
        display(Started(4))
        raise ZeroDivisionError
    assert stream.getvalue().rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in stream.getvalue()


def test_what_is_chosen(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(choose_display("live", "t", Terminal())) is Live
    assert type(choose_display("live", "t", io.StringIO())) is Plain
    assert type(choose_display("plain", "t", Terminal())) is Plain
    assert type(choose_display("quiet", "t", Terminal())) is Quiet
    ascii_only = Terminal()
    ascii_only.encoding = "ascii"
    assert type(choose_display("live", "t", ascii_only)) is Plain
    monkeypatch.setenv("TERM", "dumb")
    assert type(choose_display("live", "t", Terminal())) is Plain


@pytest.mark.parametrize(
    ("ending", "row"),
    [({}, "3"), ({"interrupted": True}, "3 of 9, interrupted"), ({"diverged": "x"}, "3 of 9, diverged")],
)
def test_the_closing_table_says_why_a_run_ended_early(ending, row):
    assert ("steps", row) in summary_rows(Summary(steps=3, planned=9, **ending))
