"""The command, mostly in this process; a few real processes for pipes, signals and imports."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import minihybrid as mh
import minihybrid.compare
from minihybrid.cli import DATA_SEED, main
from minihybrid.compare import Suite
from minihybrid.compare.race import race
from minihybrid.nn import MLPConfig
from minihybrid.train import Task

SHORT = ["--hidden", "8", "--steps", "130", "--plain"]  # long enough for one prediction


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIHYBRID_DATA", raising=False)
    return tmp_path


def weights(name):
    """The whole file of a run's model."""
    return Path("runs", name, "model.safetensors").read_bytes()


def runs(folder):
    return sorted(path.name for path in (folder / "runs").iterdir())


# What it does


def test_without_options_it_learns_digits(elsewhere, capsys):
    assert main(["train"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"kept in {os.path.join('runs', 'digits-hybrid-1')}"
    folder = elsewhere / "runs" / "digits-hybrid-1"
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    end = entries[-1]
    assert end["event"] == "end" and end["evaluation"]["accuracy"] >= 0.97
    assert end["predictions_tried"] > 0
    outcomes = ("accepted", "rolled_back", "declined")
    assert end["predictions_tried"] == sum(end[f"predictions_{outcome}"] for outcome in outcomes)
    assert end["backward_passes"] == end["steps"] - end["predictions_tried"] and end["forward_probes"] > 0
    steps = [entry for entry in entries if entry["event"] == "step"]
    assert len(steps) == end["steps"] == 1500
    assert {entry["phase"] for entry in steps} == {"warmup", "full", "predict", "correct"}
    assert {entry["guard"] for entry in steps if entry["predicted"]} <= {"held-out", None}
    for label in ("validation accuracy", "backward passes", "forward probes", "predictions tried", "accepted"):
        assert label in out


def test_the_model_that_is_kept_is_the_one_that_was_scored(elsewhere):
    assert main(["train", *SHORT, "--name", "x"]) == 0
    folder = elsewhere / "runs" / "x"
    config = json.loads((folder / "config.json").read_text())
    network = mh.nn.Config.from_json(json.dumps(config["network"]))
    assert network == MLPConfig((64, 8, 10))
    model, report = network.init().load(folder / "model.safetensors")
    assert report.complete
    # The validation set again, as the command drew it.
    fixed = mh.Rng(DATA_SEED)
    task = Task.of(mh.data.load("digits", rng=fixed.split()), fixed.split())
    score = task.evaluate(model)
    end = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert end["evaluation"] == {"loss": score.loss, "accuracy": score.accuracy}


def test_the_configuration_says_what_was_done(elsewhere):
    options = ["--trainer", "full", "--optimizer", "momentum", "--lr", "0.01", "--schedule", "constant", "--clip", "1"]
    options += ["--batch-size", "16", "--steps", "7", "--every", "3", "--seed", "5", "--hidden", "4,3", "--compile"]
    assert main(["train", *options, "--quiet"]) == 0
    folder = elsewhere / "runs" / "digits-full-1"
    config = json.loads((folder / "config.json").read_text())
    expected = {"dataset": "digits", "trainer": "full", "optimizer": "momentum", "lr": 0.01, "schedule": "constant"}
    expected |= {"clip": 1.0, "batch_size": 16, "steps": 7, "every": 3, "seed": 5, "hidden": [4, 3], "device": "cpu"}
    expected |= {"compile": True}
    expected |= {
        "version": mh.__version__,
        "hybrid": None,
        "examples": {"train": 1294, "guard": 144, "validation": 359},
    }
    assert config.items() >= expected.items()
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["steps"] for entry in entries if entry["event"] == "evaluation"] == [3, 6, 7]
    assert all(entry["gradient_norm"] > 0 for entry in entries if entry["event"] == "step")


@pytest.mark.parametrize("trainer", ["hybrid", "full"])
def test_a_seed_repeats_a_run_to_the_bit(elsewhere, trainer):
    def model(name, seed):
        assert main(["train", *SHORT, "--trainer", trainer, "--name", name, "--seed", seed]) == 0
        return weights(name)

    assert model("a", "3") == model("b", "3") != model("c", "4")


@pytest.mark.parametrize("trainer", ["hybrid", "full"])
def test_a_limit_that_is_never_reached_changes_nothing_and_one_that_is_does(elsewhere, trainer):
    def model(name, *clip):
        assert main(["train", *SHORT, "--trainer", trainer, "--name", name, *clip]) == 0
        return weights(name)

    assert model("a") == model("b", "--clip", "1e9") != model("c", "--clip", "0.1")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_every_optimizer_learns_with_its_usual_rate(elsewhere, optimizer):
    assert main(["train", "--hidden", "32", "--steps", "400", "--optimizer", optimizer, "--name", "x"]) == 0
    end = json.loads((elsewhere / "runs" / "x" / "metrics.jsonl").read_text().splitlines()[-1])
    assert end["evaluation"]["accuracy"] > 0.9


@pytest.mark.parametrize("dataset", ["moons", "spirals", "sine", "xor"])
def test_other_data_sets(elsewhere, dataset, capsys):
    assert main(["train", "--dataset", dataset, "--steps", "600", "--hidden", "32,32", "--name", "x"]) == 0
    end = json.loads((elsewhere / "runs" / "x" / "metrics.jsonl").read_text().splitlines()[-1])
    if dataset == "sine":
        assert end["evaluation"]["loss"] < 0.05 and end["evaluation"]["accuracy"] is None
        assert "accuracy" not in capsys.readouterr().out
    else:
        assert end["evaluation"]["accuracy"] > 0.9


def mnist(folder, n=40, cut=0):
    """A little MNIST of noise, the files cut short by some bytes."""
    folder.mkdir()
    pixels = mh.Rng(0).integers(0, 256, n * 784).astype("uint8").tobytes()
    images = struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + pixels
    labels = struct.pack(">4BI", 0, 0, 8, 1, n) + bytes(i % 10 for i in range(n))
    packed = gzip.compress(images)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(packed[: len(packed) - cut])
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)


