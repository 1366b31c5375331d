"""FastVideo's engine on names: what its loader makes of a table, without a tensor.

These are ``get_param_names_mapping`` and ``hf_to_custom_state_dict`` of FastVideo's
``models/loader/utils.py``: the first pattern that ``re.match``es, in the order of the dict, is applied
with ``re.sub``, once; a name that none matches stays as it is; a tuple collects tensors and
concatenates them. A test holds this against FastVideo's own functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mapcc.emit.pysource import Entry

Mapped = tuple[str, int | None, int | None]

_TOKEN = re.compile(r"\\.|.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_GROUP = re.compile(r"\([^()]*\)")
_SPECIAL = frozenset(".^$*+?{}[]()|")
_QUANTIFIER = frozenset("*+?{")


def mapper(table: Mapping[str, Entry]) -> Callable[[str], Mapped]:
    """The new name of a name, with its place among those that are concatenated."""
    entries = [(re.compile(pattern), replacement) for pattern, replacement in table.items()]
    # Only what begins with a pattern's literal beginning can match it: not each name, each pattern.
    by_prefix: dict[str, list[int]] = {}
    for number, pattern in enumerate(table):
        by_prefix.setdefault(literal_prefix(pattern), []).append(number)
    lengths = sorted({len(prefix) for prefix in by_prefix})
    orders: dict[tuple[str, ...], list[int]] = {}

    def map_name(name: str) -> Mapped:
        prefixes = tuple([name[:n] for n in lengths if name[:n] in by_prefix])
        possible = orders.get(prefixes)
        if possible is None:
            possible = orders[prefixes] = sorted({n for prefix in prefixes for n in by_prefix[prefix]})
        for number in possible:
            pattern, replacement = entries[number]
            if pattern.match(name):
                if isinstance(replacement, tuple):
                    return pattern.sub(replacement[0], name), replacement[1], replacement[2]
                return pattern.sub(replacement, name), None, None
        return name, None, None

    return map_name


def literal_prefix(pattern: str) -> str:
    r"""The text with which every match of a pattern begins, as far as it is plain.

    >>> literal_prefix("^blocks\\.(0|[1-9][0-9]*)\\.w$"), literal_prefix("^ab?"), literal_prefix("^a|b")
    ('blocks.', 'a', '')
    """
    tokens: list[str] = _TOKEN.findall(pattern)
    plain = _CLASS.sub("", "".join(token for token in tokens if len(token) == 1))
    while plain != (plain := _GROUP.sub("", plain)):
        pass
    if tokens[:1] != ["^"] or "|" in plain:
        return ""
    out: list[str] = []
    for token, following in zip(tokens[1:], [*tokens[2:], ""], strict=False):
        if token in _SPECIAL or (len(token) > 1 and token[1].isalnum()) or following in _QUANTIFIER:
            break
        out.append(token[-1])
    return "".join(out)


@dataclass(slots=True)
class Loaded:
    """What the loader ends with: each target's sources in their order, and what went wrong."""

    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load(names: Iterable[str], map_name: Callable[[str], Mapped]) -> Loaded:
    """A state dict of names; unlike the loader, which takes the last of two, this tells of them."""
    loaded = Loaded()
    waiting: dict[str, dict[int, str]] = {}
    for name in names:
        target, index, count = map_name(name)
        sources: tuple[str, ...] = (name,)
        if index is not None and count is not None:
            group = waiting.setdefault(target, {})
            if index in group:
                loaded.faults.append(target)
            group[index] = name
            if len(group) < count:
                continue
            if sorted(group) != list(range(count)):
                loaded.faults.append(target)
            sources = tuple(group[k] for k in sorted(group))
            del waiting[target]
        if target in loaded.tensors:
            loaded.faults.append(target)
        loaded.tensors[target] = sources
    loaded.faults += waiting  # never completed: absent, and nothing says so
    return loaded
