# %% [markdown]
# # 5 Optimizers from first principles
#
# The gradient says which way is down. It does not say how far to go, and "down" is often not where the valley leads. An
# *optimizer* is a rule that turns gradients into steps. There are dozens; a handful of ideas is in all of them, and
# each idea cures one trouble that you can see on a map.
#
# Afterwards you will be able to
#
# - explain why a long, narrow valley makes gradient descent slow, and by how much;
# - derive momentum, RMSprop and Adam from the trouble that each one cures, and write each in a few lines;
# - name the valley in which RMSprop and Adam lose their advantage;
# - say why small batches ask for a learning rate that shrinks;
# - plug a rule of your own into minihybrid, and compare optimizers *fairly*.
#
# You should know what a gradient and a training step are, as in [tutorial 4](04_ownership.ipynb).

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

import minihybrid as mh

plt.style.use(mh.plot.STYLE)

# %% [markdown]
# ## A valley on a map
#
# Two weights are enough, because then we can look. Our first landscape is a bowl, 25 times as steep from north to south
# as from east to west.


# %%
def bowl(x, y):
    return (x * x + 25 * y * y) / 2


def slope(f, point):
    """The gradient of f(x, y) at a point, as an array of two numbers."""
    return np.array([g.item() for g in mh.grad(f, (0, 1))(*map(mh.tensor, point))])


print(slope(bowl, np.array([-4.0, 1.0])))

# %% [markdown]
# A *rule* takes the weights `w`, the gradient `g`, what it remembers from earlier steps (its *moments*), the learning
# rate and the number of the step. It gives back the new weights and what it will remember. The plainest is gradient
# descent:


# %%
def descent(w, g, moments, lr, t):
    return w - lr * g, moments


def walk(rule, lr, f=bowl, start=(-4.0, 1.0), steps=40, noise=0.0, **moments):
    """The points that a rule visits."""
    rng, points = mh.Rng(0), [np.array(start)]
    for t in range(1, steps + 1):
        g = slope(f, points[-1]) + noise * rng.normal(2)
        w, moments = rule(points[-1], g, moments, lr, t)
        points.append(w)
    return np.array(points)


def draw_map(axes, walks, f=bowl, x=(-4.5, 1.5), y=(-1.6, 1.6)):
    mh.plot.contour(axes, f, x, y, levels=9)
    for name, points in walks.items():
        mh.plot.path(axes, points, label=name)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(walks))


# %% [markdown]
# **Predict**: one walk with a small learning rate, one with a larger one, one with a little more than that. Which gets
# furthest?

# %%
figure, axes = plt.subplots()
draw_map(axes, {f"lr = {lr}": walk(descent, lr) for lr in (0.01, 0.07, 0.081)})
plt.show()

# %% [markdown]
# The small rate creeps. The larger one jumps from wall to wall and moves along the valley meanwhile. The largest jumps
# higher with every step, and is on its way out of the picture.
#
# On a bowl this can be worked out. In a direction with *curvature* c (1 from west to east here, and 25 from south to
# north) the slope at distance d is c·d, and a step turns d into d − lr·c·d, that is, it multiplies the distance by (1 −
# lr·c). The walk converges where that is between −1 and 1 for all directions.

# %%
rates = np.linspace(0, 0.09, 200)
figure, axes = plt.subplots()
axes.plot(rates, abs(1 - rates * 1), label="along the valley, curvature 1")
axes.plot(rates, abs(1 - rates * 25), label="across, curvature 25")
axes.axhline(1, color=mh.plot.INK, linewidth=0.8)
axes.set_xlabel("learning rate")
axes.set_ylabel("what is left of the distance after a step")
axes.legend()
plt.show()

# %% [markdown]
# The steep direction sets the limit, 2/25 = 0.08. And below it, the flat direction hardly moves: at best 1/13 of the
# distance is gone per step. The ratio of the curvatures, 25 here, is called the *condition number*. In a real network
# it runs into the thousands, and that is the trouble with gradient descent in one sentence.
#
# ## Momentum: remember the way
#
# Look at the zigzag. Across the valley, one step undoes the other; along it, all agree. So let the steps add up: what
# agrees grows, what disagrees cancels. This is a heavy ball rolling down (Polyak 1964). `beta` is how much of its speed
# it keeps per step.


# %%
def momentum(w, g, moments, lr, t, beta=0.7):
    speed = beta * moments.get("speed", 0.0) + g
    return w - lr * speed, {"speed": speed}


figure, axes = plt.subplots()
walks = {"plain descent": walk(descent, 0.07), "with momentum": walk(momentum, 0.07)}
draw_map(axes, walks)
plt.show()
for name, rule in {"plain": descent, "momentum": momentum}.items():
    print(f"{name:9} ends at a height of {bowl(*walk(rule, 0.07)[-1]):.1e}")

