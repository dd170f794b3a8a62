// Rows added up by label, the gradient of an embedding. The twin is `_add_up` in autodiff/ops/embedding.py.
//
// The usual way, one atomic addition for each row of x, adds in whatever order the threads come, and float sums depend
// on it. Here a block owns a row of the result and looks for its label in all of them, in order: more reading, of
// numbers that lie in the cache, but the same bits each time.
#include "common.cuh"

// out [count, columns], x [n, columns], labels [n]; labels outside of 0..count-1 count for nothing.
extern "C" __global__ void segment_sum(real* out, const real* x, const long long* labels, long long count, long long n,
                                       long long columns) {
    __shared__ unsigned found[32]; // for each warp, which of its lanes hold the label
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    // A thread sums one column, and a second walk takes over where there are more columns than threads.
    for (long long first = 0; first < columns; first += blockDim.x) {
        const long long column = first + threadIdx.x;
        real sum = 0;
        for (long long begin = 0; begin < n; begin += blockDim.x) {
            const long long mine = begin + threadIdx.x;
            const unsigned votes = __ballot_sync(0xffffffff, mine < n && labels[mine] == blockIdx.x);
            if (lane == 0) found[warp] = votes;
            __syncthreads();
            for (int w = 0; w < warps; ++w)
                for (unsigned left = found[w]; left != 0; left &= left - 1) { // each set bit, the lowest first
                    const long long row = begin + 32 * w + __ffs(left) - 1;
                    if (column < columns) sum += x[row * columns + column];
                }
            __syncthreads();
        }
        if (column < columns) out[blockIdx.x * columns + column] = sum;
    }
}
