"""After binding: every target tensor given once, every source tensor taken, shapes and types right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Fix, Label
from mapcc.diagnostics.subtree import lies_in, pattern_text, subtrees
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir.bound import Instance
from mapcc.ir.expr import Unevaluable
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Deep, Pattern, join
from mapcc.ir.program import Equation, Listed
from mapcc.passes import layout as laying
from mapcc.passes.binder import Binder, NoValue
from mapcc.passes.elements import check_elements
from mapcc.passes.indices import domain_conditions
from mapcc.passes.match import Trie
from mapcc.passes.naming import padded, pattern_of
from mapcc.passes.offers import Unmatched, fixes_of_module, fixes_of_source, fixes_of_target
from mapcc.passes.questions import CODE, unanswered
from mapcc.passes.renames import lost_indices, only_numbers_differ, renamings, stackings
from mapcc.passes.repeats import for_idle, without_repeats
from mapcc.passes.replicas import check_replicas
from mapcc.passes.reshapes import beside, casts, lengths, reshaping, reshapings
from mapcc.passes.resolve import Values
from mapcc.passes.segments import name_axes, variants
from mapcc.passes.take import excuses
from mapcc.passes.twins import find_copies
from mapcc.passes.types import infer_dtypes
from mapcc.passes.writer import NegativeIndex
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.quantised.recognise import config_of, quant_method
from mapcc.tensors.spec import TensorSpec
from mapcc.text import Span

Shape = tuple[int, ...]


def cover(binder: Binder) -> None:
    """All checks that look at both sides as wholes."""
    _collect(binder)
    find_copies(binder)
    _create(binder)
    _external(binder)
    infer_dtypes(binder)
    check_elements(binder)
    _quantised(binder)
    check_replicas(binder)
    left = binder.untaken = _untaken(binder)
    _dead(binder, left)
    right = binder.not_given = None if binder.target is None else _not_given(binder)
    _unexpected_sources(binder, left, right)
    if right is not None:
        _against_target(binder, left, right)
    _dead_statements(binder)
    binder.findings.flush()
    for question, told in unanswered(binder):
        allowing = [allow for allow in question.allows if CODE in allow.codes]
        binder.bound.unanswered += allowing
        if not allowing:
            binder.findings.found.add(told)


# What most mappings have no use for is read when there is one.


def _quantised(binder: Binder) -> None:
    if binder.quantised.weights or quant_method(config_of(binder.source)):
        from mapcc.passes.quantised import check_quantised

        check_quantised(binder)


def _dead(binder: Binder, left: Unmatched) -> None:
    if binder.dead:
        from mapcc.passes.dead import report_dead

        report_dead(binder, left)


# --- what is given


def _collect(binder: Binder) -> None:
    taken = binder.bound.taken
    for instance in binder.bound.instances:
        for operand in instance.sources:
            for name in operand:
                if name in taken:
                    taken[name].append(instance)
                else:
                    taken[name] = [instance]
        _give(binder, instance)


def _give(binder: Binder, instance: Instance) -> None:
    given = binder.bound.given
    for number, name in enumerate(instance.targets):
        if name:
            entry = (instance, number)
            first = given.setdefault(name, entry)
            if first is not entry:
                _collision(binder, name, first[0], instance)


def _collision(binder: Binder, name: str, first: Instance, second: Instance) -> None:
    a, b = first.equation, second.equation
    binder.excused_targets.add(name)
    if _in_doubt(binder, first) or _in_doubt(binder, second):
        return
    if a.statement is b.statement:
        help = "each member of a group needs a target of its own"
        if a is b and (lost := lost_indices(a)):
            words = ", ".join(f"{{{index}}}" for index in lost)
            axis = lost[-1]
            help = f"write {words} on the right too; to take them together, make it an axis: [{axis}]"
        sources = [operand[0] for one in (first, second) for operand in one.sources[:1] if operand]
        binder.findings.add(
            "MC206",
            "one rule gives the same target tensors several times",
            b.span,
            name,
            notes=(f"from {' and from '.join(sources)}",) if sources else (),
            help=help,
            fixes=partial(_fixes_of_collision, binder, second, name),
        )
        return
    binder.findings.add(
        "MC404",
        "two rules give the same target tensors",
        a.span,
        name,
        label="given here",
        related=(Label(b.span, "and here"),),
        help="give each target once; several sources of one tensor are one rule: `(a, b) | cat -> c`",
        fixes=partial(without_repeats, binder.program, (a, b)),
    )


def _fixes_of_collision(binder: Binder, instance: Instance, name: str) -> Iterator[Fix]:
    number = instance.targets.index(name)
    if binder.not_given is not None:
        yield from renamings(instance, number, binder.not_given, binder.program.mapping.body)
    spec = binder.target.tensors.get(name) if binder.target else None
    yield from stackings(instance, number, spec.shape if spec else None)


def _in_doubt(binder: Binder, instance: Instance) -> bool:
    """Whether another rule takes the same tensors, so that the rest may not be meant."""
    excused = binder.excused_sources
    return bool(excused) and any(name in excused for operand in instance.sources for name in operand)


# --- create


def _create(binder: Binder) -> None:
    for equation in binder.program.creates:
        if equation.broken:
            continue
        matched, before = 0, len(binder.excused_targets)
        for key in _created_keys(binder, equation):
            matched += 1
            instance = _created(binder, equation, key)
            if instance is not None:
                binder.bound.instances.append(instance)
                _give(binder, instance)
        failed = len(binder.excused_targets) > before
        if not (matched or failed or equation.optional or binder.target is None):
            name = equation.targets[0].name
            assert name is not None
            binder.findings.add("MC410", f"create {print_name(name)} matches no target tensor", equation.span)


def _created_keys(binder: Binder, equation: Equation) -> Iterator[tuple[int | str, ...]]:
    """The values for which a tensor is created: from the target's names, or from domains."""
    (target,) = equation.targets
    assert target.name is not None
    resolver = binder.resolver(equation)
    if binder.target is not None:
        trie = Trie(equation.separators[1])
        for variant in variants(target.name, equation.separators[1]):
            trie.add(None, variant)
        for name in binder.target.tensors:
            for leaf, texts in trie.match(name):
                try:
                    resolved = binder.resolve(resolver, leaf, texts, equation.span)
                except NoValue:
                    binder.excused_targets.add(name)
                    continue
                if resolved is not None:
                    yield tuple(resolved[0][v] for v in equation.variables)
        return
    domains = domain_conditions(equation.conditions, equation.indices)
    free = [v for v in equation.variables if v not in domains]
    if free:
        binder.findings.add(
            "MC204",
            f"nothing says which tensors to create: {', '.join(free)} is open",
            equation.span,
            help="give the target's key set: --target; or a domain: where i in 0..N",
        )
        return
    try:
        for choice in resolver.choices_of(equation.variables, {}, equation.span):
            values: Values = dict(zip(equation.variables, choice, strict=True))
            if resolver.holds(values):
                yield tuple(choice)
    except Unevaluable as error:
        binder.unevaluable(error, resolver, equation.span)


