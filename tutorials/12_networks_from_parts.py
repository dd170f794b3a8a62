# %% [markdown]
# # 12 CNN, LSTM and transformer, from the same parts
#
# Three kinds of network made three fields: convolutional networks for images, the LSTM for sequences, the transformer
# for language. They look like different inventions. Built side by side they turn out to be the same few ops (products
# of matrices, element-wise functions, sums), wired for what is known about the data beforehand. Afterwards you will be
# able to
#
# - write a convolution, an LSTM's step and an attention head by hand, and check each against the layer in the package;
# - say what each of them takes for granted (its *inductive bias*), and test it;
# - train all three with the same ten lines;
# - look inside: feature maps, gradients through time, attention weights.
#
# You need tutorials 3 (modules) and 6 (training). It takes twenty-five minutes to read and under a minute to run.

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
from minihybrid import nn
from minihybrid.data import Batch
from minihybrid.hybrid import (
    FullTrainer,
    HybridConfig,
    HybridTrainer,
    ModelWrapper,
    OptimizerWrapper,
)

threadpool_limits(1)  # the matrices are small: more threads would wait for one another
plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## One loop for all of them
#
# A model, a function from a batch to its loss, and a stream of batches: a trainer asks for no more. The learning rate
# rises for a while and then falls to 0; gradients are clipped, which the LSTM will need; and the step is compiled
# (tutorial 7).


