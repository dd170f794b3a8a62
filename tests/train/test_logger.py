"""What keeps the numbers of a run: JSON lines, and files for TensorBoard."""

import json
import math
import struct

import pytest

import minihybrid as mh
from minihybrid.hybrid import FullTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.train import (
    Ended,
    Evaluated,
    Evaluation,
    JsonLines,
    Learner,
    Started,
    Stepped,
    StepResult,
    Summary,
    TensorBoard,
    evaluate,
)


def events():
    prediction = {"phase": "predict", "loss": 9.0, "predicted": True, "horizon": 8, "scale": 2.0, "accepted": True}
    yield Started(3)
    yield Stepped(StepResult(0, "full", 2.0, 0.125, gradient_norm=0.5), 0.5, 0.25)
    yield Stepped(StepResult(1, "full", math.nan, 0.125, gradient_norm=math.inf), 0.5, 0.25)
    yield Stepped(StepResult(2, learning_rate=0.125, confidence=0.75, **prediction), 0.5, 0.25)
    yield Evaluated(3, Evaluation(0.25, None))
    yield Ended(Summary(steps=3, planned=3, evaluation=Evaluation(0.25)), None)


def tell(logger):
    with logger:
        for event in events():
            logger(event)


def test_lines_of_json(tmp_path):
    tell(JsonLines(tmp_path / "metrics.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["step", "step", "step", "evaluation", "end"]
    assert (lines[0]["loss"], lines[1]["loss"], lines[1]["gradient_norm"]) == (2.0, None, None)
    assert (lines[2]["confidence"], lines[2]["seconds"]) == (0.75, 0.5)


def test_evaluations_can_be_read_while_a_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with JsonLines(path) as logger:
        logger(Evaluated(3, Evaluation(0.25, None)))
        assert json.loads(path.read_text())["loss"] == 0.25


def scalars(folder):
    """What TensorBoard will show, by tag: the records of its event files, read by hand."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = {}
    (path,) = folder.glob("events.out.tfevents.*")
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = proto.Event.FromString(data[12 : 12 + length])  # behind the length and its checksum
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        data = data[12 + length + 4 :]
    return found


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    tell(TensorBoard(tmp_path / "tensorboard"))
    assert scalars(tmp_path / "tensorboard") == {
        "train/loss": [(0, 2.0)],
        "train/gradient_norm": [(0, 0.5)],
        "train/learning_rate": [(0, 0.125), (1, 0.125)],
        "predict/horizon": [(2, 8.0)],
        "predict/scale": [(2, 2.0)],
        "predict/confidence": [(2, 0.75)],
        "predict/accepted": [(2, 1.0)],
        "validation/loss": [(3, 0.25)],
    }


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"TensorBoard needs tensorboardX: pip install 'minihybrid\[tensorboard\]'\."):
        TensorBoard(tmp_path / "tensorboard")
    assert list(tmp_path.iterdir()) == []


def test_a_learner_takes_a_logger_as_a_listener(tmp_path):
    train, valid = mh.data.digits().split(0.8, mh.Rng(0))
    model = mh.nn.LinearConfig(64, 10).init(rng=mh.Rng(0))
    forward = ModelWrapper(model, lambda m, b: (m, mh.nn.cross_entropy(m(mh.Tensor(b.inputs)), b.targets)))
    trainer = FullTrainer(forward, OptimizerWrapper(mh.optim.Adam(), 0.01))
    batches = mh.data.DataLoader(train, 32, mh.Rng(0))
    with JsonLines(tmp_path / "metrics.jsonl") as logger:
        Learner(trainer, batches, lambda m: evaluate(m, valid, mh.nn.cross_entropy), 5, listeners=[logger]).run()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [*["step"] * 5, "evaluation", "end"]
