"""Rules to text, in the canonical form: ``parse(print(m)) == m``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mapcc.ir import rules
from mapcc.ir.notation import (
    print_allow,
    print_expr,
    print_name,
    print_names,
    print_op,
    print_part,
    print_parts,
    print_prefix,
    print_shape,
    print_side,
    print_term,
    print_where,
    quote,
    visible_comment,
)
from mapcc.ir.patterns import Group, Part, Pattern

WIDTH = 110
INDENT = "    "
GAP = "   "


def print_mapping(mapping: rules.Mapping) -> str:
    """The canonical text of a mapping, comments included."""
    lines: list[str] = [*_comments(mapping.trivia.before, "")]
    if mapping.name is not None:
        title = "" if mapping.title is None else f" {quote(mapping.title)}"
        lines.append(_with_comment(f"mapping {mapping.name}{title}", mapping.trivia.after))
    lines += _body(mapping.body, "")
    lines += _comments(mapping.tail, "")
    while lines and not lines[0]:
        lines.pop(0)
    return "\n".join(lines) + "\n"


def _comments(comments: Iterable[str], indent: str) -> list[str]:
    return [indent + visible_comment(comment) if comment else "" for comment in comments]


def _with_comment(line: str, comment: str) -> str:
    return f"{line}  {visible_comment(comment)}" if comment else line


def _body(body: Sequence[rules.Statement], indent: str) -> list[str]:
    lines: list[str] = []
    for run in _runs(body, indent):
        columns = _columns([s for s in run if isinstance(s, rules.Rule)], indent)
        for statement in run:
            lines += _comments(statement.trivia.before, indent)
            lines += _statement(statement, indent, columns)
    return lines


def _runs(body: Sequence[rules.Statement], indent: str) -> list[list[rules.Statement]]:
    """Neighbouring one-line rules without an empty line between them: their arrows align."""
    runs: list[list[rules.Statement]] = []
    open_run = False
    for statement in body:
        short = isinstance(statement, rules.Rule) and len(_one_line(statement, indent, (0, 0))) <= WIDTH
        if open_run and short and "" not in statement.trivia.before:
            runs[-1].append(statement)
        else:
            runs.append([statement])
        open_run = short
    return runs


def _columns(run: Sequence[rules.Rule], indent: str) -> tuple[int, int]:
    """How wide the left and right sides of a run are, so that arrows and conditions align."""
    short = [rule for rule in run if len(_one_line(rule, indent, (0, 0))) <= WIDTH]
    left = max((len(print_side(rule.left)) for rule in short), default=0)
    if any(len(_one_line(rule, indent, (left, 0))) > WIDTH for rule in short):
        left = 0
    right = max((len(print_side(rule.right)) for rule in short if _modifiers(rule.modifiers)), default=0)
    if any(len(_one_line(rule, indent, (left, right))) > WIDTH for rule in short):
        right = 0
    return left, right


def _one_line(rule: rules.Rule, indent: str, columns: tuple[int, int]) -> str:
    left, right = print_side(rule.left), print_side(rule.right)
    arrow, tail = _arrow(rule), _modifiers(rule.modifiers)
    return (
        f"{indent}{left:<{columns[0]}} {arrow} {right:<{columns[1]}}{GAP}{tail}"
        if tail
        else (f"{indent}{left:<{columns[0]}} {arrow} {right}")
    )


def _arrow(rule: rules.Rule) -> str:
    return "<->" if rule.bijective else "->"


def _rule(rule: rules.Rule, indent: str, columns: tuple[int, int]) -> list[str]:
    line = _one_line(rule, indent, columns)
    if len(line) <= WIDTH:
        return [line]
    line = _one_line(rule, indent, (0, 0))
    if len(line) <= WIDTH:
        return [line]
    return _long_rule(rule, indent)


def _long_rule(rule: rules.Rule, indent: str) -> list[str]:
    """Arrow, targets and conditions each on a line of their own; reasons too, where they are long."""
    tail, inner = _tail(rule.modifiers, indent + INDENT), indent + INDENT
    line = f"{indent}{print_side(rule.left)} {_arrow(rule)} {print_side(rule.right)}"
    if len(line) <= WIDTH:
        return [line, *tail]
    paired = _paired(rule)
    if paired is not None:
        arrow = _arrow(rule)
        lines = [f"{indent}{' ' * len(arrow)} {paired[0]}", f"{indent}{arrow} {paired[1]}"]
    else:
        terms = [print_term(term) for term in rule.right]
        head = f"{inner}{_arrow(rule)} "
        lines = [indent + print_side(rule.left), head + ", ".join(terms)]
        if len(lines[-1]) > WIDTH:
            ends = [","] * (len(terms) - 1) + [""]
            starts = [head] + [" " * len(head)] * (len(terms) - 1)
            lines[-1:] = [a + term + b for a, term, b in zip(starts, terms, ends, strict=True)]
    return [*lines, *tail]


def _tail(modifiers: rules.Modifiers, indent: str) -> list[str]:
    """Modifiers below a rule, on one line if they have room there."""
    words = _modifiers(modifiers)
    if len(indent + words) <= WIDTH:
        return [indent + words] if words else []
    first = _modifiers(replace(modifiers, allow=()))
    return [indent + line for line in ([first] if first else []) + [*map(print_allow, modifiers.allow)]]


def _paired(rule: rules.Rule) -> tuple[str, str] | None:
    """Two plain names whose one group has members to compare by eye."""
    match rule.left, rule.right:
        case ((rules.Tensor(left, None, ()),), (rules.Tensor(right, None, ()),)):
            return paired_groups(left, right)
        case _:
            return None


def paired_groups(left: Pattern, right: Pattern) -> tuple[str, str] | None:
    """Both names with the members of their longest group in columns; None if nothing pairs."""
    places = [[at for at, part in enumerate(name.parts) if isinstance(part, Group)] for name in (left, right)]
    pairs = list(zip(*places, strict=False))
    if not pairs or len(places[0]) != len(places[1]):
        return None
    at, to = max(
        pairs, key=lambda pair: len(print_part(left.parts[pair[0]]) + print_part(right.parts[pair[1]]))
    )
    ours, theirs = _members(left.parts[at]), _members(right.parts[to])
    if len(ours) != len(theirs):
        return None
    widths = [max(len(a), len(b)) for a, b in zip(ours, theirs, strict=True)]
    return _in_columns(left, at, ours, widths), _in_columns(right, to, theirs, widths)


def _members(part: Part) -> list[str]:
    return [print_parts(member) for member in part.members] if isinstance(part, Group) else []


def _in_columns(name: Pattern, at: int, members: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{text},".ljust(width + 2) for text, width in zip(members[:-1], widths, strict=False)]
    inside = "".join(padded) + members[-1]
    return f"{print_parts(name.parts[:at])}{{{inside}}}{print_parts(name.parts[at + 1 :])}"


def _modifiers(modifiers: rules.Modifiers) -> str:
    words = []
    if modifiers.optional:
        words.append("optional")
    if modifiers.where:
        words.append(f"where {print_where(modifiers.where)}")
    words += map(print_allow, modifiers.allow)
    return GAP.join(words)


def _joined(head: str, modifiers: rules.Modifiers) -> str:
    tail = _modifiers(modifiers)
    return f"{head}{GAP}{tail}" if tail else head


def _statement(statement: rules.Statement, indent: str, columns: tuple[int, int]) -> list[str]:
    after = statement.trivia.after
    match statement:
        case rules.Rule():
            lines = _rule(statement, indent, columns)
            return [*lines[:-1], _with_comment(lines[-1], after)]
        case rules.Block(left, right, body, modifiers):
            head = _block_head(left, right, modifiers, indent)
            return _braces(head, _body(body, indent + INDENT), statement.tail, after, indent)
        case rules.Default(body):
            return _braces(f"{indent}default {{", _body(body, indent + INDENT), statement.tail, after, indent)
        case rules.OutputDtype(dtype, keeps):
            if not keeps:
                return [*_comments(statement.tail, indent), _with_comment(f"{indent}dtype {dtype}", after)]
            inner = [line for keep in keeps for line in _keep_dtype(keep, indent + INDENT)]
            return _braces(f"{indent}dtype {dtype} {{", inner, statement.tail, after, indent)
        case rules.Drop() | rules.External():
            return _reasoned(statement, indent)
        case _:
            return [_with_comment(indent + _simple(statement), after)]


def _reasoned(statement: rules.Drop | rules.External, indent: str) -> list[str]:
    """The reason on a line of its own, if there is no room for it."""
    word = "drop" if isinstance(statement, rules.Drop) else "external"
    head = f"{indent}{word} {print_names(statement.names)}"
    if isinstance(statement, rules.Drop) and statement.same_as is not None:
        head += f" same as {print_name(statement.same_as)}"
    because = _joined(f"because {quote(statement.because)}", statement.modifiers)
    line = _with_comment(f"{head} {because}", statement.trivia.after)
    if len(line) <= WIDTH:
        return [line]
    return [head, _with_comment(f"{indent}{INDENT}{because}", statement.trivia.after)]


def _block_head(left: Pattern, right: Pattern, modifiers: rules.Modifiers, indent: str) -> str:
    head = _joined(f"{indent}{print_prefix(left)} -> {print_prefix(right)}", modifiers) + " {"
    paired = paired_groups(left, right)
    if len(head) <= WIDTH or paired is None:
        return head
    return f"{indent}   {paired[0]}\n" + _joined(f"{indent}-> {paired[1]}", modifiers) + " {"


def _braces(head: str, body: list[str], tail: Sequence[str], after: str, indent: str) -> list[str]:
    return [_with_comment(head, after), *body, *_comments(tail, indent + INDENT), indent + "}"]


def _keep_dtype(keep: rules.KeepDtype, indent: str) -> list[str]:
    kind = f"{keep.dtype} : " if keep.dtype else ""
    line = f"{indent}keep {kind}{print_names(keep.names)}"
    return [*_comments(keep.trivia.before, indent), _with_comment(line, keep.trivia.after)]


def _simple(
    statement: rules.About | rules.Let | rules.Use | rules.Keep | rules.Create | rules.Separator,
) -> str:
    match statement:
        case rules.About(topic, text):
            return f"about {topic} {quote(text)}"
        case rules.Let(name, value):
            return f"let {name} = {print_expr(value)}"
        case rules.Separator(side, text):
            return f"separator {side} {quote(text)}"
        case rules.Use(path, left, right, modifiers, inverse):
            use = "use inverse" if inverse else "use"
            under = f" under {print_prefix(left)} -> {print_prefix(right)}"
            under = under if left.parts or right.parts else ""
            return _joined(f"{use} {quote(path)}{under}", modifiers)
        case rules.Keep(names, modifiers):
            return _joined(f"keep {print_names(names)}", modifiers)
        case rules.Create(names, shape, value, ops, modifiers):
            text = f"create {print_names(names)} : {print_shape(shape)} = {print_expr(value)}"
            return _joined(text + "".join(f" | {print_op(op)}" for op in ops), modifiers)
