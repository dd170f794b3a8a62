"""A step of training to be compiled, models and data for it, and all that it changes."""

import numpy as np

import minihybrid as mh
from minihybrid import optim
from minihybrid.nn import DropoutConfig, LinearConfig, MLPConfig, Sequential

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 12)).astype(np.float32), RNG.integers(0, 5, 64)


def train(model, optimizer, x, y, lr):
    loss = mh.nn.cross_entropy(model(mh.Tensor(x)), y)
    grads = optim.GradientsParams.from_grads(loss.backward(), model)
    return optimizer.step(lr, model, grads), loss


def mlp(seed=0):
    return MLPConfig((12, 8, 5)).init(mh.Rng(seed))


def dropping(seed=0):
    rng = mh.Rng(seed)
    layers = [LinearConfig(12, 8).init(rng), mh.nn.Tanh(), DropoutConfig(0.3).init(rng), LinearConfig(8, 5).init(rng)]
    return Sequential(layers)


def everything(model, optimizer):
    streams = {path: rng.state() for path, rng in model.named_rngs().items()}
    buffers = {path: buffer.numpy().tobytes() for path, buffer in model.named_buffers().items()}
    moments = [vector.tobytes() for part in optimizer.parts() for vector in part._vectors.values()]
    weights = {path: param.numpy().tobytes() for path, param in model.named_params().items()}
    return weights, buffers, streams, moments, [list(part._steps) for part in optimizer.parts()]
