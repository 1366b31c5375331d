"""YAML mappings to the same rules as text; the patterns inside strings are the grammar's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TypeVar

from lark import Tree

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Fix
from mapcc.ir import expr, patterns, rules
from mapcc.ir.notation import KEYWORDS
from mapcc.syntax import yaml_nodes as nodes
from mapcc.syntax.comments import attach
from mapcc.syntax.editing import exchanged
from mapcc.syntax.parser import MAX_BYTES, parse_fragment
from mapcc.syntax.tree import Builder, Node
from mapcc.syntax.yaml_quotes import advice, unquoted
from mapcc.text import Source, Span

T = TypeVar("T")

_SETTINGS = ("about", "let", "separator", "dtype")
_TOP = ("mapping", "title", *_SETTINGS, "rules")
_MODIFIERS = ("optional", "where", "allow")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAPPING_NAME = re.compile(r"(?:[A-Za-z0-9_./]|-(?!>))+")


def parse_yaml(source: Source, found: Diagnostics) -> rules.Mapping:
    """The mapping that a YAML text says; whatever is wrong with it goes to ``found``."""
    empty = rules.Mapping(None, None, (), source=source)
    if len(source.text) > MAX_BYTES:
        found.add(Diagnostic("MC103", f"a mapping has at most {MAX_BYTES:,} characters", Span(source, 0, 0)))
        return empty
    root = _read(source, found)
    if root is None:
        return empty
    reader = _Reader(source, found)
    if not isinstance(root, nodes.Map):
        reader.fault("a mapping in YAML is a map with the key 'rules'", root.span)
        return empty
    mapping = reader.mapping(root)
    header = [span for key in ("mapping", "title") if (span := root.keys.get(key))]
    place = header[0].to(header[-1]) if header else None
    return attach(mapping, source, place, list(nodes.scalars(root)))


def _read(source: Source, found: Diagnostics) -> nodes.Node | None:
    own = Diagnostics()
    root = nodes.read_yaml(source, own)
    for fault in own:
        is_foreign = fault.code == "MC101" and fault.span is not None and not fault.help
        found.add(
            replace(fault, help=advice(source, fault.span.start)) if is_foreign and fault.span else fault
        )
    return root


@dataclass(slots=True)
class _Reader:
    source: Source
    found: Diagnostics

    # --- structure

    def fault(self, message: str, span: Span, help: str = "", fixes: tuple[Fix, ...] = ()) -> None:
        self.found.add(Diagnostic("MC102", message, span, help=help, fixes=fixes))

    def _known(self, node: nodes.Map, allowed: Sequence[str]) -> None:
        for key, span in node.keys.items():
            if key not in allowed:
                near = get_close_matches(key, allowed, 1)
                help = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(allowed)}"
                fixes = exchanged(f"write {near[0]}", span, key, near[0], True) if near else ()
                self.fault(f"unknown key {key!r}", span, help, fixes)

    def mapping(self, root: nodes.Map) -> rules.Mapping:
        self._known(root, _TOP)
        name = self._text(root, "mapping")
        title = self._text(root, "title")
        if name is not None and not _MAPPING_NAME.fullmatch(name):
            message = "a mapping's name is letters, digits, '_', '-', '.', '/'"
            self.fault(message, root.entries["mapping"].span)
        if title is not None and name is None:
            self.fault("a title stands beside 'mapping'", root.keys["title"])
        body: list[rules.Statement] = []
        for key in _SETTINGS:
            if key in root.entries:
                body += self._setting(key, root.keys[key], root.entries[key])
        return rules.Mapping(name, title, (*body, *self._body(root)), source=self.source)

    def _setting(self, kind: str, key: Span, node: nodes.Node) -> list[rules.Statement]:
        """One of ``_SETTINGS``: at the top of a file, or as an item of ``rules``."""
        match kind:
            case "about":
                return self._abouts(node)
            case "let":
                return self._lets(node)
            case "separator":
                return self._separators(node)
            case _:
                return [self._dtype(key, node)]

    def _abouts(self, node: nodes.Node) -> list[rules.Statement]:
        """A text for each topic, or several in a list."""
        if not isinstance(node, nodes.Map):
            self.fault("'about' is a map of topics to texts", node.span)
            return []
        return [
            rules.About(self._topic(topic, at), self._string(text), span=at.to(text.span))
            for (topic, value), at in zip(node.entries.items(), node.keys.values(), strict=True)
            for text in (value.items if isinstance(value, nodes.Sequence) else (value,))
        ]

    def _topic(self, topic: str, at: Span) -> str:
        if not _WORD.fullmatch(topic):
            self.fault(f"{topic!r} is no topic: letters, digits and '_'", at)
        return topic

    def _lets(self, node: nodes.Node) -> list[rules.Statement]:
        if not isinstance(node, nodes.Map):
            self.fault("'let' is a map of names to values", node.span)
            return []
        return [
            rules.Let(self._word(key, at), self._expr(value), span=at.to(value.span))
            for (key, value), at in zip(node.entries.items(), node.keys.values(), strict=True)
        ]

    def _separators(self, node: nodes.Node) -> list[rules.Statement]:
        if not isinstance(node, nodes.Map):
            self.fault("'separator' is a map with 'source' and 'target'", node.span)
            return []
        self._known(node, ("source", "target"))
        body: list[rules.Statement] = []
        for side, value in node.entries.items():
            text = self._string(value)
            if len(text) != 1:
                self.fault("a separator is one character", value.span)
            body.append(rules.Separator(side, text or ".", span=node.keys[side].to(value.span)))
        return body

    def _body(self, holder: nodes.Map) -> list[rules.Statement]:
        listed = holder.entries.get("rules")
        if listed is None:
            return []
        if not isinstance(listed, nodes.Sequence):
            self.fault("'rules' is a list", listed.span)
            return []
        return [statement for item in listed.items for statement in self._statements(item)]

    def _statements(self, item: nodes.Node) -> list[rules.Statement]:
        if not isinstance(item, nodes.Map) or not item.entries:
            self.fault("a rule is a map such as 'rename: {from: ..., to: ...}'", item.span)
            return []
        kind, node = next(iter(item.entries.items()))
        if kind in _SETTINGS:
            self._known(item, (kind,))
            return self._setting(kind, item.keys[kind], node)
        statement = self._statement(item, kind)
        return [] if statement is None else [statement]

    def _statement(self, item: nodes.Map, kind: str) -> rules.Statement | None:
        readers: dict[str, Callable[[nodes.Map, nodes.Node], rules.Statement | None]] = {
            "rename": self._rearrange, "rearrange": self._rearrange, "copy": self._rearrange,
            "split": self._split, "chunk": self._split, "fuse": self._fuse, "cat": self._fuse,
            "stack": self._stack, "unstack": self._unstack, "transpose": self._transpose,
            "permute": self._permute, "keep": self._keep, "drop": self._drop,
            "external": self._external, "create": self._create, "scope": self._scope,
            "use": self._use, "default": self._default,
        }  # fmt: skip
        if kind not in readers:
            near = get_close_matches(kind, list(readers), 1)
            help = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(readers)}"
            fixes = exchanged(f"write {near[0]}", item.keys[kind], kind, near[0]) if near else ()
            self.fault(f"unknown kind of rule {kind!r}", item.keys[kind], help, fixes)
            return None
        beside = ("rules",) if kind == "scope" else ()
        self._known(item, (kind, *beside))
        return readers[kind](item, item.entries[kind])

    def _fields(
        self, kind: str, node: nodes.Node, required: Sequence[str], others: Sequence[str] = ()
    ) -> nodes.Map | None:
        if not isinstance(node, nodes.Map):
            self.fault(f"'{kind}' is a map with {', '.join(required)}", node.span)
            return None
        self._known(node, (*required, *others, *_MODIFIERS))
        absent = [key for key in required if key not in node.entries]
        if absent:
            self.fault(f"'{kind}' lacks {', '.join(absent)}", node.span)
            return None
        return node

    # --- rules

    def _rule(
        self,
        item: nodes.Map,
        fields: nodes.Map,
        left: tuple[rules.Term, ...] | None,
        right: tuple[rules.Term, ...] | None,
        bijective: bool = False,
    ) -> rules.Rule | None:
        if not left or not right:
            return None
        return rules.Rule(left, right, bijective, self._modifiers(fields), span=item.span)

    def _rearrange(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields(next(iter(item.entries)), node, ("from", "to"), ("bijective",))
        if fields is None:
            return None
        left, right = self._side(fields.entries["from"]), self._side(fields.entries["to"])
        return self._rule(item, fields, left, right, self._flag(fields, "bijective"))

    def _split(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("split", node, ("from", "into"), ("sizes", "dim"))
        if fields is None:
            return None
        right = self._side(fields.entries["into"])
        if right is None:
            return None
        if "sizes" in fields.entries:
            op = self._op("split", fields, (self._exprs(fields.entries["sizes"]),))
        else:
            op = self._op("chunk", fields, (expr.Number(self._chunks(right)),))
        return self._rule(item, fields, self._with_op(fields.entries["from"], op), right)

    def _chunks(self, right: Sequence[rules.Term]) -> int:
        """How many tensors a side gives: its terms, or the labels of its one name axis."""
        if len(right) == 1 and isinstance(right[0], rules.Tensor):
            labels = [p.labels for p in right[0].name.parts if isinstance(p, patterns.NameAxis)]
            if len(labels) == 1 and labels[0]:
                return len(labels[0])
        return len(right)

    def _fuse(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("fuse", node, ("from", "to"), ("dim",))
        if fields is None:
            return None
        left = self._with_op(fields.entries["from"], self._op("cat", fields))
        return self._rule(item, fields, left, self._side(fields.entries["to"]))

    def _stack(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("stack", node, ("from", "to"), ("dim",))
        if fields is None:
            return None
        left = self._with_op(fields.entries["from"], self._op("stack", fields))
        return self._rule(item, fields, left, self._side(fields.entries["to"]))

    def _unstack(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("unstack", node, ("from", "into"), ("dim",))
        if fields is None:
            return None
        left = self._with_op(fields.entries["from"], self._op("unstack", fields))
        return self._rule(item, fields, left, self._side(fields.entries["into"]))

    def _transpose(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("transpose", node, ("from", "to"), ("dim",))
        if fields is None:
            return None
        left = self._with_op(fields.entries["from"], self._op("transpose", fields))
        return self._rule(item, fields, left, self._side(fields.entries["to"]))

    def _permute(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("permute", node, ("from", "to", "dims"))
        if fields is None:
            return None
        op = self._op("permute", fields, self._exprs(fields.entries["dims"]))
        return self._rule(
            item, fields, self._with_op(fields.entries["from"], op), self._side(fields.entries["to"])
        )

    def _op(self, name: str, fields: nodes.Map, arguments: tuple[rules.Argument, ...] = ()) -> rules.Op:
        options: tuple[tuple[str, rules.Argument], ...] = ()
        if "dim" in fields.entries:
            options = (("dim", self._expr(fields.entries["dim"])),)
        return rules.Op(name, arguments, options, span=fields.span)

    def _with_op(self, node: nodes.Node, op: rules.Op) -> tuple[rules.Term, ...] | None:
        side = self._side(node)
        if not side:
            return None
        term = side[0]
        if len(side) == 1 and not isinstance(node, nodes.Sequence) and isinstance(term, rules.Tensor):
            return (rules.Tensor(term.name, term.shape, (op, *term.ops), span=term.span),)
        members = tuple(term for term in side if isinstance(term, rules.Tensor))
        if len(members) != len(side):
            self.fault(f"{op.name} takes tensors", node.span)
            return None
        return (rules.Bundle(members, None, (op,), span=node.span),)

    # --- other statements

    def _names_node(
        self, kind: str, node: nodes.Node, others: Sequence[str] = ()
    ) -> tuple[tuple[patterns.Pattern, ...], nodes.Map] | None:
        fields = self._fields(kind, node, ("keys",), others)
        return None if fields is None else (self._names(fields.entries["keys"]), fields)

    def _keep(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        if isinstance(node, nodes.Map) and unquoted(node) is None:
            read = self._names_node("keep", node)
            return read and rules.Keep(read[0], self._modifiers(read[1]), span=item.span)
        return rules.Keep(self._names(node), span=item.span)

    def _drop(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        read = self._names_node("drop", node, ("because", "same_as"))
        if read is None:
            return None
        names, fields = read
        same: patterns.Pattern | None = None
        if (told := fields.entries.get("same_as")) is not None:
            same, *more = self._names(told) or (patterns.EMPTY,)
            if more:
                self.fault("'same_as' is one name", told.span)
        because = self._because(fields)
        return rules.Drop(names, because, self._modifiers(fields), same, span=item.span)

    def _external(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        read = self._names_node("external", node, ("because",))
        if read is None:
            return None
        return rules.External(read[0], self._because(read[1]), self._modifiers(read[1]), span=item.span)

    def _because(self, fields: nodes.Map) -> str:
        if "because" not in fields.entries:
            self.fault("the reason is missing", fields.span, 'because: "..."')
            return "?"
        return self._string(fields.entries["because"])

    def _create(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        read = self._names_node("create", node, ("shape", "value", "cast"))
        if read is None:
            return None
        names, fields = read
        if absent := [key for key in ("shape", "value") if key not in fields.entries]:
            self.fault(f"'create' lacks {', '.join(absent)}", fields.span)
            return None
        shape = self._fragment("shape", fields.entries["shape"], lambda b, t: b.shape(t))
        filled = self._fragment("filled", fields.entries["value"], lambda b, t: b.filled(t))
        value, ops = filled or (expr.Number(0), ())
        if (cast := fields.entries.get("cast")) is not None:
            dtype = expr.Name(self._word(self._string(cast), cast.span))
            ops = (*ops, rules.Op("cast", (dtype,), span=fields.span))
        return rules.Create(names, shape or (), value, ops, self._modifiers(fields), span=item.span)

    def _scope(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        fields = self._fields("scope", node, ("from", "to"))
        if fields is None:
            return None
        left, right = self._prefix(fields.entries["from"]), self._prefix(fields.entries["to"])
        head = Span(self.source, item.span.start, fields.span.end)
        return rules.Block(left, right, tuple(self._body(item)), self._modifiers(fields), span=head)

    def _use(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        if isinstance(node, nodes.Scalar):
            return rules.Use(node.text, patterns.EMPTY, patterns.EMPTY, span=item.span)
        fields = self._fields("use", node, ("file",), ("from", "to", "inverse"))
        if fields is None:
            return None
        sides = [
            self._prefix(fields.entries[key]) if key in fields.entries else patterns.EMPTY
            for key in ("from", "to")
        ]
        path = self._string(fields.entries["file"])
        inverse = self._flag(fields, "inverse")
        return rules.Use(path, sides[0], sides[1], self._modifiers(fields), inverse, span=item.span)

    def _default(self, item: nodes.Map, node: nodes.Node) -> rules.Statement | None:
        if isinstance(node, nodes.Sequence):
            body = [statement for inner in node.items for statement in self._statements(inner)]
            return rules.Default(tuple(body), span=item.span)
        self.fault("'default' is a list of rules", node.span)
        return None

    def _dtype(self, key: Span, node: nodes.Node) -> rules.OutputDtype:
        span = key.to(node.span)
        if isinstance(node, nodes.Scalar):
            return rules.OutputDtype(self._word(node.text, node.span), span=span)
        if not isinstance(node, nodes.Map) or "to" not in node.entries:
            self.fault("'dtype' is a type, or a map with 'to' and 'keep'", node.span)
            return rules.OutputDtype("f32", span=span)
        self._known(node, ("to", "keep"))
        keeps: list[rules.KeepDtype] = []
        listed = node.entries.get("keep")
        for item in listed.items if isinstance(listed, nodes.Sequence) else ():
            if not isinstance(item, nodes.Map) or "keys" not in item.entries:
                self.fault("an item of 'keep' is a map with 'keys', and 'dtype' if it is another", item.span)
                continue
            self._known(item, ("keys", "dtype"))
            kept = item.entries.get("dtype")
            dtype = None if kept is None else self._word(self._string(kept), kept.span)
            keeps.append(rules.KeepDtype(self._names(item.entries["keys"]), dtype, span=item.span))
        if listed is not None and not isinstance(listed, nodes.Sequence):
            self.fault("'keep' is a list", listed.span)
        to = node.entries["to"]
        return rules.OutputDtype(self._word(self._string(to), to.span), tuple(keeps), span=span)

    # --- leaves

    def _modifiers(self, fields: nodes.Map) -> rules.Modifiers:
        where: list[rules.Condition] = []
        node = fields.entries.get("where")
        texts = node.items if isinstance(node, nodes.Sequence) else (node,) if node is not None else ()
        for text in texts:
            read = self._fragment("modifiers", text, lambda b, t: b.modifiers(Tree("holder", [t])), " where ")
            if read and read.optional:
                self.fault("'where' holds conditions; 'optional: true' has a key of its own", text.span)
            if read and read.allow:
                self.fault("'where' holds conditions; 'allow' has a key of its own", text.span)
            where += read.where if read else ()
        return rules.Modifiers(self._flag(fields, "optional"), tuple(where), self._allows(fields))

    def _allows(self, fields: nodes.Map) -> tuple[rules.Allow, ...]:
        node = fields.entries.get("allow")
        items = node.items if isinstance(node, nodes.Sequence) else (node,) if node is not None else ()
        found = [self._allow(item) for item in items]
        return tuple(allow for allow in found if allow is not None)

    def _allow(self, node: nodes.Node) -> rules.Allow | None:
        if not isinstance(node, nodes.Map) or node.keys.keys() != {"codes", "because"}:
            self.fault("'allow' is a map with 'codes' and 'because', or a list of them", node.span)
            return None
        listed, because = node.entries["codes"], self._string(node.entries["because"])
        items = listed.items if isinstance(listed, nodes.Sequence) else (listed,)
        if not items:
            self.fault("a code is needed here", listed.span)
        builder = Builder(self.source, self.found, lambda at: at)
        codes = tuple(map(self._string, items))
        for code, item in zip(codes, items, strict=True):
            builder.allowed(code, item.span)
        builder.reasoned(because, node.span)
        return rules.Allow(codes, because, span=node.span)

    def _flag(self, fields: nodes.Map, key: str) -> bool:
        node = fields.entries.get(key)
        if node is None:
            return False
        if not isinstance(node, nodes.Scalar) or node.text not in ("true", "false"):
            self.fault(f"'{key}' is true or false", node.span)
            return False
        return node.text == "true"

    def _side(self, node: nodes.Node) -> tuple[rules.Term, ...] | None:
        items = _items(node)
        if not items:
            self.fault("a tensor is needed here", node.span)
        terms: list[rules.Term] = []
        for item in items:
            side = self._fragment("side", item, lambda b, t: b.side(t))
            if side is None:
                return None
            terms += side
        return tuple(terms)

    def _names(self, node: nodes.Node) -> tuple[patterns.Pattern, ...]:
        items = _items(node)
        names: list[patterns.Pattern] = []
        for item in items:
            names += self._fragment("names", item, lambda b, t: b.names(Tree("holder", [t]))) or ()
        if not items:
            self.fault("a name is needed here", node.span)
        return tuple(names)

    def _prefix(self, node: nodes.Node) -> patterns.Pattern:
        if isinstance(node, nodes.Scalar) and node.text in (".", ""):
            return patterns.EMPTY
        names = self._names(node)
        if len(names) != 1:
            if names:
                self.fault("a scope stands on one name a side", node.span)
            return patterns.EMPTY
        return names[0]

    def _expr(self, node: nodes.Node) -> expr.Expr:
        if isinstance(node, nodes.Scalar) and node.quoted and not node.text.strip():
            return expr.Quoted(node.text)
        return self._fragment("expr", node, lambda b, t: b.expression(t)) or expr.Number(0)

    def _exprs(self, node: nodes.Node) -> tuple[expr.Expr, ...]:
        if not isinstance(node, nodes.Sequence) or not node.items:
            self.fault("a list is needed here", node.span)
            return ()
        return tuple(self._expr(item) for item in node.items)

    def _fragment(
        self, start: str, node: nodes.Node, build: Callable[[Builder, Node], T], lead: str = ""
    ) -> T | None:
        if not isinstance(node, nodes.Scalar):
            self.found.add(unquoted(node) or Diagnostic("MC102", "a text is needed here", node.span))
            return None
        first = node.span.start + node.quoted
        builder = Builder(
            self.source, self.found, lambda at: min(max(first + at - len(lead), first), node.span.end)
        )
        # A block text of YAML ends with a newline, which says nothing.
        tree = parse_fragment(start, lead + node.text.rstrip("\n"), builder)
        return None if tree is None else build(builder, tree)

    def _text(self, node: nodes.Map, key: str) -> str | None:
        return self._string(node.entries[key]) if key in node.entries else None

    def _word(self, text: str, span: Span) -> str:
        if not _WORD.fullmatch(text) or text in KEYWORDS:
            self.fault(f"{text!r} is no word: letters, digits and '_', and no keyword", span)
            return "_"
        return text

    def _string(self, node: nodes.Node) -> str:
        if isinstance(node, nodes.Scalar):
            return node.text
        self.fault("a text is needed here", node.span)
        return ""


def _items(node: nodes.Node) -> tuple[nodes.Node, ...]:
    """The items of a list, or the one text that stands for a list of it."""
    return node.items if isinstance(node, nodes.Sequence) and unquoted(node) is None else (node,)
