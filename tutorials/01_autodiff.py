# %% [markdown]
# # 1 Autodiff from nothing
#
# Training a network means asking one question over and over: if this weight were a little larger, how would the loss
# change? *Automatic differentiation*, autodiff for short, answers it for millions of weights at once, to the last
# digit, at the price of about two more evaluations of the loss. It is a short program, and here you write it.
#
# Afterwards you will be able to
#
# - say what reverse-mode autodiff computes, and why it is so cheap;
# - write an engine for numbers in 40 lines, and one for arrays in 100;
# - explain why the order of the backward pass matters, with a graph of four nodes as evidence;
# - check a gradient when you do not trust it;
# - train a network on handwritten digits with an engine that is yours.
#
# You need Python, a little NumPy, and the chain rule from school. At some cells you are asked to predict what they will
# print. Do it before you run them: a wrong guess is worth more than a right answer that you only read. (The notebook
# comes with its outputs; "clear all outputs" in the menu hides the answers.)

# %%
# Installs minihybrid where it is missing (on Colab, say); does nothing otherwise.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("minihybrid") is None:
    install = [sys.executable, "-m", "pip", "install", "-q", "minihybrid[plot]"]
    subprocess.check_call(install)

# %%
import math
from collections import deque
from heapq import heappop, heappush
from itertools import count

import matplotlib.pyplot as plt
import numpy as np

import minihybrid as mh

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## The slow way: try it and see
#
# The derivative of `f` at `x` is the slope of its graph there. The definition from school is already a program: go a
# little to the left, a little to the right, and divide the difference by the distance. This is the *central
# difference*.


# %%
def difference(f, x, step=1e-5):
    return (f(x + step) - f(x - step)) / (2 * step)


def f(x):
    return math.sin(x) ** 3


x = 0.7
print("by difference:", difference(f, x))
print("by hand:      ", 3 * math.sin(x) ** 2 * math.cos(x))

# %% [markdown]
# Nine digits agree. Two things are wrong with it all the same.
#
# *It is not exact.* Too large a step, and the graph bends; too small a step, and the subtraction cancels the digits.
# **Predict**: of the steps 1e-1, 1e-2, ..., 1e-12, which is the best?

# %%
exact = 3 * math.sin(x) ** 2 * math.cos(x)
steps = [10.0**-i for i in range(1, 13)]
errors = [abs(difference(f, x, step) - exact) for step in steps]

figure, axes = plt.subplots()
axes.loglog(steps, errors, marker="o")
axes.set_xlabel("step")
axes.set_ylabel("error of the slope")
axes.set_title("A difference is at its best in the middle")
plt.show()

# %% [markdown]
# On the right the error shrinks with the square of the step, because the graph bends. On the left it grows as the step
# shrinks, because a number has 16 digits and the subtraction throws most of them away.
#
# *It is slow.* A function of a million weights has a million slopes, and each one costs two evaluations. Nobody trains
# a network that way. Keep differences for what they are good at: checking.
#
# ## Numbers that remember
#
# Whatever a program computes, it computes in small steps, and we know the slope of each small step. So let every number
# remember which numbers it was made from, and how steeply it depends on each. (It also gets a number of its own, in the
# order of making. Forget about that for a while.)

# %%
made = count()


