"""Checkpoints with more than tensors in them: tensors are read, the rest stands there and does nothing."""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import io
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.machine import Machine
from mapcc.tensors.rebuild import made, storage_of
from mapcc.tensors.values import Recorded, StandIn
from tests.tensors.test_archives import same, some

Faults = Callable[..., tuple[Diagnostic, ...]]


class Colour(enum.Enum):
    RED = 1


class Callback:
    """Of a trainer; with a state of its own, and one that says how it is made."""

    __slots__ = ("best", "path")

    def __init__(self) -> None:
        self.best, self.path = 0.5, Path("a")


class Settings(dict[str, Any]):
    """A dictionary of a class of its own."""


class Loud:
    """If code of an archive ran, this would be told."""

    ran = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return shout, ()


def shout() -> None:
    Loud.ran = True


FOREIGN = {
    "namespace": argparse.Namespace(lr=1e-4, path=Path("a")),
    "callback": Callback(),
    "numpy scalar": np.float64(0.5),
    "numpy array": np.arange(6).reshape(2, 3),
    "numpy objects": np.array([1, "a", None], dtype=object),
    "numpy type": np.dtype([("a", "<f4")]),
    "bytes": io.BytesIO(b"state"),
    "deque": collections.deque([1, 2], maxlen=3),
    "counter": collections.Counter("abca"),
    "default": collections.defaultdict(list, {"a": [1]}),
    "chain": collections.ChainMap({"a": 1}),
    "path": pathlib.PurePosixPath("/a/b"),
    "enum": Colour.RED,
    "partial": functools.partial(max, 1, key=abs),
    "function": torch.nn.functional.relu,
    "sets": ({1, 2}, frozenset({"a"})),
    "keys": {(1, (2, 3)): 1, frozenset({1}): 2, Colour.RED: 3, 2**80: 4, None: 5, 1.5: 6, b"a": 7},
    "exception": ValueError("a"),
    "slice": slice(1, 2),
    "complex": 1 + 2j,
    "long": 2**200,
    "text": "x" * 100_000,
    "settings": Settings(a=1),
    "class": Callback,
    "generator": torch.Generator(),
    "device": torch.device("cpu"),
    "dtype": torch.float8_e4m3fn,
    "size": torch.Size([1, 2]),
    "loud": Loud(),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_archive", [True, False])
def test_what_is_no_tensor_stands_there(protocol: int, is_archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    wanted = {"a.w": some(torch.float32, 3, 2), "a.b": some(torch.bfloat16, 4).expand(2, 4)}
    value = {**FOREIGN, **wanted, "again": FOREIGN["namespace"]}
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_archive)
    manifest = same(path, wanted, select=".")
    assert manifest.skipped == (*FOREIGN, "again")
    torch.save({"args": FOREIGN, "model": wanted, "loud": [Loud()]}, path, pickle_protocol=protocol)
    same(path, wanted, select="model")
    assert not Loud.ran


def test_a_module_that_was_saved_whole(tmp_path: Path, faults: Faults) -> None:
    """Its names are those of its ``state_dict``, shared ones and buffers included."""
    inner = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.MultiheadAttention(4, 2)
    )
    inner.register_buffer("kept", torch.arange(3))
    inner.register_buffer("lost", torch.arange(4), persistent=False)
    inner.register_parameter("absent", None)
    module = torch.nn.ModuleDict({"a": inner, "b": torch.nn.ModuleList([inner[0], torch.nn.Embedding(5, 2)])})
    wanted = dict(module.state_dict())
    for value, select in (
        (module, None),
        ({"net": module}, "net"),
        ({"epoch": 1, "deep": {"x": [1], "y": module}}, "deep.y"),
    ):
        torch.save(value, tmp_path / "m.pt")
        same(tmp_path / "m.pt", wanted, select=select)
    (fault,) = faults(open_keyset, tmp_path / "m.pt")
    assert f"`deep.y`: {len(wanted)} tensors in it" in fault.notes
    assert fault.help.endswith("--select deep.y")


def machine(value: bytes) -> object:
    return Machine(value, made, storage_of).run()


