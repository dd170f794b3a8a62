// CUDA on one CPU thread, for tests: each thread of a block is a fiber, which runs until it has to wait for others.
//
// What the hardware leaves open is chosen by a seed: the order of the blocks, and of the threads between two barriers.
// What it punishes, or silently answers with garbage, ends the launch with a sentence:
//   - memory outside of an array (where emulator.guarded() made it: pages without access lie on both sides),
//   - an index outside of an array with a known length, shared ones above all (the compiler's bounds check),
//   - a vector load or store at an address that is no multiple of its size (the compiler's alignment check),
//   - a barrier that some threads do not reach, or that they reach at different lines,
//   - a shuffle with a lane that does not take part.
// Shared memory holds NaN (all bits set) when a block begins.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One block runs at a time, so its shared memory may be static; the section tells where all of it lies.
#define __shared__ static __attribute__((section("cuda_shared")))

extern "C" {
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
}

namespace emulator {

enum class State { ready, at_barrier, at_warp_barrier, done };

// Fibers are made once and wait for the next block, with their stacks. They are switched by _setjmp and _longjmp, which
// ask the operating system nothing; a context serves to begin one.
struct Fiber {
    bool begun;
    jmp_buf place;
    uint3 index;
    State state;
    int line;           // of the barrier that it waits at
    unsigned lanes;     // that it waits for in its warp
    unsigned exchanged; // how many values, so far
    std::uint64_t slot[2];
};

constexpr std::size_t STACK = 64 * 1024, MOST = 1024, SHARED = 48 * 1024;

static jmp_buf scheduler;
static Fiber fibers[MOST];
static std::size_t count; // of the threads of a block
static Fiber* current = nullptr;
static void (*kernel)(void**);
static void** arguments;
static std::string error;
alignas(16) static char dynamic_shared[SHARED];

[[noreturn]] static void fail(const std::string& what) {
    char where[160];
    std::snprintf(where, sizeof where, " (thread %u, %u, %u of block %u, %u, %u)", threadIdx.x, threadIdx.y, threadIdx.z,
                  blockIdx.x, blockIdx.y, blockIdx.z);
    error = what + where;
    for (Fiber& fiber : fibers) fiber.begun = false; // they are abandoned where they are
    _longjmp(scheduler, 1);
}

static void pause() {
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

static void wait(State state, int line, unsigned lanes = 0) {
    Fiber* self = current;
    self->state = state;
    self->line = line;
    self->lanes = lanes;
    pause();
}

static void entry() {
    for (;;) { // a block each
        kernel(arguments);
        current->state = State::done;
        pause();
    }
}

// Runs a fiber until it pauses.
__attribute__((noinline)) static void resume(std::size_t number) {
    static char* const stacks = static_cast<char*>(mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE,
                                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    current = &fibers[number];
    threadIdx = current->index;
    if (_setjmp(scheduler) != 0) return;
    if (current->begun) _longjmp(current->place, 1);
    current->begun = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks + number * STACK;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
    setcontext(&context);
}

static unsigned thread_number() {
    return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

// Two slots in turn: a lane may write its next value while a slower one has still to read this one.
template <class T> T exchange(unsigned mask, T value, unsigned source, int line) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t), "a shuffle moves at most 8 bytes");
    const unsigned lane = thread_number() % 32, warp = thread_number() - lane;
    Fiber* self = current;
    const unsigned turn = self->exchanged++ % 2;
    std::memcpy(&self->slot[turn], &value, sizeof(T));
    if (!(mask >> lane & 1u)) fail("a lane shuffles with a mask that leaves it out");
    wait(State::at_warp_barrier, line, mask);
    if (source > 31 || source == lane) return value;
    if (!(mask >> source & 1u)) fail("a shuffle reads a lane that its mask leaves out");
    T got;
    std::memcpy(&got, &fibers[warp + source].slot[turn], sizeof(T));
    return got;
}

static unsigned ballot(unsigned mask, bool predicate, int line) {
    const unsigned lane = thread_number() % 32, warp = thread_number() - lane;
    Fiber* self = current;
    const unsigned turn = self->exchanged++ % 2;
    self->slot[turn] = predicate;
    wait(State::at_warp_barrier, line, mask);
    unsigned votes = 0;
    for (unsigned other = 0; other < 32; ++other)
        if (mask >> other & 1u) votes |= unsigned(fibers[warp + other].slot[turn]) << other;
    return votes;
}

// Lets those go on that all have arrived; says whether there were any.
static bool release() {
    bool released = false;
    for (std::size_t warp = 0; warp < count; warp += 32) {
        const std::size_t lanes = std::min<std::size_t>(32, count - warp);
        for (std::size_t i = 0; i < lanes; ++i) {
            const Fiber& first = fibers[warp + i];
            if (first.state != State::at_warp_barrier) continue;
            bool all = true;
            for (unsigned lane = 0; lane < 32; ++lane) {
                if (!(first.lanes >> lane & 1u)) continue;
                all = all && lane < lanes && fibers[warp + lane].state == State::at_warp_barrier &&
                      fibers[warp + lane].lanes == first.lanes;
            }
            if (!all) continue;
            const unsigned group = first.lanes;
            for (unsigned lane = 0; lane < lanes; ++lane)
                if (group >> lane & 1u) fibers[warp + lane].state = State::ready;
            released = true;
        }
    }
    const bool everybody = std::all_of(fibers, fibers + count, [](const Fiber& fiber) {
        return fiber.state == State::at_barrier && fiber.line == fibers[0].line;
    });
    if (everybody)
        for (std::size_t i = 0; i < count; ++i) fibers[i].state = State::ready;
    return released || everybody;
}

static void run_block(const std::vector<unsigned>& order) {
    std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
    std::memset(dynamic_shared, 0xff, sizeof dynamic_shared);
    unsigned number = 0;
    for (unsigned z = 0; z < blockDim.z; ++z)
        for (unsigned y = 0; y < blockDim.y; ++y)
            for (unsigned x = 0; x < blockDim.x; ++x, ++number) {
                Fiber& fiber = fibers[number];
                fiber.index = {x, y, z};
                fiber.state = State::ready;
                fiber.exchanged = 0;
            }
    for (;;) {
        for (const unsigned next : order) {
            if (fibers[next].state != State::ready) continue;
            resume(next);
            if (!error.empty()) return;
        }
        const auto is = [](State state) { return [=](const Fiber& fiber) { return fiber.state == state; }; };
        if (std::all_of(fibers, fibers + count, is(State::done))) return;
        if (release()) continue;
        const auto waiting = std::find_if(fibers, fibers + count, [](const Fiber& fiber) {
            return fiber.state == State::at_barrier || fiber.state == State::at_warp_barrier;
        });
        threadIdx = waiting->index;
        const bool warp = waiting->state == State::at_warp_barrier;
        for (Fiber& fiber : fibers) fiber.begun = false;
        error = std::string(warp ? "a shuffle" : "__syncthreads()") + " in line " + std::to_string(waiting->line) +
                " is not reached by all threads of the " + (warp ? "warp" : "block") + " that it waits for";
        return;
    }
}

// The numbers 0 .. n - 1: in their order for seed 0, else in a random one.
static std::vector<unsigned> shuffled(std::size_t n, std::uint64_t seed) {
    std::vector<unsigned> numbers(n);
    for (std::size_t i = 0; i < n; ++i) {
        seed = seed * 6364136223846793005u + (seed != 0);
        const std::size_t place = seed ? (seed >> 33) % (i + 1) : i;
        numbers[i] = numbers[place];
        numbers[place] = unsigned(i);
    }
    return numbers;
}

static void outside(int, siginfo_t*, void*) {
    fail("memory outside of an array was touched");
}

static const char* run(const unsigned* grid, const unsigned* block, std::size_t, std::uint64_t seed,
                       void (*body)(void**), void** given) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    kernel = body;
    arguments = given;
    error.clear();

