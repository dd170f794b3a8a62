// Rows brought to mean 0 and variance 1, the core of layer norm, forward and backward; the twins are in
// autodiff/ops/norm.py.
//
// One warp takes one row. The mean is known before the squares are summed: the difference of mean(x * x) and the square
// of the mean would save a walk along the row, which lies in the cache, and cancel where the mean is large.
#include "common.cuh"

// out = (x - mean) / deviation; deviation [rows] = sqrt(variance + eps). Without `centred` the mean is left alone.
extern "C" __global__ void standardize(real* out, real* deviation, const real* x, long long rows, long long columns,
                                       double eps, long long centred) {
    const long long row = thread_in_grid() / 32;
    if (row >= rows) return; // the whole warp
    const int lane = threadIdx.x % 32;
    x += row * columns, out += row * columns;

    real mean = 0;
    if (centred) {
        for (long long i = lane; i < columns; i += 32) mean += x[i];
        mean = warp_sum(mean) / (real)columns;
    }
    real variance = 0;
    for (long long i = lane; i < columns; i += 32) {
        const real distance = x[i] - mean;
        variance += distance * distance;
    }
    variance = warp_sum(variance) / (real)columns;
    const real root = sqrt(variance + (real)eps);
    for (long long i = lane; i < columns; i += 32) out[i] = (x[i] - mean) / root;
    if (lane == 0) deviation[row] = root;
}

// dx = (g - mean(g * out) * out - mean(g)) / deviation, the last mean where `centred`.
extern "C" __global__ void standardize_gradient(real* dx, const real* g, const real* out, const real* deviation,
                                                long long rows, long long columns, long long centred) {
    const long long row = thread_in_grid() / 32;
    if (row >= rows) return;
    const int lane = threadIdx.x % 32;
    dx += row * columns, g += row * columns, out += row * columns;

    real along = 0, mean = 0;
    for (long long i = lane; i < columns; i += 32) {
        along += g[i] * out[i];
        mean += g[i];
    }
    along = warp_sum(along) / (real)columns;
    mean = centred ? warp_sum(mean) / (real)columns : 0;
    for (long long i = lane; i < columns; i += 32) dx[i] = (out[i] * -along + g[i] - mean) / deviation[row];
}
