# %% [markdown]
# # 2 The `@op` table
#
# An engine is short; what makes a library is its list of ops. In minihybrid an op is one function and one *gradient
# formula* for each argument, written in one place. Nothing else has to be registered, declared or remembered, and so
# anyone can add one.
#
# Afterwards you will be able to
#
# - read any line of the op table, and tell from it what an op keeps in memory;
# - write an op of your own and use it like the built-in ones;
# - check a gradient, and understand what a failed check says;
# - take second derivatives, and recognise the formula that breaks them;
# - find the largest learning rate of a quadratic loss from its curvature, before you train.
#
# You should have met the chain rule and cotangents, for example in [tutorial 1](01_autodiff.ipynb).

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

import matplotlib.pyplot as plt
import numpy as np

import minihybrid as mh

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## How to read an op
#
# This is how multiplication and the hyperbolic tangent stand in the source (`minihybrid/autodiff/ops/elementwise.py`):
#
# ```text
# @op(x=lambda g, y: g * y,                      @op(x=lambda g, out: g * (1 - out * out))
#     y=lambda g, x: g * x)                      def tanh(x):
# def multiply(x, y):                                return np.tanh(x)
#     return x * y
# ```
#
# The function computes the result, on arrays. Each formula computes the share of one argument: `g` is the *cotangent*,
# that is, how steeply the loss depends on the result. **The other names are what backward needs: exactly that is kept
# until then.** `multiply` keeps both arguments. `tanh` keeps its result, which is called `out`, because its slope, 1 -
# tanh², can be written with it.
#
# The names are read when the op is declared, so we can ask for them. **Predict** what `add`, `exp`, `sin` and `sum`
# keep.

# %%
for name in ("multiply", "tanh", "add", "exp", "sin", "relu", "sum", "matmul"):
    op = mh.ops.registry[name]
    kept = {argument: formula.names for argument, formula in op.formulas.items()}
    print(f"{name:10} {kept}")

print(len(mh.ops.registry), "ops in all")

# %% [markdown]
# `add` keeps nothing: its slope is 1 in either argument. `exp` is its own slope, so the result will do. `sin` needs its
# argument for the cosine. `sum` needs to know how large the argument was (`x_shape`), but none of its values.
#
# That is worth a great deal. In a deep network most of the memory is what the ops keep for backward. A formula with
# `out` in it is often cheaper than the same formula with `x`, if the next op keeps that array anyway.
#
# ## Write one
#
# *Squareplus* is an activation function, a smooth relative of relu (Barron 2021):
#
# ```text
# squareplus(x) = (x + √(x² + 4)) / 2
# ```
#
# Its slope is (1 + x / √(x² + 4)) / 2. The root can be had from the result: √(x² + 4) = 2 out − x. With that, the slope
# is simply out / (2 out − x). (Try it on paper; it is two lines.)


# %%
@mh.op(x=lambda g, out, x: g * out / (2 * out - x))
def squareplus(x):
    """(x + sqrt(x^2 + 4)) / 2"""
    return (x + np.sqrt(x * x + 4)) / 2


x = mh.tensor([-2.0, 0.0, 3.0], requires_grad=True)
y = squareplus(x)
print(y)
print(y.sum().backward()[x])

# %% [markdown]
# It is in the registry now, works on tensors, and on plain arrays as well, where it is simply the function you wrote:

# %%
print(squareplus(np.array([-2.0, 0.0, 3.0])))
print("squareplus" in mh.ops.registry)

# %% [markdown]
# ## Check it
#
# `mh.gradcheck` compares a gradient with central differences, in float64, along random directions. Let us give it the
# formula that you have just seen, and one with a mistake that is easy to make: the factor 1/2 forgotten.


# %%
def tell(error):
    """Print a long sentence on several lines."""
    print(textwrap.fill(str(error), 80))


points = mh.tensor([-2.0, 0.0, 3.0])
print("ours:", mh.gradcheck(squareplus, points))


@mh.op(x=lambda g, x: g * (1 + x / np.sqrt(x * x + 4)))
def squareplus_with_a_mistake(x):
    return (x + np.sqrt(x * x + 4)) / 2


