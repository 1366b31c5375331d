"""The corpus: mappings of published models, their key sets, and tiny pairs made by others' converters."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mapcc.library.catalog import Pair, catalog

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"

# 92,000 names, whose checks take seconds; the one against both sides stays in the fast tier.
LARGE = "moe/deepseek_v3_to_original-671b"
# The tiny pairs, by the mapping that each is for.
PAIRS = {
    "flux_to_diffusers": "flux/official_to_diffusers",
    "gpt2_hf_to_nanogpt": "gpt/gpt2_hf_to_nanogpt",
    "hifigan_pwg_to_hf": "vocoder/hifigan_pwg_to_hf",
    "hunyuan_to_diffusers": "hunyuan_video/official_to_diffusers",
    "llama3_meta_to_hf": "llama/meta_to_hf",
    "longcat_to_fastvideo": "longcat/official_to_fastvideo",
    "mixtral_v4_to_v5": "moe/mixtral_v4_to_v5",
    "pythia_hf_to_litgpt": "gpt/neox_hf_to_litgpt",
    "sdxl_unet_to_diffusers": "stable_diffusion/unet_to_diffusers",
    "wan21_i2v_to_diffusers": "wan/official_to_diffusers",
    "wan21_t2v_to_fastvideo": "wan/official_to_fastvideo",
}
# What no shape of a tiny model tells, and is not as in the full one.
SETTINGS: dict[str, dict[str, int]] = {
    "llama3_meta_to_hf": {"head_dim": 8},
    "pythia_hf_to_litgpt": {"heads": 5},
}


@dataclass(frozen=True)
class Case:
    """A mapping, the key sets of one model at full size, or the folder of its tiny pair."""

    name: str
    mapping: Path
    full: Pair | None = None
    tiny: Path | None = None
    settings: dict[str, int] = field(default_factory=dict)

    def keys(self, side: str) -> str:
        assert self.full is not None
        return self.full.source if side == "source" else self.full.target

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


def full_cases(every_size: bool) -> dict[str, Case]:
    """Every mapping of the library, with the key sets of all its models or of the first."""
    return {
        f"{entry.name}-{pair.size}": Case(f"{entry.family}_{entry.path.stem}_{pair.size}", entry.path, pair)
        for entry in catalog(ROOT / "mappings")
        for pair in entry.pairs[: None if every_size else 1]
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, every_size in (("model", True), ("case", False)):
        if fixture in metafunc.fixturenames:
            cases = full_cases(every_size)
            marks = {name: pytest.mark.slow for name in cases if fixture == "case" and name.startswith(LARGE)}
            metafunc.parametrize(
                fixture,
                [pytest.param(case, marks=marks.get(name, ())) for name, case in cases.items()],
                ids=cases.keys(),
            )
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", PAIRS, indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A mapping, with its tiny pair unpacked."""
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
    mapping = ROOT / "mappings" / f"{PAIRS[name]}.mapcc"
    return Case(name, mapping, tiny=folder, settings=SETTINGS.get(name, {}))


@pytest.fixture(scope="session")
def library_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library's mappings without their key sets, for forms that use the files beside them."""
    folder = tmp_path_factory.mktemp("library") / "mappings"
    shutil.copytree(ROOT / "mappings", folder, ignore=shutil.ignore_patterns("keys"))
    return folder


@pytest.fixture(scope="session")
def read_tensors() -> Callable[[Path], dict[str, Tensor]]:
    """:func:`read`, for the tests."""
    return read
