"""The corpus: mappings of published models, their key sets, and tiny pairs made by others' converters."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"

# What no shape of a tiny model tells, and is not as in the full one.
SETTINGS: dict[str, dict[str, int]] = {
    "llama3_meta_to_hf": {"head_dim": 8},
    "pythia_hf_to_litgpt": {"heads": 5},
}


@dataclass(frozen=True)
class Case:
    """A mapping, its key sets at full size, and, where there is one, the folder of its tiny pair."""

    name: str
    mapping: Path
    tiny: Path | None = None
    settings: dict[str, int] = field(default_factory=dict)

    def keys(self, side: str) -> Path:
        return self.mapping.parent / "keys" / f"{self.name}.{side}.json"

    @property
    def source(self) -> Path:
        assert self.tiny is not None
        return self.tiny / "source.safetensors"

    @property
    def target(self) -> Path:
        assert self.tiny is not None
        return self.tiny / "target.safetensors"


@dataclass(frozen=True)
class Tensor:
    """A tensor as it lies in a file, read without mapcc."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of all files of a folder."""
    if path.is_dir():
        return {name: t for file in sorted(path.glob("*.safetensors")) for name, t in read(file).items()}
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    return {
        name: Tensor(
            entry["dtype"], tuple(entry["shape"]), raw[slice(*(begin + at for at in entry["data_offsets"]))]
        )
        for name, entry in header.items()
    }


def case_names() -> list[str]:
    """Every mapping that has the key sets of both sides."""
    targets = ROOT.glob("mappings/*/keys/*.target.json")
    return sorted(path.name.removesuffix(".target.json") for path in targets)


def pair_names() -> list[str]:
    return sorted(path.name.removesuffix(".tar.xz") for path in DATA.glob("*.tar.xz"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", case_names(), indirect=True)
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", pair_names(), indirect=True)


def find(name: str) -> Path:
    (mapping,) = ROOT.glob(f"mappings/*/{name}.mapcc")
    return mapping


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """A case, by its key sets."""
    return Case(request.param, find(request.param))


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A case, with its tiny pair unpacked."""
    name = request.param
    folder = tmp_path_factory.getbasetemp() / "pairs" / name
    if not folder.exists():
        unfinished = tmp_path_factory.mktemp(name)
        with tarfile.open(DATA / f"{name}.tar.xz", "r:xz") as archive:
            for member in archive.getmembers():
                content = archive.extractfile(member)
                assert content is not None
                (unfinished / Path(member.name).name).write_bytes(content.read())
        folder.parent.mkdir(exist_ok=True)
        unfinished.rename(folder)
    return Case(name, find(name), folder, SETTINGS.get(name, {}))


@pytest.fixture(scope="session")
def read_tensors() -> Callable[[Path], dict[str, Tensor]]:
    """:func:`read`, for the tests."""
    return read
