# %% [markdown]
# # 7 Going faster
#
# How long does a training step take, and where does the time go? Both questions are harder than they look: the first,
# because a clock is easily fooled, the second, because the answer is hardly ever the arithmetic. Afterwards you will be
# able to
#
# - measure the time of a piece of code so that the number means something;
# - say what a *page fault* is, count them, and get rid of them;
# - say what an op on the tape costs, and when *fused* ops pay;
# - *record* a training step once and *replay* it, and say when that is worth it.
#
# All times here are taken by your own clock while you run the cells, so your numbers will differ from the ones printed
# here. That is the point: look at the ratios, and at whether they hold on your machine. You need tutorials 1 and 6. It
# takes twenty-five minutes to read and under a minute to run.

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import mmap
import statistics
import sys
import textwrap
from time import perf_counter, process_time

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh

threadpool_limits(1)  # of the matrix products: why, is exercise 1
plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## One measurement is none
#
# How long does a product of two matrices take? Start the clock, multiply, stop the clock. We do it a hundred times and
# draw all of them. **Predict**: how far apart will the fastest and the slowest be?

# %%
a, b = (mh.Rng(seed).normal((128, 128)) for seed in (0, 1))
single = []
for _ in range(100):
    began = perf_counter()
    a @ b
    single.append(1e6 * (perf_counter() - began))

figure, axes = plt.subplots()
axes.plot(single, ".")
axes.set(xlabel="call", ylabel="microseconds", yscale="log")
plt.show()
fastest, median, slowest = min(single), statistics.median(single), max(single)
print(f"fastest {fastest:.0f}, median {median:.0f}, slowest {slowest:.0f} microseconds")

# %% [markdown]
# The first call is slower: memory has to be found, caches are cold. Later there are bursts: another program ran, the
# processor changed its clock rate. The *mean* would be at the mercy of these; the *median* is not.
#
# Three more things make a measurement fair.
#
# - *The clock.* A clock on the wall (`perf_counter`) also counts the time in which other programs had the processor.
#   `process_time` counts what this program has used of it. As long as one thread does all the work, that is the better
#   one.
# - *Turns.* If the machine runs slower for a second while A is timed, B looks faster. So let the two take turns: a
#   short block of A, a short block of B, round after round. What slows the machine down for a while slows both.
# - *Ratios within a round.* Compare A and B in each round, and take the median of these ratios, not the ratio of
#   medians.
#
# That is all of `race`:

# %%
# Windows' process_time ticks only 64 times a second.
CLOCK = perf_counter if sys.platform == "win32" else process_time


def race(contestants, rounds=15, block=0.004, clock=CLOCK):
    """Seconds of a call in each round, by contestant.

    Each is called for about `block` seconds when it has its turn.
    """
    calls = {}
    for name, function in contestants.items():
        function()  # the first call is not counted
        began = perf_counter()
        function()
        calls[name] = max(1, round(block / (perf_counter() - began)))
    seconds, order = {name: [] for name in contestants}, list(contestants)
    for i in range(rounds):
        start = i % len(order)  # each round begins with another one
        for name in order[start:] + order[:start]:
            contestants[name]()  # the caches are full of the others' data
            began = clock()
            for _ in range(calls[name]):
                contestants[name]()
            seconds[name].append((clock() - began) / calls[name])
    return seconds


def ratios(seconds, reference):
    """Times over the reference's, by contestant: the median, and the middle half."""
    found = {}
    for name, times in seconds.items():
        quotients = [t / r for t, r in zip(times, seconds[reference], strict=True)]
        low, middle, high = statistics.quantiles(quotients, n=4)
        found[name] = middle, low, high
    return found


def show(seconds, reference):
    for name, (middle, low, high) in ratios(seconds, reference).items():
        us = 1e6 * statistics.median(seconds[name])
        times = f"{middle:5.2f} times {reference} ({low:.2f} to {high:.2f})"
        print(f"{name:16} {us:9.1f} us   {times}")


# %% [markdown]
# Before a scale is used, weigh the same thing twice. This is an *A/A test*: both contestants are the same function.

# %%
show(race({"product": lambda: a @ b, "the same product": lambda: a @ b}), "product")

# %% [markdown]
# What differs from 1.00 here is what your machine cannot tell. Remember the size of it: whatever difference you measure
# below is real only if it is larger.
#
# ## Memory that is not there yet
#
# `mmap` asks the operating system for fresh memory, without any library between. We fill four million bytes of it with
# ones, and then fill them again. **Predict**: which of the two takes longer, and by how much?