# %% [markdown]
# On a bowl, the best momentum turns a condition number of 25 into one of about 5, its root. **Predict** what happens
# with `beta = 0.97`. Then try.

# %%
figure, axes = plt.subplots()
heavy = walk(lambda *arguments: momentum(*arguments, beta=0.97), 0.07)
draw_map(axes, {"beta = 0.97": heavy}, x=(-4.5, 5), y=(-2, 2))
plt.show()

# %% [markdown]
# Too heavy a ball rolls past the ground and up on the other side, for a long time.
#
# ## RMSprop: every weight its own scale
#
# Another idea for the same trouble. The slopes across the valley are 25 times as large as those along it. If each
# weight's slope were divided by its usual size, all weights would move alike. "Usual size" is the root of the mean of
# the squares, where the mean forgets what is long ago. This is *RMSprop* (Tieleman and Hinton 2012).


# %%
def rmsprop(w, g, moments, lr, t, alpha=0.9):
    square = alpha * moments.get("square", 0.0) + (1 - alpha) * g * g
    return w - lr * g / (np.sqrt(square) + 1e-8), {"square": square}


figure, axes = plt.subplots()
draw_map(axes, {"plain descent": walk(descent, 0.07), "RMSprop": walk(rmsprop, 0.15)})
plt.show()

# %% [markdown]
# No zigzag: both weights move by about `lr` in each step, whatever their slopes, so it leaves along the diagonal, until
# one of them has arrived. That has a price, too: near the ground the steps do not shrink, and it goes on trembling at a
# distance of about `lr`.
#
# But was that a fair test? The valley lay exactly along the axes. Let us turn the same bowl by 45 degrees. **Predict**
# who notices.


# %%
def turned(x, y):
    return bowl((x + y) * 0.5**0.5, (y - x) * 0.5**0.5)


figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4))
start_turned = np.array([-4.0 - 1.0, -4.0 + 1.0]) * 0.5**0.5  # the same place, turned
for axes, f, start in ((left, bowl, (-4.0, 1.0)), (right, turned, start_turned)):
    walks = {
        "descent": walk(descent, 0.07, f, start, steps=25),
        "RMSprop": walk(rmsprop, 0.15, f, start, steps=25),
    }
    draw_map(axes, walks, f, (-4.5, 1.5), (-3.5, 2.5))
    ends = {name: f"height {f(*points[-1]):.2f}" for name, points in walks.items()}
    print(f"{f.__name__:6} {ends}")
plt.show()

# %% [markdown]
# Gradient descent does not notice: the same steps, turned. RMSprop does. Its scales belong to single weights, and here
# both weights have the same slopes, so there is nothing to even out, and it has lost its advantage. Rules of this kind
# help where the axes mean something. In networks they often do (a pixel that is nearly always dark, a word that is
# rare), and nobody can promise it.
#
# ## Adam: both, and a correction
#
# *Adam* (Kingma and Ba 2015) takes momentum in the numerator and RMSprop's scale in the denominator. Both are means
# that forget, and both begin at 0, so at first they are too small. The second is slower than the first (it keeps 0.999
# of itself in a step, the other 0.9), and so the quotient is too *large*.
#
# **Predict**: in the first step, m is 0.1 g and v is 0.001 g². How large is m / √v?


# %%
def adam(w, g, moments, lr, t, beta1=0.9, beta2=0.999, correct=True):
    m = beta1 * moments.get("m", 0.0) + (1 - beta1) * g
    v = beta2 * moments.get("v", 0.0) + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t) if correct else m
    v_hat = v / (1 - beta2**t) if correct else v
    return w - lr * m_hat / (np.sqrt(v_hat) + 1e-8), {"m": m, "v": v}


def uncorrected(*arguments):
    return adam(*arguments, correct=False)


figure, axes = plt.subplots()
for name, rule in {"corrected": adam, "not corrected": uncorrected}.items():
    points = walk(rule, 0.1, steps=60)
    axes.plot(abs(np.diff(points[:, 0])) / 0.1, label=name)
axes.set_xlabel("step")
axes.set_ylabel("length along x, in learning rates")
axes.legend()
plt.show()

# %% [markdown]
# 0.1 / √0.001 is about 3.2, and it gets worse before it gets better. Dividing by 1 − β^t, which is what is missing from
# the mean after t steps, makes the very first step exactly one learning rate long. That is a pleasant property: with
# Adam, `lr` *is* about how far each weight moves in a step.
#
# ## A bent valley
#
# A bowl is the same everywhere. The classic landscape with a bend is Rosenbrock's: a deep, curved gorge, with the
# ground at (1, 1).


