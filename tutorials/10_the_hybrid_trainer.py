# %% [markdown]
# # 10 The hybrid trainer
#
# The last tutorial ended with a list of what can be foretold and what each forecast must be checked by. The hybrid
# trainer is that list as a program: real steps, and now and then a jump that has to prove itself. Afterwards you will
# be able to
#
# - train a model with it, on full batches and on minibatches, and read what each step reports;
# - follow a run through its phases, Warmup, Full, Predict and Correct;
# - say how a jump is verified, and what is undone when it fails;
# - write a predictor of your own, and find out whether it is worth anything.
#
# You need tutorial 9. It takes twenty-five minutes to read and under a minute to run.

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
from dataclasses import replace
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh
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
# ## Three parts of the data
#
# There will be three parties with an interest in the data: the optimizer, which trains on it; the *guard*, which judges
# jumps; and you, who want to know how good the network is in the end. No two of them may share an image. If the guard
# judged on training images, a jump that learns them by heart would look good; if you judged on the guard's, you would
# reward whatever the guard let through. `Task` makes the split.

# %%
task = mh.train.Task.of(mh.data.digits(), mh.Rng(0))
for name in ("train", "guard", "validation"):
    print(f"{name:10} {len(getattr(task, name)):5} images")


def forward(model, batch):
    """What the trainer knows of the task: model and batch in, model and loss out."""
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def parts(learning_rate, seed=0, optimizer=mh.optim.Adam):
    model = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(seed))
    return ModelWrapper(model, forward), OptimizerWrapper(optimizer(), learning_rate)


def score(trainer):
    return task.evaluate(trainer.readout())


# %% [markdown]
# ## A run on full batches
#
# There are two presets, and one question that chooses between them: *is the batch the whole data set?* Here it is.

# %%
everything = mh.data.Batch(task.train.inputs, task.train.targets)
trainer = HybridTrainer(*parts(0.04), HybridConfig.full_batch())
results = [trainer.step(everything) for _ in range(80)]

for result in results[:12]:
    what = "jumps" * result.accepted + "shortens the jump" * result.shortened
    lr = f"learning rate {result.learning_rate:.4f}"
    print(f"{result.step:3}  {result.phase:8} loss {result.loss:.3f}  {lr}  {what}")

# %% [markdown]
# Each call of `step` is one *action*, and gives a `StepResult`. Five real steps of Warmup, then real step and
# prediction in turn. Two things are odd.
#
# *The learning rate creeps up* from a sixteenth of what we asked for: the first steps are on trial, too. Each is
# allowed to be longer only if the one before made the loss fall.
#
# *A prediction costs no gradient.* The predictor here is `QuasiNewton`. It has seen the last gradients, and from their
# differences knows something of how the loss curves; it proposes a better step than the one Adam has just made. Is it
# better? To find out one would have to compute the loss at the new place, and that is the first half of the next real
# step. So the jump is made, and the next step, which is due anyway, is its judge. If the loss has risen, as in action 9
# above, no gradient is computed: the jump is cut to a quarter, and judged again; after two cuts it is taken back.
#
# **Predict**: Adam alone, at the same learning rate, needs how many gradients for the loss that the hybrid trainer has
# after 40: as many, twice, or five times as many? And what will happen at a learning rate ten times too high?


# %%
def run_full_batch(trainer, budget=200):
    """Gradients spent and the loss then, at each real step."""
    spent, losses = [], []
    while trainer.ledger.backward_passes < budget:
        result = trainer.step(everything)
        if not (result.predicted or result.rolled_back or result.shortened):
            spent.append(result.backward_passes)
            losses.append(result.loss)
    return spent, losses


figure, panels = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
trainers = {}
for axes, lr in zip(panels, (0.01, 0.04, 0.4), strict=True):
    trainers["Adam", lr] = FullTrainer(*parts(lr))
    trainers["hybrid", lr] = HybridTrainer(*parts(lr), HybridConfig.full_batch())
    for name in ("Adam", "hybrid"):
        axes.plot(*run_full_batch(trainers[name, lr]), label=name)
    axes.set(
        title=f"learning rate {lr}", xlabel="gradients", yscale="log", ylim=(1e-6, 4)
    )
panels[0].set_ylabel("training loss")
panels[0].legend()
plt.show()

# %% [markdown]
# At 0.04 Adam has not reached in 200 gradients what the hybrid trainer has after 40. And the hybrid trainer does not
# care much which rate it is given: at 0.4, where Adam never recovers from its first steps, it cuts its steps and jumps
# until they fit. The `ledger` knows what that cost.

