"""A little MNIST in a folder, and a suite that takes seconds."""

import struct

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid.compare import Suite


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory):
    """The test part, as large as a large batch needs it: ten patterns with noise."""
    folder, rng, n = tmp_path_factory.mktemp("mnist"), mh.Rng(0), 6000
    labels = rng.integers(0, 10, n)
    patterns, noise = rng.integers(0, 100, (10, 784)), rng.integers(0, 100, (n, 784))
    images = (patterns[labels] + noise).astype(np.uint8)
    (folder / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + images.tobytes())
    (folder / "t10k-labels-idx1-ubyte").write_bytes(
        struct.pack(">4BI", 0, 0, 8, 1, n) + labels.astype(np.uint8).tobytes()
    )
    return str(folder)


@pytest.fixture
def tiny():
    """Two small tasks and a method of each kind."""
    return Suite(
        "tiny",
        seeds=2,
        tasks=("full-batch/xor", "minibatch/digits"),
        methods=("adam", "adam/linear", "lbfgs", "hybrid/quasi-newton", "hybrid/drift/linear", "control/shorter"),
        budgets={"full-batch/xor": 20, "minibatch/digits": 20},
        full_batch_points=10,
        minibatch_points=5,
        shares=(0.5,),
    )
