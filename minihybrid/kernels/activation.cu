// What activation functions do to a cotangent, in one walk through memory. The twins are the formulas of the ops of the
// same names, and give the same bits.
#include "common.cuh"

__device__ inline real slope_times(real g, real out, int activation) {
    switch (activation) {
    case 1: return g * (real)(out > 0);  // relu; a product, so that what is not finite shows
    case 2: return g * (1 - out * out);  // tanh
    default: return g * out * (1 - out); // the sigmoid
    }
}

// dx [n] = g * the slope at the point where the activation gave `out`.
extern "C" __global__ void activation_gradient(real* dx, const real* g, const real* out, long long n,
                                               long long activation) {
    const long long packs = aligned(dx, g, out) ? n / WIDE : 0;
    for (long long i = thread_in_grid(); i < packs; i += threads_in_grid()) {
        const Pack g_pack = load(g, i), out_pack = load(out, i);
        Pack made;
        for (int k = 0; k < WIDE; ++k) made.at[k] = slope_times(g_pack.at[k], out_pack.at[k], (int)activation);
        store(dx, i, made);
    }
    for (long long i = packs * WIDE + thread_in_grid(); i < n; i += threads_in_grid())
        dx[i] = slope_times(g[i], out[i], (int)activation);
}