    count = blockDim.x * blockDim.y * blockDim.z;
    static char alternative[64 * 1024]; // the handler's own stack
    stack_t handler_stack{}, old_stack{};
    handler_stack.ss_sp = alternative;
    handler_stack.ss_size = sizeof alternative;
    sigaltstack(&handler_stack, &old_stack);
    struct sigaction action {}, old_segv{}, old_bus{};
    action.sa_sigaction = outside;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; // the handler never returns
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);

    const std::vector<unsigned> blocks = shuffled(gridDim.x * gridDim.y * gridDim.z, seed);
    const std::vector<unsigned> threads = shuffled(count, seed);
    for (const unsigned number : blocks) {
        blockIdx = {number % gridDim.x, number / gridDim.x % gridDim.y, number / gridDim.x / gridDim.y};
        run_block(threads);
        if (!error.empty()) break;
    }
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
    return error.empty() ? nullptr : error.c_str();
}

template <class P> std::string kind() {
    const char letter = std::is_pointer_v<P> ? 'p' : std::is_floating_point_v<P> ? 'f' : std::is_integral_v<P> ? 'i' : 's';
    return letter + std::to_string(sizeof(P)) + ' ';
}

template <class... P> std::string signature(void (*)(P...)) {
    return (std::string() + ... + kind<P>());
}

