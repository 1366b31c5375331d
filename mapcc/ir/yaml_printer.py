"""Rules to YAML, in the canonical form: the same rules come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapcc.ir import rules
from mapcc.ir.expr import Config, Expr, Name, Number
from mapcc.ir.notation import (
    escaped,
    print_condition,
    print_expr,
    print_name,
    print_op,
    print_prefix,
    print_shape,
    print_term,
    visible_comment,
)
from mapcc.ir.patterns import NameAxis, Pattern
from mapcc.ir.printer import INDENT
from mapcc.ir.values import STRUCTURAL_OPS

Fields = list[tuple[str, str]]


def print_yaml(mapping: rules.Mapping) -> str:
    """The canonical YAML of a mapping, comments included."""
    lines = list(_comments(mapping.trivia.before, ""))
    if mapping.name is not None:
        lines.append(_line(f"mapping: {_text(mapping.name)}", mapping.trivia.after))
    if mapping.title is not None:
        lines.append(f"title: {_text(mapping.title)}")
    head, others = _settings_first(mapping.body)
    lines += _abouts([s for s in head if isinstance(s, rules.About)])
    lines += _lets([s for s in head if isinstance(s, rules.Let)])
    lines += _separators([s for s in head if isinstance(s, rules.Separator)])
    for statement in head:
        if isinstance(statement, rules.OutputDtype):
            lines += [*_comments(statement.trivia.before, ""), *_dtype(statement, "", "dtype:")]
    lines += ["rules:", *_body(others, "  ")] if others else ["rules: []"]
    lines += _comments(mapping.tail, "")
    # One blank line, where two pieces end and begin with one; and none at the beginning.
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(kept) + "\n"


def _settings_first(
    body: Sequence[rules.Statement],
) -> tuple[list[rules.Statement], list[rules.Statement]]:
    """What has a key of its own at the top of a file (once each), and what stands under ``rules``."""
    head: list[rules.Statement] = []
    others: list[rules.Statement] = []
    seen: set[str] = set()
    for statement in body:
        match statement:
            case rules.About(topic):
                key = f"about {topic}"
            case rules.Let(name):
                key = f"let {name}"
            case rules.Separator(side):
                key = f"separator {side}"
            case rules.OutputDtype():
                key = "dtype"
            case _:
                key = ""
        (head if key and key not in seen else others).append(statement)
        seen.add(key)
    return head, others


def _text(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    # YAML has no pairs of surrogates.
    return f"\\U{ord(char):08x}" if char > "\uffff" and not char.isprintable() else escaped(char)


def _comments(comments: Iterable[str], indent: str) -> list[str]:
    return [indent + visible_comment(comment) if comment else "" for comment in comments]


def _line(line: str, comment: str) -> str:
    return f"{line}  {visible_comment(comment)}" if comment else line


def _abouts(abouts: Sequence[rules.About]) -> list[str]:
    lines = ["about:"] if abouts else []
    for about in abouts:
        lines += _comments([c for c in about.trivia.before if c], "  ")
        lines.append(_line(f"  {about.topic}: {_text(about.text)}", about.trivia.after))
    return lines


def _lets(lets: Sequence[rules.Let]) -> list[str]:
    lines = ["let:"] if lets else []
    for let in lets:
        lines += _comments([c for c in let.trivia.before if c], "  ")
        lines.append(_line(f"  {let.name}: {_expr(let.value)}", let.trivia.after))
    return lines


def _expr(expr: Expr) -> str:
    if isinstance(expr, Number):
        return print_expr(expr)
    return _text(print_expr(expr)) if not isinstance(expr, Config) else print_expr(expr)


def _separators(separators: Sequence[rules.Separator]) -> list[str]:
    lines = ["separator:"] if separators else []
    for separator in separators:
        lines += _comments([c for c in separator.trivia.before if c], "  ")
        lines.append(_line(f"  {separator.side}: {_text(separator.text)}", separator.trivia.after))
    return lines


def _dtype(statement: rules.OutputDtype, indent: str, head: str) -> list[str]:
    after = statement.trivia.after
    if not statement.keeps:
        return [*_comments(statement.tail, indent[:-4]), _line(f"{head} {statement.dtype}", after)]
    lines = [_line(head, after), f"{indent}  to: {statement.dtype}", f"{indent}  keep:"]
    inner = indent + INDENT
    for keep in statement.keeps:
        lines += _comments(keep.trivia.before, inner)
        fields: Fields = [("dtype", keep.dtype)] if keep.dtype else []
        fields.append(("keys", _names(keep.names)))
        lines.append(_line(f"{inner}- {_flow(fields)}", keep.trivia.after))
    return [*lines, *_comments(statement.tail, inner)]


def _flow(fields: Fields) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields) + "}"


def _names(names: Sequence[Pattern]) -> str:
    texts = [_text(print_name(name)) for name in names]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _body(body: Sequence[rules.Statement], indent: str) -> list[str]:
    lines: list[str] = []
    for statement in body:
        lines += _comments(statement.trivia.before, indent)
        lines += _statement(statement, indent)
    return lines


def _statement(statement: rules.Statement, indent: str) -> list[str]:
    after = statement.trivia.after
    match statement:
        case rules.Block(left, right, body, modifiers):
            fields = [("from", _text(print_prefix(left))), ("to", _text(print_prefix(right)))]
            head = f"{indent}- scope: {_flow(fields + _modifiers(modifiers))}"
            inner = _body(body, indent + INDENT) or [f"{indent}{INDENT}[]"]
            tail = _comments(statement.tail, indent + INDENT)
            return [_line(head, after), f"{indent}  rules:", *inner, *tail]
        case rules.Default(body):
            inner = _body(body, indent + INDENT) or [f"{indent}{INDENT}[]"]
            tail = _comments(statement.tail, indent + INDENT)
            return [_line(f"{indent}- default:", after), *inner, *tail]
        case rules.OutputDtype():
            return _dtype(statement, indent + INDENT, f"{indent}- dtype:")
        case rules.About(topic, text):
            return [_line(f"{indent}- about: {{{topic}: {_text(text)}}}", after)]
        case rules.Let(name, value):
            return [_line(f"{indent}- let: {{{name}: {_expr(value)}}}", after)]
        case rules.Separator(side, text):
            return [_line(f"{indent}- separator: {{{side}: {_text(text)}}}", after)]
        case _:
            kind, fields = _simple(statement)
            return [_line(f"{indent}- {kind}: {_flow(fields)}", after)]


def _modifiers(modifiers: rules.Modifiers) -> Fields:
    fields: Fields = []
    if modifiers.where:
        texts = [_text(print_condition(condition)) for condition in modifiers.where]
        fields.append(("where", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"))
    if modifiers.optional:
        fields.append(("optional", "true"))
    if modifiers.allow:
        texts = [_allow(allow) for allow in modifiers.allow]
        fields.append(("allow", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"))
    return fields


def _allow(allow: rules.Allow) -> str:
    return _flow([("codes", f"[{', '.join(allow.codes)}]"), ("because", _text(allow.because))])


def _simple(
    statement: rules.Rule | rules.Use | rules.Keep | rules.Drop | rules.External | rules.Create,
) -> tuple[str, Fields]:
    kind, fields = _kind(statement)
    return kind, fields + _modifiers(statement.modifiers)


def _kind(
    statement: rules.Rule | rules.Use | rules.Keep | rules.Drop | rules.External | rules.Create,
) -> tuple[str, Fields]:
    match statement:
        case rules.Rule():
            return _rule(statement)
        case rules.Use(path, left, right, _, inverse):
            fields = [("file", _text(path))]
            if inverse:
                fields += [("inverse", "true")]
            if left.parts or right.parts:
                fields += [("from", _text(print_prefix(left))), ("to", _text(print_prefix(right)))]
            return "use", fields
        case rules.Keep(names, _):
            return "keep", [("keys", _names(names))]
        case rules.Drop(names, because, _, same_as):
            same = [] if same_as is None else [("same_as", _text(print_name(same_as)))]
            return "drop", [("keys", _names(names)), *same, ("because", _text(because))]
        case rules.External(names, because, _):
            return "external", [("keys", _names(names)), ("because", _text(because))]
        case rules.Create(names, shape, value, ops, _):
            fields = [("keys", _names(names)), ("shape", _text(print_shape(shape)))]
            match ops:
                case ():
                    return "create", [*fields, ("value", _expr(value))]
                case (rules.Op("cast", (Name(dtype),), ()),):
                    return "create", [*fields, ("value", _expr(value)), ("cast", dtype)]
                case _:
                    bars = "".join(f" | {print_op(op)}" for op in ops)
                    return "create", [*fields, ("value", _text(print_expr(value) + bars))]


def _rule(rule: rules.Rule) -> tuple[str, Fields]:
    named = _named(rule)
    if named is not None:
        return named
    terms = (*rule.left, *rule.right)
    plain = all(isinstance(t, rules.Tensor) and t.shape is None and not t.ops for t in terms)
    fields = [("from", _side(rule.left)), ("to", _side(rule.right))]
    if rule.bijective:
        fields.append(("bijective", "true"))
    return ("rename" if plain else "rearrange"), fields


def _side(terms: Sequence[rules.Term]) -> str:
    texts = [_text(print_term(term)) for term in terms]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _named(rule: rules.Rule) -> tuple[str, Fields] | None:
    """The kind for a rule that is one named operation and nothing else."""
    if len(rule.left) != 1 or rule.bijective:
        return None
    (term,) = rule.left
    if not isinstance(term, rules.Tensor | rules.Bundle) or len(term.ops) != 1 or term.shape is not None:
        return None
    if not all(isinstance(t, rules.Tensor) and t.shape is None and not t.ops for t in rule.right):
        return None
    (op,) = term.ops
    if op.name not in STRUCTURAL_OPS or any(key != "dim" for key, _ in op.options):
        return None
    if isinstance(term, rules.Bundle):
        if any(member.shape is not None or member.ops for member in term.members):
            return None
        source = f"[{', '.join(_text(print_name(member.name)) for member in term.members)}]"
    else:
        source = _text(print_name(term.name))
    fields = _operation_fields(op, source, rule)
    if fields is None:
        return None
    kind = {"chunk": "split", "cat": "fuse"}.get(op.name, op.name)
    return kind, fields + [(key, _argument(value)) for key, value in op.options]


def _operation_fields(op: rules.Op, source: str, rule: rules.Rule) -> Fields | None:
    into = "into" if op.name in ("chunk", "split", "unstack") else "to"
    fields = [("from", source), (into, _side(rule.right))]
    match op.name, op.arguments:
        case "chunk", (Number(count),) if count == _count(rule.right):
            return fields
        case "split", (tuple() as sizes,):
            return [*fields, ("sizes", _argument(sizes))]
        case "permute", arguments if arguments and not op.options:
            return [*fields, ("dims", f"[{', '.join(_argument(a) for a in arguments)}]")]
        case (("cat" | "stack" | "unstack" | "transpose"), ()):
            return fields
        case _:
            return None


def _count(right: Sequence[rules.Term]) -> int:
    if len(right) == 1 and isinstance(right[0], rules.Tensor):
        labels = [part.labels for part in right[0].name.parts if isinstance(part, NameAxis)]
        if len(labels) == 1 and labels[0]:
            return len(labels[0])
    return len(right)


def _argument(argument: rules.Argument) -> str:
    if isinstance(argument, tuple):
        return f"[{', '.join(_argument(item) for item in argument)}]"
    return _expr(argument)
