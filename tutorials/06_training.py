# %% [markdown]
# # 6 Training a network, and reading what it tells you
#
# You have an engine, modules, and optimizers. This tutorial puts them to work and is about the part that is left to
# you: to look at a curve and see what is wrong, to choose a learning rate without trying everything, and to know how
# far you may believe a number.
#
# Afterwards you will be able to
#
# - write a training loop with validation, and say why the data come in three parts;
# - tell by its *learning curve* whether a run needs another learning rate, another network, or more data;
# - find a good learning rate with one short run;
# - use a schedule, and say what it buys;
# - put an error bar on an accuracy, so that you do not celebrate luck;
# - train on MNIST, if you have it, and see which digits are confused.
#
# You should know modules ([tutorial 3](03_modules.ipynb)) and have met Adam ([tutorial 5](05_optimizers.ipynb)).

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## Three parts
#
# 1,797 digits are not many, and yet we split them in three:
#
# - **training**: what the gradients are taken of;
# - **validation**: what we look at while we make choices (learning rate, size, when to stop);
# - **test**: what we look at once, at the end. Choices fit the validation part a little, just as weights fit the
#   training part; only what was never looked at gives an honest number.

# %%
rest, test = mh.data.digits().split(0.8, mh.Rng(0))
train, valid = rest.split(0.75, mh.Rng(1))
print(len(train), len(valid), len(test))

figure, axes = plt.subplots(figsize=(6.4, 1.2))
mh.plot.images(axes, train.inputs[:8], train.targets[:8].tolist())
plt.show()

# %% [markdown]
# ## The loop
#
# One step: take a batch, compute the loss, run it backward, let the optimizer move the model. The learning rate is a
# function of the step, a *schedule*. Every 20 steps we look at the validation part, through `valid()`, which records no
# graph.


# %%
def loss_on(model, data):
    scores = model.valid()(mh.Tensor(data.inputs))
    return mh.nn.cross_entropy(scores, data.targets).item()


def accuracy_on(model, data):
    guesses = model.valid()(mh.Tensor(data.inputs)).argmax(axis=1)
    return (guesses == data.targets).mean().item()


def fit(model, train, valid, schedule, steps=400, seed=0):
    """The model, the loss of every step, (step, validation loss) every 20 steps."""
    optim, losses, looks = mh.optim.Adam(), [], [(0, loss_on(model, valid))]
    batches = mh.data.DataLoader(train, 64, mh.Rng(seed)).forever()
    for step, batch in enumerate(islice(batches, steps)):
        loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
        losses.append(loss.item())
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        model = optim.step(schedule(step), model, grads)
        if (step + 1) % 20 == 0:
            looks.append((step + 1, loss_on(model, valid)))
    return model, losses, looks


def network(*hidden, seed=0):
    return mh.nn.MLPConfig((64, *hidden, 10)).init(mh.Rng(seed))


model, losses, looks = fit(network(64), train, valid, mh.optim.Constant(0.01))
print(
    f"accuracy: training {accuracy_on(model, train):.1%},",
    f"validation {accuracy_on(model, valid):.1%}",
)

# %% [markdown]
# ## The learning curve
#
# The loss over the steps is the most useful picture in the trade. Its scale is logarithmic, so that the small numbers
# at the end can be told apart, and the noise of the batches is smoothed away (pale: as it was).


# %%
def draw(axes, losses, looks):
    mh.plot.learning_curve(axes, losses, label="training")
    axes.plot(*zip(*looks, strict=True), label="validation")
    axes.legend()


figure, axes = plt.subplots()
draw(axes, losses, looks)
plt.show()

