"""What a word means: lets (with ``--set`` before them) and the configs of both sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Edit, Fix
from mapcc.diagnostics.suggest import is_slip, nearest
from mapcc.ir.expr import Config, Count, Expr, Lookup, Name, Unevaluable, Value, evaluate, leaves
from mapcc.ir.program import Scope
from mapcc.text import Span


def let_lookup(scope: Scope) -> Lookup:
    """The values of lets and configs; :class:`Unevaluable` for everything else."""

    def lookup(leaf: Name | Config | Count) -> Value:
        match leaf:
            case Name(name):
                return let_value(name, scope, leaf.span)
            case Config(side, path):
                return config_value(scope.configs.get(side), side, path, leaf.span)
            case Count():
                raise Unevaluable("count(...) stands in a 'where' only", span=leaf.span)

    return lookup


def let_value(name: str, scope: Scope, span: Span | None) -> Value:
    """The value of a let, which is found once: lets that stand on lets cost no more than their text."""
    if name in scope.overrides:
        return scope.overrides[name]
    if name not in scope.lets:
        raise Unevaluable(f"{name!r} is not known here", name, span)
    if name not in scope.values:
        _evaluate_lets(name, scope)
    value = scope.values[name]
    if isinstance(value, Unevaluable):
        raise Unevaluable(str(value), value.name, value.span)
    return value


def _evaluate_lets(wanted: str, scope: Scope) -> None:
    """A let and those that it stands on, the innermost first; without recursion, as chains may be long."""
    stack = [wanted]
    open_: set[str] = set()  # they wait for those above them
    while stack:
        name = stack[-1]
        missing = [] if name in scope.values else _missing(name, scope)
        if missing and name not in open_:
            open_.add(name)
            circle = next((word for word in missing if word in open_), None)
            if circle is None:
                stack += dict.fromkeys(missing)
                continue
            text = f"'let {circle}' is defined by itself"
            scope.values[circle] = Unevaluable(text, None, scope.lets[circle].span)
        stack.pop()
        if name not in scope.values:
            try:
                scope.values[name] = evaluate(scope.lets[name].value, let_lookup(scope))
            except Unevaluable as error:
                scope.values[name] = error


def _missing(name: str, scope: Scope) -> list[str]:
    """The lets that a let stands on and that have no value yet."""
    words = [leaf.name for leaf in leaves(scope.lets[name].value) if isinstance(leaf, Name)]
    return [w for w in words if w in scope.lets and w not in scope.overrides and w not in scope.values]


def config_value(
    config: Mapping[str, object] | None, side: str, path: Sequence[str], span: Span | None
) -> Value:
    whole = ".".join((side, "config", *path))
    if config is None:
        raise Unevaluable(f"{whole}: there is no config.json beside the {side}", whole, span)
    at: object = config
    for key in path:
        if not isinstance(at, Mapping) or key not in at:
            keys = list(at) if isinstance(at, Mapping) else []
            near = nearest(key, keys, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Unevaluable(f"{whole}: config.json has no {key!r}{hint}", whole, span)
        at = at[key]
    if isinstance(at, bool):
        return int(at)
    if isinstance(at, int | float | str):
        return at
    raise Unevaluable(f"{whole} is not a number or a text", whole, span)


def known_words(scope: Scope) -> str:
    return ", ".join(sorted(scope.lets)) or "none"


def report(error: Unevaluable, scope: Scope, span: Span | None, found: Diagnostics) -> None:
    """An expression that has no value, as a diagnostic."""
    if error.name is None:
        found.add(Diagnostic("MC108", str(error), error.span or span))
    elif ".config." in error.name:
        side = error.name.split(".")[0]
        help = f"give --{side}-config FILE, or write a 'let' and set it with --set NAME=VALUE"
        found.add(Diagnostic("MC104", str(error), error.span or span, help=help))
    else:
        near = nearest(error.name, list(scope.lets), 1)
        help = f"did you mean {near[0]!r}?" if near else f"write 'let {error.name} = ...'"
        notes = (f"lets of this file: {known_words(scope)}",)
        fixes = _instead(error.name, near, error.span)
        found.add(Diagnostic("MC104", str(error), error.span or span, notes=notes, help=help, fixes=fixes))


def evaluated(expr: Expr, scope: Scope, span: Span | None, found: Diagnostics) -> Value | None:
    """The value of an expression over lets; None, with a diagnostic, if it has none."""
    try:
        return evaluate(expr, let_lookup(scope))
    except Unevaluable as error:
        report(error, scope, span, found)
        return None


def meant_word(word: str, near: Sequence[str], among: Iterable[Name | Config | Count]) -> tuple[Fix, ...]:
    """The known word in place of each that is not known."""
    spans = [leaf.span for leaf in among if isinstance(leaf, Name) and leaf.name == word]
    edits = [edit for span in spans for fix in _instead(word, near, span) for edit in fix.edits]
    certain = bool(near) and is_slip(word, near[0])
    return (Fix(f"write {near[0]}", tuple(edits), certain),) if edits else ()


def _instead(word: str, near: Sequence[str], span: Span | None) -> tuple[Fix, ...]:
    if not near or span is None or span.text != word:
        return ()
    return (Fix(f"write {near[0]}", (Edit(span, near[0]),), is_slip(word, near[0])),)