def _created(binder: Binder, equation: Equation, key: tuple[int | str, ...]) -> Instance | None:
    resolver = binder.resolver(equation)
    values: Values = dict(zip(equation.variables, key, strict=True))
    lookup = resolver.lookup(values, defined=False)
    try:
        name = binder.writer(equation, 0).write(key, (), lambda word: resolver.parameter(word, values))
    except NegativeIndex:
        binder.findings.add("MC204", "an index of a created tensor is below zero", equation.span)
        return None
    except Unevaluable as error:
        binder.unevaluable(error, resolver, equation.span)
        return None
    spec = binder.target.tensors.get(name) if binder.target else None
    rank = len(spec.shape) if spec else None
    state = laying.start(equation, ((),), {}, lookup, rest_from=rank)
    if not isinstance(state, laying.Problem) and state.free() and spec is not None:
        problem = laying.add_targets(state, [spec.shape], lookup)
        state = problem or state
    if not isinstance(state, laying.Problem):
        state = laying.unsolved(state, binder.target is not None) or state
    result = state if isinstance(state, laying.Problem) else laying.finish(state)
    if isinstance(result, laying.Problem):
        binder.findings.add(
            result.code,
            result.message,
            result.span or equation.span,
            name,
            notes=result.notes,
            help=result.help,
        )
        binder.excused_targets.add(name)
        return None
    return Instance(equation, key, ((),), (name,), result)


# --- external and drop


