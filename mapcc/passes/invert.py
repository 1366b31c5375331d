"""The inverse as a mapping: written by reversing each statement, proven against the moves.

A textual inversion can go wrong silently: patterns of the right side may overlap, ``exists`` would
ask the wrong side. So the text is bound backwards, and printed only if its moves are the
original's, reversed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics, Label
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.ir.expr import Count, Expr, leaves
from mapcc.ir.notation import print_condition
from mapcc.ir.patterns import EMPTY, Index, Pattern
from mapcc.ir.printer import print_mapping
from mapcc.passes.check import Setting, bind
from mapcc.passes.moves import normal_form, same, simplify_dims
from mapcc.passes.paths import PathIndex
from mapcc.passes.reverse import ASK_WHAT_IS_RENAMED, Reverser, scope_of, turned
from mapcc.passes.verdict import Kind, verdicts
from mapcc.syntax.load import Loader
from mapcc.syntax.parser import parse
from mapcc.text import Source, Span

# source name, target name, and where the elements lie
Pair = tuple[str, str]
Places = dict[Pair, tuple[Move, ...]]


@dataclass(frozen=True, slots=True)
class Inverted:
    """An inverse.

    Attributes:
        mapping: the inverse; ``text`` is how it prints.
        warnings: what does not come back (``MC702``).
        proven: its moves were compared with the original's.
    """

    mapping: rules.Mapping
    text: str
    warnings: tuple[Diagnostic, ...]
    proven: bool


def invert_text(mapping: rules.Mapping, path: Path, loader: Loader) -> Inverted:
    """The inverse by its text alone; conditions that ask the source are refused.

    Raises:
        MappingError: a statement has no inverse.
    """
    reverser = Reverser(scope=scope_of(mapping))
    inverse = reverser.mapping(inlined(mapping, path, loader))
    _raise_faults(reverser)
    return Inverted(inverse, print_mapping(inverse), _warnings(reverser, ()), False)


def invert_bound(
    mapping: rules.Mapping,
    path: Path,
    bound: BoundMapping,
    loader: Loader,
    settings: Mapping[str, Setting] | None = None,
) -> Inverted:
    """The inverse of a bound mapping, proven.

    Raises:
        MappingError: a statement has no inverse, or the text means something else when bound.
    """
    try:
        return _inverted(mapping, path, bound, loader, settings or {}, frozenset())
    except MappingError as error:
        # Of two variants, one is for sources that have what an `exists` asks for: here the other is idle.
        idle = _idle(bound)
        if not idle or not _asks(bound):
            raise
        try:
            return _inverted(mapping, path, bound, loader, settings or {}, idle)
        except MappingError:
            raise error from None


def _inverted(
    mapping: rules.Mapping,
    path: Path,
    bound: BoundMapping,
    loader: Loader,
    settings: Mapping[str, Setting],
    idle: frozenset[Span],
) -> Inverted:
    reverser = Reverser(
        proven=True,
        idle=idle,
        dtypes=_source_dtypes(bound),
        counts=_counts(bound),
        matched={listed.span for listed in bound.dropped.values()},
        scope=scope_of(mapping, settings),
    )
    inverse = reverser.mapping(inlined(mapping, path, loader))
    _raise_faults(reverser)
    text = print_mapping(inverse)
    _prove(text, path, bound, settings, reverser.left_out)
    return Inverted(inverse, text, _warnings(reverser, _losses(bound)), True)


def _idle(bound: BoundMapping) -> frozenset[Span]:
    """Where the rules stand, and the names of ``keep``, that take nothing of this source."""
    live = {instance.equation.statement.span for instance in bound.instances}
    spans = (equation.statement.span for equation in bound.program.equations)
    return frozenset(span for span in spans if span is not None and span not in live)


def _asks(bound: BoundMapping) -> bool:
    """Whether some rule asks the source for what it has."""
    conditions = (each for equation in bound.program.equations for each in equation.conditions)
    return any(isinstance(condition, rules.Exists) for condition in conditions)


def _raise_faults(reverser: Reverser) -> None:
    if reverser.faults:
        raise MappingError(reverser.diagnostics())


def _warnings(reverser: Reverser, losses: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    own = (Diagnostic("MC702", message, span) for message, span in reverser.warnings)
    return (*own, *losses)


def _losses(bound: BoundMapping) -> list[Diagnostic]:
    out: list[Diagnostic] = []
    results = verdicts(bound)
    for equation in bound.program.equations:
        result = results[equation.number]
        if result.kind is Kind.LOSSY:
            diagnostic = Diagnostic("MC702", "; ".join(result.reasons), equation.span)
            if diagnostic not in out:
                out.append(diagnostic)
    return out + _dropped(bound)


def _dropped(bound: BoundMapping) -> list[Diagnostic]:
    """What ``drop`` left out does not come back."""
    by_statement: dict[Span, list[str]] = {}
    for name, listed in bound.dropped.items():
        if name in bound.copies:
            continue  # it comes back with what it is a copy of
        by_statement.setdefault(listed.span, []).append(name)
    return [
        Diagnostic("MC702", "dropped tensors do not come back", span, names=tuple(fold(names)))
        for span, names in by_statement.items()
    ]


# --- used files, types and counts


def inlined(mapping: rules.Mapping, path: Path, loader: Loader) -> rules.Mapping:
    """The mapping with the rules of the files that it uses, in blocks where they stand under prefixes.

    Lets of those files go to the top, as a block has none.

    Raises:
        MappingError: one of them cannot be read, or has no inverse where that is used.
    """

    def body(
        statements: Iterable[rules.Statement], at: Path, chain: tuple[Path, ...]
    ) -> tuple[rules.Statement, ...]:
        out: list[rules.Statement] = []
        for statement in statements:
            match statement:
                case rules.Use(_, left, right, modifiers, inverse):
                    opened = loader.used(statement, at, chain)
                    if opened is None:
                        continue
                    inner = body(opened[1].body, opened[0], (*chain, opened[0]))
                    if inverse:
                        inner = turned(replace(opened[1], body=inner), loader.found).body
                    out += (s for s in inner if isinstance(s, rules.Let))
                    rest = tuple(s for s in inner if not isinstance(s, rules.Let | rules.About))
                    if left.parts or right.parts or modifiers != rules.NO_MODIFIERS:
                        out.append(
                            rules.Block(
                                left, right, rest, modifiers, span=statement.span, trivia=statement.trivia
                            )
                        )
                    else:
                        out += rest
                case rules.Block() | rules.Default():
                    inner = body(statement.body, at, chain)
                    out += (s for s in inner if isinstance(s, rules.Let))
                    inside = tuple(s for s in inner if not isinstance(s, rules.Let))
                    out.append(replace(statement, body=inside))
                case _:
                    out.append(statement)
        return tuple(out)

    found = loader.found
    before = len(found)
    loader.begin(mapping)
    whole = replace(mapping, body=tuple(_each_let_once(body(mapping.body, path, (path,)), found)))
    if len(found) > before:
        raise MappingError(list(found)[before:])
    return whole


def _each_let_once(body: Iterable[rules.Statement], found: Diagnostics) -> Iterator[rules.Statement]:
    """Two files may mean two things by one name, and here they are one file."""
    said: dict[str, Expr] = {}
    for statement in body:
        if not isinstance(statement, rules.Let) or statement.name not in said:
            yield statement
        elif said[statement.name] != statement.value:
            message = f"two files have a 'let {statement.name}', of different values"
            help = "give one of them another name"
            found.add(Diagnostic("MC701", message, statement.span, help=help))
        if isinstance(statement, rules.Let):
            said.setdefault(statement.name, statement.value)


def _source_dtypes(bound: BoundMapping) -> dict[int, str]:
    """The one floating-point type of the source (under 0), and of each rule's tensors."""
    out: dict[int, str] = {}
    overall = {
        spec.dtype.short
        for spec in bound.source.tensors.values()
        if spec.dtype and spec.dtype.kind == "float"
    }
    if len(overall) == 1:
        out[0] = overall.pop()
    kinds: dict[int, set[str]] = {}
    for instance in bound.instances:
        for operand in instance.sources:
            for name in operand:
                dtype = bound.source.tensors[name].dtype
                if dtype is not None:
                    kinds.setdefault(id(instance.equation.statement), set()).add(dtype.short)
    out.update((statement, found.pop()) for statement, found in kinds.items() if len(found) == 1)
    return out


