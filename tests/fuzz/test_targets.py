"""The readers under attack, for seconds: damaged files, files made to harm, and how much memory they may cost."""

from __future__ import annotations

import gzip
import json
import random
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import minihybrid as mh
from minihybrid.data import DataError
from minihybrid.nn import Config
from minihybrid.train.run import RunError
from tests.fuzz.fuzz import blindly, damaged
from tests.fuzz.targets import LIMIT, TARGETS, config, idx, record, safetensors

SEEDS = {name: seeds() for name, (_, seeds) in TARGETS.items()}
MIB = 2**20


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str, tmp_path: Path) -> None:
    """What is damaged below was whole before: nothing is refused."""
    readers = {
        "idx": lambda path: mh.data.read_idx(path),
        "safetensors": lambda path: mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)).load(path),
        "config": lambda path: Config.from_json(path.read_text()),
        "runs": lambda path: mh.compare.store.Store(path.parent),
    }
    for content in SEEDS[name]:
        path = tmp_path / "runs.jsonl"
        path.write_bytes(content)
        readers[name](path)


@pytest.mark.parametrize("name", TARGETS)
@given(rng=st.randoms(use_true_random=False))
def test_any_damage_is_read_or_refused_in_a_sentence(name: str, rng: random.Random) -> None:
    TARGETS[name][0](damaged(SEEDS[name], rng))


@pytest.mark.parametrize("name", TARGETS)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_a_sentence(name: str, content: bytes) -> None:
    TARGETS[name][0](content)


sizes = st.one_of(st.integers(0, 5), st.sampled_from([255, 2**16, 2**31, 2**32 - 1]))


@given(
    st.sampled_from([0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E]), st.lists(sizes, max_size=9), st.binary(max_size=64),
    st.booleans(),
)  # fmt: skip
def test_any_idx_header(code: int, shape: list[int], body: bytes, zipped: bool) -> None:
    content = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body
    idx(gzip.compress(content, 1) if zipped else content)


names = st.one_of(
    st.sampled_from(["weight", "bias", "../../weight", "/etc/passwd", "", "__metadata__", "weight\0", "\x1b[2J"]),
    st.text(max_size=5),
)
counts = st.one_of(st.integers(0, 6), st.sampled_from([-1, 2**31, 2**63, 2**64, 10**30, 1.5, True, None, "3"]))
entries = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F64", "F16", "BF16", "I64", "BOOL", "U8", "F8_E4M3", "f32", "\n", None]),
            "shape": st.lists(counts, max_size=4),
            "data_offsets": st.lists(counts, min_size=1, max_size=3),
        }
    ),
    st.none(),
    st.dictionaries(names, names, max_size=2),
)


@given(st.dictionaries(names, entries, max_size=4), st.binary(max_size=40))
def test_any_safetensors_header(header: dict[str, Any], body: bytes) -> None:
    safetensors(record(header, body))


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 10), st.floats(), st.text(max_size=4), st.just(10**400),
        st.sampled_from(sorted(Config.known)).map(lambda name: {"type": name}),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(Config.known))
@settings(max_examples=20)
@given(data=st.data())
def test_any_values_of_a_configuration(name: str, data: st.DataObject) -> None:
    fields = list(Config.known[name].__dataclass_fields__)
    chosen = data.draw(st.dictionaries(st.sampled_from([*fields, "x"]), values, max_size=len(fields) + 1))
    config(json.dumps({"type": name, **chosen}).encode())


# Files made to harm: what they say, and how much memory it takes to find out


