"""The keys of FastVideo's models."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

FOLDED = Path(__file__).parent / "data" / "fastvideo_native_keys.json"


def native_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    """The state dicts of 24 of FastVideo's models, names and shapes, built on the meta device."""
    folded = json.loads(FOLDED.read_text("utf-8"))
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
