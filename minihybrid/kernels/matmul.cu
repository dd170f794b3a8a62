// Matrix products of layers, small ones: out = activation(a @ b + bias), and the sums over rows for bias gradients.
//
// Two matrices of a few hundred rows and columns are so small that most of the device stands idle, and what counts is
// how long one block takes. So tiles are small, to have many blocks, and the next tiles are fetched while the last ones
// are multiplied. (For large matrices each thread should make more than one element, from registers: there cuBLAS is.)
#include "common.cuh"

constexpr int TILE = 16;  // rows and columns of the result that a block makes, one element for each of 256 threads
constexpr int DEPTH = 32; // how far it goes along the summed axis between two barriers
constexpr int FETCHED = TILE * DEPTH / (TILE * TILE); // elements of either tile that a thread brings

__device__ inline real activate(real x, int activation) {
    switch (activation) {
    case 1: return x < 0 ? 0 : x; // relu; NaN stays NaN
    case 2: return tanh(x);
    case 3: return tanh(x * (real)0.5) * (real)0.5 + (real)0.5; // the sigmoid
    default: return x;
    }
}

// a [rows, depth], b [depth, columns], out [rows, columns]; bias [columns] or null. a and b lie in memory as their
// strides say, in elements, so a transposed matrix is the same matrix with its strides exchanged.
extern "C" __global__ void matmul(real* __restrict__ out, const real* __restrict__ a, const real* __restrict__ b,
                                  const real* __restrict__ bias, long long rows, long long columns, long long depth,
                                  long long a_row, long long a_column, long long b_row, long long b_column,
                                  long long activation) {
    __shared__ real a_tile[TILE][DEPTH + 1]; // an odd length spreads a column over all banks of shared memory
    __shared__ real b_tile[DEPTH][TILE + 1];
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE;
    const long long first_row = blockIdx.y * (long long)TILE, first_column = blockIdx.x * (long long)TILE;

    // Neighbours in a warp take neighbours in memory: along the axis of stride 1.
    const bool a_along = a_column == 1, b_along = b_column == 1;
    real a_next[FETCHED], b_next[FETCHED];
    const auto place = [&](int i, bool along, int length, int other) {
        const int number = threadIdx.x + i * TILE * TILE;
        return along ? make_int2(number / length, number % length) : make_int2(number % other, number / other);
    };
    const auto fetch = [&](long long begin) {
        for (int i = 0; i < FETCHED; ++i) {
            const int2 in_a = place(i, a_along, DEPTH, TILE), in_b = place(i, b_along, TILE, DEPTH);
            const long long row = first_row + in_a.x, a_depth = begin + in_a.y;
            const long long column = first_column + in_b.y, b_depth = begin + in_b.x;
            a_next[i] = row < rows && a_depth < depth ? a[row * a_row + a_depth * a_column] : 0;
            b_next[i] = column < columns && b_depth < depth ? b[b_depth * b_row + column * b_column] : 0;
        }
    };

    real sum = 0;
    fetch(0);
    for (long long begin = 0; begin < depth; begin += DEPTH) {
        for (int i = 0; i < FETCHED; ++i) {
            const int2 in_a = place(i, a_along, DEPTH, TILE), in_b = place(i, b_along, TILE, DEPTH);
            a_tile[in_a.x][in_a.y] = a_next[i];
            b_tile[in_b.x][in_b.y] = b_next[i];
        }
        __syncthreads();      // the tiles are complete
        fetch(begin + DEPTH); // arrives while the products below are made
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) sum = fma(a_tile[y][k], b_tile[k][x], sum);
        __syncthreads(); // nobody reads them any more
    }
    const long long row = first_row + y, column = first_column + x;
    if (row < rows && column < columns)
        out[row * columns + column] = activate(bias ? sum + bias[column] : sum, (int)activation);
}

// out[column] = sum of x[:, column]. A block takes 32 columns, so that a warp reads 32 neighbours; its 32 rows of
// threads share the rows of x among them, and are added up by halves.
extern "C" __global__ void column_sum(real* out, const real* x, long long rows, long long columns) {
    __shared__ real sums[32][32];
    const long long column = blockIdx.x * 32ll + threadIdx.x;
    real sum = 0;
    if (column < columns)
        for (long long row = threadIdx.y; row < rows; row += 32) sum += x[row * columns + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    for (int half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
    }
    if (threadIdx.y == 0 && column < columns) out[column] = sums[0][threadIdx.x];
}