class Value:
    def __init__(self, value, parents=()):
        self.value = value
        self.parents = parents  # pairs: a value it was made from, and its slope in that
        self.order = next(made)

    def __add__(self, other):
        return Value(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        parents = [(self, other.value), (other, self.value)]
        return Value(self.value * other.value, parents)


def sin(x):
    return Value(math.sin(x.value), [(x, math.cos(x.value))])


# %% [markdown]
# Read the line for `*` slowly. If `out = x * y` and `x` grows by a little, `out` grows by `y` times as much: the slope
# in `x` is `y`, and the other way round. That is all the calculus in it.
#
# The function from above, written with values. The result knows its whole history; this is called the *graph*.

# %%
x = Value(0.7)
a = sin(x)
b = a * a
out = a * b

print(out.value)
print("was made from", [(parent.value, slope) for parent, slope in out.parents])

# %% [markdown]
# minihybrid can draw such a graph, so let us build the same there and look at it.

# %%
x_drawn = mh.tensor(0.7, requires_grad=True)
a_drawn = mh.sin(x_drawn)
mh.draw(a_drawn * (a_drawn * a_drawn), x=x_drawn)

# %% [markdown]
# `out`, the last box, depends on `a` in two ways, directly and through `b`. Two ways from one node to another are
# called a *diamond*. Remember this one.
#
# ## Backward, the obvious way
#
# The chain rule says: the slope along a path is the product of the slopes on it; and where several paths lead from
# `out` to `x`, the slopes along them add up. So walk every path from the result to the beginning, and collect.


# %%
def backward_along_paths(result):
    grads = {}

    def walk(node, slope):
        grads[node] = grads.get(node, 0.0) + slope
        for parent, local in node.parents:
            walk(parent, slope * local)

    walk(result, 1.0)
    return grads


print(backward_along_paths(out)[x], "expected:", exact)

# %% [markdown]
# Right to the last digit or so, and no step size was chosen. The gradients come back as a dictionary, by node: a
# gradient is a *value*, not something hidden inside the number. minihybrid does the same, and later you will see why.
#
# Now for the price. Let us double a number again and again: `x + x`, then that plus itself, and so on. Every step is a
# diamond. **Predict**: for 20 doublings, how often is `walk` called?


# %%
def doublings(n):
    node = x
    for _ in range(n):
        node = node + node
    return node


def calls_along_paths(node):
    return 1 + sum(calls_along_paths(parent) for parent, _ in node.parents)


print({n: calls_along_paths(doublings(n)) for n in (1, 2, 3, 10, 15)})

# %% [markdown]
# 2, 4, 8, 16, ... : the number of paths doubles with every diamond. Twenty doublings would be two million calls, and
# sixty would outlive you. A network of twenty layers has more paths than that. But it has only a few *nodes*. So visit
# every node once, and pass on everything that arrived there in one go.
#
# ## Backward, the hasty way
#
# The amount that arrives at a node is how steeply the result depends on it. Its name is *cotangent*. Let us start at
# the result with 1 and go on to whatever we meet, first come, first served.


# %%
def backward_hasty(result):
    grads, queue, met = {result: 1.0}, deque([result]), {result}
    while queue:
        node = queue.popleft()
        for parent, local in node.parents:
            grads[parent] = grads.get(parent, 0.0) + grads[node] * local
            if parent not in met:
                met.add(parent)
                queue.append(parent)
    return grads


# %% [markdown]
# Two ways to write the same product. **Predict**: will both be right?

# %%
print("a * b:", backward_hasty(a * b)[x])
print("b * a:", backward_hasty(b * a)[x])
print("exact:", exact)

# %% [markdown]
# One is right, and the other is a third of it. Follow the queue on the diamond, for `a * b`:
#
# 1. `out` passes its cotangent on to `a` and to `b`. Both stand in the queue, `a` first.
# 2. `a` passes on to `x` what has arrived so far: only the share of the direct path.
# 3. `b` passes its share on to `a`. But `a` has been visited already, and nothing tells `x` any more.
#
# This is the bug to fear in autodiff: nothing crashes, the number looks like a gradient, and it depends on the order in
# which somebody wrote a product.
#
# ## Backward, in the right order
#
# A node may pass on only when everything that can arrive has arrived, that is, after all nodes that were made from it.
# That order need not be searched for, because the program has already been through it: **what a node is made from was
# made before it.** That is what `order` is for. Always take the node with the highest number next; a *heap* keeps it at
# hand.


# %%
def backward(result):
    grads, heap, visits = {result: 1.0}, [(-result.order, result)], 0
    while heap:
        _, node = heappop(heap)
        visits += 1
        for parent, local in node.parents:
            if parent not in grads:
                grads[parent] = 0.0
                heappush(heap, (-parent.order, parent))
            grads[parent] += grads[node] * local
    return grads, visits


# %%
for out in (a * b, b * a):
    grads, visits = backward(out)
    print(grads[x], "after", visits, "visits")

# %% [markdown]
# Both are right, with one visit for each node. And the doublings?

# %%
depths = range(1, 16)
figure, axes = plt.subplots()
along_paths = [calls_along_paths(doublings(n)) for n in depths]
in_order = [backward(doublings(n))[1] for n in depths]
axes.semilogy(depths, along_paths, marker="o", label="along every path")
axes.semilogy(depths, in_order, marker="s", label="latest node first")
axes.set_xlabel("diamonds in a row")
axes.set_ylabel("visits")
axes.legend()
plt.show()

# %% [markdown]
# This is *reverse-mode* autodiff, known in networks as *backpropagation*: one walk from the result to the inputs, each
# node once, and every slope comes out at once, whether there is one input or a million. The walk costs one to two times
# as much as the computation itself, which is why training is possible at all.
#
# ## From numbers to arrays
#
# One Python object for each number is slow, so the nodes of a real engine hold arrays. Three things change:
#
# - The slope of an array in an array would be a huge table. It is never needed: what is needed is what to do with the
#   cotangent. So instead of a slope, each parent comes with a function, the *gradient formula*: cotangent in, the
#   parent's share out. (The books say *vector-Jacobian product*.)
# - The cotangent of an array has the shape of the array.
# - NumPy stretches small arrays to fit large ones (*broadcasting*). A number that was used a hundred times on the way
#   forward is to receive a hundred shares on the way back: their sum.
#
# The whole engine:


# %%
class Node:
    def __init__(self, array, parents=()):
        self.array = array
        self.parents = parents  # pairs: a node it was made from, and a gradient formula
        self.order = next(made)


def add(x, y):
    return Node(x.array + y.array, [(x, lambda g: g), (y, lambda g: g)])


def multiply(x, y):
    shares = [(x, lambda g: g * y.array), (y, lambda g: g * x.array)]
    return Node(x.array * y.array, shares)


def matmul(x, y):
    shares = [(x, lambda g: g @ y.array.T), (y, lambda g: x.array.T @ g)]
    return Node(x.array @ y.array, shares)


def tanh(x):
    out = np.tanh(x.array)
    return Node(out, [(x, lambda g: g * (1 - out * out))])


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # axes that were added in front
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] > 1)
    return g.sum(axis=stretched, keepdims=True)