def _external(binder: Binder) -> None:
    if binder.target is None or not binder.program.externals:
        return
    trie = Trie(binder.program.separators[1])
    counts = {id(listed.written): 0 for listed in binder.program.externals}
    for listed in binder.program.externals:
        resolver = binder.listed_resolver(listed)
        for variant in variants(listed.name, listed.separator):
            trie.add((listed, resolver), variant)
    for name in binder.target.tensors:
        for leaf, texts in trie.match(name):
            listed, resolver = leaf.owner
            try:
                if binder.resolve(resolver, leaf, texts, listed.span) is None:
                    filtered = binder.filtered_by
                    filtered[id(listed.written)] = filtered.get(id(listed.written), 0) + 1
                    continue
            except NoValue:
                binder.excused_targets.add(name)
                counts[id(listed.written)] += 1
                continue
            counts[id(listed.written)] += 1
            binder.external_by.add(id(listed.written))
            binder.bound.external[name] = listed
            if name in binder.bound.given:
                binder.findings.add(
                    "MC404",
                    "target tensors are external, and given by a rule too",
                    listed.span,
                    name,
                    related=(Label(binder.bound.given[name][0].equation.span, "given here"),),
                )
    for listed in binder.program.externals:
        if not counts[id(listed.written)]:
            _idle(binder, listed, f"external {_shown(listed)} matches no target tensor")


def _shown(listed: Listed) -> str:
    return print_name(listed.written)


def _dead_statements(binder: Binder) -> None:
    for listed in binder.program.drops:
        if not binder.dropped_by.get(id(listed.written)):
            _idle(binder, listed, f"drop {_shown(listed)} matches no source tensor")


def _idle(binder: Binder, listed: Listed, message: str) -> None:
    """MC410, unless conditions say that this checkpoint is another variant."""
    filtered = binder.filtered_by.get(id(listed.written), 0)
    if listed.optional or (listed.conditions and binder.listed_resolver(listed).is_off(filtered > 0)):
        return
    notes = (f"{filtered} names match the pattern, but not 'where'",) if filtered else ()
    side = binder.not_given if listed in binder.program.externals else binder.untaken
    fixes = partial(for_idle, binder.program, listed, side)
    binder.findings.add("MC410", message, listed.span, notes=notes, fixes=fixes)


# --- both sides


def _untaken(binder: Binder) -> Unmatched:
    """What no rule takes; of quantised weights that is said at once, for nothing is to be offered for it."""
    bound = binder.bound
    left = [
        name
        for name in binder.source.tensors
        if name not in bound.taken and name not in bound.dropped and name not in binder.excused_sources
    ]
    parts = [name for name in left if binder.quantised.of(name) is not None]
    if parts:
        _unexpected_parts(binder, parts)
        left = [name for name in left if binder.quantised.of(name) is None]
    return Unmatched.of(binder.source, left)


def _not_given(binder: Binder) -> Unmatched:
    assert binder.target is not None
    bound = binder.bound
    failed = excuses(binder.program.failed_right, binder.program.separators[1])
    missing = [
        name
        for name in binder.target.tensors
        if name not in bound.given
        and name not in bound.external
        and name not in binder.excused_targets
        and not failed.match(name)
    ]
    return Unmatched.of(binder.target, missing)


def _unexpected_sources(binder: Binder, left: Unmatched, right: Unmatched | None) -> None:
    if not left.templates:
        return
    patterns = {print_name(n): n for e in binder.program.equations for u in e.units for n in u.names}
    suggester = Suggester([_skeleton(pattern) for pattern in patterns.values()])
    separator = binder.program.separators[0]
    others = (name for name in binder.source.tensors if name not in left.names)
    for module, inside in subtrees(_without_padded(binder, left), others, separator):
        if module is not None:
            shown = print_name(pattern_of(pattern_text(module)))
            message = f"no rule takes anything under `{shown}`: {len(inside)} kinds of tensors"
            _whole(binder, left, "MC402", message, ("drop", module, separator), inside, right)
            continue
        (template,) = inside
        near = suggester.nearest(template)
        hint = f"the nearest pattern is {near}; " if near else ""
        if right is not None and template in right.templates:
            hint = f"the target has it too: `{left.kept(template)}`; else "
        binder.findings.add(
            "MC402",
            f"no rule takes `{template}`",
            None,
            template,
            help=f"{hint}add a rule, or: `{left.statement('drop', template)}`",
            fixes=partial(fixes_of_source, binder.program.mapping.source, template, left, right),
        )


def _without_padded(binder: Binder, left: Unmatched) -> list[str]:
    """The templates without those that zeros in front of a number keep apart: these are one finding."""
    alike: dict[str, list[str]] = {}
    for template in left.templates:
        if (pattern := padded(template)) is not None:
            alike.setdefault(pattern, []).append(template)
    told: set[str] = set()
    for pattern, templates in alike.items():
        if len(templates) > 1:
            told.update(templates)
            help = f"a number with zeros in front is an index of that width: `{pattern}`"
            for name in templates:
                binder.findings.add("MC402", f"no rule takes `{pattern}`", None, name, help=help)
    return [template for template in left.templates if template not in told]