try:
    mh.gradcheck(squareplus_with_a_mistake, points)
except mh.GradientError as error:
    tell(error)

# %% [markdown]
# The sentence names the element that is furthest off and both numbers there. (They are slopes times a random cotangent,
# so do not look for the 0.5 from above.) The one is twice the other, which points straight at the mistake.
#
# A function with a *kink* has no slope there, and a check says so instead of guessing:

# %%
try:
    mh.gradcheck(mh.relu, mh.tensor([-1.0, 0.0, 1.0]))
except mh.GradientError as error:
    tell(error)

# %% [markdown]
# Training with relu works all the same. The formula says 0 at the kink, and hardly any number hits it exactly. But
# check such functions away from their kinks.
#
# ## What a formula need not care about
#
# *Broadcasting.* Below, `scale` is one number that was used six times. The formula of `multiply` gives its share in six
# numbers; the tape adds them up to the shape of the argument. You never write that.

# %%
scale = mh.tensor(2.0, requires_grad=True)
table = mh.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
print((scale * table).sum().backward()[scale])

# %% [markdown]
# *Who needs a gradient.* `table` asked for none, so the formula of that argument did not run, and `scale` was not kept
# for it.
#
# *Tensors or arrays.* The formulas are written with operators and functions that work on both. In an ordinary backward
# pass they get arrays, because that is fast. In the next section they get tensors.
#
# ## Derivatives of derivatives
#
# `mh.grad(f)` is the function that computes the slope of `f`. So what is `mh.grad(mh.grad(f))`? While a gradient of a
# gradient is taken, the formulas run on tensors, and *are recorded like any other computation*. Nothing has to be added
# for it.

# %%
line = np.linspace(-6, 6, 241)
slope = mh.grad(lambda x: squareplus(x).sum())
bend = mh.grad(lambda x: slope(x).sum())
jerk = mh.grad(lambda x: bend(x).sum())

figure, axes = plt.subplots()
axes.plot(line, squareplus(line), label="squareplus")
axes.plot(line, slope(mh.tensor(line)).numpy(), label="its slope")
axes.plot(line, bend(mh.tensor(line)).numpy(), label="the slope of that")
axes.plot(line, jerk(mh.tensor(line)).numpy(), label="and of that")
axes.set_ylim(-0.4, 3)
axes.legend()
plt.show()

# %% [markdown]
# (The `.sum()` is a common trick: each element depends only on its own `x`, so the gradient of the sum holds all slopes
# at once.)
#
# Ask the check for order 2 or 3, and it compares the gradient of the gradient, too:

# %%
print(mh.gradcheck(squareplus, points, order=3))

# %% [markdown]
# **Where it breaks.** Here is a formula that computes the right slope, but cuts it off from the graph on the way:
# `detach` hands out the values without their history. **Predict** the result for order 1 and for order 2.


# %%
def slope_without_history(g, x):
    values = x.detach() if isinstance(x, mh.Tensor) else x
    return g * (1 + values / np.sqrt(values * values + 4)) / 2


@mh.op(x=slope_without_history)
def squareplus_cut(x):
    return (x + np.sqrt(x * x + 4)) / 2


print("order 1:", mh.gradcheck(squareplus_cut, points))
try:
    mh.gradcheck(squareplus_cut, points, order=2)
except mh.GradientError as error:
    tell(error)

# %% [markdown]
# The first derivative is right, and so training would work. The second is silently 0, as if the slope were a constant.
# No library can see this in the code; a check of order 2 can, and every op of minihybrid is held to one.
#
# ## What second derivatives are good for
#
# The slope tells where down is. The second derivative, the *curvature*, tells how far you may go before the ground
# rises again. For a loss that is a quadratic function of its weights, the answer is exact: gradient descent with
# learning rate `lr` converges if `lr < 2 / λ`, and explodes if `lr > 2 / λ`, where λ is the largest curvature in any
# direction.
#
# Let us try. Reading digits by least squares is such a loss: the network is one matrix, and the error is squared.