def _counts(bound: BoundMapping) -> dict[Pattern, int]:
    """What ``count(P)`` was, where it was the same number for every instance."""
    index = PathIndex(bound.source.tensors, bound.program.separators[0])
    out: dict[Pattern, int] = {}
    for equation in bound.program.equations:
        for condition in equation.conditions:
            if not isinstance(condition, rules.Compare):
                continue
            for leaf in (leaf for operand in condition.operands for leaf in leaves(operand)):
                if isinstance(leaf, Count) and not any(
                    isinstance(p, Index) for p in (leaf.prefix or EMPTY).parts
                ):
                    out[leaf.pattern] = index.count(leaf.prefix or EMPTY, leaf.pattern, {})
    return out


# --- the proof


def _prove(
    text: str,
    path: Path,
    bound: BoundMapping,
    settings: Mapping[str, Setting],
    left_out: Sequence[rules.Exists],
) -> None:
    assert bound.target is not None
    found = Diagnostics()
    parsed = parse(Source(f"inverse of {path.name}", text), found)
    backwards = bind(parsed, path, bound.target, bound.source, settings, found) if not found.errors else None
    problems = [d for d in found if d.exit_code and d.code != "MC409"]
    if problems or backwards is None:
        notes = tuple(
            f"{d.code}: {d.message}" + (f" ({d.names[0]})" if d.names else "") for d in problems[:8]
        )
        raise MappingError(_unbound(problems, notes, bound, left_out))
    forward, reverse = places(bound.instances, swap=False), places(backwards.instances, swap=True)
    wrong = sorted(
        {
            source
            for (source, target), where in reverse.items()
            # A copy that was dropped comes back from where its original went.
            if not same(forward.get((bound.copies.get(source, source), target), ()), where)
        }
    )
    if wrong:
        message = "the inverse, written as a mapping, moves elements elsewhere"
        raise MappingError([Diagnostic("MC701", message, names=tuple(fold(wrong)))])


