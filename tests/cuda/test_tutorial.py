"""The tutorial about GPUs runs on a device, too, and what it quotes is what a device says."""

import re

import numpy as np
import pytest

import minihybrid as mh
from minihybrid.device import Device
from tests.test_tutorials import FOLDER, build, run

SOURCE = FOLDER / "08_the_gpu.py"


def quoted(fence: str) -> list[list[str]]:
    """The lines of each fenced block of the text, outside of solutions."""
    texts = [text.partition("<details>")[0] for kind, text in build.read(SOURCE) if kind == "markdown"]
    return [
        block.splitlines() for text in texts for block in re.findall(rf"^```{fence}\n(.*?)\n```$", text, re.S | re.M)
    ]


@pytest.mark.slow
def test_the_tutorial_runs_on_a_device(cuda: Device, capsys: pytest.CaptureFixture[str]) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="the tutorials draw with the extra plot")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    try:
        with pyplot.rc_context():
            run(SOURCE)
    finally:
        pyplot.close("all")
    shown = capsys.readouterr().out
    assert "this notebook runs on: cuda" in shown
    assert "There is one device here" not in shown
    assert not re.search(r": +False", shown)
    assert len(re.findall(r"on cuda, \d+ hidden units, 1 graphs captured", shown)) == 3
    about_graphs = next(block for block in quoted("") if block[0].startswith("# graph"))
    assert all(line in shown.splitlines() for line in about_graphs)
    sentence = re.search(r"\*(add: x is on cuda.*?)\*", " ".join(text for _, text in build.read(SOURCE)), re.S)
    assert sentence is not None
    assert " ".join(sentence[1].split()) in " ".join(shown.split())


def test_the_fused_calls_that_it_quotes_are_those_of_a_plan(cuda: Device, emulated: None) -> None:
    @mh.compile
    def step(model, optimizer, inputs, targets):
        loss = mh.nn.cross_entropy(model(mh.Tensor(inputs)), targets)
        grads = mh.optim.GradientsParams.from_grads(loss.backward(), model)
        return optimizer.step(0.1, model, grads), loss

    model = mh.nn.MLPConfig((8, 6, 10)).init(mh.Rng(0), device=cuda)
    step(model, mh.optim.Adam(), cuda.array(np.ones((4, 8), np.float32)), cuda.array(np.arange(4)))
    body = step.plans[0].source.partition("\n\n")[0].splitlines()[1:]
    assert [line.strip() for line in body] == next(block for block in quoted("python") if block[0].startswith("gemm"))
