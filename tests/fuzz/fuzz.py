"""Fuzz a reader, guided by the branches that it takes, for as long as there is patience.

    python tests/fuzz/fuzz.py safetensors --seconds 300

What `atheris` (libFuzzer for Python; Linux, `pip install atheris`) finds ends the process and is kept in the folder
`--keep`; `--again FILE` calls the target once more with it. Without atheris the bytes are damaged at random instead,
by `--seed`, blindly. The test suite does the same for seconds (`test_targets.py`).
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def damaged(seeds: list[bytes], rng: random.Random) -> bytes:
    """A seed after a few of: a byte changed, a piece left out, doubled, or taken from another seed."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        begin = rng.randint(0, len(content))
        end = min(len(content), begin + rng.randint(0, 8))
        other = rng.choice(seeds)
        at = rng.randint(0, len(other))
        pieces = (rng.randbytes(rng.randint(0, 4)), b"", 2 * content[begin:end], other[at : at + rng.randint(0, 16)])
        content[begin:end] = rng.choice(pieces)
    return bytes(content)


def blindly(target: Callable[[bytes], None], seeds: list[bytes], seconds: float, seed: int, keep: Path) -> None:
    """Damage seeds at random; what the target raises goes through, after the bytes were kept."""
    rng, tried, end = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        content = damaged(seeds, rng)
        tried += 1
        try:
            target(content)
        except BaseException:
            found = keep / f"crash-blind-{seed}-{tried}"
            found.write_bytes(content)
            print(f"kept in {found}", flush=True)
            raise
    print(f"{tried} files, each read or refused in a sentence")


def main() -> None:
    """Read the options, and fuzz."""
    parser = argparse.ArgumentParser(description="Fuzz one reader of files.")
    parser.add_argument("target", choices=("idx", "safetensors", "config", "runs"))
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn (default: %(default)s)")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="the folder for what is found")
    parser.add_argument("--again", type=Path, metavar="FILE", help="call the target with a file that was kept")
    parser.add_argument("--blindly", action="store_true", help="without atheris")
    options = parser.parse_args()

    guided = importlib.util.find_spec("atheris") is not None and not (options.blindly or options.again)
    if guided:
        import atheris

        with atheris.instrument_imports(include=["minihybrid"]):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS

    target, seeds = TARGETS[options.target]
    if options.again:
        target(options.again.read_bytes())
    elif guided:
        with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
            for i, content in enumerate(seeds()):
                Path(folder, str(i)).write_bytes(content)
            limits = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-rss_limit_mb=1024"]
            atheris.Setup([sys.argv[0], folder, *limits, f"-artifact_prefix={options.keep}/"], target)
            atheris.Fuzz()
    else:
        blindly(target, seeds(), options.seconds, options.seed, options.keep)


if __name__ == "__main__":
    main()
