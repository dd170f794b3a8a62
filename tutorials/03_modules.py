# %% [markdown]
# # 3 Modules, paths and ParamIds
#
# A network has many parameters, and sooner or later you want to do something to some of them: count them, freeze half
# of them, share one between two layers, save them, replace a few. In minihybrid a model is a *tree of names*, and there
# are two ways to walk it: a *visitor* reads, a *mapper* rebuilds. Everything else is ten lines on top.
#
# Afterwards you will be able to
#
# - write a module, and predict the path of each of its parameters;
# - write visitors that count, measure and draw;
# - write mappers that freeze, clip and tie parameters;
# - say what a `ParamId` is for, and why a name is not enough;
# - adapt a trained network to new digits with a sixth of its parameters, so that it forgets nothing (*low-rank
#   adaptation*);
# - save a model by its paths, and load it into another one.
#
# You should have seen a network train, for example in [tutorial 1](01_autodiff.ipynb).

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import tempfile
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minihybrid as mh
from minihybrid.nn import Linear, LinearConfig

plt.style.use(mh.plot.STYLE)
mh.seed_param_ids(0)  # so that the ids below are the same for everybody

# %% [markdown]
# ## A module
#
# Derive from `mh.Module`, write down the fields with their types, and a `forward`. There is no `__init__` to write: the
# class becomes a frozen dataclass, and its fields are its documentation.


# %%
class Classifier(mh.Module):
    body: list[Linear]
    head: Linear

    def forward(self, x):
        for layer in self.body:
            x = mh.relu(layer(x))
        return self.head(x)


def new_classifier(rng):
    body = [LinearConfig(64, 64).init(rng), LinearConfig(64, 64).init(rng)]
    return Classifier(body, LinearConfig(64, 5).init(rng))


model = new_classifier(mh.Rng(0))
model

# %% [markdown]
# Fields may be parameters, modules, lists, tuples and dictionaries of those, or anything else, which is then simply
# kept (a size, a function). **Predict** the paths of the six parameters before you run the next cell.

# %%
for path, param in model.named_params().items():
    print(f"{path:15} {param.shape!s:9} {param.id}")

# %% [markdown]
# The path says how to get there: field, index, field. The thirteen characters on the right are the *ParamId*. Its turn
# comes soon. (The same as a table: `mh.summary(model)`.)
#
# ## A visitor reads
#
# A visitor is shown every parameter with its path. Here is one that counts, by the first part of the path:


# %%
class Count(mh.ModuleVisitor):
    def __init__(self):
        self.numbers = {}

    def visit_param(self, path, param):
        part = path.partition(".")[0]
        self.numbers[part] = self.numbers.get(part, 0) + param.size


print(model.visit(Count()).numbers, "in all:", model.num_params())

# %% [markdown]
# `visit` hands the visitor back, so that its result can be read in the same line. Let us train the model a little, and
# then look inside it with another visitor. The task for this tutorial: read the digits 0 to 4.

# %%
digits = mh.data.digits()


def only(classes):
    """The images of five digits, renamed 0 to 4."""
    chosen = np.isin(digits.targets, classes)
    labels = digits.targets[chosen] - min(classes)
    return mh.data.Dataset(digits.inputs[chosen], labels, "five digits", classes=5)


def fit(model, data, steps, lr=0.003):
    optim = mh.optim.Adam()
    loader = mh.data.DataLoader(data, 50, mh.Rng(1))
    for batch in islice(loader.forever(), steps):
        loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        model = optim.step(lr, model, grads)
    return model


def accuracy(model, data):
    guesses = model.valid()(mh.Tensor(data.inputs)).numpy().argmax(axis=1)
    return float((guesses == data.targets).mean())


low, low_test = only([0, 1, 2, 3, 4]).split(0.8, mh.Rng(0))
before = model.clone()
model = fit(model, low, 300)
print(f"read correctly: {accuracy(model, low_test):.1%}")


# %%
class Values(mh.ModuleVisitor):
    def __init__(self):
        self.by_path = {}

    def visit_param(self, path, param):
        if path.endswith("weight"):
            self.by_path[path] = param.numpy().ravel()


