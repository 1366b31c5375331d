"""Whatever is written, nothing but diagnostics comes out: random programs, damaged mappings, noise."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lark import Lark, Token
from lark.lexer import PatternRE, PatternStr

import mapcc
from mapcc import resources
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir import rules
from mapcc.ir.notation import KEYWORDS
from mapcc.ir.printer import print_mapping
from mapcc.ir.yaml_printer import print_yaml
from mapcc.syntax import tables
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.language.strategies import mappings

FILES = sorted((Path(__file__).resolve().parents[2] / "mappings").glob("*/*.mapcc"))
PIECES = [
    *("a", "b.c", "x.{i}.w", "{q,k}", "*", "**", "[t=q,k]", "[e]", "{4*b + r}", '"n m"', "{x:/[a-z]+/}"),
    *(" -> ", " <-> ", " : ", "(q + k)", "(h d) ...", "1", "2", "...", " | cast bf16", " | chunk 2", ", "),
    *(" where ", " optional ", "i % 2 == 0", "r in 0..2", "exists(a)", "n = count(a.{i})", "d = 3"),
    *("drop ", "create ", "external ", ' because "r"', "let n = 3", "keep ", "default {", "}", "\n", "{\n"),
    *("use ", "dtype f32", "separator source ", "= 0", "# note", "\t", "-", ")", "]", "\\", "é", "\x00"),
]

fuzzed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
tensors = st.dictionaries(
    st.sampled_from(["a", "b.c", "x.0.w", "x.1.w", "q", "k", "a.0", "a.1", "n m", "f.0.q", "f.0.k"]),
    st.tuples(
        st.sampled_from([None, "F32", "BF16", "I64", "F4"]),
        st.lists(st.integers(0, 6), max_size=3).map(tuple),
    ),
    max_size=6,
)


def key_set(shapes: dict[str, tuple[str | None, tuple[int, ...]]]) -> Manifest:
    specs = {n: TensorSpec(n, DTYPES.get(dtype or ""), shape) for n, (dtype, shape) in shapes.items()}
    return Manifest(specs, (), "key set", None, {})


def only_diagnostics(
    text: str, name: str = "m.mapcc", source: Manifest | None = None, target: Manifest | None = None
) -> None:
    """Parse, and check if it parses; every diagnostic's place is in the text."""
    try:
        mapping = mapcc.parse(text, name)
        found: tuple[Diagnostic, ...] = mapcc.check(mapping, source or key_set({}), target).diagnostics
    except mapcc.MappingError as error:
        found = tuple(error.diagnostics)
        assert found
    for diagnostic in found:
        if diagnostic.span is not None and diagnostic.span.source.name == name:
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text) + 1


@pytest.mark.slow
@fuzzed
@given(mappings(), tensors, st.none() | tensors)
def test_programs_that_parse(mapping: rules.Mapping, source: dict, target: dict | None) -> None:  # type: ignore[type-arg]
    given_target = None if target is None else key_set(target)
    only_diagnostics(print_mapping(mapping), "m.mapcc", key_set(source), given_target)


@cache
def terminals() -> dict[str, st.SearchStrategy[str]]:
    """A strategy for the text of each terminal; what a terminal looks ahead or behind for is left out."""
    lark = Lark(resources.grammar(), parser="lalr", lexer="contextual", start=["mapping"])
    out: dict[str, st.SearchStrategy[str]] = {}
    for terminal in lark.terminals:
        match terminal.pattern:
            case PatternStr():
                out[terminal.name] = st.just(str(terminal.pattern.value))
            case PatternRE() if terminal.name.lower() in KEYWORDS:
                out[terminal.name] = st.just(terminal.name.lower())
            case PatternRE():
                out[terminal.name] = st.sampled_from(PIECES)
    return out


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Texts that follow the grammar: the parser itself says which terminals may come next."""
    lark = tables.parser("mapping")
    interactive = lark.parse_interactive("")
    spelled = {
        **terminals(),
        "TEXT": st.sampled_from(["a", "b.c", "x.", ".w", "q", "k"]),
        "IDENT": st.sampled_from(["i", "n", "d", "t", "f32", "cast", "chunk"]),
        "NUMBER": st.sampled_from(["0", "1", "2", "3"]),
        "STRING": st.just('"r"'),
        "_NL": st.just("\n"),
    }
    words: list[str] = []
    for _ in range(draw(st.integers(1, 25))):
        options = sorted(interactive.accepts() - {"$END"})
        if not options:
            break
        kind = draw(st.sampled_from(options))
        words.append(draw(spelled.get(kind, st.sampled_from(PIECES))))
        interactive.feed_token(Token(kind, kind))
    glue = draw(st.sampled_from([" ", ""]))
    return glue.join(words)


@fuzzed
@given(programs(), tensors)
def test_programs_from_the_grammar(text: str, source: dict) -> None:  # type: ignore[type-arg]
    only_diagnostics(text, "m.mapcc", key_set(source))


@st.composite
def damaged(draw: st.DrawFn, form: str) -> str:
    """A mapping of the library with some characters cut out, put in or doubled."""
    text = draw(st.sampled_from(FILES)).read_text("utf-8")
    if form == "yaml":
        text = print_yaml(mapcc.parse(text))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        middle = draw(st.one_of(st.just(""), st.sampled_from(PIECES), st.just(text[at:end] * 2)))
        text = text[:at] + middle + text[end:]
    return text


@fuzzed
@given(damaged("text"))
def test_damaged_text(text: str) -> None:
    only_diagnostics(text)


@fuzzed
@given(damaged("yaml"))
def test_damaged_yaml(text: str) -> None:
    only_diagnostics(text, "m.yaml")


@fuzzed
@given(
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=80), st.booleans(), tensors
)
def test_noise(text: str, yaml: bool, source: dict) -> None:  # type: ignore[type-arg]
    only_diagnostics(text, "m.yaml" if yaml else "m.mapcc", key_set(source))
