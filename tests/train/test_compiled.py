"""A compiled step is the step, to the bit, whatever it is given and gives."""

import dataclasses
import enum
import pickle
import threading
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minihybrid as mh
from minihybrid import optim
from minihybrid.autodiff.op import registry
from minihybrid.autodiff.trace import PlanError
from minihybrid.module.module import pack
from minihybrid.nn import BatchNorm2dConfig, Conv2dConfig, DropoutConfig, LinearConfig, MLPConfig, Sequential
from minihybrid.nn.activation import Activation
from minihybrid.train.compiled import MOST_PLANS
from tests.samples import calls
from tests.train.steps import X, Y, dropping, everything, mlp, train

RNG = np.random.default_rng(1)


def cnn():
    rng = mh.Rng(0)
    layers = [Conv2dConfig(1, 3, 3, padding=1).init(rng), BatchNorm2dConfig(3).init(), mh.relu]
    layers += [lambda x: mh.max_pool2d(x, 2), DropoutConfig(0.2).init(rng), Conv2dConfig(3, 4, 3, padding=1).init(rng)]
    layers += [lambda x: mh.reshape(x, (x.shape[0], -1)), LinearConfig(4 * 16, 5).init(rng)]
    return Sequential(layers)


class Language(mh.Module):
    embedding: mh.nn.Embedding
    layer: mh.nn.TransformerEncoderLayer
    norm: mh.nn.LayerNorm
    head: mh.nn.Linear

    def forward(self, tokens):
        return self.head(self.norm(self.layer(self.embedding(tokens), causal=True)))


def language():
    rng = mh.Rng(0)
    layer = mh.nn.TransformerEncoderLayerConfig(8, heads=2, d_hidden=16, dropout=0.1).init(rng)
    return Language(
        mh.nn.EmbeddingConfig(11, 8).init(rng), layer, mh.nn.LayerNormConfig(8).init(rng), LinearConfig(8, 11).init(rng)
    )


class Recurrent(mh.Module):
    cell: mh.nn.LSTM | mh.nn.GRU | mh.nn.RNN
    head: mh.nn.Linear

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def run(make, optimizer, batches, step, steps):
    model, losses = make(), []
    pack(model)  # before the first step, as a recording does
    for t in range(steps):
        x, y = batches[t % len(batches)]
        model, loss = step(model, optimizer, x, y, optim.Cosine(0.01, steps)(t))
        losses.append(loss.item())
    return losses, everything(model, optimizer)


def batches_of(x, y, size=16):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


