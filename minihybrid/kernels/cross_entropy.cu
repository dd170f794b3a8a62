// The cross-entropy of logits and labels, forward and backward. The twins are in autodiff/ops/softmax.py.
//
// One warp takes one row: its lanes walk along the classes side by side, and what all of them need (the largest logit,
// the sum of exponentials) goes from lane to lane by shuffles, without shared memory and barriers.
#include "common.cuh"

__device__ inline long long warp_in_grid() {
    return thread_in_grid() / 32;
}

// probabilities [rows, classes] = softmax(logits); losses [rows] = -sum of target * log(probabilities), where target is
// 1 - smoothing at the label plus smoothing / classes everywhere. A label outside of 0..classes-1 gives a loss of NaN:
// asking on the host would wait for the device.
extern "C" __global__ void cross_entropy(real* probabilities, real* losses, const real* logits, const long long* labels,
                                         long long rows, long long classes, double smoothing) {
    const long long row = warp_in_grid();
    if (row >= rows) return; // the whole warp
    const int lane = threadIdx.x % 32;
    const real* x = logits + row * classes;
    real* p = probabilities + row * classes;

    real top = x[0];
    for (long long i = lane; i < classes; i += 32) top = fmax(top, x[i]);
    top = warp_max(top);
    real total = 0, shifts = 0;
    for (long long i = lane; i < classes; i += 32) {
        const real shifted = x[i] - top; // at most 0, so no exponential overflows
        p[i] = exp(shifted);
        total += p[i];
        shifts += shifted;
    }
    total = warp_sum(total);
    shifts = warp_sum(shifts);
    for (long long i = lane; i < classes; i += 32) p[i] /= total;

    if (lane == 0) {
        const long long label = labels[row];
        real target = 0 <= label && label < classes ? x[label] - top : (real)nan("");
        // Not a product with 0: the logit of an impossible class may be -inf.
        if (smoothing != 0) target = target * (real)(1 - smoothing) + shifts / (real)classes * (real)smoothing;
        losses[row] = log(total) - target;
    }
}

// out [] = the mean of x [n], by one block.
extern "C" __global__ void mean(real* out, const real* x, long long n) {
    __shared__ real sums[32];
    real sum = 0;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) *out = sum / (real)n;
}

// out = (probabilities - target) * g / rows, for the cotangent g [] of the mean.
extern "C" __global__ void cross_entropy_gradient(real* out, const real* g, const real* probabilities,
                                                  const long long* labels, long long rows, long long classes,
                                                  double smoothing) {
    const long long row = warp_in_grid();
    if (row >= rows) return;
    const real scale = *g / (real)rows, at_label = scale * (real)(1 - smoothing);
    const real everywhere = scale * (real)(smoothing / classes);
    const long long label = labels[row];
    for (long long i = threadIdx.x % 32; i < classes; i += 32) {
        real difference = probabilities[row * classes + i] * scale - everywhere;
        if (i == label) difference -= at_label;
        out[row * classes + i] = difference;
    }
}