# %%
for (name, lr), trainer in trainers.items():
    ledger, scored = trainer.ledger, score(trainer)
    jumps = f"{ledger.predictions_accepted}/{ledger.predictions_tried} jumps stood"
    print(
        f"{name:6} at {lr:<4} {ledger.forward_probes:3} extra forward passes, {jumps:22}"
        f"validation loss {scored.loss:.2f}"
    )

# %% [markdown]
# Now the cold water. *The validation loss is bad*, up to six times Adam's. A training loss of a millionth means that
# the network has learned the training images by heart and is far too sure of itself; reaching that sooner is no service
# to anybody. Whatever fits the training set fast has to be stopped in time, and "fewer gradients to the same *training*
# loss" is all that is claimed here. Where the training loss is what you want (fitting a function, much of physics), it
# pays; on the digits it shows that the machine works.
#
# ## Minibatches
#
# With minibatches the next real step is no judge: its loss is that of other images. The second preset is built for
# noise. Its predictor, `Drift`, follows an average of the weights. Its judge is a *guard*, an endless stream of
# held-out batches: the loss of one guard batch is computed before the jump, at the jump, at twice the jump, and so on
# while it falls (a *line search*). All of these *probes* see the same images, so their noise cancels in the comparison.


# %%
def minibatches(seed=1):
    return mh.data.DataLoader(task.train, 64, mh.Rng(seed)).forever()


def guard(seed=2):
    return mh.data.DataLoader(task.guard, len(task.guard), mh.Rng(seed))


def run(trainer, actions=500):
    """Train on minibatches; gives the trainer, and what each action came to."""
    return trainer, [trainer.step(batch) for batch in islice(minibatches(), actions)]


trainer, results = run(HybridTrainer(*parts(0.003), HybridConfig.minibatch(), guard()))

figure, axes = plt.subplots()
mh.plot.learning_curve(
    axes,
    [result.loss for result in results],
    phases=[result.phase for result in results],
)
for result in results:
    if result.predicted:  # green where a jump was made, red where none was
        colours = mh.plot.ROLLED_BACK, mh.plot.PHASE_COLOURS["predict"]
        axes.axvline(result.step, color=colours[result.accepted], linewidth=1)
plt.show()

for result in results:
    if result.predicted:
        jump = f"{result.scale:g} x {result.horizon} steps"
        print(f"action {result.step}: {jump if result.accepted else 'no jump'}")

# %% [markdown]
# A hundred steps of Warmup, then the cycle: forty real steps (Full), one action of Predict (a thin line), five real
# steps (Correct), and again. The first proposal is nothing, since `Drift` needs two displacements to tell a road from a
# wobble. About action 186 a prediction is left out, by the throw of a coin: a control, see below. At 369 no probe finds
# anything better than staying; the jump is *rejected*, and Correct is longer after that: the trainer waits. With each
# further rejection in a row it waits twice as long.
#
# ### What a probe sees
#
# A verification is a small object with a method `search`, which is given a function from scale to loss. To look over
# its shoulder we derive one that first asks for more scales than it needs, and then does what it always does.

# %%
from minihybrid.hybrid.predictors import DriftConfig
from minihybrid.hybrid.verify import GuardSearch

scales, looked_at = (0, 0.5, 1, 2, 4, 8, 16), []


class Curious(GuardSearch):
    def search(self, loss_at):
        looked_at.append([loss_at(scale) for scale in scales])
        return super().search(loss_at)


config = replace(
    HybridConfig.minibatch(), predictor=DriftConfig(verification=Curious())
)
trainer, results = run(HybridTrainer(*parts(0.003), config, guard()))
outcomes = [r for r in results if r.predicted and r.horizon]  # something was proposed

figure, axes = plt.subplots()
for result, losses in zip(outcomes, looked_at, strict=True):
    (line,) = axes.plot(scales, losses, marker=".", label=f"action {result.step}")
    if result.accepted:
        axes.plot(
            result.scale,
            result.loss_after,
            "o",
            color=line.get_color(),
            markerfacecolor="none",
            markersize=10,
        )
axes.set(
    xlabel="scale of the jump (1 is 40 real steps)",
    ylabel="loss of the guard batch",
    yscale="log",
)
axes.set_xscale("symlog", linthresh=0.5)
axes.set_xlim(0, 17)
axes.set_xticks(scales, scales)
axes.set_xticks([], minor=True)
axes.legend()
plt.show()

