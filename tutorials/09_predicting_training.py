# %% [markdown]
# # 9 Predicting training
#
# A training run looks smooth. The loss glides down, the weights drift along; surely one could look at the last hundred
# steps, say where the next hundred will lead, and go there at once? This tutorial takes the question apart. Afterwards
# you will be able to
#
# - record a run as a path through weight space, and look at it by *principal component analysis* (PCA);
# - say what such a picture hides;
# - extrapolate a run, and measure how many real steps the jump was worth;
# - tell a good forecast from a learning rate that is too small;
# - say where extrapolation has something to work with, and where it cannot.
#
# You need tutorials 4 (the flat vector of weights) and 6 (training, learning rates). It takes twenty minutes to read
# and under a minute to run.

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
from itertools import islice, repeat

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid.hybrid import ModelWrapper, OptimizerWrapper

threadpool_limits(1)  # the matrices are small: more threads would wait for one another
plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## A run is a path
#
# A network with `n` numbers in it is a point in a space of `n` dimensions, and training moves the point. To record the
# path we need the weights as one vector after each step. `ModelWrapper` has them as `weights`: it owns a model and
# knows how to compute its loss, by a function that you give it. `OptimizerWrapper` owns an optimizer and its learning
# rate. The next tutorial builds the hybrid trainer from these two; here we drive them by hand.

# %%
train, valid = mh.data.digits().split(0.8, mh.Rng(0))
everything = mh.data.Batch(train.inputs, train.targets)


def forward(model, batch):
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def network(seed=0):
    return ModelWrapper(mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(seed)), forward)


def record(optimizer, learning_rate, batches, steps):
    """The weights before each step, [steps, n], and the losses there."""
    model, optimizer = network(), OptimizerWrapper(optimizer, learning_rate)
    path, losses = [], []
    for batch in islice(batches, steps):
        path.append(model.weights.copy())
        losses.append(model.forward(batch).item())
        model.backward()
        optimizer.step(model)
    return np.array(path), np.array(losses)


def minibatches(size, seed=1):
    return mh.data.DataLoader(train, size, mh.Rng(seed)).forever()


# %% [markdown]
# Two runs of plain gradient descent. In the first, each step sees the whole training set (*full batch*): the gradient
# is exact. In the second, each step sees 32 images (*minibatch*), and the gradient is right only on average.

# %%
full, full_losses = record(mh.optim.SGD(), 0.5, repeat(everything), steps=300)
mini, mini_losses = record(mh.optim.SGD(), 0.2, minibatches(32), steps=300)
print(f"{full.shape[0]} points in a space of {full.shape[1]:,} dimensions")

figure, axes = plt.subplots()
axes.plot(full_losses, label="full batch")
axes.plot(mini_losses, label="minibatches of 32", alpha=0.7)
axes.set(xlabel="step", ylabel="training loss", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# ## The path in two dimensions
#
# PCA finds the directions along which points are spread most. Subtract the mean of the path and take the *singular
# value decomposition* of what is left: the right singular vectors are the directions, and the squares of the singular
# values say how much of the path's total variance lies along each.


# %%
def pca(path):
    """Coordinates along the two main directions; the share of the variance in each."""
    centred = path - path.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)
    shares = directions.S**2 / (directions.S**2).sum()
    return centred @ directions.Vh[:2].T, shares


# %% [markdown]
# For comparison we take a path that knows nothing: a *random walk*, whose every step goes in a fresh random direction.
#
# **Predict**: one panel of the three is the random walk. Will you be able to tell which? And how much of each path's
# variance do you expect in the first two of 2,410 directions?

# %%
walk = np.cumsum(mh.Rng(0).normal(full.shape), axis=0)
paths = {"full batch": full, "minibatches": mini, "random walk": walk}

figure, panels = plt.subplots(1, 3, figsize=(9, 3))
for axes, (name, path) in zip(panels, paths.items(), strict=True):
    points, shares = pca(path)
    axes.scatter(*points.T, c=np.arange(len(points)), s=6)
    axes.set(title=f"{name}: {shares[0]:.0%} + {shares[1]:.0%}", xticks=[], yticks=[])
    axes.set(
        xlabel="first direction",
        ylabel="second direction" if name == "full batch" else "",
    )

