"""Plans on a GPU are launches of graphs, equal to the tape; what a graph cannot hold is found when a plan is made."""

import itertools
import warnings

import numpy as np
import pytest

import minihybrid as mh
from benchmarks.contenders.ours import loss_of, model_of
from benchmarks.workloads import CNN, MLP, Transformer
from minihybrid.autodiff.trace import opaque_call
from minihybrid.device import Device
from minihybrid.hybrid.delta import WeightDelta, apply_deltas_to_model
from minihybrid.module.module import pack
from minihybrid.optim import GradientsParams
from tests.cuda import graphs, strict_cupy
from tests.cuda.graphs import CaptureError
from tests.train import steps

WORKLOADS = {
    "perceptron": MLP("perceptron", 8, sizes=(20, 16, 10)),
    "regression": MLP("regression", 4, sizes=(2, 16, 1)),
    "convolutions": CNN("convolutions", 4),
    "transformer": Transformer("transformer", 2, layers=1, d=16, length=8, heads=2, hidden=32, vocabulary=11),
}
ONE_GRAPH = ["set", "memcpy", "memcpy", "graph", "copy"]  # the numbers, the inputs, the step, the loss


def training(loss_function, clip=None):
    def train(model, optimizer, x, y, lr):
        loss = loss_function(model(x), y)
        grads = GradientsParams.from_grads(loss.backward(), model)
        if clip is not None:
            grads = mh.optim.clip_global_norm(grads, clip[0])
        return optimizer.step(lr, model, grads), loss.detach()

    return train


def prepared(workload, device):
    x, y = map(device.array, workload.data())
    model = model_of(workload).to(device)
    pack(model)  # norms are added up parameter by parameter where they are not yet one vector
    return model, mh.optim.Adam(), (x if isinstance(workload, Transformer) else mh.Tensor(x)), y


def as_on_the_host(model, optimizer):
    weights = [param.numpy() for param in model.named_params().values()]
    return [*weights, *(vector.get() for vector in optimizer._vectors.values())]


def assert_same(cuda, found, expected):
    """To the bit on the stand-in; on a real device what is added up in another order may differ."""
    for a, b in zip(found, expected, strict=True):
        if cuda.xp is strict_cupy.cupy:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_plan_trains_as_the_tape_does(cuda, name):
    compare(cuda, name, steps=6)


@pytest.mark.parametrize("name", ["perceptron", "transformer"])
def test_a_plan_of_kernels_trains_as_the_tape_does(strict, emulated, name):
    plan = compare(strict, name, steps=4)
    assert len(plan.graphs) == 1 and not [part.reason for part in plan._parts if part.reason]


def compare(cuda, name, steps):
    workload = WORKLOADS[name]
    train = training(loss_of(workload), clip=(1.0,))
    compiled = mh.compile(train)
    model, optimizer, x, y = prepared(workload, cuda)
    twin, other, *_ = prepared(workload, cuda)
    for i in range(steps):
        lr = 0.01 / (i + 1)
        model, loss = compiled(model, optimizer, x, y, lr)
        twin, expected = train(twin, other, x, y, lr)
        assert_same(cuda, [loss.numpy()], [expected.numpy()])
    assert_same(cuda, as_on_the_host(model, optimizer), as_on_the_host(twin, other))
    (plan,) = compiled.plans
    assert plan.graphs and all(graph.captured for graph in plan.graphs)
    return plan


def dropping():
    rng = mh.Rng(0)
    hidden = [
        [mh.nn.LinearConfig(12, 12).init(rng), mh.nn.Tanh(), mh.nn.DropoutConfig(0.3).init(rng)] for _ in range(2)
    ]
    return mh.nn.Sequential([*itertools.chain(*hidden), mh.nn.LinearConfig(12, 5).init(rng)])


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
@pytest.mark.parametrize("rows", [[0, 2, 0, -1], [[1, 1], [-3, 1]], 2, []])
def test_rows_picked_by_an_array_are_added_up_in_their_order(cuda, emulated, shape, rows):
    """By a kernel that a graph can hold, and not by CuPy's add.at."""

    def gradient(x, rows):
        x = x.require_grad()
        return (x[rows] ** 2).sum().backward()[x]

    def on(device):
        x = mh.Tensor(device.array(np.random.default_rng(0).normal(size=shape).astype(np.float32)))
        return x, mh.Tensor(device.array(np.array(rows, np.int64)))

    compiled = mh.compile(gradient)
    expected = gradient(*on(Device("cpu"))).numpy()
    for _ in range(3):
        np.testing.assert_allclose(compiled(*on(cuda)).numpy(), expected, rtol=1e-6)
    assert not [part.reason for part in compiled.plans[0]._parts if part.reason]


