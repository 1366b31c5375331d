"""A mapping in two: what a framework's config cannot say is done once, by a conversion; it says the rest.

Between the two stand the tensors of the source, under their own names, but for those that the conversion
has made: they have their final names already. That both together are the whole is proven on the key set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.made import Made, renamed
from mapcc.emit.emitted import Emitted
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.printer import print_mapping
from mapcc.lift.statements import statement
from mapcc.lift.tails import Names, bounded, is_exact, with_tails
from mapcc.lift.templates import Draft, drafts
from mapcc.passes.check import Setting, bind
from mapcc.passes.compose import composed
from mapcc.passes.difference import differences
from mapcc.passes.invert import inlined
from mapcc.passes.origins import result_of
from mapcc.syntax.load import Loader, parse_source
from mapcc.tensors.spec import Manifest
from mapcc.text import Source, Span

Emit = Callable[[BoundMapping], Emitted[object]]
_Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Residual:
    """The two halves, as texts; ``config`` says what ``rest`` says.

    Attributes:
        conversion: "" if the config alone says all of the mapping.
        tensors: how many tensors the conversion makes; the others only pass through it.
    """

    conversion: str
    rest: str
    config: str
    tensors: int = 0


def residual(bound: BoundMapping, path: Path, emit: Emit, settings: dict[str, Setting]) -> Residual:
    """Split a bound mapping for a back end.

    Raises:
        MappingError: MC601: there is nothing left for the config to say; or what is left, said by itself,
            is not the same.
    """
    bound = _in_one_file(bound, path, settings)
    whole = emit(bound)
    if whole.ok:
        return Residual("", print_mapping(bound.program.mapping), whole.text)
    once = _closed(_places(whole.diagnostics, bound), bound)
    refused: Sequence[Diagnostic] = whole.diagnostics
    while once:
        try:
            split = _Split(bound, path, once, settings)
        except _Unfit as unfit:
            refused, more = unfit.diagnostics, _places(unfit.diagnostics, bound)
        else:
            emitted = emit(split.rest)
            if emitted.ok and not (wrong := split.wrong()):
                return Residual(split.conversion_text, split.rest_text, emitted.text, split.count)
            if not emitted.ok:
                refused, more = emitted.diagnostics, _places(emitted.diagnostics, bound)
            else:
                refused = [_not_the_whole(wrong)]
                more = {_place(bound.given[n][0].equation.span) for n in wrong if n in bound.given}
        # A rule that cannot be said behind the conversion belongs into it.
        if more <= once:
            break
        once = _closed(once | more, bound)
    raise MappingError(refused)


def _in_one_file(bound: BoundMapping, path: Path, settings: dict[str, Setting]) -> BoundMapping:
    """With the rules of the files that it uses: each half is to stand by itself, in another folder."""
    mapping = bound.program.mapping
    whole = inlined(mapping, path, Loader(Diagnostics()))
    if whole == mapping:
        return bound
    found = Diagnostics()
    source = Source(f"{path.stem}, with the files that it uses.mapcc", print_mapping(whole))
    again = bind(parse_source(source, found), path, bound.source, bound.target, settings, found)
    assert again is not None
    return again


class _Unfit(Exception):
    """One of the two halves does not check clean."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__()
        self.diagnostics = diagnostics


def _places(diagnostics: Iterable[Diagnostic], bound: BoundMapping) -> set[_Place]:
    """The statements that findings speak of; in a half, a statement is found by its text."""
    program = bound.program
    own = [each.span for each in (*program.equations, *program.creates)]
    by_text = {_plain(span): span for span in (*own, *(drop.span for drop in program.drops))}
    spans = [
        span
        for d in diagnostics
        for span in (d.span, *(label.span for label in d.related))
        if span is not None
    ]
    return {_place(by_text[_plain(span)]) for span in spans if _plain(span) in by_text}


def _plain(span: Span) -> str:
    """The text without the spaces that a printer chooses."""
    return "".join(span.text.split())


def _not_the_whole(names: Sequence[str]) -> Diagnostic:
    message = "the two parts together are not the whole mapping"
    return Diagnostic("MC601", message, names=tuple(fold(names)), help="mapcc convert does all of it at once")


def _place(span: Span) -> _Place:
    return span.source.name, span.start, span.end


def _closed(once: set[_Place], bound: BoundMapping) -> set[_Place]:
    """With the rules that must go along: those that share a tensor, or give a name that still stands."""
    while True:
        final: set[str] = set()
        taken: set[str] = set()
        for instance in bound.instances:
            if _place(instance.equation.span) in once:
                final.update(name for name in instance.targets if name)
                taken.update(name for operand in instance.sources for name in operand)
        more = set(once)
        for instance in bound.instances:
            names = {name for operand in instance.sources for name in operand}
            place = _place(instance.equation.span)
            if names & taken or names & final:
                more.add(place)
        if more == once:
            return once
        once = more


