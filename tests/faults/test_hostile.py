"""Mappings made to crash, hang or fill the memory: diagnostics within a budget, whatever they are.

The seconds are printed, and no verdict: a child that uses the processor for a minute is killed as a hang."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.counts import IS_NIGHT, report
from tests.faults.hostile import TEXT, YAML

pytestmark = pytest.mark.slow

LIMIT = 1 << 20  # a mapping's size

# What a mapping costs: each in a process that is forked for it. A crash is a signal, not an exception.
ANSWERS = """
import json, os, resource, sys, time
import mapcc
from mapcc import api
from mapcc.ir import rules
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.tensors.dtypes import DTYPES

names = ["a", "x", "a.0", "a.1", "a.00", "a.a"]
keys = Manifest({n: TensorSpec(n, DTYPES["F32"], (4, 4)) for n in names}, (), "keys", None, {})
api.check(api.parse("a -> a"), keys)  # what is loaded once is no cost of a mapping
try:
    api.parse("a: b", "m.yaml")
except mapcc.MappingError:
    pass

def tried(path):
    loaded = api.load_mapping(path)
    told = api.check(loaded, keys).diagnostics or api.check(loaded, keys, keys).diagnostics
    return "mapping" if any(isinstance(s, rules.Rule) for s in loaded.body) else "empty"

for line in sys.stdin:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (60, 61))  # a hang ends as a signal
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        began = time.process_time()
        try:
            answer = tried(json.loads(line))
        except mapcc.MappingError as error:
            answer = "refused" if error.diagnostics else "silent"
        except BaseException as error:
            answer = repr(error)[:200]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        print(json.dumps([answer, time.process_time() - began, peak]), flush=True)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        print(json.dumps([f"died: {status}", 0, 0]), flush=True)
"""

# As large as a mapping may be, and wrong.
WRONG = {
    "faults.mapcc": "a => b\n" * (LIMIT // 7),
    "marks.mapcc": "{" * LIMIT,
    "too_large.mapcc": " " * (LIMIT + 1),
    "operators.mapcc": "let x = 1" + " + 1" * 20_000,
    "open.yaml": "[" * LIMIT,
    "dashes.yaml": "- " * (LIMIT // 2),
    "quotes.yaml": '"' * LIMIT,
    "too_large.yaml": "a: " + "b" * LIMIT,
    "anchors.yaml": "- &a b\n" * (LIMIT // 7),
    "documents.yaml": "---\n" * (LIMIT // 4),
}
# Right, or nearly so: it takes its time for each statement, and no more. A night tries a whole megabyte.
SIZE = LIMIT if IS_NIGHT else LIMIT // 8
RIGHT = {
    "rules.mapcc": "layers.{i}.w -> blocks.{i}.weight\n" * (SIZE // 34),
    "names.mapcc": "".join(f"a.{n} -> b.{n}\n" for n in range(SIZE // 20)),
    "one.mapcc": "a" * (SIZE - 6) + " -> b",
    "comments.mapcc": "#\n" * (SIZE // 2),
    "quotes.mapcc": '"' * SIZE,
    "rules.yaml": "rules:\n" + "- drop: {keys: a, because: b}\n" * (SIZE // 31),
    "scalars.yaml": "[" + "a," * (SIZE // 2 - 2) + "]",
    "keys.yaml": "".join(f"k{n}: v\n" for n in range(SIZE // 12)),
}
MEMORY = 1 << 30 if IS_NIGHT else 256 << 20


def answers(paths: list[Path]) -> list[tuple[str, float, int]]:
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS],
        input="\n".join(json.dumps(str(path)) for path in paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(paths)
    return found


def test_hostile_mappings(tmp_path: Path) -> None:
    paths = []
    for suffix, texts in (("yaml", YAML), ("mapcc", TEXT)):
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"{number:03}.{suffix}")
            paths[-1].write_bytes(text.encode("utf-8", "surrogatepass"))
    found = answers(paths)
    wrong = [
        (path.name, path.read_bytes()[:60], *rest)
        for path, (answer, *rest) in zip(paths, found, strict=True)
        if answer not in ("refused", "mapping", "empty")
    ]
    assert not wrong
    for path, (answer, *_) in zip(paths, found, strict=True):
        assert answer != "mapping" or path.suffix == ".mapcc", path.read_text()[:100]
    refused = sum(answer == "refused" for answer, _, _ in found)
    report({"yaml": 90, "text": 30, "refused": 90}, yaml=len(YAML), text=len(TEXT), refused=refused)


@pytest.mark.parametrize(
    ("texts", "memory"),
    [pytest.param(WRONG, 256 << 20, id="wrong"), pytest.param(RIGHT, MEMORY, id="right")],
)
def test_a_mapping_of_a_megabyte_has_a_budget(texts: dict[str, str], memory: int, tmp_path: Path) -> None:
    paths = []
    for name, text in texts.items():
        paths.append(tmp_path / name)
        paths[-1].write_text(text, "utf-8")
    over = []
    for path, (answer, spent, peak) in zip(paths, answers(paths), strict=True):
        print(f"{path.name:18} {answer:8} {spent:5.2f} s {peak >> 20:4} MB")
        if answer not in ("refused", "mapping", "empty") or peak > memory:
            over.append((path.name, answer, spent, peak >> 20))
    assert not over
    report({"mappings": len(texts)}, mappings=len(paths))
