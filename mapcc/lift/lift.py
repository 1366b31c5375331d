"""A table and its key sets to a mapping: rules that take and give what the framework's engine does.

Names are generalised by comparing them (:mod:`mapcc.lift.templates`), and no further than the key set
proves: what is printed is bound to it again and held against the engine, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.made import Made, Operand, Outcome, Table
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.printer import print_mapping
from mapcc.lift.statements import dropped, mapping_of, statement
from mapcc.lift.tails import Names, bounded, is_exact, with_tails
from mapcc.lift.templates import Draft, drafts
from mapcc.passes.check import bind
from mapcc.syntax.load import parse_source
from mapcc.tensors.spec import Manifest, name_faults
from mapcc.text import Source

_EMPTY = "two '.' in a row, or one at an end"


@dataclass(frozen=True, slots=True)
class Lifted:
    """The result of :func:`lift`.

    Attributes:
        text: the mapping; ``mapping`` is the same, parsed.
        outcome: what the engine makes of the key set, its faults included.
        bound: the mapping held against the source; its findings are ``diagnostics``.
        origins: the table's entries of every statement of ``mapping.body``, in its order.
    """

    text: str
    mapping: rules.Mapping
    outcome: Outcome
    bound: BoundMapping
    diagnostics: tuple[Diagnostic, ...]
    origins: tuple[tuple[int, ...], ...]


class NotLifted(Exception):
    """What was written does not mean what the engine does: a fault of mapcc's."""


