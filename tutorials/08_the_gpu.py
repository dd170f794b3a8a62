# %% [markdown]
# # 8 The GPU
#
# A GPU has thousands of small processors and memory of its own. Some programs run many times faster on it, and some
# run slower than on a laptop, and often it is the same program at another size. This tutorial takes the reasons apart.
# Afterwards you will be able to
#
# - say what it means that an array *resides* on a device, and what makes a program wait;
# - count the launches of a training step, and say at which size they stop to matter;
# - read a CUDA kernel line by line, and write the same function in NumPy;
# - say why random numbers from a *counter* are the same on every device;
# - count the bytes that a calculation moves, and predict its time from them;
# - say what a CUDA graph can hold, and how a step has to be written for it.
#
# **You need no GPU.** Every cell runs with one and without. The outputs that you find here were made on a CPU, and no
# time of a GPU is printed where there is none: where we need one, it is a parameter of a model, and called so. You
# should know tutorial [7](07_going_faster.ipynb). It takes twenty-five minutes to read and under a minute to run.

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import re
import statistics
import textwrap
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from time import perf_counter, sleep

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh

threadpool_limits(1)  # of the matrix products, as in tutorial 7
plt.style.use(mh.plot.STYLE)

# %% [markdown]
# Is there a GPU? `mh.Device` finds out, and says in a sentence what is missing. From here on, `device` is what you
# have.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError as error:
    print(textwrap.fill(str(error), 80))
    device = mh.Device("cpu")
print("this notebook runs on:", device.name)

# %% [markdown]
# ## One source for both
#
# On the GPU, CuPy takes the place of NumPy: the same functions, on arrays over there. So does every op of the package
# exist twice? No: NumPy's functions *ask the array that they are given*. An array that is not NumPy's may answer, and
# do what was asked in its own way. Here is one that does nothing but tell. **Predict** what the cell prints.


# %%
class Asked(np.lib.mixins.NDArrayOperatorsMixin):  # +, - and / ask, too
    """Stands where an array stands, and writes down what it is asked."""

    def __init__(self, value):
        self.value = value

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        print("asked for", ufunc.__name__)
        values = [x.value if isinstance(x, Asked) else x for x in inputs]
        return Asked(getattr(ufunc, method)(*values, **options))


def logistic(x):
    return 1 / (1 + np.exp(-x))


print("result", logistic(Asked(np.zeros(2))).value)

# %% [markdown]
# `logistic` was written for NumPy's arrays, and works on ours: each function and each operator came to it as a
# question. CuPy's arrays answer in the same way, by work on the GPU. (And so do the recorders of `mh.compile`: now you
# know how a plan is made without a word in any op.) An op is written once, in NumPy's terms. What remains is making an
# array somewhere, and that is what a `Device` is for. Here is a step of training, on whatever you have.


