"""Rules to text, in the canonical form: ``parse(print(m)) == m``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from mapcc.ir import axes, rules
from mapcc.ir.expr import Binary, Config, Count, Expr, Name, Negative, Number, Quoted
from mapcc.ir.patterns import Deep, Group, Index, NameAxis, Part, Pattern, Regex, Star, Text

WIDTH = 110
INDENT = "    "

_PLAIN = re.compile(r"(?:[A-Za-z0-9_.\/]|-(?!>))+")
KEYWORDS = frozenset(
    (
        *("mapping", "let", "separator", "use", "keep", "drop", "external", "create", "default", "dtype"),
        *("source", "target", "under", "because", "optional", "where", "in", "not", "exists", "count"),
    )
)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}


# --- names


def quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def print_name(pattern: Pattern) -> str:
    if not pattern.parts:
        return "."
    match pattern.parts:
        case (Text(text),) if text in KEYWORDS or text == ".":
            return quote(text)
        case _:
            return _parts(pattern.parts)


def _parts(parts: Sequence[Part]) -> str:
    return "".join(_part(part) for part in parts)


def _part(part: Part) -> str:
    match part:
        case Text(text):
            return text if _PLAIN.fullmatch(text) else quote(text)
        case Star():
            return "*"
        case Deep():
            return "**"
        case Index(expr):
            return "{" + print_expr(expr, tight=not isinstance(expr, Binary) or expr.op in "+-") + "}"
        case Regex(name, expression):
            return "{" + f"{name}:/" + expression.replace("/", "\\/") + "/}"
        case Group(members):
            return "{" + ",".join(_parts(member) for member in members) + "}"
        case NameAxis(atom, None):
            return f"[{atom}]"
        case NameAxis(atom, labels):
            return f"[{atom}={','.join(labels or ())}]"


# --- shapes


def print_shape(shape: axes.Shape) -> str:
    return " ".join(_dim(dim) for dim in shape) if shape else "()"


def _dim(dim: axes.Dim) -> str:
    match dim:
        case axes.Atom(name):
            return name
        case axes.Literal(size):
            return str(size)
        case axes.Rest():
            return axes.REST
        case axes.Product(factors):
            return f"({' '.join(_dim(factor) for factor in factors)})"
        case axes.Sum(parts):
            return f"({' + '.join(_piece(part) for part in parts)})"


def _piece(piece: axes.Dim) -> str:
    if isinstance(piece, axes.Product):
        return " ".join(_dim(factor) for factor in piece.factors)
    return _dim(piece)


# --- expressions


def print_expr(expr: Expr, tight: bool = False, least: int = 0) -> str:
    match expr:
        case Number(value):
            return repr(value)
        case Quoted(text):
            return quote(text)
        case Name(name):
            return name
        case Config(side, path):
            return ".".join((side, "config", *path))
        case Count(pattern):
            return f"count({print_name(pattern)})"
        case Negative(operand):
            text = "-" + print_expr(operand, tight, 3)
            return f"({text})" if least > 2 else text
        case Binary(op, left, right):
            level = _PRECEDENCE[op]
            first, second = (5, 3) if op == "**" else (level, level + 1)
            space = "" if tight or op in ("*", "**") else " "
            text = f"{print_expr(left, tight, first)}{space}{op}{space}{print_expr(right, tight, second)}"
            return f"({text})" if level < least else text


def print_condition(condition: rules.Condition) -> str:
    match condition:
        case rules.InRange(index, low, high):
            return f"{print_expr(index)} in {print_expr(low)}..{print_expr(high)}"
        case rules.Exists(pattern, negated):
            return f"{'not ' if negated else ''}exists({print_name(pattern)})"
        case rules.Compare(operands, operators):
            text = print_expr(operands[0])
            for op, operand in zip(operators, operands[1:], strict=True):
                text += f" {op} {print_expr(operand)}"
            return text


def print_where(conditions: Sequence[rules.Condition]) -> str:
    return ", ".join(print_condition(condition) for condition in conditions)


# --- terms


def print_argument(argument: rules.Argument) -> str:
    match argument:
        case tuple():
            return f"[{', '.join(print_expr(item) for item in argument)}]"
        case Negative(Number()) | Number() | Quoted() | Name() | Config():
            return print_expr(argument)
        case _:
            return f"({print_expr(argument)})"


def print_op(op: rules.Op) -> str:
    words = [op.name, *map(print_argument, op.arguments)]
    words += [f"{key}={print_argument(value)}" for key, value in op.options]
    return " ".join(words)


def print_term(term: rules.Term) -> str:
    match term:
        case rules.Dropped(shape, because):
            return f"drop : {print_shape(shape)} because {quote(because)}"
        case rules.Created(shape, value):
            return f"create : {print_shape(shape)} = {print_expr(value)}"
        case rules.Tensor(name, shape, ops):
            return print_name(name) + _shape_and_ops(shape, ops)
        case rules.Bundle(members, shape, ops):
            inner = ", ".join(print_term(member) for member in members)
            return f"({inner})" + _shape_and_ops(shape, ops)


def _shape_and_ops(shape: axes.Shape | None, ops: Sequence[rules.Op]) -> str:
    text = "" if shape is None else f" : {print_shape(shape)}"
    return text + "".join(f" | {print_op(op)}" for op in ops)


def print_side(terms: Sequence[rules.Term]) -> str:
    return ", ".join(print_term(term) for term in terms)


def _names(names: Iterable[Pattern]) -> str:
    return ", ".join(print_name(name) for name in names)


# --- statements


def print_mapping(mapping: rules.Mapping) -> str:
    """The canonical text of a mapping, comments included."""
    lines: list[str] = [*_comments(mapping.trivia.before, "")]
    if mapping.name is not None:
        title = f" {quote(mapping.title)}" if mapping.title else ""
        lines.append(_with_comment(f"mapping {mapping.name}{title}", mapping.trivia.after))
    lines += _body(mapping.body, "")
    lines += _comments(mapping.tail, "")
    while lines and not lines[0]:
        lines.pop(0)
    return "\n".join(lines) + "\n"


def _comments(comments: Iterable[str], indent: str) -> list[str]:
    return [indent + comment if comment else "" for comment in comments]


def _with_comment(line: str, comment: str) -> str:
    return f"{line}  {comment}" if comment else line


def _body(body: Sequence[rules.Statement], indent: str) -> list[str]:
    lines: list[str] = []
    for run in _runs(body):
        width = max((len(_left(s)) for s in run if isinstance(s, rules.Rule)), default=0)
        if width > WIDTH // 2 - len(indent):
            width = 0
        for statement in run:
            lines += _comments(statement.trivia.before, indent)
            lines += _statement(statement, indent, width)
    return lines


def _runs(body: Sequence[rules.Statement]) -> list[list[rules.Statement]]:
    """Neighbouring statements without an empty line between them: their arrows align."""
    runs: list[list[rules.Statement]] = []
    for statement in body:
        together = isinstance(statement, rules.Rule) and "" not in statement.trivia.before
        if runs and together and isinstance(runs[-1][-1], rules.Rule):
            runs[-1].append(statement)
        else:
            runs.append([statement])
    return runs


def _left(rule: rules.Rule) -> str:
    return print_side(rule.left)


def _rule(rule: rules.Rule, indent: str, width: int) -> list[str]:
    arrow = "<->" if rule.bijective else "->"
    left, right = _left(rule), print_side(rule.right)
    tail = _modifiers(rule.modifiers)
    line = f"{indent}{left:<{width}} {arrow} {right}" + (f"   {tail}" if tail else "")
    if len(line) <= WIDTH:
        return [line]
    # Too long: arrow, targets and conditions each on a line of their own.
    inner = indent + INDENT
    lines = [indent + left, f"{inner}{arrow} {right}"]
    if len(lines[-1]) > WIDTH:
        terms = [print_term(term) for term in rule.right]
        head = f"{inner}{arrow} "
        lines[-1:] = [
            (head if k == 0 else " " * len(head)) + term + ("," if k < len(terms) - 1 else "")
            for k, term in enumerate(terms)
        ]
    if tail:
        lines.append(inner + tail)
    return lines


def _modifiers(modifiers: rules.Modifiers) -> str:
    words = []
    if modifiers.optional:
        words.append("optional")
    if modifiers.where:
        words.append(f"where {print_where(modifiers.where)}")
    return "   ".join(words)


def _joined(head: str, modifiers: rules.Modifiers) -> str:
    tail = _modifiers(modifiers)
    return f"{head}   {tail}" if tail else head


def _statement(statement: rules.Statement, indent: str, width: int) -> list[str]:
    after = statement.trivia.after
    match statement:
        case rules.Rule():
            lines = _rule(statement, indent, width)
            return [*lines[:-1], _with_comment(lines[-1], after)]
        case rules.Block(left, right, body, modifiers):
            head = _joined(f"{indent}{print_name(left)} -> {print_name(right)}", modifiers) + " {"
            return _braces(head, _body(body, indent + INDENT), statement.tail, after, indent)
        case rules.Default(body):
            return _braces(f"{indent}default {{", _body(body, indent + INDENT), statement.tail, after, indent)
        case rules.OutputDtype(dtype, keeps):
            if not keeps:
                return [_with_comment(f"{indent}dtype {dtype}", after)]
            inner = [line for keep in keeps for line in _keep_dtype(keep, indent + INDENT)]
            return _braces(f"{indent}dtype {dtype} {{", inner, statement.tail, after, indent)
        case _:
            return [_with_comment(indent + _simple(statement), after)]


def _braces(head: str, body: list[str], tail: Sequence[str], after: str, indent: str) -> list[str]:
    return [_with_comment(head, after), *body, *_comments(tail, indent + INDENT), indent + "}"]


def _keep_dtype(keep: rules.KeepDtype, indent: str) -> list[str]:
    kind = f"{keep.dtype} : " if keep.dtype else ""
    line = f"{indent}keep {kind}{_names(keep.names)}"
    return [*_comments(keep.trivia.before, indent), _with_comment(line, keep.trivia.after)]


def _simple(
    statement: rules.Let
    | rules.Use
    | rules.Keep
    | rules.Drop
    | rules.External
    | rules.Create
    | rules.Separator,
) -> str:
    match statement:
        case rules.Let(name, value):
            return f"let {name} = {print_expr(value)}"
        case rules.Separator(side, text):
            return f"separator {side} {quote(text)}"
        case rules.Use(path, left, right, modifiers):
            under = f" under {print_name(left)} -> {print_name(right)}" if left.parts or right.parts else ""
            return _joined(f"use {quote(path)}{under}", modifiers)
        case rules.Keep(names, modifiers):
            return _joined(f"keep {_names(names)}", modifiers)
        case rules.Drop(names, because, modifiers):
            return _joined(f"drop {_names(names)} because {quote(because)}", modifiers)
        case rules.External(names, because, modifiers):
            return _joined(f"external {_names(names)} because {quote(because)}", modifiers)
        case rules.Create(names, shape, value, ops, modifiers):
            text = f"create {_names(names)} : {print_shape(shape)} = {print_expr(value)}"
            return _joined(text + "".join(f" | {print_op(op)}" for op in ops), modifiers)