# %% [markdown]
# How to read it:
#
# - *The training loss falls fast, then slowly.* Normal, and it is still on its way.
# - *It trembles.* Every batch is another one. The width of the tremble is the noise of the gradient. (The smoothed line
#   lags a little behind; that is why it begins above the other.)
# - *The validation loss has levelled out.* More steps of the same will not help where it counts.
# - *The two lines part.* The distance between them, the *generalisation gap*, is what was learned by heart.
#
# At 10 classes, guessing has a loss of ln 10 ≈ 2.3. Where does your curve begin? A first loss far from 2.3 is a mistake
# in the network or in the data.
#
# ## Four patients
#
# Here are four runs with one thing changed in each: only 100 training images, a learning rate of 0.15, one of 0.0001, a
# hidden layer of 2. The letters are dealt by lot, so that the program does not give them away. **Predict**: which is
# which?

# %%
few, _ = train.split(100 / len(train), mh.Rng(0))
changes = {
    "only 100 images": (network(64), few, 0.01),
    "learning rate 0.15": (network(64), train, 0.15),
    "learning rate 0.0001": (network(64), train, 0.0001),
    "hidden layer of 2": (network(2), train, 0.01),
}
lot = mh.Rng(1).permutation(4)
patients = {
    name: fit(model, data, valid, mh.optim.Constant(lr))
    for name, (model, data, lr) in changes.items()
}

figure, grid = plt.subplots(2, 2, figsize=(6.4, 5))
for place, (_, losses, looks) in zip(lot, patients.values(), strict=True):
    draw(grid.flat[place], losses, looks)
    grid.flat[place].set_title("ABCD"[place])
    grid.flat[place].set_ylim(min(0.1, *losses), 8)
    grid.flat[place].yaxis.set_minor_formatter("")
plt.show()

# %% [markdown]
# Have you decided? The next cell tells, with the accuracies on the images that each was trained on, and on the
# validation part.

# %%
for place, name in sorted(zip(lot, patients, strict=True)):
    model, (_, data, _) = patients[name][0], changes[name]
    print(
        f"{'ABCD'[place]}: {name:20} training {accuracy_on(model, data):4.0%},",
        f"validation {accuracy_on(model, valid):.0%}",
    )

# %% [markdown]
# - **100 images**: the training loss goes towards 0, the validation loss turns and *rises*. It learns by heart:
#   *overfitting*. More data helps, or less freedom, or stopping at the turn.
# - **Learning rate 0.15**: it begins with a jump upwards, shakes, and gets stuck where it should not. When a curve
#   looks like this, divide the learning rate by ten before you think of anything else.
# - **Learning rate 0.0001**: a smooth, lazy line, training and validation the same. Nothing is wrong with it, except
#   that you would wait all day.
# - **Hidden layer of 2**: the two lines lie close together, fall, and level out high up. The network is too small for
#   what it is asked to do: *underfitting*.
#
# The last two may look alike at first sight. Ask how the line *ends*: the lazy one is still on its way, and a larger
# rate would speed it up; the small network has nearly arrived.
#
# ## Find the learning rate
#
# The most important number of all is the learning rate, and it can be found in one run of 150 steps (Smith 2017). Start
# tiny, multiply the rate in each step, and watch: the loss stays, falls, and explodes. **Predict**: where in that
# picture is the rate that you want?

# %%
rates = np.geomspace(1e-5, 10, 150)
model, optim, tried = network(64), mh.optim.Adam(), []
batches = mh.data.DataLoader(train, 64, mh.Rng(0)).forever()
for lr, batch in zip(rates, batches, strict=False):
    loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
    tried.append(loss.item())
    grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    model = optim.step(lr, model, grads)

smooth = np.array(mh.plot.smooth(tried, 0.8))
lowest = rates[smooth.argmin()]
print(f"the loss is lowest at {lowest:.2g}; a tenth of that is {lowest / 10:.2g}")

# %% [markdown]
# Where the loss is lowest, it is about to explode: that is the edge, not the place to be. The usual advice is to take a
# tenth of it. Is that good advice? We can afford to find out: train anew at each of 13 rates, which is what the short
# run is meant to save.

