"""Names, shapes, expressions and terms as they are written; both printers use them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from mapcc.ir import axes, rules
from mapcc.ir.expr import Binary, Config, Count, Expr, Name, Negative, Number, Quoted
from mapcc.ir.patterns import PLAIN, Deep, Group, Index, NameAxis, Part, Pattern, Regex, Star, Text

KEYWORDS = frozenset(
    (
        *("mapping", "about", "let", "separator", "dtype", "use", "default"),
        *("keep", "drop", "external", "create"),
        *("source", "target", "inverse", "under", "because", "optional", "where", "allow"),
        *("same", "as"),
        *("in", "not", "exists", "count"),
    )
)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}


# --- names


def quote(text: str) -> str:
    """In double quotes, with the escapes of JSON for what cannot be seen."""
    return '"' + "".join(map(escaped, text)) + '"'


def escaped(char: str) -> str:
    if char in '"\\' or char < " ":
        return json.dumps(char)[1:-1]
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def visible_comment(comment: str) -> str:
    """A comment without what could end its line, or drive a terminal."""
    return "".join(char if char.isprintable() or char == "\t" else " " for char in comment).rstrip()


def print_name(pattern: Pattern) -> str:
    match pattern.parts:
        case ():
            return '""'
        case (Text(text),) if text in KEYWORDS:
            return quote(text)
        case _:
            return print_parts(pattern.parts)


def print_prefix(pattern: Pattern) -> str:
    """A block's side."""
    return print_name(pattern) if pattern.parts else "."


def print_parts(parts: Sequence[Part]) -> str:
    return "".join(print_part(part) for part in parts)


def print_part(part: Part) -> str:
    match part:
        case Text(text, quoted):
            return text if PLAIN.fullmatch(text) and not quoted else quote(text)
        case Star():
            return "*"
        case Deep():
            return "**"
        case Index(expr, width):
            # A bare product is as tight as one inside a sum.
            least = 2 if isinstance(expr, Binary) and expr.op not in "+-" else 0
            return "{" + print_expr(expr, not _has_product(expr), least) + _width(width) + "}"
        case Regex(name, expression):
            return "{" + f"{name}:/" + expression.replace("/", "\\/") + "/}"
        case Group(members):
            return "{" + ",".join(print_parts(member) for member in members) + "}"
        case NameAxis(atom, None, width):
            return f"[{atom}{_width(width)}]"
        case NameAxis(atom, labels):
            return f"[{atom}={','.join(labels or ())}]"


def _width(width: int) -> str:
    return f":0{width}" if width else ""


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
    if isinstance(piece, axes.Product) and piece.factors:
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
            space = "" if tight or op == "**" or (op == "*" and least) else " "
            text = f"{print_expr(left, tight, first)}{space}{op}{space}{print_expr(right, tight, second)}"
            return f"({text})" if level < least else text


def _has_product(expr: Expr) -> bool:
    """``{4*b + r}`` has spaces, ``{n-1-i}`` has none."""
    return isinstance(expr, Binary) and (
        expr.op not in "+-" or _has_product(expr.left) or _has_product(expr.right)
    )


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


def print_allow(allow: rules.Allow) -> str:
    return f"allow {', '.join(allow.codes)} because {quote(allow.because)}"


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


def print_names(names: Iterable[Pattern]) -> str:
    return ", ".join(print_name(name) for name in names)
