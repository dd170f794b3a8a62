"""The command `minihybrid`.

The arguments are read by argparse. On Python 3.11, in the median of 15 fresh processes, importing argparse took 7 ms
beyond the start of the interpreter and importing tyro 1.0.17 took 59 ms; tyro also brings three more packages.

Whatever is wrong with the input ends in one sentence on standard error and exit code 2, and leaves no run behind. A run
whose numbers stop being finite ends in one sentence, too: with exit code 3 and the model that scored best, if one was
scored before, else with 2 and nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import minihybrid
from minihybrid.data import DataError, DataLoader, load, names as data_sets
from minihybrid.device import Device, DeviceError
from minihybrid.distributed import (
    Alone,
    CommunicationError,
    Communicator,
    Mpi,
    Nccl,
    Shard,
    SharedStop,
    TrafficByPhase,
    ending_together,
    evaluate_together,
    require_same_settings,
)
from minihybrid.hybrid import FullTrainer, HybridConfig, HybridTrainer, ModelWrapper, OptimizerWrapper, ParallelModel
from minihybrid.module import RecordError
from minihybrid.optim import SGD, Adam, AdamW, Constant, Cosine, Optimizer, Schedule
from minihybrid.rng import Rng
from minihybrid.train import (
    CheckpointError,
    Checkpoints,
    DivergenceError,
    Learner,
    Listener,
    ReadCheckpoints,
    RunError,
    RunFolder,
    Task,
    TensorBoard,
    read_config,
)
from minihybrid.train.display import choose_display

DONE, BAD_INPUT, DIVERGED, INTERRUPTED = 0, 2, 3, 130  # 130 is how shells report an end by Ctrl-C

OPTIMIZERS: dict[str, tuple[Callable[[], Optimizer], float]] = {  # and the learning rate where --lr is not given
    "sgd": (SGD, 0.2),
    "momentum": (partial(SGD, momentum=0.9), 0.03),
    "adam": (Adam, 0.003),
    "adamw": (AdamW, 0.003),
}
SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda lr, steps: Constant(lr),
    "cosine": lambda lr, steps: Cosine(lr, steps),
}
DATA_SEED = 2**63
"""Draws data sets and their parts, whatever the seed of a run: so runs can be compared. Nobody's --seed is this."""
GUARD_BATCH = 256
"""Examples that judge a prediction."""
BESIDE_RESUME = ("--resume", "--out", "--plain", "--quiet", "--distributed")
"""Where the run is, how it is shown, and on how many processes; all else is the run's own."""
NO_SETTINGS = ("command", "name", "out", "display", "tensorboard", "resume", "distributed")
"""Options that say nothing about how a network is trained."""
LARGEST_LAYER = 1_000_000
LARGEST_NUMBER = 1e30
"""Of a rate or a norm: far beyond all sense, and within float32."""


class UsageError(Exception):
    """Arguments that make no sense; the message is the sentence that the user reads."""