template <class... P, std::size_t... I> void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
}

template <class... P> void call(void (*kernel)(P...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<P...>());
}

} // namespace emulator

// What emulator.py looks up for each kernel.
#define EMULATED(name)                                                                                                 \
    extern "C" const char* signature_##name() {                                                                        \
        static const std::string text = emulator::signature(name);                                                     \
        return text.c_str();                                                                                           \
    }                                                                                                                  \
    extern "C" const char* launch_##name(const unsigned* grid, const unsigned* block, std::size_t shared,              \
                                         std::uint64_t seed, void** arguments) {                                       \
        return emulator::run(grid, block, shared, seed, [](void** given) { emulator::call(name, given); }, arguments); \
    }

// Checks that the compiler puts in (-fsanitize=bounds,alignment) call these.
struct SanitizedPlace {
    const char* file;
    std::uint32_t line, column;
};
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_out_of_bounds(SanitizedPlace* place,
                                                                                   std::uintptr_t index) {
    emulator::fail("index " + std::to_string(static_cast<std::intptr_t>(index)) + " in line " +
                   std::to_string(place->line) + " lies outside of the array");
}
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(SanitizedPlace* place,
                                                                                      std::uintptr_t) {
    emulator::fail("the address in line " + std::to_string(place->line) + " is not aligned to the size of what is there");
}

// What CUDA has built in, as far as the kernels use it.

#define __syncthreads() emulator::wait(emulator::State::at_barrier, __LINE__)
#define __syncwarp() emulator::exchange(0xffffffffu, 0, 32u, __LINE__)
#define __shfl_down_sync(mask, value, delta)                                                                           \
    emulator::exchange(mask, value, emulator::thread_number() % 32 + (delta), __LINE__)
#define __shfl_xor_sync(mask, value, lanes)                                                                            \
    emulator::exchange(mask, value, emulator::thread_number() % 32 ^ (lanes), __LINE__)
#define __shfl_sync(mask, value, lane) emulator::exchange(mask, value, unsigned(lane) % 32, __LINE__)
#define __ballot_sync(mask, predicate) emulator::ballot(mask, predicate, __LINE__)

template <class T> T atomicAdd(T* address, T value) {
    const T before = *address;
    *address = before + value;
    return before;
}
template <class T> T __ldg(const T* address) {
    return *address;
}
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
struct int2 {
    int x, y;
};
static inline int2 make_int2(int x, int y) {
    return {x, y};
}
static inline void __threadfence() {}
static inline int __ffs(int bits) {
    return __builtin_ffs(bits);
}
static inline int __popc(unsigned bits) {
    return __builtin_popcount(bits);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
static inline void sincospi(double x, double* sine, double* cosine) {
    *sine = std::sin(M_PI * x);
    *cosine = std::cos(M_PI * x);
}
static inline float rsqrt(float x) {
    return 1 / std::sqrt(x);
}
static inline double rsqrt(double x) {
    return 1 / std::sqrt(x);
}
template <class T> T min(T a, T b) {
    return b < a ? b : a;
}
template <class T> T max(T a, T b) {
    return a < b ? b : a;
}
using std::erf;
using std::exp;
using std::fabs;
using std::fma;
using std::fmax;
using std::fmin;
using std::isfinite;
using std::isnan;
using std::log;
using std::log1p;
using std::nan;
using std::sqrt;
using std::tanh;
