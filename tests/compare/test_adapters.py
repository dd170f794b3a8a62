import numpy as np

import minihybrid as mh
from minihybrid.compare.adapters import adapted, trained
from minihybrid.nn import MLPConfig


def test_training_moves_the_adapters_and_leaves_the_network_as_it_is():
    network = MLPConfig((6, 5, 3)).init(mh.Rng(0))
    model = adapted(network, 2, mh.Rng(1))
    before = {path: param.numpy() for path, param in model.named_params().items()}
    optimizer = mh.optim.Adam()
    for _ in range(2):  # at first `up` is 0, and hides `down`
        loss = mh.nn.cross_entropy(model(mh.Tensor(mh.Rng(2).normal((8, 6)))), np.arange(8) % 3)
        model = optimizer.step(0.1, model, mh.optim.GradientsParams.from_grads(loss.backward(), model))
    moved = {path for path, param in model.named_params().items() if (param.numpy() != before[path]).any()}
    assert moved == {path for path, param in model.named_params().items() if param.trainable}
    assert len(moved) == 5


def test_what_the_adapters_add_has_their_rank():
    model = adapted(MLPConfig((6, 5, 3)).init(mh.Rng(0)), 2, mh.Rng(1))
    layer = model.layers[0]
    assert layer.down.shape == (6, 2) and layer.up.shape == (2, 5)
    assert not layer.up.numpy().any()


def test_the_network_that_is_adapted_was_trained():
    data = mh.data.digits()
    model = trained(MLPConfig((64, 16, 10)), data, mh.Rng(0), steps=100)
    assert mh.train.evaluate(model, data, mh.nn.cross_entropy).accuracy > 0.5
