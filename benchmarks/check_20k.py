"""Two hundred rules over 20,000 names a side, each rule with its own layout of axes.

python -m benchmarks.check_20k FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

RULES, LAYERS = 200, 100
HEADS, WIDTH = 8, 1024


def make(folder: Path) -> tuple[Path, Path, Path]:
    """Writes a mapping, a source and a target key set of 20,000 names each."""
    lines = ['mapping check_20k "200 rules, 100 tensors each"', "", "old.layers.{i} -> new.blocks.{i} {"]
    source: dict[str, object] = {}
    target: dict[str, object] = {}
    for rule in range(RULES):
        rows = HEADS * (rule + 1)
        for layer in range(LAYERS):
            source[f"old.layers.{layer}.part{rule}.weight"] = _entry(rows, WIDTH)
        old, new = f"part{rule}.weight", f"piece{rule}.kernel"
        match rule % 4:
            case 0:
                lines.append(f"    {old} -> {new}")
                shape = (rows, WIDTH)
            case 1:
                lines.append(f"    {old} : o c -> {new} : c o")
                shape = (WIDTH, rows)
            case 2:
                lines.append(f"    {old} : (h d) c -> {new} : h d c where h = {HEADS}")
                shape = (HEADS, rows // HEADS, WIDTH)
            case _:
                lines.append(f"    {old} : (d h) c -> {new} : (h d) c where h = {HEADS}")
                shape = (rows, WIDTH)
        for layer in range(LAYERS):
            target[f"new.blocks.{layer}.{new}"] = _entry(*shape)
    paths = folder / "check_20k.mapcc", folder / "source.json", folder / "target.json"
    for path, text in zip(
        paths, ("\n".join([*lines, "}", ""]), json.dumps(source), json.dumps(target)), strict=True
    ):
        path.write_text(text, encoding="utf-8")
    return paths


def _entry(*shape: int) -> dict[str, object]:
    return {"dtype": "BF16", "shape": list(shape)}


if __name__ == "__main__":
    print(*make(Path(sys.argv[1])))