# %%
fresh = np.frombuffer(mmap.mmap(-1, 4_000_000), np.float32)
for attempt in ("first", "second", "third"):
    began = CLOCK()
    fresh[...] = 1
    print(f"{attempt:6} filling: {1e6 * (CLOCK() - began):6.0f} microseconds")

# %% [markdown]
# The first time takes several times as long, for the same million numbers. When a program asks for much memory, it gets
# *addresses* at once, and the memory itself only when it touches it, in *pages* of 4 kB: the processor finds nothing at
# the address, stops, and calls the system, which finds a page, fills it with zeros (somebody else's data may have been
# there), and lets the program go on. That is a *page fault*. Unix counts them for each process, and so can we.

# %%
try:
    import resource
except ModuleNotFoundError:  # Windows counts otherwise
    resource = None


def page_faults(function, calls=10):
    """Page faults in a call, on average; nan where they cannot be counted."""
    if resource is None:
        return float("nan")
    function()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls


def fill_fresh():
    np.frombuffer(mmap.mmap(-1, 4_000_000), np.float32)[...] = 1


print(f"{page_faults(fill_fresh):.0f} page faults")
print(f"{4_000_000 / 4096:.0f} pages of 4096 bytes in 4,000,000")

# %% [markdown]
# NumPy asks for fresh memory, too, whenever a line has a result. Here are three element-wise operations as one writes
# them, and once more with the results put into arrays that were made beforehand (`out=`). The arithmetic is the same.
# **Predict**: for which sizes does the second way pay?


