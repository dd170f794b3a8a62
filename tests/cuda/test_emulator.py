"""The emulator runs kernels as CUDA would, and finds what CUDA would punish."""

import numpy as np
import pytest

from tests.cuda import emulator
from tests.cuda.emulator import EmulatorError, guarded

pytestmark = pytest.mark.skipif(emulator.compiler() is None, reason="running CUDA sources on the CPU needs g++")

SOURCE = r"""
extern "C" __global__ void scale(float* out, const float* x, long long n, float factor) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += step) out[i] = x[i] * factor;
}

extern "C" __global__ void reversed(float* out, const float* x) {  // of each block, through shared memory
    __shared__ float row[64];
    row[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
#ifndef NO_BARRIER
    __syncthreads();
#endif
    out[blockIdx.x * blockDim.x + threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void warp_sums(double* down, double* across, const double* x) {
    double sum = x[threadIdx.x], other = sum;
    for (int offset = 16; offset > 0; offset /= 2) {
        sum += __shfl_down_sync(0xffffffff, sum, offset);
        other += __shfl_xor_sync(0xffffffff, other, offset);
    }
    if (threadIdx.x % 32 == 0) down[threadIdx.x / 32] = sum;
    across[threadIdx.x] = other;
}

extern "C" __global__ void votes(unsigned* out) {
    const unsigned all = __ballot_sync(0xffffffff, threadIdx.x % 3 == 0);
    if (threadIdx.x == 0) *out = all;
}

extern "C" __global__ void uninitialised(float* out) {
    __shared__ float nothing[32];
    out[threadIdx.x] = nothing[threadIdx.x];
}

extern "C" __global__ void dynamic(int* out, int n) {
    extern __shared__ int numbers[];
    numbers[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = numbers[n - 1 - threadIdx.x];
}

extern "C" __global__ void beyond(float* out) { out[threadIdx.x] = 1; }
extern "C" __global__ void reads_beyond(float* out, const float* x) { out[threadIdx.x] = x[threadIdx.x + 1]; }
extern "C" __global__ void shared_beyond(float* out, int column) {
    __shared__ float tile[4][8];
    tile[threadIdx.x][column] = 1;
    out[threadIdx.x] = tile[threadIdx.x][0];
}
extern "C" __global__ void vector_load(float* out, const float* x) {
    const float4 all = *reinterpret_cast<const float4*>(x);
    *out = all.x + all.y + all.z + all.w;
}
extern "C" __global__ void half_a_barrier(float* out) {
    if (threadIdx.x % 2) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void two_barriers(float* out) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void half_a_shuffle(int* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_down_sync(0xffffffff, 1, 1);
}
extern "C" __global__ void first_come(int* next, int* out) { out[blockIdx.x] = atomicAdd(next, 1); }
"""


def module(*options: str) -> emulator.Module:
    return emulator.compile(SOURCE, options)


@pytest.mark.parametrize("n", [1, 31, 33, 100, 1000])
def test_a_grid_covers_an_array(n: int) -> None:
    x = guarded(np.arange(n, dtype=np.float32))
    out = guarded(np.zeros(n, np.float32))
    module().launch("scale", (3,), (32,), (out, x, n, np.float32(2)))
    assert np.array_equal(out, 2 * x)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_threads_wait_at_a_barrier_whatever_their_order(seed: int) -> None:
    x = guarded(np.arange(256, dtype=np.float32))
    out = guarded(np.zeros(256, np.float32))
    module().launch("reversed", (4,), (64,), (out, x), seed=seed)
    assert np.array_equal(out, x.reshape(4, 64)[:, ::-1].ravel())


def test_a_missing_barrier_shows() -> None:
    x, out = guarded(np.arange(64, dtype=np.float32)), guarded(np.zeros(64, np.float32))
    module("-DNO_BARRIER").launch("reversed", (1,), (64,), (out, x))
    assert np.isnan(out).any()


