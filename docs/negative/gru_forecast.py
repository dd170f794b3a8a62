"""A learned world model against two lines of arithmetic: who forecasts the loss of a training run better?

    python docs/negative/gru_forecast.py
    python docs/negative/gru_forecast.py --onto trend --seeds 2 --only full-batch/digits

The world model is the reference's idea done honestly, as in PlaNet (Hafner et al. 2019, "Learning latent dynamics for
planning from pixels", section 3): a deterministic path h = GRU(s, h), a stochastic state s that is drawn from a prior
p(s | h), or, where features of the run are known, from a posterior q(s | h, features), and a decoder from (h, s) to the
change of the log loss in a step and to its noise. It is trained online, on the last 512 steps of the very run, to
forecast the next 20 losses by imagination while q stays near p. With `--onto level` it forecasts all that
the loss does from its level now; with `--onto trend` what is left by the damped trend.

MNIST is left out where MINIHYBRID_DATA does not name its folder.
"""

import argparse
import math
import os
import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid import nn, optim
from minihybrid.data import DataLoader, Dataset
from minihybrid.hybrid.forecast import DampedTrend, Forecast, LastLoss
from minihybrid.hybrid.predictors import RealStep
from minihybrid.hybrid.state import StateConfig
from minihybrid.module.module import pack

HORIZONS = (1, 5, 20)
JUDGED_FROM = 100  # the world model has learned something by then


class WorldModel(mh.Module):
    """See above."""

    encoder: nn.Linear
    gru: nn.GRU
    prior: nn.Linear
    posterior: nn.Linear
    decoder: nn.Linear

    @staticmethod
    def init(rng: mh.Rng, features: int, hidden: int = 32, stochastic: int = 8, code: int = 16) -> "WorldModel":
        def linear(d_input: int, d_output: int) -> nn.Linear:
            return nn.LinearConfig(d_input, d_output).init(rng=rng)

        return WorldModel(
            linear(features, code),
            nn.GRUConfig(stochastic, hidden).init(rng=rng),
            linear(hidden, 2 * stochastic),
            linear(hidden + code, 2 * stochastic),
            linear(hidden + stochastic, 2),
        )

    def follow(self, features: Any, rng: mh.Rng) -> tuple[mh.Tensor, mh.Tensor, mh.Tensor]:
        """h and s after features [n, t, d], and the mean divergence of posterior from prior."""
        n, length, _ = features.shape
        h = mh.Tensor(np.zeros((n, self.gru.weight_hidden.shape[0]), np.float32))
        s = mh.Tensor(np.zeros((n, self.gru.weight_input.shape[0]), np.float32))
        codes, divergence = mh.tanh(self.encoder(mh.Tensor(features))), 0.0
        for t in range(length):
            h = self.advance(h, s)
            p, q = normal(self.prior(h)), normal(self.posterior(mh.concatenate([h, codes[:, t]], axis=-1)))
            s = drawn(q, rng)
            divergence = divergence + kl(q, p)
        return h, s, divergence / (n * length)

    def imagine(self, h: mh.Tensor, s: mh.Tensor, steps: int, rng: mh.Rng) -> list[tuple[mh.Tensor, mh.Tensor]]:
        """What the loss will have changed by after 1, 2, ... steps, and the log of its noise, each [n, 1]."""
        course, total = [], 0.0
        for _ in range(steps):
            h = self.advance(h, s)
            s = drawn(normal(self.prior(h)), rng)
            decoded = self.decoder(mh.concatenate([h, s], axis=-1))
            total = total + decoded[:, :1]
            course.append((total, mh.clip(decoded[:, 1:], -5.0, 3.0)))
        return course

    def advance(self, h: mh.Tensor, s: mh.Tensor) -> mh.Tensor:
        return self.gru.step(mh.linear(s, self.gru.weight_input, self.gru.bias_input), h)[1]


class Normal(NamedTuple):
    mean: mh.Tensor
    std: mh.Tensor


def normal(x: mh.Tensor) -> Normal:
    size = x.shape[-1] // 2
    return Normal(x[:, :size], mh.exp(mh.clip(x[:, size:], -4.0, 2.0)))


def drawn(p: Normal, rng: mh.Rng) -> mh.Tensor:
    """A sample that gradients pass through (Kingma and Welling 2014, section 2.4)."""
    return p.mean + p.std * mh.Tensor(rng.normal(p.mean.shape))


def kl(q: Normal, p: Normal) -> mh.Tensor:
    return (
        mh.log(p.std / q.std) + (mh.square(q.std) + mh.square(q.mean - p.mean)) / (2 * mh.square(p.std)) - 0.5
    ).sum()


