"""From Lark's tree to the rules of :mod:`mapcc.ir.rules`. One function a kind of node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lark import Token, Tree

from mapcc.diagnostics.codes import CODES
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.diagnostics.suggest import nearest
from mapcc.ir import axes, patterns, rules
from mapcc.ir import expr as expressions
from mapcc.ir.notation import KEYWORDS
from mapcc.text import Source, Span

Node = Tree[Token]

_BINARY = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "modulo": "%",
    "power": "**",
}

MAX_OPERATORS = 100

_AFTER_A_SHAPE = frozenset({"because", "optional", "where", "allow"})


@dataclass(slots=True)
class Builder:
    """Reads trees of one source; ``at`` maps an offset in the parsed text to one in the source."""

    source: Source
    found: Diagnostics
    at: Callable[[int], int]
    _depth: int = 0

    # --- places

    def span(self, node: Node | Token) -> Span:
        if isinstance(node, Token):
            start, end = node.start_pos or 0, node.end_pos or 0
        else:
            start, end = getattr(node.meta, "start_pos", 0), getattr(node.meta, "end_pos", 0)
        return Span(self.source, self.at(start), self.at(end))

    def fault(self, code: str, message: str, node: Node | Token, help: str = "") -> None:
        self.found.add(Diagnostic(code, message, self.span(node), help=help))

    # --- statements

    def statements(self, body: Node) -> tuple[rules.Statement, ...]:
        return tuple(
            self.statement(child)
            for child in body.children
            if isinstance(child, Tree) and child.data != "header"
        )

    def statement(self, node: Node) -> rules.Statement:
        build: Callable[[Node], rules.Statement] = getattr(self, f"_{node.data}")
        return build(node)

    def _about(self, node: Node) -> rules.About:
        text = self.string(_token(node, "STRING"))
        return rules.About(str(_token(node, "IDENT")), text, span=self.span(node))

    def _let(self, node: Node) -> rules.Let:
        name = _token(node, "IDENT")
        if name in KEYWORDS:
            self.fault("MC101", f"{str(name)!r} is a keyword", name)
        return rules.Let(str(name), self.expression(node.children[-1]), span=self.span(node))

    def _separator(self, node: Node) -> rules.Separator:
        text = self.string(_token(node, "STRING"))
        if len(text) != 1:
            self.fault("MC101", "a separator is one character", _token(node, "STRING"))
        return rules.Separator(str(_token(node, "SIDE")), text or ".", span=self.span(node))

    def _use(self, node: Node) -> rules.Use:
        sides = [_prefix_name(self.name(child)) for child in _trees(node, "name")] or [patterns.EMPTY] * 2
        path = self.string(_token(node, "STRING"))
        inverse = any(isinstance(child, Token) and child.type == "INVERSE" for child in node.children)
        return rules.Use(path, sides[0], sides[1], self.modifiers(node), inverse, span=self.span(node))

    def _keep(self, node: Node) -> rules.Keep:
        return rules.Keep(self.names(node), self.modifiers(node), span=self.span(node))

    def _drop(self, node: Node) -> rules.Drop:
        same = next((self.name(_tree(child, "name")) for child in _trees(node, "same")), None)
        because = self.because(node)
        return rules.Drop(self.names(node), because, self.modifiers(node), same, span=self.span(node))

    def _external(self, node: Node) -> rules.External:
        because = self.because(node)
        return rules.External(self.names(node), because, self.modifiers(node), span=self.span(node))

    def _create(self, node: Node) -> rules.Create:
        shape, (value, ops) = self.shape(_tree(node, "shape")), self.filled(_tree(node, "filled"))
        return rules.Create(self.names(node), shape, value, ops, self.modifiers(node), span=self.span(node))

    def filled(self, node: Node) -> tuple[expressions.Expr, tuple[rules.Op, ...]]:
        """A value and what is done with it."""
        value, *ops = [child for child in node.children if isinstance(child, Tree)]
        return self.expression(value), tuple(self.op(op) for op in ops)

    def _default(self, node: Node) -> rules.Default:
        return rules.Default(self.statements(_tree(node, "body")), span=self.span(node))

    def _output_dtype(self, node: Node) -> rules.OutputDtype:
        keeps = tuple(
            self._keep_dtype(child)
            for holder in _trees(node, "keep_dtypes")
            for child in holder.children
            if isinstance(child, Tree)
        )
        return rules.OutputDtype(str(_token(node, "IDENT")), keeps, span=self.span(node))

    def _keep_dtype(self, node: Node) -> rules.KeepDtype:
        kind = next((str(c) for c in node.children if isinstance(c, Token) and c.type == "KIND"), None)
        return rules.KeepDtype(self.names(node), kind, span=self.span(node))

    def _rule(self, node: Node) -> rules.Statement:
        left, right = _trees(node, "side")
        modifiers, span = self.modifiers(node), self.span(node)
        body = next(iter(_trees(node, "body")), None)
        bijective = str(_tree(node, "arrow").children[0]) == "<->"
        if body is None:
            return rules.Rule(self.side(left), self.side(right), bijective, modifiers, span=span)
        head = Span(self.source, span.start, self.span(right).end)
        if bijective:
            self.fault("MC101", "a block takes '->': write '<->' on its rules", _tree(node, "arrow"))
        return rules.Block(
            self._prefix(left), self._prefix(right), self.statements(body), modifiers, span=head
        )

    def _prefix(self, side: Node) -> patterns.Pattern:
        terms = self.side(side)
        match terms:
            case (rules.Tensor(name, None, ()),):
                return _prefix_name(name)
            case _:
                self.fault("MC101", "a block stands on one name a side, without shape or operation", side)
                return patterns.EMPTY

    # --- clauses

    def names(self, node: Node) -> tuple[patterns.Pattern, ...]:
        return tuple(self.name(child) for child in _tree(node, "names").children if isinstance(child, Tree))

    def because(self, node: Node) -> str:
        return self.string(_token(_tree(node, "because"), "STRING"))

    def modifiers(self, node: Node) -> rules.Modifiers:
        clauses = [c for holder in _trees(node, "modifiers") for c in holder.children if isinstance(c, Tree)]
        where = tuple(
            self.condition(child)
            for clause in clauses
            if clause.data == "where"
            for child in clause.children
            if isinstance(child, Tree)
        )
        allow = tuple(self.allow(clause) for clause in clauses if clause.data == "allow")
        return rules.Modifiers(any(clause.data == "optional" for clause in clauses), where, allow)

    def allow(self, node: Node) -> rules.Allow:
        words = [child for child in node.children if _is(child, "IDENT")]
        for word in words:
            self.allowed(str(word), self.span(word))
        span, because = self.span(node), self.because(node)
        self.reasoned(because, span)
        return rules.Allow(tuple(map(str, words)), because, span=span)

    def allowed(self, code: str, span: Span) -> None:
        """Only a warning can be switched off, and an error that may be meant."""
        entry = CODES.get(code)
        if entry is not None and (entry.warning or entry.allowable):
            return
        warnings = [known.code for known in CODES.values() if known.warning or known.allowable]
        message = f"{code} is an error: only a warning can be allowed" if entry else f"no such code: {code}"
        near = nearest(code, warnings, 1)
        help = f"did you mean {near[0]}?" if near and entry is None else f"warnings: {', '.join(warnings)}"
        self.found.add(Diagnostic("MC501", message, span, help=help))

    def reasoned(self, because: str, span: Span) -> None:
        if not because.strip():
            self.found.add(Diagnostic("MC101", "the reason is empty", span, help='say why: because "..."'))

    def condition(self, node: Node) -> rules.Condition:
        span = self.span(node)
        match str(node.data):
            case "exists" | "not_exists":
                pattern = self.name(_tree(node, "name"))
                return rules.Exists(pattern, node.data == "not_exists", span=span)
            case "in_range":
                index, low, high = [self.expression(c) for c in node.children if not _is(c, "IN")]
                return rules.InRange(index, low, high, span=span)
            case _:
                operators = tuple(str(c) for c in node.children if _is(c, "COMPARISON"))
                operands = tuple(self.expression(c) for c in node.children if not _is(c, "COMPARISON"))
                if "=" in operators and set(operators) != {"="}:
                    self.fault("MC101", "'=' does not mix with other comparisons: write two conditions", node)
                return rules.Compare(operands, operators, span=span)

    # --- terms

    def side(self, node: Node) -> tuple[rules.Term, ...]:
        return tuple(self.term(child) for child in node.children if isinstance(child, Tree))

    def term(self, node: Node) -> rules.Term:
        span = self.span(node)
        match str(node.data):
            case "bundle":
                members = tuple(self._tensor(child) for child in _trees(node, "tensor"))
                return rules.Bundle(members, self._shape_of(node), self._ops_of(node), span=span)
            case "dropped":
                return rules.Dropped(self.shape(_tree(node, "shape")), self.because(node), span=span)
            case "created":
                shape, value = [child for child in node.children if isinstance(child, Tree)]
                return rules.Created(self.shape(shape), self.expression(value), span=span)
            case _:
                return self._tensor(node)

    def _tensor(self, node: Node) -> rules.Tensor:
        name = self.name(_tree(node, "name"))
        return rules.Tensor(name, self._shape_of(node), self._ops_of(node), span=self.span(node))

    def _shape_of(self, node: Node) -> axes.Shape | None:
        shape = next(iter(_trees(node, "shape")), None)
        return None if shape is None else self.shape(shape)

    def _ops_of(self, node: Node) -> tuple[rules.Op, ...]:
        return tuple(self.op(child) for child in _trees(node, "op"))

    def op(self, node: Node) -> rules.Op:
        name, *rest = node.children
        arguments: list[rules.Argument] = []
        options: list[tuple[str, rules.Argument]] = []
        key: str | None = None
        for child in rest:
            if _is(child, "IDENT"):
                key = str(child)
                if any(key == known for known, _ in options):
                    self.fault("MC101", f"{key}= stands twice", child)
            elif key is None:
                arguments.append(self.argument(child))
            else:
                options.append((key, self.argument(child)))
                key = None
        return rules.Op(str(name), tuple(arguments), tuple(options), span=self.span(node))

    def argument(self, node: Node | Token) -> rules.Argument:
        if isinstance(node, Tree) and node.data == "list":
            return tuple(self.expression(child) for child in node.children)
        return self.expression(node)

    # --- names

    def name(self, node: Node) -> patterns.Pattern:
        return patterns.Pattern(self._parts(node), self.span(node))

    def _parts(self, node: Node) -> tuple[patterns.Part, ...]:
        parts: list[patterns.Part] = []
        end: int | None = None
        for child in node.children:
            if not isinstance(child, Tree):
                continue
            if end is not None and child.meta.start_pos != end:
                self.fault(
                    "MC101",
                    "a name has no white space in it",
                    child,
                    "put a comma between two names, or quote a name that holds spaces",
                )
            end = child.meta.end_pos
            parts.append(self._part(child))
        return patterns.merge_texts(parts)

    def _part(self, node: Node) -> patterns.Part:
        match str(node.data):
            case "text":
                return patterns.Text(str(node.children[0]))
            case "string_part":
                return patterns.quoted_text(self.string(_token(node, "STRING")))
            case "star":
                return patterns.Star()
            case "deep":
                return patterns.Deep()
            case "group":
                members = tuple(self._parts(child) for child in _trees(node, "member"))
                return patterns.Group(members)
            case "index":
                return patterns.Index(self.expression(node.children[0]), self._width(node))
            case "regex":
                expression = str(_token(node, "REGEX"))[1:-1].replace("\\/", "/")
                return patterns.Regex(str(_token(node, "IDENT")), expression)
            case _:
                labels = tuple(
                    "".join(str(token) for token in child.children) for child in _trees(node, "label")
                )
                return patterns.NameAxis(str(_token(node, "IDENT")), labels or None, self._width(node))

    def _width(self, node: Node) -> int:
        """How many digits the number of an index has at least; 0 if that is not said."""
        token = next((child for child in node.children if _is(child, "WIDTH")), None)
        if token is None:
            return 0
        width = str(token)[1:].strip()
        if not 2 <= int(width[:3]) <= patterns.MAX_WIDTH or len(width) > 3:
            message = f"a number has 2 to {patterns.MAX_WIDTH} digits with its zeros, not {width}"
            self.fault("MC101", message, token, "{i:03} is 000, 001, ...; {i} has no zeros in front")
            return 0
        return int(width)

    # --- shapes

    def shape(self, node: Node) -> axes.Shape:
        dims = tuple(self.dim(child) for child in node.children)
        return () if dims == (axes.Product(()),) else dims

    def dim(self, node: Node | Token) -> axes.Dim:
        assert isinstance(node, Tree)
        match str(node.data):
            case "atom":
                word = str(node.children[0])
                if word in _AFTER_A_SHAPE:  # (2where): no keyword here, but one once it is printed
                    self.fault("MC101", f"'{word}' is a word of the language, so no axis has this name", node)
                return axes.Atom(word)
            case "literal":
                text = str(node.children[0])
                if not text.isdigit() or len(text) > 12 or text == "0":
                    self.fault("MC101", "a literal size is a whole number from 1", node)
                    return axes.Literal(1)
                return axes.Literal(int(text))
            case "rest":
                return axes.Rest()
            case "scalar":
                return axes.Product(())
            case "parentheses":
                inner = self.dim(node.children[0])
                # (...) is one dimension, ... are several.
                return axes.Product((inner,)) if isinstance(inner, axes.Rest) else inner
            case "sum":
                return axes.Sum(tuple(self._piece(child) for child in node.children))
            case _:
                return axes.Product(tuple(self.dim(child) for child in node.children))

    def _piece(self, node: Node | Token) -> axes.Dim:
        piece = self.dim(node)
        return piece.factors[0] if isinstance(piece, axes.Product) and len(piece.factors) == 1 else piece

    # --- expressions

    def expression(self, node: Node | Token) -> expressions.Expr:
        assert isinstance(node, Tree)
        kind = str(node.data)
        # Operators in a row nest, though no bracket does; so do those in a name that is counted.
        if self._depth >= MAX_OPERATORS and (kind in _BINARY or kind == "negative"):
            self.fault("MC103", f"an expression has at most {MAX_OPERATORS} operators in a row", node)
            return expressions.Number(0)
        self._depth += 1
        try:
            return self._expression(node, kind)
        finally:
            self._depth -= 1

    def _expression(self, node: Node, kind: str) -> expressions.Expr:
        if kind in _BINARY:
            left, right = [child for child in node.children if isinstance(child, Tree)]
            return expressions.Binary(_BINARY[kind], self.expression(left), self.expression(right))
        match kind:
            case "number":
                return self._number(node)
            case "negative_number":
                return expressions.Negative(self._number(node))
            case "negative":
                return expressions.Negative(self.expression(node.children[-1]))
            case "quoted":
                return expressions.Quoted(self.string(_token(node, "STRING")))
            case "word":
                return expressions.Name(str(node.children[0]), self.span(node))
            case "config":
                side, _, *path = str(node.children[0]).split(".")
                return expressions.Config(side, tuple(path), self.span(node))
            case _:
                return expressions.Count(self.name(_tree(node, "name")), self.span(node))

    def _number(self, node: Node) -> expressions.Number:
        text = str(_token(node, "NUMBER"))
        value = int(text) if text.isdigit() and len(text) <= 40 else float(text)
        if len(text) > 40 or value == float("inf"):
            self.fault("MC101", "number too long or too large", node)
            return expressions.Number(0)
        return expressions.Number(value)

    def string(self, token: Token) -> str:
        try:
            text = json.loads(str(token), strict=False)
            text.encode()
        except (ValueError, UnicodeEncodeError):
            self.fault(
                "MC101", "bad escape in a quoted text", token, "escapes are those of JSON: \\n, \\u00e9"
            )
            return ""
        return str(text)


def _prefix_name(name: patterns.Pattern) -> patterns.Pattern:
    """A block's side; "." is the empty prefix."""
    return patterns.Pattern((), name.span) if name.parts == (patterns.Text("."),) else name


def _is(node: Any, kind: str) -> bool:
    return isinstance(node, Token) and node.type == kind


def _trees(node: Node, kind: str) -> Iterator[Node]:
    return (child for child in node.children if isinstance(child, Tree) and child.data == kind)


def _tree(node: Node, kind: str) -> Node:
    return next(iter(_trees(node, kind)))


def _token(node: Node, kind: str) -> Token:
    return next(child for child in node.children if isinstance(child, Token) and child.type == kind)
