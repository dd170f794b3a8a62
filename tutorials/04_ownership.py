# %% [markdown]
# # 4 Ownership
#
# In minihybrid a training step reads `model = optim.step(lr, model, grads)`. The optimizer *consumes* the model and
# hands it back, and whoever goes on with the old one gets an error. At first that looks like pedantry. This tutorial
# shows the mistakes that it catches, all of which train quietly on elsewhere, and then what lies underneath: one flat
# vector.
#
# Afterwards you will be able to
#
# - name three quiet mistakes of training loops, and show what each does to your numbers;
# - read a `MovedError`, and choose between using the new model, `clone()` and `valid()`;
# - say why consuming costs nothing;
# - work with all weights of a model as one vector: copy, undo, average, walk from one model to another;
# - write an optimizer in one line.
#
# You should know modules and their paths, as in [tutorial 3](03_modules.ipynb).

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import textwrap
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np

import minihybrid as mh
from minihybrid.optim import GradientsParams

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## A quiet mistake
#
# Here is a training loop as one might write it with plain NumPy: a linear classifier of digits, small batches, and a
# learning rate that is on the large side. Validation accuracy jumps about, so the loop keeps the best weights it has
# seen. **Predict**: will the last line print twice the same?

# %%
train, valid = mh.data.digits().split(0.8, mh.Rng(0))


def accuracy_of(weights):
    return ((valid.inputs @ weights).argmax(axis=1) == valid.targets).mean()


weights, best, best_accuracy = np.zeros((64, 10), np.float32), None, 0.0
for batch in islice(mh.data.DataLoader(train, 8, mh.Rng(1)).forever(), 300):
    powers = np.exp(batch.inputs @ weights)
    error = powers / powers.sum(axis=1, keepdims=True) - np.eye(10)[batch.targets]
    weights -= 4.0 * batch.inputs.T @ error / 8  # in place, because that is fast
    accuracy = accuracy_of(weights)
    if accuracy > best_accuracy:
        best, best_accuracy = weights, accuracy

print(
    f"the best accuracy was {best_accuracy:.1%};",
    f"the best weights have {accuracy_of(best):.1%}",
)

# %% [markdown]
# `best = weights` copies nothing. It gives the same array a second name, the loop goes on writing into it, and "the
# best weights" are the last ones. Nothing crashed, and the number in the log is one that nobody can reach again. The
# same mistake is made with real libraries every day, wherever a step writes into arrays that somebody else has kept.
#
# Two ways out are bad: to make a step return fresh arrays (costly), or to ask everybody to be careful (does not work).
# The third is *ownership*, well known from the language Rust and its deep-learning library Burn: **a model has one
# owner, and who changes it takes it over.**
#
# ## The same loop, with an owner

# %%
model = mh.nn.LinearConfig(64, 10).init(mh.Rng(0))
optim = mh.optim.SGD()


