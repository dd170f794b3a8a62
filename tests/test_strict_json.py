"""JSON as its standard has it: what Python's reader takes as well, or gives up at, is one sentence."""

import json

import pytest
from hypothesis import given, strategies as st

from minihybrid.strict_json import parse, shortened

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_what_json_writes_is_read(value):
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the name 'c' stands twice in one object"),
        ('{"%s": 1, "%s": 2}' % (2 * ("a" * 50,)), f"the name '{'a' * 39}…' stands twice"),
        ("NaN", "NaN is no number in JSON"),
        ("[Infinity]", "Infinity is no number in JSON"),
        ("[-Infinity]", "-Infinity is no number in JSON"),
        ("1e999", "the number '1e999' is too large"),
        ("-1e999", "the number '-1e999' is too large"),
        ("1" * 1001, "1…' is too large"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (b'"\xff"', "can't decode byte 0xff"),
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
    ],
)
def test_what_it_does_not_read(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and not str(caught.value).endswith(".")


def test_numbers_at_the_edge_are_read():
    assert parse("1" * 1000) == int("1" * 1000)
    assert parse("1.7976931348623157e308") == 1.7976931348623157e308


def test_a_quotation_is_short_and_harmless():
    assert shortened("a" * 40) == repr("a" * 40)
    assert shortened("a" * 41) == repr("a" * 39 + "…")
    assert shortened("\x1b[2J\n") == r"'\x1b[2J\n'"
