"""Source names that a table makes given names of: found by reading its patterns backwards, and tried."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

Shapes = dict[str, tuple[int, ...]]

_GROUP = re.compile(r"\((?!\?)((?:\\.|[^()\\])*)\)")
_OPTIONAL = re.compile(r"\(\?:((?:\\.|[^()\\])*)\)\?")


def candidates(pattern: str, template: str, target: str) -> Iterator[str]:
    """Names that the pattern may match, and that the template may turn into ``target``."""
    bodies = [pattern.removeprefix("^").removesuffix("$")]
    if found := _OPTIONAL.search(bodies[0]):
        bodies = [bodies[0].replace(found[0], ""), bodies[0].replace(found[0], found[1])]
    for body in bodies:
        groups = _GROUP.findall(body)
        skeleton = _GROUP.split(body)[::2]
        parts = re.split(r"\\(\d)", template)
        backward, seen = "", set()
        for at, part in enumerate(parts):
            if at % 2 == 0:
                backward += re.escape(part)
            elif part in seen:
                backward += f"(?P=g{part})"
            else:
                backward += f"(?P<g{part}>{groups[int(part) - 1]})"
                seen.add(part)
        # Without a `$` the rest of the name goes along.
        if not pattern.endswith("$"):
            backward += "(?P<rest>.*)"
        if found := re.fullmatch(backward, target):
            values = found.groupdict()
            chosen = [
                [values[f"g{k}"]] if f"g{k}" in values else _some(group) for k, group in enumerate(groups, 1)
            ]
            for picked in itertools.product(*chosen):
                texts = [re.sub(r"\\(.)", r"\1", text) for text in skeleton]
                whole = "".join(t + g for t, g in zip(texts, [*picked, ""], strict=True))
                yield whole + values.get("rest", "")


def _some(group: str) -> list[str]:
    return [option for option in ("0", "weight", "a", *group.split("|")) if re.fullmatch(group, option)][:1]


def sources_of(table: dict, engine: Callable[[str], tuple], native: Shapes) -> tuple[Shapes, list[str]]:
    """A source's key set that becomes the native one, and the native names that nothing becomes."""
    sources: Shapes = {}
    unreached: list[str] = []
    for target, shape in native.items():
        found: dict[str, tuple[int, ...]] = {}
        for pattern, value in table.items():
            template, place, of = value if isinstance(value, tuple) else (value, None, None)
            for name in candidates(pattern, template, target):
                if engine(name) == (target, place, of) and name not in found:
                    found[name] = shape if of is None else (shape[0] // of, *shape[1:])
                    break
            if found and (place is None or len(found) == of):
                break
        if not found and engine(target) == (target, None, None):
            found = {target: shape}
        if found:
            sources.update(found)
        else:
            unreached.append(target)
    return sources, unreached


def exemplars(pattern: str) -> Iterator[str]:
    """Names that a pattern of these tables matches: two indices, a weight and a bias."""
    plain = _OPTIONAL.sub(r"\1", pattern.removeprefix("^").removesuffix("$"))
    groups = _GROUP.findall(plain)
    texts = [re.sub(r"\\(.)", r"\1", t.replace(".*", "m.")) for t in _GROUP.split(plain)[::2]]
    for picked in itertools.product(*(_several(group) for group in groups)):
        yield "".join(t + g for t, g in zip(texts, [*picked, ""], strict=True))


def _several(group: str) -> list[str]:
    options = ("0", "1", "weight", "bias", "x.weight", *group.replace(".*", "m.").split("|"))
    return [option for option in dict.fromkeys(options) if re.fullmatch(group, option)][:3]