# %%
def ways(size):
    """Two ways to compute (x + y) - x * y on float32 arrays of so many bytes."""
    x, y = (np.full(size // 4, value, np.float32) for value in (1.0, 2.0))
    s, p = np.empty_like(x), np.empty_like(x)

    def fresh():
        total, product = x + y, x * y
        return total - product

    def reused():
        np.add(x, y, out=s)
        np.multiply(x, y, out=p)
        return np.subtract(s, p, out=s)

    return {"fresh": fresh, "reused": reused}


sizes = [2**k for k in (12, 14, 16, 18, 20, 22, 24, 25)]  # 4 kB to 34 MB
measured = []
print("     array   page faults: fresh  reused   time of fresh / reused")
for size in sizes:
    both = ways(size)
    faults = [page_faults(way) for way in both.values()]
    measured.append(ratios(race(both, rounds=9), "reused")["fresh"])
    middle, low, high = measured[-1]
    print(f"{size / 1000:7.0f} kB {faults[0]:19.0f} {faults[1]:7.0f}", end=" ")
    print(f"{middle:10.2f} ({low:.2f} to {high:.2f})")

figure, axes = plt.subplots()
middle, low, high = np.array(measured).T
axes.errorbar(sizes, middle, [middle - low, high - middle], marker="o", capsize=3)
axes.axhline(1, color=mh.plot.INK, linestyle="--")
axes.set(
    xlabel="bytes in an array",
    ylabel="time of fresh / reused",
    xscale="log",
    ylim=(0, None),
)
plt.show()

# %% [markdown]
# Between NumPy and the system stands the C library, which keeps memory that was freed and gives it out again. As long
# as what it has kept is enough, nothing faults. How much that is depends on the library and on *what else the program
# has allocated and freed before*: so the same line of NumPy can be fast in one program and slow in another, and you may
# see other sizes than your neighbour. Above some size (32 MB in Linux' library) nothing is kept, and every call faults.
# (Many systems use pages of 2 MB for large arrays, and count fewer faults, each dearer.) Memory that you *reuse* never
# faults. And beyond some MB the ratio falls again: the arrays do not fit into the processor's caches any more, so that
# the arithmetic has to wait for memory anyway.
#
# In a training step as one writes it everything is made afresh: activations, gradients, the optimizer's results. So
# minihybrid writes the gradients of parameters straight into one flat vector that goes back to a pool after the step
# (docs/design.md, idea 5), and the optimizer has buffers of its own.
#
# ## What an op costs
#
# An op on tensors does three things: it calls NumPy, it records a node for the backward pass, and backward calls the
# gradient formula. How much do the first two cost beyond NumPy? We multiply ten numbers by ten others, and a million.


# %%
def one_op(n):
    x, y = np.ones(n, np.float32), np.ones(n, np.float32)
    tensor, tracked = mh.Tensor(y), mh.tensor(x, requires_grad=True)
    return {"NumPy": lambda: x * y, "on a tensor": lambda: tracked * tensor}


for n in (10, 1_000, 100_000, 1_000_000):
    print(f"{n:,} numbers")
    show(race(one_op(n)), "NumPy")

# %% [markdown]
# A fixed price of a microsecond or two: for ten numbers that is more than the work itself, for a million it disappears.
# **The tape costs per op, arithmetic costs per number.** Small networks are all ops, large ones all numbers.
#
# From that follow two ways to go faster. *Fewer, larger ops*; or *the same ops without the tape*.
#
# ## Fewer ops: fusing
#
# A linear layer is a product and an addition, two ops. The package has one, `mh.linear`, that does both: one node
# instead of two, and the bias is added in place. Softmax and cross-entropy together are another: apart they need six
# passes over the logits and as many back. A fused op must not be *different*, so each names what it is made of, its
# `composition`, and the tests hold the two equal. So can you:

# %%
x = mh.Tensor(mh.Rng(0).normal((64, 64)))
w = mh.tensor(mh.Rng(1).normal((64, 128)), requires_grad=True)
bias = mh.tensor(np.zeros(128, np.float32), requires_grad=True)
logits = mh.tensor(mh.Rng(2).normal((64, 10)), requires_grad=True)
labels = mh.Rng(3).integers(0, 10, 64)


def fused_and_not(name, *args):
    """An op and its composition, forward and backward."""
    op = mh.ops.registry[name]
    return {
        "fused": lambda: op(*args).sum().backward(),
        "composition": lambda: op.composition(*args).sum().backward(),
    }


both = fused_and_not("linear", x, w, bias)
one, several = (call()[w].numpy() for call in both.values())
print("the same gradient:", np.allclose(one, several))
show(race(both), "fused")
print("and of cross-entropy")
show(race(fused_and_not("softmax_cross_entropy", logits, labels)), "fused")

# %% [markdown]
# Fusing pays, and it has a price: each fused op is a formula more that can be wrong, and one that nobody can read off
# the composition. That is why there are few of them. They were chosen by measuring whole training steps.
#
# ## A whole step
#
# Now the real thing: a step of a perceptron 64-128-10 on 64 digits, with Adam. Three contestants: backpropagation by
# hand in NumPy, as a textbook writes it; minihybrid on the tape; and minihybrid *compiled*, of which more in a moment.


# %%
def by_hand(sizes, x, y):
    """A training step in plain NumPy, for a perceptron with one hidden layer."""
    params = mh.nn.MLPConfig(sizes).init(mh.Rng(0)).named_params().values()
    p = {n: w.numpy() for n, w in zip(("w1", "b1", "w2", "b2"), params, strict=True)}
    m, v = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))
    rows, lr, t = np.arange(len(y)), 1e-9, 0

    def step():
        nonlocal t
        h = np.maximum(x @ p["w1"] + p["b1"], 0)
        logits = h @ p["w2"] + p["b2"]
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        g = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(g[rows, y]).mean()
        g[rows, y] -= 1
        g = g / len(y)
        back = g @ p["w2"].T * (h > 0)
        grads = {
            "w1": x.T @ back,
            "b1": back.sum(axis=0),
            "w2": h.T @ g,
            "b2": g.sum(axis=0),
        }
        t += 1
        for name, g in grads.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            m_hat, v_hat = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            p[name] -= lr * m_hat / (np.sqrt(v_hat) + 1e-8)
        return loss

    return step


