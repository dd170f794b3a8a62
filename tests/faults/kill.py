"""Kill a training run again and again, as `kill -9` does, and see that it ends as if nothing had happened.

    python tests/faults/kill.py --kills 200

Half of the kills come from outside at a random moment. The others come inside a write: half of a file is written, it is
not on the disk yet, not renamed yet, or renamed but not pointed to. After each the run is resumed; where it ends, model
and metrics must be those of a run that nobody touched, and whenever it is dead, there must be a whole checkpoint.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: processes with threads fork badly

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import minihybrid.module.record as record
from minihybrid.cli import main
from minihybrid.train import Checkpoints

RUN = ["train", "--hidden", "16", "--steps", "330", "--every", "30", "--batch-size", "16", "--quiet"]
MEMORY = "/dev/shm"
"""Files that a kill leaves alone, and that need not wait for a disk."""
TIMES = ("seconds", "cpu_seconds", "history_seconds", "prediction_seconds")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_write(moment: str, count: int) -> None:
    """From now on, the process kills itself at the count-th such moment."""
    left = count

    def now() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    class Half:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def writelines(self, parts):
            content = b"".join(parts)
            if now():
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                die()
            self.file.write(content)

    def before(function):
        def dying(*args, **options):
            if now():
                die()
            return function(*args, **options)

        return dying

    def after(function):
        def dying(*args, **options):
            function(*args, **options)
            if now():
                die()

        return dying

    if moment == "half":
        make = record.tempfile.NamedTemporaryFile
        record.tempfile.NamedTemporaryFile = lambda *args, **options: Half(make(*args, **options))
    elif moment == "unsynced":
        os.fsync = before(os.fsync)
    elif moment == "unnamed":
        os.replace = before(os.replace)
    elif moment == "named":
        os.replace = after(os.replace)
    else:
        os.unlink = before(os.unlink)


MOMENTS = ("half", "unsynced", "unnamed", "named", "uncleared")


def forked(argv: list[str], moment: str | None, count: int, delay: float | None) -> bool:
    """Run the command in a child until it ends, or is killed; whether it ended."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if moment is not None:
                die_in_a_write(moment, count)
            code = main(argv)
        finally:
            os._exit(code)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, f"the command ended with {os.WEXITSTATUS(status)}: {argv}"
    return True


def told(folder: Path) -> list[dict]:
    """What the metrics tell, but for what it took by the clock."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def check(kills: int, seed: int) -> tuple[int, int]:
    """Kill so often; gives how many runs came to their end, and how many kills came in the middle of a write."""
    draw = random.Random(seed)
    ended = inside = killed = 0
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
        os.chdir(folder)
        began = time.perf_counter()
        assert main([*RUN, "--name", "whole", "--checkpoint-every", "1"]) == 0
        longest = time.perf_counter() - began
        whole = Path("runs", "whole")
        while killed < kills:
            name = f"run-{ended}"
            argv = [*RUN, "--name", name, "--checkpoint-every", "1"]
            while True:
                moment, count, delay = None, 0, None
                if killed < kills and draw.random() < 0.5:
                    moment, count = draw.choice(MOMENTS), draw.randrange(1, 120)
                elif killed < kills:
                    delay = draw.uniform(0, longest / 3)
                if forked(argv, moment, count, delay):
                    break
                killed, inside = killed + 1, inside + (moment is not None)
                partial = Path("runs", f".{name}.partial")
                if partial.exists():
                    found = Checkpoints(partial / "checkpoints").newest()
                    assert found is None or not found.damaged, found.damaged
                    if (partial / "config.json").exists():
                        argv = ["train", "--resume", name, "--quiet"]
                    else:  # killed before there was anything of it
                        shutil.rmtree(partial)
                if Path("runs", name).exists():
                    break
            ended += 1
            result = Path("runs", name)
            for file in ("model.safetensors", "config.json"):
                assert (result / file).read_bytes() == (whole / file).read_bytes(), f"{file} is another after {killed}"
            assert told(result) == told(whole), f"the metrics are others after {killed} kills"
            left = sorted(path.name for path in (result / "checkpoints").iterdir())
            assert not [name for name in left if name.startswith(".")] or moment is not None, left
        os.chdir("/")
    return ended, inside


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ended, inside = check(options.kills, options.seed)
    print(f"{options.kills} kills, {inside} inside a write; {ended} runs ended as the one that nobody touched")