def test_mnist_is_read_from_a_folder(elsewhere):
    mnist(elsewhere / "files")
    options = ["--dataset", "mnist", "--data", "files", "--steps", "3", "--batch-size", "8", "--name", "x"]
    assert main(["train", *options]) == 0
    assert runs(elsewhere) == ["x"]


def test_quiet_prints_the_folder_alone(elsewhere, capsys):
    assert main(["train", *SHORT[:-1], "--quiet", "--out", "kept/here"]) == 0
    assert capsys.readouterr().out == f"{os.path.join('kept/here', 'digits-hybrid-1')}\n"


def test_tensorboard_is_kept_in_the_runs_folder(elsewhere, monkeypatch, capsys):
    pytest.importorskip("tensorboardX")
    assert main(["train", *SHORT, "--tensorboard", "--name", "x"]) == 0
    folder = elsewhere / "runs" / "x"
    (events,) = (folder / "tensorboard").iterdir()
    assert events.stat().st_size > 10_000
    assert "tensorboard" not in (folder / "config.json").read_text()
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    capsys.readouterr()
    assert main(["train", *SHORT, "--tensorboard"]) == 2
    assert "--tensorboard: TensorBoard needs tensorboardX: pip install" in capsys.readouterr().err
    assert runs(elsewhere) == ["x"]


# Comparing


@pytest.fixture
def tiny(monkeypatch):
    suite = Suite(
        "quick",
        seeds=1,
        tasks=("full-batch/xor", "minibatch/mnist"),
        methods=("adam", "control/skip-updates"),
        budgets={"full-batch/xor": 10},
        full_batch_points=5,
        shares=(),
    )
    monkeypatch.setitem(minihybrid.compare.SUITES, "quick", suite)