def test_dropout_draws_as_the_tape_does(cuda, emulated):
    step, x, y = mh.compile(steps.train), cuda.array(steps.X[:5]), cuda.array(steps.Y[:5])
    models, optimizers = [dropping().to(cuda) for _ in range(2)], [mh.optim.Adam(), mh.optim.Adam()]
    for _ in range(4):
        models[0], loss = step(models[0], optimizers[0], x, y, 0.01)
        models[1], expected = steps.train(models[1], optimizers[1], x, y, 0.01)
        assert_same(cuda, [loss.numpy()], [expected.numpy()])
    streams = [[rng.state() for rng in model.named_rngs().values()] for model in models]
    assert streams[0] == streams[1]
    assert len(step.plans[0].graphs) == 1  # where the streams stand is told before


def test_where_a_stream_stands_is_kept_until_a_kernel_reads_it(strict, emulated):
    rng = mh.Rng(0)
    linear = [mh.nn.LinearConfig(n, m).init(rng) for n, m in ((12, 64), (64, 4))]
    model = mh.nn.Sequential([linear[0], mh.nn.Tanh(), linear[1], mh.nn.DropoutConfig(0.5).init(rng)]).to(strict)
    twin, forward = model.clone(), mh.compile(lambda model, x: model(x))
    x = mh.Tensor(strict.array(steps.X[:5]))
    for _ in range(3):  # the place of what is wide is free again when the stream is read
        np.testing.assert_array_equal(forward(model, x).numpy(), twin(x).numpy())


def test_a_step_is_one_launch(machine, strict, emulated):
    workload = MLP("784-128-10 b64", 64, sizes=(784, 128, 10))
    step = mh.compile(training(loss_of(workload)))
    model, optimizer, x, y = prepared(workload, strict)
    for _ in range(2):
        model, _ = step(model, optimizer, x, y, 0.01)
    with machine.counting() as launches, strict_cupy.counting() as counts:
        model, _ = step(model, optimizer, x, y, 0.01)
    assert launches == ONE_GRAPH and not counts.reads


def test_a_number_that_changes_is_no_part_of_the_graph(machine, strict):
    workload = WORKLOADS["regression"]
    step = mh.compile(training(loss_of(workload)))
    model, optimizer, x, y = prepared(workload, strict)
    seen = []
    for lr in (0.1, 0.01, 0.001, 0.0, 0.5):
        model, _ = step(model, optimizer, x, y, lr)
        (graph,) = step.plans[0].graphs
        seen.append(graph._graph)
    assert seen[0] is None and len(set(map(id, seen[1:]))) == 1


def test_new_shapes_make_new_graphs(machine, strict):
    workload = WORKLOADS["regression"]
    step = mh.compile(training(loss_of(workload)))
    model, optimizer, x, y = prepared(workload, strict)
    for rows in (4, 3, 4, 3, 4, 3):
        model, _ = step(model, optimizer, x[:rows], y[:rows], 0.1)
    assert len(step.plans) == 2
    with machine.counting() as launches:
        step(model, optimizer, x[:4], y[:4], 0.1)
    assert launches == ONE_GRAPH


def test_inputs_may_lie_in_memory_in_any_order(cuda):
    def function(x):
        return mh.Tensor(np.tanh(x.array * 2) + 1)

    compiled = mh.compile(function)
    columns = cuda.array(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)).T
    for x in (columns, columns.copy(), columns[:, ::-1], columns.copy(), columns, columns[:, ::-1].copy()):
        np.testing.assert_array_equal(compiled(mh.Tensor(x)).numpy(), function(mh.Tensor(x)).numpy())


