"""FastVideo's own tables and functions, from its wheel, and the keys of its models."""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Source

VERSION = "0.2.1"
SHA256 = "47e97668dc7b9f3fdeef7f2790e8057646913d344b79d0ff807a0ddcf9e68738"
CONFIGS = "fastvideo/configs/models"


@pytest.fixture(scope="session")
def fastvideo(wheel) -> Path:
    return wheel("fastvideo", VERSION, SHA256)


@pytest.fixture(scope="session")
def config_source(fastvideo: Path) -> Callable[[str], Source]:
    """The text of one of FastVideo's configs: ``dits/wanvideo``."""

    def read(module: str) -> Source:
        with zipfile.ZipFile(fastvideo) as archive:
            return Source(f"{module}.py", archive.read(f"{CONFIGS}/{module}.py").decode())

    return read


@pytest.fixture(scope="module")
def loader(fastvideo: Path) -> Iterator[ModuleType]:
    """FastVideo's ``models/loader/utils.py``; its packages are stubs, as theirs import all of it."""
    before = dict(sys.modules)
    patch = pytest.MonkeyPatch()
    patch.setenv("FASTVIDEO_CONFIGURE_LOGGING", "0")
    logger_class = logging.getLoggerClass()
    for name in ("fastvideo", "fastvideo.models", "fastvideo.models.loader"):
        stub = ModuleType(name)
        stub.__path__ = [f"{fastvideo}/{name.replace('.', '/')}"]
        sys.modules[name] = stub
    try:
        yield __import__("fastvideo.models.loader.utils", fromlist=["get_param_names_mapping"])
    finally:
        patch.undo()
        logging.setLoggerClass(logger_class)
        for name in [name for name in sys.modules if name.partition(".")[0] == "fastvideo"]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture(scope="session")
def native_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    """The state dicts of 24 of FastVideo's models, names and shapes, built on the meta device."""
    folded = json.loads((Path(__file__).parent / "data" / "fastvideo_native_keys.json").read_text("utf-8"))
    return {
        model: {name: tuple(shape) for template, shape in keys.items() for name in expanded(template)}
        for model, keys in folded.items()
    }


def expanded(template: str) -> Iterator[str]:
    """``a.{0..2}.{w,b}`` as the six names that it stands for."""
    pieces = re.split(r"\{([^}]*)\}", template)
    choices = [
        [str(k) for part in piece.split(",") for k in _run(part)] if at % 2 else [piece]
        for at, piece in enumerate(pieces)
    ]
    return map("".join, itertools.product(*choices))


def _run(part: str) -> list[object]:
    first, dots, last = part.partition("..")
    return list(range(int(first), int(last) + 1)) if dots else [part]


def manifest(shapes: dict[str, tuple[int, ...]]) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["BF16"], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})