# %% [markdown]
# Each curve is one jump, seen from its start (scale 0) outwards; the ring is where the search ended. The early jump was
# good for 160 steps. Later ones are hardly worth the asking, and all of them end in a wall: four times too far, and the
# network is worse than before. That is what an unverified jump runs into.
#
# (A probe is a forward pass, and costs a third of a gradient; more, if the guard's batch is larger than a training
# batch. Ours has 144 images where training has 64, so it is charged 144/64 of a third. Our curiosity was charged, too.)
#
# ## Taking it back, to the bit
#
# To see whether the net holds, jump off a building. Here is a predictor that means harm: it proposes a random
# direction, as long as the weights themselves, and claims to be certain. It also shows how little a predictor is. It
# *watches* real steps (`observe`), *proposes* a displacement of the flat weights (`predict`), and names its
# *verification*; the rest is bookkeeping. It never touches the model. We derive it from `Null`, which proposes a jump
# of nothing and has all the methods that a predictor needs.

# %%
from minihybrid.hybrid.predictors import Null, NullConfig, Prediction
from minihybrid.hybrid.verify import Unprobed


class Saboteur(Null):
    def __init__(self, verification):
        super().__init__(NullConfig(verification))
        self.rng, self.weights = mh.Rng(7), None

    def observe(self, step):
        self.weights = step.weights.copy()  # vectors are borrowed: copy what you keep

    def predict(self, horizon, trust=1.0):
        direction = self.rng.normal(self.weights.size)
        length = np.linalg.norm(self.weights) / np.linalg.norm(direction)
        return Prediction(direction * length, est_steps=horizon, confidence=1.0)


# %% [markdown]
# Two runs see the same batches: one with the saboteur, and one that makes the same real steps and no predictions.
#
# **Predict**: how far apart will their weights be in the end? Far, within rounding, or equal in every bit?


# %%
def guarded(predictor, learning_rate=0.003):
    config = HybridConfig.minibatch()
    return HybridTrainer(*parts(learning_rate), config, guard(), predictor)


def sabotaged(verification):
    trainer = guarded(Saboteur(verification))
    plain = FullTrainer(*parts(0.003))
    results = []
    for batch in islice(minibatches(), 500):
        results.append(trainer.step(batch))
        if not results[-1].predicted:
            plain.step(batch)
    return trainer, plain, results


trainer, plain, results = sabotaged(GuardSearch())
ledger = trainer.ledger
print(f"{ledger.predictions_tried} jumps tried, {ledger.predictions_accepted} accepted")
print(
    "equal in every bit:",
    np.array_equal(trainer.model_wrapper.weights, plain.model_wrapper.weights),
)

# %% [markdown]
# Equal. A rejected jump is not undone by subtracting it again (floating-point numbers would not forgive that), but by
# returning to a *snapshot*: weights, buffers, random streams, optimizer and schedule. And the trainer learns: after
# each rejection it waits longer, so that in 500 steps the saboteur was asked three times.
#
# Without probes there is still a second net: the real steps of Correct are watched, and a jump after which the loss
# rises is taken back *late*, with the steps made since.

# %%
trainer, plain, results = sabotaged(Unprobed())
for result in results:
    if result.predicted or result.rolled_back:
        print(f"action {result.step}, {result.phase}: loss {result.loss:.3f}")
        what = textwrap.fill(result.note or "jumps", 76)
        print(textwrap.indent(what, "    "))
print(
    "equal in every bit:",
    np.array_equal(trainer.model_wrapper.weights, plain.model_wrapper.weights),
)
print(f"validation accuracy {score(trainer).accuracy:.1%}")
print(f"undisturbed         {score(plain).accuracy:.1%}")

# %% [markdown]
# Not equal now: the batches of the steps that were undone are gone, so the two runs have seen different data. But no
# harm was done.
#
# ## A predictor of your own
#
# Now one that means well. The idea of tutorial 9: follow an average of the weights, and carry its displacement on. Two
# more methods matter now. `translate` is called when a jump was made: whoever remembers positions has to move them
# along. `reset` is called when steps were taken back: the past is not the past any more. (A third, `readout`, may give
# weights to evaluate instead of the last ones, such as an average. We leave it as `Null` has it: none.)


# %%
class Follow(Null):
    def __init__(self, keep=0.9):
        super().__init__(NullConfig(GuardSearch()))
        self.keep = keep

    def reset(self):
        self.average = self.then = None
        self.steps = 0

    def observe(self, step):
        if self.average is None:
            self.average = step.weights.copy()
            self.then = self.average.copy()
        self.average += (1 - self.keep) * (step.weights - self.average)
        self.steps += 1

    def predict(self, horizon, trust=1.0):
        if self.steps < 20:
            return None  # nothing to say yet
        delta = (self.average - self.then) * np.float32(horizon / self.steps)
        self.then, self.steps = self.average.copy(), 0
        return Prediction(delta, est_steps=horizon)

    def translate(self, delta):
        self.average += delta  # or the next displacement would contain the jump
        self.then += delta


