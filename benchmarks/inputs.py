"""Inputs, each made once per run: a checkpoint beside its mapping, and what the peers need in its folder."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.files import make
from benchmarks.layouts import LAYERS, llama_of
from benchmarks.model import Case, Layout, Scale


@dataclass(slots=True)
class Inputs:
    """The checkpoints in a folder. One is removed when no case to come needs it."""

    folder: Path
    scale: Scale
    uses: Counter[str] = field(default_factory=Counter)
    made: dict[str, Path] = field(default_factory=dict)

    def expect(self, cases: Iterable[Case]) -> None:
        self.uses.update(case.layout.name for case in cases)

    def source(self, layout: Layout) -> Path:
        """The folder of a checkpoint, made now if it is the first time."""
        if layout.name not in self.made:
            self.made[layout.name] = checkpoint(layout, self.scale, self.folder / layout.name)
        return self.made[layout.name]

    def done(self, layout: Layout) -> None:
        self.uses[layout.name] -= 1
        if self.uses[layout.name] <= 0 and layout.name in self.made:
            shutil.rmtree(self.made.pop(layout.name))


def checkpoint(layout: Layout, scale: Scale, folder: Path) -> Path:
    make(layout, scale, folder)
    if layout.name.startswith("llama"):
        config = llama_of(scale.nbytes).config()
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        (folder / "passthrough.yaml").write_text(json.dumps(_passthrough(folder)), "utf-8")
    return folder


def _passthrough(model: Path) -> dict[str, object]:
    """For mergekit, which knows no other way to copy: JSON is YAML too."""
    whole = {"sources": [{"model": str(model), "layer_range": [0, LAYERS]}]}
    return {"slices": [whole], "merge_method": "passthrough", "dtype": "bfloat16"}


def write_mapping(case: Case, folder: Path) -> Path:
    path = folder / f"{case.name}.mapcc"
    path.write_text(case.mapping, "utf-8")
    return path
