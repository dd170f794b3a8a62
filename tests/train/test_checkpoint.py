"""The file: what comes back is what was written, and nothing else is believed."""

import json
import os
import struct
import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import load_file

import minihybrid as mh
from minihybrid.train.checkpoint import FORMAT, LARGEST_HEADER, VERSION, CheckpointError, read, read_about, write

STATE = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "nothing": None,
    "numbers": [True, 3, 2**64 - 1, 0.1, float("inf"), float("-inf")],
    "a/b~c": {"": "text ü", "empty": np.zeros((0, 3)), "single": np.array(2.5)},
    "flags": [np.array([True, False]), [np.arange(3, dtype=np.int8)]],
}


def same(one, other):
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert type(one) is type(other) and repr(one) == repr(other)


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def path(tmp_path):
    """A whole file."""
    write(tmp_path / "a.safetensors", STATE, {"step": 7})
    return tmp_path / "a.safetensors"


def test_what_is_written_comes_back(path):
    state, about = read(path)
    same(state, STATE)
    assert about == {"step": 7} == read_about(path)
    state["weights"][...] = 1  # the reader's own


def test_it_is_a_safetensors_file_whose_arrays_are_named_by_their_place(path):
    arrays = load_file(path)
    assert arrays["/weights"].tolist() == STATE["weights"].tolist()
    assert set(arrays) == {"/weights", "/a~1b~0c/empty", "/a~1b~0c/single", "/flags/0", "/flags/1/0"}


def test_equal_states_give_equal_files(path, tmp_path):
    write(tmp_path / "b", STATE, {"step": 7})
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]).map(lambda d: np.ones(3, d))
)
KEYS = st.text(max_size=4).filter(lambda key: not key.startswith("$"))


@given(st.recursive(LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3)))
def test_any_plain_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("tree") / "a"
    write(path, tree, {})
    same(read(path).state, tree)


@pytest.mark.parametrize(
    "tree",
    [{"$array": 1}, {1: 2}, {"x": np.float64(1)}, {"x": (1,)}, {"x": np.array(["a"])}, object(), np.zeros(2, "c16")],
)
def test_what_is_no_plain_tree_is_no_checkpoint(tmp_path, tree):
    with pytest.raises(TypeError, match="a checkpoint cannot hold"):
        write(tmp_path / "a", tree, {})
    assert list(tmp_path.iterdir()) == []


# Damage


