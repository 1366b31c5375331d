"""A workspace for a port, and the command line within it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ran

TWINS = Path(__file__).parent / "twins"
RIGHT = (TWINS / "right.mapcc").read_text("utf-8")
TWINS_PORT = """\
model: twins
weights: {path: official_weights/twins}
target: {kind: python}
components:
  transformer:
    source: model.safetensors
    mapping: twins.mapcc
    official: {module: "py:models.py:official", arguments: {ids: input_ids, c: condition}}
    ported: {module: "py:models.py:ported", output: sample}
    inputs:
      input_ids: {shape: [2, 7], dtype: int, high: 24}
      condition: {shape: [2, 16]}
"""


@dataclass
class Workspace:
    """A folder that is the working directory, with ``mapcc port`` in it."""

    folder: Path
    mapcc: Callable[..., Ran]

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def weights(self, name: str, tensors: Mapping[str, Any]) -> Path:
        from safetensors.torch import save_file

        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        return path

    def port(self, verb: str, *arguments: object) -> Ran:
        return self.mapcc("port", verb, *arguments)

    def good(self, verb: str, *arguments: object) -> str:
        ran = self.port(verb, *arguments)
        assert ran.code == 0, ran.out + ran.err
        return ran.out

    def run(self, *arguments: str, code: int = 0) -> str:
        """Python in a process of its own, for libraries that change the one they are in."""
        surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=surroundings
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def evidence(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "evidence" / f"{name}.json").read_text("utf-8"))
        return found


@pytest.fixture
def workspace(
    tmp_path: Path, mapcc: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield Workspace(tmp_path, mapcc)
    for name in set(sys.modules) - before:
        if name.startswith("_mapcc_factory_"):
            del sys.modules[name]


def with_twins(workspace: Workspace, mapping: str = RIGHT, planted: Mapping[str, Any] | None = None) -> None:
    """The two small networks, random official weights, a port of one to the other."""
    import torch

    shutil.copy(TWINS / "models.py", workspace.folder / "models.py")
    workspace.write("twin.json", json.dumps(planted or {}))
    workspace.write("twins.mapcc", mapping)
    workspace.write("port.yaml", TWINS_PORT)
    torch.manual_seed(1)
    state = official_twin(workspace).state_dict()
    tensors = {name: torch.randn_like(tensor) * 0.5 for name, tensor in state.items()}
    workspace.weights("official_weights/twins/model.safetensors", tensors)


def official_twin(workspace: Workspace) -> Any:
    from mapcc.tensors.factory import python_value

    return python_value(f"py:{workspace.folder / 'models.py'}:official")