# %% [markdown]
# (Dark is early, bright is late.) All three are smooth arcs. The random walk, too: PCA of a random walk in many
# dimensions always shows this arc, with 6/π² = 61 % of the variance in the first direction, and 1/k² times as much in
# the `k`-th (Antognini and Sohl-Dickstein, 2018). So a smooth arc is no evidence of anything.
#
# The shares *are* evidence. Training has some 95 % along one line; the walk never has. Training drifts somewhere, on
# the whole. That is the first half of the truth, and the reason why people have kept trying to predict it.
#
# ## What the picture hides
#
# PCA weighs each point by how far out it is, so it sees what adds up over hundreds of steps. A forecast has to say what
# the *next* steps do. So look at steps, not at points: does a step know the direction of the next one? The measure is
# the cosine between two steps: 1 if they point the same way, 0 if they have nothing in common.
#
# **Predict**: the minibatch run has 96 % of its variance along one line. What is the mean cosine between one of its
# steps and the next: about 0.9, about 0.5, or about 0?


# %%
def cosines(path, lags):
    """The mean cosine between steps that are so many steps apart."""
    steps = np.diff(path[50:], axis=0)  # the first steps are unlike all others
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    return [(steps[:-lag] * steps[lag:]).sum(axis=1).mean() for lag in lags]


lags = range(1, 31)
figure, axes = plt.subplots()
for name, path in paths.items():
    axes.plot(lags, cosines(path, lags), marker=".", label=name)
axes.set(xlabel="steps apart", ylabel="mean cosine", ylim=(-0.25, 1.05))
axes.legend(loc="center right")
print({name: round(float(cosines(path, [1])[0]), 2) for name, path in paths.items()})

# %% [markdown]
# Full-batch steps agree almost completely, even thirty steps apart. (Odd lags are a little lower: the path zigzags
# across a narrow valley, as in tutorial 5.) Minibatch steps have *nothing* in common with their neighbours, hardly more
# than those of the random walk. The value for the very next step is even negative: what one batch overdid, the next
# step takes back.
#
# How can both be true, 96 % along a line and a cosine of nothing? Write a step as drift plus noise, μ + σξ. After `N`
# steps the drift has grown to Nμ, the noise only to √N σ, because it cancels itself. With a drift a tenth as long as
# the noise, one step is nearly all noise, and a thousand are nearly all drift. PCA shows the second, a step is made of
# the first.
#
# ## A jump, and what it is worth
#
# The simplest forecast is a straight line: the mean of the last steps, carried on for `h` more. What counts is not how
# near it comes to the weights that training would have reached, but the loss at the place where it lands. The unit that
# means something is *real steps*: how many of them would have brought the loss as low?

# %%
probe = network()


def loss_at(weights, data=everything):
    probe.place(weights)
    return probe.evaluate(data)


def mean_step(path, t, window=20):
    return (path[t] - path[t - window]) / window


def worth(loss, losses, t):
    """How many real steps after step t bring the loss as low; infinity if none does."""
    low_enough = np.flatnonzero(losses[t:] <= loss)
    return int(low_enough[0]) if len(low_enough) else np.inf


# %% [markdown]
# Take full batches, where steps agree, and Adam, the optimizer one would really use, at three learning rates. At step
# 50 we stop and look along the line.
#
# **Predict**: at which learning rate will the line be right for longest? And is that the run that you would like to
# have?

# %%
t, ahead = 50, np.arange(0, 201, 2)
runs = {
    lr: record(mh.optim.Adam(), lr, repeat(everything), steps=400)
    for lr in (0.001, 0.01, 0.04)
}