class WorldForecaster:
    """A world model that follows a run, learns from a batch of its past every 4 steps, and forecasts by imagination."""

    window, reach, batch, every, samples, memory = 16, max(HORIZONS), 8, 4, 8, 512
    divergence_weight, learning_rate = 0.1, 1e-2

    def __init__(self, features: int, onto: str, seed: int) -> None:
        self.rng = mh.Rng(seed)
        self.model, self.optimizer = WorldModel.init(self.rng, features), optim.Adam()
        self.onto, self.trend = onto, DampedTrend()
        self.features: deque[Any] = deque(maxlen=self.memory)
        self.losses: deque[float] = deque(maxlen=self.memory)  # their logarithms
        self.bases: deque[Any] = deque(maxlen=self.memory)  # what the forecasts are added to, [reach]
        self.steps = 0

    def observe(self, loss: float, features: Any) -> None:
        self.trend.observe(loss)
        ahead = range(1, self.reach + 1) if self.onto == "trend" else [0] * self.reach
        self.bases.append(np.log([max(self.trend.forecast(horizon).loss, 1e-12) for horizon in ahead]))
        self.losses.append(math.log(loss))
        self.features.append(features)
        self.steps += 1
        if self.steps % self.every == 0 and len(self.losses) >= self.window + self.reach + self.batch:
            self.learn()

    def learn(self) -> None:
        losses, bases = np.array(self.losses), np.array(self.bases)
        # By how much the losses come to lie off their bases: the units of changes and of noise.
        self.change = max(np.std(losses[self.reach :] - bases[: -self.reach, -1]) / self.reach, 1e-6)
        self.noise = max(np.std(losses[1:] - bases[:-1, 0]), 1e-6)
        seen = np.array(self.features)
        self.mean, self.std = seen.mean(axis=0), seen.std(axis=0) + 1e-3
        ends = self.rng.integers(self.window, len(losses) - self.reach + 1, self.batch)
        rows = ends[:, None] + np.arange(-self.window, 0)
        h, s, divergence = self.model.follow(self.scaled(seen[rows]), self.rng)
        objective = divergence * self.divergence_weight
        for i, (change, log_noise) in enumerate(self.model.imagine(h, s, self.reach, self.rng)):
            target = (losses[ends + i] - bases[ends - 1, i]) / self.noise
            off = change * float(self.change / self.noise) - mh.Tensor(target[:, None].astype(np.float32))
            objective = objective + (mh.square(off * mh.exp(-log_noise)) / 2 + log_noise).mean() / self.reach
        grads = optim.GradientsParams.from_grads(objective.backward(), self.model)
        self.model = self.optimizer.step(self.learning_rate, self.model, optim.clip_global_norm(grads, 5.0))

    def scaled(self, features: Any) -> Any:
        return np.clip((features - self.mean) / self.std, -5, 5).astype(np.float32)

    def forecasts(self) -> list[Forecast]:
        """At each of HORIZONS."""
        with mh.no_grad():
            recent = self.scaled(np.array(self.features)[-self.window :])
            h, s, _ = self.model.follow(np.repeat(recent[None], self.samples, axis=0), self.rng)
            course = self.model.imagine(h, s, self.reach, self.rng)
        made = []
        for horizon in HORIZONS:
            change, log_noise = (x.numpy() for x in course[horizon - 1])
            change, noise = change * self.change, np.exp(log_noise) * self.noise
            center = self.bases[-1][horizon - 1] + change.mean()
            half = 1.2816 * math.sqrt(change.var() + np.square(noise).mean())  # 80 % of a normal distribution
            made.append(Forecast(math.exp(center), math.exp(center - half), math.exp(center + half)))
        return made


# The runs


class Characters(mh.Module):
    embedding: nn.Embedding
    gru: nn.GRU
    output: nn.Linear

    def forward(self, x: Any) -> mh.Tensor:
        return self.output(self.gru(self.embedding(x))[0])


def characters(rng: mh.Rng, n: int = 512, length: int = 17, symbols: int = 12) -> tuple[Dataset, Characters]:
    """To continue by one symbol the sequences of a random grammar, in which the last two decide on the next."""
    weights = np.exp(2 * rng.normal((symbols, symbols, symbols)))
    cumulative = np.cumsum(weights / weights.sum(axis=-1, keepdims=True), axis=-1)
    text, chance = rng.integers(0, symbols, (n, length)), rng.uniform((n, length))
    for t in range(2, length):
        below = chance[:, t, None] > cumulative[text[:, t - 2], text[:, t - 1]]
        text[:, t] = np.minimum(below.sum(axis=-1), symbols - 1)
    embedding, gru = nn.EmbeddingConfig(symbols, 16).init(rng=rng), nn.GRUConfig(16, 32).init(rng=rng)
    model = Characters(embedding, gru, nn.LinearConfig(32, symbols).init(rng=rng))
    return Dataset(text[:, :-1].copy(), text[:, 1:].copy(), "characters"), model


def regression(rng: mh.Rng, n: int = 256) -> tuple[Dataset, nn.MLP]:
    x = rng.normal((n, 20))
    y = np.tanh(x @ rng.normal((20, 3))).sum(axis=1, keepdims=True) + 0.1 * rng.normal((n, 1))
    return Dataset(x, y.astype(np.float32), "regression"), nn.MLPConfig((20, 64, 1)).init(rng)