TOLD = (UsageError, DataError, DeviceError, RunError, RecordError, DivergenceError, CommunicationError)
"""What ends a command with a sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process if none), and return its exit code.

    >>> main(["trian"])
    2
    """
    _escape_what_cannot_be_shown()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except TOLD as error:
        print(f"minihybrid: {error}{'' if str(error).endswith(('.', '?')) else '.'}", file=sys.stderr)
        return BAD_INPUT
    except MemoryError as error:
        print(f"minihybrid: this does not fit into memory ({error}); use smaller sizes.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("minihybrid: interrupted; nothing was saved.", file=sys.stderr)
        return INTERRUPTED
    finally:
        _flush()


def _run(argv: list[str]) -> int:
    parser, commands = _parsers(argv[0] if argv else None)
    if not argv:
        parser.print_help()
        return DONE
    if not argv[0].startswith("-") and argv[0] not in commands:
        raise UsageError(f"there is no command {argv[0]!r}{_nearest(argv[0], commands)}")
    if argv[0] not in commands and argv[0] not in (alone := ("-h", "--help", "--version")):
        near = difflib.get_close_matches(argv[0], alone, n=1) or [f"minihybrid train {argv[0]}"]
        raise UsageError(f"there is no option {argv[0]} before a command; did you mean {near[0]}?")
    options, left = parser.parse_known_args(_joined(argv))
    if left:
        known = commands[argv[0]]._option_string_actions
        if left[0].startswith("-"):
            option = left[0].partition("=")[0]
            raise UsageError(f"{argv[0]} has no option {option}{_nearest(option, known)}")
        raise UsageError(f"{argv[0]} does not know what to do with {left[0]!r}; options begin with --.")
    if getattr(options, "resume", None) is not None:
        given = [word.partition("=")[0] for word in argv if word.startswith("--")]
        if others := [option for option in given if option not in BESIDE_RESUME]:
            raise UsageError(f"--resume goes on with the run's own options; leave {others[0]} out.")
    return COMMANDS[argv[0]](options)


def train(options: argparse.Namespace) -> int:
    """Train a network as the options say, show it, and keep it in a run folder; or go on with one that is there."""
    if not options.distributed:
        return _train(options, Alone())
    ranks = Mpi()
    with ending_together(ranks, TOLD, BAD_INPUT):
        return _train(options, ranks)


def _train(options: argparse.Namespace, ranks: Communicator) -> int:
    stored = None
    if options.resume is not None:
        out, name = _located(options.resume, options.out)
        stored = read_config(out, name)
        options = _options_of(stored, name, out, options.display)
    device, ranks = _of_rank(_device(options.device), ranks)
    with device.use():
        return _train_on(device, options, ranks, stored)


def _of_rank(device: Device, ranks: Communicator) -> tuple[Device, Communicator]:
    """The device of this rank, and what reaches those of others: the ranks of a machine take its GPUs by turns."""
    if device.name == "cpu" or ranks.size == 1:
        return device, ranks
    device = _device(f"cuda:{ranks.rank % device.xp.cuda.runtime.getDeviceCount()}")
    return device, Nccl(ranks, device)


def _train_on(device: Device, options: argparse.Namespace, ranks: Communicator, stored: dict[str, Any] | None) -> int:
    """The same; `stored` is the configuration of the run to go on with, if there is one."""
    resumes = stored is not None
    fixed = Rng(DATA_SEED)
    data = load(options.dataset, options.data, fixed.split())
    if options.data is not None and not options.dataset.startswith("mnist"):
        raise UsageError(f"--data is the folder of MNIST's files; {options.dataset} reads none.")
    task = Task.of(data.to(device), fixed.split(), options.label_smoothing)
    if options.batch_size > len(task.train):
        raise UsageError(
            f"--batch-size {options.batch_size} is more than the {len(task.train)} training examples of "
            f"{options.dataset}."
        )
    optimizer, usual_lr = OPTIMIZERS[options.optimizer]
    lr = usual_lr if options.lr is None else options.lr
    schedule = SCHEDULES[options.schedule](lr, options.steps)
    every = min(max(1, options.steps // 20), 1000) if options.every is None else options.every

    rng = Rng(options.seed)
    network = task.network(options.hidden)
    first = network.init(rng.split(), device)
    stepper = OptimizerWrapper(optimizer(), schedule, options.clip)
    batches = Shard(DataLoader(task.train, options.batch_size, rng.split(), drop_last=True), ranks.rank, ranks.size)
    guards = DataLoader(task.guard, min(GUARD_BATCH, len(task.guard)), rng.split(), drop_last=True)
    guard = Shard(guards, ranks.rank, ranks.size)
    whole = options.batch_size == len(task.train)
    preset = replace(HybridConfig.full_batch() if whole else HybridConfig.minibatch(), compile=options.compile)
    hybrid = preset if options.trainer == "hybrid" else None
    require_same_settings(ranks, {**_own(options), "version": minihybrid.__version__, "examples": len(data)})
    model = ModelWrapper(first, task.forward) if ranks.size == 1 else ParallelModel(first, task.forward, ranks)
    trainer = (
        FullTrainer(model, stepper, options.compile) if hybrid is None else HybridTrainer(model, stepper, hybrid, guard)
    )

    config = {
        "version": minihybrid.__version__,
        **_own(options),
        "lr": lr,
        "every": every,
        "examples": {part: len(getattr(task, part)) for part in ("train", "guard", "validation")},
        "network": json.loads(network.to_json()),
        "hybrid": None if hybrid is None else json.loads(hybrid.to_json()),
    }
    if stored is not None:
        _require_as_it_was(stored, config, options.name)
    learner = Learner(trainer, batches, task.evaluate, options.steps, every)
    if ranks.size > 1:
        learner.evaluate = lambda model: evaluate_together(ranks, model, task.validation, task.score)
        learner.agree = SharedStop(ranks)
    if ranks.rank:
        return _beside(learner, ranks, resumes)
    size = f"{model.parameter_count():,} parameters"
    where = device.name if ranks.size == 1 else f"{ranks.size} ranks on {device.name}"
    title = f"{options.dataset}, {options.trainer} trainer, {size}, {where}"
    return _shown_and_kept(learner, ranks, resumes, options, config, title)


def _shown_and_kept(
    learner: Learner[Any],
    ranks: Communicator,
    resumes: bool,
    options: argparse.Namespace,
    config: dict[str, Any],
    title: str,
) -> int:
    """What the first rank does: train, show it, and keep it."""
    with ExitStack() as run:
        folder = run.enter_context(
            RunFolder.reopen(options.out, options.name)
            if resumes
            else RunFolder(options.out, config, options.name, f"{options.dataset}-{options.trainer}")
        )
        sent = TrafficByPhase(ranks)
        listeners: list[Listener] = [folder, run.enter_context(choose_display(options.display, title)), sent]
        if options.tensorboard or (folder.writing / "tensorboard").exists():
            # The first to hear of the end, as the folder is renamed then.
            listeners.insert(0, run.enter_context(_tensorboard(folder.writing)))
        learner.listeners = listeners
        if options.checkpoint_every is not None:
            steps, minutes = _interval(options.checkpoint_every)
            learner.checkpoints = Checkpoints(folder.checkpoints, steps, minutes, config=config)
        ranks.all_gather_text(str(folder.checkpoints.resolve()))
        _require_same_checkpoint(ranks, learner.checkpoints, resumes)
        try:
            summary = learner.resume() if resumes else learner.run()
        except DivergenceError as error:
            if not folder.kept:
                raise
            print(f"minihybrid: {error} The model that scored best is kept in {folder.path}.", file=sys.stderr)
            return DIVERGED
        except (CheckpointError, RunError) as error:
            hint = f" What it has learned is kept: minihybrid train --resume {folder.name}." if folder.resumable else ""
            raise RunError(f"{error}{hint}") from error
    with contextlib.suppress(BrokenPipeError):
        if ranks.size > 1 and options.display != "quiet":
            print(f"sent by each rank: {sent}")
        print(folder.path if options.display == "quiet" else f"kept in {folder.path}")
    return INTERRUPTED if summary.interrupted else DONE


def _beside(learner: Learner[Any], ranks: Communicator, resumes: bool) -> int:
    """What ranks other than the first do: train, and neither show nor keep it."""
    learner.checkpoints = ReadCheckpoints(ranks.all_gather_text("")[0])
    _require_same_checkpoint(ranks, learner.checkpoints, resumes)
    try:
        summary = learner.resume() if resumes else learner.run()
    except DivergenceError:  # as on all ranks; the first one tells
        return DIVERGED
    return INTERRUPTED if summary.interrupted else DONE


def _require_same_checkpoint(ranks: Communicator, checkpoints: Checkpoints | None, resumes: bool) -> None:
    """Raise CommunicationError unless all ranks go on from the same one."""
    if resumes and checkpoints is not None and ranks.size > 1:
        found = checkpoints.newest()
        require_same_settings(ranks, {"the checkpoint": None if found is None else found.path.name})


def _own(options: argparse.Namespace) -> dict[str, Any]:
    """The options that a run is made of."""
    return {name: value for name, value in vars(options).items() if name not in NO_SETTINGS}


def _located(resume: str, out: str) -> tuple[str, str]:
    """The folder of runs and the name of one that is given by its name or its path."""
    above, name = os.path.split(resume.rstrip(os.sep))
    hidden = re.fullmatch(r"\.(.+)\.partial", name)
    return above or out, hidden[1] if hidden else name


def _options_of(config: dict[str, Any], name: str, out: str, display: str) -> argparse.Namespace:
    """The options that a run was made with, as if they had been given again."""
    parser, commands = _parsers("train")
    argv = ["train"]
    for action in commands["train"]._actions:
        value = config.get(action.dest)
        if action.option_strings and value is not None and value is not False:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            argv.append(action.option_strings[0] + ("" if value is True else f"={text}"))
    try:
        options = parser.parse_args(argv)
    except UsageError as error:
        raise RunError(f"the configuration of the run {name!r} is damaged: {error}") from None
    if options.checkpoint_every is None:
        raise RunError(f"the run {name!r} kept no checkpoints to go on from; --checkpoint-every keeps them.")
    options.name, options.out, options.display, options.resume = name, out, display, None
    return options


def _require_as_it_was(stored: dict[str, Any], config: dict[str, Any], name: str) -> None:
    """Raise RunError if the run would not be made in the same way again."""
    now = json.loads(json.dumps(config))
    if odd := [key for key in now if key != "version" and stored.get(key) != now[key]]:
        raise RunError(
            f"the run {name!r} was made by minihybrid {stored.get('version')} with another {odd[0]!r} than minihybrid "
            f"{now['version']} would choose; go on with that version."
        )


def compare(options: argparse.Namespace) -> int:
    """Compare methods on tasks as the options say, show how it goes, and keep runs and tables in a folder."""
    from minihybrid import compare as comparison

    suite = comparison.SUITES[options.suite]
    if options.seeds is not None:
        suite = replace(suite, seeds=options.seeds)
    methods = list(suite.methods)
    if options.method:  # with their decayed forms, and the one whose losses are the targets
        bases = {*options.method, comparison.YARDSTICK}
        methods = [name for name in comparison.METHODS if name in bases or name.removesuffix("/linear") in bases]
    tasks, skipped = comparison.available(options.task or suite.tasks, options.data)
    if not tasks:
        raise UsageError(f"there is no task to compare on: {skipped[0]}")
    out = options.out or os.path.join("runs", f"compare-{suite.name}")
    try:
        with comparison.choose_progress(options.display, options.jobs) as progress:
            found = comparison.compare(suite, tasks, methods, out, progress, options.data, options.jobs)
        text = comparison.write(found, out, skipped)
    except OSError as error:
        raise UsageError(f"--out: nothing can be kept in {out}: {error.strerror or error}.") from None
    with contextlib.suppress(BrokenPipeError):
        print(f"\n{text}\n\nkept in {out}")
    return INTERRUPTED if found.interrupted else DONE


def report(options: argparse.Namespace) -> int:
    """Write the report of some runs as one HTML file."""
    from minihybrid import report

    path = report.write(options.run, options.out)
    with contextlib.suppress(BrokenPipeError):
        print(f"kept in {path}")
    return DONE


COMMANDS = {"train": train, "compare": compare, "report": report}


def _tensorboard(folder: Path) -> TensorBoard:
    try:
        return TensorBoard(folder / "tensorboard")
    except ImportError as error:
        raise UsageError(f"--tensorboard: {error}") from None


def _device(name: str) -> Device:
    try:
        return Device(name)
    except ValueError as error:
        raise UsageError(f"--device: {error}") from None


# Reading the arguments


def _parsers(command: str | None) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and those of the commands by name, with the options of the one that is given."""
    parser = _Parser(
        prog="minihybrid", description="Train small networks with a trainer that predicts.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"minihybrid {minihybrid.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="", dest="command")
    train = commands.add_parser(
        "train",
        help="train a network on a data set and keep it in a run folder",
        description="Train a multilayer perceptron. Without options: on handwritten digits, with the hybrid trainer.",
        epilog="Exit codes: 0 done, 2 bad input (nothing is kept but checkpoints), 3 diverged after a validation (the "
        "model that scored best is kept), 130 ended by Ctrl-C or SIGTERM (what was learned is kept).",
        allow_abbrev=False,
    )
    _add_train_options(train)
    compare = commands.add_parser(
        "compare",
        help="compare the hybrid trainer with baselines and controls",
        description="Train small networks by many methods at equal charged cost, each with its learning rate tuned, "
        "and say what predictions are worth. What was interrupted goes on from there.",
        epilog="Exit codes: 0 done, 2 bad input, 130 ended by Ctrl-C (finished runs are kept).",
        allow_abbrev=False,
    )
    if command == "compare":  # its choices are read from a package that other commands should not wait for
        _add_compare_options(compare)
    report = commands.add_parser(
        "report",
        help="show runs as a page: curves, phases, predictions, costs",
        description="Write one HTML file that shows a run, or compares several, and needs nothing else.",
        epilog="Exit codes: 0 done, 2 bad input (a run that is missing or damaged).",
        allow_abbrev=False,
    )
    report.add_argument("run", metavar="RUN", nargs="+", help="the folder of a run, or its name in runs/")
    report.add_argument(
        "--out",
        metavar="FILE",
        type=_file,
        help="the file to write (default: report.html in the run's folder; for several runs, in this one)",
    )
    return parser, {"train": train, "compare": compare, "report": report}


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    usual = ", ".join(f"{lr:g} for {name}" for name, (_, lr) in OPTIMIZERS.items())

    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        metavar="NAME",
        default="digits",
        help=f"one of {', '.join(data_sets())} (default: %(default)s)",
    )
    data.add_argument("--data", metavar="DIR", help="the folder of MNIST's files (default: $MINIHYBRID_DATA)")

    network = parser.add_argument_group("network")
    network.add_argument(
        "--hidden",
        metavar="SIZES",
        type=_sizes,
        default="128",
        help="hidden layers, such as 64,64 (default: %(default)s)",
    )

    training = parser.add_argument_group("training")
    _add_choice(training, "--trainer", ("hybrid", "full"), "hybrid predicts now and then, full makes real steps only")
    _add_choice(training, "--optimizer", OPTIMIZERS, "the update rule", default="adam")
    training.add_argument("--lr", metavar="RATE", type=_positive, help=f"the learning rate (default: {usual})")
    _add_choice(training, "--schedule", SCHEDULES, "how the learning rate goes on", default="cosine")
    training.add_argument(
        "--clip", metavar="NORM", type=_positive, help="limit the global norm of the gradients (default: no limit)"
    )
    training.add_argument(
        "--compile", action="store_true", help="record loss and gradients once, then replay them: the same, but faster"
    )
    training.add_argument(
        "--label-smoothing",
        metavar="PART",
        type=_label_smoothing,
        default=0.1,
        help="mix so much of all classes into each label, in training (default: %(default)s)",
    )
    training.add_argument(
        "--batch-size", metavar="N", type=_whole(1), default=32, help="examples a step (default: %(default)s)"
    )
    training.add_argument(
        "--steps", metavar="N", type=_whole(1), default=1500, help="real steps and predictions (default: %(default)s)"
    )
    training.add_argument(
        "--every", metavar="N", type=_whole(1), help="steps between validations (default: a twentieth, up to 1000)"
    )
    training.add_argument(
        "--seed",
        metavar="N",
        type=_whole(0),
        default=0,
        help="draws weights and batches, not the parts of the data; it repeats a run to the bit (default: %(default)s)",
    )
    training.add_argument(
        "--distributed",
        action="store_true",
        help="train on all processes that mpiexec has started, each with its part of every batch",
    )
    training.add_argument("--device", metavar="NAME", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")

    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", metavar="DIR", type=_folder, default="runs", help="the folder of all runs (default: %(default)s)"
    )
    output.add_argument("--name", help="the name of the run (default: data set, trainer and a number)")
    output.add_argument(
        "--tensorboard", action="store_true", help="keep the curves for TensorBoard as well, in the run's folder"
    )
    shown = output.add_mutually_exclusive_group()
    shown.add_argument(
        "--plain", dest="display", action="store_const", const="plain", help="lines instead of a live display"
    )
    shown.add_argument(
        "--quiet", dest="display", action="store_const", const="quiet", help="print the run's folder and nothing else"
    )
    parser.set_defaults(display="live")

    checkpoints = parser.add_argument_group("checkpoints")
    checkpoints.add_argument(
        "--checkpoint-every",
        metavar="N",
        type=_checked_interval,
        help="save all that the run depends on after every N steps, or minutes, as in 10m, and where it is interrupted "
        "(default: never)",
    )
    checkpoints.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run that was killed or interrupted, by its name or folder, to its own end, with its own "
        "options: the same to the bit as if nothing had happened",
    )


def _add_compare_options(parser: argparse.ArgumentParser) -> None:
    from minihybrid import compare as comparison

    group = parser.add_argument_group("what is compared")
    _add_choice(group, "--suite", comparison.SUITES, "how much: quick takes minutes, full the better part of an hour")
    _add_choices(group, "--task", comparison.names(), "only these tasks")
    about = f"only these methods, each with a decayed learning rate as well, and {comparison.YARDSTICK}"
    _add_choices(group, "--method", comparison.METHODS, about)
    group.add_argument(
        "--seeds", metavar="N", type=_whole(1), help="runs of each method on each task (default: 3 in quick, 5 in full)"
    )
    group.add_argument("--data", metavar="DIR", help="the folder of MNIST's files (default: $MINIHYBRID_DATA)")
    work = parser.add_argument_group("work and output")
    work.add_argument("--jobs", metavar="N", type=_whole(1), default=1, help="runs at a time (default: %(default)s)")
    work.add_argument(
        "--out", metavar="DIR", type=_folder, help="the folder of runs and tables (default: runs/compare-SUITE)"
    )
    work.add_argument(
        "--plain", dest="display", action="store_const", const="plain", default="live", help="lines instead of a bar"
    )


def _add_choices(group: Any, option: str, known: Iterable[str], what: str) -> None:
    group.add_argument(
        option,
        metavar="NAME",
        action="extend",
        nargs="+",
        type=_one_of(option, known),
        help=f"{what} (default: those of the suite)",
    )


def _one_of(option: str, known: Iterable[str]) -> Callable[[str], str]:
    names = list(known)

    def one_of(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"there is no {option[2:]} {text!r}{_nearest(text, names)}")
        return text

    return one_of


def _add_choice(group: Any, option: str, known: Iterable[str], what: str, default: str | None = None) -> None:
    names = list(known)
    group.add_argument(
        option,
        metavar=f"{{{','.join(names)}}}",
        type=_one_of(option, names),
        default=default or names[0],
        help=f"{what} (default: %(default)s)",
    )


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on.")
        return value

    return whole


def _positive(text: str) -> float:
    value = _float(text)
    if not 0 < value <= LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number up to {LARGEST_NUMBER:g}.")
    return value


def _checked_interval(text: str) -> str:
    steps, minutes = _interval(text)
    if (steps is None or steps < 1) and not (minutes is not None and 0 < minutes <= LARGEST_NUMBER):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of steps from 1 on, and no minutes, as in 10m.")
    return text


def _interval(text: str) -> tuple[int | None, float | None]:
    """Steps or minutes."""
    if text.endswith("m"):
        return None, _float(text[:-1])
    return (int(text), None) if re.fullmatch(r"[0-9]{1,18}", text) else (None, None)


def _label_smoothing(text: str) -> float:
    value = _float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to below 1.")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _folder(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'' is no folder; write . for this one.")
    return text


def _file(text: str) -> str:
    if not os.path.basename(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no file; write a name such as report.html.")
    return text


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = (0,)
    if not all(1 <= size <= LARGEST_LAYER for size in sizes):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of layer sizes; write whole numbers from 1 to {LARGEST_LAYER:,} with commas between, "
            "such as 64,64."
        )
    return sizes


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong instead of printing the usage and leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def _joined(argv: list[str]) -> list[str]:
    """`--lr -1` as `--lr=-1`, which argparse would take for two options: the sentence is to be about the number."""
    joined: list[str] = []
    for word in argv:
        if re.match(r"-[\d.]", word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}."


def _escape_what_cannot_be_shown() -> None:
    """A folder's name may hold what the output has no signs for: that is no reason to fail after a run was kept."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write what is left now: a reader that has gone away (`| head`) is no error, but would be one at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
