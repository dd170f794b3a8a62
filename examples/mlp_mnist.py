"""A perceptron of 784-128-10 on MNIST, trained through your own forward function and the hybrid trainer.

    python examples/mlp_mnist.py --data folder-with-the-idx-files
    python examples/mlp_mnist.py --dataset digits

MNIST is read from files that you have (--data, or the variable MINIHYBRID_DATA); nothing is downloaded. The digits are
shipped with the package and have 64 pixels instead of 784.
"""

import argparse
import sys
from itertools import islice

from threadpoolctl import threadpool_limits

import minihybrid as mh
from minihybrid.data import Batch, DataError, DataLoader, Dataset
from minihybrid.hybrid import DivergenceError, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper
from minihybrid.nn import MLP, MLPConfig


def forward(model: MLP, batch: Batch) -> tuple[MLP, mh.Tensor]:
    """What the trainer knows of the task: a model and a batch in, the model and the loss out."""
    return model, mh.nn.cross_entropy(model(mh.Tensor(batch.inputs)), batch.targets)


def accuracy(model: MLP, data: Dataset) -> float:
    with mh.no_grad():
        guesses = model.valid()(mh.Tensor(data.inputs)).array.argmax(axis=1)
    return float((guesses == data.targets).mean())


def load(dataset: str, folder: str | None) -> Dataset:
    if dataset == "digits":
        return mh.data.digits()
    try:
        parts = mh.data.mnist_files(folder)
        if "train" not in parts and "test" in parts:
            print("only the 10,000 test images of MNIST are there; they are split into training and validation")
            return mh.data.mnist(folder, train=False)
        return mh.data.mnist(folder)
    except DataError as error:
        raise DataError(f"{error}; or ask for --dataset digits, which needs no files") from None


def train(data: Dataset, steps: int, device: mh.Device, seed: int = 0) -> float:
    """Train, print the progress, and return the accuracy on the validation part."""
    rng = mh.Rng(seed)
    train_part, validation = data.to(device).split(0.8, rng)
    train_part, guard_part = train_part.split(0.9, rng)  # predictions are judged on images that train nothing

    model = ModelWrapper(MLPConfig((data.inputs.shape[1], 128, 10)).init(rng, device), forward)
    optimizer = OptimizerWrapper(mh.optim.Adam(), mh.optim.Cosine(3e-3, total=steps))
    guard = DataLoader(guard_part, 256, rng)
    trainer = HybridTrainer(model, optimizer, HybridConfig.minibatch(), guard)

    print(f"{model.parameter_count():,} parameters, {len(train_part):,} training images, {device.name}")
    for step, batch in enumerate(islice(DataLoader(train_part, 64, rng).forever(), steps)):
        result = trainer.step(batch)
        if result.predicted:
            verdict = f"jump of {result.scale:g} x {result.horizon} steps" if result.accepted else "no jump"
            print(f"step {step:5}  {verdict}")
        if step % max(1, steps // 10) == 0 or step == steps - 1:
            memory = device.memory_in_use() / 2**20
            print(
                f"step {step:5}  {result.phase:8} loss {result.loss:.4f}  "
                f"accuracy {accuracy(trainer.readout(), validation):.2%}  memory {memory:.0f} MiB"
            )

    ledger, reached = trainer.ledger, accuracy(trainer.readout(), validation)
    print(
        f"accuracy {reached:.2%} after {ledger.backward_passes} backward passes and {ledger.forward_probes} forward "
        f"probes; of {ledger.predictions_tried} predictions {ledger.predictions_accepted} were accepted, "
        f"{ledger.predictions_rolled_back} rolled back, {ledger.predictions_declined} not proposed"
    )
    return reached


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train a 784-128-10 perceptron on MNIST with the hybrid trainer.")
    parser.add_argument("--dataset", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--data", metavar="DIR", help="the folder with MNIST's files (default: $MINIHYBRID_DATA)")
    parser.add_argument("--steps", type=int, default=1000, help="real steps and predictions (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(argv)
    try:
        with threadpool_limits(1):  # more threads cost small networks more than they bring
            train(load(options.dataset, options.data), options.steps, mh.Device(options.device), options.seed)
    except (ValueError, mh.device.DeviceError, DivergenceError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
