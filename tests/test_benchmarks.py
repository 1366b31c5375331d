"""The benchmarks at a tiny size: that they run, and that mapcc and the naive script give the same tensors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[[str], Any]


@pytest.fixture
def bench(root: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A module of the benchmarks, which are no part of the package."""
    monkeypatch.syspath_prepend(str(root))
    return lambda name: import_module(f"benchmarks.{name}")


def test_the_same_tensors_as_the_naive_script(bench: Bench, tmp_path: Path) -> None:
    """In this process, as thirteen starts of torch would take half a minute."""
    from mapcc import api

    inputs, verify, files = bench("inputs"), bench("verify"), bench("files")
    naive = bench("peers.naive")
    for case in {case.naive: case for case in reversed(bench("cases").CASES)}.values():
        folder = tmp_path / case.name
        source = inputs.checkpoint(case.layout, verify.TINY, folder / "source")
        api.convert(inputs.write_mapping(case, folder), source, folder / "mapcc")
        naive.run(case.naive, source, folder / "naive")
        verify.compare(case.name, folder / "mapcc", folder / "naive")
        assert len(files.hashes(source)) > 1


def test_a_wrong_tensor_is_found(bench: Bench, tmp_path: Path) -> None:
    files, layouts, model, verify = (bench(name) for name in ("files", "layouts", "model", "verify"))
    for name in ("a", "b"):
        files.make(layouts.ONE, model.Scale(4096), tmp_path / name)
    verify.compare("one", tmp_path / "a", tmp_path / "b")
    with (tmp_path / "b" / "model.safetensors").open("rb+") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(model.BenchmarkError, match="1 of 1 tensors differ"):
        verify.compare("one", tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_a_run_gives_a_table(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = bench("__main__").main
    monkeypatch.setattr(bench("rounds"), "TRIES", 1)
    found = tmp_path / "found.json"
    arguments = ["--gb", "0.002", "--rounds", "1", "--only", "rename,8", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--json", str(found)])
    assert main() == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert "cores" in printed
    assert "| 1  | rename " in printed
    lines = {line["name"]: line for line in json.loads(found.read_text("utf-8"))["lines"]}
    assert lines["rename"]["values"]
    assert lines["rename"]["verdict"] == "too small to tell"
    assert lines["reflink"]["row"] == "8"
    assert not list((tmp_path / "work").iterdir())


HOLDING = """
from pathlib import Path
held = bytearray(b"x") * (64 << 20)
Path("held").touch()
while not Path("seen").exists():
    pass
"""


def test_memory_of_a_process_is_seen(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends once it was looked at with its 64 MiB."""
    process = bench("process")
    look = process.Peak.add

    def looked(peak: Any, processes: Any) -> None:
        is_held = (tmp_path / "held").exists()
        look(peak, processes)
        if is_held:
            (tmp_path / "seen").touch()

    monkeypatch.setattr(process.Peak, "add", looked)
    peak = process.peak_memory([sys.executable, "-c", HOLDING], tmp_path)
    assert 64 << 20 <= peak.anonymous < 120 << 20


def test_limits(bench: Bench) -> None:
    limit = bench("model").Limit
    assert limit(0.6).met(0.6)
    assert not limit(0.6).met(0.61)
    assert limit(5, least=True).met(5)
    assert not limit(5, least=True).met(4.9)