# %%
def rosenbrock(x, y):
    return (1 - x) ** 2 + 20 * (y - x * x) ** 2


start = (-1.2, 1.5)
walks = {
    "descent": walk(descent, 0.006, rosenbrock, start, 150),
    "momentum": walk(lambda *a: momentum(*a, beta=0.9), 0.003, rosenbrock, start, 150),
    "RMSprop": walk(rmsprop, 0.03, rosenbrock, start, 150),
    "Adam": walk(adam, 0.1, rosenbrock, start, 150),
}
figure, grid = plt.subplots(2, 2, figsize=(6.4, 4.4))
for axes, (name, points) in zip(grid.flat, walks.items(), strict=True):
    draw_map(axes, {name: points}, rosenbrock, (-1.7, 1.7), (-0.8, 2.0))
plt.show()
for name, points in walks.items():
    print(f"{name:9} height after 150 steps: {rosenbrock(*points[-1]):.1e}")

# %% [markdown]
# Do not read too much into the ranking. Each learning rate was chosen by hand, for this start. Change one, and the
# order may change. How to compare honestly comes below.
#
# ## Noise
#
# In training, the gradient is that of a small batch, not of all the data: right on average, and wrong each time. Let us
# add noise to the slopes on our bowl. **Predict** where the walk ends if the learning rate stays as it is, and where if
# it shrinks to 0.

# %%
steps = 300
cosine = mh.optim.Cosine(0.05, total=steps)


def shrinking(w, g, moments, lr, t):
    return descent(w, g, moments, cosine(t), t)


figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3))
for axes, name, rule in ((left, "constant", descent), (right, "shrinking", shrinking)):
    points = walk(rule, 0.05, steps=steps, noise=3.0)
    draw_map(axes, {name: points})
    last = points[-20:].T
    axes.plot(*last, ".", color=mh.plot.COLOURS[1], zorder=3)
    print(f"{name:9} ends at a height of about {bowl(*last).mean():.3f}")
plt.show()

# %% [markdown]
# With a constant learning rate the walk never settles. It stays in a cloud around the ground, and the cloud is the
# larger, the larger the learning rate. A *schedule* takes both: large steps while there is far to go, small ones to
# settle. (This one is half a cosine. There are ten in `mh.optim`.) To average over the last points, as in an exercise
# of [tutorial 4](04_ownership.ipynb), is the other cure.
#
# ## Your rule in the library
#
# minihybrid's optimizers *are* such rules. Derive from `mh.optim.Optimizer`, name the moments, which begin as zeros,
# and write `update`. The base class does the rest: it hands you the weights as one flat vector where that is possible,
# keeps moments and step counts by `ParamId`, and consumes the model.


# %%
class MyAdam(mh.optim.Optimizer):
    moments = ("m", "v")

    def update(self, w, g, moments, lr, t):
        return adam(w, g, moments, lr, t)


class MyMomentum(mh.optim.Optimizer):
    moments = ("speed",)

    def update(self, w, g, moments, lr, t):
        return momentum(w, g, moments, lr, t, beta=0.9)


train, valid = mh.data.digits().split(0.8, mh.Rng(0))


def fit(optim, lr, steps=200, device="cpu"):
    """The model and the losses of a training run on digits with batches of 64."""
    model, losses = mh.nn.MLPConfig((64, 64, 10)).init(mh.Rng(0), device), []
    loader = mh.data.DataLoader(train.to(mh.Device(device)), 64, mh.Rng(1))
    for batch in islice(loader.forever(), steps):
        loss = mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)
        losses.append(loss.item())
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        model = optim.step(lr, model, grads)
    return model, losses


def loss_on(model, data):
    scores = model.valid()(mh.Tensor(data.inputs))
    return mh.nn.cross_entropy(scores, data.targets).item()


mine, mine_losses = fit(MyAdam(), 0.003)
theirs, theirs_losses = fit(mh.optim.Adam(), 0.003)
gap = abs(mine.snapshot().vector - theirs.snapshot().vector).max()
print(f"after 200 steps, the weights of both differ by {gap:.1e} at most")

# %% [markdown]
# (They are the same formula, rounded in another order: the library works in place and folds the corrections into two
# numbers.)
#
# ## A fair comparison
#
# "Adam is better than SGD." At which learning rate? The only honest picture of an optimizer shows its result over a
# whole range of learning rates. **Predict**: whose best result is the best? And whose learning rate is the easiest to
# get right?