figure, panels = plt.subplots(1, 3, figsize=(9, 3))
print("learning rate   loss at step 50   best jump   lands at   worth real steps")
for axes, (lr, (path, losses)) in zip(panels, runs.items(), strict=True):
    guessed = np.array([loss_at(path[t] + h * mean_step(path, t)) for h in ahead])
    best = guessed.argmin()
    steps = worth(guessed[best], losses, t)
    row = f"{lr:13} {losses[t]:17.4f} {ahead[best]:11} {guessed[best]:10.4f}"
    print(f"{row} {steps:18}")
    axes.plot(ahead, losses[t + ahead], label="real steps")
    axes.plot(ahead, guessed, label="straight line")
    axes.set(title=f"learning rate {lr}", xlabel="steps after step 50", yscale="log")
    axes.set_ylim(losses[t + ahead[-1]] / 2, 3 * losses[t])
    axes.minorticks_off()
panels[0].set_ylabel("training loss")
panels[0].legend()
plt.show()

# %% [markdown]
# Read the table slowly, because most claims about predicting training live in its first row.
#
# At the learning rate 0.001 the forecast is marvellous: along the line the loss falls for some 150 steps, and one jump
# is worth 93 real ones. And it is worth nothing, since 0.01, without any forecast, stands at a fraction of that loss by
# step 50. A run that creeps is easy to foretell, and easy to beat: take longer steps. The straight line does just that.
#
# At 0.04, near the best for this task, the same jump is worth two steps. It took some forward passes to find out how
# long it should be, and a forward pass costs a third of a step. Nothing was gained.
#
# The best learning rate is not by chance the one that is hardest to predict. If a line through the last steps could be
# carried on for long, the steps could have been longer.
#
# One more look, later in the last run. **Predict**: by step 100 every training image is classified. Will a jump be
# worth more than two steps, or less?

# %%
path, losses = runs[0.04]
held_out = mh.data.Batch(valid.inputs, valid.targets)
t = 100
guessed = [loss_at(path[t] + h * mean_step(path, t)) for h in ahead]
best = int(np.argmin(guessed))
jumped = path[t] + ahead[best] * mean_step(path, t)
before, after = loss_at(path[t], held_out), loss_at(jumped, held_out)
steps = worth(guessed[best], losses, t)
print(f"a jump of {ahead[best]} steps is worth {steps} real ones")
print(f"training loss {losses[t]:.4f} -> {guessed[best]:.4f}")
print(f"validation loss {before:.4f} -> {after:.4f}")

# %% [markdown]
# Much more! Once every image is on the right side, all that is left for the loss is to make the weights larger, ever in
# the same direction, so that the network is surer of itself: a straight road, easy to foretell. The validation loss
# shows what it is good for. Whenever somebody shows you how predictable training is, ask *when*.
#
# ## What noise does to a jump
#
# Now minibatches. To see what happens, first a loss with two dimensions, a *river valley*: steep across (`x`), with a
# gentle slope along (`y`). The gradient has noise. We draw the path and two forecasts for thirty steps ahead: the last
# step carried on, and the drift of an *average* of the path.


# %%
def river(steps, rng, lr=0.15, steep=10.0, slope=0.3, noise=1.0):
    x, y, path = 0.0, 0.0, []
    for kick in rng.normal(steps):
        path.append((x, y))
        x, y = x - lr * (steep * x + noise * kick), y + lr * slope
    return np.array(path)


path = river(40, mh.Rng(3))
last_step = path[-1] - path[-2]
averages = path[-20:].mean(axis=0), path[-40:-20].mean(axis=0)
drift = (averages[0] - averages[1]) / 20

figure, axes = plt.subplots(figsize=(6.4, 3.2))
mh.plot.contour(axes, lambda x, y: 5 * x**2 - 0.3 * y, (-4, 4), (-0.2, 3.6))
axes.plot(*path.T, marker=".", linewidth=0.8, label="path")
for start, step, name in (
    (path[-1], last_step, "last step x 30"),
    (averages[0], drift, "drift of the average x 30"),
):
    axes.plot(*np.stack([start, start + 30 * step]).T, marker="o", label=name)
