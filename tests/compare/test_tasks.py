from dataclasses import replace

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.compare import tasks
from minihybrid.compare.characters import write
from minihybrid.compare.method import SHAPES
from minihybrid.data import DataError

OWN = [name for name in tasks.names() if not name.endswith("mnist")]


@pytest.fixture(scope="module", params=tasks.names())
def task(request, mnist_folder):
    return tasks.build(request.param, mnist_folder)


def test_its_network_learns(task):
    model = task.init(mh.Rng(0))
    optimizer, batches, before = mh.optim.Adam(), task.batches(mh.Rng(1)), task.mean_loss(model, task.train)
    for _ in range(20):
        _, loss = task.forward(model, next(batches))
        model = optimizer.step(0.003, model, mh.optim.GradientsParams.from_grads(loss.backward(), model))
    assert task.mean_loss(model, task.train) < before


def test_no_two_parts_share_an_example(task):
    if task.name == "minibatch/characters":
        pytest.skip("short windows of one language look alike; see below")
    parts = [{row.tobytes() for row in data.inputs} for data in (task.train, task.guard, task.validation)]
    assert all(len(part) > 1 for part in parts)
    for i in range(3):
        assert not parts[i] & parts[i - 1]


def test_stretches_of_text_do_not_overlap():
    task = tasks.build("minibatch/characters")
    text = write(mh.Rng(tasks.DATA_SEED + 8), 6000)
    alphabet = sorted(set(text))
    end = 0
    for data in (task.train, task.guard, task.validation):
        codes = [*data.inputs[0], *data.targets]
        stretch = "".join(alphabet[code] for code in codes)
        assert text.count(stretch) == 1 and text.index(stretch) >= end
        end = text.index(stretch) + len(stretch)


def test_a_batch_is_all_there_is_or_a_part_of_it(task):
    batch = next(task.batches(mh.Rng(0)))
    assert len(batch.inputs) == (task.batch_size or len(task.train))
    assert task.full_batch == task.name.startswith("full-batch/") == (task.aim == "train_loss")
    guard = next(task.guard_batches(mh.Rng(0)))
    assert 0 < len(guard.inputs) <= len(task.guard)


def test_a_task_is_the_same_whenever_it_is_built(task, mnist_folder):
    assert tasks.build(task.name, mnist_folder).fingerprint == task.fingerprint


def test_fingerprints_tell_tasks_apart_by_all_that_they_consist_of():
    task = tasks.build("full-batch/xor")
    others = [
        replace(task, batch_size=8),
        replace(task, lr=0.1),
        replace(task, validation=task.guard),
        replace(task, init=mh.nn.MLPConfig((2, 16, 2), "relu").init),
        replace(task, init=lambda rng: mh.nn.MLPConfig((2, 16, 2), "tanh").init(mh.Rng(1))),
        replace(task, loss=mh.nn.mse),
    ]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 7
    assert replace(task, init=mh.nn.MLPConfig((2, 16, 2), "tanh").init).fingerprint == task.fingerprint


def test_a_tenth_of_the_noisy_labels_is_wrong_and_none_of_those_that_are_reported():
    right, noisy = tasks.build("minibatch/digits"), tasks.build("minibatch/digits-noisy")
    wrong = (right.train.targets != noisy.train.targets).mean()
    assert 0.07 < wrong < 0.13
    assert (right.validation.targets == noisy.validation.targets).all()
    assert (right.train.inputs == noisy.train.inputs).all()


def test_random_labels_tell_nothing_of_the_images():
    task, right = tasks.build("control/random-labels"), tasks.build("minibatch/digits")
    for data, other in ((task.train, right.train), (task.validation, right.validation)):
        assert (data.inputs == other.inputs).all()
        assert 0.05 < (data.targets == other.targets).mean() < 0.15
    assert task.tuned_on == "minibatch/digits"


def test_the_curvatures_of_the_logistic_task_span_four_orders():
    inputs = tasks.build("full-batch/logistic").train.inputs.astype(np.float64)
    assert 0.5e4 < np.linalg.cond(inputs.T @ inputs) < 2e4


def test_adapters_alone_are_trained(mnist_folder):
    model = tasks.build("low-rank/mnist", mnist_folder).init(mh.Rng(0))
    trained = [path for path, param in model.named_params().items() if param.trainable]
    assert [path.rsplit(".", 1)[1] for path in trained] == ["down", "up", "bias", "down", "up"]


def test_what_mnist_is_not_there_for_is_left_out_with_a_sentence(tmp_path, mnist_folder):
    names, sentences = tasks.available(tasks.names(), str(tmp_path))
    assert names == OWN
    assert [sentence.partition(" ")[0] for sentence in sentences] == [n for n in tasks.names() if n not in OWN]
    assert all("is left out: the test part of MNIST is not in" in sentence for sentence in sentences)
    assert tasks.available(tasks.names(), mnist_folder) == (tasks.names(), [])
    with pytest.raises(DataError):
        tasks.build("minibatch/mnist", str(tmp_path))


def test_schedules_end_at_nothing():
    for shape in ("linear", "cosine"):
        assert SHAPES[shape](0.0) == 1 and abs(SHAPES[shape](1.0)) < 1e-12
    assert SHAPES["warm-up"](0.0) == 0.01 and SHAPES["warm-up"](0.05) == SHAPES["warm-up"](1.0) == 1
