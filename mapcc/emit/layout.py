"""Python expressions as trees, and how they are laid out: as ruff does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WIDTH = 110


@dataclass(frozen=True, slots=True)
class Call:
    """Text, brackets with items in them, and text."""

    head: str | Call
    items: tuple[Expr, ...]
    brackets: str = "()"


Expr = str | Call


def call(head: Expr, items: Iterable[Expr], brackets: str = "()") -> Call:
    """``head(items)``; without a head a tuple, or a list."""
    return Call(head, tuple(items), brackets)


def chained(of: Expr, method: str, items: Iterable[str]) -> Call:
    assert method.isidentifier()
    return Call(of, tuple(items), f".{method}()")


def subscript(of: Expr, items: Iterable[str]) -> Call:
    return Call(of, tuple(items), "[]")


def flat(expr: Expr) -> str:
    """An expression on one line.

    >>> print(flat(chained(subscript("x", [":", "1"]), "reshape", ["a"])), flat(call("", ["1"])))
    x[:, 1].reshape(a) (1,)
    """
    if isinstance(expr, str):
        return expr
    head = flat(expr.head)
    before, last = expr.brackets[:-1], expr.brackets[-1]
    single = "," if expr.brackets == "()" and not head and len(expr.items) == 1 else ""
    return f"{head}{before}{', '.join(map(flat, expr.items))}{single}{last}"


def laid_out(expr: Expr, indent: int = 0, before: str = "", after: str = "") -> list[str]:
    """An expression on lines of at most 110 characters, if it has brackets to break at."""
    line = " " * indent + before + flat(expr) + after
    if len(line) <= WIDTH or isinstance(expr, str) or not expr.items:
        return [line]
    opening, last = expr.brackets[:-1], expr.brackets[-1]
    if isinstance(expr.head, Call) and opening.startswith("."):
        tail = f"{opening}{', '.join(map(flat, expr.items))}{last}{after}"
        if indent + len(tail) < WIDTH:
            return laid_out(expr.head, indent, before, tail)
    head = laid_out(expr.head, indent, before, opening)
    inner = [" " * (indent + 4) + ", ".join(map(flat, expr.items))]
    if not (expr.head and expr.brackets.endswith("()") and len(inner[0]) <= WIDTH):
        inner = [line for item in expr.items for line in laid_out(item, indent + 4, "", ",")]
    return [*head, *inner, " " * indent + last + after]


def text(value: str) -> str:
    r"""A string literal as ruff writes it, in ASCII.

    >>> print(text("a.b"), text("it's"), text('"'), text("a\nb\\"))
    "a.b" "it's" '"' "a\nb\\"
    """
    body = "".join(char if char in "'\"" else ascii(char)[1:-1] for char in value)
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + body.replace(quote, f"\\{quote}") + quote


def steps(expr: Expr, name: str) -> list[Expr]:
    """A long chain of methods in two: a call, and what is done with its result."""
    tails = []
    inner = expr
    while isinstance(inner, Call) and isinstance(inner.head, Call) and inner.brackets != "()":
        tails.append(inner)
        inner = inner.head
    if len(tails) < 2 or len(flat(expr)) < WIDTH - len("    return "):
        return [expr]
    rest: Expr = name
    for tail in reversed(tails[:-1]):
        rest = Call(rest, tail.items, tail.brackets)
    return [tails[-1], rest]
