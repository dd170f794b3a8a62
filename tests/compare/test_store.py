import pytest

from minihybrid.compare.race import Entry, Point, Run
from minihybrid.compare.store import Store
from minihybrid.train.run import RunError

ENTRY = Entry("full-batch/xor", "adam", seed=1, lr=0.1, budget=20)
RUN = Run(ENTRY, (Point(0.0, 0, 0.0, 0.7, 0.8), Point(20.5, 20, 0.1, 0.1 + 0.2, 0.4)), diverged=True)


def test_a_run_is_read_back_as_it_was(tmp_path):
    Store(tmp_path / "new" / "folder").add(RUN, "v1")
    assert Store(tmp_path / "new" / "folder").find(ENTRY, "v1") == RUN


@pytest.mark.parametrize("change", [{"task": "x"}, {"method": "x"}, {"seed": 2}, {"lr": 0.2}, {"budget": 21}])
def test_a_run_is_found_by_all_that_determines_it(tmp_path, change):
    store = Store(tmp_path)
    store.add(RUN, "v1")
    assert store.find(Entry(**{**vars(ENTRY), **change}), "v1") is None
    assert store.find(ENTRY, "v2") is None


def test_what_a_killed_process_left_half_written_is_dropped(tmp_path):
    store = Store(tmp_path)
    store.add(RUN, "v1")
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + whole[:-7])
    other = Store(tmp_path)
    assert other.find(ENTRY, "v1") == RUN and store.path.read_bytes() == whole
    other.add(RUN, "v2")
    assert Store(tmp_path).find(ENTRY, "v2") == RUN


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"[]\n", b"\xff\n", b'{"entry": {"x": 1}, "curve": [], "diverged": false, "settings": ""}\n',
     b'{"entry": {}, "entry": {}}\n', b"[" * 100_000 + b"\n"],
)  # fmt: skip
def test_a_line_that_is_no_run_is_one_sentence_and_stays(tmp_path, line):
    store = Store(tmp_path)
    store.add(RUN, "v1")
    content = store.path.read_bytes() + line
    store.path.write_bytes(content)
    with pytest.raises(RunError, match=r"in .*runs.jsonl is no finished run \(.*\); take it out, or keep") as caught:
        Store(tmp_path)
    assert str(caught.value).isprintable() and store.path.read_bytes() == content