def one_step(model, optim, batch, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
    return optim.step(lr, model, GradientsParams.from_grads(loss.backward(), model))


def accuracy(model):
    guesses = model.valid()(mh.Tensor(valid.inputs)).numpy().argmax(axis=1)
    return (guesses == valid.targets).mean()


def tell(error):
    """Print a long sentence on several lines."""
    print(textwrap.fill(str(error), 80))


batches = mh.data.DataLoader(train, 8, mh.Rng(1)).forever()
best = model
model = one_step(model, optim, next(batches), lr=4.0)

try:
    accuracy(best)
except mh.MovedError as error:
    tell(error)

# %% [markdown]
# The mistake is an error now, at the first occasion, and the sentence says which line took the model (`In[4]:7` is line
# 7 of the cell with number 4) and what to do. We wanted a copy, so we say so:

# %%
best, best_accuracy = model.clone(), accuracy(model)
for batch in islice(batches, 300):
    model = one_step(model, optim, batch, lr=4.0)
    if accuracy(model) > best_accuracy:
        best, best_accuracy = model.clone(), accuracy(model)

print(
    f"the best accuracy was {best_accuracy:.1%};",
    f"the best model has {accuracy(best):.1%}",
)

# %% [markdown]
# These are the rules, all of them:
#
# | you call | the model | because |
# |---|---|---|
# | `step`, `map`, `to`, `train`, `load`, `apply_delta`, `restore` | is **consumed**: use what they return | they change it |
# | `visit`, `valid` | is **borrowed**: go on using it | they look at it |
# | `clone` | is **copied**: now there are two, with the same ids | you want both |
#
# ## The second mistake: an old graph
#
# The engine that you wrote in [tutorial 1](01_autodiff.ipynb) keeps arrays for the way back. What if a step writes into
# such an array in between? Take the loss w², whose slope is 2w, at w = 3. **Predict** both numbers.


# %%
def square(w):
    # The value, and its gradient formula, which has kept w.
    return w * w, lambda g: g * 2 * w


w = np.array(3.0)
value, formula = square(w)
print("right after the forward pass:", formula(1.0))

w -= 1.0  # a step, in place
print("after a step in between:     ", formula(1.0))

# %% [markdown]
# 4 is the slope at w = 2. But the loss that was computed is that of w = 3. Such a gradient belongs to no point at all,
# and with two losses and two steps it is easy to get one. Here the graph remembers which *generation* of the weights it
# has read, and backward compares:

# %%
first, second = next(batches), next(batches)
one = mh.nn.cross_entropy(model(mh.Tensor(first.inputs)), first.targets)
two = mh.nn.cross_entropy(model(mh.Tensor(second.inputs)), second.targets)

model = optim.step(0.1, model, GradientsParams.from_grads(one.backward(), model))
try:
    two.backward()
except mh.MovedError as error:
    tell(error)

# %% [markdown]
# What was meant is either to add the two losses up and to call `backward` once, or to compute the second loss after the
# step.
#
# ## The third mistake: gradients that are used twice
#
# Gradients are a value, so nothing adds up behind your back, and there is no `zero_grad` to forget. A step consumes
# them, too: their memory serves the next backward pass. If you want to collect them over several batches, add them.

# %%
collected = None
for batch in islice(batches, 4):
    loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
    grads = GradientsParams.from_grads(loss.backward(), model)
    collected = grads if collected is None else collected + grads
mean = collected / 4
model = optim.step(0.1, model, mean)

try:
    model = optim.step(0.1, model, mean)
except mh.MovedError as error:
    tell(error)

# %% [markdown]
# ## Borrowing
#
# `valid()` gives a view for evaluation: no gradients, dropout off. It shares the parameters with the model, so a step
# would change it under the hands of whoever holds it. Therefore it ends with the next step:

# %%
view = model.valid()
print("before a step:", view(mh.Tensor(valid.inputs[:1])).shape)

model = one_step(model, optim, next(batches), lr=4.0)
try:
    view(mh.Tensor(valid.inputs[:1]))
except mh.MovedError as error:
    tell(error)

# %% [markdown]
# ## What it costs
#
# Nothing is copied. **Predict**: is the weight of the new model at the same address in memory as that of the old one?

# %%
address = model.weight.array.ctypes.data
model = one_step(model, optim, next(batches), lr=4.0)
print("same memory:", model.weight.array.ctypes.data == address)

# %% [markdown]
# The new handle is an empty object that takes over the fields of the old one, and the old one keeps nothing but a
# sentence. This is the whole trick, in a toy:


# %%
class Owned:
    # Python calls this only where the ordinary look-up finds nothing.
    def __getattr__(self, name):
        raise mh.MovedError(f"this was {self.__dict__['_moved']}")


def take_over(old, what):
    new = object.__new__(type(old))
    new.__dict__, old.__dict__ = old.__dict__, {"_moved": what}
    return new


a = Owned()
a.weight = 5.0
b = take_over(a, "consumed by take_over")
print(b.weight)
try:
    print(a.weight)
except mh.MovedError as error:
    tell(error)

# %% [markdown]
# A living model finds its fields by the ordinary look-up, so it pays nothing. Only a dead one gets as far as
# `__getattr__`. (`minihybrid/module/module.py`, under "Ownership", is hardly longer.)
#
# ## One flat vector
#
# Where are the weights? Let us look at a network with several parameters.

# %%
batches = mh.data.DataLoader(train, 16, mh.Rng(1)).forever()
model = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0))
optim = mh.optim.Adam()
model = one_step(model, optim, next(batches), lr=0.003)