# %%
tested = np.geomspace(1e-5, 10, 13)
results = []
for lr in tested:
    model, _, _ = fit(network(64), train, valid, mh.optim.Constant(lr), steps=200)
    results.append(loss_on(model, valid))

figure, axes = plt.subplots()
axes.loglog(rates, smooth, label="during the short run")
axes.loglog(tested, results, "o-", label="after 200 steps at that rate")
axes.axvline(lowest / 10, color=mh.plot.INK, label="a tenth of the lowest")
axes.set_ylim(0.05, 20)
axes.set_xlabel("learning rate")
axes.set_ylabel("loss")
axes.legend()
plt.show()

# %% [markdown]
# The vertical line is near the bottom of the valley, a little to the left of it. So a tenth is good advice on the
# cautious side; three times as much would do even better here. It is a rule of thumb, and no more: the short run sees
# only the beginning of training. But it costs a few seconds, and it is seldom wrong by a factor of a hundred, as
# guesses are.
#
# ## A schedule
#
# With a constant rate, the noise of the batches keeps the weights trembling ([tutorial 5](05_optimizers.ipynb) has a
# picture of it). A schedule that falls to 0 lets them settle. Half a cosine is the usual choice. But while the rate
# falls, the weights also travel less far. **Predict**: at a rate that is too small, one that is right, and one that is
# too large, is the cosine better or worse than the constant?

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
for lr in (0.003, 0.02, 0.1):
    found = {}
    for schedule in (mh.optim.Constant(lr), mh.optim.Cosine(lr, total=200)):
        name = type(schedule).__name__
        runs = [
            fit(network(64, seed=s), train, valid, schedule, steps=200, seed=s)
            for s in range(3)
        ]
        found[name] = np.median([loss_on(model, valid) for model, _, _ in runs])
        if lr == 0.1:
            left.plot([schedule(step) for step in range(200)], label=name)
            mh.plot.learning_curve(right, runs[0][1])
    print(f"from {lr:5}:", {name: f"{loss:.3f}" for name, loss in found.items()})
left.set_title("learning rate")
left.set_xlabel("step")
left.legend()
right.set_title("training loss, from 0.1")
plt.show()

# %% [markdown]
# (Each number is the median of three seeds.) Where the rate is too small, the cosine makes it smaller still, and loses.
# Where it is about right, there is not much in it. Where it is too large, the cosine saves the run. So this is what a
# schedule buys: you may begin bold, because you will end careful. It is no replacement for finding the rate.
#
# ## How far can you trust a number?
#
# The validation part has 360 images. A network that reads 97 of 100 digits in the long run will sometimes get 96 of 100
# of these right, sometimes 98. By how much do such counts vary? By about √(p (1 − p) / n), the *standard error*. And a
# different seed, for the first weights and the order of the batches, gives a different network. **Predict**: how far
# apart are the best and the worst of eight seeds?

# %%
cosine = mh.optim.Cosine(0.02, total=300)
runs = []
for s in range(8):
    model, _, _ = fit(network(64, seed=s), train, valid, cosine, steps=300, seed=s)
    runs.append(model)
accuracies = np.array([accuracy_on(run, valid) for run in runs])
p = accuracies.mean()
print("seeds:", "  ".join(f"{a:.1%}" for a in accuracies))
print(f"mean {p:.1%}, standard deviation over the seeds {accuracies.std(ddof=1):.1%}")
print(f"standard error of one count: {(p * (1 - p) / len(valid)) ** 0.5:.1%}")

# %% [markdown]
# So if somebody changes something and gets from 96.7 % to 97.2 % on such a set with one seed, nothing has been shown.
# Larger test sets and more seeds are the only remedies. minihybrid's own comparisons use five seeds and report medians,
# and [tutorial 11](11_the_honest_benchmark.ipynb) shows how much nonsense can be made without.
#
# Now we are done with choices, and may look at the test part. Once.