start, end = before.visit(Values()).by_path, model.visit(Values()).by_path
figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.4), sharex=True)
for ax, path in zip(axes, end, strict=True):
    for values, label in ((start[path], "before"), (end[path], "after")):
        ax.hist(values, np.linspace(-0.5, 0.5, 42), histtype="step", label=label)
    ax.set_title(path)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# Training starts from an even distribution and moves most weights of the body only a little; the head, which has to
# tell the classes apart, changes more. Many tools of the trade, from weight decay to pruning, start from this picture.
#
# ## Names are for people, ids are for the program
#
# Suppose this classifier becomes a part of something larger. Its parameters are the same, but their paths are not.
# **Predict** what happens to paths and ids in the next cell.


# %%
class Pipeline(mh.Module):
    scale: float
    reader: Classifier

    def forward(self, x):
        return self.reader(x * self.scale)


larger = Pipeline(1.0, model.clone())
for name, tree in {"model": model, "larger": larger}.items():
    path, param = list(tree.named_params().items())[-1]
    print(f"the last parameter of {name}: {path}, {param.id}")

# %% [markdown]
# The paths have changed, the ids have not. A ParamId is 64 random bits that a parameter gets when it is made. It
# survives `clone`, `map`, `step`, moving to a GPU, saving and loading. So whatever is kept *about* a parameter while
# the program runs, such as an optimizer's moments, is kept by id; a model can be rebuilt around its parameters, and the
# optimizer still knows them. In *files* things are kept by path, because the ids of another run mean nothing there.
#
# ## A mapper rebuilds
#
# A mapper gives, for each parameter, the parameter that is to take its place. To *freeze* a parameter is to make it a
# constant: it gets no gradient, and no step moves it.


# %%
class Freeze(mh.ModuleMapper):
    def __init__(self, beginning=""):
        self.beginning = beginning

    def map_param(self, path, param):
        return param.freeze() if path.startswith(self.beginning) else param


class Trainable(mh.ModuleVisitor):
    number = 0

    def visit_param(self, path, param):
        self.number += param.size if param.trainable else 0


frozen = model.clone().map(Freeze("body"))
trained = frozen.visit(Trainable()).number
print(trained, "of", frozen.num_params(), "numbers are trained")

# %% [markdown]
# `map` *consumes* the model: the old handle is empty afterwards, and using it raises a `MovedError`. That is why we
# gave it a `clone`. [Tutorial 4](04_ownership.ipynb) is about the reasons.
#
# The second mapper changes values. `replaced` makes a parameter with the same id and a new value; the rest of the
# program does not notice.


# %%
class Clip(mh.ModuleMapper):
    def __init__(self, limit):
        self.limit = limit

    def map_param(self, path, param):
        return param.replaced(mh.clip(param.detach(), -self.limit, self.limit))


for limit in (0.3, 0.1, 0.03, 0.01):
    clipped = model.clone().map(Clip(limit))
    print(f"weights within {limit}: {accuracy(clipped, low_test):.1%}")

# %% [markdown]
# **Were you surprised** how far it goes? Look at the histogram again: at a limit of 0.03 hardly a weight is left as it
# was, and what remains is little more than its sign; still, three of four digits are read, where guessing would read
# one of five.
#
# ## Tie
#
# *Tied* parameters are one parameter at two paths. Language models do it with the matrices at both ends; here the
# second layer of the body takes the weight of the first.


# %%
class Tie(mh.ModuleMapper):
    def __init__(self, path, to):
        self.path, self.to = path, to
        self.shared = None

    def map_param(self, path, param):
        if path == self.to:
            self.shared = param
        return self.shared if path == self.path else param


tied = new_classifier(mh.Rng(0)).map(Tie("body.1.weight", to="body.0.weight"))
print(tied.num_params(), "instead of", model.num_params())
print("one parameter:", tied.body[1].weight is tied.body[0].weight)
print(list(tied.named_params()))

# %% [markdown]
# (The mapper meets `body.0.weight` first, because fields are visited in the order in which they are written. A tie to a
# path that comes *later* would find nothing yet.)
#
# The tied weight is visited once, at its first path. **Predict**: the loss reaches it along two ways. What is its
# gradient?

# %%
batch = mh.Tensor(low.inputs[:50])
one, two = tied.clone().body
two = Linear(mh.Param(two.weight), two.bias)  # the same values, another parameter
untied = Classifier([one, two], tied.clone().head)

