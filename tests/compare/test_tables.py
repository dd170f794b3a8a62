import pytest

from minihybrid.compare import tables
from minihybrid.compare.comparison import Baseline, Comparison, Result
from minihybrid.compare.race import Entry, Point, Run

TASK = "full-batch/xor"


def run(method, cost, seed=0, loss=0.01):
    """A run that goes from 1 to its last loss after so many passes."""
    entry = Entry(TASK, method, seed, 0.1, 100.0)
    points = Point(0.0, 0, 0.0, 1.0, 1.0), Point(cost, cost, cost / 100, loss, loss), Point(100, 100, 1.0, loss, loss)
    return Run(entry, points, diverged=False)


@pytest.fixture
def found():
    return Comparison(
        "tiny",
        2,
        {TASK: "train_loss"},
        [
            Result(TASK, "adam", 0.1, (run("adam", 40), run("adam", 60, 1))),
            Result(TASK, "adam/linear", 0.1, (run("adam/linear", 50, loss=0.02),) * 2),
            Result(TASK, "lbfgs", 1.0, (run("lbfgs", 10),) * 2),
            Result(TASK, "hybrid/rre", 0.2, (run("hybrid/rre", 20), run("hybrid/rre", 30, 1, loss=0.5))),
            Result(TASK, "muon", None, ()),
        ],
        {TASK: [Baseline("adam/linear", ((50.0, 0.04), (100.0, 0.02), (200.0, 0.01)))]},
        [Entry(TASK, "muon", 1000, 6.4, 100.0)],
    )


def cells(table):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return lines[0], {line[0]: line[1:] for line in lines[2:]}


def test_costs_are_medians_with_their_spread_and_ratios(found):
    header, lines = cells(tables.costs(found, TASK, "backward_passes"))
    assert header[1:] == ["10% (1)", "25% (1)", "50% (0.505)", "100% (0.01)", "adam / it", "lbfgs / it"]
    assert lines["adam"][3] == "50 (40 to 60)" and lines["adam"][4:] == ["- - 1.00 1.00", "- - 0.20 0.20"]
    assert lines["lbfgs"][3:] == ["10 (10 to 10)", "- - 5.00 5.00", "- - 1.00 1.00"]
    assert lines["hybrid/rre"][2] == "25 (20 to 30)"


def test_a_target_that_half_of_the_runs_miss_is_missed(found):
    _, lines = cells(tables.costs(found, TASK, "cpu_seconds"))
    assert lines["hybrid/rre"][3] == "-" and lines["adam/linear"][3] == "-"
    found.results[3] = Result(TASK, "hybrid/rre", 0.2, (*found.results[3].runs, run("hybrid/rre", 20)))
    _, lines = cells(tables.costs(found, TASK, "cpu_seconds"))
    assert lines["hybrid/rre"][3] == "0.2 (0.2 to 0.2, 2 of 3)"


def test_final_losses_come_the_best_first_with_what_they_are_worth(found):
    header, lines = cells(tables.final_losses(found, TASK))
    assert header[-1] == "over adam/linear"
    assert list(lines) == ["adam", "lbfgs", "adam/linear", "hybrid/rre", "muon"]
    assert lines["adam/linear"] == ["0.1", "100", "0.02 (0.02 to 0.02)", "0.02 (0.02 to 0.02)", "1.00"]
    assert lines["lbfgs"][-1] == "2.00" and lines["hybrid/rre"][-1] == "none"


def test_where_batches_are_noisy_a_constant_learning_rate_has_no_final_loss(found):
    found.aims = {TASK: "val_loss"}
    _, lines = cells(tables.final_losses(found, TASK))
    assert list(lines) == ["lbfgs", "adam/linear"]


def test_the_document_lists_what_went_wrong_and_what_was_left_out(found):
    text = tables.document(found, ["minibatch/mnist is left out: it is not there."])
    assert "| full-batch/xor | muon   | 1000 | 6.4 | 100    |" in text
    assert "- muon on full-batch/xor" in text and "- minibatch/mnist is left out: it is not there." in text
    assert "interrupted" not in text
    found.interrupted = True
    assert "It was interrupted: only what was finished is here." in tables.document(found, [])


def test_without_the_yardstick_the_document_has_no_costs(found):
    found.results = found.results[1:]
    assert "| lbfgs       |" in tables.document(found, [])
