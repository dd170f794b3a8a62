# %% [markdown]
# # 13 Many processes
#
# One process uses one core, or one GPU. Larger jobs are shared out among many, and then the price of a step is no longer
# arithmetic alone: the processes have to agree, and to agree they have to talk. This tutorial shows what they say, why
# they can say little, and what predicted steps have to do with it.
#
# Afterwards you will be able to
#
# - say what *data parallel* training exchanges, and prove that it learns what one process learns;
# - read a count of messages and bytes by phase, and explain each entry;
# - say why a predicted step needs no gradient from anybody;
# - trade messages for quality with *local steps*, and see the bill;
# - estimate by a model of cost how many processes are worth having.
#
# You should know the hybrid trainer ([tutorial 10](10_the_hybrid_trainer.ipynb)). No cluster is needed: our processes are threads,
# which say the same things to each other.

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import minihybrid as mh
from minihybrid.data import DataLoader
from minihybrid.distributed import (
    Alone,
    CommunicationError,
    Shard,
    Traffic,
    TrafficByPhase,
    evaluate_together,
)
from minihybrid.distributed.cost import CostModel
from minihybrid.hybrid import (
    FullTrainer,
    HybridConfig,
    HybridTrainer,
    LocalStepsTrainer,
    ModelWrapper,
    OptimizerWrapper,
    ParallelModel,
)
from minihybrid.train import Learner

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## Ranks, and what they say
#
# A job of `size` processes numbers them: each has a `rank`, from 0 on. They all run the same program, and now and then
# all of them make the same *collective call*. Two are enough for us:
#
# - **all_reduce**: everybody brings a vector, everybody leaves with the sum;
# - **all_gather**: everybody brings a few numbers, everybody leaves with those of all.
#
# On real processes, a library carries this out: MPI between CPUs, NCCL between GPUs. Here is one for threads. They meet
# at a *barrier*, and read what the others have put on a common board.


# %%
class ThreadRank:
    def __init__(self, rank, size, barrier, board):
        self.rank, self.size, self.barrier, self.board = rank, size, barrier, board
        self.traffic = Traffic()

    def exchange(self, mine, nbytes):
        self.traffic += Traffic(messages=1, bytes=nbytes)
        self.board[self.rank] = mine
        self.barrier.wait()  # everybody has written
        of_all = list(self.board)
        self.barrier.wait()  # everybody has read
        return of_all

    def all_reduce(self, vector):
        vector[...] = sum(self.exchange(vector.copy(), vector.nbytes))

    def all_gather(self, numbers):
        return self.exchange(tuple(map(float, numbers)), 8 * len(numbers))

    def all_gather_text(self, text):
        return self.exchange(text, len(text))

    def broadcast(self, vector, root=0):
        vector[...] = self.exchange(vector.copy(), vector.nbytes)[root]


def on_ranks(size, program):
    """What program(rank) returns on each of `size` ranks."""
    barrier, board = threading.Barrier(size, timeout=60), [None] * size
    ranks = [ThreadRank(rank, size, barrier, board) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(program, ranks))


def hello(ranks):
    vector = np.full(3, ranks.rank, float)
    ranks.all_reduce(vector)
    return ranks.rank, vector.tolist()


on_ranks(4, hello)

# %% [markdown]
# ## One gradient from many parts
#
# In *data parallel* training each rank holds a copy of the model, and takes a part of every batch. It computes the loss
# and the gradient of its part. The loss of the whole batch is the mean over its examples, and so is its gradient; so the
# ranks need only add up what they have. Then all of them make the same step, and the copies stay equal.
#
# `Shard` gives a rank its part of each batch. Here are ten examples in batches of five, on two ranks. **Predict** the
# shapes before you run the cell.

# %%
rest, valid = mh.data.digits().split(0.8, mh.Rng(0))
train, guard = rest.split(0.9, mh.Rng(1))


def parts(ranks):
    batches = Shard(DataLoader(train, 5, mh.Rng(0)), ranks.rank, ranks.size)
    return [len(next(batches).inputs) for _ in range(2)]


on_ranks(2, parts)

# %% [markdown]
# Five cannot be halved. Rank 0 has three examples and rank 1 has two, so a plain mean of the two gradients would count
# the examples of rank 1 too much. The sum has to be weighted by what each rank has. How large is the mistake otherwise?