# %%
digits = mh.data.digits()
ones = np.ones((len(digits), 1))
inputs = mh.tensor(np.hstack([digits.inputs, ones]))  # the last column is for the bias
targets = mh.tensor(np.eye(10)[digits.targets])  # a row of 0s with a 1 at the digit


def squared_error(weights):
    return mh.nn.mse(inputs @ weights, targets)


start = mh.tensor(np.zeros((65, 10)))
print(squared_error(start))

# %% [markdown]
# There are 650 weights, so the table of second derivatives, the *Hessian* H, has 650 × 650 entries. We do not need it.
# To find the largest curvature, take any direction `v` and replace it by `H v` again and again: it turns towards the
# steepest one, and grows by λ each time. This is *power iteration*.
#
# And `H v` is cheap: it is the slope, along `v`, of the gradient. `mh.hessian_vector_product` is `grad` of `grad` in
# five lines.

# %%
product = mh.hessian_vector_product(squared_error)
v = mh.tensor(mh.Rng(0).normal((65, 10), dtype=np.float64))
for i in range(8):
    v = v / mh.sqrt((v * v).sum())
    stretched = product(start, v)
    curvature = (v * stretched).sum().item()
    v = stretched
    print(f"product {i + 1}: {curvature:.6f}")

# %% [markdown]
# So the limit should be at 2 / λ. **Predict**: what will a learning rate 1 % below the limit do, and one 5 % above?

# %%
limit = 2 / curvature
descend = mh.value_and_grad(squared_error)

figure, axes = plt.subplots()
for share in (0.5, 0.99, 1.05):
    weights, losses = start, []
    for _ in range(100):
        value, gradient = descend(weights)
        weights = weights - share * limit * gradient
        losses.append(value.item())
    right = (inputs @ weights).numpy().argmax(axis=1) == digits.targets
    label = f"{share} of the limit: {right.mean():.0%} read"
    mh.plot.learning_curve(axes, losses, keep=0, label=label)
axes.set_ylim(0.02, 10)
axes.legend(loc="center right")
plt.show()

# %% [markdown]
# The limit was computed before a single step was made, and it holds to the percent. Close to it, the loss falls, too,
# but the weights swing from one wall of the valley to the other.
#
# Be careful with what this says. It is exact for a quadratic loss. The loss of a real network is quadratic only in a
# small neighbourhood, and its curvature changes as training goes on; there the limit is a rough guide. [Tutorial
# 5](05_optimizers.ipynb) draws the walls of the valley.
#
# ## Where speed asks for tricks
#
# A formula is written to be read. Where the last bit of speed matters, a *twin* for plain arrays can stand beside it.
# It names the same values, and may reuse memory:


# %%
def squareplus_slope_in_place(g, out, x):
    root = 2 * out
    root -= x
    slope = np.divide(out, root, out=root)
    slope *= g
    return slope


squareplus.fast(x=squareplus_slope_in_place)

rng = mh.Rng(0)
g, x = rng.normal(1000, dtype=np.float64), rng.normal(1000, dtype=np.float64)
out = squareplus(x)
formula = squareplus.formulas["x"]
print(np.allclose(formula.function(g, out, x), formula.fast(g, out, x)))

# %% [markdown]
# The readable formula is not thrown away. It is what second derivatives use, and the tests hold the two equal. This is
# a rule of the whole project: fast code keeps its simple twin beside it.
#
# ## In a network, and on a GPU
#
# Your op is as good as any other now. Here it is the activation of a small network that learns to tell two moons apart.
# Ops are array code, so it runs where the data is: on a GPU if there is one.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

rng = mh.Rng(0)
moons = mh.data.moons(rng, 600).to(device)
layers = [
    mh.nn.LinearConfig(2, 16).init(rng, device),
    mh.nn.LinearConfig(16, 2).init(rng, device),
]
model = mh.nn.Sequential([layers[0], squareplus, layers[1]])
optim = mh.optim.Adam()

for _ in range(400):
    loss = mh.nn.cross_entropy(model(mh.Tensor(moons.inputs)), moons.targets)
    grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
    model = optim.step(0.02, model, grads)
