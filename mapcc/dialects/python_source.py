"""Python source read for the tables in it: parsed, and never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.text import Source, Span


@dataclass(frozen=True, slots=True)
class Called:
    """``f(1, a=2)``: a call that stands for a value, with its arguments read."""

    name: str
    arguments: tuple[object, ...]
    keywords: tuple[tuple[str, object], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Items:
    """A dict, in its order, with the place of every entry; a dict forgets a key that stands twice."""

    entries: tuple[tuple[object, object, Span], ...]
    span: Span


class NotLiteral(Exception):
    """An expression that would have to be run."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


@dataclass(frozen=True, slots=True)
class Assigned:
    """``name = value`` somewhere in a file, in a class as ``Class.name``; the value is not read yet."""

    name: str
    node: ast.expr
    span: Span


class PythonSource:
    """A parsed file.

    Raises:
        MappingError: MC003: it is not Python.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lines = [line.encode() for line in source.text.splitlines(keepends=True)]
        self._starts = [0]
        for line in source.text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.tree = _tree(source)
        self._constants = {found.name: found.node for found in self.assigned() if "." not in found.name}

    def span(self, node: ast.AST) -> Span:
        return Span(
            self.source,
            self._offset(node, "lineno", "col_offset"),
            self._offset(node, "end_lineno", "end_col_offset"),
        )

    def _offset(self, node: ast.AST, line: str, column: str) -> int:
        # Columns of the ast are in bytes of UTF-8.
        at: int = getattr(node, line) - 1
        return self._starts[at] + len(self._lines[at][: getattr(node, column)].decode(errors="replace"))

    def assigned(self) -> Iterator[Assigned]:
        """All assignments to one name, those of class bodies too; a field's default factory is its value."""
        yield from self._in(self.tree.body, "")

    def _in(self, body: list[ast.stmt], prefix: str) -> Iterator[Assigned]:
        for statement in body:
            match statement:
                case ast.ClassDef(name=name, body=inner):
                    yield from self._in(inner, f"{prefix}{name}.")
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    yield Assigned(prefix + name, _default(value), self.span(statement))
                case _:
                    pass

    def value(self, node: ast.expr) -> object:
        """A literal's value: dicts as :class:`Items`, lists and tuples as tuples and lists, calls as
        :class:`Called`; sums of strings, and names of constants of the file, are followed.

        Raises:
            NotLiteral: anything that would have to be run.
        """
        try:
            return self._value(node, ())
        except RecursionError:
            raise NotLiteral("the value is nested too deeply", self.span(node)) from None

    def _value(self, node: ast.expr, following: tuple[str, ...]) -> object:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Dict() if None not in node.keys:
                entries = []
                for key, item in zip(node.keys, node.values, strict=True):
                    assert key is not None
                    span = self.span(key).to(self.span(item))
                    entries.append((self._value(key, following), self._value(item, following), span))
                return Items(tuple(entries), self.span(node))
            case ast.List(elts=items):
                return [self._value(item, following) for item in items]
            case ast.Tuple(elts=items):
                return tuple(self._value(item, following) for item in items)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                first, second = self._value(left, following), self._value(right, following)
                if isinstance(first, str) and isinstance(second, str):
                    return first + second
                if isinstance(first, list) and isinstance(second, list):
                    return first + second
            case ast.Name(id=name) if name in self._constants and name not in following:
                return self._value(self._constants[name], (*following, name))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return Called(
                    ast.unparse(function).rpartition(".")[2],
                    tuple(self._value(argument, following) for argument in arguments),
                    tuple((k.arg or "**", self._value(k.value, following)) for k in keywords),
                    self.span(node),
                )
        what = ast.unparse(node)
        raise NotLiteral(f"`{what[:60]}` would have to be run", self.span(node))


def _tree(source: Source) -> ast.Module:
    try:
        return ast.parse(source.text)
    except SyntaxError as error:
        why = f"{error.msg} (line {error.lineno})" if error.lineno else error.msg
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; nested beyond the parser's depth
        why = str(error) or "nested too deeply"
    raise MappingError([Diagnostic("MC003", f"`{source.name}` is not Python: {why}")])


def _default(node: ast.expr) -> ast.expr:
    """``field(default_factory=lambda: {...})`` is the dict."""
    match node:
        case ast.Call(func=ast.Name(id="field") | ast.Attribute(attr="field"), keywords=keywords):
            for keyword in keywords:
                match keyword:
                    case ast.keyword(arg="default_factory", value=ast.Lambda(body=body)):
                        return body
                    case ast.keyword(arg="default", value=value):
                        return value
    return node