def test_weights_may_be_moved_between_the_launches(cuda):
    """What a trainer does that predicts: deltas, snapshots, steps of the tape; the storage stays where it is."""
    workload = WORKLOADS["perceptron"]
    train = training(loss_of(workload))
    compiled = mh.compile(train)
    model, optimizer, x, y = prepared(workload, cuda)
    twin, other, *_ = prepared(workload, cuda)
    kept = None
    for i in range(8):
        model, loss = compiled(model, optimizer, x, y, 0.01)
        twin, expected = train(twin, other, x, y, 0.01)
        assert_same(cuda, [loss.numpy()], [expected.numpy()])
        if i in (2, 4):
            deltas = [WeightDelta.from_flat(each, pack(each).values * 0 + 0.25) for each in (model, twin)]
            model, twin = (
                apply_deltas_to_model(each, delta) for each, delta in zip((model, twin), deltas, strict=True)
            )
        if i == 3:
            kept = model.snapshot(), twin.snapshot()
        if i == 6:
            model, twin = model.restore(kept[0]), twin.restore(kept[1])
    assert len(compiled.plans) == 1
    assert_same(cuda, as_on_the_host(model, optimizer), as_on_the_host(twin, other))


def test_memory_stays_flat(cuda):
    workload = WORKLOADS["perceptron"]
    step = mh.compile(training(loss_of(workload)))
    model, optimizer, x, y = prepared(workload, cuda)
    used = []
    for i in range(60):
        model, _ = step(model, optimizer, x, y, 0.01)
        if i >= 10:
            used.append(cuda.memory_in_use())
    assert max(used) == used[0]


# What a graph cannot hold


def around(middle):
    """A compiled function of arrays with something between calls that can be captured."""

    def function(x):
        a = np.tanh(x.array * 2) + 1
        return mh.Tensor(np.exp(middle(a) * 3) - 1)

    return mh.compile(function), function


def host_code(array):
    return array.sum() * 1


def through_a_mask(array):
    copy = array.copy()
    copy[copy > 1.2] = 0
    return copy


APART = {
    "picked by a list": (lambda a: a[[2, 0]], "getitem is given a list, which has to be copied to the device"),
    "picked by a tuple": (lambda a: a[:, (2, 0)], "getitem is given a list, which has to be copied to the device"),
    "taken by a list": (lambda a: np.take(a, [2, 0], 0), "take is given a list, which has to be copied to the device"),
    "written through a mask": (through_a_mask, "an index with a mask waits for the device"),
    "sorted": (lambda a: np.sort(a, axis=0), "sort is not known to be kernels alone"),
    "nine arrays joined": (
        lambda a: np.concatenate([a] * 9),
        "concatenate of more than 8 arrays copies their addresses",
    ),
    "nine arrays stacked": (lambda a: np.stack([a] * 9), "stack of more than 8 arrays copies their addresses"),
    "a product by CuPy": (lambda a: np.matmul(a, a.T) @ a, "np.matmul goes through cuBLAS, by a handle of CuPy's"),
    "a fixed mask": (lambda a: a[np.array([True, False, True])], "getitem works with an array on the CPU"),
    "a function called whole": (lambda a: opaque_call(host_code, a), "host_code is not known to be kernels alone"),
}


@pytest.mark.parametrize("what", APART)
def test_what_cannot_be_captured_stays_between_two_graphs(machine, strict, what, capsys):
    middle, reason = APART[what]
    compiled, function = around(middle)
    for seed in range(4):
        x = mh.Tensor(strict.array(np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)))
        np.testing.assert_array_equal(compiled(x).numpy(), function(x).numpy())
    plan = compiled.plans[0]
    assert [graph.captured for graph in plan.graphs] == [True, True]
    compiled.show()
    assert f"# not captured: {reason}" in capsys.readouterr().out
    with machine.counting() as launches:
        compiled(x)
    assert launches.count("graph") == 2


def scaled(array, factor):
    return array * factor


def test_a_number_given_to_a_function_is_the_one_of_the_call(machine, strict):
    def function(x, factor):
        a = np.tanh(x.array) + 1
        return mh.Tensor(np.exp(opaque_call(scaled, a, factor * 2) - 1) * 3)

    compiled = mh.compile(function)
    x = mh.Tensor(strict.array(np.linspace(-1, 1, 5, dtype=np.float32)))
    for factor in (0.5, 0.25, 2.0, 0.5):
        np.testing.assert_array_equal(compiled(x, factor).numpy(), function(x, factor).numpy())
    assert len(compiled.plans) == 1 and len(compiled.plans[0].graphs) == 2
    assert "not captured: scaled is given a number that changes" in compiled.plans[0].show()


