"""Transforms as rules of a mapping, made without a key set."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mapcc.dialects.made import Sketch
from mapcc.dialects.regex_sketch import NoSketch, sketch
from mapcc.dialects.transformers.axes import Stops, Unfollowed
from mapcc.dialects.transformers.names import Namer
from mapcc.dialects.transformers.table import Transform
from mapcc.dialects.transformers.tried import tried

_ALONE = "no other entry acts on the same names"
_LOOKAROUND = re.compile(r"\(\?(?:!|=|<!|<=)[^()]*\)")
_EMPTY = re.compile(r"\(\?:\)")


def sketches(entries: Sequence[Transform], namers: Sequence[Namer]) -> list[Sketch]:
    return [_sketch(n, entry, namer) for n, (entry, namer) in enumerate(zip(entries, namers, strict=True))]


def _sketch(number: int, entry: Transform, namer: Namer) -> Sketch:
    try:
        rule, assumed = tried(entry, namer) if namer.is_converter else _renaming(namer)
    except (NoSketch, Stops, Unfollowed) as error:
        return Sketch("", number, (f"not translated: {error}",))
    if namer.scope:
        assumed = (*assumed, f"it acts under `{namer.scope}` only")
    return Sketch(rule, number, tuple(dict.fromkeys((*assumed, _ALONE))))


# --- names


def _renaming(namer: Namer) -> tuple[str, tuple[str, ...]]:
    if namer.kind == "Inkling2IndexOffsetWeightRename":
        raise NoSketch("an index that is shifted")
    grouped = namer.kind == "GroupWeightRename"
    lines, assumed = [], list[str]()
    for number, source in enumerate(namer.sources):
        left, right, taken = _names(source, namer.targets[number if grouped else 0])
        lines.append(f"{left} -> {right}")
        assumed += taken
    if grouped:
        assumed.append(f"the checkpoint is in the old layout: it has `{namer.sources[0]}`")
    return "\n".join(lines), tuple(assumed)


def _names(source: str, target: str) -> tuple[str, str, tuple[str, ...]]:
    """A pattern that is found anywhere, and what takes its place, as whole names."""
    body = source.removeprefix("^")
    before, assumed = _before(body, target, body != source)
    plain = _EMPTY.sub("", _LOOKAROUND.sub("", body))
    if plain != body:
        assumed.append("what the pattern excludes does not occur")
    if plain.endswith("."):
        if target and not target.endswith("."):
            raise NoSketch("a name that goes on within a segment")
        groups = re.compile(plain).groups
        plain, target = f"{plain}(.+)", rf"{target}\g<{groups + 1}>"
    elif not re.search(r"[A-Za-z0-9)$]$", plain):
        raise NoSketch("a pattern that ends within a segment")
    left, right, taken = sketch(plain, target)
    return before + left, before + right, (*assumed, *taken)


def _before(body: str, target: str, anchored: bool) -> tuple[str, list[str]]:
    if anchored:
        return "", []
    if body.startswith((".", r"\.")) or target.startswith("."):
        if not (body.startswith((".", r"\.")) and target.startswith(".")):
            raise NoSketch("a name that begins within a segment")
        return "**", []
    return "{,**.}", ["nothing holds the beginning of the pattern: it is taken to begin where a segment does"]
