"""Numbers that are read late: on the CPU never, on a device together."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest

from minihybrid.device import Device
from minihybrid.train.reading import ROOM, Reading, Readings, later, may_be_finite, numbers
from tests.cuda.strict_cupy import counting, cupy


@later("loss", "norm")
@dataclass(frozen=True)
class Told:
    step: int
    loss: float
    norm: float | None = None


def test_on_the_cpu_a_number_is_there_at_once():
    readings = Readings(Device("cpu"))
    for number in (np.float32(0.1), np.array(0.1), np.float64(np.inf)):
        assert type(readings.later(number)) is float
        assert readings.later(number) == float(number)
    assert numbers(np.float32(2), np.ones(())) == [2.0, 1.0]


def test_on_a_device_all_that_wait_are_read_together(strict):
    readings = Readings(Device("cuda"))
    with counting() as counts:
        found = [readings.later(cupy.asarray(np.float32(i)) * 1) for i in range(5)]
        assert not any(reading.known for reading in found)
        assert repr(found[0]) == "Reading(...)"
        assert all(map(may_be_finite, found))
    assert counts.reads == []
    with counting() as counts:
        assert float(found[3]) == 3.0
        assert [float(reading) for reading in found] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(counts.reads) == 1
    assert float(readings.later(cupy.ones((), "f4"))) == 1.0  # and so on


def test_what_is_overwritten_meanwhile_was_copied(strict):
    readings, number = Readings(Device("cuda")), cupy.ones((), "f4")
    reading = readings.later(number)
    number[...] = 7
    assert float(reading) == 1.0


def test_where_there_is_no_room_it_is_read(strict):
    readings = Readings(Device("cuda"))
    with counting() as counts:
        found = [readings.later(cupy.full((), i, "f8")) for i in range(ROOM + 1)]
    assert len(counts.reads) == 1
    assert found[ROOM - 1].known and not found[ROOM].known
    assert [float(reading) for reading in found] == list(range(ROOM + 1))


def test_readings_compare_and_show_as_numbers(strict):
    def one(value):
        return Readings(Device("cuda")).later(cupy.full((), value, "f8"))

    assert one(1.0) < one(2.0) <= 2.0
    assert one(3.0) > 2 and one(2.0) == 2.0
    assert f"{one(0.25):.1%}" == "25.0%"
    assert not may_be_finite(read(one(np.nan))) and not one(np.nan) <= 1.0
    assert numbers(cupy.ones((), "f4"), cupy.zeros((), "f8")) == [1.0, 0.0]


def read(reading):
    float(reading)
    return reading


def test_a_field_gives_the_number(strict):
    told = Told(1, Readings(Device("cuda")).later(cupy.full((), 0.5, "f4")))
    assert isinstance(vars(told)["loss"], Reading)
    with counting() as counts:
        assert (told.loss, told.norm, told.loss) == (0.5, None, 0.5)
    assert len(counts.reads) == 1
    assert type(told.loss) is float
    assert dataclasses.replace(told, step=2) == Told(2, 0.5)
    assert repr(told) == "Told(step=1, loss=0.5, norm=None)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.loss = 1.0
    with pytest.raises(TypeError, match="loss"):
        Told(1)