print(f"loss {loss.item():.4f} on {device.name}")

# %%
x, y = np.meshgrid(np.linspace(-1.5, 2.5, 120), np.linspace(-1, 1.5, 90))
grid = mh.tensor(np.stack([x.ravel(), y.ravel()], axis=1), "float32", device)
share = mh.softmax(model.valid()(grid), axis=1).numpy()[:, 1].reshape(x.shape)

figure, axes = plt.subplots()
lines = axes.contour(x, y, share, levels=[0.05, 0.5, 0.95], colors=mh.plot.INK)
axes.clabel(lines, fmt=lambda level: f"{level:.0%}")
places, kinds = device.host(moons.inputs), device.host(moons.targets)
for kind, marker in enumerate("o^"):
    axes.plot(*places[kinds == kind].T, marker, markersize=3, label=f"class {kind}")
axes.legend()
axes.set_title("how likely the network finds class 1")
plt.show()

# %% [markdown]
# ## Exercises
#
# **1.** `mh.round` has slope 0 everywhere, so nothing learns through it. The *straight-through estimator* is an op that
# rounds on the way forward, and pretends on the way back that it did nothing. Write it. What does `gradcheck` say, and
# is that wrong?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# @mh.op(x=lambda g: g)
# def round_straight_through(x):
#     return np.round(x)
#
#
# x = mh.tensor([0.2, 0.7], requires_grad=True)
# assert round_straight_through(x).sum().backward()[x].tolist() == [1.0, 1.0]
# try:
#     mh.gradcheck(round_straight_through, mh.tensor([0.2, 0.7]))
# except mh.GradientError as error:
#     print(error)  # the gradient is 1.0, a central difference gives 0.0
# ```
#
# The check is right: this is not the gradient of rounding. It is a lie told on purpose, because a useful direction is
# worth more than a true zero.
# </details>
#
# **2.** In float32, `squareplus` of -10,000 is 0. It should be about 0.0001. Why, and can you do better?
#
# <details>
# <summary>Solution</summary>
#
# The root is 10,000.0002, which float32 cannot tell from 10,000, and the sum cancels. Multiply numerator and
# denominator by root - x: the value is also 2 / (root - x), and for negative x nothing cancels in it.
#
# ```python
# @mh.op(x=lambda g, out, x: g * out / (out + 1 / out))
# def squareplus_exact(x):
#     root = np.sqrt(x * x + 4)
#     return np.where(x > 0, (x + root) / 2, 2 / (root + np.absolute(x)))
#
#
# far = mh.tensor([-10_000.0])
# assert squareplus(far).item() == 0
# assert abs(squareplus_exact(far).item() - 1e-4) < 1e-9
# assert mh.gradcheck(squareplus_exact, mh.tensor([-2.0, 0.5, 3.0]), order=2)
# ```
#
# The formula changed, too. The product of out and (root - x) / 2 is 1, so the root is out + 1 / out, and backward keeps
# only `out`: half of the memory.
# </details>
#
# **3.** An op of several arguments, with a setting: `lerp(x, y, t)` = x + t (y - x), for numbers or arrays. Which
# arguments need a formula, and what does each keep? Let `gradcheck` have the last word, with `x` of shape (3, 1) and
# `y` of shape (4,).
#
# <details>
# <summary>Solution</summary>
#
# ```python
# @mh.op(
#     x=lambda g, t: g * (1 - t),
#     y=lambda g, t: g * t,
#     t=lambda g, x, y: g * (y - x),
# )
# def lerp(x, y, t=0.5):
#     return x + t * (y - x)
#
#
# x, y = mh.tensor([[1.0], [2.0], [3.0]]), mh.tensor([1.0, 2.0, 3.0, 4.0])
# t = mh.tensor(0.3)
# assert mh.gradcheck(lerp, x, y, t, order=2)
# assert mh.gradcheck(lerp, x, y)  # t is a plain number here: its formula never runs
# ```
# </details>
#
# Next: [3 Modules, paths and ParamIds](03_modules.ipynb).