def _whole(
    binder: Binder,
    side: Unmatched,
    code: str,
    message: str,
    statement: tuple[str, str, str],
    inside: Sequence[str],
    other: Unmatched | None,
) -> None:
    """One finding for all that lies in a module; its names are complete."""
    word, module, separator = statement
    names = [name for name in side.names if lies_in(name, module, separator)]
    whole = join(pattern_of(pattern_text(module)), Pattern((Deep(),)), separator)
    pattern = print_name(whole)
    hint = "add rules"
    on_both = other is not None and all(template in other.templates for template in inside)
    if on_both:
        hint = f"both sides have them: `keep {pattern}`; else add rules"
    help = f'{hint}, or: `{word} {pattern} because "..."`'
    fixes = partial(fixes_of_module, binder.program.mapping.source, word, whole, on_both)
    for name in names:
        binder.findings.add(code, message, None, name, help=help, fixes=fixes)


def _unexpected_parts(binder: Binder, names: list[str]) -> None:
    """Parts of quantised weights: to drop one of them is no way out. One finding for each container."""
    from mapcc.passes.quantised_words import not_by_drop

    by_help: dict[str, list[str]] = {}
    for name in names:
        by_help.setdefault(not_by_drop(binder.quantised, name), []).append(name)
    for help, alike in by_help.items():
        templates = fold(alike)
        if len(templates) == 1:
            binder.findings.add("MC402", f"no rule takes `{templates[0]}`", None, templates[0], help=help)
            continue
        message = f"no rule takes what belongs to quantised weights: {len(templates)} kinds of tensors"
        for name in alike:
            binder.findings.add("MC402", message, None, name, help=help)


def _skeleton(pattern: Pattern) -> str:
    return print_name(pattern)


def _against_target(binder: Binder, left: Unmatched, right: Unmatched) -> None:
    assert binder.target is not None
    wanted, bound = binder.target.tensors, binder.bound
    strangers = [name for name in bound.given if name not in wanted]
    strangers = [name for name in strangers if not _in_doubt(binder, bound.given[name][0])]
    templates = right.templates
    near_missing = Suggester(templates)
    instead: dict[str, str] = {}
    for span, names in _by_place(binder, strangers).items():
        given = fold(names)[0]
        near = near_missing.nearest(given)
        if near:
            instead.setdefault(near, given)
        help = _meant(right, near, names[0]) if near else ""
        message = "the rule gives tensors that the target does not have"
        instance, number = bound.given[names[0]]
        fixes = partial(renamings, instance, number, right, binder.program.mapping.body)
        for name in names:
            binder.findings.add("MC407", message, span, name, help=help, fixes=fixes)
    separator = binder.program.separators[1]
    others = (name for name in wanted if name not in right.names)
    for module, inside in subtrees(templates, others, separator):
        if module is not None:
            shown = print_name(pattern_of(pattern_text(module)))
            message = f"nothing gives anything under `{shown}`: {len(inside)} kinds of tensors"
            _whole(binder, right, "MC401", message, ("external", module, separator), inside, left)
            continue
        (template,) = inside
        hint = f"a rule gives {instead[template]} instead? " if template in instead else ""
        if template in left.templates:
            hint = f"the source has it too: `{right.kept(template)}`; else "
        help = f"{hint}write a rule for it, or: `{right.statement('external', template)}`"
        binder.findings.add(
            "MC401",
            f"nothing gives `{template}`",
            None,
            template,
            help=help,
            fixes=partial(fixes_of_target, binder.program.mapping.source, template, right, left),
        )
    for name, (instance, number) in bound.given.items():
        spec = wanted.get(name)
        if spec is None:
            continue
        if instance.layout.target_shapes[number] == spec.shape and instance.dtypes[number] is spec.dtype:
            continue  # nearly all
        if name not in binder.excused_targets and not _in_doubt(binder, instance):
            _compare(binder, instance, number, spec)


def _meant(right: Unmatched, near: str, given: str) -> str:
    first = right.first(near)
    if only_numbers_differ(given, first):
        return f"only numbers differ: {given} is given, and {first} is wanted"
    return f"did you mean `{print_name(right.pattern(near))}`?"


def _by_place(binder: Binder, names: Iterable[str]) -> dict[Span | None, list[str]]:
    """Given names by the term that gives them."""
    out: dict[Span | None, list[str]] = {}
    for name in names:
        instance, number = binder.bound.given[name]
        span = instance.equation.targets[_term(instance, number)].span or instance.equation.span
        out.setdefault(span, []).append(name)
    return out