# %%
print(f"test accuracy of the first run: {accuracy_on(runs[0], test):.1%}")

# %% [markdown]
# ## MNIST
#
# The same digits in large: 28 by 28 pixels, 60,000 for training and 10,000 for testing. minihybrid downloads nothing;
# it reads MNIST's four files from a folder that the variable `MINIHYBRID_DATA` names. Where they are missing, the next
# cells use the small digits, so that you can go on reading. Where only the test part is there, as it was for the
# outputs shown here, its 10,000 images are split, and the accuracy cannot be compared with published ones.

# %%
try:
    parts = mh.data.mnist_files()
except mh.data.DataError:
    parts = {}

if "train" in parts:
    big = mh.data.mnist()
elif "test" in parts:
    big = mh.data.mnist(train=False)
else:
    big = mh.data.digits()
big_train, big_valid = big.split(0.8, mh.Rng(0))
print(
    f"{big.name}: {len(big_train):,} images of {big.inputs.shape[1]} pixels to learn,",
    f"{len(big_valid):,} for validation",
)

# %% [markdown]
# If there is a GPU, the next cell trains there. Data, model and optimizer are then all on it; nothing else changes. (On
# the CPU we ask for one thread: for small matrices, sharing the work out costs more than it brings.)

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

big_train, big_valid = big_train.to(device), big_valid.to(device)
model = mh.nn.MLPConfig((big.inputs.shape[1], 128, 10)).init(mh.Rng(0), device)
with threadpool_limits(1):
    cosine = mh.optim.Cosine(0.003, total=1000)
    model, losses, looks = fit(model, big_train, big_valid, cosine, steps=1000)
print(
    f"on {device.name}: training {accuracy_on(model, big_train):.1%},",
    f"validation {accuracy_on(model, big_valid):.1%}",
)

figure, axes = plt.subplots()
draw(axes, losses, looks)
plt.show()

# %% [markdown]
# ## Look at the mistakes
#
# One number hides what happened. A *confusion matrix* counts, for every true digit (row), what it was taken for
# (column). The mistakes alone, without the diagonal:

# %%
logits = model.valid()(mh.Tensor(big_valid.inputs))
guesses, chances = logits.argmax(axis=1).numpy(), mh.softmax(logits, axis=1).numpy()
truth, pixels = device.host(big_valid.targets), device.host(big_valid.inputs)
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (truth, guesses), 1)
np.fill_diagonal(confusion, 0)

figure, axes = plt.subplots(figsize=(4.4, 3.8))
image = axes.imshow(confusion)
axes.set_xticks(range(10))
axes.set_yticks(range(10))
axes.set_xlabel("taken for")
axes.set_ylabel("true digit")
axes.grid(False)
figure.colorbar(image)
plt.show()

true, taken_for = np.unravel_index(confusion.argmax(), confusion.shape)
print(f"most often: a {true} taken for a {taken_for}, {confusion.max()} times")

# %% [markdown]
# And the ones that the network was most certain about, and wrong. Whenever you train something, look at these. Half of
# the time they show a mistake in the data, or a clear reason.

# %%
by_certainty = chances.max(axis=1).argsort()[::-1]
worst = by_certainty[guesses[by_certainty] != truth[by_certainty]][:16]
figure, axes = plt.subplots(figsize=(6.4, 2.2))
mh.plot.images(axes, pixels[worst], [f"{truth[i]} as {guesses[i]}" for i in worst])
plt.show()