# %%
rates = [10.0 ** (k / 2) for k in range(-8, 2)]
optimizers = {"descent": mh.optim.SGD, "momentum": MyMomentum, "Adam": mh.optim.Adam}
figure, axes = plt.subplots()
for name, make in optimizers.items():
    with np.errstate(all="ignore"):  # some of these explode, and are meant to
        found = [loss_on(fit(make(), lr)[0], valid) for lr in rates]
    found = np.nan_to_num(found, nan=10.0)
    axes.loglog(rates, found, marker="o", label=f"{name}: at best {min(found):.3f}")
axes.set_ylim(0.05, 10)
axes.set_xlabel("learning rate")
axes.set_ylabel("validation loss after 200 steps")
axes.legend()
plt.show()

# %% [markdown]
# Tuned, the three are close to each other on this task. Momentum is plain descent with its curve moved to the left,
# because a ball that keeps 0.9 of its speed ends up ten times as fast. What Adam needs is a *hundredth* of what descent
# needs. So whoever compares two optimizers at one learning rate measures who was lucky with it. Keep this in mind when
# you read that something "trains five times as fast": [tutorial 11](11_the_honest_benchmark.ipynb) takes such a claim
# apart.
#
# Adam's popularity has another reason: its good range is nearly the same for many networks, because its steps do not
# depend on the size of the gradients. Descent has to be tuned anew whenever the scale of the loss changes.
#
# ## On a GPU
#
# The same rule runs on the GPU, since it is array code on one vector. On a network as small as this, though, a GPU
# mostly waits for Python.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

model, losses = fit(mh.optim.Adam(), 0.01, device=device)
print(f"on {model.device.name}: the loss fell from {losses[0]:.2f} to {losses[-1]:.2f}")

# %% [markdown]
# ## Exercises
#
# **1.** What is left of Adam if it forgets everything at once, `beta1 = beta2 = 0`? Work it out on paper, then check it
# on the bowl.
#
# <details>
# <summary>Solution</summary>
#
# m is g and v is g², so each weight moves by lr · g / |g|: its sign alone. Every step has the same length in every
# weight.
#
# ```python
# def sign_descent(w, g, moments, lr, t):
#     return w - lr * np.sign(g), moments
#
#
# def forgetful(*arguments):
#     return adam(*arguments, beta1=0.0, beta2=0.0)
#
#
# assert np.allclose(walk(sign_descent, 0.07), walk(forgetful, 0.07), atol=1e-5)
# ```
#
# *Lion* (Chen et al. 2023) is built on this: the sign of a momentum.
# </details>
#
# **2.** *Newton's method* uses the curvature itself: w − H⁻¹ g, where H is the matrix of second derivatives. Write it
# for two weights with `mh.jacobian(mh.grad(...))`, and walk on the bowl and on Rosenbrock's gorge. Why is it not used
# for networks?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# def newton(f, start, steps):
#     def height(w):
#         return f(w[0], w[1])
#
#     w = mh.tensor(np.array(start))
#     points = [w.numpy()]
#     for _ in range(steps):
#         curvature, g = mh.jacobian(mh.grad(height))(w), mh.grad(height)(w)
#         w = w - mh.Tensor(np.linalg.solve(curvature.numpy(), g.numpy()))
#         points.append(w.numpy())
#     return np.array(points)
#
#
# assert np.allclose(newton(bowl, (-4.0, 1.0), 1)[-1], 0)  # a bowl takes one step
# assert rosenbrock(*newton(rosenbrock, (-1.2, 1.5), 20)[-1]) < 1e-12
# ```
#
# A network of a million weights has a matrix of a million times a million. And far from the ground the curvature may be
# negative, and the step leads up. Methods in between learn a little of H from the gradients seen so far: L-BFGS
# (`mh.optim.LBFGS`) does, and so does the predictor of [tutorial 10](10_the_hybrid_trainer.ipynb).
# </details>
#
# **3.** *Nesterov's* momentum looks ahead: it moves by lr · (g + beta · speed), where `speed` already contains g. Write
# it as a `mh.optim.Optimizer` with beta = 0.9, and hold it against `mh.optim.SGD(momentum=0.9, nesterov=True)`: the
# weights after 50 steps should agree.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class MyNesterov(mh.optim.Optimizer):
#     moments = ("speed",)
#
#     def update(self, w, g, moments, lr, t):
#         speed = 0.9 * moments["speed"] + g
#         return w - lr * (g + 0.9 * speed), {"speed": speed}
#
#
# mine, _ = fit(MyNesterov(), 0.03, steps=50)
# theirs, _ = fit(mh.optim.SGD(momentum=0.9, nesterov=True), 0.03, steps=50)
# assert np.allclose(mine.snapshot().vector, theirs.snapshot().vector, atol=1e-5)
# ```
# </details>
#
# Next: [6 Training a network](06_training.ipynb).
