"""``--under A -> B``: a mapping for what lies beneath a prefix, and the rest of the names left out.

It is the block ``A -> B { ... }`` around all that the mapping says, a ``drop`` for each branch of the
source's names that does not lead there, and an ``external`` for each of the target's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.diagnostics.suggest import nearest
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.patterns import EMPTY, Deep, Pattern, Text, join
from mapcc.passes.check import Setting, program_of
from mapcc.syntax.load import Loader
from mapcc.tensors.spec import Manifest
from mapcc.text import Source, Span

OPTION = "--under"
_NOWHERE = "."
_ARROW = "->"
_LISTED = 20_000  # names that are looked at for a suggestion
_TOP = rules.About | rules.Let | rules.Separator | rules.OutputDtype


@dataclass(frozen=True, slots=True)
class Under:
    """Two prefixes without a separator at their end; "" is none."""

    left: str
    right: str
    span: Span

    @property
    def because(self) -> str:
        return f"not under {self.left}"


def read_under(text: str, found: Diagnostics) -> Under | None:
    """``A``, or ``A -> B``; ``.`` is no prefix. None, with MC007, for anything else.

    >>> read_under("model.diffusion_model -> .", Diagnostics()).left
    'model.diffusion_model'
    """
    sides = [side.strip() for side in text.split(_ARROW)]
    if len(sides) > 2 or not all(sides):
        message = f"{OPTION} {text!r} is no prefix"
        help = f"{OPTION} model.diffusion_model, or {OPTION} 'model.diffusion_model -> transformer'"
        found.add(Diagnostic("MC007", message, help=help))
        return None
    left, right = sides if len(sides) == 2 else (sides[0], _NOWHERE)
    return Under(_bare(left), _bare(right), Span(Source(OPTION, text), 0, len(text)))


def _bare(side: str) -> str:
    return "" if side == _NOWHERE else side.rstrip("./")


def placed(
    mapping: rules.Mapping,
    path: Path,
    under: Under,
    source: Manifest | None,
    target: Manifest | None,
    settings: Mapping[str, Setting],
    found: Diagnostics,
    loader: Loader,
) -> rules.Mapping | None:
    """The mapping for what lies beneath two prefixes; None, with MC008, if nothing does.

    A mapping whose own names all begin with the prefix (of a component in a single file) gets no
    second one, and is only kept from the rest.
    """
    separators = _separators(mapping)
    sides = zip((source, target), (under.left, under.right), separators, strict=True)
    for keys, prefix, separator in sides:
        if keys is not None and prefix and not _beneath(keys.names, prefix + separator):
            found.add(nothing_beneath(keys, prefix, separator))
            return None
    left = under.left
    if left and source is not None and not _beneath(source.names, separators[0].join((left, left, ""))):
        left = "" if _carries(mapping, path, left + separators[0], settings, loader) else left
    top = tuple(_moved(each, under.right, separators[1]) for each in mapping.body if isinstance(each, _TOP))
    within = [each for each in mapping.body if not isinstance(each, _TOP)]
    inner = tuple(_first(each) if at == 0 else each for at, each in enumerate(within))
    apart = rules.Trivia(before=("",))
    block = rules.Block(_prefix(left), _prefix(under.right), inner, span=under.span, trivia=apart)
    rest = _rest(source, target, under, separators)
    return replace(mapping, body=(*top, block, *rest))


def left_out(bound: BoundMapping) -> int:
    """How many tensors of the source do not lie under the prefix."""
    return sum(listed.span.source.name == OPTION for listed in bound.dropped.values())


def _separators(mapping: rules.Mapping) -> tuple[str, str]:
    said = {each.side: each.text for each in mapping.body if isinstance(each, rules.Separator)}
    return said.get("source", "."), said.get("target", ".")


def _first(statement: rules.Statement) -> rules.Statement:
    """Without the empty lines before it."""
    before = statement.trivia.before
    while before and not before[0]:
        before = before[1:]
    return replace(statement, trivia=replace(statement.trivia, before=before))


def _prefix(text: str) -> Pattern:
    return Pattern((Text(text),)) if text else EMPTY


def _moved(statement: rules.Statement, right: str, separator: str) -> rules.Statement:
    """What a ``dtype`` keeps lies under the prefix, too."""
    if not isinstance(statement, rules.OutputDtype) or not right:
        return statement
    prefix = _prefix(right)
    keeps = tuple(
        replace(keep, names=tuple(join(prefix, name, separator) for name in keep.names))
        for keep in statement.keeps
    )
    return replace(statement, keeps=keeps)


def _carries(
    mapping: rules.Mapping, path: Path, prefix: str, settings: Mapping[str, Setting], loader: Loader
) -> bool:
    """Whether all names that the mapping needs begin with the prefix; what is optional may not."""
    before = len(loader.found)
    program = program_of(mapping, path, settings, {}, Diagnostics(), loader)
    if len(loader.found) > before:
        return False  # of a file that it uses: told when the mapping is bound
    needed = (equation for equation in program.equations if not equation.optional)
    names = [name for equation in needed for unit in equation.units for name in unit.names]
    return bool(names) and all(_begins(name, prefix) for name in names)


def _begins(name: Pattern, prefix: str) -> bool:
    first = name.parts[0] if name.parts else None
    return isinstance(first, Text) and first.text.startswith(prefix)


# --- what lies elsewhere


def _rest(
    source: Manifest | None, target: Manifest | None, under: Under, separators: tuple[str, str]
) -> list[rules.Statement]:
    out: list[rules.Statement] = []
    if source is not None and under.left:
        names = _elsewhere(source.names, under.left, separators[0])
        if names:
            out.append(rules.Drop(names, under.because, span=under.span))
    if target is not None and under.right:
        names = _elsewhere(target.names, under.right, separators[1])
        if names:
            out.append(rules.External(names, f"not under {under.right}", span=under.span))
    return out


def _elsewhere(names: Iterable[str], prefix: str, separator: str) -> tuple[Pattern, ...]:
    """The branches that do not lead to the prefix: one pattern for each, as high as it can stand."""
    way = prefix.split(separator)
    branches: dict[tuple[str, bool], None] = {}
    for name in names:
        if name.startswith(prefix + separator):
            continue
        segments = name.split(separator)
        shared = _shared(segments, way)
        head = separator.join(segments[: shared + 1])
        branches[head, shared + 1 < len(segments)] = None
    return tuple(_branch(head, separator, is_deep) for head, is_deep in branches)


def _shared(segments: Sequence[str], way: Sequence[str]) -> int:
    pairs = zip(segments, way, strict=False)
    return next(
        (at for at, (one, other) in enumerate(pairs) if one != other), min(len(segments) - 1, len(way))
    )


def _branch(head: str, separator: str, is_deep: bool) -> Pattern:
    return Pattern((Text(head + separator), Deep())) if is_deep else Pattern((Text(head),))


def _beneath(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def nothing_beneath(
    keys: Manifest, prefix: str, separator: str = ".", also: Collection[str] = ()
) -> Diagnostic:
    """MC008.

    Args:
        also: prefixes without a separator that names have.
    """
    known = [*also, *_prefixes(keys.names, separator)]
    near = nearest(prefix, known) or known[:3]
    help = f"did you mean {' or '.join(near)}?" if near else "its names have no prefix"
    return Diagnostic("MC008", f"`{keys.where}` has no tensor under {prefix}", help=help)


def _prefixes(names: Collection[str], separator: str) -> list[str]:
    found: dict[str, None] = {}
    for name, _ in zip(names, range(_LISTED), strict=False):
        segments = name.split(separator)[:-1]
        for end in range(1, min(len(segments), 8) + 1):
            found[separator.join(segments[:end])] = None
    return sorted(found, key=lambda prefix: prefix.count(separator))
