"""Gauss-Newton steps in the span of the last three drifts, fitted to the guard: no better than no jump, or worse.

    python docs/negative/drift_gauss_newton.py
    python docs/negative/drift_gauss_newton.py --only minibatch/digits --seeds 2

`Drift` goes along the last displacement of an average of the weights, as far as the loss of the guard falls. Here the
last three displacements d_i span the step, and the best combination sum_i s_i d_i comes from a model of the guard's
loss: outputs f that are linear in s, with forward secants f(a + d_i) - f(a) for their slopes, and the exact curvature
of the loss in f (Schraudolph 2002), plus a ridge of 3 % of the mean diagonal. That takes five forward passes, the last
to see whether the loss of the guard is really lower. Steps are made by Adam with a learning rate that decays to 0 at
the end of a budget, at which every method has been charged the same: a real step 1, a forward probe 1/3 of its share of
a batch. What is judged is an average of the weights (decay 0.99) that jumps with them.

At the best learning rate of each method it is twice as bad as no jump on small batches of the digits, and level with
none on MNIST: it learns the guard's noise by heart, so it is accepted almost every time and undoes what the steps
between achieve. Where it seems to help, at learning rates that are too high for plain Adam, the network is too sure of
itself, and a single number, the factor on all logits that fits the guard best ("scaled"), helps more and costs nothing.

    validation loss, median of 5 seeds (MNIST: 3)     plain     scaled
    minibatch/digits    lr 0.01   adam+ema           0.0511     0.0537
                                  drift              0.0550     0.0558
                                  gauss-newton       0.0995     0.1074
    minibatch/mnist     lr 0.01   adam+ema           0.1784     0.1585
                                  drift              0.1769     0.1589
                                  gauss-newton       0.1777     0.1669
    large-batch/mnist   lr 0.08   adam+ema           0.1895     0.1801
                                  drift              0.1894     0.1799
                                  gauss-newton       0.1902     0.1873

With the losses of the guard alone, as a trainer's probes give them, the same model takes eleven passes instead of five
and was no better.

MNIST is left out where MINIHYBRID_DATA does not name its folder.
"""

import argparse
import os
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid.compare.tasks import Task, available, build
from minihybrid.module.module import pack

DRIFTS, RIDGE = 3, 0.03
AVERAGE, OUTPUT = 0.98, 0.99
LARGEST = 16


class Race(NamedTuple):
    """A task, what a run is charged in all, real steps between jumps, examples that judge one, and learning rates."""

    task: str
    budget: int
    every: int
    judges: int
    rates: tuple[float, ...]


RACES = (
    Race("minibatch/digits", 1500, 60, 144, (0.003, 0.01, 0.03)),
    Race("minibatch/mnist", 1500, 60, 256, (0.003, 0.01, 0.03)),
    Race("large-batch/mnist", 200, 20, 800, (0.04, 0.08, 0.16)),
)


class Run:
    """A network in training, with its averages and what it has been charged."""

    def __init__(self, task: Task, seed: int, judges: int) -> None:
        rng = mh.Rng(seed)
        self.task, self.model, self.optimizer = task, task.init(rng.split()), mh.optim.Adam()
        self.batches = task.batches(rng.split())
        self.guards = mh.data.DataLoader(task.guard, judges, rng.split(), drop_last=True).forever()
        self.guard = next(self.guards)
        self.average, self.output = (pack(self.model).values.copy() for _ in range(2))
        self.steps, self.charge = 0, 0.0

    def step(self, rate: float) -> None:
        """One real step."""
        _, loss = self.task.forward(self.model, next(self.batches))
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), self.model)
        self.model = self.optimizer.step(rate, self.model, grads)
        self.steps, self.charge = self.steps + 1, self.charge + 1
        for average, decay in ((self.average, AVERAGE), (self.output, OUTPUT)):
            keep = min(decay, (1 + self.steps) / (10 + self.steps))
            average += np.float32(1 - keep) * (pack(self.model).values - average)

    def logits(self, weights: Any, data: Any) -> Any:
        """The outputs at these weights, float64."""
        values = pack(self.model).values
        kept = values.copy()
        values[...] = weights
        outputs = self.model.valid()(mh.Tensor(data.inputs)).numpy().astype(np.float64)
        values[...] = kept
        return outputs

    def probe(self, weights: Any) -> Any:
        """The outputs for the guard, charged."""
        self.charge += len(self.guard.inputs) / (self.task.batch_size or 1) / 3
        return self.logits(weights, self.guard)

    def jump(self, delta: Any) -> None:
        """Move weights and averages."""
        for vector in (pack(self.model).values, self.average, self.output):
            vector += delta