def backward(result):
    grads, heap = {result: np.ones_like(result.array)}, [(-result.order, result)]
    while heap:
        _, node = heappop(heap)
        for parent, formula in node.parents:
            share = unbroadcast(formula(grads[node]), parent.array.shape)
            if parent in grads:
                grads[parent] = grads[parent] + share
            else:
                grads[parent] = share
                heappush(heap, (-parent.order, parent))
    return grads


# %% [markdown]
# (`backward` starts with ones, so where the result has several numbers, it gives the gradient of their sum.) First the
# third point. **Predict**: one number times a table of six; what is the gradient of that number?

# %%
number, table = Node(np.array(2.0)), Node(np.arange(6.0).reshape(2, 3))
grads = backward(multiply(number, table))
print(grads[number], "and that of the table has shape", grads[table].shape)

# %% [markdown]
# 0 + 1 + 2 + 3 + 4 + 5: the sum of six shares, because the number was used six times.
#
# Of the formulas, only that of `matmul` is not obvious. There is a trick for it: look at the shapes. If `x` is `[n, k]`
# and `y` is `[k, m]`, then `g` is `[n, m]`, and the share of `x` has to be `[n, k]`. With what there is, `g @ y.T` is
# the only product that fits. The trick finds most formulas; a check tells you whether it found the right one.
#
# To train a classifier, we need a loss. The network gives a number for each class, a *logit*. *Softmax* turns logits
# into probabilities, and the loss is the surprise at the right answer, minus the logarithm of its probability: the
# *cross-entropy*. Its gradient is among the best known there are: **what was predicted minus what was right**.


