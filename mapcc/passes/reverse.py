"""A mapping read from right to left: every statement's own inverse, where it has one."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.ir.expr import Binary, Config, Count, Expr, Name, Negative, Number
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import (
    Group,
    Index,
    Part,
    Pattern,
    Regex,
    UnpairedGroups,
    count_copies,
    expand_groups,
    walk,
)
from mapcc.ir.program import LetValue, Scope
from mapcc.ir.values import STRUCTURAL_OPS
from mapcc.passes.copies import MAX_COPIES
from mapcc.passes.segments import name_axes
from mapcc.passes.sugar import lower_sugar
from mapcc.text import Span

_OTHER = {"source": "target", "target": "source"}


ASK_WHAT_IS_RENAMED = "or ask for what a rule of the same block renames, by that rule's left side"


class NoInverse(Exception):
    """Why a statement has none."""

    def __init__(self, message: str, span: Span | None, help: str = "") -> None:
        super().__init__(message)
        self.span = span
        self.help = help


def scope_of(mapping: rules.Mapping, settings: Mapping[str, int | float | str] | None = None) -> Scope:
    """The lets at the top of a file."""
    scope = Scope(overrides=settings or {})
    for statement in mapping.body:
        if isinstance(statement, rules.Let):
            scope.lets[statement.name] = LetValue(statement.value, statement.span, scope)
    return scope


def turned(mapping: rules.Mapping, found: Diagnostics) -> rules.Mapping:
    """A used file, read from right to left; what has no inverse is reported, and left out."""
    reverser = Reverser(scope=scope_of(mapping))
    inverse = reverser.mapping(mapping)
    found.extend(reverser.diagnostics())
    return inverse


@dataclass(slots=True)
class Reverser:
    """Reverses statements; what cannot be reversed is gathered in ``faults``.

    Attributes:
        proven: key sets will prove the result, so that ``exists`` may be left out.
        dtypes: the types that casts are undone to, by statement; empty without key sets.
        counts: what ``count(P)`` was in the bound mapping, where it was one number.
        matched: the names of ``drop`` that match something, as they are written; None without key sets.
        idle: where rules stand that take nothing of the key sets, and that are left out.
        left_out: the questions that the inverse does not ask.
    """

    proven: bool = False
    dtypes: dict[int, str] = field(default_factory=dict)
    counts: dict[Pattern, int] = field(default_factory=dict)
    matched: Container[Span] | None = None
    idle: Container[Span | None] = frozenset()
    scope: Scope = field(default_factory=Scope)
    _renames: dict[Pattern, Pattern] = field(default_factory=dict)
    _rule_id: int = 0
    # The copies that are dropped, by the rule of what they are copies of: they come back with it.
    _copies: dict[int, list[Pattern]] = field(default_factory=dict)
    faults: list[NoInverse] = field(default_factory=list)
    left_out: list[rules.Exists] = field(default_factory=list)
    warnings: list[tuple[str, Span | None]] = field(default_factory=list)

    def diagnostics(self) -> Iterator[Diagnostic]:
        for fault in self.faults:
            yield Diagnostic("MC701", f"the rule has no inverse: {fault}", fault.span, help=fault.help)

    def mapping(self, mapping: rules.Mapping) -> rules.Mapping:
        name = mapping.name
        if name is not None:
            name = name.removesuffix("_inverse") if name.endswith("_inverse") else f"{name}_inverse"
        body = self.body(mapping.body)
        return replace(mapping, name=name, title=_title(mapping.title), body=body)

    def body(self, body: Sequence[rules.Statement]) -> tuple[rules.Statement, ...]:
        out: list[rules.Statement] = []
        outer, self._renames = self._renames, dict(_renames(body))
        body, copies = _with_copies(body, self.matched)
        around, self._copies = self._copies, copies
        for statement in self._live(body):
            try:
                out += self._statement(statement)
            except NoInverse as fault:
                self.faults.append(NoInverse(str(fault), fault.span or statement.span, fault.help))
        self._renames, self._copies = outer, around
        return tuple(out)

    def _live(self, body: Iterable[rules.Statement]) -> Iterator[rules.Statement]:
        """Without the rules that take nothing of the key sets, where these are left out."""
        for statement in body:
            match statement:
                case rules.Rule() if statement.span in self.idle:
                    pass
                case rules.Keep(names) if any(name.span in self.idle for name in names):
                    rest = tuple(name for name in names if name.span not in self.idle)
                    yield from [replace(statement, names=rest)] if rest else []
                case _:
                    yield statement

    def _statement(self, statement: rules.Statement) -> list[rules.Statement]:
        match statement:
            case rules.Rule():
                return self._rule(statement)
            case rules.Block(left, right, body, modifiers):
                regexes = _regexes([left])
                return [
                    replace(
                        statement,
                        left=_changed(right, lambda part: _as_pattern(part, regexes)),
                        right=_changed(left, _as_word),
                        body=self.body(body),
                        modifiers=self._modifiers(modifiers),
                    )
                ]
            case rules.Default(body):
                return [replace(statement, body=self.body(body))]
            case rules.About(topic, text):
                return _about(statement, topic, text)
            case rules.Let(_, value):
                return [replace(statement, value=self._expr(value))]
            case rules.Separator(side, _):
                return [replace(statement, side=_OTHER[side])]
            case rules.Keep():
                return [replace(statement, modifiers=self._modifiers(statement.modifiers))]
            case rules.Drop(names, because, same_as=Pattern() as same):
                return self._copies_elsewhere(statement, same)
            case rules.Drop(names, because):
                return [self._listed(rules.External, names, because, statement)]
            case rules.External(names, because, _):
                return [self._listed(rules.Drop, names, because, statement)]
            case rules.Create(names):
                return [self._listed(rules.Drop, names, "created by the forward mapping", statement)]
            case rules.OutputDtype():
                return self._output_dtype(statement)
            case rules.Use(_, left, right, modifiers, inverse):
                modifiers = self._modifiers(modifiers)
                return [replace(statement, left=right, right=left, modifiers=modifiers, inverse=not inverse)]

    def _copies_elsewhere(self, statement: rules.Drop, same: Pattern) -> list[rules.Statement]:
        """Copies that no rule gives again: of one that is for other tensors, too, it cannot be said.

        Raises:
            NoInverse: they are copies for some tensors, or perhaps: then others would not be.
        """
        modifiers = statement.modifiers
        if modifiers.optional and self.matched is None:
            message = "whether there is a copy is asked of the source, which the inverse does not have"
            raise NoInverse(message, statement.span, "give both key sets")
        if modifiers.where:
            message = f"copies of {print_name(same)} come back from its rule, and its conditions are others"
            help = "write the rule in two, of which one has the conditions of the 'drop'"
            raise NoInverse(message, statement.span, help)
        message = f"what is dropped as a copy does not come back: {print_name(same)} has no rule of its own"
        self.warnings.append((message, statement.span))
        return [self._listed(rules.External, statement.names, statement.because, statement)]

    def _listed(
        self,
        kind: type[rules.Drop] | type[rules.External],
        names: tuple[Pattern, ...],
        because: str,
        statement: rules.Drop | rules.External | rules.Create,
    ) -> rules.Drop | rules.External:
        """What one side leaves out, the other side has from elsewhere."""
        modifiers = self._modifiers(statement.modifiers)
        return kind(names, because, modifiers, span=statement.span, trivia=statement.trivia)

    def _output_dtype(self, statement: rules.OutputDtype) -> list[rules.Statement]:
        dtype = self.dtypes.get(0)
        if dtype is None:
            self.warnings.append(("the types of the source are not restored", statement.span))
            return []
        return [rules.OutputDtype(dtype, span=statement.span, trivia=statement.trivia)]

    # --- rules

    def _rule(self, rule: rules.Rule) -> list[rules.Statement]:
        self._rule_id = id(rule)
        modifiers = self._modifiers(rule.modifiers)
        named = self._named(rule)
        if named is not None:
            return [_with_words_on_the_right(rule, *named, modifiers)]
        if any(op.name in STRUCTURAL_OPS for term in rule.left for op in _ops(term)):
            rule = self._with_axes(rule)
            modifiers = self._modifiers(rule.modifiers)
        left, right, copies = self._sides(rule)
        if again := self._copies.get(id(rule)):
            (kept,) = right
            assert isinstance(kept, rules.Tensor)
            right = (kept, *(replace(kept, name=name) for name in again))
        return [_with_words_on_the_right(rule, left, right, modifiers), *copies]

    def _with_axes(self, rule: rules.Rule) -> rules.Rule:
        """A named operation that no other one undoes, as axes."""
        lowered = lower_sugar(list(rule.left), list(rule.right), self.scope, Diagnostics())
        if lowered is None:
            raise NoInverse("its operation does not fit its tensors", rule.span)
        left, right, conditions = lowered
        where = replace(rule.modifiers, where=rule.modifiers.where + conditions)
        return replace(rule, left=tuple(left), right=tuple(right), modifiers=where)

    def _sides(
        self, rule: rules.Rule
    ) -> tuple[tuple[rules.Term, ...], tuple[rules.Term, ...], list[rules.Statement]]:
        right = tuple(self._new_right(term) for term in rule.left)
        left: list[rules.Term] = []
        copies: list[rules.Statement] = []
        seen: dict[object, rules.Tensor] = {}
        for term in rule.right:
            if isinstance(term, rules.Dropped):
                message = f"the piece that is dropped ({term.because}) is lost"
                raise NoInverse(message, term.span, "give it a target of its own: rest.weight : ...")
            assert isinstance(term, rules.Tensor)
            key = (term.shape, tuple(axis.atom for axis in name_axes(term.name)))
            if len(rule.left) == 1 and key in seen:
                copies.append(self._copy(term, seen[key], rule))
                continue
            seen[key] = term
            left.append(self._new_left(term, rule))
        return tuple(left), right, copies

    def _copy(self, term: rules.Tensor, first: rules.Tensor, rule: rules.Rule) -> rules.Drop:
        """What stands twice on the right has to be equal, unless it was cast differently."""
        same = first.name if term.ops == first.ops and not name_axes(first.name) else None
        modifiers = self._modifiers(rule.modifiers)
        return rules.Drop((term.name,), "a copy", modifiers, same, span=rule.span)

    def _new_right(self, term: rules.Term) -> rules.Term:
        match term:
            case rules.Created(shape, _):
                return rules.Dropped(shape, "created by the forward mapping", span=term.span)
            case rules.Bundle():
                raise NoInverse(f"{term.ops[0].name} cannot be undone", term.span)
            case rules.Tensor():
                return replace(term, ops=())
            case _:
                return term

    def _new_left(self, term: rules.Tensor, rule: rules.Rule) -> rules.Tensor:
        ops = [op for t in rule.left if isinstance(t, rules.Tensor) for op in t.ops]
        if ops and any(_ops(t) != _ops(rule.left[0]) for t in rule.left):
            raise NoInverse("its sources have different operations", rule.span)
        first = _ops(rule.left[0])
        undone = [self._undo(op) for op in reversed((*first, *term.ops))]
        return replace(term, ops=tuple(op for op in undone if op is not None))

    def _undo(self, op: rules.Op) -> rules.Op | None:
        match op.name:
            case "add":
                return replace(op, arguments=(_negated(op.arguments[0]),))
            case "scale":
                argument = op.arguments[0]
                if isinstance(argument, tuple):
                    raise NoInverse("scale has a list", op.span)
                return replace(op, arguments=(Binary("/", Number(1), argument),))
            case "cast":
                dtype = self.dtypes.get(self._rule_id)
                if dtype is None:
                    self.warnings.append(("the type before a cast is not restored", op.span))
                    return None
                return replace(op, arguments=(Name(dtype),))
            case _:
                raise NoInverse(f"{op.name} cannot be undone", op.span)

    def _named(self, rule: rules.Rule) -> tuple[tuple[rules.Term, ...], tuple[rules.Term, ...]] | None:
        """Named operations that another one undoes."""
        term = rule.left[0]
        if len(rule.left) != 1 or not isinstance(term, rules.Tensor | rules.Bundle) or len(term.ops) != 1:
            return None
        (op,) = term.ops
        tensors = [t for t in rule.right if isinstance(t, rules.Tensor)]
        match op.name:
            case "transpose":
                other = op
            case "permute":
                other = replace(op, arguments=_undone(op))
            case "stack":
                other = replace(op, name="unstack")
            case "unstack":
                other = replace(op, name="stack")
            case "chunk" | "split":
                other = replace(op, name="cat", arguments=())
            case _:
                return None
        new_right: tuple[rules.Term, ...] = (
            (replace(term, ops=()),) if isinstance(term, rules.Tensor) else term.members
        )
        bare = tuple(replace(t, ops=()) for t in tensors)
        new_left: rules.Term = (
            replace(bare[0], ops=(other,)) if len(bare) == 1 else rules.Bundle(bare, None, (other,))
        )
        return (new_left,), new_right

    # --- conditions

    def _modifiers(self, modifiers: rules.Modifiers) -> rules.Modifiers:
        where = [c for condition in modifiers.where if (c := self._condition(condition)) is not None]
        return rules.Modifiers(modifiers.optional, tuple(where), modifiers.allow)

    def _condition(self, condition: rules.Condition) -> rules.Condition | None:
        match condition:
            case rules.Exists(pattern):
                if pattern in self._renames:
                    return replace(condition, pattern=self._renames[pattern])
                if not self.proven:
                    raise NoInverse(
                        "'exists' asks the source, which the inverse does not have: give both key sets",
                        condition.span,
                        ASK_WHAT_IS_RENAMED,
                    )
                self.left_out.append(condition)
                return None
            case rules.InRange(index, low, high):
                return replace(condition, index=self._expr(index), low=self._expr(low), high=self._expr(high))
            case rules.Compare(operands, _):
                return replace(condition, operands=tuple(self._expr(o) for o in operands))

    def _expr(self, expr: Expr) -> Expr:
        match expr:
            case Config(side, path):
                return Config(_OTHER[side], path, expr.span)
            case Binary(op, left, right):
                return Binary(op, self._expr(left), self._expr(right))
            case Negative(operand):
                return Negative(self._expr(operand))
            case Count(pattern):
                if pattern not in self.counts:
                    raise NoInverse(
                        "'count' asks the source, which the inverse does not have: give both key sets",
                        expr.span,
                    )
                return Number(self.counts[pattern])
            case _:
                return expr


def _with_copies(
    body: Sequence[rules.Statement], matched: Container[Span] | None
) -> tuple[list[rules.Statement], dict[int, list[Pattern]]]:
    """A body without the drops of copies that its rules can give again, and those by the rule's id.

    Args:
        matched: the names of ``drop`` that match something; None where no key set tells.
    """
    wanted: dict[_Asked, list[Pattern]] = {}
    for statement in body:
        if isinstance(statement, rules.Drop) and statement.same_as is not None:
            same = statement.same_as
            told = [name for name in _present(statement, matched) if _is_told(name, same)]
            if told:
                dropped = wanted.setdefault((same, statement.modifiers.where), [])
                dropped += [copy for name in told for copy in _each(name, same)]
    out: list[rules.Statement] = []
    copies: dict[int, list[Pattern]] = {}
    given: set[_Asked] = set()
    for statement in body:
        match statement:
            case rules.Rule((rules.Tensor(name),), modifiers=modifiers) if (
                asked := _asked(name, modifiers, wanted)
            ) and not _structural(statement):
                copies[id(statement)] = wanted[asked]
                given.add(asked)
                out.append(statement)
            case rules.Keep(names, modifiers) if any(_asked(name, modifiers, wanted) for name in names):
                rest = tuple(name for name in names if not _asked(name, modifiers, wanted))
                out += [replace(statement, names=rest)] if rest else []
                for name in names:
                    if kept := _asked(name, modifiers, wanted):
                        tensor = rules.Tensor(name, span=name.span)
                        rule = rules.Rule((tensor,), (tensor,), modifiers=modifiers, span=statement.span)
                        copies[id(rule)] = wanted[kept]
                        given.add(kept)
                        out.append(rule)
            case _:
                out.append(statement)
    return [rest for s in out for rest in _not_given(s, given, matched)], copies


# What copies are of, and under which conditions.
_Asked = tuple[Pattern, tuple[rules.Condition, ...]]


def _asked(name: Pattern, modifiers: rules.Modifiers, wanted: Container[_Asked]) -> _Asked | None:
    """Under the same conditions; or under none, which are those of every rule for that name."""
    asked = (name, modifiers.where), (name, ())
    return next((each for each in asked if each in wanted), None)


def _not_given(
    statement: rules.Statement, given: Container[_Asked], matched: Container[Span] | None
) -> Iterator[rules.Statement]:
    """A statement; of a ``drop`` of copies what does not come back, if there is some."""
    if not isinstance(statement, rules.Drop) or statement.same_as is None:
        yield statement
        return
    names = tuple(_present(statement, matched))
    if (statement.same_as, statement.modifiers.where) in given:
        names = tuple(name for name in names if not _is_told(name, statement.same_as))
    if names:
        yield replace(statement, names=names)
    elif statement.modifiers.optional and matched is None:
        yield statement


def _is_told(name: Pattern, same: Pattern) -> bool:
    """Whether what it is a copy of tells all its numbers."""
    told = {part.expr for part in walk(same.parts) if isinstance(part, Index)}
    return {part.expr for part in walk(name.parts) if isinstance(part, Index)} <= told


def _present(statement: rules.Drop, matched: Container[Span] | None) -> Iterator[Pattern]:
    """The names that the source has: of those that are optional, key sets tell it."""
    for name in statement.names:
        if not statement.modifiers.optional or (matched is not None and name.span in matched):
            yield name


def _each(name: Pattern, same: Pattern) -> Iterator[Pattern]:
    """A name that is one of several copies of one tensor, for each of them."""
    if count_copies(same.parts) > 1 or not 1 < count_copies(name.parts) <= MAX_COPIES:
        yield name
        return
    yield from (copy for _, (copy,) in expand_groups([name]))


def _structural(rule: rules.Rule) -> bool:
    """Whether a rule has an operation that takes the place of axes."""
    return any(op.name in STRUCTURAL_OPS for term in rule.left for op in _ops(term))


def _renames(body: Iterable[rules.Statement]) -> Iterator[tuple[Pattern, Pattern]]:
    """What each name of one body is called on the other side, where one tensor becomes one tensor."""
    for statement in body:
        match statement:
            case rules.Rule((rules.Tensor(left),), (rules.Tensor(right),), _, modifiers) if (
                not modifiers.where
            ):
                yield left, right
                if max(count_copies(left.parts), count_copies(right.parts)) > MAX_COPIES:
                    continue
                with suppress(UnpairedGroups):  # which flattening reports
                    yield from ((a, b) for _, (a, b) in expand_groups([left, right]))
            case rules.Keep(names, modifiers) if not modifiers.where:
                yield from ((name, name) for name in names)


def _about(statement: rules.About, topic: str, text: str) -> list[rules.Statement]:
    """Both sides change places; who proved the one direction did not prove the other."""
    if topic in {"proof", "peer"}:
        return []
    if topic == "keys" and text.count(" -> ") == 1:
        text = " -> ".join(reversed(text.split(" -> ")))
    return [replace(statement, topic=_OTHER.get(topic, topic), text=text)]


def _title(title: str | None) -> str | None:
    if title is None or title.count(" -> ") != 1:
        return title
    left, right = title.split(" -> ")
    head, colon, left = left.rpartition(": ")
    return f"{head}{colon}{right} -> {left}"


def _negated(argument: rules.Argument) -> rules.Argument:
    match argument:
        case tuple():
            return argument
        case Negative(operand):
            return operand
        case _:
            return Negative(argument)


def _ops(term: rules.Term) -> tuple[rules.Op, ...]:
    return term.ops if isinstance(term, rules.Tensor | rules.Bundle) else ()


def _names(term: rules.Term) -> Sequence[Pattern]:
    match term:
        case rules.Tensor(name):
            return (name,)
        case rules.Bundle(members):
            return [member.name for member in members]
        case _:
            return ()


def _with_words_on_the_right(
    rule: rules.Rule,
    left: tuple[rules.Term, ...],
    right: tuple[rules.Term, ...],
    modifiers: rules.Modifiers,
) -> rules.Rule:
    """The reversed rule; where ``{x}`` stood for ``{x:/re/}`` of the other side, it is the pattern now."""
    regexes = _regexes(name for term in rule.left for name in _names(term))
    return replace(
        rule,
        left=tuple(_renamed(term, lambda part: _as_pattern(part, regexes)) for term in left),
        right=tuple(_renamed(term, _as_word) for term in right),
        modifiers=modifiers,
    )


def _regexes(names: Iterable[Pattern]) -> dict[str, Regex]:
    return {part.name: part for name in names for part in walk(name.parts) if isinstance(part, Regex)}


def _renamed(term: rules.Term, change: Callable[[Part], Part]) -> rules.Term:
    """The term with other parts in its names."""
    match term:
        case rules.Tensor(name):
            return replace(term, name=_changed(name, change))
        case rules.Bundle(members):
            return replace(term, members=tuple(replace(m, name=_changed(m.name, change)) for m in members))
        case _:
            return term


def _changed(name: Pattern, change: Callable[[Part], Part]) -> Pattern:
    return Pattern(_parts(name.parts, change), name.span)


def _parts(parts: Sequence[Part], change: Callable[[Part], Part]) -> tuple[Part, ...]:
    out: list[Part] = []
    for part in parts:
        match part:
            case Group(members):
                out.append(Group(tuple(_parts(member, change) for member in members)))
            case _:
                out.append(change(part))
    return tuple(out)


def _undone(op: rules.Op) -> tuple[rules.Argument, ...]:
    """The dimensions of ``permute``, as they go back."""
    order = [a.value for a in op.arguments if isinstance(a, Number)]
    places = {dim: place for place, dim in enumerate(order)}
    if places.keys() != set(range(len(op.arguments))) or not order:
        raise NoInverse("permute takes every dimension once, as in permute 1 0 2", op.span)
    return tuple(Number(places[dim]) for dim in range(len(order)))


def _as_pattern(part: Part, regexes: Mapping[str, Regex]) -> Part:
    match part:
        case Index(Name(name)) if name in regexes:
            return regexes[name]
        case _:
            return part


def _as_word(part: Part) -> Part:
    return Index(Name(part.name)) if isinstance(part, Regex) else part