start_of_first = model.layers[0].weight.array.ctypes.data
for path, param in model.named_params().items():
    offset = (param.array.ctypes.data - start_of_first) // 4  # a float32 has 4 bytes
    print(
        f"{path:16} {param.shape!s:9} begins at {offset:4} and has {param.size} numbers"
    )

# %% [markdown]
# They lie end to end. When the optimizer first asked for it, the model's parameters moved into **one vector of 2,410
# numbers**, and each parameter became a *view* of its part: an array of its own shape over the same memory.

# %%
figure, axes = plt.subplots(figsize=(6.4, 1.6))
offset = 0
for i, (path, param) in enumerate(model.named_params().items()):
    axes.barh(0, param.size, left=offset, color=mh.plot.COLOURS[i], label=path)
    offset += param.size
figure.legend(loc="outside upper center", ncols=4)
axes.set_yticks([])
axes.set_xlabel("place in the vector")
axes.grid(False)
plt.show()

# %% [markdown]
# Why bother? Adam takes about ten passes over the weights in a step. Over one vector, these are ten calls of NumPy,
# however many layers there are; over a hundred parameters they would be a thousand. Gradients and moments are vectors
# of the same layout. And whatever can be said about *all* weights becomes one line:
#
# - `model.snapshot()` is one copy, `model.restore(snapshot)` puts it back to the bit;
# - `model.apply_delta(delta, scale)` adds `scale * delta` to all weights.
#
# ### A walk from one model to another
#
# If a model is a point in a space of 2,410 dimensions, then two models have a straight line between them. Train, and
# keep the vectors of the beginning and the end. **Predict**: going straight from one to the other, will the loss fall
# all the way? And what comes if you walk on?

# %%
before = model.snapshot().vector
for batch in islice(batches, 500):
    model = one_step(model, optim, batch, lr=0.003)
after = model.snapshot().vector


def loss_of(model, data):
    scores = model.valid()(mh.Tensor(data.inputs))
    return mh.nn.cross_entropy(scores, data.targets).item()


places = np.linspace(-0.5, 2.0, 51)
walk = {"training": [], "validation": []}
for place in places:
    there = model.clone().apply_delta(after - before, scale=place - 1)
    walk["training"].append(loss_of(there, train))
    walk["validation"].append(loss_of(there, valid))

figure, axes = plt.subplots()
for name, losses in walk.items():
    axes.semilogy(places, losses, label=name)
axes.axvline(0, color=mh.plot.INK, linewidth=0.8)
axes.axvline(1, color=mh.plot.INK, linewidth=0.8)
axes.set_xticks([0, 1], ["where it began", "where it ended"])
axes.set_ylabel("loss")
axes.legend()
plt.show()

# %% [markdown]
# Straight down, although training itself took no straight way (Goodfellow, Vinyals and Saxe saw this in 2015). A little
# beyond the end the training loss even falls on, before it turns. Could one have *jumped*, then, instead of training?
# This is the question behind the second half of this project, and [tutorial 9](09_predicting_training.ipynb) begins
# with it. Be warned: the line was drawn *after* the end was known.
#
# ### An optimizer in one line
#
# Gradient descent moves the weights by minus the learning rate times the gradient. With a vector of weights and a
# vector of gradients that is one `apply_delta`. We hold it against the library's `SGD`.

# %%
by_hand, by_library, sgd = model.clone(), model.clone(), mh.optim.SGD()
for batch in islice(batches, 20):
    inputs = mh.Tensor(batch.inputs)

    grads = mh.nn.cross_entropy(by_hand(inputs), batch.targets).backward()
    delta = {str(p.id): grads[p] for p in by_hand.named_params().values()}
    by_hand = by_hand.apply_delta(delta, scale=-0.1)

    grads = mh.nn.cross_entropy(by_library(inputs), batch.targets).backward()
    grads = GradientsParams.from_grads(grads, by_library)
    by_library = sgd.step(0.1, by_library, grads)

same = np.array_equal(by_hand.snapshot().vector, by_library.snapshot().vector)
print("the same to the last bit:", same)

# %% [markdown]
# (A delta may be a vector, or a dictionary by `ParamId`, as here.) All of [tutorial 5](05_optimizers.ipynb) is about
# better deltas.
#
# ## On a GPU
#
# `to` consumes as well: a model lives in one place. The vector is then a vector on the GPU, and everything above works
# on it there.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

