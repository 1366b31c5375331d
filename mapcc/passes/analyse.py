"""What can be said of an equation before any key set is seen: names pair up, axes correspond."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.diagnostics.suggest import nearest
from mapcc.ir import rules
from mapcc.ir.axes import ANY_SHAPE, REST, atoms, pieces
from mapcc.ir.expr import Name, names
from mapcc.ir.patterns import Deep, Index, NameAxis, Part, Pattern, Regex, Star, Text
from mapcc.ir.printer import print_name, print_shape
from mapcc.ir.program import Equation, Link, Program, Target, Unit
from mapcc.passes.indices import unsolvable
from mapcc.passes.match import regex_fault
from mapcc.passes.segments import name_axes
from mapcc.text import Span


def analyse(program: Program, found: Diagnostics) -> None:
    """Fill in what equations know of themselves; mark those that cannot be bound as broken."""
    siblings: dict[int, set[str]] = {}
    for equation in (*program.equations, *program.creates):
        equation.indices = _indices(equation)
        siblings.setdefault(id(equation.statement), set()).update(equation.indices)
    for equation in (*program.equations, *program.creates):
        before = len(found)
        equation.conditions = tuple(
            c for c in equation.conditions if not _is_for_a_sibling(c, equation, siblings)
        )
        _Analysis(equation, found).run()
        equation.broken = len(found) > before


# --- which words are indices


def _names_of(equation: Equation) -> Iterator[Pattern]:
    for unit in equation.units:
        yield from unit.names
    for target in equation.targets:
        if target.name is not None:
            yield target.name


def _indices(equation: Equation) -> frozenset[str]:
    """A word in braces is an index if it stands alone somewhere; else a let, if there is one."""
    regexes = regex_names(equation)
    parts = [part for name in _names_of(equation) for part in name.parts if isinstance(part, Index)]
    alone = {part.expr.name for part in parts if isinstance(part.expr, Name)} - regexes
    defined = {
        operand.name
        for condition in equation.conditions
        if isinstance(condition, rules.Compare) and condition.is_equation
        for operand in condition.operands
        if isinstance(operand, Name)
    }
    ranged = {
        c.index.name
        for c in equation.conditions
        if isinstance(c, rules.InRange) and isinstance(c.index, Name)
    }
    words = {name for part in parts for name in names(part.expr)}
    parameters = (words & (defined | set(equation.scope.lets))) - alone - ranged
    return frozenset((words | alone) - parameters - regexes)


def regex_names(equation: Equation) -> frozenset[str]:
    return frozenset(
        part.name for name in _names_of(equation) for part in name.parts if isinstance(part, Regex)
    )


def _is_for_a_sibling(
    condition: rules.Condition, equation: Equation, siblings: dict[int, set[str]]
) -> bool:
    """A block's condition on an index that this copy does not have, but another copy has."""
    foreign = siblings[id(equation.statement)] - equation.indices
    return not foreign.isdisjoint(condition_words(condition))


def condition_words(condition: rules.Condition) -> set[str]:
    match condition:
        case rules.Compare(operands, _):
            return {word for operand in operands for word in names(operand)}
        case rules.InRange(index, low, high):
            return names(index) | names(low) | names(high)
        case rules.Exists():
            return set()


