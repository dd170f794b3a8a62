// Draws of minihybrid.Rng on the device. Their twins are the methods of the same names in minihybrid/rng.py.
//
// One thread makes one block of four words, and the four numbers that come of them.
#include "common.cuh"
#include "philox.cuh"

// Key and counter arrive by value, which is no copy from the host's memory, and needs nobody to wait.
extern "C" __global__ void set_stream(word* stream, word k0, word k1, word c0, word c1, word c2, word c3) {
    stream[0] = k0, stream[1] = k1;
    stream[2] = c0, stream[3] = c1, stream[4] = c2, stream[5] = c3;
}

// low + span * u. Equal to the CPU's to the bit.
extern "C" __global__ void uniform(real* out, const word* stream, long long n, double low, double span) {
    for (long long block = thread_in_grid(); 4 * block < n; block += threads_in_grid()) {
        const Words words = philox(stream, block);
        for (int i = 0; i < 4 && 4 * block + i < n; ++i)
            out[4 * block + i] = unit(words.at[i], real()) * (real)span + (real)low;
    }
}

// mean + std * z, two from two words (Box and Muller, 1958), in double for either type. Logarithm, sine and cosine are
// the device's own and differ from the CPU's in their last bit at times: float64 numbers by some 4 ulp, float32 ones
// hardly ever, and then by one.
extern "C" __global__ void normal(real* out, const word* stream, long long n, double mean, double std) {
    for (long long block = thread_in_grid(); 4 * block < n; block += threads_in_grid()) {
        const Words words = philox(stream, block);
        for (int i = 0; i < 4; i += 2) {
            const double radius = sqrt(-2.0 * log1p(-unit(words.at[i], double())));
            double sine, cosine;
            sincos(unit(words.at[i + 1], double()) * 6.283185307179586, &sine, &cosine);
            if (4 * block + i < n) out[4 * block + i] = (real)(radius * cosine * std + mean);
            if (4 * block + i + 1 < n) out[4 * block + i + 1] = (real)(radius * sine * std + mean);
        }
    }
}

// Whether the float64 uniform number of the word is < p, where threshold = ceil(p 2^53). Equal to the CPU's.
extern "C" __global__ void bernoulli(bool* out, const word* stream, long long n, long long threshold) {
    for (long long block = thread_in_grid(); 4 * block < n; block += threads_in_grid()) {
        const Words words = philox(stream, block);
        for (int i = 0; i < 4 && 4 * block + i < n; ++i) out[4 * block + i] = (words.at[i] >> 11) < (word)threshold;
    }
}

// The factors of dropout: `scale` where bernoulli says true, else 0. They are kept for the backward pass, which reads one
// number where drawing again would take ten rounds of 64-bit products.
extern "C" __global__ void dropout_factors(real* out, const word* stream, long long n, long long threshold,
                                           double scale) {
    for (long long block = thread_in_grid(); 4 * block < n; block += threads_in_grid()) {
        const Words words = philox(stream, block);
        for (int i = 0; i < 4 && 4 * block + i < n; ++i)
            out[4 * block + i] = (words.at[i] >> 11) < (word)threshold ? (real)scale : 0;
    }
}