# %%
def step(model, optimizer, inputs, targets, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
    grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    return optimizer.step(lr, model, grads), loss


def ingredients(device, hidden=128):
    """A perceptron 784-hidden-10, its optimizer, and a batch of noise, on a device."""
    model = mh.nn.MLPConfig((784, hidden, 10)).init(mh.Rng(0), device=device)
    inputs = device.array(mh.Rng(1).normal((64, 784)))
    targets = device.array(mh.Rng(2).integers(0, 10, 64))
    return model, mh.optim.Adam(), inputs, targets


model, optimizer, inputs, targets = ingredients(device)
model, loss = step(model, optimizer, inputs, targets, 0.001)
print(f"{type(loss.array).__module__}, on {loss.device.name}: loss {loss.item():.4f}")

# %% [markdown]
# The device is named in one place, and everything else follows from where the arrays are. That is *residence*: an array
# lies in the memory of one device, and only that device computes on it. Between the two memories there is a link many
# times slower than either. So nothing may cross it by accident, and the package moves nothing by itself: what does not
# go together raises.

# %%
if device.name == "cpu":
    print("There is one device here, and so nothing to mix.")
else:
    try:
        mh.tensor([1.0, 2.0], device=device) + mh.tensor([1.0, 2.0])
    except TypeError as error:
        print(textwrap.fill(str(error), 80))

# %% [markdown]
# On a machine with a GPU, the sentence is *add: x is on cuda, y is on cpu; the tensors of one op live on one device:
# move some with to()*, and what it was called with. The alternative, to help silently, would be a program that works
# and is slow, and nobody knows why. The CPU has a smaller case of the same rule, which you can try anywhere: two kinds
# of floats.

# %%
try:
    mh.tensor(np.ones(2, np.float32)) + mh.tensor(np.ones(2, np.float64))
except TypeError as error:
    print(textwrap.fill(str(error), 80))

# %% [markdown]
# ## A queue, and who waits for it
#
# The CPU does not compute on a GPU: it *asks* for it. A call puts a piece of work into a queue and returns; the GPU
# takes one after the other. We can build such a device: a thread with a queue. (It computes while our program goes on,
# as NumPy's products leave the interpreter to others.)
#
# We ask for twenty products, and stop the clock twice. **Predict** the ratio of the two times, and what a benchmark
# would report that takes the first.

# %%
our_device = ThreadPoolExecutor(1)
a, out = mh.Rng(0).normal((512, 512)), np.empty((512, 512), np.float32)

began = perf_counter()
asked = [our_device.submit(np.matmul, a, a, out) for _ in range(20)]
queued = perf_counter() - began
asked[-1].result()
done = perf_counter() - began
print(f"asked after {1e3 * queued:.1f} ms, computed after {1e3 * done:.1f} ms")

# %% [markdown]
# Who stops the clock without waiting has measured the queue. And who *looks* at a result waits for all that was asked
# before. Waiting wastes both sides: while the device works, the program stands, and while the program then does its own
# part (the next batch, say), the device has nothing to do. A GPU uses no core of ours, so let our device not use one
# either: a piece of work now takes it 4 ms, in which it does nothing at all. Twenty steps, each with some work for the
# program as well; once we look after each, once after the last. **Predict** the ratio.


# %%
def twenty_steps(looking):
    began = perf_counter()
    for _ in range(20):
        asked = our_device.submit(sleep, 0.004)
        if looking:
            asked.result()
        np.matmul(a, a, out)  # the program's own part of a step
    asked.result()
    return perf_counter() - began


times = {False: [], True: []}
for _ in range(5):
    for looking, found in times.items():
        found.append(twenty_steps(looking))
for looking, found in times.items():
    name = "looking after each" if looking else "looking at the end"
    print(f"{name}: {1e3 * statistics.median(found):.1f} ms")
our_device.shutdown()

# %% [markdown]
# Looking at the end takes about as long as the slower of the two sides, looking after each as long as their sum. So
# `loss.item()`, `float(loss)`, `x.numpy()`, printing a tensor and `if loss > 1` are not free on a GPU, whatever the
# size of what is read. The trainers here read losses every 16 steps on a GPU, all together (`train/reading.py`).
#
# ## Launches
#
# Asking costs as well. Python, CuPy and the driver each do something for every call, and the GPU needs a moment to
# begin. How much that is depends on the machine; let us see when it matters, and count first. The plan of a step
# (tutorial 7) is a list of all calls on arrays. We make it on the CPU in any case.

# %%
cpu = mh.Device("cpu")
recorded = mh.compile(step)
recorded(*ingredients(cpu), 0.001)
plan = recorded.plans[0]

# a: on the way; w: model and optimizer; c: constants; x: inputs.
ARRAY = re.compile(r"\b[awcx]\d+\b")
HOST = ("def", "if", "return", "check_between", "copyto(x")
calls = [
    line.strip()
    for line in plan.source.splitlines()
    if ARRAY.search(line) and not line.strip().startswith(HOST)
]
print("\n".join(calls))
print(len(calls), "calls")

# %% [markdown]
# That is what the readable array code asks for: forward, backward, and the last ten calls are Adam. (The copies of the
# batch into the plan are left out here and below, as every way has them.) On a GPU, several of them are one *fused*
# kernel, and the body of the plan is this (`recorded.show()` prints it there):
#
# ```python
# gemm(a0, x0, w0, w1)
# maximum(a0, 0, out=a0)
# gemm(a1, a0, w2, w3)
# cross_entropy(c0, a2, a3, a1, x1, 0.0)
# cross_entropy_gradient(a1, c1, a3, x1, 0.0)
# gemm(a4, a1, w4)
# gemm(a5, a6, a1)
# column_sum(a7, a1)
# activation_gradient(a8, a4, a0, 'relu')
# gemm(a9, w5, a8)
# column_sum(a10, a8)
# adam_1(w6, w7, w8, None, a11, n1, n2, None, (0.9, 0.999, ), 0.0)
# ```
#
# Twelve calls, of a kernel or two each (`gemm` is a product of matrices with its bias). A third way is
# a *CUDA graph*: the GPU is told the list once, and from then on the host says "again": one launch, whatever is in it.
#
# What does the difference make? Here is a model as small as possible. Each launch costs the host a latency; while it
# asks, the GPU works; so a step takes as long as the slower of the two. Turn the latency.

# %%
ways = {"call by call": len(calls), "fused": 12, "one graph": 1}


def host_time(launches, latency):
    return launches * latency


print("a model: microseconds that the host needs to ask for a step\n")
print("us a launch " + "".join(f"{name:>14}" for name in ways))
for us in (1, 2, 5, 10, 20):
    print(f"{us:11} " + "".join(f"{host_time(n, us):14}" for n in ways.values()))

# %% [markdown]
# Which row is yours? A call that has next to nothing to do takes the latency and no more, and can be measured on both
# devices. (On a CPU it is NumPy's: no queue, but a price per call as well.)


# %%
def wait():
    """Until the device has done what it was asked."""
    if device.name != "cpu":
        device.xp.cuda.get_current_stream().synchronize()


def seconds(function, calls=1, rounds=7):
    """The median time of a call over some rounds, each ended by waiting."""
    function()
    wait()
    found = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(calls):
            function()
        wait()
        found.append((perf_counter() - began) / calls)
    return statistics.median(found)


one = device.array(np.ones(1, np.float32))
latency = seconds(lambda: np.multiply(one, one, one), calls=2_000)
share = host_time(len(calls), latency)
print(f"on {device.name}: {1e6 * latency:.2f} us a call of one number")
print(f"{len(calls)} calls: {1e6 * share:.0f} us in a step, before any arithmetic")

# %% [markdown]
# Now the other side, the work. A product of an n x k and a k x m matrix takes 2 n k m floating-point operations, and we
# say that a weight is moved ten times (seven of them by Adam, which we will count below). Take a device that makes 10
# million million operations a second, reads and writes a million million bytes a second, and needs 5 microseconds a
# launch. These are round numbers of a made-up device: put in those of your data sheet. **Predict**: from how many
# hidden units on does the way of launching hardly matter?

# %%
flops, bandwidth, launch = 1e13, 1e12, 5e-6  # of the made-up device


def work(hidden, batch=64):
    """Seconds of a step of 784-hidden-10, if nothing but work took time."""
    weights = (784 + 10 + 1) * hidden + 10
    # Forward and the weights' gradients: both layers. The inputs': the last.
    operations = 2 * batch * hidden * (2 * (784 + 10) + 10)
    return operations / flops + 10 * 4 * weights / bandwidth


hidden = np.geomspace(16, 65_536, 100)
figure, axes = plt.subplots()
for name, launches in ways.items():
    time = np.maximum(host_time(launches, launch), work(hidden))
    axes.loglog(hidden, 1e6 * time, label=f"{name} ({launches})")
axes.loglog(hidden, 1e6 * work(hidden), "--", color=mh.plot.INK, label="work alone")
axes.set(
    xlabel="hidden units",
    ylabel="microseconds a step",
    title="a model, not a measurement",
)
axes.legend()
plt.show()

for name, launches in ways.items():
    first = hidden[work(hidden) > host_time(launches, launch)].min(initial=np.inf)
    print(f"{name:13} work takes longer than asking from {first:,.0f} units on")

# %% [markdown]
# The flat parts are the point: there a faster GPU changes *nothing*, as it waits to be asked. A smaller network is not
# faster on it either. What helps is to ask less often (fuse, graph), or for more at once (a larger batch).
#
# ## A kernel, line by line
#
# A *kernel* is a function that thousands of threads run at the same time. Each has a number, and finds by it which
# elements are its own. This is Adam's, as it is in the package.

# %%
SOURCES = files("minihybrid") / "kernels"


def excerpt(source, begin, end):
    """Lines of a CUDA source, from the one that begins with a text to another."""
    text = (SOURCES / source).read_text(encoding="utf-8")
    return text[text.index(begin) : text.index(end)].rstrip()


print(excerpt("optimizer.cu", "struct Adam", "struct Sgd"))

# %% [markdown]
# From the top:
#
# - `struct Adam` holds the numbers of the rule; `real` is float or double. `step` is the rule for *one* weight, as in
#   tutorial 5, with w, m, v and g in registers: next to the arithmetic, not in memory.
# - `extern "C" __global__` marks what the host may launch. The vectors come as addresses. `eps`, `size` and `shrink`
#   are addresses as well: these numbers change in each step (they hold the learning rate and the bias correction),
#   and a graph repeats a launch with the arguments it was recorded with. An address may stay while what lies there
#   changes.
# - The loop goes from `thread_in_grid()` on in steps of `threads_in_grid()`. So any number of threads covers any
#   number of elements, and at each moment neighbouring threads are at neighbouring addresses, which the memory serves
#   together.
# - `Pack` is 16 bytes, four floats, loaded at once; the last loop does what is left over.
# - Each weight is read once and written once. There is no sum over threads, so nothing depends on their order.
#
# Which elements are whose? For three blocks of four threads and 30 elements (without packs):

# %%
blocks, of_block, n = 3, 4, 30
threads = blocks * of_block
for thread in range(threads):
    own = ", ".join(f"{i:2}" for i in range(thread, n, threads))
    print(f"block {thread // of_block}, thread {thread % of_block}: elements {own}")

# %% [markdown]
# The same in NumPy. All threads make their k-th turn at once: a slice. And as no thread reads what another writes, we
# may make the turns in any order. The kernel is compiled without fused multiply-adds (`--fmad=false`), so `m * beta1 +
# g` rounds twice, as NumPy does. **Predict**: how large will the difference from the package's Adam be after five
# steps?


# %%
def adam_kernel(w, m, v, g, eps, size, order, threads=1_024, beta1=0.9, beta2=0.999):
    f = np.float32
    turns = range(0, len(w), threads)
    for turn in order.permutation(len(turns)):
        own = slice(turns[turn], turns[turn] + threads)
        m[own] = m[own] * f(beta1) + g[own]
        v[own] = v[own] * f(beta2) + g[own] * g[own]
        w[own] -= m[own] / (np.sqrt(v[own]) + f(eps)) * f(size)


def numbers(lr, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """eps and size: what the learning rate and the bias corrections come to."""
    root = ((1 - beta2) / (1 - beta2**t)) ** 0.5
    return eps / root, lr * (1 - beta1) / (1 - beta1**t) / root


n = 10_007
ours = {name: np.zeros(n, np.float32) for name in ("w", "m", "v")}
w, m, v, scratch = (np.zeros(n, np.float32) for _ in range(4))
for t in range(1, 6):
    g = mh.Rng(t).normal(n)
    eps, size = numbers(0.01, t)
    adam_kernel(**ours, g=g, eps=eps, size=size, order=mh.Rng(100 + t))
    mh.optim.Adam().update_in_place(w, g, {"m": m, "v": v}, 0.01, t, scratch)
print("equal in every bit:", np.array_equal(ours["w"], w))

# %% [markdown]
# ## Random numbers without a state
#
# Most random number generators are a chain: each number is made from the state that the one before has left. The
# millionth needs all that came earlier, so a thousand threads cannot share the work, or only with a thousand chains,
# and then the numbers depend on how many threads there are. Philox (Salmon and others, 2011) is no chain. It is a
# *function*: a key (the seed) and a counter go in, four random-looking words of 64 bits come out.

# %%
print(excerpt("philox.cuh", "__device__ inline Words", "// The one rule"))

# %% [markdown]
# The first lines add the number of the block to a counter of four words, with carries. Then, ten times: two products of
# 64 by 64 bits, whose high halves are mixed with the other words and the key, and the key moves on. Every step can be
# undone, so with one key different counters never give the same four words. Here it is in NumPy, for all blocks at
# once. NumPy has no 128 bits, so `product` multiplies by halves, as in school. (We leave out the carries: the counter
# has to reach 2^64 before there is one.)


# %%
MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
FACTORS = np.array([0xD2E7470EE14C6C93, 0xCA5A826395121157], np.uint64)[:, None]
WEYL = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)[:, None]


def product(x, y):
    """The high and the low 64 bits of x * y."""
    x1, x0, y1, y0 = x >> HALF, x & MASK, y >> HALF, y & MASK
    middle = x1 * y0 + (x0 * y0 >> HALF)
    other = x0 * y1 + (middle & MASK)
    return x1 * y1 + (middle >> HALF) + (other >> HALF), x * y


def philox(stream, blocks):
    """Words uint64 [len(blocks), 4] of these blocks of a stream's next draw."""
    key = np.array(stream["key"], np.uint64)[:, None]
    c = np.repeat(np.array(stream["counter"], np.uint64)[:, None], len(blocks), 1)
    c[0] += np.uint64(1) + blocks.astype(np.uint64)
    for _ in range(10):
        high, low = product(FACTORS, c[0::2])  # of the words 0 and 2
        c = np.stack([high[1] ^ c[1] ^ key[0], low[1], high[0] ^ c[3] ^ key[1], low[0]])
        key = key + WEYL
    return c.T


stream = mh.Rng(7)
state, words = stream.state(), stream.words(4_000)
print(
    "the words of mh.Rng:",
    np.array_equal(philox(state, np.arange(1_000)).ravel(), words),
)
top24 = (words[:3] >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
print("as floats:", top24, "and from mh.Rng:", mh.Rng(7).uniform(3))

# %% [markdown]
# Let us play the GPU. Blocks are made in any order, or one by a thread that has never heard of the others:

# %%
anyhow = mh.Rng(0).permutation(1_000)
made = np.empty((1_000, 4), np.uint64)
made[anyhow] = philox(state, anyhow)
print("in a random order:", np.array_equal(made.ravel(), words))
print(
    "block 617 alone:  ", np.array_equal(philox(state, np.array([617]))[0], made[617])
)

# %% [markdown]
# That is why a seed means the same on each device. Which thread, how many, in what order: nothing of it is in the
# function. A stream is six words, so it is cheap to save, to undo and to send; dropout on a GPU is given these six
# words, and has the mask of the CPU to the bit. (*Bits* to uniform floats is exact as well: 24 of them fit a float32.
# Normal numbers need logarithms, which each device computes in its own way, and so agree but for the last bit.)
#
# ## What fusing saves
#
# Adam by NumPy is ten calls, each of which walks through whole vectors. The kernel walks once. Let us count the bytes
# from the plan: what a call reads, and what it writes.

# %%
elements = {
    name: int(np.prod([int(length) for length in shape.split(",") if length.strip()]))
    for name, shape in re.findall(r"# (\w+) \w+ \(([\d, ]*)\)", plan.show())
}
flat = max(elements.values())  # all weights as one vector
adam = [line for line in calls if any(elements[x] == flat for x in ARRAY.findall(line))]


def moved(line):
    """How many whole vectors a call reads and writes; the last it names is written."""
    *read, _ = [x for x in ARRAY.findall(line) if elements[x] == flat]
    return len(set(read)), 1


for line in adam:
    print(f"{line:28} reads {moved(line)[0]}, writes {moved(line)[1]}")
vectors = sum(sum(moved(line)) for line in adam)
print(f"\n{len(adam)} calls move {vectors} vectors, {4 * flat * vectors / 1e6:.1f} MB")
print(f"the kernel: reads w, m, v, g, writes w, m, v: {4 * flat * 7 / 1e6:.1f} MB")
print(f"ratio {vectors / 7:.1f}")

# %% [markdown]
# Does that matter? Only if moving is what takes the time. How fast does *your* memory move bytes, when vectors are too
# long for the caches? We copy 32 MB to another 32 MB, and then **predict**: Adam on 8 million weights moves 24 such
# vectors when it is done in ten passes. Multiply, and compare with the clock.

# %%
n = 8_000_000
w, m, v, scratch = (np.zeros(n, np.float32) for _ in range(4))
g = mh.Rng(0).normal(n)
eps, size = numbers(1e-3, 1)


def ten_passes(w, m, v, g, scratch):
    np.multiply(m, 0.9, out=m)
    np.add(m, g, out=m)
    np.multiply(g, g, out=scratch)
    np.multiply(v, 0.999, out=v)
    np.add(v, scratch, out=v)
    np.sqrt(v, out=scratch)
    np.add(scratch, eps, out=scratch)
    np.divide(m, scratch, out=scratch)
    np.multiply(scratch, size, out=scratch)
    np.subtract(w, scratch, out=w)


copying = seconds(lambda: np.copyto(scratch, g), rounds=5)
rate = 2 * 4 * n / copying  # each number is read once and written once
whole = seconds(lambda: ten_passes(w, m, v, g, scratch), rounds=5)
print(f"the CPU's memory, by one core: {rate / 1e9:.1f} GB/s")
print(
    f"ten passes: expected {1e3 * vectors * 4 * n / rate:.0f} ms, took {1e3 * whole:.0f}"
)

# %% [markdown]
# The estimate knows nothing of Adam but how many bytes it moves. If it comes near the clock, arithmetic is next to free
# here, and time is bytes. (Within a factor of two is near: a copy also fetches the memory that it is about to
# overwrite, a pass in place has it already, and roots and quotients take some time of their own.)
#
# Then fusing should help on a CPU, too. NumPy cannot fuse; but it can do the ten passes on a *piece* of the vectors
# that fits into a cache, and then go on to the next. Memory then sees each piece once, as with the kernel. The results
# are the same to the bit. **Predict**: what happens if the pieces are very small?


# %%
def in_pieces(length):
    for i in range(0, n, length):
        own = slice(i, i + length)
        ten_passes(w[own], m[own], v[own], g[own], scratch[own])


lengths = [2**k for k in (8, 10, 12, 14, 16, 18, 20, 22)]
times = [seconds(lambda k=k: in_pieces(k), rounds=3) for k in lengths]

figure, axes = plt.subplots()
axes.plot([5 * 4 * k for k in lengths], [t / whole for t in times], marker="o")
axes.axhline(1, color=mh.plot.INK, linestyle="--")
axes.set(
    xlabel="bytes of a piece (of w, m, v, g and scratch together)",
    ylabel="time / time of whole vectors",
    title="measured on a CPU",
    xscale="log",
    yscale="log",
)
axes.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
axes.minorticks_off()
plt.show()
best = min(times)
print(f"the best pieces take {best / whole:.2f} of the time of whole vectors")

# %% [markdown]
# Large pieces are whole vectors: bytes dominate. Very small ones are all calls: latency dominates. In between is the
# best there is for NumPy. These are the two terms of the model above, on a machine that you have in front of you, and a
# fused kernel is what escapes both: one call, and each byte moved once.
#
# ## What a graph can hold
#
# A CUDA graph repeats launches. It decides nothing, and it knows no Python. So a step that is to be one graph may
#
# 1. **not look at a value**: who looks has to wait, and a decision would be repeated for ever;
# 2. **not allocate**: a launch writes to the address with which it was recorded;
# 3. **not change its arguments**: what changes has to be in memory.
#
# `mh.compile` has the same rules on a CPU, so we can try all of them. The first: here are two ways to take smaller
# steps where the loss is large. One asks the host, the other leaves the choice to the arrays.


# %%
def asking(model, optimizer, inputs, targets, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
    scaled = loss * 0.5 if loss.item() > 1 else loss
    grads = mh.optim.GradientsParams.from_grads(scaled.backward(), model)
    return optimizer.step(lr, model, grads), loss


def choosing(model, optimizer, inputs, targets, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
    scaled = mh.where(loss > 1, loss * 0.5, loss)
    grads = mh.optim.GradientsParams.from_grads(scaled.backward(), model)
    return optimizer.step(lr, model, grads), loss


for function in (asking, choosing):
    try:
        _, loss = mh.compile(function)(*ingredients(device), 0.001)
        print(f"{function.__name__}: loss {loss.item():.4f}")
    except mh.PlanError as error:
        print(textwrap.fill(f"{function.__name__}: {error}", 80))

# %% [markdown]
# The second rule. How much memory does a step allocate? Python's `tracemalloc` knows, on a CPU. **Predict** the two
# numbers: the tape makes its arrays anew, all but the gradient; a plan has a place for each beforehand.


# %%
def most_allocated(step):
    """Bytes that a step has allocated at the worst moment, beyond what was there."""
    model, *others = ingredients(cpu)
    for _ in range(3):  # the first steps make what is kept
        model, _ = step(model, *others, 0.001)
    tracemalloc.start()
    model, _ = step(model, *others, 0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


print(f"tape {most_allocated(step):,} bytes, plan {most_allocated(mh.compile(step)):,}")

# %% [markdown]
# What is left is NumPy's own: a buffer, in which it makes numbers of the booleans of ReLU's mask. The third rule you
# have seen in the kernel: `eps` and `size` are addresses. In a plan on a GPU, all numbers that change are copied into
# one small vector there before the launch.
#
# And what cannot be captured? Sorting, for one, through a library that takes memory of its own. Such a call stays
# outside, between two graphs, and the plan says so. Here is a function with a sort; look for lines that begin with `#
# graph` or `# not captured`.


# %%
@mh.compile
def middle(inputs):
    ordered = mh.sort(mh.relu(mh.Tensor(inputs) * 2 - 1))
    return ordered[3:-3].mean() * 10 + 1


middle(device.array(mh.Rng(0).normal(20)))
shown = middle.plans[0].show().splitlines()
about = [line for line in shown if line.startswith(("# graph", "# not captured"))]
print("\n".join(about or [f"on {device.name}: {len(shown)} lines, no graph"]))
print("\n".join(line for line in shown if not line.startswith("#")))

# %% [markdown]
# On a CPU there is nothing to capture, and the program is all there is. On a GPU the heading has three lines more:
#
# ```
# # graph is one launch
# # graph_1 is one launch
# # not captured: argsort is not known to be kernels alone
# ```
#
# So the step is two graphs and a call between them, instead of one. Whether that is worth a change of the program, the
# count of launches tells.
#
# ## With a GPU: capture and compare
#
# This cell trains for fifty steps on the tape and by the plan, on your device, compares the weights with each other and
# with those of the CPU, and times both ways (the clock waits). On a CPU it does all of this with NumPy, and says so.


# %%
def fifty(step, device, hidden):
    model, *others = ingredients(device, hidden)
    for _ in range(50):
        model, _ = step(model, *others, 0.001)
    return np.concatenate([p.numpy().ravel() for p in model.named_params().values()])


def stepping(step, hidden):
    model, *others = ingredients(device, hidden)

    def again():
        nonlocal model
        model, _ = step(model, *others, 1e-9)

    return again


for hidden_units in (16, 128, 512):
    compiled = mh.compile(step)
    tape, replayed = (fifty(s, device, hidden_units) for s in (step, compiled))
    captured = sum(graph.captured for graph in compiled.plans[0].graphs)
    from_cpu = abs(tape - fifty(step, cpu, hidden_units)).max()
    slow, fast = (
        seconds(stepping(s, hidden_units), calls=10, rounds=5)
        for s in (step, mh.compile(step))
    )
    print(f"on {device.name}, {hidden_units} hidden units, {captured} graphs captured:")
    print(f"  tape and plan equal in every bit: {np.array_equal(tape, replayed)}")
    print(f"  largest difference from the CPU's weights: {from_cpu:.1g}")
    print(f"  time of the tape / time of the plan: {slow / fast:.2f}")

# %% [markdown]
# (Between two devices the weights differ by rounding, as they add up products in another order, and training carries
# that on.)
#
# ## What to remember
#
# 1. An array lives somewhere; nothing should move, and nobody should look, without a reason.
# 2. Count launches for small networks, and bytes for large ones; operations matter only for large products.
# 3. Fusing saves both launches and bytes; a graph saves launches alone.
# 4. What depends on the order of threads cannot be repeated: use counters for random numbers, fixed orders for sums.
# 5. A GPU's time is a measurement on that GPU, with a clock that waits. All else is a model.
#
# ## Exercises
#
# **1. Bytes of SGD.** How many vectors does SGD with momentum move, call by call? How many would a kernel that walks
# once? Count the first from a plan, with the functions above, and say by how much fusing would shorten the step of a
# large model.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# of_sgd = mh.compile(step)
# model, _, inputs, targets = ingredients(cpu)
# of_sgd(model, mh.optim.SGD(momentum=0.9), inputs, targets, 0.1)
# text = of_sgd.plans[0].show()
# elements = {
#     name: int(np.prod([int(x) for x in shape.split(",") if x.strip()]))
#     for name, shape in re.findall(r"# (\w+) \w+ \(([\d, ]*)\)", text)
# }
# lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
# updates = [
#     line
#     for line in lines
#     if not line.startswith(HOST)
#     and any(elements[x] == flat for x in ARRAY.findall(line))
# ]
# total = 0
# for line in updates:
#     *read, _ = [x for x in ARRAY.findall(line) if elements[x] == flat]
#     total += len(set(read)) + 1
#     print(line)
# print(f"{total} vectors, against 5: w, b and g are read, w and b written")
# assert total > 5
# ```
#
# Less than for Adam: the rule has fewer passes to begin with. For a small model neither number matters; there it is the
# number of calls.
#
# </details>
#
# **2. Dropout by two devices.** Two devices share a mask of 1,001 elements: one takes the even blocks of words, the
# other the odd ones. An element is kept where its word, shifted right by 11, is less than the ceiling of p 2^53. Write
# it with `philox`, and show that the mask is that of `mh.Rng(3).bernoulli(1_001, 0.8)`.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# state = mh.Rng(3).state()
# threshold = np.uint64(np.ceil(0.8 * 2.0**53))
# mask = np.empty((251, 4), bool)
# for first in (0, 1):  # the two devices, each of which knows six words and its number
#     mine = np.arange(first, 251, 2)
#     mask[mine] = (philox(state, mine) >> np.uint64(11)) < threshold
# mask = mask.ravel()[:1_001]
# assert np.array_equal(mask, mh.Rng(3).bernoulli(1_001, 0.8))
# print(f"equal; {mask.mean():.1%} are kept")
# ```
#
# 251 blocks, as 1,001 words need the first of the last block. The other three are not used by anybody: the next draw
# begins with a new block, so the state is a key and a counter and never "the third word of a block".
#
# </details>
#
# **3. The order of a sum.** Add a million float32 numbers in two ways: with one running total, in ten random orders (as
# if threads added to it whenever they come); and by halves, x[:n/2] + x[n/2:] until one is left, which is the same
# order in each run. How many different results does each way have?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# x = mh.Rng(0).normal(2**20)
#
#
# def running(numbers):
#     return np.cumsum(numbers, dtype=np.float32)[-1].item()
#
#
# def by_halves(numbers):
#     while len(numbers) > 1:
#         middle_ = len(numbers) // 2
#         numbers = numbers[:middle_] + numbers[middle_:]
#     return numbers[0].item()
#
#
# orders = [mh.Rng(seed).permutation(len(x)) for seed in range(10)]
# as_they_come = {running(x[order]) for order in orders}
# fixed = {by_halves(x) for _ in range(10)}
# print(f"exactly {x.astype(float).sum():.4f}")
# print(f"as they come: {len(as_they_come)} results", sorted(as_they_come)[:3])
# print(f"by halves: {len(fixed)} result", *fixed)
# assert len(as_they_come) > 1 and len(fixed) == 1
# ```
#
# A running total that threads share (an "atomic addition") gives another result each time, and two runs of one seed
# part ways. By halves is what the package's kernels do: each half is added by many threads at once, the order is fixed,
# and the error is smaller, too, as equal sizes are added to each other.
#
# </details>