def lift(table: Table, source: Manifest, target: Manifest | None = None, name: str = "") -> Lifted:
    """The mapping that does to ``source`` what the table's engine does.

    Args:
        target: the model's keys, where the engine asks them.
        name: of the mapping.

    Raises:
        MappingError: MC209: a name comes out that no tensor can have.
        NotLifted: a fault of mapcc's.
    """
    outcome = table.run(source, target)
    _check_names(outcome)
    names = Names(source.tensors)
    wrong: list[str] = []
    for literal in (False, True):
        made = _drafts(outcome.made, names, literal)
        written = list(_body(table, made, outcome, source))
        body = [statement for statement, _ in written]
        text = print_mapping(mapping_of(body, name, _header(table, source)))
        found = Diagnostics()
        mapping = parse_source(Source(f"{name or table.dialect}.mapcc", text), found)
        if not found.errors:
            bound = bind(mapping, Path(f"{name or table.dialect}.mapcc"), source, None, {}, found)
            # Shapes that do not fit end the framework's loader, too: they are told apart from the names.
            errors = [diagnostic for diagnostic in found if diagnostic.exit_code]
            unfit = [diagnostic for diagnostic in errors if int(diagnostic.code[2:]) // 100 == 3]
            wrong = [d.message for d in errors if d not in unfit] or _different(bound, outcome, bool(unfit))
            if not wrong:
                origins = tuple(entries for _, entries in written)
                return Lifted(text, mapping, outcome, bound, tuple(found), origins)
        else:
            wrong = [diagnostic.message for diagnostic in found]
    raise NotLifted(f"{table.dialect}: {'; '.join(wrong[:3])}")


def _check_names(outcome: Outcome) -> None:
    """Names that no tensor, or no mapping, can have: a table makes them by a wrong replacement."""
    given = [name for made in outcome.made for name in _names(made.right)]
    faults = name_faults(given) | {name: _EMPTY for name in given if "" in name.split(".")}
    if faults:
        wrong = [made for made in outcome.made if any(name in faults for name in _names(made.right))]
        takers = [name for made in wrong for name in _names(made.left)]
        name, rule = next(iter(faults.items()))
        message = f"the table makes {name!r}, which is not a name that a tensor can have: {rule}"
        raise MappingError([Diagnostic("MC209", message, names=tuple(fold(takers)))])


def _drafts(mades: Sequence[Made], names: Names, literal: bool) -> list[Draft]:
    if literal:
        return [draft for made in mades for draft in drafts([made], labelled=True)]
    exact: list[Draft] = []
    for draft in drafts(mades):
        if is_exact(draft, names):
            exact.append(draft)
        elif (kept := bounded(draft, names)) is not None:
            exact.append(kept)
        else:
            exact += _narrower(draft, mades, names)
    return with_tails(exact, names)


def _narrower(draft: Draft, mades: Sequence[Made], names: Names) -> list[Draft]:
    """What a draft stands for, with the members of its axes by their names; or each equation alone."""
    own = [m for m in mades if any(name in draft.names for o in m.left for name in o.names)]
    labelled = drafts(own, labelled=True)
    if all(is_exact(one, names) for one in labelled):
        return labelled
    return [one for made in own for one in drafts([made], labelled=True)]


# --- statements in the order of the table


def _body(
    table: Table, made: Sequence[Draft], outcome: Outcome, source: Manifest
) -> Iterator[tuple[rules.Statement, tuple[int, ...]]]:
    written: set[tuple[int, ...]] = set()
    passing = [draft for draft in made if not draft.entries]
    for draft in sorted((d for d in made if d.entries), key=lambda d: d.entries[-1:]):
        notes = () if draft.entries in written else _notes(table, draft.entries)
        written.add(draft.entries)
        yield statement(draft, notes), draft.entries
    for number, names in _by_entry(outcome.dropped).items():
        yield dropped(names, f"{table.dialect} leaves it out", _notes(table, (number,))), (number,)
    for message, names in _lost(outcome, source):
        yield dropped(names, message, (f"# {table.dialect} loses these:",)), ()
    for at, draft in enumerate(passing):
        yield statement(draft, ("", "# no entry matches these: they pass through") if not at else ()), ()


def _notes(table: Table, entries: Iterable[int]) -> tuple[str, ...]:
    lines = []
    for number in entries:
        entry = table.entries[number]
        line = f"line {entry.span.line}: " if entry.span else ""
        lines.append(f"# {line}{ascii_line(entry.text)}")
    return ("", *lines)


def ascii_line(text: str) -> str:
    """Text of a table for a comment: one line of plain characters.

    >>> ascii_line("a\\nb")
    'a\\\\nb'
    """
    return "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text)[:160]


def _by_entry(names: dict[str, int]) -> dict[int, list[str]]:
    out: dict[int, list[str]] = {}
    for name, number in names.items():
        out.setdefault(number, []).append(name)
    return out


def _lost(outcome: Outcome, source: Manifest) -> Iterator[tuple[str, list[str]]]:
    """Tensors that the engine takes and gives nowhere, with the reason."""
    taken = {name for made in outcome.made for operand in made.left for name in operand.names}
    taken.update(outcome.dropped)
    for fault in outcome.faults:
        names = [name for name in fault.names if name not in taken and name in source.tensors]
        if names:
            taken.update(names)
            yield fault.message, names


def _header(table: Table, source: Manifest) -> tuple[str, ...]:
    count = len(source.tensors)
    return (
        f"# Imported by mapcc from a table of {table.dialect}, for the {count} names of its source:",
        "# each gets the name that the table's engine gives it.",
    )


# --- the proof


def _different(bound: BoundMapping, outcome: Outcome, unfit: bool) -> list[str]:
    """Sources of which the mapping makes something else than the engine, or, unless ``unfit``, nothing."""
    wanted = {_key(made.left): set(_names(made.right)) for made in outcome.made}
    given: dict[frozenset[str], set[str]] = {}
    for instance in bound.instances:
        key = frozenset(name for operand in instance.sources for name in operand)
        given.setdefault(key, set()).update(instance.targets)
    every = given.keys() if unfit else wanted.keys() | given.keys()
    return fold(name for key in every if wanted.get(key) != given.get(key) for name in sorted(key))


def _key(operands: Iterable[Operand]) -> frozenset[str]:
    return frozenset(_names(operands))


def _names(operands: Iterable[Operand]) -> Iterator[str]:
    return (name for operand in operands for name in operand.names)
