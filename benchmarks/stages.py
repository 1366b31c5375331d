"""On what ``mapcc check`` spends its time, stage by stage: ``python -m benchmarks.stages [--runs 5]``."""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TypeVar

from benchmarks.check_92k import MAPPING, original_keys, source_keys

Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    started = perf_counter()
    result = work()
    return perf_counter() - started, result


def stages(mapping: Path, source: Path, target: Path) -> dict[str, float]:
    """The parts of one check, in this process."""
    from mapcc.diagnostics.model import Diagnostics
    from mapcc.passes.analyse import analyse
    from mapcc.passes.binder import Binder
    from mapcc.passes.coverage import cover
    from mapcc.passes.flatten import flatten
    from mapcc.passes.instances import make_instances
    from mapcc.passes.take import match_sources
    from mapcc.passes.verdict import check_bijections
    from mapcc.syntax.load import Loader
    from mapcc.tensors.keysets import open_keyset

    found = Diagnostics()
    loader = Loader(found)
    spent: dict[str, float] = {}
    gc.disable()
    spent["read both key sets"], (ours, theirs) = timed(
        lambda: (open_keyset(str(source)), open_keyset(str(target)))
    )
    spent["parse the mapping"], parsed = timed(lambda: loader.load(mapping))
    assert parsed is not None
    spent["flatten, analyse"], program = timed(lambda: flatten(parsed, mapping, {}, {}, found, loader))
    spent["flatten, analyse"] += timed(lambda: analyse(program, found))[0]
    binder = Binder(program, ours, theirs, found)
    spent["match names"], _ = timed(lambda: match_sources(binder))
    spent["make instances"], _ = timed(lambda: make_instances(binder))
    spent["coverage and types"], _ = timed(lambda: cover(binder))
    spent["bijections"], _ = timed(lambda: check_bijections(binder.bound, found))
    gc.enable()
    assert not found.errors, [d.message for d in found]
    return spent


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    runs = options.parse_args().runs
    best: dict[str, float] = {}
    with TemporaryDirectory() as temporary:
        source, target = Path(temporary, "source.json"), Path(temporary, "target.json")
        keys = source_keys()
        source.write_text(json.dumps(keys), encoding="utf-8")
        target.write_text(json.dumps(original_keys(keys)), encoding="utf-8")
        for _ in range(runs):
            for name, seconds in stages(MAPPING, source, target).items():
                best[name] = min(seconds, best.get(name, seconds))
    for name, seconds in best.items():
        print(f"{name:24} {seconds:5.2f} s")


if __name__ == "__main__":
    main()