axes.set(xlabel="across the valley", ylabel="along it")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# Across the valley there is nothing to foretell: the point jitters around the middle. The last step carries the jitter
# along, times 30, up the wall. If a step has noise of size σ in a direction of curvature λ, a jump of `h` steps adds
# about λ h² σ² / 2 to the loss: it grows with the *square* of the length. An average over `N` points has `N` times less
# of it, and keeps the drift along the river.
#
# Does it hold in 2,410 dimensions? The same forecasts for the minibatch run, and one between the two: the mean of the
# last twenty steps, from the last point.

# %%
t, ahead = 100, np.unique(np.geomspace(1, 160, 24).astype(int))
newer, older = mini[t - 19 : t + 1].mean(axis=0), mini[t - 39 : t - 19].mean(axis=0)
forecasts = {
    "last step": (mini[t], mini[t] - mini[t - 1]),
    "mean of 20 steps": (mini[t], mean_step(mini, t)),
    "drift of the average": (newer, (newer - older) / 20),
}
figure, axes = plt.subplots()
axes.plot(
    ahead, [loss_at(mini[t + h]) for h in ahead], color=mh.plot.INK, label="real steps"
)
for name, (start, step) in forecasts.items():
    axes.plot(ahead, [loss_at(start + h * step) for h in ahead], label=name)
axes.set(
    xlabel="steps ahead",
    ylabel="loss on the training set",
    xscale="log",
    yscale="log",
    ylim=(0.15, 20),
)
axes.legend()
plt.show()

# %% [markdown]
# The last step is worse than useless, from the first step on. The drift of the average follows the real run for some
# eighty: it begins behind (an average of the last twenty points stands where training was ten steps ago) and with less
# noise. This is what the hybrid trainer's `Drift` does on minibatches.
#
# ## A jump, again and again
#
# One jump can be worth dozens of steps. What are many? Let us train with them: after every `N` real steps the weights
# make a jump of `H` times their mean step. No look at the loss, no checks.
#
# There is a reason for doubt. `N` steps and the jump together move the weights by 1 + H/N times what the steps alone
# did. If nothing else changes, that is what a *learning rate 1 + H/N times as high* would have done. So the honest
# question is not whether jumps help, but whether they help more than that. It can be answered by a picture: train at
# many learning rates, without jumps, with jumps, and with the higher rate instead of jumps. A fourth curve is for
# *momentum* 0.5 (tutorial 5), which carries half of each step on into the next, so that in the end each counts 1 +
# 1/2 + 1/4 + ... = 2 times.
#
# **Predict**: with H = N the factor is 2, too. Which of the curves will lie close together?


# %%
def trained(lr, seed, jump=0.0, factor=1.0, momentum=0.0, steps=400, every=20):
    """The training loss after a run with a rate that falls to 0.

    Jumps, or a higher rate, begin after the first 40 steps.
    """

    def rate(step):
        return lr * (1 - step / steps) * (factor if step >= 2 * every else 1.0)

    model, optimizer = network(seed), OptimizerWrapper(mh.optim.SGD(momentum), rate)
    before = model.weights.copy()
    for step, batch in enumerate(islice(minibatches(32, seed + 1), steps), start=1):
        model.forward_compiled(batch)
        model.backward()
        optimizer.step(model)
        if step % every == 0:
            if step > 2 * every:
                model.move(model.weights - before, jump)
            before = model.weights.copy()
    return model.evaluate(everything)


rates = 0.05 * 2 ** np.arange(0, 5.5, 0.5)
kinds = {
    "no jumps": {},
    "a jump of 20 after every 20 steps": {"jump": 1.0},
    "no jumps, twice the rate": {"factor": 2.0},
    "no jumps, momentum 0.5": {"momentum": 0.5},
}
figure, axes = plt.subplots()
with np.errstate(all="ignore"):  # some runs blow up: that is part of the answer
    for kind, options in kinds.items():
        losses = [
            np.median([trained(lr, seed, **options) for seed in range(3)])
            for lr in rates
        ]
        axes.plot(rates, losses, marker="o", label=kind)
        print(f"{kind:34} lowest loss {np.nanmin(losses):.3f}")
