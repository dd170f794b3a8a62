// Philox4x64-10 (Salmon, Moraes, Dror and Shaw, SC 2011, section 4.3): the same words as minihybrid/rng.py.
//
// A stream is six words in device memory: the key (2) and the counter (4, lowest first) from which a draw goes on.
// Block i of the draw is philox(key, counter + 1 + i), so each thread makes its own words, and asks nobody.
#pragma once

typedef unsigned long long word;

struct Words {
    word at[4];
};

__device__ inline Words philox(const word* stream, word block) {
    word k0 = stream[0], k1 = stream[1];
    // counter + 1 + block, with carries: adding 1 to the block overflows for no array that fits into memory.
    word c0 = stream[2] + (block + 1);
    word carry = c0 < stream[2];
    word c1 = stream[3] + carry;
    carry = carry && c1 == 0;
    word c2 = stream[4] + carry;
    carry = carry && c2 == 0;
    word c3 = stream[5] + carry;
    for (int round = 0; round < 10; ++round) {
        const word high0 = __umul64hi(0xD2E7470EE14C6C93ull, c0), low0 = 0xD2E7470EE14C6C93ull * c0;
        const word high1 = __umul64hi(0xCA5A826395121157ull, c2), low1 = 0xCA5A826395121157ull * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15ull; // the golden ratio
        k1 += 0xBB67AE8584CAA73Bull; // sqrt(3) - 1
    }
    return {{c0, c1, c2, c3}};
}

// The one rule from bits to a float in [0, 1): as many top bits as the significand holds, so nothing rounds.
__device__ inline float unit(word bits, float) {
    return (float)(bits >> 40) * (1.0f / (1 << 24));
}

__device__ inline double unit(word bits, double) {
    return (double)(bits >> 11) * (1.0 / (1ll << 53));
}
