"""The pages of the docs about the library: what goes where, what is lost, who proved it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.library.catalog import Entry
from mapcc.passes.check import bind
from mapcc.passes.describe import Piece, Shown, describe_targets
from mapcc.passes.verdict import Kind, Verdict, verdicts
from mapcc.syntax.load import Loader
from mapcc.tensors.keysets import open_keyset

INDEX = "index.md"
SHOWN = 3  # templates in one cell
PIECES = 4  # of one tensor, shown one by one

_NUMBER = re.compile(r"[0-9]+")
_PEER_LINES = re.compile(r"([0-9]+) lines")
_DOT = re.compile(r"\.(?![^{]*\})")  # not within braces


@dataclass(frozen=True, slots=True)
class Proof:
    """What a mapping does to the first of its models, and what was counted on the way.

    Attributes:
        lines: of the mapping and the files that it uses, without headers, comments and blank lines.
        tensors: of each size, on both sides.
    """

    entry: Entry
    bound: BoundMapping
    verdicts: tuple[Verdict, ...]
    lines: int
    tensors: tuple[tuple[str, int, int], ...]

    @property
    def rules(self) -> int:
        spans = (equation.span for equation in self.bound.program.equations)
        return len({(span.source.name, span.start) for span in spans})

    @property
    def kind(self) -> Kind:
        kinds = {verdict.kind for verdict in self.verdicts}
        return next((kind for kind in reversed(Kind) if kind in kinds), Kind.BIJECTIVE)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is lost, or what an inverse needs."""
        found = [reason for verdict in self.verdicts for reason in verdict.reasons]
        found += [f"dropped: {listed.because}" for listed in self.bound.dropped.values()]
        return tuple(dict.fromkeys(found))


def proof(entry: Entry) -> Proof:
    """Hold a mapping against the key sets of its models.

    Raises:
        MappingError: it does not fit one of them.
    """
    loader = Loader(Diagnostics())
    bounds = [_bound(entry, pair.source, pair.target, loader) for pair in entry.pairs]
    sizes = zip(entry.pairs, bounds, strict=True)
    return Proof(
        entry,
        bounds[0],
        tuple(verdicts(bounds[0]).values()),
        sum(_lines(text) for path, text in _texts(entry, loader)),
        tuple((pair.size, len(bound.source.tensors), len(bound.given)) for pair, bound in sizes),
    )


def _bound(entry: Entry, source: str, target: str, loader: Loader) -> BoundMapping:
    found = Diagnostics()
    sides = open_keyset(source), open_keyset(target)
    bound = bind(entry.mapping, entry.path, *sides, {}, found, loader)
    if found.errors or loader.found.errors:
        raise MappingError([*found, *loader.found])
    return bound


def _texts(entry: Entry, loader: Loader) -> Iterator[tuple[Path, str]]:
    own = entry.mapping.source
    if own is not None:
        yield entry.path, own.text
    yield from loader.texts()


def _lines(text: str) -> int:
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith(("#", "about ", "mapping ")) for line in lines)


# --- pages


INTRODUCTION = """\
# The library

Mappings of published models. The names stand wherever a mapping file may: `mapcc convert NAME --source SRC`.
`mapcc list` prints them, `mapcc identify SRC` says which of them a checkpoint is for. This page and those
behind it are made by `mapcc docs --out docs/library`, from the mappings and the key sets of both sides.

Lines are those of the mapping and of the files that it uses, beside those of the peer's code that does the
same; blank ones, comments and headers are not counted. The verdict is that of `mapcc check`: what a bijective
mapping makes comes back bit for bit, from the target alone.
"""


