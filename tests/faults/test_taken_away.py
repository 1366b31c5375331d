"""Files that somebody removes or exchanges beside a running conversion: no output, or a whole one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mapcc import api
from mapcc.errors import MappingError
from mapcc.runtime.local import Options
from tests.faults.counts import report

pytestmark = pytest.mark.converts

NAMES = [f"w{at}" for at in range(6)]
Change = Callable[[Path], object]


def partial(out: Path) -> Path:
    return out.with_name("out.mapcc-partial")


def journal(out: Path) -> Path:
    return out.with_name("out.mapcc-journal")


def a_shard(out: Path) -> Path:
    return sorted(partial(out).glob("*.safetensors"))[-1]


def exchange(path: Path) -> None:
    """Another file of the same size, under the same name."""
    raw = path.read_bytes()
    path.unlink()
    path.with_name("between").write_bytes(raw)  # its inode is not the one that is free now
    path.write_bytes(bytes(len(raw)))
    path.with_name("between").unlink()


def link(path: Path, to: Path) -> None:
    path.rename(to)
    path.symlink_to(to)


def exchange_folder(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"))
    path.rename(path.with_name("old"))
    path.with_name("copy").rename(path)


LOST: dict[str, Change] = {
    "a shard is removed": lambda out: a_shard(out).unlink(),
    "a shard is exchanged": lambda out: exchange(a_shard(out)),
    "a shard is cut": lambda out: os.truncate(a_shard(out), 100),
    "a shard is a link": lambda out: link(a_shard(out), out.with_name("x")),
    "the record is removed": lambda out: (partial(out) / "mapcc.manifest.json").unlink(),
    "the index is removed": lambda out: (partial(out) / "model.safetensors.index.json").unlink(),
    "the folder is removed": lambda out: shutil.rmtree(partial(out)),
    "the folder is emptied": lambda out: [path.unlink() for path in partial(out).iterdir()],
    "the folder is moved": lambda out: partial(out).rename(out.with_name("elsewhere")),
    "the folder is exchanged": lambda out: exchange_folder(partial(out)),
    "the folder is a link": lambda out: (
        partial(out).rename(out.with_name("real")),
        partial(out).symlink_to(out.with_name("real")),
    ),
}
HARMLESS: dict[str, Change] = {
    "the journal is removed": lambda out: journal(out).unlink(),
    "the journal is another's": lambda out: (journal(out).unlink(), journal(out).write_text("mine", "utf-8")),
    "nothing": lambda out: None,
}


@pytest.fixture(params=["safetensors", "npz"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    arrays = {name: np.arange(4096, dtype="f4") + at for at, name in enumerate(NAMES)}
    if request.param == "npz":
        np.savez(tmp_path / "source.npz", **arrays)
        return tmp_path / "source.npz"
    from safetensors.numpy import save_file

    save_file(arrays, tmp_path / "source.safetensors")
    return tmp_path / "source.safetensors"


def convert(source: Path, out: Path, change: Change | None = None) -> None:
    """With ``change`` when all is written, and nothing has its name yet."""
    done = []

    def progress(written: int, total: int) -> None:
        if change is not None and not done and (partial(out) / "mapcc.manifest.json").exists():
            done.append(change(out))

    mapping = source.with_name("m.mapcc")
    mapping.write_text("keep **", "utf-8")
    api.convert(mapping, source, out, max_shard_size=40_000, progress=progress)
    assert change is None or done


def test_what_the_output_names_is_looked_at_again(source: Path, tmp_path: Path) -> None:
    tried = 0
    for what, change in LOST.items():
        place = tmp_path / what
        place.mkdir()
        with pytest.raises(MappingError) as error:
            convert(source, place / "out", change)
        (fault,) = error.value.diagnostics
        assert (fault.code, fault.exit_code, (place / "out").exists()) == ("MC005", 2, False), what
        assert "convert again" in fault.help
        tried += 1
    for what, change in HARMLESS.items():
        place = tmp_path / what
        place.mkdir()
        convert(source, place / "out", change)
        found = {
            key: value
            for path in (place / "out").glob("*.safetensors")
            for key, value in load_file(path).items()
        }
        assert sorted(found) == NAMES, what
        tried += 1
    assert (tmp_path / "the journal is another's" / "out.mapcc-journal").read_text("utf-8") == "mine"
    report({"tries": 14}, tries=tried)


@pytest.mark.parametrize("hashes", [True, False])
def test_a_resumed_attempt_writes_the_record_of_a_fresh_one(
    hashes: bool, source: Path, tmp_path: Path
) -> None:
    """Whatever the attempt before kept of hashes."""
    mapping = tmp_path / "m.mapcc"
    mapping.write_text("keep **", "utf-8")

    def run(name: str, hashes: bool, stops: bool = False) -> None:
        def progress(written: int, total: int) -> None:
            if stops and any(partial(tmp_path / name).glob("*.safetensors")) and written > total // 2:
                raise KeyboardInterrupt

        options = Options(hashes=hashes, workers=1)
        plan = api.make_plan(mapping, source, max_shard_size=40_000)
        api.carry_out(plan, tmp_path / name, running=options, progress=progress)

    run("fresh", hashes)
    for before in (True, False):
        (tmp_path / str(before)).mkdir()
        with pytest.raises(KeyboardInterrupt):
            run(f"{before}/out", before, stops=True)
        run(f"{before}/out", hashes)
        for path in (tmp_path / "fresh").iterdir():
            assert (tmp_path / str(before) / "out" / path.name).read_bytes() == path.read_bytes(), path.name