def test_a_comparison_is_shown_and_kept(tiny, elsewhere, capsys):
    assert main(["compare", "--plain"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("   1/2  full-batch/xor         adam ") and "| control/skip-updates |" in "\n".join(out)
    assert any(line.startswith("minibatch/mnist is left out: MNIST needs the folder") for line in out)
    folder = os.path.join("runs", "compare-quick")
    assert out[-1] == f"kept in {folder}"
    rows = json.loads((elsewhere / folder / "compare.json").read_text())
    assert {(row["task"], row["method"], row["seed"]) for row in rows} == {
        ("full-batch/xor", "adam", 0),
        ("full-batch/xor", "control/skip-updates", 0),
    }


def test_methods_tasks_and_seeds_can_be_chosen(tiny, elsewhere):
    options = ["--task", "full-batch/xor", "--method", "lbfgs", "hybrid/rre", "--seeds", "2", "--out", "here"]
    assert main(["compare", *options]) == 0
    rows = json.loads((elsewhere / "here" / "compare.json").read_text())
    methods = {"adam", "adam/linear", "lbfgs", "hybrid/rre", "hybrid/rre/linear"}
    assert {row["method"] for row in rows} == methods and {row["seed"] for row in rows} == {0, 1}


def test_a_comparison_that_is_interrupted_keeps_what_is_finished(tiny, elsewhere, monkeypatch, capsys):
    made = []

    def interrupt(task, method, entry, points):
        if entry.method != "adam":
            raise KeyboardInterrupt
        made.append(entry)
        return race(task, method, entry, points)

    monkeypatch.setattr("minihybrid.compare.workers.race", interrupt)
    assert main(["compare", "--plain", "--out", "x"]) == 130
    assert made and capsys.readouterr().out.splitlines()[-1] == "kept in x"
    rows = json.loads((elsewhere / "x" / "compare.json").read_text())
    assert {row["method"] for row in rows} == {"adam"}
    monkeypatch.setattr("minihybrid.compare.workers.race", race)
    assert main(["compare", "--plain", "--out", "x"]) == 0
    lines = (elsewhere / "x" / "runs.jsonl").read_text().splitlines()
    assert len(lines) == len({json.dumps(json.loads(line)["entry"]) for line in lines}) == len(made) + 1


# Help


def test_help_names_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for text in ("(default: digits)", "(default: 128)", "(default: hybrid)", "0.003 for adam", "(default: 1500)"):
        assert text in out
    assert "None" not in out


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"minihybrid {mh.__version__}\n"


def test_without_a_command_it_shows_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert (
        all(command in out for command in ("train", "compare", "report")) and "bench" not in out
    )  # what does not exist is not listed


# Bad input: one sentence, exit code 2, nothing left behind

BAD = [
    (["trian"], "there is no command 'trian'; did you mean train?"),
    (["bake"], "there is no command 'bake'; known: compare, report, train."),
    (["--verison"], "did you mean --version?"),
    (["--seed", "3"], "there is no option --seed before a command; did you mean minihybrid train --seed?"),
    (["train", "digits"], "train does not know what to do with 'digits'"),
    (["train", "--otpimizer", "adam"], "train has no option --otpimizer; did you mean --optimizer?"),
    (["train", "--hiden=3"], "train has no option --hiden; did you mean --hidden?"),
    (["train", "--optimizer", "adm"], "--optimizer: there is no optimizer 'adm'; did you mean adam?"),
    (["train", "--trainer", "hybird"], "did you mean hybrid?"),
    (["train", "--schedule", "step"], "there is no schedule 'step'; known: constant, cosine."),
    (["train", "--dataset", "digit"], "there is no data set 'digit' (did you mean 'digits'?); known: digits, mnist,"),
    (["train", "--dataset", "x", "--data", "."], "there is no data set 'x'; known: digits, mnist,"),
    (["train", "--data", "empty"], "--data is the folder of MNIST's files; digits reads none."),
    (["train", "--dataset", "mnist"], "MNIST needs the folder with its files"),
    (["train", "--dataset", "mnist", "--data", "nowhere"], "there is no folder nowhere"),
    (["train", "--dataset", "mnist", "--data", "cut"], "cut/train-images-idx3-ubyte.gz is damaged or cut short"),
    (["train", "--dataset", "mnist", "--data", "empty"], "the train part of MNIST is not in empty"),
    (["train", "--hidden", "64,,3"], "--hidden: '64,,3' is no list of layer sizes"),
    (["train", "--hidden", "0"], "--hidden: '0' is no list of layer sizes"),
    (["train", "--hidden", "-5,3"], "--hidden: '-5,3' is no list of layer sizes"),
    (["train", "--hidden", "9" * 5000], "is no list of layer sizes"),
    (["train", "--lr", "-1e-3"], "--lr: '-1e-3' is no positive number up to 1e+30."),
    (["train", "--lr=nan"], "--lr: 'nan' is no positive number up to 1e+30."),
    (["train", "--lr", "inf"], "--lr: 'inf' is no positive number up to 1e+30."),
    (["train", "--lr", "1e308"], "--lr: '1e308' is no positive number up to 1e+30."),
    (["train", "--lr"], "--lr: expected one argument"),
    (["train", "--clip", "0"], "--clip: '0' is no positive number up to 1e+30."),
    (["train", "--label-smoothing", "1"], "--label-smoothing: '1' is no number from 0 to below 1."),
    (["train", "--steps", "0"], "--steps: '0' is no whole number from 1 on."),
    (["train", "--batch-size", "1.5"], "--batch-size: '1.5' is no whole number"),
    (["train", "--batch-size", "1295"], "--batch-size 1295 is more than the 1294 training examples of digits."),
    (["train", "--seed", "-1"], "--seed: '-1' is no whole number from 0 on."),
    (["train", "--device", "gpu"], "there is no device 'gpu'"),
    (["train", "--device", "cuda:9999"], "cuda:9999"),
    (["train", "--device", "cuda:-1"], "--device: there is no device 'cuda:-1'"),
    (["train", "--out", ""], "--out: '' is no folder; write . for this one."),
    (["train", "--out", "x" * 300], "xxx: File name too long."),
    (["train", "--out", "file"], "no run can be kept in file: it is no folder."),
    (["train", "--out", "file/below"], "no run can be kept in file/below: Not a directory."),
    (["train", "--name", "../x"], "'../x' cannot name a run"),
    (["train", "--plain", "--quiet"], "--quiet: not allowed with argument --plain"),
    (["compair"], "there is no command 'compair'; did you mean compare?"),
    (["compare", "--suite", "quik"], "--suite: there is no suite 'quik'; did you mean quick?"),
    (["compare", "--task", "full-batch/digit"], "there is no task 'full-batch/digit'; did you mean full-batch/digits?"),
    (["compare", "--task", "full-batch/xor", "x"], "--task: there is no task 'x'; known: control/random-labels, full-"),
    (
        ["compare", "--method", "hybrid/drfit"],
        "--method: there is no method 'hybrid/drfit'; did you mean hybrid/drift?",
    ),
    (["compare", "--seeds", "0"], "--seeds: '0' is no whole number from 1 on."),
    (["compare", "--jobs", "-1"], "--jobs: '-1' is no whole number from 1 on."),
    (
        ["compare", "--task", "minibatch/mnist"],
        "there is no task to compare on: minibatch/mnist is left out: MNIST needs",
    ),
    (["compare", "--task", "minibatch/mnist", "--data", "empty"], "the test part of MNIST is not in empty"),
    (["compare", "--task", "full-batch/xor", "--out", "file"], "--out: nothing can be kept in file: File exists."),
    (["report"], "the following arguments are required: RUN."),
    (["report", "nowhere"], "there is no run 'nowhere'"),
    (["report", "empty"], "empty/config.json cannot be read: No such file or directory."),
    (["report", "empty", "--out", ""], "--out: '' is no file; write a name such as report.html."),
    (["report", "empty", "--otu", "x"], "report has no option --otu; did you mean --out?"),
    (["compare", "--budget", "3"], "compare has no option --budget; did you mean"),
]


@pytest.mark.parametrize(("argv", "sentence"), BAD, ids=[" ".join(argv)[:40] for argv, _ in BAD])
def test_bad_input_ends_in_one_sentence(elsewhere, argv, sentence, capsys):
    mnist(elsewhere / "cut", cut=100)
    (elsewhere / "empty").mkdir()
    (elsewhere / "file").write_text("kept")
    before = sorted(elsewhere.iterdir())
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("minihybrid: ") and err.count("\n") == 1
    assert err[-2] in ".?" and err[-3] not in ".?"
    assert sentence in err
    assert sorted(elsewhere.iterdir()) == before and (elsewhere / "file").read_text() == "kept"


def test_a_name_is_used_once(elsewhere, capsys):
    assert main(["train", *SHORT, "--name", "x"]) == 0
    before = (elsewhere / "runs" / "x" / "model.safetensors").read_bytes()
    assert main(["train", *SHORT, "--name", "x", "--seed", "1"]) == 2
    assert "there is already a run 'x' in runs" in capsys.readouterr().err
    assert (elsewhere / "runs" / "x" / "model.safetensors").read_bytes() == before and runs(elsewhere) == ["x"]


@pytest.mark.parametrize("trainer", ["hybrid", "full"])
def test_a_run_that_diverges_leaves_nothing(elsewhere, trainer, capsys):
    assert main(["train", "--optimizer", "sgd", "--lr", "1e30", "--trainer", trainer, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "the loss is nan" in err
    assert list(elsewhere.iterdir()) == []


def test_what_does_not_fit_into_memory_is_bad_input(elsewhere, monkeypatch, capsys):
    def refuse(*_):
        raise MemoryError("Unable to allocate 7.28 TiB")

    monkeypatch.setattr("minihybrid.nn.MLPConfig.init", refuse)
    assert main(["train"]) == 2
    assert "does not fit into memory (Unable to allocate 7.28 TiB); use smaller sizes." in capsys.readouterr().err


def test_ctrl_c_before_anything_was_learned(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("minihybrid.cli.load", interrupt)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "minihybrid: interrupted; nothing was saved.\n"


# Real processes


def started(code, folder):
    """A process whose Ctrl-C works even if ours is ignored, as it is under some job runners."""
    prologue = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    return subprocess.Popen(
        [sys.executable, "-c", prologue + code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_keeps_what_was_learned(elsewhere):
    argv = ["train", "--steps", "1000000000", "--every", "50"]
    run = f"import sys; from minihybrid.cli import main; sys.exit(main({argv}))"
    with started(run, elsewhere) as process:
        while not process.stdout.readline().startswith("step  "):
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130 and err == ""
    assert "interrupted" in out and out.splitlines()[-1].startswith("kept in ")
    assert runs(elsewhere) == ["digits-hybrid-1"]
    folder = elsewhere / "runs" / "digits-hybrid-1"
    end = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert end["interrupted"] and end["steps"] >= 50
    network = mh.nn.Config.from_json(json.dumps(json.loads((folder / "config.json").read_text())["network"]))
    assert network.init().load(folder / "model.safetensors")[1].complete


def test_a_reader_that_goes_away_does_not_end_the_run(elsewhere):
    command = [sys.executable, "-m", "minihybrid", "train", "--steps", "300", "--hidden", "16", "--every", "1"]
    with subprocess.Popen(command, cwd=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")
    assert runs(elsewhere) == ["digits-hybrid-1"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_terminal_gets_the_live_display(elsewhere):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "minihybrid", "train", "--steps", "400", "--hidden", "16"]
    with subprocess.Popen(
        command, cwd=elsewhere, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end was closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0
    assert "\x1b[?25l" in text and "\x1b[?25h" in text  # the cursor was hidden, and came back
    assert "╭─ digits, hybrid trainer" in text and "validation accuracy" in text
    assert text.rstrip().endswith("runs/digits-hybrid-1")


def imported(statement):
    """The modules outside the standard library that a statement imports in a fresh process, by their first names."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in out.split()} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", ["minihybrid", "minihybrid.cli"])
def test_importing_needs_numpy_alone(module):
    numpy = imported("import numpy, numpy.random")  # which brings modules of other names along
    assert imported(f"import {module}") - numpy == {"minihybrid"}
