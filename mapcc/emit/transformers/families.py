"""Names that differ in one number: what a ``*`` of a source pattern takes together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.dialects.transformers.names import natural_key

Groups = tuple[tuple[int, ...], ...]

_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]*)(?![0-9])")


def groupings(names: Sequence[str], order: Sequence[int]) -> Iterator[Groups]:
    """Ways to take tensors together, by their numbers: families of every number in the names, and alone.

    Args:
        order: in which the tensors lie in what is made of them; that of the groups, too. The members
            of a group come in the order in which transformers reads a checkpoint.
    """
    count = max((len(_NUMBER.split(name)) // 2 for name in names), default=0)
    for at in reversed(range(count)):
        families: dict[str, dict[str, int]] = {}
        for number in order:
            template, nth = without_number(names[number], at)
            families.setdefault(template, {})[nth] = number
        # A list begins at 0 and has no gaps: w1 and w3 are no list.
        wanted = {str(nth) for nth in range(len(order) // len(families))}
        if len(wanted) > 1 and all(members.keys() == wanted for members in families.values()):
            yield tuple(
                tuple(sorted(members.values(), key=lambda number: natural_key(names[number])))
                for members in families.values()
            )
    yield tuple((number,) for number in order)


def without_number(name: str, at: int, mark: str = "*") -> tuple[str, str]:
    """A name with a mark in the place of its ``at``-th number, and that number.

    >>> without_number("layers.3.experts.12.w1", 1)
    ('layers.3.experts.*.w1', '12')
    """
    chunks = _NUMBER.split(name)
    if 2 * at + 1 >= len(chunks):
        return name, ""
    number, chunks[2 * at + 1] = chunks[2 * at + 1], mark
    return "".join(chunks), number


def differing(names: Sequence[str]) -> int:
    """Which number of these names, one family's, is not the same in all."""
    split = [_NUMBER.split(name)[1::2] for name in names]
    return next(at for at, numbers in enumerate(zip(*split, strict=True)) if len(set(numbers)) > 1)