SEQUENCES = RNG.integers(0, 11, (16, 7))
TASKS = {
    "mlp": (dropping, batches_of(X, Y)),
    "cnn": (cnn, batches_of(RNG.normal(size=(32, 1, 8, 8)).astype(np.float32), Y[:32], 8)),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_plan_is_the_tape_to_the_bit_over_100_steps(task):
    make, batches = TASKS[task]
    compiled = mh.compile(train)
    assert run(make, optim.Adam(), batches, train, 100) == run(make, optim.Adam(), batches, compiled, 100)
    assert len(compiled.plans) == 1


def test_so_is_that_of_a_transformer():
    def step(model, optimizer, tokens, targets, lr):
        loss = mh.nn.cross_entropy(model(tokens), targets)
        return optimizer.step(lr, model, optim.GradientsParams.from_grads(loss.backward(), model)), loss

    batches = batches_of(SEQUENCES[:, :-1], SEQUENCES[:, 1:], 4)
    expected = run(language, optim.AdamW(), batches, step, 100)
    assert run(language, optim.AdamW(), batches, mh.compile(step), 100) == expected


@pytest.mark.parametrize("config", [mh.nn.LSTMConfig, mh.nn.GRUConfig, mh.nn.RNNConfig])
def test_so_is_that_of_a_recurrent_network(config):
    def make():
        rng = mh.Rng(0)
        return Recurrent(config(3, 4).init(rng), LinearConfig(4, 5).init(rng))

    batches = batches_of(RNG.normal(size=(32, 4, 3)).astype(np.float32), Y[:32], 8)
    assert run(make, optim.Adam(), batches, train, 10) == run(make, optim.Adam(), batches, mh.compile(train), 10)


def in_double_precision(model):
    class Doubled(mh.ModuleMapper):
        def map_param(self, path, param):
            return mh.Param(param.numpy().astype(np.float64), id=param.id)

    return model.map(Doubled())


def test_so_is_that_in_double_precision():
    batches = batches_of(X.astype(np.float64), Y)
    expected = run(lambda: in_double_precision(mlp()), optim.Adam(), batches, train, 10)
    assert run(lambda: in_double_precision(mlp()), optim.Adam(), batches, mh.compile(train), 10) == expected


ACTIVATIONS = [*Activation.__subclasses__(), mh.nn.PReluConfig]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_recorded(activation):
    def make():
        made = activation().init() if activation is mh.nn.PReluConfig else activation()
        rng = mh.Rng(0)
        return Sequential([LinearConfig(12, 8).init(rng), made, LinearConfig(8, 5).init(rng)])

    expected = run(make, optim.SGD(), batches_of(X, Y), train, 4)
    assert run(make, optim.SGD(), batches_of(X, Y), mh.compile(train), 4) == expected


OPTIMIZERS = {
    "SGD": optim.SGD,
    "SGD, Nesterov": lambda: optim.SGD(momentum=0.9, nesterov=True, weight_decay=0.01),
    "SGD, dampening": lambda: optim.SGD(momentum=0.9, dampening=0.1),
    "AdamW": optim.AdamW,
    "AMSGrad": lambda: optim.Adam(amsgrad=True, weight_decay=0.1),
    "RMSprop": lambda: optim.RMSprop(momentum=0.9, centered=True),
    "Adagrad": lambda: optim.Adagrad(lr_decay=0.1),
    "Adadelta": optim.Adadelta,
    "Lion": optim.Lion,
    "Schedule-Free": optim.ScheduleFreeAdamW,
    "Ema": lambda: optim.Ema(optim.Adam(), 0.5),
    "Swa": lambda: optim.Swa(optim.Adam(), start=2, every=3),
    "Lookahead": lambda: optim.Lookahead(optim.SGD(), k=3),
    "Grouped": lambda: optim.Grouped({"*weight": optim.Muon(), "*": (optim.Adam(), 0.5)}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_as_it_does_on_the_tape(name):
    make, compiled = OPTIMIZERS[name], mh.compile(train)
    expected = run(mlp, make(), batches_of(X, Y), train, 12)
    assert run(mlp, make(), batches_of(X, Y), compiled, 12) == expected
    assert 1 <= len(compiled.plans) <= 5


def ones_or_more(out):
    return mh.square(out) + 1


LOSSES = {
    "label smoothing": lambda out, y: mh.nn.cross_entropy(out, y, label_smoothing=0.1),
    "ignored": lambda out, y: mh.nn.cross_entropy(out, y, ignore_index=2),
    "class weights": lambda out, y: mh.nn.cross_entropy(out, y, weight=np.array([1, 2, 3, 4, 5], np.float32)),
    "probabilities": lambda out, y: mh.nn.cross_entropy(out, mh.one_hot(y, 5)),
    "summed": lambda out, y: mh.nn.cross_entropy(out, y, reduction="sum"),
    "nll": lambda out, y: mh.nn.nll(mh.log_softmax(out), y),
    "mse": lambda out, y: mh.nn.mse(out, mh.one_hot(y, 5)),
    "mse, summed": lambda out, y: mh.nn.mse(out, mh.one_hot(y, 5), reduction="sum"),
    "l1": lambda out, y: mh.nn.l1(out, mh.one_hot(y, 5)),
    "huber": lambda out, y: mh.nn.huber(out, mh.one_hot(y, 5)),
    "smooth l1": lambda out, y: mh.nn.smooth_l1(out, mh.one_hot(y, 5), beta=0.5),
    "bce with logits": lambda out, y: mh.nn.bce_with_logits(out, mh.one_hot(y, 5), pos_weight=2.0),
    "bce": lambda out, y: mh.nn.bce(mh.sigmoid(out), mh.one_hot(y, 5)),
    "poisson": lambda out, y: mh.nn.poisson_nll(out, mh.one_hot(y, 5)),
    "poisson, of rates": lambda out, y: mh.nn.poisson_nll(ones_or_more(out), mh.one_hot(y, 5), log_input=False),
    "kl divergence": lambda out, y: mh.nn.kl_divergence(mh.log_softmax(out), mh.one_hot(y, 5)),
    "cosine": lambda out, y: mh.mean(mh.nn.cosine_similarity(out, ones_or_more(out))),
    "cosine embedding": lambda out, y: mh.nn.cosine_embedding(out, ones_or_more(out), mh.where(y > 2, 1.0, -1.0)),
    "hinge": lambda out, y: mh.nn.hinge(out, 2 * mh.one_hot(y, 5) - 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_recorded(name):
    loss_function = LOSSES[name]

    def step(model, optimizer, x, y, lr):
        loss = loss_function(model(mh.Tensor(x)), y)
        return optimizer.step(lr, model, optim.GradientsParams.from_grads(loss.backward(), model)), loss

    expected = run(mlp, optim.Adam(), batches_of(X, Y), step, 6)
    assert run(mlp, optim.Adam(), batches_of(X, Y), mh.compile(step), 6) == expected


def values_and_gradients(apply, differentiable, operands, seed):
    leaves = [mh.Tensor(a).require_grad() if d else mh.Tensor(a) for a, d in zip(operands, differentiable, strict=True)]
    out = apply(leaves)
    if out.node is None:
        return [out]
    grads = out.backward(mh.Tensor(seed))
    return [out.detach(), *(grads[x] for x in leaves if x in grads)]


def others(array):
    """Other values of the same domain, in the same order in memory."""
    made = np.empty_like(array)
    made[...] = np.flip(array)
    return np.multiply(made, 0.999, out=made) if made.dtype.kind == "f" else made


@pytest.mark.parametrize("name", sorted(registry))
@settings(max_examples=5)
@given(data=st.data())
def test_every_op_and_its_gradients_are_the_same_in_a_replay_with_other_values(name, data):
    call = data.draw(calls(name, np.float32))
    differentiable = [argument in call.op.formulas for argument in call.names]
    operands = [np.array(a, order="K") for a in call.operands]  # without gaps, as a plan copies them
    out, compiled = np.asarray(call.on(operands)), mh.compile(values_and_gradients)
    for given_operands, factor in ((operands, 1), (list(map(others, operands)), 2)):
        given_seed = np.full(out.shape, factor, out.dtype)
        found = compiled(call.on, differentiable, given_operands, given_seed)
        expected = values_and_gradients(call.on, differentiable, given_operands, given_seed)
        for a, b in zip(found, expected, strict=True):
            assert (a.shape, a.dtype, a.numpy().tobytes()) == (b.shape, b.dtype, b.numpy().tobytes())
    assert len(compiled.plans) == 1


def test_derivatives_of_higher_order_are_recorded():
    def penalty(x):
        inner = mh.grad(lambda z: mh.sum(mh.tanh(z) * z))
        return mh.value_and_grad(lambda z: mh.sum(mh.square(inner(z))))(mh.Tensor(x))

    compiled = mh.compile(penalty)
    for x in (X[:4], 2 * X[:4]):
        assert [part.tolist() for part in compiled(x)] == [part.tolist() for part in penalty(x)]


def test_checkpoints_rewind_their_random_streams_in_each_replay():
    def step(model, optimizer, x, y, lr):
        loss = mh.nn.cross_entropy(mh.checkpoint(model)(mh.Tensor(x)), y)
        return optimizer.step(lr, model, optim.GradientsParams.from_grads(loss.backward(), model)), loss

    expected = run(dropping, optim.Adam(), batches_of(X, Y), step, 8)
    compiled = mh.compile(step)
    assert run(dropping, optim.Adam(), batches_of(X, Y), compiled, 8) == expected and len(compiled.plans) == 1


# What a step may be given, and give


def test_steps_of_the_plan_and_of_the_tape_take_turns():
    turns = [train, mh.compile(train)]
    expected = run(dropping, optim.Adam(), batches_of(X, Y), train, 10)
    calls_made = iter(range(100))

    def alternate(*args):
        return turns[next(calls_made) % 2](*args)

    assert run(dropping, optim.Adam(), batches_of(X, Y), alternate, 10) == expected


class Pair(NamedTuple):
    x: object
    y: object


@dataclasses.dataclass
class Data:
    x: object
    y: object


@pytest.mark.parametrize(
    ("packed", "unpack"),
    [
        (lambda x, y: Pair(x, y), lambda batch: batch),
        (lambda x, y: Data(x, y), lambda batch: (batch.x, batch.y)),
        (lambda x, y: {"x": x, "y": y}, lambda batch: (batch["x"], batch["y"])),
        (lambda x, y: [x, (y,)], lambda batch: (batch[0], batch[1][0])),
        (lambda x, y: [mh.Tensor(x), mh.Tensor(y)], lambda batch: (batch[0].array, batch[1].array)),
    ],
)
def test_arguments_come_in_containers(packed, unpack):
    def outputs(model, batch):
        x, y = unpack(batch)
        return {"loss": [mh.nn.cross_entropy(model(mh.Tensor(x)), y)], "none": None, "size": (x.shape[0], "text")}

    compiled, model = mh.compile(outputs), mlp()
    for x, y in batches_of(X, Y):
        found = compiled(model, packed(x, y))
        assert found["loss"][0].item() == mh.nn.cross_entropy(model(mh.Tensor(x)), y).item()
        assert (found["none"], found["size"]) == (None, (16, "text"))
    assert len(compiled.plans) == 1


def test_numbers_are_read_in_each_call_and_strings_are_constants():
    def scaled(x, factor, how="linear"):
        return mh.exp(x * factor) if how == "exp" else x * factor + factor, factor * 2

    compiled, x = mh.compile(scaled), mh.tensor([1.0, 2.0])
    for factor in (0.5, 3.0, np.float64(4.0), 2):
        for how in ("linear", "exp"):
            found, twice = compiled(x, factor, how=how)
            right, _ = scaled(x, float(factor), how)
            assert found.tolist() == right.tolist() and twice == 2 * factor
    assert len(compiled.plans) == 6


class Kind(enum.Enum):
    DOUBLE = 2
    TRIPLE = 3


@dataclasses.dataclass(frozen=True)
class Checked:
    x: object
    factor: float
    size: int = dataclasses.field(init=False, default=0)

    def __post_init__(self):
        if type(self.factor) is not float:
            raise ValueError("factor is a float")
        object.__setattr__(self, "size", 3)


def triple(x):
    return x * 3


CONSTANTS = [
    (lambda x, how: x * how.value, [Kind.DOUBLE, Kind.TRIPLE]),
    (lambda x, how: x * (2 if how == "double" else 3), [np.str_("double"), np.str_("triple")]),
    (lambda x, how: x * (2 if how else 3), [True, False, np.bool_(True), np.bool_(False)]),
    (lambda x, how: x.astype(how), [np.float64, np.int64, np.dtype("int8")]),
    (lambda x, how: x if how is None else how(x), [None, np.tanh, triple, Kind.DOUBLE.__eq__ and np.negative]),
    (lambda x, how: x[how], [slice(2), slice(None, None, 2)]),
    (lambda x, how: x * how, [1j, 2j]),
    (lambda x, how: [x * i for i in how], [range(2), range(3)]),
    (
        lambda x, how: sum(value * i for i, value in enumerate(how.values())),
        [{"a": X, "b": 2 * X}, {"b": 2 * X, "a": X}],
    ),
    (lambda x, how: x * len(how), [[], [1], (1,), {"a": 1}, {1: 1}]),
    (lambda x, how: how.x * how.factor + how.size, [Checked(X, 2.0), Checked(X, 3.0)]),
]


@pytest.mark.parametrize(("function", "values"), CONSTANTS)
def test_what_is_no_number_is_a_constant_of_a_plan(function, values):
    compiled, x = mh.compile(function), Y[:12, None] + X[:12]
    for value in [*values, *values]:
        found, right = compiled(x, value), function(x, value)
        assert type(found) is type(right)
        np.testing.assert_array_equal(found, right)
    assert len(compiled.plans) <= len(values)


def test_parameters_may_be_called_as_the_plan_calls_its_own_things():
    def step(t0, type, len, slice, x0, copyto):
        loss = mh.nn.cross_entropy(t0(mh.Tensor(x0)), len[0])
        grads = optim.GradientsParams.from_grads(loss.backward(), t0)
        return type.step(copyto * slice, t0, grads), loss

    compiled, plain = mh.compile(step), mlp()
    model, optimizers = mlp(), (optim.Adam(), optim.Adam())
    for lr in (0.1, 0.2, 0.3):
        model, loss = compiled(model, optimizers[0], [Y], 0.5, X, lr)
        plain, right = step(plain, optimizers[1], [Y], 0.5, X, lr)
        assert loss.item() == right.item()
    assert len(compiled.plans) == 1


def test_defaults_and_keywords():
    def function(x, y=1.0, *, shift=None):
        return x

    def scaled(x, factor=2.0, shift=0.0):
        return x * factor + shift

    with pytest.raises(PlanError, match="takes shift=None; name each argument"):
        mh.compile(function)
    compiled = mh.compile(scaled)
    for args, right in [((X,), X * 2), ((X, 3.0), X * 3), ((X, 3.0, 1.0), X * 3 + 1)]:
        np.testing.assert_array_equal(compiled(*args), right)
    np.testing.assert_array_equal(compiled(shift=1.0, x=X), X * 2 + 1)
    assert len(compiled.plans) == 1
    with pytest.raises(TypeError):
        compiled(X, 1.0, 2.0, 3.0)


def test_arrays_are_copied_without_gaps_and_in_their_order():
    def step(model, x, y):
        loss = mh.nn.cross_entropy(model(mh.Tensor(x)), y)
        return loss, optim.GradientsParams.from_grads(loss.backward(), model)

    model, wide = mlp(), np.repeat(X, 2, axis=1)
    for x in (np.asfortranarray(X), wide[:, ::2], np.flip(np.flip(X).copy())):
        found, right = mh.compile(step)(model, x, Y), step(model, np.array(x, order="K"), Y)
        assert found[0].item() == right[0].item()
        for id, gradient in found[1].items():
            assert gradient.tolist() == right[1].get(id).tolist()
    result = mh.compile(lambda x: x.T * 1)(X)
    assert result.flags.f_contiguous


def test_tensors_without_axes():
    compiled = mh.compile(lambda x, y: x * y)
    for x in (X, 2 * X):
        total = mh.sum(mh.Tensor(x))  # NumPy gives a number and no array
        assert compiled(total, mh.tensor(2.0)).item() == 2 * total.item()
    assert len(compiled.plans) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_dtype(dtype):
    batches = batches_of(X, Y.astype(dtype))
    assert run(mlp, optim.SGD(), batches, mh.compile(train), 4) == run(mlp, optim.SGD(), batches, train, 4)


def test_a_decision_on_a_number_is_a_guard():
    def step(x, factor):
        return x * 2 if factor > 1 and factor % 2 else x - factor

    compiled, x = mh.compile(step), np.ones(2, np.float32)
    for factor in (0.5, 3, 4, 5, 0.25, 6):
        assert compiled(x, factor).tolist() == step(x, factor).tolist()
    assert len(compiled.plans) == 3  # small floats, odd integers, even ones


def test_other_shapes_are_other_plans_and_their_number_is_bounded():
    compiled, model, optimizer = mh.compile(train), mlp(), optim.Adam()
    for size in [*range(1, MOST_PLANS + 4), 3, MOST_PLANS + 2]:
        model, _ = compiled(model, optimizer, X[:size], Y[:size], 0.01)
    assert len(compiled.plans) == MOST_PLANS


def test_shapes_may_come_back():
    batches = [(X[:size], Y[:size]) for size in (16, 5, 16, 1, 5)]
    compiled = mh.compile(train)
    assert run(dropping, optim.Adam(), batches, compiled, 10) == run(dropping, optim.Adam(), batches, train, 10)
    assert len(compiled.plans) == 3


def test_threads_do_not_disturb_each_other():
    one, compiled = mh.compile(lambda x: mh.sum(mh.tanh(mh.Tensor(x)) @ mh.Tensor(x).mT, axis=1)), mh.compile(train)
    found = {}

    def work(i):
        x = X + i
        right = np.tanh(x)
        sums = [np.abs(one(x).numpy() - (right @ x.T).sum(1)).max() for _ in range(30)]
        found[i] = max(sums), run(lambda: dropping(i), optim.Adam(), batches_of(x, Y), compiled, 8)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, (error, trained) in found.items():
        assert error < 1e-3
        assert trained == run(lambda i=i: dropping(i), optim.Adam(), batches_of(X + i, Y), train, 8)
    assert len(found) == 3


def test_gradients_are_values():
    def gradients(model, x, y):
        loss = mh.nn.cross_entropy(model(mh.Tensor(x)), y)
        return loss, optim.GradientsParams.from_grads(loss.backward(), model)

    compiled, model = mh.compile(gradients), mlp()
    kept = [compiled(model, x, y) for x, y in batches_of(X, Y)]
    for (loss, grads), (x, y) in zip(kept, batches_of(X, Y), strict=True):
        right, rights = gradients(model, x, y)
        assert loss.item() == right.item()
        for id, gradient in grads.items():
            assert gradient.tolist() == rights.get(id).tolist()
    model = optim.Adam().step(0.1, model, kept[0][1])
    assert compiled(model, X[:16], Y[:16])[0].item() < kept[0][0].item()


def test_running_statistics_come_with_gradients():
    def gradients(model, x, y):
        loss = mh.nn.cross_entropy(model(mh.Tensor(x)), y)
        return optim.GradientsParams.from_grads(loss.backward(), model)

    (x, y), *_ = TASKS["cnn"][1]
    states = []
    for function in (gradients, mh.compile(gradients)):
        model, optimizer = cnn(), optim.SGD()
        for _ in range(3):
            model = optimizer.step(0.1, model, function(model, x, y))
        states.append(everything(model, optimizer))
    assert states[0] == states[1]


def test_two_models_with_their_optimizers():
    def duel(one, two, first, second, x, lr):
        loss = mh.mean(mh.square(two(one(mh.Tensor(x)))))
        grads = loss.backward()
        one_grads, two_grads = (optim.GradientsParams.from_grads(grads, model) for model in (one, two))
        return first.step(lr, one, one_grads), second.step(lr, two, two_grads), loss

    found = []
    for function in (duel, mh.compile(duel)):
        one, two = (MLPConfig((12, 12)).init(mh.Rng(i)) for i in range(2))
        first, second = optim.Adam(), optim.SGD(momentum=0.5)
        losses = []
        for _ in range(5):
            one, two, loss = function(one, two, first, second, X[:16], 0.01)
            losses.append(loss.item())
        found.append((losses, everything(one, first), everything(two, second)))
    assert found[0] == found[1]


def test_what_changes_model_and_optimizer_in_between_is_seen():
    def session(step):
        model, optimizer = dropping(), optim.Ema(optim.Adam(), 0.9)
        for i in range(3):
            model, _ = step(model, optimizer, X[:16], Y[:16], 0.01)
            snapshots = model.snapshot(), optimizer.snapshot()
            model = model.apply_delta(np.full(model.num_params(), 0.01, np.float32))
            model, _ = step(model, optimizer, X[:16], Y[:16], 0.01)
            if i == 1:
                model = model.restore(snapshots[0])
                optimizer.restore(snapshots[1])
            optimizer.load_state(optimizer.state())
            model = pickle.loads(pickle.dumps(model.train().clone()))
        return everything(model, optimizer)

    assert session(train) == session(mh.compile(train))


def test_an_optimizer_that_is_restored_to_its_beginning_begins_again():
    def session(step):
        model, optimizer = mlp(), optim.Ema(optim.Adam())
        snapshots = model.snapshot(), optimizer.snapshot()
        for _ in range(2):
            for _ in range(3):
                model, _ = step(model, optimizer, X, Y, 0.01)
            done = everything(model, optimizer)
            model = model.restore(snapshots[0])
            optimizer.restore(snapshots[1])
        return done

    assert session(train) == session(mh.compile(train))


def test_settings_of_an_optimizer_may_be_changed():
    def session(step):
        model, optimizer = mlp(), optim.AdamW()
        for weight_decay, betas in [(0.1, (0.9, 0.999)), (0.5, (0.9, 0.999)), (0.5, (0.5, 0.5))]:
            optimizer.weight_decay, optimizer.betas = weight_decay, betas
            for _ in range(3):
                model, _ = step(model, optimizer, X, Y, 0.01)
        return everything(model, optimizer)

    assert session(train) == session(mh.compile(train))


class Frozen(mh.ModuleMapper):
    def __init__(self, path):
        self.path = path

    def map_param(self, path, param):
        return param.freeze() if path == self.path else param


def test_parameters_may_be_frozen_on_the_way():
    def session(step):
        model, optimizer = mlp(), optim.Adam()
        path = next(iter(model.named_params()))
        model, _ = step(model, optimizer, X, Y, 0.01)
        model = model.map(Frozen(path))
        for _ in range(3):
            model, _ = step(model, optimizer, X, Y, 0.01)
        return everything(model, optimizer)

    assert session(train) == session(mh.compile(train))


def test_a_jump_inside_a_step():
    def jump(model, delta, x, scale):
        model = model.apply_delta(delta, 0.5)
        return model, mh.sum(model(mh.Tensor(x)) * scale)

    results = []
    for function in (jump, mh.compile(jump)):
        model = mlp()
        for i in range(3):
            model, total = function(model, np.full(model.num_params(), 0.1 * i, np.float32), X, 2.0)
        results.append((total.item(), everything(model, optim.SGD())))
    assert results[0] == results[1]


def test_two_optimizers_take_turns():
    def session(step):
        model, optimizers = mlp(), [optim.Adam(), optim.SGD(momentum=0.9)]
        for i in range(6):
            model, _ = step(model, optimizers[i % 2], X, Y, 0.01)
        return [everything(model, optimizer) for optimizer in optimizers]

    assert session(train) == session(mh.compile(train))


def test_parameters_without_gradients_and_tied_ones():
    class Tied(mh.Module):
        weight: mh.Param
        again: mh.Param
        unused: mh.Param

        def forward(self, x):
            return mh.tanh(x @ self.weight) @ self.again

    def make():
        weight = mh.Param(mh.Rng(0).normal((12, 12)), id=mh.ParamId(1))
        return Tied(weight, weight, mh.Param(np.ones(3, np.float32), id=mh.ParamId(2)))

    assert run(make, optim.Adam(), batches_of(X, Y), train, 5) == run(
        make, optim.Adam(), batches_of(X, Y), mh.compile(train), 5
    )


def test_clipping_is_recorded():
    def step(model, optimizer, x, y, lr):
        loss = mh.nn.cross_entropy(model(mh.Tensor(x)), y)
        grads = optim.clip_global_norm(optim.GradientsParams.from_grads(loss.backward(), model), 0.5)
        grads = optim.clip_value(optim.clip_norm(grads, 0.3), 0.1)
        return optimizer.step(lr, model, grads), loss

    expected = run(mlp, optim.Adam(), batches_of(X, Y), step, 8)
    assert run(mlp, optim.Adam(), batches_of(X, Y), mh.compile(step), 8) == expected


def test_results_do_not_change_with_later_steps_and_memory_does_not_grow():
    def step(model, optimizer, x, y, lr):
        logits = model(mh.Tensor(x))
        loss = mh.nn.cross_entropy(logits, y)
        return optimizer.step(lr, model, optim.GradientsParams.from_grads(loss.backward(), model)), logits.detach()

    compiled, model, optimizer = mh.compile(step), mlp(), optim.Adam()
    model, first = compiled(model, optimizer, X[:16], Y[:16], 0.1)
    kept = first.tolist()
    for _ in range(10):
        model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.1)
    assert first.tolist() == kept
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.1)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.reset_peak()
        model, _ = compiled(model, optimizer, X[:16], Y[:16], 0.1)
        transient = tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0]
        assert grown < 10_000 and transient < 5_000
    finally:
        tracemalloc.stop()


def test_show_prints_the_program(capsys):
    compiled, model = mh.compile(train), mlp()
    compiled(model, optim.SGD(), X[:16], Y[:16], 0.1)
    compiled.show()
    shown = capsys.readouterr().out
    assert "def replay(model, optimizer, x, y, lr):" in shown and ".dot(" in shown and "float32 (16, 8)" in shown
