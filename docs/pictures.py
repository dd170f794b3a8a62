"""Draw the pictures of these pages: `python docs/pictures.py`. Needs the extra `plot`."""

import sys
import tempfile
from pathlib import Path

import minihybrid as mh
from minihybrid.cli import main
from minihybrid.report import read

FOLDER = Path(__file__).with_name("pictures")


def run(file: Path) -> None:
    """The losses of `minihybrid train`, with its phases."""
    import matplotlib.pyplot as plt

    with tempfile.TemporaryDirectory() as runs:
        if main(["train", "--quiet", "--out", runs, "--name", "run"]) != 0:
            sys.exit(1)
        steps, evaluations = (found := read(f"{runs}/run")).steps, found.evaluations
    real = [step for step in steps if not step.predicted]
    every = len(steps) // len(evaluations)
    with plt.style.context(mh.plot.STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.6))
        mh.plot.phase_bands(axes, [step.phase for step in steps])
        where, losses = [step.step for step in real], [step.loss for step in real]
        mh.plot.learning_curve(axes, losses, steps=where, label="training loss, of smoothed labels")
        scored = range(every, len(steps) + 1, every)
        losses = [score.loss for _, score in evaluations]
        mh.plot.learning_curve(axes, losses, steps=scored, keep=0, label="validation loss")
        axes.set_xlim(0, len(steps))
        axes.legend(ncols=3, loc="upper right")
        mh.plot.save(figure, file)
        plt.close(figure)


def graph(file: Path) -> None:
    """The graph of the loss of a perceptron."""
    model = mh.nn.MLPConfig((64, 128, 10)).init(mh.Rng(0))
    inputs, targets = mh.tensor(mh.Rng(1).normal((32, 64))), mh.Rng(2).integers(0, 10, 32)
    file.write_text(mh.draw(mh.nn.cross_entropy(model(inputs), targets), model).svg)


def draw() -> None:
    """All of them."""
    FOLDER.mkdir(exist_ok=True)
    run(FOLDER / "run.svg")
    graph(FOLDER / "graph.svg")


if __name__ == "__main__":
    draw()