axes.set(
    xlabel="learning rate",
    ylabel="training loss after 400 gradients",
    xscale="log",
    yscale="log",
    ylim=(0.02, 5),
)
axes.set_xticks(rates[::2], [f"{lr:g}" for lr in rates[::2]])
axes.minorticks_off()
axes.legend()
plt.show()

# %% [markdown]
# From 0.05 to 0.4 three of the four lie on top of each other, or nearly: jumps *are* a learning rate twice as high. On
# the left they look like a breakthrough (half of the loss!), and who measures only there may write a paper.
#
# Near the bottom, where one would really train, jumps do better than twice the rate: the real steps between two jumps
# calm the steep directions, which the doubled steps overshoot. But that is not foresight. Momentum does it, too, goes
# lower, and costs nothing.
#
# It is no coincidence. Any prediction that is a fixed combination of past weights, applied again and again, is a
# *linear multistep method*: a momentum of its own kind. So these are the controls that every claim of this kind has to
# pass: *the learning rate times 1 + H/N*, and *momentum*, both tuned. There is no free lunch in a straight line.
#
# ## Where there is something to know
#
# Two things escape that argument. One is *averaging*: it removes noise, which no learning rate does (short of falling
# to zero). The other is *curvature*, where there is no noise to drown it.
#
# Near a minimum the loss is a quadratic, and gradient descent on a quadratic is a *linear iteration*: w[t + 1] = A
# w[t] + b. Its steps shrink by a different factor in each direction, and from a few steps one can calculate where they
# would all end. Take points w[j] with weights c[j] that add up to 1; the same combination of the *steps* should vanish,
# because at the minimum there are none. So choose the `c` that makes the combined step as short as it can be. That is
# *reduced rank extrapolation* (RRE; Mesina 1977, Eddy 1979), eight lines:


# %%
def rre(path, ridge=1e-6):
    """Where the last points [k + 1, n] of a path would end."""
    steps = np.diff(path, axis=0).astype(np.float64)
    gram = steps @ steps.T  # all that is needed of the steps: [k, k]
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    c = np.linalg.solve(gram, np.ones(len(gram)))
    c /= c.sum()
    return c @ path[1:]


curvatures, point, path = np.array([1.0, 0.3, 0.02]), np.ones(3), []
for _ in range(5):
    path.append(point)
    point = point - 0.9 * curvatures * point
print("after four steps:", path[-1].round(3))
print("extrapolated:    ", rre(np.array(path), ridge=0.0).round(9) + 0.0)

# %% [markdown]
# Three directions, four steps, and the minimum to nine digits; gradient descent would need some thousand steps for the
# flat one. A straight line could never do that: it has one direction, and each of the three needs another length.
#
# A network is no quadratic. But let us try, on plain gradient descent with full batches, at a learning rate near its
# best (at 2.4 it diverges). **Predict**: how many real steps do you expect from an extrapolation of the last twenty, at
# step 50, 100 and 200? And how many from the straight line?

# %%
path, losses = record(mh.optim.SGD(), 1.2, repeat(everything), steps=600)

print("step   loss    line lands at   worth    RRE lands at   worth")
for t in (50, 100, 200):
    line = min(loss_at(path[t] + h * mean_step(path, t)) for h in 2 ** np.arange(9))
    toward = rre(path[t - 20 : t + 1]) - path[t]
    target = min(loss_at(path[t] + scale * toward) for scale in (0.25, 0.5, 1.0, 2.0))
    by_line = f"{line:12.4f} {worth(line, losses, t):8}"
    by_rre = f"{target:14.4f} {worth(target, losses, t):8}"
    print(f"{t:4} {losses[t]:8.4f} {by_line} {by_rre}")