# %%
def cross_entropy(logits, labels):
    # Subtracting the largest leaves the ratios as they are, and nothing overflows.
    powers = np.exp(logits.array - logits.array.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    # In each row True at the right class (`like`: the same kind of array as the labels).
    right = labels[:, None] == np.arange(logits.array.shape[1], like=labels)
    loss = -np.log(probabilities[right]).mean()
    return Node(loss, [(logits, lambda g: g * (probabilities - right) / len(labels))])


# %% [markdown]
# ## Trust, but check
#
# Now differences earn their keep: once, on a small case, with no speed asked for. Move each weight a little and
# compare.

# %%
rng = np.random.default_rng(0)
inputs, labels = Node(rng.normal(size=(5, 4))), np.array([0, 2, 1, 1, 0])
w1, b1 = Node(rng.normal(size=(4, 6))), Node(rng.normal(size=6))
w2, b2 = Node(rng.normal(size=(6, 3))), Node(rng.normal(size=3))


def loss_of_network():
    hidden = tanh(add(matmul(inputs, w1), b1))
    return cross_entropy(add(matmul(hidden, w2), b2), labels)


def differences(node, step=1e-6):
    slopes = np.zeros_like(node.array)
    for place in np.ndindex(node.array.shape):
        middle = node.array[place]
        node.array[place] = middle + step
        above = loss_of_network().array
        node.array[place] = middle - step
        below = loss_of_network().array
        node.array[place] = middle
        slopes[place] = (above - below) / (2 * step)
    return slopes


grads = backward(loss_of_network())
for name, node in {"w1": w1, "b1": b1, "w2": w2, "b2": b2}.items():
    largest = abs(grads[node] - differences(node)).max()
    print(name, node.array.shape, f"largest difference: {largest:.0e}")

# %% [markdown]
# And against the engine of this project, which computes the same with the same names:

# %%
their_w1 = mh.tensor(w1.array, requires_grad=True)
their_b1 = mh.tensor(b1.array, requires_grad=True)
their_w2, their_b2 = mh.tensor(w2.array), mh.tensor(b2.array)  # not asked for
hidden = mh.tanh(mh.tensor(inputs.array) @ their_w1 + their_b1)
loss = mh.nn.cross_entropy(hidden @ their_w2 + their_b2, labels)
mh.draw(loss, w1=their_w1, b1=their_b1)

# %%
their_grads = loss.backward()

print("loss:", abs(loss.item() - loss_of_network().array))
print("w1:  ", abs(their_grads[their_w1].numpy() - grads[w1]).max())
print("b1:  ", abs(their_grads[their_b1].numpy() - grads[b1]).max())
print("is there a gradient of w2?", their_w2 in their_grads)

# %% [markdown]
# The two agree to the sixteenth digit. The last line is on purpose: minihybrid finds gradients for *leaves*, tensors
# that were made with `requires_grad=True`, and spends nothing on any other; that is why the drawing knows nothing of
# `w2`. Our engine computes a gradient for everything, even for the inputs, which nobody wants.
#
# ## It reads
#
# 1,797 handwritten digits, 8 by 8 pixels each, are part of the package. Four fifths are for training, the rest to see
# whether it works on what it was not trained on.

# %%
train, valid = mh.data.digits().split(0.8, mh.Rng(0))

figure, axes = plt.subplots(figsize=(6.4, 2.2))
mh.plot.images(axes, train.inputs[:16], train.targets[:16].tolist())
plt.show()

# %% [markdown]
# A network of one hidden layer, trained by *gradient descent*: compute the loss of all training images, and move every
# weight a little against its slope. **Predict**: after 300 such steps, how many of the 359 digits that it has never
# seen will it read correctly?

# %%
rng = np.random.default_rng(1)
weights = [
    # Divided by the root of the number of inputs, the results are neither tiny nor huge.
    Node(rng.normal(size=(64, 32)) / 64**0.5),
    Node(np.zeros(32)),
    Node(rng.normal(size=(32, 10)) / 32**0.5),
    Node(np.zeros(10)),
]


def network(pixels, w1, b1, w2, b2):
    return add(matmul(tanh(add(matmul(pixels, w1), b1)), w2), b2)


learning_rate, losses = 1.0, []
for _ in range(300):
    loss = cross_entropy(network(Node(train.inputs), *weights), train.targets)
    grads = backward(loss)
    weights = [Node(w.array - learning_rate * grads[w]) for w in weights]
    losses.append(loss.array.item())

guesses = network(Node(valid.inputs), *weights).array.argmax(axis=1)
print(f"{(guesses == valid.targets).sum()} of {len(valid)} right")

# %%
figure, axes = plt.subplots()
mh.plot.learning_curve(axes, losses, keep=0)
axes.set_title("loss on the training digits")
plt.show()

# %% [markdown]
# And these are some that it got wrong (`2 as 1` is a 2 that was read as a 1). Would you have done better?

# %%
wrong = np.flatnonzero(guesses != valid.targets)[:8]
titles = [f"{valid.targets[i]} as {guesses[i]}" for i in wrong]
figure, axes = plt.subplots(figsize=(6.4, 1.2))
mh.plot.images(axes, valid.inputs[wrong], titles)
plt.show()

# %% [markdown]
# Everything that learned here, you have read. Larger networks have more ops and better steps, but the backward pass is
# these twelve lines.
#
# ## The same program on a GPU
#
# NumPy's functions pass work on to whatever array they are given, so array code runs on a GPU as it is, if the arrays
# live there. That holds for your engine, too. Where there is no GPU, this cell does the same on the CPU.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

there = [Node(device.array(w.array)) for w in weights]
pixels, answers = Node(device.array(train.inputs)), device.array(train.targets)
loss = cross_entropy(network(pixels, *there), answers)
gradient = backward(loss)[there[0]]
print(f"on {device.name}: {type(gradient).__module__}, loss {loss.array.item():.4f}")

# %% [markdown]
# ## What is different in minihybrid
#
# Its engine is the same idea, and now you can read it: `minihybrid/autodiff/tape.py` walks, `op.py` records, and `ops/`
# is the list of formulas.
#
# | yours | minihybrid's | why |
# |---|---|---|
# | a `lambda` that keeps whatever it mentions | `@op(x=lambda g, y: g * y)`: the names are what is kept | memory: only what backward needs (tutorial 2) |
# | a gradient for every node | for leaves that asked for one | nothing is spent on inputs and constants |
# | the graph lives as long as the result | the walk frees it on the way | memory comes back early; a second `backward` says so |
# | formulas on arrays | the same formulas on arrays or on tensors | derivatives of derivatives (tutorial 2) |
# | a list of weights | a tree of named parameters over one flat vector | tutorials 3 and 4 |
#
# What neither can do: differentiate what is not a smooth function of numbers. An index, a rounding, an `if` have no
# slope; autodiff gives you the slope of the branch that was taken, and does not warn.
#
# ## Exercises
#
# **1.** Teach the engine of numbers division and `exp`. Check both at `x = 0.7`, in `exp(x) / x`.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def exp(x):
#     out = math.exp(x.value)
#     return Value(out, [(x, out)])  # exp is its own slope
#
#
# def divide(x, y):
#     return Value(x.value / y.value, [(x, 1 / y.value), (y, -x.value / y.value**2)])
#
#
# def backward_of_numbers(result):
#     grads, heap = {result: 1.0}, [(-result.order, result)]
#     while heap:
#         _, node = heappop(heap)
#         for parent, local in node.parents:
#             if parent not in grads:
#                 grads[parent] = 0.0
#                 heappush(heap, (-parent.order, parent))
#             grads[parent] += grads[node] * local
#     return grads
#
#
# x = Value(0.7)
# slope = backward_of_numbers(divide(exp(x), x))[x]
# assert abs(slope - difference(lambda x: math.exp(x) / x, 0.7)) < 1e-8
# ```
#
# (`backward` works on arrays by now, so the solution repeats the walk for numbers.)
# </details>
#
# **2.** Most libraries sort the graph before they walk it (a *topological sort*: depth first, and a node is listed
# after everything it was made from). Write `backward` for arrays that way, without `order`. Which of the two would you
# rather explain? What happens to yours in a graph of 100,000 nodes in a row?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def backward_sorted(result):
#     listed, done = [], set()
#
#     def visit(node):
#         if node not in done:
#             done.add(node)
#             for parent, _ in node.parents:
#                 visit(parent)
#             listed.append(node)
#
#     visit(result)
#     grads = {result: np.ones_like(result.array)}
#     for node in reversed(listed):
#         for parent, formula in node.parents:
#             share = unbroadcast(formula(grads[node]), parent.array.shape)
#             grads[parent] = grads[parent] + share if parent in grads else share
#     return grads
#
#
# ours, sorted_ones = backward(loss_of_network()), backward_sorted(loss_of_network())
# assert np.allclose(ours[w1], sorted_ones[w1])
# ```
#
# The recursion is as deep as the graph, and Python stops it after some 1,000 calls: a long graph needs a stack of your
# own. The heap needs none of this.
# </details>
#
# **3.** There is a second way to use the chain rule: *forward mode*. Carry a pair along, a value and its slope in one
# input, and update both at every op. Write `Dual` with `+`, `*` and `sin`, and differentiate `sin(x) ** 3`. It needs no
# graph at all. Why is it not used to train networks?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Dual:
#     def __init__(self, value, slope):
#         self.value, self.slope = value, slope
#
#     def __add__(self, other):
#         return Dual(self.value + other.value, self.slope + other.slope)
#
#     def __mul__(self, other):
#         slope = self.slope * other.value + self.value * other.slope
#         return Dual(self.value * other.value, slope)
#
#
# def sin_of_dual(x):
#     return Dual(math.sin(x.value), math.cos(x.value) * x.slope)
#
#
# s = sin_of_dual(Dual(0.7, 1.0))
# assert abs((s * s * s).slope - exact) < 1e-15
# ```
#
# One run gives the slope in *one* input. A loss has millions of inputs and one output, so reverse mode needs one walk
# where forward mode needs millions of runs. For a function of one input and many outputs it is the other way round.
# </details>
#
# Next: [2 The `@op` table](02_ops.ipynb).