# %%
def fit(model, forward, batches, learning_rate, steps):
    """Train with Adam; gives the model back, and the losses."""
    schedule = mh.optim.Cosine(learning_rate, steps, warmup=steps // 20)
    optimizer = OptimizerWrapper(mh.optim.Adam(), schedule, clip=1.0)
    trainer = FullTrainer(ModelWrapper(model, forward), optimizer, compile=True)
    losses = [trainer.step(batch).loss for batch in islice(batches, steps)]
    return trainer.model_wrapper.take(), losses


# %% [markdown]
# ## Images: convolution
#
# To a perceptron an image is a list of numbers. Shuffle the pixels of all images in the same way, and it learns as well
# as before: it does not know that pixels have neighbours. A *convolution* knows. It looks at a small window, 3 x 3, and
# computes one weighted sum of it; then it moves the window by one pixel and uses *the same* weights. Nine numbers for
# the whole image. The weights are called a *kernel*, the result a *feature map*.


# %%
def convolve(image, kernel):
    """Slowly and plainly: [h, w] and [3, 3] -> [h, w], with zeros around the image."""
    padded, out = np.pad(image, 1), np.empty_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            out[i, j] = (padded[i : i + 3, j : j + 3] * kernel).sum()
    return out


train, valid = mh.data.digits().split(0.8, mh.Rng(0))
image = train.inputs[3].reshape(8, 8)
kernels = {
    "the image": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "from dark to light": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "the same, downwards": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
    "blurred": [[1 / 9] * 3] * 3,
}
figure, panels = plt.subplots(1, 4, figsize=(9, 2.6))
for axes, (name, kernel) in zip(panels, kernels.items(), strict=True):
    axes.imshow(convolve(image, np.array(kernel, np.float32)))
    axes.set_title(name)
    axes.axis("off")
plt.show()

# %% [markdown]
# How is that made of ops that we have? Take the nine shifted copies of the image, lay them side by side as the columns
# of a matrix, one row for each pixel. The convolution is now a *product of matrices*, this one times the kernel as a
# column. Gradients come for free, because slices and products have them. That is also how the fast op of the package
# does it.


# %%
def convolve_by_product(image, kernel):
    h, w = image.shape
    padded = mh.pad(image, 1)
    windows = mh.stack(
        [padded[i : i + h, j : j + w].reshape(-1) for i in range(3) for j in range(3)],
        axis=1,
    )
    return (windows @ kernel.reshape(9, 1)).reshape(h, w)


kernel = mh.tensor(mh.Rng(0).normal((3, 3)))
by_product = convolve_by_product(mh.tensor(image), kernel).numpy()
in_package = mh.conv2d(
    mh.tensor(image[None, None]), kernel.reshape(1, 1, 3, 3), padding=1
).numpy()[0, 0]
print(
    "loops and product agree:  ",
    np.allclose(convolve(image, kernel.numpy()), by_product, atol=1e-6),
)
print("product and package agree:", np.allclose(by_product, in_package, atol=1e-6))

# %% [markdown]
# Now a network. In the second layer each kernel looks at all feature maps of the first, and `max_pool2d` halves the
# image by keeping the largest of each 2 x 2 pixels. For comparison a perceptron with about as many parameters.


# %%
class CNN(mh.Module):
    first: nn.Conv2d
    second: nn.Conv2d
    output: nn.Linear

    def features(self, x):
        x = mh.max_pool2d(mh.relu(self.first(x.reshape(-1, 1, 8, 8))), 2)
        return mh.relu(self.second(x))

    def forward(self, x):
        x = self.features(x)
        return self.output(x.reshape(len(x), -1))


def new_cnn(rng, device="cpu"):
    return CNN(
        nn.Conv2dConfig(1, 8, 3, padding=1).init(rng, device),
        nn.Conv2dConfig(8, 16, 3, padding=1).init(rng, device),
        nn.LinearConfig(16 * 4 * 4, 10).init(rng, device),
    )


def classify(model, batch):
    return model, nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def accuracy(model, images):
    guesses = model.valid()(mh.Tensor(images)).numpy().argmax(axis=1)
    return (guesses == valid.targets).mean()


def images(seed=2):
    return mh.data.DataLoader(train, 64, mh.Rng(seed), drop_last=True).forever()


networks = {
    "perceptron": nn.MLPConfig((64, 50, 10)).init(mh.Rng(1)),
    "CNN": new_cnn(mh.Rng(1)),
}
for name in networks:
    networks[name], losses = fit(
        networks[name], classify, images(), learning_rate=0.01, steps=400
    )
    reached = accuracy(networks[name], valid.inputs)
    print(f"{name:10} {networks[name].num_params()} parameters, accuracy {reached:.1%}")

# %% [markdown]
# Fewer mistakes with as many parameters, because a stroke that was learned at one place is known at every other. Does
# that mean that the network does not care where the digit stands?
#
# **Predict**: all validation images are moved by one pixel of the eight, to the right. What happens to the accuracy of
# the perceptron, and to that of the CNN?


# %%
def moved(images, pixels):
    x = np.zeros_like(images.reshape(-1, 8, 8))
    x[:, :, pixels:] = images.reshape(-1, 8, 8)[:, :, : 8 - pixels]
    return x.reshape(-1, 64)


for name, model in networks.items():
    print(f"{name:10} {accuracy(model, moved(valid.inputs, 1)):.1%}")

# %% [markdown]
# Both collapse. The *features* move along with the image (convolution is *equivariant*), but the output layer has its
# own weights for every place, and those have seen digits in the middle only. A network that does not care has to be
# told so, by moved images in training, or by an output that forgets the place (exercise 1). What a network takes for
# granted is exactly what its wiring says, and no more.
#
# What do the kernels see? These are the 16 feature maps of the second layer, 4 x 4 each, for the image above. Each
# lights up at the places where it has found what it looks for; one has found nothing here.

# %%
maps = networks["CNN"].features(mh.tensor(train.inputs[3:4])).numpy()[0]
figure, axes = plt.subplots(figsize=(6.4, 2.4))
mh.plot.images(axes, maps / maps.max(), columns=8)

# %% [markdown]
# ## Sequences: a state that is carried along
#
# A *recurrent* network reads a sequence value by value and keeps a state `h`. Each step makes a new state of the old
# one and the new value, with the same weights each time: what the convolution does in space, this does in time. The
# simplest is `h' = tanh(x W + h U + b)`.
#
# To learn from something fifty steps ago, the gradient has to come back through fifty products with `U` and fifty
# slopes of tanh. **Predict**: how much of it arrives?
#
# The *LSTM* (long short-term memory) keeps a second state `c`, a *cell*, which is only multiplied and added to:
# `c' = f * c + i * candidate`. Three *gates* between 0 and 1 decide: `f` what to keep, `i` what to let in, and `o` what
# to show, `h' = o * tanh(c')`. Where the gate `f` stays near 1, the gradient of `c` passes unchanged. One step, by
# hand, and the layer of the package for comparison:


# %%
def lstm_step(layer, x, h, c):
    gates = x @ layer.weight_input + layer.bias_input
    gates = gates + h @ layer.weight_hidden + layer.bias_hidden
    n = h.shape[-1]
    i, f, candidate, o = (gates[..., k * n : (k + 1) * n] for k in range(4))
    c = mh.sigmoid(f) * c + mh.sigmoid(i) * mh.tanh(candidate)
    return mh.sigmoid(o) * mh.tanh(c), c


layer = nn.LSTMConfig(1, 16).init(mh.Rng(0))
series = mh.tensor(mh.Rng(1).normal((1, 60, 1)))
h = c = mh.tensor(np.zeros((1, 16), np.float32))
for t in range(60):
    h, c = lstm_step(layer, series[:, t], h, c)
outputs, (h_package, c_package) = layer(series)
same = np.allclose(h.numpy(), h_package.numpy(), atol=1e-6)
print("by hand as in the package:", same)

# %% [markdown]
# And the gradient: how much does the last output depend on each value of the series? We ask a simple recurrent network,
# the LSTM as it is drawn at first, and the same LSTM with 4 added to the bias of its forget gate, so that f ≈ 1.


# %%
def sensitivity(layer):
    x = mh.tensor(series.numpy(), requires_grad=True)
    outputs, _ = layer(x)
    return np.abs((outputs[:, -1] ** 2).sum().backward()[x].numpy()[0, :, 0])


class KeepMore(mh.ModuleMapper):
    def map_param(self, path, param):
        if path != "bias_input":
            return param
        bias = param.numpy()
        bias[16:32] += 4  # the gates lie in the order i, f, candidate, o
        return mh.Param(bias)


figure, axes = plt.subplots()
axes.plot(
    sensitivity(nn.RNNConfig(1, 16).init(mh.Rng(0))), label="simple recurrent network"
)
axes.plot(sensitivity(layer), label="LSTM")
axes.plot(sensitivity(layer.clone().map(KeepMore())), label="LSTM, forget gates open")
axes.set(
    xlabel="position in the series",
    ylabel="|gradient of the last output|",
    yscale="log",
)
axes.legend()
plt.show()

# %% [markdown]
# Sixty steps back, the simple network has 10⁻²⁰ of it left: *vanishing gradients*. The LSTM as it is drawn is better,
# but its gates stand half open, and 0.5⁶⁰ is not much either. With open gates the gradient arrives. That is the whole
# idea of the LSTM, and why people set this bias.
#
# Now train one: it sees 20 values of a sine of unknown period and phase, and has to continue it, feeding its own
# answers back. The gradient goes back through all of them.


# %%
class Forecaster(mh.Module):
    lstm: nn.LSTM
    head: nn.Linear

    def forward(self, start, length):
        outputs, state = self.lstm(start)
        values = [self.head(outputs[:, -1:])]
        while len(values) < length:
            outputs, state = self.lstm(values[-1], state)
            values.append(self.head(outputs))
        return mh.concatenate(values, axis=1)


def waves(rng, n, length):
    period, phase = rng.uniform((n, 1, 1), 12, 30), rng.uniform((n, 1, 1), 0, 2 * np.pi)
    return np.sin(
        2 * np.pi * np.arange(length, dtype=np.float32)[:, None] / period + phase
    )


def wave_batches(seed=0):
    rng = mh.Rng(seed)
    while True:
        yield Batch(*np.split(waves(rng, 32, 40), [20], axis=1))


def continue_wave(model, batch):
    return model, nn.mse(model(mh.Tensor(batch.inputs), 20), batch.targets)


rng = mh.Rng(0)
forecaster = Forecaster(
    nn.LSTMConfig(1, 24).init(rng), nn.LinearConfig(24, 1).init(rng)
)
forecaster, losses = fit(
    forecaster, continue_wave, wave_batches(), learning_rate=0.02, steps=600
)

start, rest = np.split(waves(mh.Rng(9), 3, 80), [20], axis=1)
made_up = forecaster.valid()(mh.Tensor(start), 60).numpy()
figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True)
for axes, seen, true, guess in zip(panels, start, rest, made_up, strict=True):
    axes.plot(range(20), seen, label="seen")
    axes.plot(range(20, 80), true, color=mh.plot.INK, linestyle="--", label="true")
    axes.plot(range(20, 80), guess, label="made up")
    axes.axvline(40, color=mh.plot.INK, linewidth=0.5)
    axes.set_xlabel("step")
figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
)
plt.show()

# %% [markdown]
# Up to the thin line it was trained; beyond, it is on its own. (What it has seen of the third wave is less than a
# period, and there it is least sure.) It has found something like an oscillator in its 24 cells, and the errors that
# you see are small differences in the period that add up.
#
# ## Sets: attention
#
# A recurrent network has to carry everything through one state. *Attention* looks directly: each position asks a
# *query*, each position holds a *key* and a *value*, and the answer is the mean of the values, weighted by how well
# their keys fit the query. Four lines:


# %%
def attend(layer, x):
    q, k, v = layer.query(x), layer.key(x), layer.value(x)
    weights = mh.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]).item(), axis=-1)
    return layer.output(weights @ v)


layer = nn.MultiHeadAttentionConfig(16, heads=1).init(mh.Rng(0))
x = mh.tensor(mh.Rng(1).normal((2, 5, 16)))
same = np.allclose(attend(layer, x).numpy(), layer(x).numpy(), atol=1e-6)
print("by hand as in the package:", same)

# %% [markdown]
# With several *heads*, features are dealt out to several such means side by side. A *transformer* layer is attention
# and then a small perceptron on each position, both added to what came in, with normalisations between.
#
# Nothing in `attend` knows where a position is: shuffle the rows of x, and the rows of the answer are shuffled in the
# same way. To attention a sequence is a *set*. Where order matters it has to be told, by adding to each element a
# vector that depends on its place, sines and cosines of different periods.
#
# The task: reverse a sequence of eight digits. **Predict**: the output at position `i` must find the digit at position
# 7 - i. What will the matrix of attention weights look like after training?


