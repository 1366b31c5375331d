"""What SECURITY.md claims, where a test elsewhere does not hold it already."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mapcc.tensors.pickled import MAX_PICKLE
from mapcc.tensors.safetensors import MAX_HEADER
from mapcc.tensors.spec import MAX_TENSORS

RUNNERS = {"exec", "eval", "compile", "__import__"}
LOADERS = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle"}


def test_the_readers_have_nothing_that_runs_code(root: Path) -> None:
    """Neither an import of what loads pickles, nor a call of what runs text; ``py:`` has its own module."""
    looked = 0
    for path in sorted((root / "mapcc" / "tensors").glob("*.py")):
        if path.name == "factory.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not LOADERS & {name.partition(".")[0] for name in names}, path
            assert not any(name.partition(".")[0] in ("importlib", "torch", "runpy") for name in names), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in RUNNERS, path
        looked += 1
    assert looked > 20


def test_its_numbers_and_files_are_right(root: Path) -> None:
    text = (root / "SECURITY.md").read_text("utf-8")
    assert f"{MAX_TENSORS:,} tensors" in text
    assert MAX_PICKLE == MAX_HEADER == 100_000_000
    assert "100 MB" in text
    for path in re.findall(r"`((?:mapcc|tests)/[\w/.]+)`", text):
        assert (root / path).exists(), path