# %% [markdown]
# Here the twenty steps knew more than their mean: at step 100 RRE goes twice as far as the line. (At step 200 nearly
# all images are right, and a line will do.) This is no learning rate in disguise. It is what the last steps tell about
# the curvature, which plain gradient descent makes no use of.
#
# But count what it was measured against. Plain gradient descent is slow; Adam at 0.04 stood below all of these losses,
# or beside them, by step 50. **What a jump is worth depends on whom you ask**, and the only answer that matters is the
# one against the best that you could have done instead. Tutorial 11 is about that. The full-batch predictor of the next
# tutorial, `QuasiNewton`, goes one step further: it starts from Adam, and learns curvature from the differences of
# *gradients*, which the weights alone only hint at.
#
# What we have found, and what the next tutorial builds on:
#
# | | full batch | minibatches |
# |---|---|---|
# | does a step know the next? | yes, for dozens of steps | no: noise |
# | what can be foretold | drift *and* curvature | the drift of an average |
# | a straight line, again and again | a momentum | a momentum |
# | what is left at a tuned learning rate | curvature (RRE, quasi-Newton) | averaging, hardly more |
# | what it must be checked by | the next gradient: it is exact | losses on a held-out batch |
#
# ## On a GPU
#
# The same code runs where the arrays live. With a CUDA GPU and CuPy this records the path there; without, on the CPU.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

model = ModelWrapper(mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0), device), forward)
optimizer = OptimizerWrapper(mh.optim.Adam(), 0.01)
batch, points = (
    mh.data.Batch(device.array(train.inputs), device.array(train.targets)),
    [],
)
for _ in range(100):
    points.append(device.host(model.weights))
    model.forward(batch)
    model.backward()
    optimizer.step(model)
print(pca(np.array(points))[1][:2].round(2))

# %% [markdown]
# ## Exercises
#
# **1. PCA of the steps.** PCA of the *points* flatters. Take the PCA of the steps (`np.diff`) of the three paths
# instead: how many directions hold 90 % of their variance?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# for name, path in paths.items():
#     _, shares = pca(np.diff(path, axis=0))
#     directions = np.searchsorted(np.cumsum(shares), 0.9) + 1
#     print(f"{name:12} {directions} directions of {len(shares)}")
# ```
#
# Two for full batches, 20 for minibatches, 244 of 299 for the walk. So the noise of minibatches is no random walk,
# either: it prefers the directions in which images disagree about the gradient.
#
# </details>
#
# **2. A parabola.** If a line is good, is a parabola better? Extrapolate by w + h v + h (h + 1) a / 2, where `v` is the
# mean step of the last ten and `a` how much it has changed per step since the ten before. Compare it with the line for
# the full-batch run of Adam at 0.01 and for the minibatch run.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# for name, path in {"Adam, full batch": runs[0.01][0], "minibatches": mini}.items():
#     t, v = 100, mean_step(path, 100, window=10)
#     a = (v - mean_step(path, 90, window=10)) / 10
#     print(f"{name}\n   ahead      real      line  parabola")
#     for h in (10, 30, 100):
#         guesses = path[t + h], path[t] + h * v, path[t] + h * v + h * (h + 1) / 2 * a
#         print(f"{h:8}" + "".join(f"{loss_at(w):10.4f}" for w in guesses))
# ```
#
# On full batches it gains nothing near by and loses far out. With noise it is a catastrophe: differences of differences
# are noisier still, and h² does the rest. Each order of a forecast costs another factor of `h`.
#
# </details>
#
# **3. How large must a batch be?** Take runs of gradient descent at 0.2 with batches of 16, 64, 256 and 1,024, and the
# cosine between neighbouring steps in each. From which size on would you trust a line through the last twenty steps?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# for size in (16, 64, 256, 1024):
#     path, _ = record(mh.optim.SGD(), 0.2, minibatches(size), steps=150)
#     now = loss_at(path[120])
#     guesses = {h: loss_at(path[120] + h * mean_step(path, 120)) for h in (4, 16, 64)}
#     falls = {h: f"{now - loss:+.3f}" for h, loss in guesses.items()}
#     cosine = cosines(path, [1])[0]
#     print(f"{size:5}: cosine {cosine:+.2f}, loss {now:.3f} falls by {falls}")
# ```
#
# Somewhere above 64 images neighbouring steps begin to agree, and the line begins to help: gradients begin to be more
# signal than noise (the size where that happens is near the *gradient noise scale*: McCandlish and others, 2018).
#
# </details>