class _Split:
    """The two mappings, printed, parsed and bound again."""

    def __init__(
        self, bound: BoundMapping, path: Path, once: set[_Place], settings: dict[str, Setting]
    ) -> None:
        self.bound = bound
        tails = bound.program.separators == (".", ".")  # what `*` takes depends on it
        mapping = bound.program.mapping
        done = [i for i in bound.instances if _place(i.equation.span) in once]
        final = [name for instance in done for name in instance.targets if name]
        self.count = len(final)
        taken = {name for instance in done for operand in instance.sources for name in operand}
        kept = [name for name in bound.source.tensors if name not in taken and name not in bound.dropped]
        if not kept:
            help = "mapcc convert does all of it"
            raise MappingError([Diagnostic("MC601", "a config has nothing left to say", help=help)])
        self.conversion_text = _printed(
            mapping,
            "conversion",
            lambda each: _is_done(each, once),
            _keeps(kept, bound.source.tensors, "# The config gives these their names.", tails),
            "the part that is done once",
        )
        first = _bound(self.conversion_text, path, bound.source, settings)
        self.first = result_of(first)
        between = replace(self.first.keys(), config=bound.source.config)
        self.rest_text = _printed(
            mapping,
            "rest",
            lambda each: not _is_done(each, once),
            _keeps(final, between.tensors, "# The conversion has made these.", tails),
            "the part that a config says",
        )
        self.rest = _bound(self.rest_text, path, between, settings)

    def wrong(self) -> list[str]:
        """Targets that the two halves together do not give as the whole does."""
        found = differences(self.bound, composed(self.first, self.rest))
        return [*found.only_a, *found.only_b, *(difference.name for difference in found.differing)]


def _bound(text: str, path: Path, source: Manifest, settings: dict[str, Setting]) -> BoundMapping:
    found = Diagnostics()
    mapping = parse_source(Source(str(path.with_suffix(".mapcc")), text), found)
    bound = None if found.errors else bind(mapping, path, source, None, settings, found, Loader(found))
    if bound is None or found.errors:
        whole = list(_spans(mapping.body))
        raise _Unfit([_widened(d, whole) for d in found if d.exit_code])
    return bound


def _spans(body: Iterable[rules.Statement]) -> Iterator[Span]:
    for each in body:
        if isinstance(each, rules.Block | rules.Default):
            yield from _spans(each.body)
        elif each.span is not None:
            yield each.span


def _widened(diagnostic: Diagnostic, statements: Sequence[Span]) -> Diagnostic:
    """At the whole statement, where it was at a word of one."""
    at = diagnostic.span
    found = [whole for whole in statements if at and whole.start <= at.start and at.end <= whole.end]
    return replace(diagnostic, span=found[0]) if found else diagnostic


# --- statements


def _is_done(each: rules.Statement, once: set[_Place]) -> bool:
    """Whether a statement belongs to the conversion alone."""
    match each:
        case rules.Drop() | rules.Create():
            return True
        case _:
            return each.span is not None and _place(each.span) in once


def _filtered(
    body: Iterable[rules.Statement], wanted: Callable[[rules.Statement], bool]
) -> Iterator[rules.Statement]:
    """The rules that are wanted, in their blocks; what is no rule stands in both halves."""
    for each in body:
        match each:
            case rules.Let() | rules.Separator() | rules.OutputDtype():
                yield each
            case rules.About():
                pass  # said of the whole mapping
            case rules.External():
                pass  # a claim on the model's keys, against which neither half is held
            case rules.Block() | rules.Default():
                inner = tuple(_filtered(each.body, wanted))
                if inner:
                    yield replace(each, body=inner)
            case _:
                if wanted(each):
                    yield each


def _keeps(
    names: Iterable[str], among: Iterable[str], comment: str, tails: bool
) -> Iterator[rules.Statement]:
    mades: list[Made] = [renamed(name, name) for name in names]
    every = Names(among)
    exact: list[Draft] = []
    for draft in drafts(mades):
        kept = draft if is_exact(draft, every) else bounded(draft, every)
        exact += (
            [kept]
            if kept
            else [one for m in mades if m.left[0].names[0] in draft.names for one in drafts([m])]
        )
    for at, draft in enumerate(with_tails(exact, every) if tails else exact):
        yield statement(draft, () if at else ("", comment))


def _printed(
    mapping: rules.Mapping,
    part: str,
    wanted: Callable[[rules.Statement], bool],
    keeps: Iterable[rules.Statement],
    what: str,
) -> str:
    header = (f"# Written by mapcc: {what}.",)
    name = f"{mapping.name}_{part}" if mapping.name else None
    body = (*_filtered(mapping.body, wanted), *keeps)
    return print_mapping(rules.Mapping(name, None, body, trivia=rules.Trivia(header)))