def forged(state: dict[str, object]) -> bytes:
    """An archive whose tensor is given attributes after it was made."""
    file = io.BytesIO()
    torch.save({"w": torch.arange(6.0).reshape(2, 3)}, file)
    with zipfile.ZipFile(file) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}
    raw = parts["archive/data.pkl"]
    attributes = pickle.dumps(state, 2)[2:-1]
    assert raw.endswith(b"s.")
    parts["archive/data.pkl"] = raw[:-2] + attributes + b"bs."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, data in parts.items():
            opened.writestr(name, data)
    return file.getvalue()


FACTS = (
    "stride shape size storage_offset element_size is_conj is_neg untyped_storage dtype layout is_quantized "
    "_cdata numel data_ptr __class__ __dict__ storage offset strides kind"
)


@pytest.mark.parametrize("name", FACTS.split())
@pytest.mark.parametrize("lie", [0, "x", (9, 9), None, [1], {"a": 1}])
def test_facts_of_a_tensor_cannot_be_forged(name: str, lie: object, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    for state in ({name: lie}, (None, {name: lie})):
        path.write_bytes(forged(state))  # type: ignore[arg-type]
        same(path, {"w": torch.arange(6.0).reshape(2, 3)})


def test_nothing_of_a_pickle_is_shared_with_the_reader() -> None:
    """What it builds, or sets, stays in what it made: names are not looked up."""
    found = machine(b"\x80\x02cmapcc.tensors.rebuild\nmade\n}X\x01\x00\x00\x00aK\x01sb.")
    assert type(found).__name__ == "Named"
    assert not hasattr(made, "a")
    for name in (b"builtins\nexec", b"os\nsystem", b"__main__\nx", b"mapcc.tensors.machine\nMachine"):
        called = machine(b"\x80\x02c" + name + b"\nX\x04\x00\x00\x00exit\x85R.")
        assert isinstance(called, StandIn)
        assert called.args == ("exit",)
    called = machine(b"\x80\x02cos\nsystem\n)RX\x01\x00\x00\x00a\x85R.")
    assert isinstance(called, StandIn)
    assert called.name == "?"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80",
        b"\x80\x09.",
        b"\x80\x02R.",
        b"\x80\x02(",
        b"\x80\x02u.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02h\x07.",
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02X\xff\xff\xff\xffa.",
        b"\x80\x02I1e5\n.",
        b"\x80\x02I" + b"9" * 5000 + b"\n.",
        b"\x80\x02Fx\n.",
        b"\x80\x02X\x01\x00\x00\x00\xff.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02\x97.",
        b"\x80\x02P1\n.",
        b"\x80\x02K\x01K\x02\x93.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85tR.",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n)R.",
    ],
)
def test_pickles_that_are_none(raw: bytes, tmp_path: Path, faults: Faults) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as opened:
        opened.writestr("archive/data.pkl", raw)
    (fault,) = faults(open_keyset, tmp_path / "m.pt")
    assert fault.code == "MC002"
    assert "data.pkl cannot be read" in fault.message


def test_records_hold_what_the_call_said() -> None:
    storage = b"(X\x07\x00\x00\x00storagectorch\nHalfStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x08tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x02K\x03K\x02\x86K\x01K\x03\x86\x89}tR"
    found = machine(b"\x80\x02" + call + b"}X\x05\x00\x00\x00shapeK\x01sb.")
    assert isinstance(found, Recorded)
    assert (found.dtype, found.offset, found.shape, found.strides) == ("float16", 2, (3, 2), (1, 3))


def test_distributed_tensors_are_told(tmp_path: Path, faults: Faults) -> None:
    """As ``torch.save`` writes a DTensor: a wrapper around one rank's piece."""
    kind = b"ctorch.distributed.tensor\nDTensor\n"
    call = (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_wrapper_subclass\n"
        + kind
        + b"("
        + kind
    )
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as opened:
        opened.writestr(
            "archive/data.pkl",
            b"\x80\x02}(X\x01\x00\x00\x00w" + call + b"t}tRX\x01\x00\x00\x00v" + call + b"t}tRu.",
        )
    (fault,) = faults(open_keyset, tmp_path / "m.pt")
    assert (fault.code, fault.names) == ("MC006", ("w", "v"))
    assert "tensor `w` and 1 more: it is a DTensor" in fault.message
    assert "full_tensor()" in fault.help