def _term(instance: Instance, number: int) -> int:
    return instance.layout.term_of_target[number]


def _compare(binder: Binder, instance: Instance, number: int, spec: TensorSpec) -> None:
    shape = instance.layout.target_shapes[number]
    term = instance.equation.targets[_term(instance, number)]
    span = term.span or instance.equation.span
    other = _quantised_help(binder, instance, number)
    if shape != spec.shape:
        binder.findings.add(
            "MC408",
            f"the rule gives {list(shape)}, the target has {list(spec.shape)}",
            span,
            spec.name,
            help=other
            or _copies_hint(instance, shape, spec.shape)
            or _pieces_hint(instance, number, shape, spec.shape)
            or _shape_hint(binder, instance, shape, spec.shape),
            fixes=None if other else partial(_reshaped, binder, instance, number, spec.shape),
        )
    dtype = instance.dtypes[number] if instance.dtypes else None
    if dtype is not None and spec.dtype is not None and dtype != spec.dtype:
        binder.findings.add(
            "MC409",
            f"the rule gives {dtype.name}, the target has {spec.dtype.name}",
            span,
            spec.name,
            help=other or _cast_help(dtype, spec.dtype),
            fixes=None if other else partial(casts, instance, dtype, spec.dtype),
        )


def _cast_help(ours: Dtype, theirs: Dtype) -> str:
    """``dtype`` is for all weights: no way to make single tensors integers."""
    if theirs.kind == "float" and theirs.bits >= 8 and ours.kind == "float":
        return f"`| cast {theirs.short}` behind the source, or for all: `dtype {theirs.short}`"
    if theirs.kind in ("int", "uint") and ours.kind == "float":
        return f"`| cast {theirs.short}` behind the source; `| round` before it if the numbers have fractions"
    return f"`| cast {theirs.short}` behind the source"


def _quantised_help(binder: Binder, instance: Instance, number: int) -> str:
    """What to do instead of a cast or a transpose where a quantised weight is given."""
    if not binder.quantised.weights:
        return ""
    from mapcc.passes.quantised_words import not_by_cast

    sources = [instance.sources[move.source] for move in instance.layout.moves if move.target == number]
    names = dict.fromkeys(names[-1] for names in sources if names)
    return next((help for name in names if (help := not_by_cast(binder.quantised, name))), "")


def _shape_hint(binder: Binder, instance: Instance, ours: Shape, theirs: Shape) -> str:
    found = reshaping(ours, theirs)
    if found is None:
        is_stack = any(name_axes(name) for unit in instance.equation.units for name in unit.names)
        return "" if is_stack else lengths(ours, theirs)
    own, others = beside(binder.stars(), instance)
    return f"{found.words}, in a rule of its own for {own}" if others else found.words


def _reshaped(binder: Binder, instance: Instance, number: int, theirs: Shape) -> Iterator[Fix]:
    others = beside(binder.stars(), instance)[1]
    return reshapings(instance, instance.layout.target_shapes[number], theirs, others)


def _copies_hint(instance: Instance, ours: Shape, theirs: Shape) -> str:
    """``qkv -> [t=q,k,v]`` copies, where ``qkv : (t d) ... -> [t=q,k,v] : d ...`` splits."""
    ratios = [a // b for a, b in zip(ours, theirs, strict=False) if b and a != b and a % b == 0]
    sizes = instance.layout.sizes
    axis = next((a for a in sorted(instance.equation.repeated) if ratios == [sizes.get(a)]), None)
    if axis is None or len(ours) != len(theirs):
        return ""
    return f"these are {sizes[axis]} copies; to split, give {axis} a place: `x : ({axis} d) ... -> y : d ...`"


def _pieces_hint(instance: Instance, number: int, ours: Shape, theirs: Shape) -> str:
    """``qkv : (t d) c -> [t=q,k,v] : d c`` are equal thirds, where keys may have fewer heads."""
    name = instance.equation.targets[_term(instance, number)].name
    is_piece = name is not None and any(axis.labels is not None for axis in name_axes(name))
    differing = sum(a != b for a, b in zip(ours, theirs, strict=False))
    if not is_piece or len(ours) != len(theirs) or differing != 1:
        return ""
    return (
        "pieces of unequal size are a sum, each with a name: "
        "`qkv : (q + k + v) c -> q : q c, k : k c, v : v c`"
    )