def _unbound(
    problems: Sequence[Diagnostic],
    notes: tuple[str, ...],
    bound: BoundMapping,
    left_out: Sequence[rules.Exists],
) -> list[Diagnostic]:
    """MC701 at the questions that the inverse cannot ask; if it asks all, at the rules that are at fault."""
    if left_out:
        return [
            Diagnostic(
                "MC701",
                f"{print_condition(asked)} asks the source, which the inverse does not have, "
                "and without it the inverse does not bind",
                asked.span,
                notes=notes,
                help=f"write a mapping for each of the two variants, {ASK_WHAT_IS_RENAMED}",
            )
            for asked in left_out
        ]
    spans = list(dict.fromkeys(span for d in problems for name in d.names for span in _rules_of(name, bound)))
    return [
        Diagnostic(
            "MC701",
            "the inverse, written as a mapping, does not bind",
            spans[0] if spans else None,
            related=tuple(Label(span, "and this rule") for span in spans[1:4]),
            notes=notes,
            help="rules whose right sides overlap, or that drop pieces, have no textual inverse",
        )
    ]


def _rules_of(template: str, bound: BoundMapping) -> Iterator[Span]:
    """The rules that give or take the first of some folded names."""
    name = re.sub(r"\{([^{},]*?)(?:\.\.|,)[^{}]*\}", r"\1", template)
    for each in dict.fromkeys((template, name)):
        if each in bound.given:
            yield bound.given[each][0].equation.span
        yield from (instance.equation.span for instance in bound.taken.get(each, ()))


def places(instances: Iterable[Instance], swap: bool) -> Places:
    """Where the elements of each pair of tensors lie, in one canonical form."""
    moves: dict[Pair, list[Move]] = {}
    for instance in instances:
        for move in instance.layout.moves:
            operand = instance.sources[move.source]
            if not operand:
                continue
            a, b = operand[-1], instance.targets[move.target]
            dims, at, to = move.dims, move.source_offset, move.target_offset
            if swap:
                a, b, at, to = b, a, to, at
                dims = simplify_dims((size, y, x) for size, x, y in dims)
            moves.setdefault((a, b), []).append(Move(0, at, 0, to, dims))
    return {pair: normal_form(found) for pair, found in moves.items()}
