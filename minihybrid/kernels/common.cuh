// What the kernels share: the float type, 16 bytes at once, and sums over the threads of a warp.
//
// Nothing here depends on the order in which threads happen to run, so equal inputs give equal bits. Sources are
// compiled without contraction (--fmad=false): a * b + c is rounded twice, as NumPy rounds it, and a fused
// multiply-add is written fma(a, b, c). CuPy adds -ftz=true: a float that is subnormal counts as 0, which it does
// not in NumPy; doubles are not concerned.
#pragma once

typedef REAL real; // float or double: the same source is compiled for each, with -DREAL=...

// The widest load and store of a thread is 16 bytes. A warp that makes it asks for 512 bytes in one instruction, and
// fewer instructions are in flight for the same bandwidth.
constexpr int WIDE = 16 / sizeof(real);
struct __align__(16) Pack {
    real at[WIDE];
};

// Whether arrays may be read in packs: a view of a flat vector can begin anywhere.
__device__ inline bool aligned(const void* a, const void* b = nullptr, const void* c = nullptr, const void* d = nullptr,
                               const void* e = nullptr) {
    typedef unsigned long long address;
    return ((address)a | (address)b | (address)c | (address)d | (address)e) % sizeof(Pack) == 0;
}

__device__ inline Pack load(const real* x, long long i) {
    return reinterpret_cast<const Pack*>(x)[i];
}

__device__ inline void store(real* x, long long i, const Pack& pack) {
    reinterpret_cast<Pack*>(x)[i] = pack;
}

// Where a thread stands in the whole grid, and how many there are. A loop from the one in steps of the other covers an
// array of any length with a grid of any size, and neighbours in a warp read neighbours in memory.
__device__ inline long long thread_in_grid() {
    return blockIdx.x * (long long)blockDim.x + threadIdx.x;
}

__device__ inline long long threads_in_grid() {
    return gridDim.x * (long long)blockDim.x;
}

// The sum over a warp, in every lane. Lanes trade partial sums with the lane whose number differs in one bit; both add
// the same two numbers, so after five trades all 32 hold the same bits.
__device__ inline real warp_sum(real x) {
    for (int bit = 16; bit > 0; bit /= 2) x += __shfl_xor_sync(0xffffffff, x, bit);
    return x;
}

__device__ inline real warp_max(real x) {
    for (int bit = 16; bit > 0; bit /= 2) x = fmax(x, __shfl_xor_sync(0xffffffff, x, bit));
    return x;
}

// The sum over a block of at most 1024 threads, a multiple of 32, in the threads of its first warp. `sums` is shared
// memory for 32 numbers.
__device__ inline real block_sum(real x, real* sums) {
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    const int warps = blockDim.x / 32;
    return threadIdx.x < 32 ? warp_sum(threadIdx.x < warps ? sums[threadIdx.x] : 0) : 0;
}