def peak(read: Any, error: type[Exception], sentence: str) -> int:
    """Bytes that were in use at most, until the error came."""
    tracemalloc.start()
    try:
        with pytest.raises(error, match=sentence):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bomb(content: bytes, zeros: int) -> bytes:
    """A gzip file of some content and a great many zeros."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(content)] + [packer.compress(bytes(MIB)) for _ in range(zeros // MIB)]
    return b"".join(pieces) + packer.flush()


def one(n: int) -> bytes:
    return b"\0\0\x08\x01" + struct.pack(">I", n)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (one(2**30), "which a file of its size cannot hold"),
        (gzip.compress(one(2**30)), "which a file of its size cannot hold"),
        (b"\0\0\x0e\x03" + struct.pack(">3I", 2**20, 2**20, 2**20), "above the limit"),
        (b"\0\0\x08\x04" + struct.pack(">4I", 0, *[2**32 - 1] * 3), "which no array can be"),
        (bomb(one(4), 200 * MIB), "declares uint8 \\[4\\], 4 bytes of values, but holds more"),
        (bomb(one(2**32 - 1), 200 * MIB), "above the limit"),
        (bomb(b"", 200 * MIB), "is no IDX file"),
    ],
    ids=["short", "short and zipped", "huge shape", "huge shape of nothing", "bomb", "bomb that says so", "no header"],
)
def test_an_idx_file_costs_no_more_than_it_may_hold(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert peak(lambda: mh.data.read_idx(path), DataError, sentence) < MIB


def test_a_bomb_within_the_limit_costs_what_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bomb(one(8 * MIB), 8 * MIB)[:-8] + bytes(8))
    assert 8 * MIB < peak(lambda: mh.data.read_idx(path), DataError, "is damaged or cut short") < 20 * MIB


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "too few for its header"),
        ((2**63).to_bytes(8, "little") + b"{}", "too few for its header"),
        (record(b"{}", b"")[:9], "too few for its header"),
        (record(b'{"a": %b}' % (b"[" * 100_000), b""), "nested too deeply"),
        (record({"a": F32}, bytes(7)), "tells of 77 bytes and the file has 76"),
        (record({"a": {**F32, "shape": [2**40], "data_offsets": [0, 2**42]}}, b""), "tells of 4398046511197 bytes"),
        (record({"a": {**F32, "shape": [0, 2**62], "data_offsets": [0, 0]}}, b""), "array is too big"),
        (record({"a": {**F32, "shape": [1] * 100, "data_offsets": [0, 4]}}, bytes(4)), "dimension"),
        (
            record(b'{"weight": %b, "weight": %b}' % (2 * (json.dumps(F32).encode(),)), bytes(8)),
            "'weight' stands twice",
        ),
        (record(b'{"__metadata__": {"loss": NaN}}', b""), "NaN is no number in JSON"),
        (record(b'{"__metadata__": {"loss": 1e999}}', b""), "the number '1e999' is too large"),
        (record({"a": F32, "b": F32}, bytes(8)), "(?i)offset"),
        (record({"a\x1b[2J": 3}, b""), r"where the array 'a\\x1b\[2J' is"),
        (record(b"[]", b""), "no JSON object"),
        (record(b'{"\xff": 1}', b""), "can't decode byte"),
        (b"\x80\x04\x95" + bytes(40), "the header has|too few"),
    ],
)
def test_a_harmful_model_is_refused_before_it_is_read(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with path.open("r+b") as file:  # what follows is never looked at: a sparse file of 20 GB takes no longer
        model = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0))
        for load in (lambda: model.load(path), lambda: mh.load_torch(model, path)):
            assert peak(load, mh.RecordError, sentence) < MIB
        assert model.weight.numpy().size == 6
        file.truncate(20 * 2**30)
        assert peak(lambda: model.load(path), mh.RecordError, "is no whole safetensors file") < MIB


def test_names_in_a_model_are_names_and_no_paths(tmp_path: Path) -> None:
    path = tmp_path / "in" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(record({"../../escaped": F32, "/escaped": {**F32, "data_offsets": [8, 16]}}, bytes(16)))
    _, report = mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)).load(path)
    assert sorted(report.unused) == ["../../escaped", "/escaped"]
    assert [entry.name for entry in tmp_path.rglob("*")] == ["in", "model.safetensors"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"type": "LinearConfig", "d_input": ' + "[" * 900 + "]" * 900 + "}", "nested|LinearConfig"),
        ('{"type": "LinearConfig", "d_input": 2, "d_output": 3, "d_input": 4}', "the name 'd_input' stands twice"),
        ('{"type": "DropoutConfig", "p": NaN}', "NaN is no number in JSON"),
        ('{"type": "DropoutConfig", "p": -Infinity}', "-Infinity is no number in JSON"),
        ('{"type": "DropoutConfig", "p": 1e400}', "the number '1e400' is too large"),
        ('{"type": "LinearConfig", "d_input": %s, "d_output": 1}' % ("9" * 10**6), "9…' is too large"),
        ('{"type": "../../LinearConfig"}', "there is no configuration type '../../LinearConfig'"),
    ],
)  # fmt: skip
def test_a_harmful_configuration_is_one_sentence(text: str, sentence: str) -> None:
    assert peak(lambda: Config.from_json(text), ValueError, sentence) < 4 * MIB + 4 * len(text)


def test_pipes_are_no_files(tmp_path: Path) -> None:
    """To open one would be to wait for whoever writes to it."""
    import os

    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is no file"):
        mh.data.read_idx(path)
    with pytest.raises(mh.RecordError, match="it is no file"):
        mh.nn.LinearConfig(3, 2).init(rng=mh.Rng(0)).load(path)


# The tests themselves


def test_a_reader_that_lets_something_through_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reading without checks fails within a second, and the file is kept to be tried again."""

    def careless(content: bytes) -> None:
        int.from_bytes(content[4:8], "big") // content[3]

    with pytest.raises((ZeroDivisionError, IndexError)):
        blindly(careless, SEEDS["idx"], 10.0, 1, tmp_path)
    (kept,) = tmp_path.iterdir()
    with pytest.raises((ZeroDivisionError, IndexError)):
        careless(kept.read_bytes())
    assert str(kept) in capsys.readouterr().out


def test_the_fuzzer_says_how_much_it_tried(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tried: list[bytes] = []
    blindly(tried.append, SEEDS["runs"], 0.05, 2, tmp_path)
    assert capsys.readouterr().out == f"{len(tried)} files, each read or refused in a sentence\n"
    assert len(set(tried)) > 5 and LIMIT


def test_a_message_on_two_lines_is_a_bug() -> None:
    from tests.fuzz.targets import checked

    for text in ("", "two\nlines", "\x1b[2Jcleared", "x" * 4000):
        with pytest.raises(AssertionError):
            checked(RunError(text))