class _Analysis:
    def __init__(self, equation: Equation, found: Diagnostics) -> None:
        self.equation = equation
        self.found = found

    def fault(
        self, code: str, message: str, span: Span | None, help: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        self.found.add(Diagnostic(code, message, span or self.equation.span, notes=notes, help=help))

    def run(self) -> None:
        before = len(self.found)
        self._names_are_sound()
        self._wildcards_pair_up()
        self._name_axes_pair_up()
        if len(self.found) > before:
            return
        self._variables()
        self._axes()
        self._words()

    # --- names

    def _names_are_sound(self) -> None:
        for side, names_ in ((0, self._left_names()), (1, self._right_names())):
            for name in names_:
                self._parts_are_sound(name, self.equation.separators[side])

    def _left_names(self) -> list[Pattern]:
        return [name for unit in self.equation.units for name in unit.names]

    def _right_names(self) -> list[Pattern]:
        return [target.name for target in self.equation.targets if target.name is not None]

    def _parts_are_sound(self, name: Pattern, separator: str) -> None:
        previous: Part | None = None
        for at, part in enumerate(name.parts):
            if isinstance(part, Deep):
                after = name.parts[at + 1] if at + 1 < len(name.parts) else None
                if not _ends_segment(previous, separator) or not _begins_segment(after, separator):
                    self.fault("MC208", "'**' stands for whole segments: put a separator beside it", name.span)
            if _is_open(previous) and _is_open(part) and not (_is_index(previous) and _is_fixed(part)):
                self.fault(
                    "MC208",
                    "two wildcards touch, so that a name could be read in two ways",
                    name.span,
                    "put a literal character between them",
                )
            if isinstance(part, Regex):
                self._regex_is_sound(part, name)
            if isinstance(part, Text) and not part.text.isprintable():
                self.fault("MC209", "a tensor's name has no control characters", name.span)
            previous = part
        if sum(isinstance(part, Deep) for part in name.parts) > 1:
            self.fault("MC208", "a name has one '**' at most", name.span)
        if not name.parts:
            self.fault("MC209", "a name is empty", name.span)
        else:
            text = "".join(p.text if isinstance(p, Text) else "x" for p in name.parts)
            if any(not segment for segment in text.split(separator)) and "[" not in print_name(name):
                help = f"two {separator!r} in a row, or one at an end"
                self.fault("MC209", f"{print_name(name)!r} has an empty segment", name.span, help)

    def _regex_is_sound(self, part: Regex, name: Pattern) -> None:
        fault = regex_fault(part.expression)
        if fault:
            help = "it is matched against one whole segment; the language is that of Python's re"
            self.fault("MC106", f"/{part.expression}/: {fault}", name.span, help)

    def _wildcards_pair_up(self) -> None:
        every = self._left_names() + self._right_names()
        for kind, sign in ((Star, "*"), (Deep, "**")):
            counts = [sum(isinstance(part, kind) for part in name.parts) for name in every]
            for name, count in zip(every, counts, strict=True):
                if count != counts[0]:
                    self.fault(
                        "MC202",
                        f"{count} '{sign}' here, {counts[0]} in {print_name(every[0])}",
                        name.span,
                        f"the k-th '{sign}' is the same text in every name of a rule",
                    )
                    return

    def _name_axes_pair_up(self) -> None:
        labels: dict[str, tuple[str, ...] | None] = {}
        for name in self._left_names() + self._right_names():
            seen: set[str] = set()
            for axis in name_axes(name):
                if axis.atom in seen:
                    self.fault("MC303", f"axis [{axis.atom}] stands twice in one name", name.span)
                seen.add(axis.atom)
                known = labels.setdefault(axis.atom, axis.labels)
                if known is None or axis.labels is None:
                    labels[axis.atom] = known or axis.labels
                elif len(known) != len(axis.labels):
                    self.fault(
                        "MC207",
                        f"axis [{axis.atom}] has {len(axis.labels)} labels here, {len(known)} elsewhere",
                        name.span,
                    )
                elif known != axis.labels and sorted(known) == sorted(axis.labels):
                    self.fault(
                        "MC203",
                        f"the same labels in another order: [{axis.atom}={','.join(known)}] and "
                        f"[{axis.atom}={','.join(axis.labels)}]",
                        name.span,
                        "labels pair by position; for a real swap write one rule for each tensor",
                    )

    # --- indices

    def _variables(self) -> None:
        equation = self.equation
        regexes = regex_names(equation)
        lefts = [variables_of(name, equation.indices, regexes) for name in self._left_names()]
        ours: dict[str, None] = {v: None for variables in lefts for v in variables}
        theirs = {v: None for name in self._right_names() for v in variables_of(name, equation.indices, regexes)}
        ranged = {
            c.index.name
            for c in equation.conditions
            if isinstance(c, rules.InRange) and isinstance(c.index, Name)
        }
        if isinstance(equation.statement, rules.Create):
            # There is no left side: the target's keys say what the indices are.
            ours = dict(theirs)
        for variable in [v for v in theirs if v not in ours]:
            if variable in ranged:
                ours[variable] = None
                continue
            what = f"{{{variable}}}" if variable[0] not in "*/" else variable.lstrip("/")
            self.fault(
                "MC204",
                f"{what} stands on the right only",
                next((n.span for n in self._right_names() if variable in variables_of(n, equation.indices, regexes)), None),
                f"capture it on the left, or give it values: where {variable} in 0..N" if what[0] == "{" else "",
            )
        full = [v for v in lefts if set(v) >= (set(ours) - (ranged & set(theirs)))]
        if lefts and not full and not set(ours) <= set().union(*map(set, lefts[:1])):
            self.fault(
                "MC204",
                "no name on the left has all the indices of the rule",
                equation.span,
                "one tensor of the left has to name every index, so that the others can be found",
            )
        equation.variables = tuple(ours)
        names_ = self._left_names() or self._right_names()
        for name in names_:
            problem = unsolvable(name, equation)
            if problem:
                self.fault(
                    "MC205",
                    f"{problem} in {print_name(name)}",
                    name.span,
                    "say how far the lower digit goes: {4*b + r} needs 'where r in 0..3'",
                )

    # --- axes

    def _axes(self) -> None:
        equation = self.equation
        left_sets = [_term_pieces(unit.shape, unit.names) for unit in equation.units]
        right_sets = [
            _term_pieces(target.shape, (target.name,) if target.name else ()) for target in equation.targets
        ]
        before = len(self.found)
        for term in (*equation.units, *equation.targets):
            self._no_atom_twice(term)
        if len(self.found) > before:
            return
        left = set().union(*(piece for sets in left_sets for piece in sets)) if left_sets else set()
        right = set().union(*(piece for sets in right_sets for piece in sets)) if right_sets else set()
        equation.atoms = frozenset(left | right)
        equation.repeated = frozenset(right - left)
        if only := left - right:
            self._only_left(only)
            return
        if REST in equation.repeated:
            self._rest_only_right()
            return
        self._link(left_sets, right_sets)

    def _only_left(self, only: set[str]) -> None:
        equation = self.equation
        if REST in only or any(t.shape == ANY_SHAPE for t in equation.targets if t.name is not None):
            bare = next((t for t in equation.targets if t.name is not None and t.shape == ANY_SHAPE), None)
            if bare is not None and REST not in only:
                self.fault("MC309", "the left side has axes, this name has none", bare.span, "write its shape")
                return
        word = ", ".join("..." if atom == REST else atom for atom in sorted(only))
        self.fault(
            "MC301",
            f"{word} on the left has no place on the right",
            equation.span,
            f'give it one, or say that it goes: drop : {word} because "..."',
        )

    def _rest_only_right(self) -> None:
        bare = next((u for u in self.equation.units if u.shape == ANY_SHAPE), None)
        span = bare.span if bare else self.equation.span
        self.fault("MC309", "'...' on the right has no '...' on the left", span, "name the dimensions, or write ... on both sides")

    def _no_atom_twice(self, term: Unit | Target) -> None:
        for piece in _choices(term.shape):
            seen: set[str] = set()
            for atom in piece:
                if atom in seen:
                    word = "'...'" if atom == REST else f"'{atom}'"
                    self.fault(
                        "MC303",
                        f"{word} stands twice in ': {print_shape(term.shape)}'",
                        term.span,
                        "give each axis a name of its own",
                    )
                    return
                seen.add(atom)
        patterns = term.names if isinstance(term, Unit) else (term.name,) if term.name else ()
        shaped = set(atoms(term.shape))
        for pattern in patterns:
            for axis in name_axes(pattern):
                if axis.atom in shaped:
                    self.fault(
                        "MC303", f"'{axis.atom}' stands in the name and in the shape of one tensor", term.span
                    )
                    return
        if len({frozenset(a.atom for a in name_axes(pattern)) for pattern in patterns}) > 1:
            self.fault("MC207", "tensors that one operation takes have other name axes", term.span)

    def _link(self, left: list[list[frozenset[str]]], right: list[list[frozenset[str]]]) -> None:
        equation = self.equation
        where: dict[frozenset[str], tuple[int, int]] = {}
        for u, sets in enumerate(left):
            for b, piece in enumerate(sets):
                if piece in where:
                    self._not_told_apart(equation.units[u], piece)
                    return
                where[piece] = (u, b)
        links: list[Link] = []
        unused = dict(where)
        for t, sets in enumerate(right):
            seen: set[frozenset[str]] = set()
            for b, piece in enumerate(sets):
                key = piece - equation.repeated
                if key in seen:
                    self._not_told_apart(equation.targets[t], key)
                    return
                seen.add(key)
                if key not in where:
                    self._does_not_correspond(equation.targets[t].span, piece, where)
                    return
                unused.pop(key, None)
                links.append(Link(*where[key], t, b))
        if unused:
            piece, (u, _) = next(iter(unused.items()))
            self._does_not_correspond(equation.units[u].span, piece, [s for sets in right for s in sets])
            return
        equation.links = tuple(links)

    def _not_told_apart(self, term: Unit | Target, piece: frozenset[str]) -> None:
        help = "name the pieces: (q + k); or write a product: (2 d)"
        if term.shape == ANY_SHAPE:
            help = "give each tensor a shape, or bring them together: (a, b) | cat -> c"
        self.fault("MC304", f"two pieces of {_words(piece)} on one side: which is which?", term.span, help)

    def _does_not_correspond(
        self, span: Span | None, piece: frozenset[str], others: Iterable[frozenset[str]]
    ) -> None:
        known = ", ".join(sorted(_words(other) for other in others))
        self.fault(
            "MC305",
            f"a piece with the axes {_words(piece)} has no counterpart",
            span,
            "each piece has the same axes on both sides",
            (f"pieces of the other side: {known}",),
        )

    # --- words in conditions

    def _words(self) -> None:
        equation = self.equation
        parameters = {
            word
            for name in self._left_names() + self._right_names()
            for part in name.parts
            if isinstance(part, Index)
            for word in names(part.expr)
        } - equation.indices
        known = set(equation.atoms) | set(equation.indices) | parameters | set(equation.scope.lets)
        known |= set(equation.scope.overrides) | self._defined_words(parameters)
        for condition in equation.conditions:
            usable = known
            if not (isinstance(condition, rules.Compare) and condition.is_equation):
                usable = known - (set(equation.atoms) - set(equation.indices) - set(equation.scope.lets))
            for word in sorted(condition_words(condition) - usable):
                near = nearest(word, sorted(usable - {REST}), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"write 'let {word} = ...'"
                if word in equation.atoms:
                    hint = "sizes are not known yet when tensors are chosen; '=' states a size"
                self.fault("MC104", f"{word!r} is not known in this rule", condition.span, hint)
            if isinstance(condition, rules.Compare) and condition.is_equation:
                self._equation_has_a_subject(condition, parameters)

    def _defined_words(self, parameters: set[str]) -> set[str]:
        """``n = count(...)``: a word that one equation defines and something else uses."""
        equations = [c for c in self.equation.conditions if isinstance(c, rules.Compare) and c.is_equation]
        defined = {o.name for c in equations for o in c.operands if isinstance(o, Name)}
        used = [word for c in self.equation.conditions for word in condition_words(c)]
        return {word for word in defined if word in parameters or used.count(word) > 1}

    def _equation_has_a_subject(self, condition: rules.Compare, parameters: set[str]) -> None:
        equation = self.equation
        words = condition_words(condition)
        if words & (equation.atoms | parameters) or words - equation.indices - set(equation.scope.lets):
            return
        self.fault(
            "MC104",
            "'=' gives a size, but no axis of this rule stands in it",
            condition.span,
            "'==' compares",
        )


def _words(piece: frozenset[str]) -> str:
    return "(" + " ".join(sorted(piece)) + ")" if piece else "()"


def _choices(shape: tuple) -> Iterator[list[str]]:  # type: ignore[type-arg]
    """The atoms of every block as lists, so that repetitions show."""
    from mapcc.ir.axes import Product, Sum

    if not shape:
        yield []
        return
    first, *rest = shape
    match first:
        case Sum(parts):
            heads = [head for part in parts for head in _choices((part,))]
        case Product(factors):
            heads = list(_choices(factors))
        case _:
            heads = [list(atoms((first,)))]
    for head in heads:
        for tail in _choices(tuple(rest)):
            yield head + tail


def _term_pieces(shape: tuple, names_: tuple[Pattern, ...]) -> list[frozenset[str]]:  # type: ignore[type-arg]
    in_names = frozenset(axis.atom for name in names_ for axis in name_axes(name))
    return [piece | in_names for piece in pieces(shape)]


def variables_of(name: Pattern, indices: frozenset[str], regexes: frozenset[str]) -> dict[str, None]:
    """The variables of a name in order: indices, stars, expressions."""
    out: dict[str, None] = {}
    stars = deeps = 0
    for part in name.parts:
        match part:
            case Star():
                stars += 1
                out[f"*{stars}"] = None
            case Deep():
                deeps += 1
                out[f"**{deeps}"] = None
            case Regex(word, _):
                out[f"/{word}"] = None
            case Index(Name(word)) if word in regexes:
                out[f"/{word}"] = None
            case Index(expr):
                out.update((word, None) for word in sorted(names(expr)) if word in indices)
            case _:
                pass
    return out


def _is_open(part: Part | None) -> bool:
    return isinstance(part, Star | Index | Regex | Deep) or (isinstance(part, NameAxis) and part.labels is None)


def _is_index(part: Part | None) -> bool:
    return isinstance(part, Index | NameAxis)


def _is_fixed(part: Part | None) -> bool:
    return isinstance(part, Text)


def _ends_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.endswith(separator))


def _begins_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.startswith(separator))


