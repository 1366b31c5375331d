"""Assignments that stand in functions: what a table is called that a class makes when it is made."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mapcc.dialects.python_source import Assigned, PythonSource


def assigned_anywhere(python: PythonSource) -> Iterator[Assigned]:
    """Those of the file and its classes, then those within functions, in the order of writing.

    ``self.x = ...`` within a method is the class's ``Class.x``; a plain name is
    ``Class.method.x``.
    """
    yield from python.assigned()
    yield from _in(python, python.tree.body, "", "")


def _in(python: PythonSource, body: list[ast.stmt], owner: str, prefix: str) -> Iterator[Assigned]:
    """``owner`` is the class, ``prefix`` the function within it ("" outside of functions)."""
    for statement in body:
        match statement:
            case ast.ClassDef(name=name, body=inner):
                yield from _in(python, inner, f"{owner}{name}.", "")
            case ast.FunctionDef(name=name, body=inner) | ast.AsyncFunctionDef(name=name, body=inner):
                yield from _in(python, inner, owner, f"{prefix or owner}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if prefix:
                yield Assigned(prefix + name, value, python.span(statement))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if prefix:
                yield Assigned(prefix + name, value, python.span(statement))
            case (
                ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)], value=value)
                | ast.AnnAssign(
                    target=ast.Attribute(value=ast.Name(id="self"), attr=name), value=ast.expr() as value
                )
            ) if prefix:
                yield Assigned(owner + name, value, python.span(statement))
            case ast.If() | ast.For() | ast.While() | ast.With() | ast.Try():
                for inner in _bodies(statement):
                    yield from _in(python, inner, owner, prefix)
            case _:
                pass


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for handler in getattr(statement, "handlers", []):
        yield handler.body