# %%
class Reverser(mh.Module):
    embedding: nn.Embedding
    position: nn.PositionalEncoding
    layer: nn.TransformerEncoderLayer
    head: nn.Linear

    def embed(self, symbols):
        return self.position(self.embedding(symbols))

    def forward(self, symbols):
        return self.head(self.layer(self.embed(symbols)))


def new_reverser(rng, kind=Reverser):
    layer = nn.TransformerEncoderLayerConfig(
        32, heads=1, d_hidden=64, dropout=0.0, norm_first=True
    )
    return kind(
        nn.EmbeddingConfig(10, 32).init(rng),
        nn.PositionalEncodingConfig(32).init(),
        layer.init(rng),
        nn.LinearConfig(32, 10).init(rng),
    )


def sequences(seed=0, length=8):
    rng = mh.Rng(seed)
    while True:
        symbols = rng.integers(0, 10, (64, length))
        yield Batch(symbols, symbols[:, ::-1].copy())


def reverse(model, batch):
    return model, nn.cross_entropy(model(batch.inputs), batch.targets)


def right(model, length=8):
    """The share of right symbols at each position, on sequences not trained on."""
    symbols = mh.Rng(99).integers(0, 10, (500, length))
    found = model.valid()(symbols).numpy().argmax(axis=-1)
    return (found == symbols[:, ::-1]).mean(axis=0)


reverser, losses = fit(
    new_reverser(mh.Rng(0)), reverse, sequences(), learning_rate=0.005, steps=300
)
print(f"{right(reverser).mean():.1%} of the symbols are right")

symbols = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
layer = reverser.layer
weights = layer.attention.weights(layer.norm1(reverser.embed(symbols))).numpy()[0, 0]
figure, axes = plt.subplots(figsize=(4, 3.4))
shown = axes.imshow(weights, vmin=0, vmax=1)
figure.colorbar(shown, label="attention")
axes.set(xlabel="looks at", ylabel="position", xticks=range(8), yticks=range(8))
axes.set_xticklabels(symbols[0])
axes.grid(False)
plt.show()

# %% [markdown]
# The anti-diagonal: each position has learned to look at its mirror image, and to ignore what stands there while it
# looks. No one told it; the pattern is the program that it has found. (With one head and one layer the picture is
# clear. In large transformers it rarely is, and attention maps are easily over-read.)
#
# ## The same trainers
#
# All three are modules: trees of names over one flat vector. So whatever works on modules works on them: visitors,
# optimizers, saving, and the hybrid trainer. It has no idea that this is a CNN.