def test_cut_short_anywhere_it_is_refused(path):
    content = path.read_bytes()
    for length in [*range(0, 16), *range(16, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"a\.safetensors "):
            read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        read(path)


def test_a_bit_that_flips_anywhere_is_noticed(path):
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            read(path)


@given(st.binary(max_size=300))
def test_noise_is_no_checkpoint(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "a"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError):
        read(path)


def doctored(path, change, data=b""):
    """The file with another header, and whatever data; its checksum is not mended."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = change(json.loads(content[8 : 8 + length]))
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + (data or content[8 + length :]))


def entry(**fields):
    """A change of what the header says of the first array."""

    def change(header):
        header["/weights"] |= fields
        return header

    return change


def metadata(**fields):
    def change(header):
        header["__metadata__"] |= fields
        return header

    return change


HOSTILE = {
    "a shape beyond the file": (entry(shape=[2**40, 2**20]), "no sense of the array '/weights'"),
    "a shape that overflows": (entry(shape=[2**32, 2**32]), "no sense of the array"),
    "a negative shape": (entry(shape=[-2, -3]), "no sense of the array"),
    "a shape of booleans": (entry(shape=[True, 6]), "no sense of the array"),
    "a shape of floats": (entry(shape=[2.0, 3.0]), "no sense of the array"),
    "too many axes": (entry(shape=[1] * 100 + [2, 3]), "no sense of the array"),
    "no such dtype": (entry(dtype="PICKLE"), "no sense of the array"),
    "a dtype that is no text": (entry(dtype=["F32"]), "no sense of the array"),
    "offsets beyond the file": (entry(shape=[2**40], data_offsets=[0, 2**42]), "overlap or leave gaps"),
    "offsets that overlap": (entry(data_offsets=[8, 32]), "overlap or leave gaps"),
    "three offsets": (entry(data_offsets=[0, 8, 24]), "no sense of the array"),
    "more in an entry": (entry(more=1), "no sense of the array"),
    "another name": (
        lambda h: {**{k: v for k, v in h.items() if k != "/weights"}, "../../x": h["/weights"]},
        "checksum",
    ),
    "no metadata": (lambda h: {k: v for k, v in h.items() if k != "__metadata__"}, "its header says nothing about it"),
    "metadata of numbers": (metadata(about=3), "its header says nothing about it"),
    "a model": (metadata(format="minihybrid-model-1 MLP"), "is no checkpoint: its format is 'minihybrid-model-1 MLP'"),
    "no state": (lambda h: (h["__metadata__"].pop("state"), h)[1], "has no state"),
    "a list": (lambda h: [1], "its header says nothing about it"),
    "a text": (lambda h: b'"x"', "its header says nothing about it"),
    "no JSON": (lambda h: b"{", "its header is no JSON"),
    "no text": (lambda h: b"\xff\xfe", "its header is no JSON"),
    "a key twice": (lambda h: b'{"__metadata__": {}, "__metadata__": {}}', "a key stands twice in its header"),
    "NaN": (lambda h: b'{"__metadata__": {"a": NaN}}', "NaN stands in its header"),
    "NaN in the description": (metadata(about='{"step": NaN}'), "NaN stands in its description"),
    "a key twice in the description": (metadata(about='{"a": 1, "a": 2}'), "a key stands twice in its description"),
    "a description that is a list": (metadata(about="[]"), "its description is no JSON object"),
    "nested": (lambda h: b"[" * 200_000, "nested too deep|no JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hostile_header_says_is_refused_in_one_sentence(path, name):
    change, sentence = HOSTILE[name]
    doctored(path, change)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=sentence) as raised:
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(raised.value).startswith(f"the checkpoint {path} ") and str(raised.value).count("\n") == 0
    assert peak < 32 * 2**20


def mended(path, state):
    """The file with another state in its header, and the checksum that fits."""
    import hashlib

    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= {"state": state, "sha256": "0" * 64}
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + content[8 + length :]
    path.write_bytes(whole.replace(b"0" * 64, hashlib.sha256(whole).hexdigest().encode(), 1))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ('{"weights": {"$array": "cpu"}}', "no place for the array"),
        ('{"x": {"$array": "cpu"}}', "it has no array '/x'"),
        ('{"x": NaN}', "NaN stands in its state"),
        ('{"x": 1, "x": 2}', "a key stands twice in its state"),
        ("[" * 100_000, "nested too deep|no JSON"),
        ("", "its state is no JSON"),
    ],
)
def test_a_state_whose_checksum_fits_is_not_believed_either(path, state, sentence):
    mended(path, state)
    with pytest.raises(CheckpointError, match=sentence):
        read(path)


def test_a_header_is_not_read_that_could_not_be_one(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", LARGEST_HEADER + 8))
        file.truncate(LARGEST_HEADER * 2)  # sparse: nothing of it is there
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="its header would have"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_arrays_that_no_memory_holds_are_not_read(tmp_path, monkeypatch):
    write(tmp_path / "a", {"x": np.ones(10_000)}, {})
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    with pytest.raises(
        CheckpointError, match=r"does not fit into memory: its arrays have 80000 bytes, and there are 10000"
    ):
        read(tmp_path / "a")


def test_another_version_says_who_wrote_it(path):
    doctored(path, metadata(format=f"{FORMAT} {VERSION + 1}", **{"written by": "minihybrid 9.0, NumPy 3.0"}))
    with pytest.raises(
        CheckpointError, match=r"has version 2 .* reads version 1; .* by minihybrid 9\.0, NumPy 3\.0: go on"
    ):
        read(path)
    write(path, STATE, {})
    doctored(path, metadata(format=f"{FORMAT} 0"))
    with pytest.raises(CheckpointError, match=rf"has version 0 .* written by minihybrid {mh.__version__}, NumPy"):
        read_about(path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, sentence in (("pipe", "is no file"), ("", "is no file"), ("nowhere", "No such file")):
        with pytest.raises(CheckpointError, match=sentence):
            read(tmp_path / name)