# %%
def forward(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def gradient(batch):
    model = ModelWrapper(mh.nn.MLPConfig((64, 32, 10)).init(rng=mh.Rng(0)), forward)
    model.forward(batch)
    model.backward()
    vector = np.empty_like(model.weights)
    model.gradient_into(vector)
    return vector


whole = next(DataLoader(train, 5, mh.Rng(0)))
three, two = (next(Shard(DataLoader(train, 5, mh.Rng(0)), rank, 2)) for rank in (0, 1))
exact = gradient(whole)
plain = (gradient(three) + gradient(two)) / 2
weighted = (3 * gradient(three) + 2 * gradient(two)) / 5
for name, found in {"plain mean": plain, "weighted": weighted}.items():
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    print(f"{name:10}  relative error {error:.1e}")

# %% [markdown]
# The weighted sum is the gradient of the whole batch, but for rounding: floating-point sums depend on their order.
#
# `ParallelModel` does just this. It is a `ModelWrapper` whose loss and gradient are those of all ranks, so every trainer
# works with it and knows nothing of ranks. Let us train on four ranks, and on one, and compare the weights.


# %%
def network(seed=0):
    return mh.nn.MLPConfig((64, 32, 10)).init(rng=mh.Rng(seed))


def trained(ranks, steps=200):
    batches = Shard(DataLoader(train, 50, mh.Rng(2)), ranks.rank, ranks.size)
    model = ParallelModel(network(), forward, ranks)
    trainer = FullTrainer(model, OptimizerWrapper(mh.optim.Adam(), 0.003))
    for _ in range(steps):
        trainer.step(next(batches))
    return model.weights.copy()


four, one = on_ranks(4, trained), trained(Alone())
print("ranks equal to the bit:", all((w == four[0]).all() for w in four))
print(f"largest difference from one process: {abs(four[0] - one).max():.0e}")

# %% [markdown]
# The ranks are equal *to the bit*, because all of them used the same sum. From the single process they differ by
# rounding, which training then carries on. (In float64 the difference stays below 1e-12 over 100 steps: a test of the
# package holds it to that.)
#
# The equality is what everything rests on. A rank that decides something by its own batch, by its own clock or by its
# own random numbers leaves the others, and the next sum mixes two different models. So every 100 steps the ranks compare
# a checksum. Let us break one on purpose.


# %%
def broken(ranks):
    model = ParallelModel(network(), forward, ranks, check_every=10)
    trainer = FullTrainer(model, OptimizerWrapper(mh.optim.SGD(), 0.1))
    batches = Shard(DataLoader(train, 50, mh.Rng(2)), ranks.rank, ranks.size)
    try:
        for step in range(20):
            if step == 3 and ranks.rank == 2:
                model.weights[2070] += 1e-6
            trainer.step(next(batches))
    except CommunicationError as error:
        return str(error)


print(on_ranks(3, broken)[0])

# %% [markdown]
# ## What it costs, and what a prediction saves
#
# Each rank counts the collective calls that it takes part in, and the bytes that it brings. `TrafficByPhase` is a
# listener that puts them down to the phase of the trainer. We run the hybrid trainer on four ranks; its predictions are
# verified on held-out examples, of which each rank has a part, too.
#
# **Predict**: a step sends the losses and the gradient of 2,410 weights. What does a *predicted* step send?


# %%
def hybrid(ranks):
    batches = Shard(DataLoader(train, 64, mh.Rng(2)), ranks.rank, ranks.size)
    held_out = Shard(DataLoader(guard, len(guard), mh.Rng(3)), ranks.rank, ranks.size)
    model = ParallelModel(network(), forward, ranks)
    optimizer = OptimizerWrapper(mh.optim.Adam(), 0.0005)  # on the low side
    config = replace(HybridConfig.minibatch(), warmup=40, payoff=None)
    trainer = HybridTrainer(model, optimizer, config, held_out)
    sent = TrafficByPhase(ranks)
    learner = Learner(
        trainer,
        batches,
        lambda m: evaluate_together(ranks, m, valid, mh.nn.cross_entropy),
        steps=400,
        listeners=[sent],
    )
    summary = learner.run()
    return sent, summary


sent, summary = on_ranks(4, hybrid)[0]
print(str(sent).replace("; ", "\n"))
print(f"{summary.ledger.predictions_accepted} predictions accepted")
print(f"{summary.evaluation.accuracy:.1%} of the validation digits")

# %%
predictions = summary.ledger.predictions_tried
steps = {"predict": predictions, "real": summary.steps - predictions}
real = sent.by_phase["full"] + sent.by_phase["warmup"]
real += sent.by_phase.get("correct", Traffic())
per_step = {"real": real.bytes, "predict": sent.by_phase["predict"].bytes}
per_step = {kind: per_step[kind] / steps[kind] for kind in per_step}

figure, axes = plt.subplots(figsize=(6.4, 2))
axes.barh(list(per_step), list(per_step.values()), color=["C0", "C2"])
axes.set_xscale("log")
axes.set_xlim(1, None)
axes.set_xlabel("bytes that a rank brings, per step")
plt.show()

# %% [markdown]
# All ranks have seen the same weights and the same gradients, so they all compute the same jump, without a word. What
# they cannot know alone is whether it helped: each has seen a part of the held-out examples. So they exchange losses, 24
# bytes a probe, and decide alike, because they decide by the common number. A real step of this small network sends 10
# kB; of a network with a hundred million weights it would be 400 MB, and the 24 bytes would still be 24 bytes.
#
# Mind what this does *not* say. A prediction that is refused has saved nothing. At a learning rate that is well tuned,
# few pay on noisy batches (tutorial [11](11_the_honest_benchmark.ipynb)); the rate above was chosen too low.
#
# ## Talking less: local steps
#
# There is a blunter way. Let every rank make K steps on its own, and only then meet: take the mean of where they are,
# and go on from there. With an outer momentum this is DiLoCo (Douillard et al., 2023). It sends K times less. But
# between meetings the ranks drift apart, and the mean of four answers is not the answer to the whole batch.


# %%
def local(ranks, every):
    batches = Shard(
        DataLoader(train, 64, mh.Rng(2), drop_last=True), ranks.rank, ranks.size
    )
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.003, total=300))
    if every == 1:
        trainer = FullTrainer(ParallelModel(network(), forward, ranks), optimizer)
    else:
        model = ModelWrapper(network(), forward)
        trainer = LocalStepsTrainer(model, optimizer, ranks, every)
    before = ranks.traffic
    for _ in range(300):
        trainer.step(next(batches))
    sent = ranks.traffic - before
    score = evaluate_together(ranks, trainer.readout(), valid, mh.nn.cross_entropy)
    return sent.bytes, score