trainer, _ = run(guarded(Follow(), learning_rate=0.001))
ledger = trainer.ledger
print(f"{ledger.predictions_accepted} of {ledger.predictions_tried} jumps accepted")
print(f"validation accuracy {score(trainer).accuracy:.1%}")

# %% [markdown]
# Jumps are accepted, the loss falls; it would be easy to stop here. But accepted by whom? A guard sees to it that a
# jump does no harm *now*. It does not ask whether the next forty steps would have done the same. Even the saboteur gets
# small jumps accepted (exercise 2).
#
# So we compare, at the same cost. Everything is charged: a gradient is 1, a probe a third and more. All runs decay
# their learning rate to 0 by the end of their budget. Beside Adam run three controls: `Null`, a predictor that proposes
# a jump of zero (the price of asking); Adam at *twice* the learning rate, which is what jumps of 40 after every 40
# steps amount to (tutorial 9); and the package's own `Drift`.
#
# **Predict**: where does `Follow` end up: near Adam, near twice the rate, or below both?


# %%
def compared(method, learning_rate, seed, budget=500):
    model, optimizer = parts(
        2 * learning_rate if method == "Adam, rate x 2" else learning_rate, seed
    )
    config = replace(HybridConfig.minibatch(), compile=True)
    if method.startswith("Adam"):
        trainer = FullTrainer(model, optimizer, compile=True)
    else:
        predictor = {"Null": NullConfig().init(), "Follow": Follow(), "Drift": None}[
            method
        ]
        trainer = HybridTrainer(model, optimizer, config, guard(seed + 200), predictor)
    highest = optimizer.learning_rate()
    optimizer.set_learning_rate(
        lambda step: (
            highest * max(0.0, 1 - trainer.ledger.gradient_equivalents / budget)
        )
    )
    for batch in minibatches(seed + 100):
        trainer.step(batch)
        if trainer.ledger.gradient_equivalents >= budget:
            break
    train = mh.train.evaluate(trainer.readout(), task.train, mh.nn.cross_entropy)
    return train.loss, score(trainer).loss


rates = (0.001, 0.004, 0.016)
print("training / validation loss, medians of 3 seeds")
print(f"{'':15}" + "".join(f"rate {rate:<14}" for rate in rates))
for method in ("Adam", "Null", "Adam, rate x 2", "Follow", "Drift"):
    cells = [
        np.median([compared(method, rate, seed) for seed in range(3)], axis=0)
        for rate in rates
    ]
    print(
        f"{method:15}"
        + "".join(f"{train:.3f} / {valid:.3f}      " for train, valid in cells)
    )

# %% [markdown]
# Read the columns from left to right.
#
# At 0.001 your predictor more than halves Adam's loss. So does twice the learning rate. At 0.004 it is the same. At
# 0.016, near the best for Adam, everything that goes faster still lowers the *training* loss, and nothing lowers the
# validation loss, which is what one trains for. `Drift` goes furthest in both directions: its jumps are longer than
# forty steps where the guard allows it. `Null` shows what asking costs: next to nothing.
#
# That is the honest state of prediction on minibatches: a cheap insurance against a learning rate that is too small.
# You have found it yourself, with twenty-five lines and three controls. (The full comparison, 13 tasks and 40 methods,
# is `minihybrid compare --suite full`; docs/prediction.md tells what it found.)
#
# The trainer asks itself the same question, by the way, while it runs: now and then it leaves a prediction out, by the
# throw of a coin, and compares the cycles with and without. `trainer.payoff.pays` is True, False, or None as long as it
# cannot tell, and predictions that do not pay become rare.
#
# ## Live
#
# A run can be watched while it goes. `Learner` is the loop around a trainer: batches in, evaluations now and then, and
# events to whoever listens. A listener is a function.

# %%
from minihybrid.train import Evaluated, Learner, Stepped


def watch(event):
    if isinstance(event, Evaluated):
        print(f"after {event.steps} steps: accuracy {event.evaluation.accuracy:.1%}")
    elif isinstance(event, Stepped) and event.result.accepted:
        print(f"  a jump of {event.result.scale * event.result.horizon:g} steps")


trainer = HybridTrainer(*parts(0.003), HybridConfig.minibatch(), guard())
summary = Learner(
    trainer, minibatches(), task.evaluate, steps=400, every=100, listeners=[watch]
).run()
ledger = summary.ledger
print(f"{ledger.backward_passes} gradients", end=", ")
print(f"{ledger.gradient_equivalents:.1f} gradient equivalents")

