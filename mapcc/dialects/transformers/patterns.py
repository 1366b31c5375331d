"""The patterns of transformers 5: as they are written, and as its loader processes and compiles them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOOKAROUND = re.compile(r"\(\?.+?\)?\)")
_GROUP = re.compile(r"\(.+?\)")


class BadTransform(ValueError):
    """An entry that transformers refuses, or a class that mapcc does not know; ``number`` is the entry's."""

    number = 0


def processed_target(pattern: str) -> tuple[str, str | None]:
    r"""A target as it is put into a name, and the group that it captures: it is written as a pattern too.

    >>> processed_target(r"^a\.(b|c)\.(?!d)e")
    ('a.\\1.e', '(b|c)')
    """
    pattern = _LOOKAROUND.sub("", pattern.removeprefix("^"))
    found = _GROUP.search(pattern)
    group = found[0] if found else None
    if group is not None:
        pattern = pattern.replace(group, r"\1", 1)
    return pattern.replace(r"\.", "."), group


def processed_source(pattern: str, target: str) -> str:
    """A source is anchored where the target that it is paired with was written so."""
    return f"^{pattern}" if target.startswith("^") and not pattern.startswith("^") else pattern


def processed_sources(sources: Sequence[str], targets: Sequence[str], group: str | None) -> tuple[str, ...]:
    out = []
    for number, pattern in enumerate(sources):
        if r"\1" in pattern:
            if group is None:
                raise BadTransform(f"{pattern!r} has \\1, and no target has a group")
            pattern = pattern.replace(r"\1", group, 1)
        if len(sources) == len(targets):
            pattern = processed_source(pattern, targets[number])
        out.append(pattern)
    return tuple(out)


def compiled(sources: Sequence[str]) -> re.Pattern[str]:
    """One alternation, the longest source first, since the first branch that matches is the one."""
    branches = []
    for number in sorted(range(len(sources)), key=lambda n: -len(sources[n])):
        pattern = sources[number].replace("*.", r".*\.")
        # What ends in a letter or digit ends a word: `weight` is not the beginning of `weight_scale`.
        if re.search(r"[a-zA-Z0-9]$", pattern):
            pattern += r"(?!\w)"
        branches.append(f"(?P<g{number}>{pattern})")
    try:
        return re.compile("|".join(branches))
    except re.error as error:
        raise BadTransform(f"not a regular expression: {error}") from None


def prefix_patterns(
    add: object = None, remove: object = None, model_prefix: object = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The source and the target that a PrefixChange stands for."""
    prefix = rf"{model_prefix}\." if model_prefix else ""
    if add is not None and remove is None:
        return (rf"^{prefix}(?:(?!{add}\.))(.+)",), (rf"{prefix}{add}\.\1",)
    if remove is not None and add is None:
        return (rf"^{prefix}{remove}\.(.+)",), (rf"{prefix}\1",)
    raise BadTransform("a prefix is either added or removed")