def on_the_tape(model, optimizer, inputs, targets, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
    grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    return optimizer.step(lr, model, grads), loss


def stepper(step, sizes, x, y):
    """A call that makes one step after another of a model of its own."""
    model, optimizer = mh.nn.MLPConfig(sizes).init(mh.Rng(0)), mh.optim.Adam()

    def again():
        nonlocal model
        # The rate is so small that weights and gradients stay as they are.
        model, loss = step(model, optimizer, x, y, 1e-9)
        return loss

    return again


def contestants(sizes, x, y):
    return {
        "NumPy by hand": by_hand(sizes, x, y),
        "on the tape": stepper(on_the_tape, sizes, x, y),
        "compiled": stepper(mh.compile(on_the_tape), sizes, x, y),
    }


digits = mh.data.digits()
x, y = digits.inputs[:64], digits.targets[:64]
three = contestants((64, 128, 10), x, y)
print({name: f"{step().item():.6f}" for name, step in three.items()})
show(race(three, rounds=31), "NumPy by hand")

# %% [markdown]
# (The losses first: all three do the same.) The tape, with all its bookkeeping, costs less than one might fear, because
# it saves elsewhere: no fresh gradients, the whole optimizer as a few passes over one vector. And the compiled step
# beats both.
#
# ## Record once, replay
#
# On the tape Python decides in every step what to do: which node, which formula, which array, and always comes to the
# same decisions. `mh.compile` runs the step once on arrays that write down what is done with them, and makes a program
# of it, without tape, without decisions, each result with its place in memory. Here it is:

# %%
plan = mh.compile(on_the_tape)
small, sgd = mh.nn.MLPConfig((64, 16, 10)).init(mh.Rng(0)), mh.optim.SGD()
small, loss = plan(small, sgd, x, y, 0.1)
plan.show()

# %% [markdown]
# Straight-line NumPy. The first lines make sure that the arguments are what the recording was made for. The rest, from
# `x0.dot(w0, a0)` on, is backpropagation as you might have written it, with `out=` everywhere, and the same few pieces
# of memory used by turns. (`x` are inputs, `w` the memory of model and optimizer, `a` what is calculated on the way.)
# So it allocates hardly anything, and cannot fault, whatever the C library does.
#
# Is it the same training? Not nearly the same: *equal in every bit*, after fifty steps with Adam.

# %%
pair = {}
for name, step in {"tape": on_the_tape, "plan": mh.compile(on_the_tape)}.items():
    model, optimizer = mh.nn.MLPConfig((64, 128, 10)).init(mh.Rng(0)), mh.optim.Adam()
    for _ in range(50):
        model, loss = step(model, optimizer, x, y, 0.01)
    pair[name] = np.concatenate(
        [param.numpy().ravel() for param in model.named_params().values()]
    )
print("equal in every bit:", np.array_equal(pair["tape"], pair["plan"]))

# %% [markdown]
# ### What a plan cannot repeat
#
# A recording knows what *was* done, not why. If a step looks at a value to decide something, the recording would repeat
# the decision of the first step for ever. **Predict**: what will this do?


# %%
@mh.compile
def deciding(model, optimizer, inputs, targets, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
    if loss.item() > 1:
        lr = lr * 2
    grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    return optimizer.step(lr, model, grads), loss


model, optimizer = mh.nn.MLPConfig((64, 16, 10)).init(mh.Rng(0)), mh.optim.SGD()
try:
    deciding(model, optimizer, x, y, 0.1)
except mh.PlanError as error:
    print(textwrap.fill(str(error), 80))

# %% [markdown]
# It refuses, in a sentence, and leaves the model as it was. Arrays and numbers that a step uses without having been
# given them are refused for the same reason: everything that changes has to be an argument. What *may* change is the
# shape of a batch; then the step is recorded once more.

# %%
before = len(plan.plans)
small, loss = plan(small, sgd, x[:10], y[:10], 0.1)
print(f"{before} plan before the smaller batch, {len(plan.plans)} after it")

# %% [markdown]
# ### When it is worth it
#
# **Predict**: what becomes of the ratios when the hidden layer grows from 16 to 1,024 units?

# %%
widths = (16, 64, 256, 1024)
grown = {}
for width in widths:
    grown[width] = ratios(
        race(contestants((64, width, 10), x, y), rounds=9), "compiled"
    )

figure, axes = plt.subplots()
for name in ("NumPy by hand", "on the tape", "compiled"):
    axes.plot(
        widths, [grown[width][name][0] for width in widths], marker="o", label=name
    )
axes.set(
    xlabel="hidden units",
    ylabel="time / time of the compiled step",
    xscale="log",
    ylim=(0, None),
)
axes.set_xticks(widths, widths)
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# The smaller the network, the more of a step is Python, and the more there is to save. For large networks everything
# meets: what is left is products of matrices, and they are the same for all. A claim like "compiling makes it three
# times faster" is about a size. (The package's own benchmarks, with more contestants, more sizes and fresh processes:
# `python -m benchmarks.cpu`.)
#
# ## What a fair measurement is
#
# 1. Both sides do the same work: compare the results first.
# 2. Warm up, then measure many times; report the median and the spread.
# 3. Take turns, and take ratios within a round.
# 4. Run an A/A test, and believe nothing smaller than it shows.
# 5. Measure whole steps. An op that is ten times faster may be a hundredth of the step.
# 6. Say for which sizes, on what machine, with how many threads.
#
# ## On a GPU
#
# There a call returns as soon as its work is *queued*, so who stops the clock without waiting has measured the queue.
# And the price per op, launching a kernel, is higher than on a CPU, so small ops are dearer still. This cell races an
# element-wise product there, if there is a GPU, waiting at the end of each call; tutorial
# [8](08_the_gpu.ipynb) goes on from here.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")


def product_on(device, n):
    x, y = (device.array(np.ones(n, np.float32)) for _ in range(2))

    def product():
        x * y
        if device.name != "cpu":
            device.xp.cuda.get_current_stream().synchronize()

    return product


show(
    race(
        {
            f"{n:,} numbers": product_on(device, n)
            for n in (10, 1_000, 100_000, 1_000_000)
        }
    ),
    "10 numbers",
)

# %% [markdown]
# ## Exercises
#
# **1. Threads.** The setup cell holds matrix products to one thread. Race products of 64 x 64 and of 1,024 x 1,024 with
# one thread against two (`with threadpool_limits(2):` around the product). When do two threads help?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def with_threads(number, matrix):
#     def product():
#         with threadpool_limits(number):
#             matrix @ matrix
#
#     return product
#
#
# for n in (64, 1024):
#     matrix = np.ones((n, n), np.float32)
#     print(f"{n} x {n}")
#     contest = {f"{k} threads": with_threads(k, matrix) for k in (1, 2)}
#     show(
#         race(contest, rounds=5, clock=perf_counter), "1 threads"
#     )  # process_time would count both threads
# ```
#
# For the large product they help, if two cores are free. For the small one there is nothing to share; waiting for one
# another costs more than it brings. (Setting the limit takes time of its own, the same in both.)
#
# </details>
#
# **2. An unfair benchmark.** Make the compiled step look *slower* than NumPy by hand, without lying about any number.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# began = perf_counter()
# stepper(mh.compile(on_the_tape), (64, 128, 10), x, y)()
# compiled = perf_counter() - began
# hand = by_hand((64, 128, 10), x, y)
# began = perf_counter()
# hand()
# print(
#     f"one step: compiled {compiled / (perf_counter() - began):.0f} times as long as NumPy by hand"
# )
# ```
#
# The first call records, checks the recording, and compiles it. Who makes one step only should not compile. Who makes
# thousands has forgotten it after a few dozen.
#
# </details>
#
# **3. A buffer of your own.** Rewrite the Adam loop of `by_hand` for *one* array with `out=` and no fresh arrays, and
# race it against the textbook's lines on a million numbers.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def adam(n):
#     g = mh.Rng(0).normal(n)
#     state = {"m": np.zeros_like(g), "v": np.zeros_like(g), "w": np.zeros_like(g)}
#     m, v, w, scratch, root = (np.zeros_like(g) for _ in range(5))
#
#     def textbook():
#         state["m"] = 0.9 * state["m"] + 0.1 * g
#         state["v"] = 0.999 * state["v"] + 0.001 * g**2
#         state["w"] -= 1e-3 * (state["m"] / 0.1) / (np.sqrt(state["v"] / 0.001) + 1e-8)
#         return state["w"]
#
#     def with_buffers():
#         np.multiply(m, 0.9, out=m)
#         np.multiply(g, 0.1, out=scratch)
#         np.add(m, scratch, out=m)
#         np.multiply(v, 0.999, out=v)
#         np.multiply(g, g, out=scratch)
#         np.multiply(scratch, 0.001, out=scratch)
#         np.add(v, scratch, out=v)
#         np.multiply(v, 1000, out=root)
#         np.sqrt(root, out=root)
#         np.add(root, 1e-8, out=root)
#         np.divide(m, root, out=scratch)
#         np.multiply(scratch, 1e-3 / 0.1, out=scratch)
#         np.subtract(w, scratch, out=w)
#         return w
#
#     return {"textbook": textbook, "with buffers": with_buffers}
#
#
# pair = adam(1_000_000)
# print(
#     "the same result:",
#     np.allclose(pair["textbook"](), pair["with buffers"](), atol=1e-6),
# )
# show(race(pair, rounds=9), "with buffers")
# ```
#
# </details>
