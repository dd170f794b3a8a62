"""The wrappers own what they hold, also when the user's function fails."""

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.hybrid import Batch, ModelWrapper, OptimizerWrapper, WeightDelta, extract_gradients
from minihybrid.module.module import pack


def test_burn_model_wrapper_forward(wrapper, xor):
    model = wrapper()
    loss = model.forward(xor)
    assert loss.shape == () and loss.requires_grad
    assert loss.item() == pytest.approx(model.evaluate(xor))
    assert model.forward(xor).item() == loss.item(), "forward changes nothing"


def test_burn_model_wrapper_backward(wrapper, xor):
    model = wrapper()
    loss = model.forward(xor)
    info = model.backward()
    twin = model.model.clone()
    expected = mh.nn.cross_entropy(twin(mh.Tensor(xor.inputs)), xor.targets)
    gradients = extract_gradients(expected.backward(), twin)
    assert info.loss == loss.item() != 0.0
    assert info.per_param_norms.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert info.per_param_norms[key] == pytest.approx(np.linalg.norm(gradient))
    total = np.sqrt(sum(np.vdot(g, g) for g in gradients.values()))
    assert info.gradient_norm == pytest.approx(total)
    with pytest.raises(RuntimeError, match="call forward"):
        model.backward()


def test_burn_optimizer_step(wrapper, xor):
    model, optimizer = wrapper(), OptimizerWrapper(mh.optim.SGD(), 0.5)
    model.forward(xor)
    model.backward()
    before = pack(model.model).values.copy()
    twin = model.model.clone()
    grads = mh.nn.cross_entropy(twin(mh.Tensor(xor.inputs)), xor.targets).backward()
    twin = mh.optim.SGD().step(0.5, twin, mh.optim.GradientsParams.from_grads(grads, twin))
    optimizer.step(model)
    assert pack(model.model).values.tobytes() == pack(twin).values.tobytes() != before.tobytes()
    assert optimizer.steps == 1
    with pytest.raises(RuntimeError, match="no gradients; call forward"):
        optimizer.step(model)


def test_burn_optimizer_learning_rate(wrapper, xor):
    optimizer = OptimizerWrapper(mh.optim.Adam(), 0.01)
    assert optimizer.learning_rate() == 0.01
    optimizer.set_learning_rate(0.5)
    assert optimizer.learning_rate() == 0.5
    schedule = mh.optim.Cosine(0.1, total=10)
    optimizer.set_learning_rate(schedule)
    model = wrapper()
    for step in range(3):
        assert optimizer.learning_rate() == schedule(step)
        model.forward(xor)
        model.backward()
        optimizer.step(model)
    model.apply_weight_delta(WeightDelta.from_flat(model.model, pack(model.model).values * 0))
    assert optimizer.learning_rate() == schedule(3), "a jump does not move the schedule"
    assert optimizer.zero_grad() is None


def test_optimizer_wrapper_clips_the_global_norm(wrapper, xor):
    model = wrapper()
    before = pack(model.model).values.copy()
    model.forward(xor)
    assert model.backward().gradient_norm > 0.1
    OptimizerWrapper(mh.optim.SGD(), 1.0, clip=0.1).step(model)
    assert np.linalg.norm(pack(model.model).values - before) == pytest.approx(0.1, rel=1e-4)
    with pytest.raises(ValueError, match="clip is 0; expected a positive number"):
        OptimizerWrapper(mh.optim.SGD(), 1.0, clip=0)


def test_optimizer_wrapper_rolls_back_with_its_schedule(wrapper, xor):
    model = wrapper()
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.1, total=10))

    def steps(n):
        for _ in range(n):
            model.forward(xor)
            model.backward()
            optimizer.step(model)

    steps(3)
    kept = model.snapshot(), optimizer.snapshot()
    steps(2)
    once = pack(model.model).values.tobytes(), optimizer.learning_rate()
    optimizer.set_learning_rate(1.0)
    model.restore(kept[0])
    optimizer.restore(kept[1])
    steps(2)
    assert (pack(model.model).values.tobytes(), optimizer.learning_rate()) == once