def pages(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Each page's name and its text: the index, and one for each family."""
    proofs = [proof(entry) for entry in entries]
    yield INDEX, _index(proofs)
    for family, own in groupby(proofs, lambda each: each.entry.family):
        yield f"{family}.md", _page(family, list(own))


def _index(proofs: Sequence[Proof]) -> str:
    lines = [
        *INTRODUCTION.splitlines(),
        "",
        "| mapping | tensors | rules | lines | peer's lines | verdict | proof |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in proofs:
        entry = each.entry
        family = entry.family
        link = f"[{entry.name}]({family}.md#{_anchor(entry.name)})"
        peer = _PEER_LINES.search(entry.said("peer"))
        cells = [link, _sizes(each), str(each.rules), str(each.lines), peer[1] if peer else ""]
        lines.append(_row([*cells, str(each.kind), entry.said("proof")]))
    return "\n".join([*lines, ""])


def _sizes(each: Proof) -> str:
    return ", ".join(f"{size}: {_arrow(taken, given)}" for size, taken, given in each.tensors)


def _arrow(taken: int, given: int) -> str:
    return f"{taken:,}" if taken == given else f"{taken:,} -> {given:,}"


def _anchor(name: str) -> str:
    return re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")


def _page(family: str, proofs: Sequence[Proof]) -> str:
    lines = [f"# {family}", "", f"Made by `mapcc docs`. [All mappings]({INDEX})", ""]
    for each in proofs:
        lines += _section(each)
    return "\n".join(lines)


def _section(each: Proof) -> Iterator[str]:
    entry = each.entry
    yield from [f"## {entry.name}", "", f"{entry.mapping.title or entry.name}.", "", "| | |", "| --- | --- |"]
    yield _row(["from", entry.said("source")])
    yield _row(["to", entry.said("target")])
    yield _row(["tensors", _sizes(each)])
    yield _row(["verdict", str(each.kind) + "".join(f"; {reason}" for reason in each.reasons)])
    yield _row(["proof", entry.said("proof")])
    if entry.said("peer"):
        yield _row(["peer", f"{entry.said('peer')}; here {each.lines}"])
    yield from ["", *_body(each), ""]
    groups = list(_groups(each.bound))
    size = each.entry.pairs[0].size
    yield from [f"What goes where, in {size}:", "", "| from | to |", "| --- | --- |"]
    yield from (_row([_from(group), _to(group)]) for group in groups)
    for names, because in _left_out(each.bound):
        yield _row([_templates(names), f"dropped: {because}"])
    yield from ["", "The target's names:", "", "```text", *_tree(groups), "```", ""]


def _body(each: Proof) -> Iterator[str]:
    """The mapping itself, without its header; one that only uses another says so."""
    source = each.entry.mapping.source
    assert source is not None
    lines = [line for line in source.text.splitlines() if not line.startswith(("mapping ", "about "))]
    yield "```mapcc"
    yield from "\n".join(lines).strip().splitlines()
    yield "```"


def _left_out(bound: BoundMapping) -> Iterator[tuple[list[str], str]]:
    by_reason: dict[str, list[str]] = {}
    for name, listed in bound.dropped.items():
        by_reason.setdefault(listed.because, []).append(name)
    for because, names in by_reason.items():
        yield names, because


# --- what goes where


@dataclass(slots=True)
class _Group:
    """Target tensors that differ in numbers and in ``weight`` and ``bias`` alone."""

    members: list[Shown] = field(default_factory=list)

    @property
    def first(self) -> Shown:
        return self.members[0]


def _groups(bound: BoundMapping) -> Iterator[_Group]:
    groups: dict[tuple[str, int, object], _Group] = {}
    for shown in describe_targets(bound):
        head, _, last = shown.name.rpartition(".")
        kind = _NUMBER.sub("#", head if last in {"weight", "bias"} and head else shown.name)
        key = (kind, len(shown.pieces), shown.rule)
        groups.setdefault(key, _Group()).members.append(shown)
    yield from groups.values()


def _from(group: _Group) -> str:
    pieces = group.first.pieces
    if group.first.reason:
        return group.first.reason
    if len(pieces) > PIECES:
        every = [name for m in group.members for piece in m.pieces for name in piece.names]
        return f"{len(pieces)} pieces of {_templates(every)}"
    cells = []
    for at, piece in enumerate(pieces):
        names = [name for m in group.members for name in m.pieces[at].names]
        cells.append(" ".join(filter(None, (_templates(names), piece.part, _steps(piece)))))
    return "<br>".join(cells)


def _to(group: _Group) -> str:
    names = _templates([m.name for m in group.members])
    pieces = group.first.pieces
    if len(pieces) > PIECES or not any(piece.here for piece in pieces):
        return names
    return "<br>".join([f"{names} {pieces[0].here}", *(piece.here for piece in pieces[1:])])


def _steps(piece: Piece) -> str:
    return f"({piece.steps})" if piece.steps else ""


def _templates(names: Sequence[str]) -> str:
    found = fold(names)
    words = [f"`{template}`" for template in found[:SHOWN]]
    return ", ".join(words) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --- the picture of the names


Tree = dict[str, "Tree"]


def _tree(groups: Iterable[_Group]) -> Iterator[str]:
    root: Tree = {}
    shapes: dict[tuple[str, ...], str] = {}
    for group in groups:
        largest = max(group.members, key=lambda shown: len(shown.shape))
        shape = " x ".join(map(str, largest.shape))
        for template in fold(m.name for m in group.members):
            path = tuple(_DOT.split(template))
            at = root
            for part in path:
                at = at.setdefault(part, {})
            shapes[path] = shape
    yield from _branches(root, (), "", shapes)


def _branches(
    tree: Tree, path: tuple[str, ...], indent: str, shapes: dict[tuple[str, ...], str]
) -> Iterator[str]:
    for number, (name, below) in enumerate(tree.items(), 1):
        is_last = number == len(tree)
        here, label = (*path, name), name
        while len(below) == 1 and here not in shapes:
            [(name, below)] = below.items()
            here, label = (*here, name), f"{label}.{name}"
        shape = f"  {shapes[here]}" if here in shapes else ""
        yield f"{indent}{'└── ' if is_last else '├── '}{label}{shape}".rstrip()
        yield from _branches(below, here, indent + ("    " if is_last else "│   "), shapes)
