"""Archives made by hand, to run code or to mislead: refused, with a diagnostic and nothing else."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]


def archive(value: object) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


GOOD = archive({"w": torch.arange(8.0), "b": torch.ones(3)})


def members(raw: bytes = GOOD) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(parts: dict[str, bytes], *more: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, data in (*parts.items(), *more):
            opened.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def changed(**parts: bytes) -> bytes:
    """The good archive with other members: ``data_0`` is ``archive/data/0``."""
    return zipped(members() | {f"archive/{name.replace('_', '/')}": data for name, data in parts.items()})


class Runs:
    """What a pickle of it does when it is loaded: whatever it was given."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, "touch hacked"),
        (eval, "open('hacked', 'w')"),
        (open, "hacked", "w"),
        (getattr, "text", "join"),
        (torch.load, "hacked"),
        (bytearray, 10**11),
        (torch.hub.load, "owner/repo", "model"),
    ],
    ids=lambda call: call[0].__name__,
)
@pytest.mark.parametrize("where", ["in", "above", "key"])
def test_nothing_is_run(
    call: tuple[Any, ...], where: str, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = Runs(*call)
    value = {"in": {"w": torch.ones(1), "x": runs}, "above": runs, "key": {runs: torch.ones(1)}}[where]
    path = tmp_path / "m.pt"
    path.write_bytes(changed(**{"data.pkl": pickle.dumps(value, 2)}) if where != "in" else archive(value))
    if where == "in":
        manifest = open_keyset(path)
        assert (list(manifest.names), manifest.skipped) == (["w"], ("x",))
    else:
        (fault,) = faults(open_keyset, path)
        assert fault.code in ("MC002", "MC006")
    assert [found.name for found in tmp_path.iterdir()] == ["m.pt"]


def malformed() -> Iterator[tuple[str, bytes, str, str]]:
    big = zipped(members(), ("archive/data/9", bytes(100_000)), method=zipfile.ZIP_DEFLATED)
    yield "cut short", GOOD[:-100], "MC002", "cut short"
    yield "cut in the middle", GOOD[: len(GOOD) // 2], "MC002", "cut short"
    yield "something behind", GOOD + b"x", "MC002", "follows it"
    yield "something before", b"PK\x03\x04" + GOOD, "MC002", "not where it says"
    yield "an archive in front", GOOD + GOOD, "MC002", "not where it says"
    yield "in front of short ends", b"PK\x03\x04" + zipped(members()), "MC002", "should end at byte"
    yield "a comment", GOOD[:-2] + b"\1\0x", "MC002", "follows it"
    yield "a pickle in front", b"\x80\x02." + GOOD, "MC006", "a pickle"
    yield "record too short", changed(data_0=bytes(31)), "MC002", "has 31 bytes"
    yield "record too long", changed(data_0=bytes(36)), "MC002", "has 36 bytes"
    yield (
        "record absent",
        zipped({k: v for k, v in members().items() if k[-2:] != "/0"}),
        "MC002",
        "not there",
    )
    yield "compressed", zipped(members(), method=zipfile.ZIP_DEFLATED), "MC006", "compressed"
    yield "a bomb", big, "MC006", "compressed"
    yield "a bomb to unpickle", changed(**{"data.pkl": bytes(100_000_001)}), "MC002", "at most"
    yield "big endian", changed(byteorder=b"big"), "MC006", "byte order"
    yield "unknown order", changed(byteorder=b"pdp"), "MC006", "byte order"
    yield "no pickle", changed(**{"data.pkl": b""}), "MC002", "data.pkl"
    yield "noise", changed(**{"data.pkl": b"\x80\x02\xff\xff"}), "MC002", "data.pkl"
    yield "pops nothing", changed(**{"data.pkl": b"\x80\x02R."}), "MC002", "data.pkl"
    yield "no stop", changed(**{"data.pkl": b"\x80\x02}"}), "MC002", "data.pkl"
    yield "another zip", zipped({"a.txt": b"hello"}), "MC006", "no data.pkl"
    yield "an empty zip", zipped({}), "MC006", "no data.pkl"
    yield "two pickles", zipped(members(), ("other/data.pkl", b"")), "MC002", "several data.pkl"
    for name in ("../evil", "archive/../../evil", "/etc/evil", "archive\\..\\evil"):
        yield f"leads out: {name}", zipped(members(), (name, b"")), "MC002", "leads out"
    yield "control character", zipped(members(), ("archive/a\nb", b"")), "MC002", "control characters"


@pytest.mark.parametrize(
    ("raw", "code", "rule"), [pytest.param(*rest, id=what) for what, *rest in malformed()]
)
def test_malformed(raw: bytes, code: str, rule: str, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(raw)
    found = faults(open_keyset, path)
    assert {fault.code for fault in found} == {code}
    assert rule in found[0].message
    assert str(path) in found[0].message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(zipped(members(), ("archive/data/0", bytes(32))))
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC002"
    assert "`archive/data/0` stands twice" in fault.message


def test_a_directory_that_lies(tmp_path: Path, faults: Faults) -> None:
    """Each field of an entry, changed: found, or without consequence."""
    entry = GOOD.rindex(b"PK\x01\x02", 0, GOOD.rindex(b"archive/data/0"))
    path = tmp_path / "m.pt"
    for offset, form, value in (
        (10, "H", 8),
        (20, "I", 31),
        (24, "I", 31),
        (42, "I", 0),
        (42, "I", 2**31),
        (8, "H", 1),
    ):
        raw = bytearray(GOOD)
        struct.pack_into(f"<{form}", raw, entry + offset, value)
        path.write_bytes(raw)
        (fault,) = faults(open_keyset, path)
        assert fault.code == "MC002", (offset, value)


def test_a_tensor_beyond_its_storage(tmp_path: Path, faults: Faults) -> None:
    pickled = members()["archive/data.pkl"]
    assert pickled.count(b"K\x08\x85") == 1  # the shape of w
    path = tmp_path / "m.pt"
    path.write_bytes(changed(**{"data.pkl": pickled.replace(b"K\x08\x85", b"K\x09\x85")}))
    (fault,) = faults(open_keyset, path)
    assert (fault.code, fault.names) == ("MC002", ("w",))
    assert "ends at byte 36 of its storage, which has 32" in fault.message


@given(data=st.data())
def test_damage_gives_diagnostics_or_tensors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Never a traceback, never a range outside of the file."""
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(raw)
    diagnosed_or_within(path)


@given(data=st.data())
def test_damaged_pickles_give_diagnostics(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(members()["archive/data.pkl"])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(changed(**{"data.pkl": bytes(raw)}))
    diagnosed_or_within(path)


def diagnosed_or_within(path: Path) -> None:
    codes: set[str] = set()
    try:
        tensors = open_keyset(path).tensors.values()
    except MappingError as error:
        codes, tensors = {fault.code for fault in error.diagnostics}, {}.values()
    assert codes <= {"MC002", "MC006"}
    assert all(0 < spec.begin <= spec.end <= path.stat().st_size for spec in tensors)