model = model.to(device)
snapshot = model.snapshot()
model = model.apply_delta(snapshot.vector, scale=-1.0)  # w - w: all weights are 0 now
print("zeroed: ", abs(model.snapshot().vector).max().item(), "on", model.device.name)
model = model.restore(snapshot)
print("undone: ", abs(model.snapshot().vector - snapshot.vector).max().item())

# %% [markdown]
# ## What ownership cannot do
#
# Rust checks ownership before the program runs; Python cannot, so here the error comes when the line is reached. And
# there is a way around it: `param.array` is the raw array, and who keeps that has the first mistake of this page back.
# `param.numpy()` and `param.detach()` give copies for this reason.
#
# ## Exercises
#
# **1.** *Mend this.* It is to train until the validation loss has not improved for 20 steps, and then to return the
# best model. There are two mistakes in it, and only one raises an error.
#
# ```text
# def train_patiently(model, optim, batches):
#     best, best_loss, waiting = model, loss_of(model, valid), 0
#     for batch in batches:
#         model = one_step(model, optim, batch, lr=0.003)
#         loss = loss_of(model, valid)
#         if loss < best_loss:
#             best, best_loss = model.valid(), loss
#         waiting += 1
#         if waiting == 20:
#             return best
# ```
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def train_patiently(model, optim, batches):
#     best, best_loss, waiting = model.clone(), loss_of(model, valid), 0
#     for batch in batches:
#         model = one_step(model, optim, batch, lr=0.003)
#         loss = loss_of(model, valid)
#         waiting += 1
#         if loss < best_loss:
#             best, best_loss, waiting = model.clone(), loss, 0
#         if waiting == 20:
#             return best
#
#
# fresh = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0))
# found = train_patiently(fresh, mh.optim.Adam(), batches)
# assert accuracy(found) > 0.9
# ```
#
# `best` has to be a clone: the model is consumed by the next step, and a view ends with it. Those raise. The quiet one
# is `waiting`, which was never set back to 0. No ownership in the world finds that.
# </details>
#
# **2.** *Undo.* Write `careful_step(model, batch, lr)`: take a step of plain gradient descent, and if the loss on this
# very batch has not fallen, go back and halve `lr` until it does. (`snapshot`, `restore`.) Start it with `lr=100`.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def careful_step(model, batch, lr):
#     snapshot, sgd = model.snapshot(), mh.optim.SGD()
#     before = loss_of(model, batch)
#     while True:
#         loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
#         model = sgd.step(lr, model, GradientsParams.from_grads(loss.backward(), model))
#         if loss_of(model, batch) < before:
#             return model, lr
#         model, lr = model.restore(snapshot), lr / 2
#
#
# careful = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0))
# batch = next(batches)
# start = loss_of(careful, batch)
# careful, used = careful_step(careful, batch, lr=100.0)
# assert loss_of(careful, batch) < start and used < 100.0
# print(f"the first that helped: {used}")
# ```
#
# Mathematicians call it *backtracking*. On a single batch it is no way to train: what helps this batch may hurt all
# others.
# </details>
#
# **3.** *Average.* Small batches make the weights tremble. Train a model for 600 steps with `mh.optim.SGD()` and
# `lr=0.7`, add up `snapshot().vector` over the last 200 steps, and compare the validation loss of the last model with
# that of the average.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# sgd = mh.optim.SGD()
# trembling = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0))
# total = 0
# batches = mh.data.DataLoader(train, 16, mh.Rng(4)).forever()
# for i, batch in enumerate(islice(batches, 600)):
#     trembling = one_step(trembling, sgd, batch, lr=0.7)
#     total = total + (trembling.snapshot().vector if i >= 400 else 0)
#
# last = trembling.snapshot().vector
# averaged = trembling.clone().apply_delta(total / np.float32(200) - last)
# print(loss_of(trembling, valid), loss_of(averaged, valid))
# assert loss_of(averaged, valid) < loss_of(trembling, valid)
# ```
#
# The average is nearly always better than the last, because the trembling cancels. The library's `mh.optim.Swa` and
# `mh.optim.Ema` do this for you.
# </details>
#
# Next: [5 Optimizers](05_optimizers.ipynb).
