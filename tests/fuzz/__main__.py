"""Ten thousand damaged inputs for each reader, in 512 MiB and 10 seconds each: diagnostics, and nothing else.

    python -m tests.fuzz                                   # every reader
    python -m tests.fuzz --reader archive --count 500 --seed 7

What gives anything but a diagnostic is written to ``--keep`` with its traceback, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY = 512 << 20
SECONDS = 10.0  # of processor time, for one input


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    words.add_argument("--reader", action="append", help="one of them; again for more (default: all)")
    words.add_argument("--count", type=int, default=10_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument(
        "--keep", type=Path, default=Path("build/fuzz"), help="where inputs that fail are kept"
    )
    words.add_argument("--seeds", type=Path, help=argparse.SUPPRESS)
    options = words.parse_args()
    if options.seeds is not None:
        return limited(options.seeds, options.reader, options.count, options.seed, options.keep)
    with tempfile.TemporaryDirectory() as folder:
        from tests.fuzz.seeds import of_outputs, of_text, of_torch

        seeds = of_text() | of_outputs(Path(folder)) | of_torch()
        (Path(folder) / "seeds.pkl").write_bytes(pickle.dumps(seeds))
        command = [sys.executable, "-m", "tests.fuzz", "--seeds", str(Path(folder) / "seeds.pkl")]
        command += [f"--count={options.count}", f"--seed={options.seed}", f"--keep={options.keep}"]
        command += [f"--reader={reader}" for reader in options.reader or ()]
        # Threads of numpy and arenas of malloc reserve addresses by the number of cores, used or not.
        alone = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, check=False, env=os.environ | alone).returncode


def limited(seeds: Path, readers: list[str] | None, count: int, seed: int, keep: Path) -> int:
    """In a process of its own, so that the limit is of what a reader takes."""
    from tests.fuzz.readers import READERS, SEEDS_OF

    known = pickle.loads(seeds.read_bytes())  # written above, by this program
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    failed = 0
    for reader in readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            surround(Path(folder), known)
            failed += fuzzed(reader, known[SEEDS_OF.get(reader, reader)], Path(folder), count, seed, keep)
    return 1 if failed else 0


def surround(folder: Path, known: dict[str, list[bytes]]) -> None:
    """What an input refers to: the shards of an index, the key set of a mapping."""
    for at, raw in enumerate(known["shards"]):
        (folder / f"model-{at + 1:05}-of-{len(known['shards']):05}.safetensors").write_bytes(raw)
    (folder / "keys.json").write_bytes(known["keys"][0])


def fuzzed(reader: str, seeds: list[bytes], folder: Path, count: int, seed: int, keep: Path) -> int:
    """How many inputs failed; the counts are printed."""
    from mapcc.errors import MappingError
    from tests.fuzz.readers import READERS

    name, damage, read = READERS[reader]
    draw = random.Random(f"{seed} {reader}")
    taken = refused = failed = 0
    slowest = 0.0
    for at in range(count):
        raw = damage(draw, seeds)
        (folder / name).write_bytes(raw)
        began = time.process_time()
        try:
            read(folder / name)
            taken += 1
            fault = ""
        except MappingError as error:
            refused += 1
            fault = (
                "" if error.diagnostics and all(d.message for d in error.diagnostics) else "nothing is said"
            )
        except BaseException:
            fault = traceback.format_exc()
        spent = time.process_time() - began
        slowest = max(slowest, spent)
        fault = fault or (f"it took {spent:.1f} s" if spent > SECONDS else "")
        if fault:
            failed += 1
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{reader}-{seed}-{at}.{name}").write_bytes(raw)
            (keep / f"{reader}-{seed}-{at}.txt").write_text(fault, "utf-8")
            print(f"{reader} {at}: {fault.strip().splitlines()[-1]}", flush=True)
    counts = f"inputs={count} taken={taken} refused={refused} failed={failed}"
    print(f"{reader}: {counts} slowest={slowest:.2f}s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