# %% [markdown]
# The package has a listener that draws, a bar in a notebook and a panel in a terminal:
#
# ```python
# from minihybrid.train.display import choose_display
#
# with choose_display("live", "digits") as display:
#     Learner(
#         trainer, minibatches(), task.evaluate, steps=400, listeners=[display]
#     ).run()
# ```
#
# `minihybrid train` uses it, keeps each step in `runs/`, and `minihybrid report` makes a page of what it has kept.
#
# ## On a GPU
#
# Model and data on the GPU, and nothing else changes: predictors live on flat vectors, and those are CuPy's then.

# %%
try:
    device = mh.Device("cuda")
except mh.DeviceError:
    device = mh.Device("cpu")

model = mh.nn.MLPConfig((64, 32, 10)).init(mh.Rng(0), device)
trainer = HybridTrainer(
    ModelWrapper(model, forward), parts(0.04)[1], HybridConfig.full_batch()
)
batch = mh.data.Batch(device.array(everything.inputs), device.array(everything.targets))
losses = [trainer.step(batch).loss for _ in range(60)]
print(f"loss {losses[0]:.3f} -> {losses[-1]:.5f}")
print(f"{trainer.ledger.backward_passes} gradients")

# %% [markdown]
# ## Exercises
#
# **1. An honest saboteur.** Let the saboteur say `confidence=0.0`. What does it cost then?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class HonestSaboteur(Saboteur):
#     def predict(self, horizon, trust=1.0):
#         return replace(super().predict(horizon), confidence=0.0)
#
#
# trainer, _ = run(guarded(HonestSaboteur(GuardSearch())))
# ledger = trainer.ledger
# print(f"{ledger.predictions_declined} declined, {ledger.forward_probes} probes")
# ```
#
# Nothing, seven times: a *gate* stops it before any probe (`HybridConfig.coherence` is the confidence that is asked
# for).
#
# </details>
#
# **2. A timid saboteur.** Make its jumps a hundred times shorter. How many pass the guard? What does that tell you
# about "our predictions were verified"?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class TimidSaboteur(Saboteur):
#     def predict(self, horizon, trust=1.0):
#         prediction = super().predict(horizon)
#         return replace(prediction, delta=prediction.delta * np.float32(0.01))
#
#
# trainer, _ = run(guarded(TimidSaboteur(GuardSearch())))
# ledger = trainer.ledger
# print(f"{ledger.predictions_accepted} of {ledger.predictions_tried} accepted")
# ```
#
# Four of six. About half of all directions lead downhill a little. An acceptance rate says nothing without the rate of
# a control.
#
# </details>
#
# **3. Break `translate`.** Leave its body empty in `Follow`. What will the next displacement contain? Print the length
# of each proposal that follows an accepted jump, with and without the mistake.
#
# <details>
# <summary>Solution</summary>
#
# ```python
# class Forgetful(Follow):
#     def translate(self, delta):
#         pass
#
#
# def proposals(kind):
#     """The lengths of all that a predictor of this kind proposes in a run."""
#     lengths = []
#
#     class Measured(kind):
#         def predict(self, horizon, trust=1.0):
#             prediction = super().predict(horizon)
#             if prediction is not None:
#                 lengths.append(round(float(np.linalg.norm(prediction.delta)), 2))
#             return prediction
#
#     run(guarded(Measured(), learning_rate=0.001))
#     return lengths
#
#
# print("moves along: ", proposals(Follow))
# print("forgets to:  ", proposals(Forgetful))
# ```
#
# The proposals should shrink, as training slows down; those of the forgetful one double. It mistakes its own jump for
# progress, and proposes to make it again: a feedback that only the guard holds back.
#
# </details>
#
# **4. Dropout.** Put a `Dropout` layer into the network and hand it to the full-batch preset. Why is it refused, and
# what does the message advise?
#
# <details>
# <summary>Solution</summary>
#
# ```python
# layers = (
#     mh.nn.LinearConfig(64, 32),
#     mh.nn.ActivationConfig("relu"),
#     mh.nn.DropoutConfig(0.5),
#     mh.nn.LinearConfig(32, 10),
# )
# dropped = ModelWrapper(mh.nn.SequentialConfig(layers).init(mh.Rng(0)), forward)
# try:
#     HybridTrainer(dropped, parts(0.04)[1], HybridConfig.full_batch())
# except ValueError as error:
#     print(textwrap.fill(str(error), 80))
# ```
#
# With dropout the loss of the same weights is another number each time, so the next step cannot judge a jump.
#
# </details>
