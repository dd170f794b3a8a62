// Update rules over flat vectors, each in one walk through memory. The twins are `update_in_place` of optim/adam.py and
// optim/sgd.py, and give the same bits.
//
// A step is bound by bandwidth alone: Adam reads four vectors and writes three. What changes from step to step (numbers
// made of the learning rate and the step count) is read from device memory, so that a recorded graph can be replayed.
#include "common.cuh"

struct Adam {
    real beta1, beta2, decay, shrink, eps, size;

    __device__ void step(real& w, real& m, real& v, real* v_max, real g) const {
        if (decay != 0) g += w * decay;
        w *= shrink;
        m = m * beta1 + g;
        v = v * beta2 + g * g;
        real spread = v;
        if (v_max) {
            spread = *v_max >= v || *v_max != *v_max ? *v_max : v; // NaN stays NaN
            *v_max = spread;
        }
        w -= m / (sqrt(spread) + eps) * size;
    }
};

// w, m, v and v_max (or null) [n] are updated; eps, size and shrink (or null) are numbers in device memory.
extern "C" __global__ void adam(real* w, real* m, real* v, real* v_max, const real* g, const real* eps,
                                const real* size, const real* shrink, long long n, double beta1, double beta2,
                                double decay) {
    const Adam rule{(real)beta1, (real)beta2, (real)decay, shrink ? *shrink : 1, *eps, *size};
    const long long packs = aligned(w, m, v, v_max, g) ? n / WIDE : 0;
    for (long long i = thread_in_grid(); i < packs; i += threads_in_grid()) {
        Pack w_pack = load(w, i), m_pack = load(m, i), v_pack = load(v, i), largest = {};
        const Pack g_pack = load(g, i);
        if (v_max) largest = load(v_max, i);
        for (int k = 0; k < WIDE; ++k)
            rule.step(w_pack.at[k], m_pack.at[k], v_pack.at[k], v_max ? &largest.at[k] : nullptr, g_pack.at[k]);
        store(w, i, w_pack);
        store(m, i, m_pack);
        store(v, i, v_pack);
        if (v_max) store(v_max, i, largest);
    }
    for (long long i = packs * WIDE + thread_in_grid(); i < n; i += threads_in_grid())
        rule.step(w[i], m[i], v[i], v_max ? v_max + i : nullptr, g[i]);
}

struct Sgd {
    real lr, momentum, keep, decay;
    bool nesterov;

    __device__ void step(real& w, real* b, real g) const {
        if (decay != 0) g += w * decay;
        if (b) {
            *b = *b * momentum + g * keep;
            g = nesterov ? g * keep + *b * momentum : *b;
        }
        w -= g * lr;
    }
};

// w and b, the momentum (or null), [n] are updated; lr is a number in device memory. `keep` is 1 - dampening.
extern "C" __global__ void sgd(real* w, real* b, const real* g, const real* lr, long long n, double momentum,
                               double keep, double decay, long long nesterov) {
    const Sgd rule{*lr, (real)momentum, (real)keep, (real)decay, nesterov != 0};
    const long long packs = aligned(w, b, g) ? n / WIDE : 0;
    for (long long i = thread_in_grid(); i < packs; i += threads_in_grid()) {
        Pack w_pack = load(w, i), b_pack = {};
        const Pack g_pack = load(g, i);
        if (b) b_pack = load(b, i);
        for (int k = 0; k < WIDE; ++k) rule.step(w_pack.at[k], b ? &b_pack.at[k] : nullptr, g_pack.at[k]);
        store(w, i, w_pack);
        if (b) store(b, i, b_pack);
    }
    for (long long i = packs * WIDE + thread_in_grid(); i < n; i += threads_in_grid())
        rule.step(w[i], b ? b + i : nullptr, g[i]);
}