def test_predicted_gradients_equal_to_the_true_ones_train_bit_identically(wrapper, xor):
    true, predicted = wrapper(), wrapper()
    true_optim, predicted_optim = (OptimizerWrapper(mh.optim.Adam(), 0.1) for _ in range(2))
    for _ in range(10):
        true.forward(xor)
        true.backward()
        true_optim.step(true)

        model = predicted.model
        gradients = extract_gradients(mh.nn.cross_entropy(model(mh.Tensor(xor.inputs)), xor.targets).backward(), model)
        guess = mh.optim.GradientsParams()
        for key, gradient in gradients.items():
            guess.register(mh.ParamId.parse(key), mh.Tensor(gradient))
        model = predicted_optim.optimizer.step(0.1, predicted.take(), guess)
        predicted = ModelWrapper(model, predicted.forward_fn)
    assert pack(true.model).values.tobytes() == pack(predicted.model).values.tobytes()


def consumes_and_fails(model, batch):
    model.map(mh.ModuleMapper())
    raise ZeroDivisionError("mine")


def fails(model, batch):
    raise ZeroDivisionError("mine")


def interrupted(model, batch):
    raise KeyboardInterrupt


@pytest.mark.parametrize("function", [fails, consumes_and_fails, interrupted])
@pytest.mark.parametrize("call", ["forward", "forward_compiled", "evaluate"])
def test_a_function_that_raises_leaves_the_model_intact(mlp, xor, bits, function, call):
    model = ModelWrapper(mlp(), function)
    before = bits(model.model)
    with pytest.raises((ZeroDivisionError, KeyboardInterrupt, mh.MovedError)):
        getattr(model, call)(xor)
    assert bits(model.model) == before
    assert model.model.hidden.weight.requires_grad
    trained = ModelWrapper(model.take(), lambda m, b: (m, m(mh.Tensor(b.inputs)).sum()))
    trained.forward(xor)
    trained.backward()
    OptimizerWrapper(mh.optim.SGD(), 0.1).step(trained)
    assert bits(trained.model) != before


def other():
    return mh.nn.LinearConfig(2, 2).init(rng=mh.Rng(9))