# %%
rest, guard_set = train.split(0.9, mh.Rng(3))
guard = mh.data.DataLoader(guard_set, len(guard_set), mh.Rng(4))
batches = mh.data.DataLoader(rest, 64, mh.Rng(2)).forever()
optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(0.005, 300))
trainer = HybridTrainer(
    ModelWrapper(new_cnn(mh.Rng(1)), classify),
    optimizer,
    HybridConfig.minibatch(),
    guard,
)
for batch in islice(batches, 300):
    trainer.step(batch)
ledger = trainer.ledger
print(f"accuracy {accuracy(trainer.readout(), valid.inputs):.1%}")
print(f"{ledger.backward_passes} gradients")
print(f"{ledger.predictions_accepted} of {ledger.predictions_tried} jumps accepted")

# %% [markdown]
# ## On a GPU
#
# Convolutions are what GPUs were waiting for. Build the model on the device and move the batches there:

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

loader = mh.data.DataLoader(train.to(device), 64, mh.Rng(2), drop_last=True).forever()
model, losses = fit(
    new_cnn(mh.Rng(1), device), classify, loader, learning_rate=0.01, steps=50
)
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")

# %% [markdown]
# ## Exercises
#
# **1. A network that does not care where.** Give the CNN an output that forgets the place: the mean of each feature map
# (*global average pooling*) and a linear layer on the 16 means. What happens to the accuracy, and to that on moved
# images?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Pooled(CNN):
#     def forward(self, x):
#         return self.output(self.features(x).mean(axis=(2, 3)))
#
#
# rng = mh.Rng(1)
# pooled = Pooled(
#     nn.Conv2dConfig(1, 8, 3, padding=1).init(rng),
#     nn.Conv2dConfig(8, 16, 3, padding=1).init(rng),
#     nn.LinearConfig(16, 10).init(rng),
# )
# pooled, losses = fit(pooled, classify, images(), learning_rate=0.02, steps=400)
# print(f"where they are {accuracy(pooled, valid.inputs):.1%}")
# print(f"moved          {accuracy(pooled, moved(valid.inputs, 1)):.1%}")
# ```
#
# It loses accuracy where digits stand in the middle, because *where* a stroke is does tell digits apart, and falls far
# less when they move. (Not by nothing: the pooling by two, and what falls off the edge, do notice.)
#
# </details>
#
# **2. A GRU.** Replace the LSTM by `nn.GRU`, whose state is one tensor. How many lines change?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class GRUForecaster(Forecaster):
#     lstm: nn.GRU
#
#
# rng = mh.Rng(0)
# model = GRUForecaster(nn.GRUConfig(1, 24).init(rng), nn.LinearConfig(24, 1).init(rng))
# model, losses = fit(
#     model, continue_wave, wave_batches(), learning_rate=0.02, steps=200
# )
# print(f"{model.num_params()} parameters, loss {losses[-1]:.4f}")
# ```
#
# One, or none if one is not pedantic about the name: the state goes in and out as it is, whatever it is made of.
#
# </details>
#
# **3. Without positions.** Take the positions away from the reverser. What is the best it can do?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Unordered(Reverser):
#     def embed(self, symbols):
#         return self.embedding(symbols)
#
#
# model, losses = fit(
#     new_reverser(mh.Rng(0), Unordered),
#     reverse,
#     sequences(),
#     learning_rate=0.005,
#     steps=300,
# )
# print(f"{right(model).mean():.1%} right")
# ```
#
# More than the 10 % of guessing: it knows which digits there are, only not where, and answers with the one that is
# there most often.
#
# </details>
#
# **4. Looking back only.** A language model may not look ahead (`causal=True`). Can such a model reverse? At which
# positions will it be right?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Causal(Reverser):
#     def forward(self, symbols):
#         return self.head(self.layer(self.embed(symbols), causal=True))
#
#
# model, losses = fit(
#     new_reverser(mh.Rng(0), Causal),
#     reverse,
#     sequences(),
#     learning_rate=0.005,
#     steps=300,
# )
# print("right by position:", right(model).round(2))
# ```
#
# Position `i` needs the digit at 7 - i, which it has seen only if 7 - i ≤ i: the second half is right, the first half
# is guesses. No training can change that; the wiring forbids it.
#
# </details>
