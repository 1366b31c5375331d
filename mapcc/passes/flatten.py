"""Blocks, ``use``, groups and sugar away: a mapping to its equations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Label
from mapcc.ir import rules
from mapcc.ir.axes import ANY_SHAPE, Shape
from mapcc.ir.expr import Name, Unevaluable, leaves
from mapcc.ir.patterns import (
    EMPTY,
    Deep,
    Pattern,
    UnpairedGroups,
    expand_groups,
    first_group,
    join,
)
from mapcc.ir.program import DtypeRule, Equation, LetValue, Listed, Program, Scope, Target, Unit
from mapcc.ir.values import Step
from mapcc.passes.anchor import anchored, chosen, for_copy
from mapcc.passes.copies import alternatives, copies_of, copies_of_name, tensors_of
from mapcc.passes.reverse import turned
from mapcc.passes.scope import report
from mapcc.passes.sugar import lower_sugar
from mapcc.passes.values import evaluate_steps
from mapcc.syntax.budget import MAX_STATEMENTS, count_statements
from mapcc.syntax.load import Loader
from mapcc.tensors.dtypes import Dtype, parse_dtype
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a statement stands: prefixes, conditions, the file and its lets."""

    left: Pattern
    right: Pattern
    modifiers: rules.Modifiers
    scope: Scope
    path: Path
    chain: tuple[Path, ...]
    is_default: bool = False


MAX_EQUATIONS = 50_000


def flatten(
    mapping: rules.Mapping,
    path: Path,
    overrides: Mapping[str, int | float | str],
    configs: Mapping[str, Mapping[str, object] | None],
    found: Diagnostics,
    loader: Loader | None = None,
) -> Program:
    """The program of a mapping; ``path`` is the file beside which used files lie."""
    scope = Scope(overrides=overrides, configs=configs)
    program = Program(mapping, scope)
    flattener = _Flattener(program, found, loader or Loader(found))
    context = _Context(EMPTY, EMPTY, rules.NO_MODIFIERS, scope, path, (path,))
    program.separators = flattener.separators(mapping.body)
    if not flattener.is_small(mapping):
        return program
    flattener.body(mapping.body, context)
    if flattener.is_cut_off:
        give_up(program)
    for name in overrides:
        if name not in flattener.lets:
            known = ", ".join(sorted(flattener.lets)) or "none"
            message = f"--set {name}: the mapping has no 'let {name}' (its lets: {known})"
            found.add(Diagnostic("MC104", message))
    return program


def give_up(program: Program) -> None:
    """Bind nothing, and say nothing more of any tensor: only a part of the rules is known."""
    program.equations.clear()
    program.creates.clear()
    program.failed_left[:] = program.failed_right[:] = [Pattern((Deep(),))]


