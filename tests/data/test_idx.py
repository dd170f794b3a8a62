"""The IDX reader: every type back and forth, and one sentence for every way a file can be wrong."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from minihybrid.data import DataError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "some-idx2-ubyte"


arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
)


@given(arrays, st.booleans())
def test_every_type_and_shape_comes_back(path, array, zipped):
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(path)
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.dtype.isnative and read.flags.writeable


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"is no IDX file: it begins with the bytes \[\]"),
        (b"\0\0\x08", r"is no IDX file: it begins with the bytes \[00 00 08\]"),
        (b"PNG!" + GOOD, r"is no IDX file: it begins with the bytes \[50 4e 47 21\]"),
        (b"\0\0\x07\x02" + GOOD[4:], "is no IDX file"),
        (b"\0\0\x08\x00" + GOOD[4:], "1 to 8 dimensions"),
        (b"\0\0\x08\xff" + GOOD[4:], "1 to 8 dimensions"),
        (GOOD[:9], "ends inside its IDX header"),
        (GOOD[:-1], r"declares uint8 \[3, 4\], 12 bytes of values, but holds only 11"),
        (GOOD + b"\0", r"12 bytes of values, but holds more"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "above the limit of 1073741824"),
        (gzip.compress(GOOD)[:-9], "gzip file .* is damaged or cut short"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "gzip file .* is damaged or cut short"),
        (gzip.compress(GOOD) + b"tail", "gzip file .* is damaged or cut short"),
        (b"\x1f\x8b", "gzip file .* is damaged or cut short"),
        (gzip.compress(GOOD + b"\0"), "but holds more"),
    ],
)
def test_a_wrong_file_is_named_in_one_sentence(path, content, sentence):
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@given(st.data())
def test_any_damage_is_a_data_error_or_an_array(path, data):
    content = bytearray(gzip.compress(GOOD) if data.draw(st.booleans()) else GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert isinstance(read_idx(path, max_bytes=10_000), np.ndarray)
    except DataError as error:
        assert str(path) in str(error)


def test_the_limit_is_the_callers(path):
    path.write_bytes(GOOD)
    assert read_idx(path, max_bytes=12).shape == (3, 4)
    with pytest.raises(DataError, match="12 bytes, above the limit of 11"):
        read_idx(path, max_bytes=11)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read"):
        read_idx(tmp_path)


def test_a_name_that_no_file_can_have():
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read_idx("a\0b")