# %% [markdown]
# ## What you have not seen
#
# Dropout, normalisation, augmentation and convolutions make such networks better, and they are all in `mh.nn`;
# [tutorial 12](12_networks_from_parts.ipynb) builds with them. Nothing about reading curves changes.
#
# On the command line, `minihybrid train` does all of the above, shows the curve while it runs, and keeps the run in a
# folder.
#
# ## Exercises
#
# **1.** *Early stopping.* The patient with 100 images overfits. Write `fit_patiently(model, data, patience)`: look at
# the validation loss every 20 steps, keep the best model (a `clone`), and stop when there was no new best one in
# `patience` looks. How much lower is the validation loss of what it returns?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def fit_patiently(model, data, patience):
#     optim, best, best_loss, waiting = mh.optim.Adam(), model.clone(), float("inf"), 0
#     batches = mh.data.DataLoader(data, 64, mh.Rng(0)).forever()
#     while waiting < patience:
#         for batch in islice(batches, 20):
#             loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
#             grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
#             model = optim.step(0.01, model, grads)
#         now, waiting = loss_on(model, valid), waiting + 1
#         if now < best_loss:
#             best, best_loss, waiting = model.clone(), now, 0
#     return best
#
#
# stopped = fit_patiently(network(64), few, patience=5)
# to_the_end = patients["only 100 images"][0]
# for model in (stopped, to_the_end):
#     print(f"loss {loss_on(model, valid):.3f}, accuracy {accuracy_on(model, valid):.1%}")
# assert loss_on(stopped, valid) < loss_on(to_the_end, valid)
# ```
#
# A little lower, and in a fraction of the steps. The *accuracy* hardly changes: what grows in overfitting is mostly how
# certain the network is of its mistakes.
# </details>
#
# **2.** *More data for nothing.* A digit moved by one pixel is still the same digit. Enlarge `few` by four copies,
# moved left, right, up and down (`np.roll` on images of shape `[n, 8, 8]`), and train as before. What is it worth,
# compared with 500 real images?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# images = few.inputs.reshape(-1, 8, 8)
# moved = [np.roll(images, shift, axis) for axis in (1, 2) for shift in (-1, 1)]
# inputs = np.concatenate([images, *moved]).reshape(-1, 64)
# enlarged = mh.data.Dataset(inputs, np.tile(few.targets, 5), "moved", classes=10)
# real, _ = train.split(500 / len(train), mh.Rng(0))
#
# found = {}
# for name, data in {"100": few, "100, moved": enlarged, "500 real": real}.items():
#     trained, _, _ = fit(network(64), data, valid, mh.optim.Constant(0.01))
#     found[name] = accuracy_on(trained, valid)
# print(found)
# assert found["100"] < found["500 real"]
# ```
#
# The copies bring nothing, and with other seeds they even do harm. The digits of this set are centred with care, and
# one of eight pixels is a long way: the network spends itself on images that never come. Augmentation helps if it makes
# images that you will meet.
# </details>
#
# **3.** *Does the tenth hold?* Repeat the short run with `mh.optim.SGD(momentum=0.9)` in place of Adam. From tutorial
# 5, what do you expect of the rate? Train 300 steps at a tenth of the lowest, at a hundredth, and at the lowest itself.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def sgd_run(rates):
#     model, optim, seen = network(64), mh.optim.SGD(momentum=0.9), []
#     batches = mh.data.DataLoader(train, 64, mh.Rng(0)).forever()
#     for lr, batch in zip(rates, batches, strict=False):
#         loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
#         seen.append(loss.item())
#         grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
#         model = optim.step(lr, model, grads)
#     return model, seen
#
#
# with np.errstate(all="ignore"):
#     _, seen = sgd_run(rates)
#     edge = rates[np.nan_to_num(mh.plot.smooth(seen, 0.8), nan=10.0).argmin()]
#     losses = {}
#     for share in (0.01, 0.1, 1.0):
#         losses[share] = loss_on(sgd_run([share * edge] * 300)[0], valid)
# print(f"lowest at {edge:.2g}", losses)
# assert losses[0.1] < losses[0.01]
# ```
#
# The edge is at several times Adam's rate, as tutorial 5 makes one expect, and a tenth of it is on the cautious side
# again.
# </details>
#
# Next: [7 Going faster](07_going_faster.ipynb).