for every in (1, 5, 20, 100):
    nbytes, score = on_ranks(4, lambda ranks, every=every: local(ranks, every))[0]
    print(
        f"{every:3} steps between meetings: {nbytes / 1e3:7,.0f} kB, "
        f"validation loss {score.loss:.3f}, {score.accuracy:.1%}"
    )

# %% [markdown]
# One seed is an anecdote; the benchmark of the project repeats this with several and gives the spread. What you see here
# is the shape of the bargain: bytes fall as 1/K, quality falls slowly at first.
#
# ## How many ranks are worth having?
#
# A message has a price even if it is empty, the *latency*, and a price per byte, one over the *bandwidth*. A sum over p
# ranks is made of several messages. Passing pieces round a ring takes 2 (p - 1) of them, each 1/p of the vector; other
# schemes take log2 p rounds of the whole. `CostModel` takes the better of the two.
#
# Take a step that costs 10 ms on one rank, for a network of ten million weights in float32, on two networks: one within
# a machine, one between machines.

# %%
compute, nbytes = 0.010, 4 * 10_000_000
networks = {
    "within a machine": CostModel(latency=2e-6, bandwidth=5e10),
    "between machines": CostModel(latency=3e-5, bandwidth=3e9),
}
ranks = 2 ** np.arange(11)


def speed_up(cost, p, real=1.0, every=1):
    """Times faster than one rank; `real`: share of steps with a gradient."""
    probes = (1 - real) * 3 * cost.all_reduce(24, p)
    talk = real * (cost.all_reduce(24, p) + cost.all_reduce(nbytes, p) / every)
    return compute / (compute / p + talk + probes)


figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
for axes, (name, cost) in zip(panels, networks.items(), strict=True):
    lines = {
        "data parallel": dict(),
        "half of the steps predicted": dict(real=0.5),
        "20 local steps": dict(every=20),
    }
    for label, options in lines.items():
        axes.loglog(
            ranks, [speed_up(cost, int(p), **options) for p in ranks], label=label
        )
    axes.loglog(ranks, ranks, color=mh.plot.INK, lw=0.8, label="ideal")
    axes.set_title(name)
    axes.set_xlabel("ranks")
panels[0].set_ylabel("times faster than one")
panels[0].legend()
plt.show()