NONSENSE = {
    "loss alone": (lambda m, b: m(mh.Tensor(b.inputs)).sum(), TypeError, "a Tensor; expected a tuple"),
    "wrong order": (lambda m, b: (m(mh.Tensor(b.inputs)).sum(), m), TypeError, "a tuple of 2 .Tensor, MLP."),
    "three": (lambda m, b: (m, 1, 2), TypeError, "a tuple of 3 .MLP, int, int."),
    "nothing": (lambda m, b: None, TypeError, "a NoneType"),
    "number": (lambda m, b: (m, 0.5), TypeError, "a float as the loss"),
    "not reduced": (lambda m, b: (m, m(mh.Tensor(b.inputs))), ValueError, r"shape \(4, 2\).*take the mean"),
    "integer": (lambda m, b: (m, mh.tensor(1)), ValueError, "dtype int"),
    "array": (lambda m, b: (m, np.float32(1.0)), TypeError, "a float32 as the loss"),
    "clone's view": (lambda m, b: (m.clone().valid(), m(mh.Tensor(b.inputs)).sum()), TypeError, "borrowed by valid"),
    "another model": (lambda m, b: (other(), m(mh.Tensor(b.inputs)).sum()), ValueError, "another Linear"),
    "a part": (lambda m, b: (m.hidden, m(mh.Tensor(b.inputs)).sum()), ValueError, "another Linear, with other param"),
    "borrowed": (lambda m, b: (m.valid(), m(mh.Tensor(b.inputs)).sum()), TypeError, "borrowed by valid"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_function_that_returns_nonsense_is_told_so_and_the_model_stays(mlp, forward_fn, xor, bits, name):
    function, error, sentence = NONSENSE[name]
    model = ModelWrapper(mlp(), function)
    before = bits(model.model)
    with pytest.raises(error, match=f"the forward function returned .*{sentence}"):
        model.forward(xor)
    assert bits(model.model) == before
    with pytest.raises(RuntimeError, match="call forward"):
        model.backward()
    model.forward_fn = forward_fn
    model.forward(xor)
    model.backward()
    OptimizerWrapper(mh.optim.SGD(), 0.1).step(model)
    assert bits(model.model) != before, "training can go on"


def test_a_loss_without_parameters_is_a_sentence(mlp, xor):
    model = ModelWrapper(mlp(), lambda m, b: (m, mh.tensor(1.0)))
    model.forward(xor)
    with pytest.raises(ValueError, match="depends on nothing that requires a gradient"):
        model.backward()


def test_the_function_may_hand_on_the_model_under_a_new_handle(mlp, xor):
    def forward(model, batch):
        loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
        return model.map(mh.ModuleMapper()), loss

    model, optimizer = ModelWrapper(mlp(), forward), OptimizerWrapper(mh.optim.Adam(), 0.1)
    first = model.forward(xor).item()
    for _ in range(50):
        model.forward(xor)
        model.backward()
        optimizer.step(model)
    assert model.forward(xor).item() < first


def test_a_step_that_raises_leaves_model_and_gradients(wrapper, xor, bits):
    model, optimizer = wrapper(), OptimizerWrapper(mh.optim.Adam(), lambda step: float("nan"))
    model.forward(xor)
    model.backward()
    before = bits(model.model)
    with pytest.raises(ValueError, match="learning rate is nan"):
        optimizer.step(model)
    assert bits(model.model) == before and optimizer.steps == 0
    optimizer.set_learning_rate(0.1)
    optimizer.step(model)
    assert bits(model.model) != before


def test_what_was_taken_is_gone(wrapper, xor):
    model = wrapper()
    taken = model.take()
    with pytest.raises(mh.MovedError, match="take\\(\\) gave it away"):
        model.forward(xor)
    assert taken.num_params() == 42


class Regularised(mh.Module):
    """What a step can disturb besides the weights: running statistics, and a random stream."""

    norm: mh.nn.BatchNorm1d
    drop: mh.nn.Dropout
    layer: mh.nn.Linear

    def forward(self, x):
        return self.layer(self.drop(self.norm(x)))


def regularised():
    rng = mh.Rng(0)
    norm, drop = mh.nn.BatchNorm1dConfig(2).init(), mh.nn.DropoutConfig(0.5).init(rng)
    return Regularised(norm, drop, mh.nn.LinearConfig(2, 2).init(rng))


def fails_when_told(model, batch):
    loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
    if batch.targets[0] == 1:
        raise ZeroDivisionError
    return model, loss


def test_a_forward_that_failed_or_was_cancelled_leaves_random_streams_and_statistics_where_they_were(xor, bits):
    model, bad = ModelWrapper(regularised(), fails_when_told), Batch(xor.inputs, 1 - xor.targets)
    before, stream = bits(model.model), model.model.drop.rng.state()
    with pytest.raises(ZeroDivisionError):
        model.forward(bad)
    assert (bits(model.model), model.model.drop.rng.state()) == (before, stream)
    for undo_after in ("forward", "backward"):
        first = model.forward(xor).item()
        assert model.model.drop.rng.state() != stream
        if undo_after == "backward":
            model.backward()
        model.cancel()
        assert (bits(model.model), model.model.drop.rng.state()) == (before, stream)
        with pytest.raises(RuntimeError, match="call forward"):
            model.backward()
    assert model.forward(xor).item() == first
    model.backward()
    OptimizerWrapper(mh.optim.SGD(), 0.1).step(model)
    stepped, stream = bits(model.model), model.model.drop.rng.state()
    assert stepped["norm.running_mean"] != before["norm.running_mean"]
    model.cancel()
    assert (bits(model.model), model.model.drop.rng.state()) == (stepped, stream), "a step that was made stays"


def test_streams_are_found_again_under_a_new_handle(xor):
    def forward(model, batch):
        return fails_when_told(model.map(mh.ModuleMapper()), batch)

    model = ModelWrapper(regularised(), forward)
    streams = []
    for _ in range(3):
        streams.append(model.model.drop.rng.state())
        model.forward(xor)
        model.cancel()
        assert model.model.drop.rng.state() == streams[-1]
        model.forward(xor)
        model.backward()
        OptimizerWrapper(mh.optim.Adam(), 0.1).step(model)
    assert len({str(stream) for stream in streams}) == 3


def test_gradient_information_can_be_read_after_the_step(wrapper, xor):
    model = wrapper()
    model.forward(xor)
    info = model.backward()
    OptimizerWrapper(mh.optim.SGD(), 0.1).step(model)
    assert info.gradient_norm == pytest.approx(np.sqrt(sum(norm**2 for norm in info.per_param_norms.values())))
    assert info.loss > 0


def test_a_function_may_keep_the_graph_and_even_consume_it(mlp, xor, bits):
    kept = []

    def forward(model, batch):
        loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
        kept.append(loss)
        if len(kept) == 2:
            loss.backward()
        return model, loss

    model, optimizer = ModelWrapper(mlp(), forward), OptimizerWrapper(mh.optim.Adam(), 0.1)
    model.forward(xor)
    model.backward()
    optimizer.step(model)
    before = bits(model.model)
    model.forward(xor)
    with pytest.raises(RuntimeError, match="was consumed by an earlier backward"):
        model.backward()
    with pytest.raises(RuntimeError, match="no gradients"):
        optimizer.step(model)
    assert bits(model.model) == before
    model.forward(xor)
    model.backward()
    optimizer.step(model)
    assert bits(model.model) != before
    with pytest.raises(RuntimeError, match="consumed"):
        kept[0].backward()


class Noisy(mh.Module):
    layer: mh.nn.Linear
    rng: mh.Rng
    mean: mh.Buffer
    training: bool = True

    def forward(self, x):
        return self.layer(x + mh.Tensor(self.rng.normal(x.shape)))


def noisy_loss(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def noisy():
    return Noisy(mh.nn.LinearConfig(2, 2).init(rng=mh.Rng(0)), mh.Rng(1), mh.Buffer(np.zeros(2, np.float32)))


def test_evaluating_uses_up_no_random_number_and_sees_the_same_ones_again(xor):
    model = ModelWrapper(noisy(), noisy_loss)
    before = model.model.rng.state()
    assert model.evaluate(xor) == model.evaluate(xor)
    assert model.model.rng.state() == before
    model.forward(xor)
    assert model.model.rng.state() != before


def test_a_snapshot_holds_parameters_buffers_and_random_streams(xor, bits):
    model = ModelWrapper(noisy(), noisy_loss)
    kept, before, stream = model.snapshot(), bits(model.model), model.model.rng.state()
    model.forward(xor)
    model.apply_weight_delta(WeightDelta.from_flat(model.model, np.ones(6, np.float32)))
    model.model.mean.array[...] = 5.0
    assert bits(model.model) != before and model.model.rng.state() != stream
    model.restore(kept)
    assert bits(model.model) == before and model.model.rng.state() == stream


def test_evaluate_tells_the_model_that_it_is_not_training(xor):
    seen = []

    def forward(model, batch):
        seen.append(model.training)
        return noisy_loss(model, batch)

    model = ModelWrapper(noisy(), forward)
    model.forward(xor)
    model.evaluate(xor)
    assert seen == [True, False]


def test_gradient_norms_of_a_model_with_frozen_parts(mlp, forward_fn, xor):
    class Freeze(mh.ModuleMapper):
        def map_param(self, path, param):
            return param.freeze() if path.startswith("hidden") else param

    model = ModelWrapper(mlp().map(Freeze()), forward_fn)
    model.forward(xor)
    info = model.backward()
    assert set(info.per_param_norms) == {str(p.id) for p in model.model.output.named_params().values()}


def test_batch_is_the_data_floor_s():
    assert Batch is mh.data.Batch


def test_what_changes_the_weights_forgets_the_loss(wrapper, xor):
    """Its gradient would be that of other weights."""
    model = wrapper()
    n = model.weights.size
    kept = model.snapshot()
    delta = WeightDelta({str(p.id): np.zeros(p.shape, np.float32) for p in model.model.named_params().values()})
    changes = (
        lambda: model.apply_weight_delta(delta),
        lambda: model.move(np.zeros(n, np.float32)),
        lambda: model.place(model.weights.copy()),
        lambda: model.restore(kept),
        model.cancel,
    )
    for change in changes:
        model.forward(xor)
        change()
        with pytest.raises(RuntimeError, match="there is no loss to start from"):
            model.backward()
        model.forward(xor)
        model.backward()
        change()
        with pytest.raises(RuntimeError, match="there are no gradients"):
            model.gradient_into(np.empty(n, np.float32))