def digits(rng: mh.Rng) -> tuple[Dataset, nn.MLP]:
    return mh.data.digits(), nn.MLPConfig((64, 32, 10)).init(rng)


def mnist(rng: mh.Rng) -> tuple[Dataset, nn.MLP]:
    return mh.data.mnist(train=False), nn.MLPConfig((784, 64, 10)).init(rng)


def spirals(rng: mh.Rng) -> tuple[Dataset, nn.MLP]:
    return mh.data.spirals(rng, 400), nn.MLPConfig((2, 32, 32, 2)).init(rng)


RUNS = {
    "full-batch/digits": (digits, None),
    "full-batch/spirals": (spirals, None),
    "full-batch/regression": (regression, None),
    "minibatch/digits": (digits, 64),
    "minibatch/mnist": (mnist, 64),
    "minibatch/regression": (regression, 32),
    "minibatch/characters": (characters, 32),
}


def trained(name: str, seed: int, steps: int) -> list[tuple[float, Any]]:
    """Loss and features after each step of Adam; seeds take a constant and a cosine learning rate in turn."""
    task, batch_size = RUNS[name]
    rng = mh.Rng(2000 + seed)  # others than those by which settings were chosen
    data, model = task(rng)
    score, peak, optimizer = nn.mse if task is regression else nn.cross_entropy, 0.01, optim.Adam()
    schedule = optim.Cosine(peak, steps, warmup=steps // 20) if seed % 2 else optim.Constant(peak)
    state, seen = StateConfig(every=16 if batch_size else 4).init(), []
    loader = DataLoader(data, batch_size or len(data), rng).forever()
    for step, batch in zip(range(steps), loader, strict=False):
        value = score(model(batch.inputs if task is characters else mh.Tensor(batch.inputs)), batch.targets)
        loss, grads = value.item(), optim.GradientsParams.from_grads(value.backward(), model)
        gradient = grads.flat(pack(model)).vector.copy()
        model = optimizer.step(schedule(step), model, grads)
        state.observe(RealStep(loss, schedule(step), pack(model).values, optimizer, gradient=gradient))
        features = state.features()
        seen.append((loss, np.append(features, math.log(loss) - features[0])))  # and the loss against its fast level
    return seen


# The comparison

FORECASTERS = ("last loss", "damped trend", "world model")
SECONDS: dict[str, list[float]] = {name: [] for name in FORECASTERS}  # of single observations


def judged(seen: list[tuple[float, Any]], onto: str, seed: int) -> dict[str, Any]:
    """For each forecaster its mean error of the log loss and the share of intervals that held, by horizon, [2, 3]."""
    world = WorldForecaster(len(seen[0][1]), onto, seed)
    forecasters = dict(zip(FORECASTERS, (LastLoss(), DampedTrend(), world), strict=True))
    outcomes: dict[str, list[Any]] = {name: [] for name in forecasters}
    for step, (loss, features) in enumerate(seen):
        for name, forecaster in forecasters.items():
            began = time.process_time()
            forecaster.observe(*((loss, features) if forecaster is world else (loss,)))
            SECONDS[name].append(time.process_time() - began)
            if step < JUDGED_FROM or step % 4 or step + max(HORIZONS) >= len(seen):
                continue
            made = world.forecasts() if forecaster is world else [forecaster.forecast(horizon) for horizon in HORIZONS]
            pairs = [(forecast, seen[step + horizon][0]) for forecast, horizon in zip(made, HORIZONS, strict=True)]
            errors = [abs(math.log(max(forecast.loss, 1e-12) / real)) for forecast, real in pairs]
            outcomes[name].append((errors, [forecast.low <= real <= forecast.high for forecast, real in pairs]))
    return {name: np.mean(found, axis=0) for name, found in outcomes.items()}


def spread(values: Any) -> str:
    return f"{np.median(values):.2g} [{np.min(values):.2g}, {np.max(values):.2g}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="A learned world model against the last loss and a damped trend.")
    parser.add_argument("--onto", choices=["level", "trend"], default="level", help="what the world model adds to")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", choices=RUNS, action="append", help="this run alone; may be repeated")
    options = parser.parse_args()
    columns = [f"{name}: {what}" for what in ("error", "held") for name in FORECASTERS]
    print(f"| run | steps ahead | {' | '.join(columns)} |\n|{'---|' * 8}")
    for task in options.only or RUNS:
        if task == "minibatch/mnist" and "MINIHYBRID_DATA" not in os.environ:
            continue
        with threadpool_limits(1):
            runs = [judged(trained(task, seed, options.steps), options.onto, seed) for seed in range(options.seeds)]
        for i, horizon in enumerate(HORIZONS):
            cells = [spread([one[name][what][i] for one in runs]) for what in (0, 1) for name in FORECASTERS]
            print(f"| {task} | {horizon} | {' | '.join(cells)} |", flush=True)
    for name, seconds in SECONDS.items():
        print(f"{name}: {1e6 * np.mean(seconds):.1f} microseconds a step")


if __name__ == "__main__":
    main()