# %% [markdown]
# With a fixed batch, the arithmetic of a rank shrinks as 1/p while the sum does not: every curve bends, and in the end
# falls. Between machines, a plain data parallel step is slower on two ranks than on one: 40 MB take 13 ms on that
# network, and there are only 10 ms to save. Predicting half of the steps halves what is said, no more. Saying it 20
# times more rarely is what helps. Nothing helps against latency, the cost of saying anything at all.
#
# (A predicted step does no backward pass either; that gain comes on top and has nothing to do with ranks.)
#
# ## On real processes
#
# ```sh
# pip install 'minihybrid[mpi]'
# mpiexec -n 4 minihybrid train --distributed
# ```
#
# In a program, `Mpi()` takes the place of our `ThreadRank`, and nothing else changes. Wrap it in `ending_together`, so
# that a rank that fails ends the job instead of leaving the others to wait:
#
# ```python
# from minihybrid.distributed import Mpi, ending_together
#
# ranks = Mpi()
# with ending_together(ranks):
#     trained(ranks)
# ```
#
# With a GPU for each rank, `Nccl(Mpi(), device)` sums on the GPUs, without a detour through the host. The rest of this
# tutorial needs one process; the next cell uses a GPU if there is one.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

batch = next(DataLoader(train.to(device), 50, mh.Rng(2)))
model = mh.nn.MLPConfig((64, 32, 10)).init(rng=mh.Rng(0), device=device)
trainer = FullTrainer(
    ParallelModel(model, forward, Alone()), OptimizerWrapper(mh.optim.Adam(), 0.003)
)
print(f"on {device.name}: loss {trainer.step(batch).loss:.4f}")

# %% [markdown]
# ## Exercises
#
# **1.** *A ring.* Write `all_reduce` for a list of vectors, one a rank, so that in each round every rank sends *one
# piece* to its right neighbour only. First p - 1 rounds in which pieces are added up on their way, then p - 1 in which
# the finished pieces go round. How many bytes does a rank send, for a vector of n bytes?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def ring(vectors):
#     p, sent = len(vectors), 0
#     pieces = [np.array_split(vector.copy(), p) for vector in vectors]
#     for turn in range(2 * (p - 1)):
#         moving = [(rank, (rank - turn) % p) for rank in range(p)]
#         content = [pieces[rank][piece].copy() for rank, piece in moving]
#         for (rank, piece), values in zip(moving, content, strict=True):
#             right = pieces[(rank + 1) % p]
#             if turn < p - 1:
#                 right[piece] = right[piece] + values
#             else:
#                 right[piece] = values
#         sent += content[0].nbytes
#     return [np.concatenate(of_rank) for of_rank in pieces], sent
#
#
# vectors = [np.random.default_rng(rank).normal(size=1000) for rank in range(4)]
# sums, sent = ring(vectors)
# assert all((total == sums[0]).all() for total in sums)
# assert np.allclose(sums[0], np.sum(vectors, axis=0))
# assert sent == 2 * 3 / 4 * vectors[0].nbytes
# ```
#
# 2 (p - 1) / p times n: hardly more than twice the vector, however many ranks there are. Each piece is added up in one
# order, on one way, so all ranks hold the same bits.
# </details>
#
# **2.** *A seed of one's own.* Give the DataLoader of each rank a seed of its own, `mh.Rng(ranks.rank)`, in `trained`.
# Do the ranks still stay equal? Is anything wrong?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def trained_apart(ranks):
#     batches = Shard(DataLoader(train, 50, mh.Rng(ranks.rank)), ranks.rank, ranks.size)
#     model = ParallelModel(network(), forward, ranks)
#     trainer = FullTrainer(model, OptimizerWrapper(mh.optim.Adam(), 0.003))
#     for _ in range(20):
#         trainer.step(next(batches))
#     return model.weights.copy()
#
#
# weights = on_ranks(4, trained_apart)
# assert all((w == weights[0]).all() for w in weights)
# ```
#
# The models stay equal: they share a gradient, whatever it is of. But the parts no longer belong to one batch. An
# example may come twice in a step and another not at all in an epoch, and the run is no longer the one that a single
# process would make. Nothing complains; a wrong result would look like a slightly worse one.
# </details>
#
# **3.** *Where does it turn?* By the model, from how many ranks on does data parallel training between machines get
# slower with every doubling? And with 20 local steps?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def best(**options):
#     cost = networks["between machines"]
#     return max(map(int, ranks), key=lambda p: speed_up(cost, p, **options))
#
#
# print(best(), best(every=20))
# assert best() < best(every=20)
# ```
#
# A larger batch would move both, as each rank would have more to do between two messages; whether a larger batch
# learns as much per example is another question (tutorial [5](05_optimizers.ipynb)).
# </details>