both = mh.nn.cross_entropy(tied(batch), low.targets[:50]).backward()
apart = mh.nn.cross_entropy(untied(batch), low.targets[:50]).backward()
total = apart[untied.body[0].weight] + apart[untied.body[1].weight]
once = both[tied.body[0].weight]
print("the sum of both:", np.allclose(once.numpy(), total.numpy(), atol=1e-7))

tied = fit(tied, low, 300)
print(f"read correctly: {accuracy(tied, low_test):.1%}")
print("still one parameter:", tied.body[1].weight is tied.body[0].weight)

# %% [markdown]
# It is the diamond from tutorial 1 once more: two ways, one sum. And with 4,096 numbers fewer the network reads these
# digits about as well.
#
# ## Low-rank adaptation
#
# Now the digits 5 to 9 arrive, but only 100 images of them are labelled. We have a network that has learned to look at
# digits. What is the best use of it? There are three classic answers:
#
# 1. **head**: freeze the body, train a new head. Few numbers to train.
# 2. **all**: a new head, and train everything.
# 3. **low rank**: freeze the body, and add to each frozen matrix W a product A B of two thin ones. If W is 64 × 64,
#    then A is 64 × 4 and B is 4 × 64: 512 numbers instead of 4,096. (Hu et al. 2021, *LoRA*.)
#
# The third is a module of its own, around the layer that it adapts. B starts at zero, so that the adapted network
# starts as the old one.


# %%
class LowRank(mh.Module):
    base: Linear
    down: mh.Param
    up: mh.Param

    def forward(self, x):
        return self.base(x) + x @ self.down @ self.up


def adapt(layer, rank, rng):
    d_in, d_out = layer.weight.shape
    down = mh.Param(rng.normal((d_in, rank), std=d_in**-0.5))
    up = mh.Param(np.zeros((rank, d_out), np.float32))
    return LowRank(layer.map(Freeze()), down, up)


high = only([5, 6, 7, 8, 9])
few, high_test = high.split(100 / len(high), mh.Rng(0))


def with_new_head():
    return Classifier(model.clone().body, LinearConfig(64, 5).init(mh.Rng(2)))


low_rank = with_new_head()
body = [adapt(layer, 4, mh.Rng(3 + i)) for i, layer in enumerate(low_rank.body)]
low_rank = Classifier(body, low_rank.head)
mh.summary(low_rank)

# %% [markdown]
# Every good experiment has a *control*: a fourth network, which has never seen a digit, learns from the same 100
# images. **Predict** the ranking.

# %%
adapted = {
    "head": with_new_head().map(Freeze("body")),
    "low rank": low_rank,
    "all": with_new_head(),
    "from scratch": new_classifier(mh.Rng(5)),
}
for name in adapted:
    trained = adapted[name].visit(Trainable()).number
    adapted[name] = fit(adapted[name], few, 200)
    found = accuracy(adapted[name], high_test)
    print(f"{name:13} {trained:5} numbers trained, read correctly: {found:.1%}")

# %% [markdown]
# Three things to take home:
#
# - A new head alone is not enough: features that tell 0 to 4 apart are not those that tell 5 to 9 apart.
# - The low-rank network comes close to training everything, with a sixth of the numbers.
# - *From scratch is as good as any.* On this small task the first training was of no use for the second. Had we not run
#   the control, we would have praised the transfer. (Low rank pays where the network is large and was trained on much
#   more than the few examples at hand.)
#
# What the frozen body does buy is memory. Put the old head back on each body, and ask for the old digits:

# %%
for name in ("head", "low rank", "all"):
    body = adapted[name].clone().body
    if name == "low rank":
        body = [layer.base for layer in body]  # the adapters come off
    old = Classifier(body, model.clone().head)
    print(f"{name:9} reads the digits 0 to 4: {accuracy(old, low_test):.1%}")

# %% [markdown]
# The network in which everything was trained has *forgotten* much of what it knew. The frozen ones have not lost a bit,
# and one body with ten sets of adapters is ten networks.
#
# When an adapter is to stay, it can be folded in, and costs nothing any more: x W + x A B = x (W + A B).


