"""Rows 10 and 11: whole checks, and what it costs to start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import commands, machine
from benchmarks.cases import CASES
from benchmarks.check_92k import MAPPING, STACKED, Keys, original_keys, source_keys, stacked_keys
from benchmarks.inputs import checkpoint, write_mapping
from benchmarks.model import BenchmarkError, Limit, Line, Settings
from benchmarks.process import MAPCC, environment
from benchmarks.rounds import Course, clear, noisy, rounds, say
from benchmarks.verify import TINY

HELD = 256 << 20
# A start is short, and short times scatter.
MORE_ROUNDS = 4
RULES, LAYERS = 200, 100


def checks(settings: Settings) -> Iterator[Line]:
    """Row 10."""
    source, target, mapping = _many_rules()
    limit = Limit(0.2, "s", 0.1)
    yield _check("check_20k", f"{len(source):,} x {RULES} rules", source, target, mapping, limit, settings)
    source = source_keys()
    renamed = original_keys(source)
    limit = Limit(0.8, "s", 0.5)
    text = MAPPING.read_text("utf-8")
    yield _check("check_92k", f"{len(source):,}, renamed", source, renamed, text, limit, settings)
    stacked = stacked_keys(source)
    yield _check("check_92k_stacked", f"{len(source):,}, stacked", source, stacked, STACKED, None, settings)


def _many_rules() -> tuple[Keys, Keys, str]:
    """Each rule renames one tensor of each layer."""
    entry: dict[str, object] = {"dtype": "BF16", "shape": [64, 64]}
    pairs = [(f"group_{k // 20}.part_{k}", f"g{k // 20}.p{k}") for k in range(RULES)]
    rules = [f"model.layers.{{i}}.{a}.weight -> net.blocks.{{i}}.{b}.weight" for a, b in pairs]
    source = {f"model.layers.{i}.{a}.weight": entry for i in range(LAYERS) for a, _ in pairs}
    target = {f"net.blocks.{i}.{b}.weight": entry for i in range(LAYERS) for _, b in pairs}
    return source, target, "\n".join(rules) + "\n"


def _check(
    name: str, what: str, source: Keys, target: Keys, mapping: str, limit: Limit | None, settings: Settings
) -> Line:
    say(f"  10 {name}")
    files = [settings.work / f"{name}.{end}" for end in ("source.json", "target.json", "mapcc")]
    texts = [json.dumps(source), json.dumps(target), mapping]
    for path, text in zip(files, texts, strict=True):
        path.write_text(text, "utf-8")
    command = [*MAPCC, "check", str(files[2]), "-s", str(files[0]), "-t", str(files[1])]
    course = Course(settings.work, settings.work / "out", files, HELD)
    done, _ = rounds({"mapcc": command}, course, settings.rounds)
    values = [each["mapcc"].wall for each in done]
    return Line("10", name, what, limit, values, noisy=noisy(done, "mapcc"))


def starts(settings: Settings) -> Iterator[Line]:
    """Row 11."""
    say("  11 start")
    course = Course(settings.work, settings.work / "out", (), 1 << 20)
    both = {"python": [sys.executable, "-c", "pass"], "mapcc": [*MAPCC, "--version"]}
    done, _ = rounds(both, course, MORE_ROUNDS * settings.rounds)
    values = [1000 * (each["mapcc"].wall - each["python"].wall) for each in done]
    flagged = noisy(done, "python", "mapcc")
    yield Line("11", "version", "mapcc --version above python", Limit(60, "ms"), values, noisy=flagged)
    case = next(case for case in CASES if case.name == "rename")
    source, out = checkpoint(case.layout, TINY, settings.work / "start"), settings.work / "out"
    mapping = write_mapping(case, settings.work)
    machine.warm(source.glob("*.safetensors"))
    check = [*MAPCC, "check", str(mapping), "-s", str(source)]
    convert = commands.mapcc(case, mapping, source, out, settings.flags)
    for name, command in (("check", check), ("convert", convert)):
        limit = Limit(0, "modules of torch")
        values = [float(len(_torch(command, settings.work)))]
        yield Line("11", f"imports_{name}", f"what {name} of byte ranges imports", limit, values)
    clear(source)
    clear(out)


def _torch(command: Sequence[str], folder: Path) -> list[str]:
    """The modules of torch that a command imports."""
    python, *rest = command
    traced = [python, "-X", "importtime", *rest]
    told = subprocess.run(traced, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if told.returncode:
        raise BenchmarkError(f"ended with {told.returncode}: {' '.join(traced)}")
    names = [line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if "|" in line]
    if "mapcc" not in names:
        raise BenchmarkError("the trace of the imports does not show mapcc itself")
    return [name for name in names if name.partition(".")[0] == "torch"]
