import pytest

from minihybrid.compare.race import Entry
from minihybrid.compare.workers import Workers

ENTRIES = [Entry("full-batch/xor", "adam", seed, 0.01, 5) for seed in range(3)]


def losses(run):
    return [point[3:] for point in run.curve]


def test_several_runs_at_a_time_are_made_in_other_processes(monkeypatch):
    monkeypatch.setattr("minihybrid.compare.workers.race", None)  # in this one nothing could be made
    with Workers(2, None) as workers:
        assert workers.execute(ENTRIES[0], 5).entry == ENTRIES[0]


def test_runs_do_not_depend_on_where_they_are_made():
    found = {}
    with Workers(2, None) as workers:
        workers.each(lambda entry: found.update({entry: workers.execute(entry, 5)}), ENTRIES)
    assert set(found) == set(ENTRIES)
    with Workers(1, None) as workers:
        assert all(losses(workers.execute(entry, 5)) == losses(found[entry]) for entry in ENTRIES)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_one_call_raises_is_raised(jobs):
    def fail(entry):
        raise KeyboardInterrupt

    with Workers(jobs, None) as workers, pytest.raises(KeyboardInterrupt):
        workers.each(fail, ENTRIES)