@dataclass(slots=True)
class _Flattener:
    program: Program
    found: Diagnostics
    loader: Loader
    lets: set[str] = field(default_factory=set)
    has_too_many: bool = False

    @property
    def is_cut_off(self) -> bool:
        """Whether there is more than a mapping may have; that is told."""
        return self.has_too_many or self.loader.is_spent

    def is_small(self, mapping: rules.Mapping) -> bool:
        """Whether the statements of the first file are few enough; those of used files follow."""
        self.loader.begin(mapping)
        count = count_statements(mapping.body)
        if count > MAX_STATEMENTS:
            message = f"a mapping has at most {MAX_STATEMENTS:,} statements; here are {count:,}"
            place = Span(mapping.source, 0, 0) if mapping.source else None
            self._fault("MC103", message, place, "{i}, * and {a,b} say many names in one rule")
            give_up(self.program)
        return count <= MAX_STATEMENTS

    def separators(self, body: Sequence[rules.Statement]) -> tuple[str, str]:
        chosen: dict[str, str] = {}
        for statement in body:
            if isinstance(statement, rules.Separator):
                if statement.side in chosen:
                    message = f"the {statement.side}'s separator is given twice"
                    self.found.add(Diagnostic("MC107", message, statement.span))
                chosen[statement.side] = statement.text
        return chosen.get("source", "."), chosen.get("target", ".")

    def body(self, body: Sequence[rules.Statement], context: _Context) -> None:
        # Lets first: nothing in a file depends on order.
        lets = [statement for statement in body if isinstance(statement, rules.Let)]
        for let in lets:
            self._let(let, context.scope)
        for let in lets:
            self._words_are_known(let, context.scope)
        for statement in body:
            self._statement(statement, context)

    def _statement(self, statement: rules.Statement, context: _Context) -> None:
        if self.is_cut_off:
            return
        match statement:
            case rules.Rule():
                self._rule(statement, context)
            case rules.Keep():
                self._keep(statement, context)
            case rules.Block(left, right, body, modifiers):
                self._block(body, self._inside(context, left, right, modifiers))
            case rules.Default(body):
                if context.is_default:
                    self._fault("MC107", "a default block stands in a default block", statement.span)
                self._block(body, replace(context, is_default=True))
            case rules.Use():
                self._use(statement, context)
            case rules.Drop():
                self.program.drops += self._listed(statement, context, context.left, 0)
            case rules.External():
                self.program.externals += self._listed(statement, context, context.right, 1)
            case rules.Create():
                self._create(statement, context)
            case rules.OutputDtype():
                self._dtype(statement, context)
            case rules.About() | rules.Let() | rules.Separator():
                pass

    def _block(self, body: Sequence[rules.Statement], context: _Context) -> None:
        for statement in body:
            if isinstance(statement, rules.About | rules.Let | rules.Separator | rules.OutputDtype):
                message = "'about', 'let', 'separator' and 'dtype' stand at the top of a file, not in a block"
                self._fault("MC101", message, statement.span)
        self.body(body, context)

    def _fault(self, code: str, message: str, span: Span | None, help: str = "") -> None:
        self.found.add(Diagnostic(code, message, span, help=help))

    # --- scopes

    def _let(self, let: rules.Let, scope: Scope) -> None:
        if let.name in scope.lets:
            first = scope.lets[let.name].span
            related = (Label(first, "the first one"),) if first else ()
            help = "nothing depends on the order of lines: remove one of them"
            message = f"'let {let.name}' stands twice"
            self.found.add(Diagnostic("MC107", message, let.span, related=related, help=help))
        self.lets.add(let.name)
        scope.lets[let.name] = LetValue(let.value, let.span, scope)

    def _words_are_known(self, let: rules.Let, scope: Scope) -> None:
        for leaf in leaves(let.value):
            if isinstance(leaf, Name) and leaf.name not in scope.lets and leaf.name not in scope.overrides:
                report(
                    Unevaluable(f"{leaf.name!r} is not known here", leaf.name, leaf.span),
                    scope,
                    let.span,
                    self.found,
                )

    def _inside(
        self, context: _Context, left: Pattern, right: Pattern, modifiers: rules.Modifiers
    ) -> _Context:
        source, target = self.program.separators
        return replace(
            context,
            left=join(context.left, left, source),
            right=join(context.right, right, target),
            modifiers=anchored(modifiers, context.left).under(context.modifiers),
        )

    def _use(self, use: rules.Use, context: _Context) -> None:
        opened = self.loader.used(use, context.path, context.chain)
        if opened is None:
            self._unknown(use, context)
            return
        path, mapping = opened
        if use.inverse:
            before = len(self.found)
            mapping = turned(mapping, self.found)
            if len(self.found) > before:
                self._unknown(use, context)
        inside = self._inside(context, use.left, use.right, use.modifiers)
        outermost = self.program.scope
        scope = Scope(overrides=outermost.overrides, configs=outermost.configs)
        for statement in mapping.body:
            if isinstance(statement, rules.Separator | rules.OutputDtype):
                message = "'separator' and 'dtype' are said once for the whole output, not in a used file"
                self._fault("MC107", message, statement.span)
        self.body(mapping.body, replace(inside, scope=scope, path=path, chain=(*context.chain, path)))

    def _unknown(self, use: rules.Use, context: _Context) -> None:
        """What the used file takes and gives cannot be told: no name below its prefixes is at fault."""
        everything = Pattern((Deep(),))
        source, target = self.program.separators
        left = join(join(context.left, use.left, source), everything, source)
        right = join(join(context.right, use.right, target), everything, target)
        self.program.failed_left += alternatives([left])
        self.program.failed_right += alternatives([right])

    # --- rules

    def _keep(self, keep: rules.Keep, context: _Context) -> None:
        for name in keep.names:
            rule = rules.Rule(
                (rules.Tensor(name, span=name.span),),
                (rules.Tensor(name, span=name.span),),
                modifiers=keep.modifiers,
                span=name.span or keep.span,
            )
            self._rule(rule, context)

    def _rule(self, rule: rules.Rule, context: _Context) -> None:
        faults = len(self.found)
        if self._sides_are_sound(rule):
            modifiers = anchored(rule.modifiers, context.left).under(context.modifiers)
            prefixes = (context.left, context.right)
            copies = copies_of(rule, prefixes, self.program.separators, self.found)
            for numbers, *terms in copies:
                own = replace(modifiers, where=for_copy(modifiers.where, numbers))
                inside = replace(context, left=chosen(context.left, numbers))
                self._equation(rule, terms, own, inside, len(copies))
        if len(self.found) > faults:
            self._give_up(rule, context)

    def _give_up(self, rule: rules.Rule, context: _Context) -> None:
        """Remember the names of a rule that is wrong: that they are not mapped is no second fault."""
        source, target = self.program.separators
        left = [join(context.left, tensor.name, source) for tensor in tensors_of(rule.left)]
        right = [join(context.right, tensor.name, target) for tensor in tensors_of(rule.right)]
        self.program.failed_left += alternatives(left)
        self.program.failed_right += alternatives(right)

    def _sides_are_sound(self, rule: rules.Rule) -> bool:
        sound = True
        if all(isinstance(term, rules.Created) for term in rule.left):
            self._fault("MC101", "no tensor stands on the left", rule.span, "create NAME : axes = 0")
            sound = False
        for term in rule.left:
            if isinstance(term, rules.Dropped):
                self._fault("MC101", "'drop' stands on the right: it says where elements go", term.span)
                sound = False
        for term in rule.right:
            match term:
                case rules.Created():
                    self._fault("MC101", "'create' stands on the left: it is a source", term.span)
                    sound = False
                case rules.Bundle():
                    self._fault("MC101", "tensors in parentheses stand on the left", term.span)
                    sound = False
                case _:
                    pass
        return sound

    def _equation(
        self,
        rule: rules.Rule,
        terms: Sequence[list[rules.Term]],
        modifiers: rules.Modifiers,
        context: _Context,
        copies: int,
    ) -> None:
        left, right = terms
        lowered = lower_sugar(left, right, context.scope, self.found)
        if lowered is None:
            return
        units = [self._unit(term, context) for term in lowered[0]]
        targets = [self._target(term, context) for term in lowered[1]]
        if any(unit is None for unit in units) or any(target is None for target in targets):
            return
        if len(self.program.equations) >= MAX_EQUATIONS:
            if not self.has_too_many:
                self._fault("MC103", f"more than {MAX_EQUATIONS:,} copies of rules", rule.span)
            self.has_too_many = True
            return
        self.program.equations.append(
            Equation(
                number=len(self.program.equations),
                units=tuple(unit for unit in units if unit is not None),
                targets=tuple(target for target in targets if target is not None),
                conditions=modifiers.where + lowered[2],
                scope=context.scope,
                prefix=context.left,
                separators=self.program.separators,
                statement=rule,
                optional=modifiers.optional,
                bijective=rule.bijective,
                is_default=context.is_default,
                copies=copies,
                allow=modifiers.allow,
            )
        )

    def _unit(self, term: rules.Term, context: _Context) -> Unit | None:
        match term:
            case rules.Created(shape, value):
                return Unit((), shape, term.span, fill=value)
            case rules.Tensor(name, shape, ops):
                return self._computed((name,), shape, ops, term.span, context)
            case rules.Bundle(members, shape, ops):
                if any(member.ops or member.shape is not None for member in members):
                    self._fault(
                        "MC501", "shapes and operations stand behind the closing parenthesis", term.span
                    )
                    return None
                names = tuple(member.name for member in members)
                return self._computed(names, shape, ops, term.span, context)
            case rules.Dropped():
                return None

    def _computed(
        self,
        names: tuple[Pattern, ...],
        shape: Shape | None,
        ops: Sequence[rules.Op],
        span: Span | None,
        context: _Context,
    ) -> Unit | None:
        steps = evaluate_steps(ops, len(names), context.scope, span, self.found)
        return None if steps is None else Unit(names, _shape(shape), span, steps)

    def _target(self, term: rules.Term, context: _Context) -> Target | None:
        match term:
            case rules.Dropped(shape, because):
                return Target(None, shape, term.span, because=because)
            case rules.Tensor(name, shape, ops):
                cast = self._cast(ops, context, term.span)
                return None if cast is None else Target(name, _shape(shape), term.span, cast[0])
            case _:
                return None

    def _cast(
        self, ops: Sequence[rules.Op], context: _Context, span: Span | None
    ) -> tuple[Dtype | None] | None:
        """The type that a right-hand term states, if any; None, with a diagnostic, for anything else."""
        if not ops:
            return (None,)
        steps = evaluate_steps(ops, 1, context.scope, span, self.found)
        match steps:
            case None:
                return None
            case (Step(dtype=Dtype() as dtype),):
                return (dtype,)
            case _:
                self._fault("MC501", "operations stand on the left; the right takes a cast at most", span)
                return None

    # --- statements of names

    def _listed(
        self, statement: rules.Drop | rules.External, context: _Context, prefix: Pattern, side: int
    ) -> list[Listed]:
        separator = self.program.separators[side]
        names = [join(prefix, name, separator) for name in statement.names]
        modifiers = anchored(statement.modifiers, context.left).under(context.modifiers)
        same = statement.same_as if isinstance(statement, rules.Drop) else None
        same = None if same is None else join(prefix, same, separator)
        if not statement.because.strip():
            self._fault("MC101", "the reason is empty", statement.span, 'say why: because "..."')
        assert statement.span is not None
        return [
            Listed(
                copy,
                name,
                statement.because,
                # What the target's names repeat is no copy of a block that repeats the source's alone.
                for_copy(modifiers.where, numbers if first_group(prefix) is not None else ()),
                context.scope,
                separator,
                name.span or statement.span,
                context.is_default,
                modifiers.optional,
                modifiers.allow,
                len(context.modifiers.where),
                other,
            )
            for name in names
            for numbers, copy, other in self._listed_copies(name, same)
        ]

    def _listed_copies(
        self, name: Pattern, same: Pattern | None
    ) -> Iterator[tuple[tuple[int, ...], Pattern, Pattern | None]]:
        """The copies of a name by its groups, each with what it is the same as: one for all, or one each."""
        if same is None or first_group(same) is None:
            for numbers, copy in copies_of_name(name, self.found):
                yield numbers, copy, same
            return
        if not copies_of_name(name, self.found) or not copies_of_name(same, self.found):
            return
        try:
            for numbers, (copy, other) in expand_groups([name, same]):
                yield numbers, copy, other
        except UnpairedGroups as error:
            self.program.failed_left += alternatives([name])
            help = "the k-th group of one name pairs with the k-th of the other"
            self._fault("MC201", str(error), same.span or name.span, help)

    def _create(self, create: rules.Create, context: _Context) -> None:
        modifiers = anchored(create.modifiers, context.left).under(context.modifiers)
        cast = self._cast(create.ops, context, create.span)
        if cast is None:
            return
        for name in create.names:
            whole = join(context.right, name, self.program.separators[1])
            for numbers, copy in copies_of_name(whole, self.found):
                self.program.creates.append(
                    Equation(
                        number=len(self.program.creates),
                        units=(Unit((), create.shape, create.span, fill=create.value),),
                        targets=(Target(copy, create.shape, name.span, cast[0]),),
                        conditions=for_copy(modifiers.where, numbers),
                        scope=context.scope,
                        prefix=context.left,
                        separators=self.program.separators,
                        statement=create,
                        optional=modifiers.optional,
                        is_default=context.is_default,
                        allow=modifiers.allow,
                    )
                )

    def _dtype(self, statement: rules.OutputDtype, context: _Context) -> None:
        dtype = self._named_dtype(statement.dtype, statement.span)
        keeps: list[tuple[Pattern, Dtype | None, Span | None]] = []
        for keep in statement.keeps:
            kept = None if keep.dtype is None else self._named_dtype(keep.dtype, keep.span)
            for name in keep.names:
                whole = join(context.right, name, self.program.separators[1])
                copies = copies_of_name(whole, self.found)
                keeps += [(copy, kept, name.span or keep.span) for _, copy in copies]
        if self.program.dtype is not None:
            self._fault("MC107", "the output's dtype is given twice", statement.span)
        if dtype is not None:
            assert statement.span is not None
            self.program.dtype = DtypeRule(dtype, tuple(keeps), self.program.separators[1], statement.span)

    def _named_dtype(self, text: str, span: Span | None) -> Dtype | None:
        dtype = parse_dtype(text)
        if dtype is None:
            self._fault("MC501", f"{text!r} is not a dtype", span, "bf16, f16, f32, f64, f8_e4m3, ...")
        elif dtype.kind != "float" or dtype.bits < 8:
            message = f"'dtype' speaks of floating-point tensors, and {dtype.name} is no type for all of them"
            help = f"cast the tensors that are meant: `NAME | cast {dtype.short} -> NAME`"
            self._fault("MC507", message, span, help)
            return None
        return dtype


def _shape(shape: Shape | None) -> Shape:
    return ANY_SHAPE if shape is None else shape