def no_jump(run: Run, drifts: Any) -> Any:
    """What Adam with an average does."""
    return None


def line_search(run: Run, drifts: Any) -> Any:
    """The last drift, doubled while the loss of the guard falls."""
    targets, best, jump, scale = run.guard.targets, cross_entropy(run.probe(run.average), run.guard.targets), None, 1
    while scale <= LARGEST:
        tried = np.float32(scale) * drifts[-1]
        loss = cross_entropy(run.probe(run.average + tried), targets)
        if not loss < best:
            break
        best, jump, scale = loss, tried, 2 * scale
    return jump


def gauss_newton(run: Run, drifts: Any) -> Any:
    """See above."""
    if len(drifts) < DRIFTS:
        return None
    logits, targets = run.probe(run.average), run.guard.targets
    slopes = np.array([run.probe(run.average + drift) - logits for drift in drifts])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    gradient = (slopes * (p - np.eye(p.shape[1])[targets])).sum(axis=(1, 2))
    curved = p * (slopes - (p * slopes).sum(axis=2, keepdims=True))
    curvature = np.tensordot(slopes, curved, axes=([1, 2], [1, 2]))
    ridge = RIDGE * np.trace(curvature) / DRIFTS * np.eye(DRIFTS)
    combination = -np.linalg.solve(curvature + ridge, gradient)
    combination *= min(1.0, LARGEST / np.abs(combination).max())
    jump = combination.astype(np.float32) @ np.array(drifts)
    after = run.probe(run.average + jump)
    return jump if cross_entropy(after, targets) < cross_entropy(logits, targets) else None


METHODS = {"adam+ema": no_jump, "drift": line_search, "gauss-newton": gauss_newton}


def raced(race: Race, task: Task, rate: float, seed: int, method: Any) -> list[float]:
    """Losses of the average: on the validation set, plain and scaled, and in training. Then the share of jumps made."""
    run, wait, rejected = Run(task, seed, race.judges), 0, 0
    drifts: deque = deque(maxlen=DRIFTS)
    tried = made = 0
    start = run.average.copy()
    while run.charge < race.budget:
        run.step(rate * (1 - run.charge / race.budget))
        if run.steps % race.every:
            continue
        drifts.append(run.average - start)
        wait = max(0, wait - 1)
        if not wait and run.steps > race.every:
            run.guard = next(run.guards)
            jump = method(run, drifts)
            tried += 1
            made += jump is not None
            rejected = rejected + 1 if jump is None else 0
            wait = min(2**rejected, 32)
            if jump is not None:
                run.jump(jump)
        start = run.average.copy()
    guard, validation, train = (run.logits(run.output, data) for data in (task.guard, task.validation, task.train))
    factor = min(np.linspace(0.2, 1.5, 131), key=lambda s: cross_entropy(s * guard, task.guard.targets))
    losses = (validation, task.validation), (factor * validation, task.validation), (train, task.train)
    return [*(cross_entropy(logits, data.targets) for logits, data in losses), made / max(1, tried)]


def cross_entropy(logits: Any, targets: Any) -> float:
    """The mean over examples, in float64."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]).mean())


def main() -> None:
    """Print a table of medians over seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    options, folder = parser.parse_args(), os.environ.get("MINIHYBRID_DATA")
    there, missing = available([race.task for race in RACES], folder)
    print(*missing, sep="\n", end="\n" * bool(missing))
    print(f"{'task':18} {'lr':>6} {'method':13} {'val':>7} {'scaled':>7} {'train':>7} {'made':>5}")
    for race in (race for race in RACES if race.task in there and options.only in race.task):
        task = build(race.task, folder)
        for rate in race.rates:
            for name, method in METHODS.items():
                found = [raced(race, task, rate, seed, method) for seed in range(options.seeds)]
                val, scaled, train, made = np.median(found, axis=0)
                made = f"{made:5.0%}" if method is not no_jump else "    -"
                print(f"{race.task:18} {rate:6} {name:13} {val:7.4f} {scaled:7.4f} {train:7.4f} {made}", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