# %%
def merged(layer):
    weight = layer.base.weight.detach() + layer.down.detach() @ layer.up.detach()
    return Linear(layer.base.weight.replaced(weight), layer.base.bias)


plain = adapted["low rank"].clone()
plain = Classifier([merged(layer) for layer in plain.body], plain.head)
images = mh.Tensor(high_test.inputs)
gap = abs(plain(images).numpy() - adapted["low rank"](images).numpy()).max()
print(
    f"the largest difference is {gap:.0e},",
    f"accuracy {accuracy(plain, high_test):.1%}, {plain.num_params()} parameters",
)

# %% [markdown]
# ## Files
#
# A file holds the arrays by path (in the safetensors format). Loading matches paths, keeps the ids of the model that it
# loads into, and reports what did not fit. The file below holds the classifier; `Pipeline` has it at other paths.
# **Predict** the report of the first attempt.

# %%
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "classifier.safetensors"
    mh.save(model, file)

    larger, report = larger.load(file)
    print(f"pipeline: {len(report.missing)} missing, {len(report.unused)} unused")

    fresh, report = new_classifier(mh.Rng(6)).load(file)
    print("classifier:", report)

print(f"read correctly: {accuracy(fresh, low_test):.1%}")

# %% [markdown]
# ## On a GPU
#
# `to` moves a model: new arrays, the same ids, so everything that you have built on ids goes on working. Data has to be
# where the model is.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

there = new_classifier(mh.Rng(0)).to(device)
there = fit(there, low.to(device), 300)
where = there.device.name
print(f"trained on {where}, read correctly: {accuracy(there.to('cpu'), low_test):.1%}")

# %% [markdown]
# ## Exercises
#
# **1.** *Pruning.* Write a mapper `Prune(share)` that sets the smallest `share` of each weight matrix to zero (by
# absolute value; leave the biases alone). How much of `model` can you remove before it loses a percent of accuracy?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Prune(mh.ModuleMapper):
#     def __init__(self, share):
#         self.share = share
#
#     def map_param(self, path, param):
#         if not path.endswith("weight"):
#             return param
#         values = param.numpy()
#         values[abs(values) < np.quantile(abs(values), self.share)] = 0
#         return param.replaced(values)
#
#
# for share in (0.0, 0.25, 0.5, 0.75, 0.9):
#     print(share, accuracy(model.clone().map(Prune(share)), low_test))
# pruned = model.clone().map(Prune(0.5))
# assert accuracy(pruned, low_test) > accuracy(model, low_test) - 0.03
# ```
#
# About half of the weights do nothing that anybody would miss.
# </details>
#
# **2.** Write a visitor that prints a tree: each module with its type, indented by depth, and below it its parameters
# with their shapes. (`enter_module(path, module)` and `exit_module(path, module)` are called around what a module
# holds.)
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Tree(mh.ModuleVisitor):
#     def __init__(self):
#         self.depth, self.lines = 0, []
#
#     def line(self, text):
#         self.lines.append("  " * self.depth + text)
#
#     def enter_module(self, path, module):
#         self.line(f"{path or 'model'}: {type(module).__name__}")
#         self.depth += 1
#
#     def exit_module(self, path, module):
#         self.depth -= 1
#
#     def visit_param(self, path, param):
#         self.line(f"{path.rpartition('.')[2]} {param.shape}")
#
#
# lines = model.visit(Tree()).lines
# print("\n".join(lines))
# assert lines[0] == "model: Classifier" and lines[2] == "    weight (64, 64)"
# ```
# </details>
#
# **3.** How much does rank matter? Train low-rank networks of rank 1, 2, 4, 8 and 16 on `few`, and count the numbers
# that each trains. At which rank does the product A B have as many numbers as W itself?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# for rank in (1, 2, 4, 8, 16):
#     start = with_new_head()
#     body = [adapt(layer, rank, mh.Rng(3 + i)) for i, layer in enumerate(start.body)]
#     start = Classifier(body, start.head)
#     trained = start.visit(Trainable()).number
#     print(rank, trained, accuracy(fit(start, few, 200), high_test))
# ```
#
# A and B have 64 · r numbers each, W has 64 · 64: they are even at rank 32, and beyond it the adapter is larger than
# what it adapts.
# </details>
#
# Next: [4 Ownership](04_ownership.ipynb).