def test_shuffles_and_votes() -> None:
    x = guarded(np.random.default_rng(0).normal(size=64))
    down, across, out = guarded(np.zeros(2)), guarded(np.zeros(64)), guarded(np.zeros(1, np.uint32))
    module().launch("warp_sums", (1,), (64,), (down, across, x))
    module().launch("votes", (1,), (32,), (out,))
    assert np.allclose(down, x.reshape(2, 32).sum(1)) and np.allclose(across, np.repeat(down, 32))
    assert out[0] == sum(1 << lane for lane in range(0, 32, 3))


def test_dynamic_shared_memory() -> None:
    out = guarded(np.zeros(8, np.int32))
    module().launch("dynamic", (1,), (8,), (out, np.int32(8)), shared_mem=32)
    assert out.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_shared_memory_begins_as_nan() -> None:
    out = guarded(np.zeros(32, np.float32))
    module().launch("uninitialised", (2,), (32,), (out,))
    assert np.isnan(out).all()


def test_blocks_run_in_the_order_of_the_seed() -> None:
    def order(seed: int) -> list[int]:
        out = guarded(np.zeros(16, np.int32))
        module().launch("first_come", (16,), (1,), (guarded(np.zeros(1, np.int32)), out), seed=seed)
        return out.tolist()

    assert order(0) == list(range(16))
    assert order(1) == order(1) != order(0)
    assert sorted(order(2)) == list(range(16))


@pytest.mark.parametrize(
    "kernel, block, args, sentence",
    [
        ("beyond", 9, lambda f: (f(8),), "outside of an array"),
        ("beyond", 8, lambda f: (f(7),), "bytes beside an array"),
        ("reads_beyond", 8, lambda f: (f(8), f(8)), "outside of an array"),
        ("shared_beyond", 5, lambda f: (f(5), np.int32(0)), "index 4 .* outside of the array"),
        ("shared_beyond", 4, lambda f: (f(4), np.int32(-1)), "index -1 .* outside of the array"),
        ("vector_load", 1, lambda f: (f(1), f(9)[1:]), "not aligned"),
        ("half_a_barrier", 32, lambda f: (f(32),), "not reached by all threads of the block"),
        ("two_barriers", 32, lambda f: (f(32),), "not reached by all threads of the block"),
        ("half_a_shuffle", 32, lambda f: (guarded(np.zeros(32, np.int32)),), "not reached by all threads of the warp"),
        ("scale", 32, lambda f: (f(4), f(4), 4), "takes 4 arguments"),
        ("scale", 32, lambda f: (f(4), f(4), 4, 2.0), "argument 3 is a floating-point number of 4 bytes"),
        ("scale", 32, lambda f: (f(4), f(4), np.int32(4), np.float32(1)), "argument 2 is an integer of 8 bytes"),
        ("scale", 32, lambda f: (f(4), None, 4, np.float32(1)), "argument 1 is a pointer"),
        ("scale", 0, lambda f: (f(4), f(4), 4, np.float32(1)), "no block has the size"),
        ("scale", 2048, lambda f: (f(4), f(4), 4, np.float32(1)), "no block has the size"),
        ("nowhere", 32, lambda f: (), "there is no kernel"),
    ],
)
def test_what_cuda_would_punish(kernel, block, args, sentence) -> None:
    def zeros(n: int) -> np.ndarray:
        return guarded(np.zeros(n, np.float32))

    with pytest.raises(EmulatorError, match=sentence):
        module().launch(kernel, (1,), (block,), args(zeros))
    out = zeros(32)  # and the next launch is as if nothing had happened
    module().launch("beyond", (1,), (32,), (out,))
    assert (out == 1).all()


def test_arrays_off_their_alignment() -> None:
    for offset in range(4):
        array = guarded(np.arange(7, dtype=np.float32), offset)
        assert array.ctypes.data % 16 == 4 * offset and array.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_source_that_is_no_cpp_is_refused() -> None:
    with pytest.raises(EmulatorError, match="refuses the source"):
        emulator.compile('extern "C" __global__ void broken() { nonsense }')