def test_a_capture_that_fails_is_told_and_the_calls_are_made(machine, strict, monkeypatch):
    compiled, function = around(lambda a: a + 1)
    monkeypatch.setattr("minihybrid.autodiff.graph.why_not", lambda call: "")
    monkeypatch.setattr("minihybrid.autodiff.plan.why_not", lambda call: "")
    compiled, function = around(lambda a: np.matmul(a, a.T) @ a)
    x = mh.Tensor(strict.array(np.ones((3, 4), np.float32)))
    compiled(x)
    with pytest.warns(RuntimeWarning, match="one by one: the capture failed with NotImplementedError: calling cuBLAS"):
        found = compiled(x)
    np.testing.assert_array_equal(found.numpy(), function(x).numpy())
    assert "the capture failed" in compiled.plans[0].show()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(compiled(x).numpy(), function(x).numpy())  # it is told once


def test_a_plan_on_the_cpu_has_no_graphs():
    step = mh.compile(steps.train)
    model, optimizer = steps.mlp(), mh.optim.Adam()
    for _ in range(3):
        model, _ = step(model, optimizer, steps.X, steps.Y, 0.1)
    assert step.plans[0].graphs == [] and "graph" not in step.plans[0].source


# The stand-in for graphs


@pytest.fixture
def stream(strict):
    return strict.xp.cuda.Stream(non_blocking=True)


def test_a_capture_does_nothing_and_a_launch_does_it(machine, strict, stream):
    x, y = strict.array(np.ones(3)), strict.array(np.zeros(3))
    with stream:
        stream.begin_capture()
        strict.xp.add(x, 1, y)
        strict.xp.multiply(y, y, y)
        y[:1] = 7
        graph = stream.end_capture()
    assert y.tolist() == [0, 0, 0]
    x[...] = 2
    with machine.counting() as launches:
        graph.launch()
    assert y.tolist() == [7, 9, 9] and launches == ["graph"]


@pytest.mark.parametrize(
    "forbidden, error",
    [
        (lambda x: x @ x, NotImplementedError),
        (lambda x: x.dot(x), NotImplementedError),
        (lambda x: np.linalg.inv(x), NotImplementedError),
        (lambda x: float(x.sum(out=x[0, 0])), CaptureError),
        (lambda x: x.get(), CaptureError),
        (lambda x: x[x > 0], CaptureError),
        (lambda x: x.set(np.zeros((2, 2))), CaptureError),
        (lambda x: np.concatenate([x] * 9, out=x), CaptureError),
        (lambda x: np.stack([x] * 9, out=x), CaptureError),
        (lambda x: x + 1, CaptureError),  # for which there is no memory
    ],
)
def test_what_cuda_and_cupy_refuse_while_a_stream_captures(machine, strict, stream, forbidden, error):
    x = strict.array(np.eye(2))
    with stream:
        stream.begin_capture()
        with pytest.raises(error):
            forbidden(x)
        stream.end_capture()


def test_the_null_stream_cannot_capture(machine, strict):
    with pytest.raises(RuntimeError, match="default"):
        strict.xp.cuda.Stream.null.begin_capture()


def test_the_allocator_of_a_graph_has_what_its_first_run_asked_for(machine, strict, stream):
    x, y = strict.array(np.ones(3)), strict.array(np.zeros(3))
    pool = strict.xp.cuda.MemoryPool()
    for capturing in (False, True):
        with stream, strict.xp.cuda.using_allocator(pool.malloc):
            if capturing:
                stream.begin_capture()
            y[...] = x + 1
            if capturing:
                with pytest.raises(CaptureError, match="allocated"):
                    x + 1
                graphs_made = stream.end_capture()
    x[...] = 5
    graphs_made.launch()
    assert y.tolist() == [6, 6, 6]
    assert isinstance(graphs_made, graphs.Graph)


def test_cupy_has_what_the_stand_in_adds_to_it():
    cuda = pytest.importorskip("cupy").cuda
    for owner, names in {
        cuda: "MemoryPool MemoryHook using_allocator get_elapsed_time get_current_stream",
        cuda.Stream: "begin_capture end_capture is_capturing record wait_event synchronize",
        cuda.Graph: "launch debug_dot_str",
        cuda.MemoryPool: "malloc",
        cuda.MemoryPointer: "copy_from_device_async ptr",
        cuda.Device: "compute_capability",
        cuda.runtime: "getDeviceProperties driverGetVersion runtimeGetVersion",
    }.items():
        assert [name for name in names.split() if not hasattr(owner, name)] == []
