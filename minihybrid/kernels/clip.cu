// The factor that limits a norm, in two passes without atomic additions, whose order would change the last bits. The
// twin is `_factor` in optim/clip.py.
#include "common.cuh"

// partials[block] = the sum of squares of what the block walks along.
extern "C" __global__ void squares(real* partials, const real* x, long long n) {
    __shared__ real sums[32];
    real sum = 0;
    const long long packs = aligned(x) ? n / WIDE : 0;
    for (long long i = thread_in_grid(); i < packs; i += threads_in_grid()) {
        const Pack pack = load(x, i);
        for (int k = 0; k < WIDE; ++k) sum += pack.at[k] * pack.at[k];
    }
    for (long long i = packs * WIDE + thread_in_grid(); i < n; i += threads_in_grid()) sum += x[i] * x[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// factor [] = limit / max(norm, limit), where norm is the root of the sum of all partials; NaN if that is not finite.
extern "C" __global__ void clip_factor(real* factor, const real* partials, long long n, const real* limit) {
    __shared__ real sums[32];
    real sum = 0;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) sum += partials[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) {
        const real norm = sqrt(sum);
        *factor = isfinite(norm) ? *limit / fmax(norm, *limit) : (real)nan("");
    }
}
