r"""Names to renamings of transformers 5: anchored patterns, one group each.

Of what a pattern captures transformers puts one group into the new name, so a name in which text
between two variables changes is renamed in steps, with a tag at the end of the names on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mapcc.dialects.transformers.names import BadTransform, namer
from mapcc.dialects.transformers.table import Transform
from mapcc.emit.translate import Kinds

_MARKS = re.compile(r"([\ud800-\udfff])")
_TAG = "mapcc"

# What makes a target more than its text, and what may make a name more.
_PATTERN = re.compile(r"^\^|\(.*\)|\\[1.]")
_SPECIAL = re.compile(r"[^\w./:-]")


class Unsayable(Exception):
    """Names whose open variables no renaming carries over."""


# --- tags


@dataclass(frozen=True, slots=True)
class Tags:
    """Texts that no name has, to stand in names on the way.

    Attributes:
        word: what they all begin with.
    """

    word: str

    @property
    def step(self) -> str:
        """At the end of a name of which a part is renamed."""
        return f"{self.word}_step"

    @property
    def waiting(self) -> str:
        """Before a name that a later renaming must not see."""
        return f"{self.word}_waiting."

    def fragment(self, *numbers: int) -> str:
        """A part of a name that one source of one converter has, and nothing else."""
        return "_".join((self.word, *map(str, numbers)))


def tags_for(names: Iterable[str]) -> Tags:
    word = _TAG
    text = "\n".join(names)
    while word in text:
        word += "x"
    return Tags(word)


# --- text as a source, and as a target


def escaped(text: str) -> str:
    r"""A pattern of one text: without ``\1``, which transformers would replace in a source.

    >>> print(escaped("a.b"), escaped("a\\1"))
    a\.b a[\\]1
    """
    return re.escape(text).replace("\\\\", "[\\\\]")


def is_plain(text: str) -> bool:
    r"""Whether a target with this text in it is put into a name as it is: targets are read as patterns.

    >>> is_plain("a.b"), is_plain("a(b)"), is_plain("a(b"), is_plain("a\\1")
    (True, False, True, False)
    """
    return not _PATTERN.search(text)


def is_loaded(source: str, target: str) -> bool:
    r"""Whether transformers can take a tensor under a name: it makes a renaming of the two names.

    >>> is_loaded("a.b", "c.d"), is_loaded("a(b", "c"), is_loaded("a", "b(c)")
    (True, False, False)
    """
    if not _SPECIAL.search(source + target):
        return True
    try:
        made = namer(_renaming(source, target))
    except BadTransform:
        return False
    return made.sources == (source,) and made.targets == (target,)


# --- one rule's names


@dataclass(frozen=True, slots=True)
class Renaming:
    """The entries that rename one family of names, one right after the other.

    Attributes:
        pattern: what the names are that they take.
    """

    pattern: str
    entries: tuple[Transform, ...]

    def waiting(self, tags: Tags) -> Renaming:
        """The same, with results that wait until no other renaming could take them."""
        first, *others = self.entries
        target = tags.waiting + first.targets[0]
        return Renaming(self.pattern, (_renaming(first.sources[0], target), *others))


def _renaming(source: str, target: str) -> Transform:
    return Transform("WeightRenaming", (source,), (target,))


def waiting_no_more(tags: Tags) -> Transform:
    """What takes a tag away again, once all names have been renamed."""
    return _renaming(f"^{escaped(tags.waiting)}", "")


def renaming(source: str, target: str, kinds: Kinds, tags: Tags) -> Renaming:
    r"""The entries for two marked names.

    >>> kinds = Kinds({"\ud800": "i", "\ud801": "j"}, ".")
    >>> for entry in renaming("a.\ud800.b.\ud801.c", "d.\ud800.e.\ud801.f", kinds, Tags("t")).entries:
    ...     print(entry.sources[0], entry.targets[0])
    ^a\.((?:0|[1-9][0-9]*)\.b\.(?:0|[1-9][0-9]*)\.c)$ d.\1t_step
    \.b\.(0|[1-9][0-9]*)\.ct_step$ .e.\1.f

    Raises:
        Unsayable: the variables do not stand in the same order on both sides.
    """
    old, new = _MARKS.split(source), _MARKS.split(target)
    if old[1::2] != new[1::2] or len(set(old[1::2])) < len(old[1::2]):
        raise Unsayable
    parts = _expressions(old, kinds)
    pattern = f"^{''.join(parts)}$"
    if len(old) == 1:
        return Renaming(pattern, (_renaming(pattern, new[0]),))
    changing = [at for at in range(2, len(old) - 1, 2) if old[at] != new[at]]
    if not changing:
        one = f"^{parts[0]}{_group(parts[1:-1])}{parts[-1]}$"
        return Renaming(pattern, (_renaming(one, rf"{new[0]}\1{new[-1]}"),))
    entries = [_renaming(f"^{parts[0]}({''.join(parts[1:])})$", rf"{new[0]}\1{tags.step}")]
    for at in changing[:-1]:
        step = f"{parts[at]}({''.join(parts[at + 1 :])}){tags.step}$"
        entries.append(_renaming(step, rf"{new[at]}\1{tags.step}"))
    at = changing[-1]
    last = f"{parts[at]}{_group(parts[at + 1 : -1])}{parts[-1]}{tags.step}$"
    entries.append(_renaming(last, rf"{new[at]}\1{new[-1]}"))
    return Renaming(pattern, tuple(entries))


def _group(parts: Sequence[str]) -> str:
    inner = "".join(parts)
    return f"({inner[3:]}" if len(parts) == 1 and inner.startswith("(?:") else f"({inner})"


def _expressions(chunks: Sequence[str], kinds: Kinds) -> list[str]:
    """Patterns of text and variables by turns, without groups."""
    out: list[str] = []
    for at, chunk in enumerate(chunks):
        if at % 2 == 0:
            out.append(escaped(chunk))
            continue
        whole = all(end in ("", kinds.separator) for end in (chunks[at - 1][-1:], chunks[at + 1][:1]))
        alone = (at == 1 or chunks[at - 1]) and (at == len(chunks) - 2 or chunks[at + 1])
        expression = kinds.expression(chunk, bool(whole and alone))[1:-1]
        out.append(f"(?:{expression})" if "|" in expression else expression)
    return out
