"""A plan fits its budget and drops things in the order that is documented; what is measured is really there."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, strategies as st

import minihybrid as mh
from minihybrid.config import Config
from minihybrid.device import Device
from minihybrid.hybrid.memory import Demand, MemoryBudget, MemoryUse, array_bytes, measure
from minihybrid.module.module import pack

N, VECTOR = 1000, 4000
DEMAND = Demand(history=20, least=3, fixed=2, jump=1, late=3)


def budget(history=100, snapshots=100, total=None):
    """In vectors of N float32 numbers."""
    return MemoryBudget(int(history * VECTOR), int(snapshots * VECTOR), None if total is None else int(total * VECTOR))


def planned(plan):
    return plan.predicts, plan.storage, plan.history, plan.late_rollback


def test_what_fits_is_kept_whole():
    plan = budget(history=22, snapshots=4, total=26).plan(N, 4, DEMAND)
    assert planned(plan) == (True, "exact", 20, True)
    assert (plan.history_bytes, plan.snapshot_bytes, plan.dropped) == (22 * VECTOR, 4 * VECTOR, ())


@pytest.mark.parametrize(
    ("total", "expected", "dropped"),
    [
        (25, (True, "float16", 20, True), ("exact history",)),
        (16, (True, "float16", 20, True), ("exact history",)),
        (15, (True, "float16", 18, True), ("exact history", "2 of 20 vectors of history")),
        (7.5, (True, "float16", 3, True), ("exact history", "17 of 20 vectors of history")),
        (7, (True, "float16", 8, False), ("exact history", "12 of 20 vectors of history", "late rollback")),
        (4, (False, "exact", 0, False), ("prediction",)),
    ],
)
def test_the_tighter_the_budget_the_more_is_dropped_in_order(total, expected, dropped):
    plan = budget(total=total).plan(N, 4, DEMAND)
    assert planned(plan) == expected
    assert plan.dropped == dropped


def test_a_budget_for_snapshots_costs_late_rollback_first_and_then_prediction():
    assert planned(budget(snapshots=3.9).plan(N, 4, DEMAND)) == (True, "exact", 20, False)
    assert not budget(snapshots=0.9).plan(N, 4, DEMAND).predicts


def test_what_others_hold_is_not_there_for_prediction():
    plan = budget(total=1000).plan(N, 4, DEMAND, in_use=984 * VECTOR)
    assert planned(plan) == (True, "float16", 20, True)
    assert not budget(total=1000).plan(N, 4, DEMAND, in_use=2000 * VECTOR).predicts


def test_a_history_that_cannot_be_halved_gets_shorter_at_once():
    exact = Demand(history=20, halves=False)
    assert planned(budget(history=10).plan(N, 4, exact)) == (True, "exact", 10, True)
    assert planned(budget(history=10).plan(N, 2, DEMAND)) == (True, "exact", 18, True), "it is in float16 already"


@given(
    st.integers(1, 10**6),
    st.sampled_from([2, 4, 8]),
    st.builds(Demand, st.integers(1, 30), st.integers(1, 3), st.booleans(), *[st.integers(0, 5)] * 3),
    st.builds(MemoryBudget, *[st.integers(0, 10**8)] * 2, st.none() | st.integers(0, 10**8)),
    st.integers(0, 10**8),
)
def test_no_plan_goes_beyond_its_budget(n, itemsize, demand, limits, in_use):
    plan = limits.plan(n, itemsize, demand, in_use)
    assert plan.history_bytes <= limits.history and plan.snapshot_bytes <= limits.snapshots
    if limits.total is not None and plan.predicts:
        assert in_use + plan.history_bytes + plan.snapshot_bytes <= limits.total
    assert not plan.predicts or plan.history >= demand.least or plan.history == demand.history
    assert plan.predicts or plan.history_bytes == plan.snapshot_bytes == 0


def test_arrays_are_found_in_whatever_holds_them():
    @dataclass
    class Holder:
        array: np.ndarray
        rest: list

    class Slotted:
        __slots__ = ("array", "empty")

    slotted = Slotted()
    slotted.array = np.zeros(3, np.float16)
    holder = Holder(np.zeros(5), [{"a": np.zeros((2, 2), np.float32)}, deque([slotted]), "text", None, 7])
    holder.rest.append(holder)
    assert array_bytes(holder) == 40 + 16 + 6


def test_an_array_is_counted_once_and_a_view_as_what_it_keeps_alive():
    rows = np.zeros((4, 10))
    assert array_bytes([rows[0], rows[1:3].reshape(-1), rows]) == rows.nbytes


def test_a_model_holds_its_vector_and_a_snapshot_a_copy_of_it():
    model = mh.nn.LinearConfig(100, 10).init(rng=mh.Rng(0))
    vector = pack(model).values.nbytes
    assert vector == 4 * 1010
    assert array_bytes(model) == array_bytes(model.snapshot()) == vector


def test_live_memory_grows_with_what_is_allocated():
    before = measure(Device("cpu"))
    block = np.ones(4_000_000)
    after = measure(Device("cpu"), block=block)
    assert after.held == {"block": block.nbytes}
    assert after.process - before.process > 0.9 * block.nbytes
    assert after.device == after.process


def test_what_is_held_is_not_counted_as_what_others_use():
    assert MemoryUse(process=500, device=300, held={"history": 100, "snapshots": 50}).others == 150


@pytest.mark.gpu
def test_on_a_gpu_the_pool_is_measured():
    device = Device("cuda")
    before = measure(device).device
    block = device.array(np.ones(1_000_000))
    use = measure(device, block=block)
    assert use.held == {"block": block.nbytes} and use.device - before >= block.nbytes


def test_budgets_are_written_as_json_and_read_back():
    for limits in (MemoryBudget(), budget(total=3)):
        assert Config.from_json(limits.to_json()) == limits


@pytest.mark.parametrize(("setting", "value"), [("history", -1), ("snapshots", None), ("total", 1.5)])
def test_budgets_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ValueError, match=rf"^MemoryBudget: {setting} is .*; expected a number of bytes"):
        MemoryBudget(**{setting: value})


def test_what_is_demanded_unless_it_is_said():
    assert repr(Demand(history=4)) == "Demand(history=4, least=2, halves=True, fixed=0, jump=1, late=3)"
