"""Random mappings that are valid as text, built as the parser builds them.

Valid means: what the grammar can say. Whether the rules make sense is another matter; for that see
``scenarios.py``, which makes rules together with key sets that fit them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from mapcc.ir import axes, expr, patterns, rules
from mapcc.ir.notation import KEYWORDS

Strategy = st.SearchStrategy


def _short(strategy: Strategy) -> Strategy:
    """The same under a short name: Hypothesis writes some names out, and nested ones grow without end."""

    @st.composite
    def drawn(draw: st.DrawFn) -> object:
        return draw(strategy)

    return drawn()


_WORDS = [
    "i",
    "j",
    "k",
    "l",
    "b",
    "r",
    "n",
    "e",
    "t",
    "p",
    "h",
    "d",
    "c",
    "f",
    "q",
    "kv",
    "o",
    "x_1",
    "_y",
    "H",
    "where_",
    "drops",
    "inner",
    "keep2",
]
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

words = st.one_of(
    st.sampled_from(_WORDS),
    st.text("abxyzAZ019_", min_size=1, max_size=6).filter(
        lambda word: _WORD.fullmatch(word) is not None and word not in KEYWORDS
    ),
)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain_text = st.text("abcwxyz019_.-/", min_size=1, max_size=8)
texts = st.one_of(
    plain_text,
    st.sampled_from(sorted(KEYWORDS)),
    st.sampled_from(["layers.", ".weight", "a->b", "0", ".", "-", "x.", "#", '"', "{i}", "a b", "e\n"]),
    any_text.filter(bool),
)
named_texts = st.builds(
    lambda text, is_quoted: (
        patterns.quoted_text(text) if is_quoted or not patterns.PLAIN.fullmatch(text) else patterns.Text(text)
    ),
    st.one_of(texts, st.sampled_from(["a..b", ".a", "a.", "..", "a//b"])),
    st.booleans(),
)
widths = st.sampled_from([0, 0, 0, 2, 3, patterns.MAX_WIDTH])
labels = st.one_of(st.just(""), plain_text)
dtypes = st.sampled_from(["bf16", "f16", "f32", "f64", "i64", "u8", "f8_e4m3", "bool"])


# --- expressions

numbers = st.one_of(
    st.integers(0, 10**6),
    st.integers(0, 10**30),
    st.floats(0, allow_nan=False, allow_infinity=False, exclude_min=True),
).map(expr.Number)
configs = st.builds(
    expr.Config,
    st.sampled_from(["source", "target"]),
    st.lists(st.text("ab_0", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
_OPERATORS = ["+", "-", "*", "/", "//", "%", "**"]


def expressions(leaves: Strategy[expr.Expr], most: int = 6) -> Strategy[expr.Expr]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(expr.Binary, st.sampled_from(_OPERATORS), inner, inner),
            st.builds(expr.Negative, inner),
        ),
        max_leaves=most,
    )


names_ = st.builds(expr.Name, words)
indices = _short(expressions(st.one_of(names_, st.integers(0, 99).map(expr.Number)), 4))


# --- names


def _is_written_once(expression: str) -> bool:
    """Whether a regular expression is one that the parser gives: its slashes bare, nothing left open."""
    return re.fullmatch(r"(?:[^/\\\n]|\\[^/\n]|/)+", expression) is not None


regexes = st.one_of(
    st.sampled_from(["[a-z]+", "a|b", "w[0-9]{1,2}", 'a"b', "#x", "a/b", r"\\/", r"\d+", "[{]", "x,y", "}"]),
    st.text('ab/\\[](){}|*+?.,#" ', min_size=1, max_size=8).filter(_is_written_once),
)
_simple_parts = st.one_of(
    named_texts,
    st.just(patterns.Star()),
    st.just(patterns.Deep()),
    st.builds(patterns.Index, names_, widths),
    st.builds(patterns.Index, indices, widths),
    st.builds(patterns.Regex, words, regexes),
    st.builds(patterns.NameAxis, words, st.none(), widths),
    st.builds(patterns.NameAxis, words, st.lists(labels, min_size=1, max_size=4).map(tuple)),
)


@st.composite
def _part_lists(draw: st.DrawFn, depth: int = 3, least: int = 1) -> tuple[patterns.Part, ...]:
    parts: list[patterns.Part] = []
    for _ in range(draw(st.integers(least, 4 if depth == 3 else 2))):
        if depth and draw(st.integers(0, 4)) == 0:
            members = draw(st.lists(_part_lists(depth - 1, 0), min_size=2, max_size=3))
            parts.append(patterns.Group(tuple(members)))
        else:
            parts.append(draw(_simple_parts))
    return patterns.merge_texts(parts)


def _apart(parts: Sequence[patterns.Part]) -> tuple[patterns.Part, ...]:
    """Stars that touch would be read as other stars: a text between them."""
    out: list[patterns.Part] = []
    for part in parts:
        if out and isinstance(out[-1], patterns.Star | patterns.Deep) and isinstance(part, type(out[-1])):
            out.append(patterns.Text("."))
        if out and {type(out[-1]), type(part)} == {patterns.Star, patterns.Deep}:
            out.append(patterns.Text("."))
        out.append(_apart_inside(part))
    return patterns.merge_texts(out)


def _apart_inside(part: patterns.Part) -> patterns.Part:
    match part:
        case patterns.Group(members):
            return patterns.Group(tuple(_apart(member) for member in members))
        case _:
            return part


names = _short(_part_lists().map(_apart).filter(bool).map(lambda parts: patterns.Pattern(parts)))
prefixes = st.one_of(st.just(patterns.EMPTY), names.filter(lambda name: name.parts != (patterns.Text("."),)))
name_lists = st.lists(names, min_size=1, max_size=3).map(tuple)


# --- shapes

_dims = st.recursive(
    st.one_of(
        st.builds(axes.Atom, words), st.integers(1, 10**6).map(axes.Literal), st.just(axes.Product(()))
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda dims: axes.Product(tuple(dims))),
        st.lists(inner, min_size=2, max_size=3).map(lambda dims: axes.Sum(tuple(dims))),
    ),
    max_leaves=8,
)
_rests = st.sampled_from(
    [axes.Rest(), axes.Product((axes.Rest(),)), axes.Product((axes.Rest(), axes.Atom("d")))]
)
shapes = _short(
    st.one_of(
        st.just(()),
        st.lists(st.one_of(_dims, _dims, _rests), min_size=1, max_size=4)
        .map(tuple)
        .filter(lambda dims: dims != (axes.Product(()),)),
    )
)


# --- conditions

values = _short(
    expressions(
        st.one_of(
            names_, names_, numbers, configs, st.builds(expr.Count, names), st.builds(expr.Quoted, any_text)
        )
    )
)
_COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]


@st.composite
def comparisons(draw: st.DrawFn) -> rules.Compare:
    operands = draw(st.lists(values, min_size=2, max_size=4))
    count = len(operands) - 1
    if draw(st.booleans()):
        operators = ["="] * count
    else:
        operators = draw(st.lists(st.sampled_from(_COMPARISONS), min_size=count, max_size=count))
    return rules.Compare(tuple(operands), tuple(operators))


conditions = st.one_of(
    comparisons(),
    st.builds(rules.InRange, values, values, values),
    st.builds(rules.Exists, names, st.booleans()),
)
allows = st.builds(
    rules.Allow,
    st.lists(st.sampled_from(["MC812", "MC811", "MC410"]), min_size=1, max_size=2).map(tuple),
    any_text.filter(str.strip),
)
modifiers = _short(
    st.one_of(
        st.just(rules.NO_MODIFIERS),
        st.builds(
            rules.Modifiers,
            st.booleans(),
            st.lists(conditions, max_size=3).map(tuple),
            st.sampled_from([0, 0, 1, 2]).flatmap(
                lambda most: st.lists(allows, min_size=most, max_size=most).map(tuple)
            ),
        ),
    )
)


# --- terms

arguments = st.one_of(
    numbers,
    numbers.map(expr.Negative),
    names_,
    configs,
    st.builds(expr.Quoted, any_text),
    values,
    st.lists(values, min_size=1, max_size=3).map(tuple),
)
_OPERATIONS = [
    "cast",
    "scale",
    "add",
    "neg_exp",
    "round",
    "clamp",
    "weight_norm",
    "transpose",
    "permute",
    "chunk",
    "split",
    "cat",
    "stack",
    "unstack",
]
operations = _short(
    st.builds(
        rules.Op,
        st.one_of(st.sampled_from(_OPERATIONS), words),
        st.lists(arguments, max_size=2).map(tuple),
        st.lists(
            st.tuples(st.one_of(st.just("dim"), words), arguments),
            max_size=2,
            unique_by=lambda option: option[0],
        ).map(tuple),
    )
)
_op_lists = st.one_of(st.just(()), st.lists(operations, max_size=2).map(tuple))
tensors = _short(st.builds(rules.Tensor, names, st.one_of(st.none(), shapes), _op_lists))
plain_tensors = st.builds(rules.Tensor, names)
bundles = st.builds(
    rules.Bundle,
    st.lists(st.one_of(plain_tensors, tensors), min_size=1, max_size=3).map(tuple),
    st.one_of(st.none(), shapes),
    _op_lists,
)
lefts = st.one_of(tensors, tensors, bundles, st.builds(rules.Created, shapes, values))
rights = st.one_of(tensors, tensors, st.builds(rules.Dropped, shapes, any_text))


# --- statements

_some = {"min_size": 1, "max_size": 3}
rules_with_axes = st.builds(
    rules.Rule,
    st.lists(lefts, **_some).map(tuple),
    st.lists(rights, **_some).map(tuple),
    st.booleans(),
    modifiers,
)


@st.composite
def named_operations(draw: st.DrawFn) -> rules.Rule:
    """``x | transpose dim=1 -> y``: the rules that have a kind of their own in YAML."""
    name = draw(st.sampled_from(["transpose", "permute", "chunk", "split", "cat", "stack", "unstack"]))
    right = draw(st.lists(plain_tensors, min_size=1, max_size=3))
    given = {
        "permute": draw(st.permutations([0, 1, 2]).map(lambda order: tuple(map(expr.Number, order)))),
        "chunk": (expr.Number(draw(st.sampled_from([len(right), 2]))),),
        "split": (tuple(draw(values) for _ in right),),
    }
    options = draw(st.sampled_from([(), (("dim", expr.Number(1)),), (("dim", expr.Name("D")),)]))
    op = rules.Op(name, given.get(name, ()), options)
    holder: rules.Term = rules.Tensor(draw(names), None, (op,))
    if draw(st.booleans()):
        holder = rules.Bundle(tuple(draw(st.lists(plain_tensors, min_size=1, max_size=3))), None, (op,))
    return rules.Rule((holder,), tuple(right), draw(st.booleans()), draw(modifiers))


creates = st.builds(
    rules.Create,
    name_lists,
    shapes,
    values,
    st.one_of(
        st.just(()),
        st.tuples(st.builds(rules.Op, st.just("cast"), st.tuples(st.builds(expr.Name, dtypes)))),
        _op_lists,
    ),
    modifiers,
)
simple_statements = st.one_of(
    rules_with_axes,
    rules_with_axes,
    named_operations(),
    st.builds(rules.Keep, name_lists, modifiers),
    st.builds(rules.Drop, name_lists, any_text, modifiers, st.none() | names),
    st.builds(rules.External, name_lists, any_text, modifiers),
    creates,
    st.builds(rules.Use, any_text, prefixes, prefixes, modifiers, st.booleans()),
)
lets = st.builds(rules.Let, words, values)
output_dtypes = st.builds(
    rules.OutputDtype,
    dtypes,
    st.lists(st.builds(rules.KeepDtype, name_lists, st.one_of(st.none(), dtypes)), max_size=3).map(tuple),
)
separators = st.builds(
    rules.Separator, st.sampled_from(["source", "target"]), st.characters(exclude_categories=["Cs"])
)
abouts = st.builds(rules.About, words, any_text)
settings_ = st.one_of(abouts, lets, output_dtypes, separators)
_KINDS = [simple_statements] * 8 + [settings_]


@st.composite
def _statements(draw: st.DrawFn, depth: int = 3) -> rules.Statement:
    """Mostly simple ones: a recursive strategy would give empty blocks within blocks."""
    inside = _statements(depth - 1)
    kind = draw(st.integers(0, 11 if depth else 8))
    if kind < 9:
        return draw(_KINDS[kind])
    body = tuple(draw(st.lists(inside, min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3)))
    if kind == 9:
        return rules.Default(body)
    return rules.Block(draw(prefixes), draw(prefixes), body, draw(modifiers))


statements = _statements()


@st.composite
def mappings(draw: st.DrawFn) -> rules.Mapping:
    name = draw(st.one_of(st.none(), plain_text))
    title = draw(st.one_of(st.none(), any_text)) if name is not None else None
    return rules.Mapping(name, title, tuple(draw(st.lists(statements, min_size=1, max_size=4))))


def prefix(text: str) -> patterns.Pattern:
    return patterns.Pattern((patterns.Text(text),))
