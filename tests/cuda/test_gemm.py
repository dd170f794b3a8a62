"""Matrix products through cuBLAS's interface: what it is told fits arrays that lie in memory in any order."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import minihybrid as mh
from minihybrid.autodiff.product import dot, product, sum_of_products
from minihybrid.kernels import cublas, gemm
from minihybrid.kernels.cublas import CublasError, layout


def arranged(array, order, device):
    """The array on the device, with other strides."""
    made = device.array(array)
    if order == "columns" and array.ndim > 1:
        made = made.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    if order == "part":
        wide = device.array(np.zeros([n + 2 for n in array.shape], array.dtype))
        wide[tuple(slice(1, n + 1) for n in array.shape)] = made
        made = wide[tuple(slice(1, n + 1) for n in array.shape)]
    if order == "every second":
        wide = device.array(np.zeros([2 * n for n in array.shape], array.dtype))
        wide[tuple(slice(None, None, 2) for n in array.shape)] = made
        made = wide[tuple(slice(None, None, 2) for n in array.shape)]
    return made


orders = st.sampled_from(["rows", "columns", "part", "every second"])
sizes = st.sampled_from([0, 1, 2, 3, 7])
batches = st.sampled_from(
    [((), ()), ((2,), (2,)), ((2, 3), (2, 3)), ((3,), ()), ((), (2,)), ((2, 1), (3,)), ((1,), (4,))]
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_arrays_in_any_order(cuda, dtype):
    @settings(max_examples=150)
    @given(sizes, sizes, sizes, batches, orders, orders, st.integers(0, 9))
    def agrees(n, k, m, batch, order_x, order_y, seed):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(*batch[0], n, k)).astype(dtype), rng.normal(size=(*batch[1], k, m)).astype(dtype)
        found = product(arranged(x, order_x, cuda), arranged(y, order_y, cuda))
        assert found.dtype == dtype and found.flags.c_contiguous
        np.testing.assert_allclose(found.get(), x @ y, rtol=1e-5, atol=1e-6)

    agrees()


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)), ((3,), (4, 3, 2))])
def test_vectors_are_a_row_and_a_column(strict, shapes):
    x, y = (np.random.default_rng(0).normal(size=shape) for shape in shapes)
    np.testing.assert_allclose(product(strict.array(x), strict.array(y)).get(), x @ y, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, k, m", [(1, 1, 1), (5, 3, 2), (17, 33, 16), (3, 0, 2)])
def test_both_routes_give_a_product_and_a_bias(cuda, emulated, dtype, n, k, m):
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=shape).astype(dtype) for shape in ((n, k), (k, m), (m,)))
    for way in gemm.ROUTES.values():
        for order in ("rows", "columns"):
            out = cuda.array(np.full((n, m), np.nan, dtype))
            way(out, arranged(a, order, cuda), arranged(b, order, cuda), cuda.array(bias))
            np.testing.assert_allclose(out.get(), a @ b + bias, rtol=1e-5, atol=1e-6)


def test_the_route_is_a_matter_of_shapes(monkeypatch):
    assert gemm.route(64, 128, 10) == "tiled" and gemm.route(64, 784, 128) == "cublas"
    assert gemm.route(4096, 64, 4096) == "cublas" and gemm.route(4, 2, 16, count=3) == "cublas"


def test_a_plan_takes_the_route_of_the_tape(strict, emulated, monkeypatch):
    monkeypatch.setattr(gemm, "DEEPEST", 256)
    layer = mh.nn.LinearConfig(3, 2).init(mh.Rng(0)).to(strict)
    x = mh.Tensor(strict.array(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)))
    forward = mh.compile(lambda model, x: model(x))
    for _ in range(3):
        np.testing.assert_array_equal(forward(layer, x).numpy(), layer(x).numpy())
    np.testing.assert_allclose(layer(x).numpy(), layer.to("cpu")(mh.Tensor(x.numpy())).numpy(), rtol=1e-5)


def test_a_product_is_written_where_it_is_told_to_and_is_one_launch(machine, strict):
    x, y = (strict.array(np.random.default_rng(0).normal(size=shape)) for shape in ((4, 3), (3, 2)))
    out = strict.array(np.zeros((4, 2)))
    with machine.counting() as launches:
        assert dot(x, y, out) is out
    assert launches == ["gemm"]
    np.testing.assert_allclose(out.get(), x.get() @ y.get())


def test_shapes_that_do_not_fit(strict):
    with pytest.raises(ValueError, match=r"mismatch in its core dimension: x is \(2, 3\), y \(2, 3\)"):
        product(strict.array(np.ones((2, 3))), strict.array(np.ones((2, 3))))


def test_other_dtypes_go_to_cupy(strict):
    x = strict.array(np.arange(6).reshape(2, 3))
    assert product(x, x.T).get().tolist() == [[5, 14], [14, 50]]


def test_of_other_dtypes_it_is_written_where_it_is_told_to(strict):
    x, out = strict.array(np.arange(6, dtype=np.float16).reshape(2, 3)), strict.array(np.zeros((2, 2), np.float16))
    assert dot(x, x.T, out) is out
    assert out.get().tolist() == [[5, 14], [14, 50]]


def test_the_sum_of_products(strict):
    x = strict.array(np.arange(6.0).reshape(2, 3))
    assert sum_of_products(x, x).item() == 55 == sum_of_products(x.get(), x.get())


@pytest.mark.parametrize(
    "strides, shape, expected",
    [
        ((24, 8), (2, 3), (False, 3, 0)),
        ((8, 16), (2, 3), (True, 2, 0)),
        ((80, 8), (2, 3), (False, 10, 0)),
        ((48, 24, 8), (5, 2, 3), (False, 3, 6)),
        ((0, 24, 8), (5, 2, 3), (False, 3, 0)),
        ((96, 48, 24, 8), (4, 2, 2, 3), (False, 3, 6)),
        ((0, 48, 24, 8), (4, 2, 2, 3), None),  # two steps for one axis
        ((48, 16), (2, 3), None),
        ((0, 8), (2, 3), None),
        ((24, 12), (2, 3), None),
        ((7777, 8), (1, 3), None),
        ((7776, 8), (1, 3), (False, 3, 0)),  # the step along one row means nothing
    ],
)
def test_what_cublas_can_step_through(strides, shape, expected):
    array = np.lib.stride_tricks.as_strided(np.zeros(2000), shape, strides)
    found = layout(array)
    assert found == expected if expected is None else tuple(found) == expected


def test_the_workspace_is_set_again_with_the_stream(strict):
    x = strict.array(np.ones((2, 2), np.float32))
    dot(x, x)
    handle = cublas.cublas(strict.xp, 0)
    assert handle._library.workspace == 32 * cublas.MIB
    with strict.xp.cuda.Stream(non_blocking=True):
        dot(x, x)
    assert handle._library.workspace == 32 * cublas.MIB  # which a new stream has set to nothing in between


def test_a_handle_ends_with_its_thread(strict):
    x, libraries = strict.array(np.ones((2, 2), np.float32)), []

    def work():
        dot(x, x)
        libraries.append(cublas.cublas(strict.xp, 0)._library)
        assert libraries[0].handles == 1

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert libraries[0].handles == 0


def test_what_cublas_refuses_is_a_sentence(strict, monkeypatch):
    x = strict.array(np.ones((2, 2), np.float32))
    dot(x, x)
    monkeypatch.setattr(cublas.cublas(strict.xp, 0)._library, "cublasSgemm_v2", lambda *args: 7)
    with pytest.raises(CublasError, match=r"cublasSgemm_v2 failed: an unsupported value .* \(status 7\)"):
        dot(x, x)


def test_arrays_it_cannot_step_through_are_refused_not_misread(strict):
    x = strict.array(np.ones((4, 4), np.float32))
    with pytest.raises(ValueError, match="copy the array first"):
        cublas.cublas(strict.xp, 0).multiply(x[:2, :2].copy(), x[::2, ::2], x[:2, :2])
