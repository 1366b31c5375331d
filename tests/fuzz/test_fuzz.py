"""A few hundred damaged inputs of each reader, in every run; ``python -m tests.fuzz`` tries ten thousand."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mapcc.errors import MappingError
from tests.fuzz.readers import READERS

# Those that read a mapping or a table match and solve as well: fewer of them.
COSTLY = [reader for reader in READERS if reader in ("mapping", "yaml") or reader.startswith("table-")]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "is_costly"), [(300, False), (40, True)])
def test_diagnostics_only(count: int, is_costly: bool, tmp_path: Path) -> None:
    wanted = [reader for reader in READERS if (reader in COSTLY) == is_costly]
    command = [sys.executable, "-m", "tests.fuzz", f"--count={count}", f"--keep={tmp_path}"]
    command += [f"--reader={reader}" for reader in wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = dict(re.findall(rf"^(\S+): inputs={count} taken=(\d+) refused=\d+ failed=0 ", done.stdout, re.M))
    assert list(found) == wanted
    # Where nothing is ever taken, what stands behind the first check is not tried.
    assert not [reader for reader, taken in found.items() if int(taken) == 0]


# Each of these came out of ``python -m tests.fuzz`` as a traceback.
FOUND = {
    "a surrogate": ("torchtitan", 'from_hf_map = {"a\\ud800.w": "b.w"}\n'),
    "an empty pattern": (
        "transformers",
        'M = [WeightConverter(source_patterns=["q.w", "k.w"], target_patterns="", '
        "operations=[Concatenate(dim=0)])]\n",
    ),
    "a dimension beyond all": (
        "transformers",
        'M = [WeightConverter(source_patterns=["q.w", "k.w"], target_patterns="qk.w", '
        "operations=[Concatenate(dim=99999999999999999999)])]\n",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found(what: str, tmp_path: Path) -> None:
    dialect, text = FOUND[what]
    (tmp_path / "table.py").write_text(text, "utf-8")
    (tmp_path / "keys.json").write_text('{"a.w": [2]}', "utf-8")
    with suppress(MappingError):
        READERS[f"table-{dialect}"][2](tmp_path / "table.py")


@pytest.mark.parametrize("text", ["b.{i} -> a.{i}.{q,k}.{q,k}", 'b -> a."{q,k}".{q,k}', "b -> a.{q,k}.{q,k}"])
def test_groups_that_are_written_alike(text: str, tmp_path: Path) -> None:
    """Found by the target of mappings: the help for a group without a partner looked for its text."""
    (tmp_path / "m.mapcc").write_text(text, "utf-8")
    (tmp_path / "keys.json").write_text('{"a.w": [2]}', "utf-8")
    READERS["mapping"][2](tmp_path / "m.mapcc")
