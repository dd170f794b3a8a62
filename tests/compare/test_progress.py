import io

import pytest

from minihybrid.compare.comparison import Result
from minihybrid.compare.progress import Bar, Plain, choose_progress
from minihybrid.compare.race import Entry, Point, Run
from minihybrid.compare.study import CURVES

RUN = Run(Entry("a", "adam", 0, 0.1, 10), (Point(0, 0, 0.0, 1.0, 2.0),), diverged=False)


def test_the_time_left_is_that_of_the_runs_left():
    progress = Plain(jobs=2, stream=io.StringIO())
    progress.expect({("a", "adam"): 3, ("a", "lbfgs"): 2, ("b", "adam"): 4})
    assert progress.seconds_left() is None
    progress.ran(("a", "adam"), 2.0)
    assert progress.seconds_left() == pytest.approx((2 + 2 + 4) * 2 / 2)  # b is taken for as slow as a
    progress.ran(("b", "adam"), 10.0)
    assert progress.seconds_left() == pytest.approx((2 * 2 + 2 * 2 + 3 * 10) / 2)
    progress.ran(("a", "lbfgs"), None)  # it was found
    assert progress.seconds_left() == pytest.approx((2 * 2 + 1 * 2 + 3 * 10) / 2)
    progress.finished(Result("b", "adam", 0.1, (RUN,)))  # with fewer runs than expected
    assert progress.seconds_left() == pytest.approx((2 * 2 + 1 * 2) / 2)


def test_runs_of_a_method_that_is_done_are_those_for_curves():
    progress = Plain(stream=io.StringIO())
    progress.expect({("a", "adam"): 1, ("a", CURVES): 2})
    progress.ran(("a", "adam"), 2.0)
    assert progress.seconds_left() == pytest.approx(2 * 2)
    progress.finished(Result("a", "adam", 0.1, (RUN,)))
    progress.ran(("a", "adam"), 2.0)
    assert progress.seconds_left() == pytest.approx(2)


def test_a_line_tells_what_a_method_came_to():
    stream = io.StringIO()
    progress = Plain(stream=stream)
    progress.expect({("a", "adam"): 1, ("a", "x"): 1, ("a", "y"): 1})
    progress.ran(("a", "adam"), 200.0)
    progress.finished(Result("a", "adam", 0.1, (RUN,)))
    progress.finished(Result("a", "x", None, ()))
    progress.finished(Result("a", "y", 0.1, (Run(RUN.entry, RUN.curve, diverged=True),)))
    first, second, third = (" ".join(line.split()) for line in stream.getvalue().splitlines())
    assert first == "1/3 a adam lr 0.1 train loss 1 val. loss 2 about 7 min left"
    assert second == "2/3 a x found no learning rate about 3 min left"
    assert third == "3/3 a y lr 0.1 diverged about 0 s left"


def test_lines_stand_in_where_there_is_no_terminal(capsys):
    assert type(choose_progress("live", 1)) is Plain


def test_the_bar_moves_with_every_run(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    with Bar() as bar:
        bar.expect({("a", "adam"): 2})
        bar.ran(("a", "adam"), 1.0)
        bar.finished(Result("a", "adam", 0.1, (RUN,)))
        (task,) = bar._bar.tasks
        assert task.completed == 1 and task.total == 2
    assert "adam" in capsys.readouterr().out
