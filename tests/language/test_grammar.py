"""The grammar: no conflict is settled in silence, and no input keeps a terminal busy."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lark
import pytest
from lark import Lark, logger
from lark.lexer import PatternRE

from mapcc import resources
from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.notation import KEYWORDS
from mapcc.syntax import tables
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.work import assert_grows_with_its_input, guard


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler, level = logging.StreamHandler(stream), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


def built(starts: tuple[str, ...], grammar: str = "") -> Lark:
    return Lark(
        grammar or resources.grammar(), parser="lalr", lexer="contextual", start=list(starts), debug=True
    )


@pytest.mark.parametrize("starts", tables.STARTS.values(), ids=tables.STARTS)
def test_there_is_no_conflict(starts: tuple[str, ...], log: io.StringIO) -> None:
    built(starts)
    assert "onflict" not in log.getvalue()


def test_a_conflict_would_be_seen(log: io.StringIO) -> None:
    built(("mapping",), 'mapping: mapping "+" mapping | "a"')
    assert "onflict" in log.getvalue()


@pytest.mark.parametrize("name", tables.STARTS)
def test_the_tables_are_those_of_the_grammar(name: str) -> None:
    written = tables.place(name).read_text(encoding="utf-8")
    if json.loads(written)["lark"] != lark.__version__:
        pytest.skip("they were made by another Lark: they are not used, and the parser starts slowly")
    assert written == tables.dump(name, resources.grammar()), "run: python -m mapcc.syntax.tables"


@pytest.mark.parametrize("stale", ["lark", "grammar"])
def test_tables_of_something_else_are_not_used(stale: str, tmp_path: Path, monkeypatch: Any) -> None:
    kept = json.loads(tables.place("mapping").read_text(encoding="utf-8"))
    assert tables.load("mapping", resources.grammar()) is not None
    monkeypatch.setattr(tables, "place", lambda name: tmp_path / name)
    assert tables.load("mapping", resources.grammar()) is None  # there are none
    (tmp_path / "mapping").write_text(json.dumps({**kept, stale: "another"}), encoding="utf-8")
    assert tables.load("mapping", resources.grammar()) is None


def terminals() -> dict[str, str]:
    return {
        terminal.name: terminal.pattern.value
        for terminal in built(("mapping",)).terminals
        if isinstance(terminal.pattern, PatternRE)
    }


LONG = 20_000
UNITS = [" ", "\n", "\n#", "\n #x", "\t", "a", "-", "->", "0", "0.", "1e", ".", '"', '"\\', "\\", "/", "\\/"]
UNITS += [
    "{",
    "}",
    "{a",
    "{a:",
    "{a:/",
    "{ ",
    "{,",
    "[",
    "=",
    "<",
    "source.config",
    ".a",
    "optional",
    "where ",
]


@pytest.mark.parametrize("name", sorted(terminals()))
def test_no_terminal_is_slow(name: str) -> None:
    """Each on long runs of what it is made of, that end in something else: linear or nearly so."""
    pattern = re.compile(terminals()[name])
    starts = ["", "{", '"', "/", "source.config", "\n", "0.", "optional"]
    for text in (
        start + unit * (LONG // len(unit)) + end for start in starts for unit in UNITS for end in "\x00}"
    ):
        with guard(30):  # milliseconds; what is not linear takes for ever
            for at in (0, 1, LONG // 2):
                pattern.match(text, at)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [*UNITS, "a -> b\n", "{a,", "a.{i} -> ", "| x ", "(", ") ", "let x = 1\n", "}\n", "# a\n"]
)
def test_the_work_of_parsing_grows_with_the_text(unit: str) -> None:
    def parsing(count: int) -> Callable[[], object]:
        text = unit * count

        def run() -> None:
            with suppress(MappingError):
                parse(text)

        return run

    with guard():
        parsing(60_000 // len(unit))()
    assert_grows_with_its_input(parsing, 2_000 // len(unit))


def test_the_printer_knows_the_keywords() -> None:
    """A terminal for a whole word, with something before or behind it, is a keyword of the printer's."""
    words = {
        word
        for pattern in terminals().values()
        for word in re.findall(r"[a-z]{2,}", re.sub(r"\(\?[<!=]+[^)]*\)", "", pattern))
    }
    assert words - {"config"} == KEYWORDS


# Patterns known to hang a backtracking matcher, each with a text that does it.
EVIL = [
    (r"(a+)+", "a"), (r"(a*)*", "a"), (r"(a|a)*", "a"), (r"(a|aa)+", "a"), (r"(a|a?)+", "a"),
    (r"(.*)*b", "a"), (r"(.*a){12}", "a"), (r"(a+)*b", "a"), (r"([a-z]+)*b", "a"), (r"(\w+\s?)*", "a"),
    (r"(x+x+)+y", "x"), (r"(a+a+)+b", "a"), (r"((a+)+)+b", "a"), (r"(a*a*)*b", "a"), (r"(.+)+b", "a"),
    (r"a*a*a*a*a*a*b", "a"), (r"(\d+)*x", "1"), (r"(\d|\d\d)+x", "1"), (r"([0-9]+,?)+x", "1"),
    (r"(0|1|0*|1*)+x", "0"), (r"([a-zA-Z0-9])+([a-zA-Z0-9]+)*b", "a"), (r"([a-zA-Z0-9]+)+@b", "a"),
    (r"(\w|_)+x", "_"), (r"(_?a?)+b", "_"), (r"(a|b|ab)*c", "ab"), (r"(ab|a|b|ba)+c", "ab"),
    (r"(?:a+){10,}b", "a"), (r"(a{1,9}){1,9}b", "a"), (r"(?=(a+))\1+b", "a"), (r"(a+)\1+b", "a"),
    (r"(a+)+\1b", "a"), (r"(?:(?:a|b)+)*c", "ab"), (r"(\s*a\s*)+b", "a"), (r"(.?){30}.{30}x", "a"),
    (r"(a?){25}a{25}b", "a"), (r"(?i:(a|A)+)b", "aA"), (r"(?>a|ab)*(a+)+c", "ab"), (r"(?:a|(?:a|a))+b", "a"),
    (r"(([a-z])+.)+[A-Z]([a-z])+", "a"), (r"(?<=(a+))(a+)+b", "a"), (r"(a(a(a(a)*)*)*)*b", "a"),
    (r"((((a{30}){30}){30}){30})", "a"), ("(" * 20 + "a*" + ")*" * 20 + "b", "a"), ("(a?)" * 60 + "b", "a"),
]  # fmt: skip

SCRIPT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # a hang ends as a signal
from tests.language.test_grammar import EVIL, hold
print(hold(*EVIL[int(sys.argv[1])]))
"""


def hold(expression: str, unit: str) -> str:
    """The codes of a check of names that the expression has to work on."""
    names = ["plain", *(f"m.{unit * (n // len(unit))}!" for n in (30, 60, 2000))]
    tensors = {name: TensorSpec(name, DTYPES["F32"], (1,)) for name in names}
    source = Manifest(tensors, (), "made up", None, {})
    mapping = parse(f"keep plain\nm.{{x:/{expression}/}} -> n.{{x}}   optional\ndefault {{\n    ** -> **\n}}")
    return " ".join(sorted({d.code for d in check(mapping, source).diagnostics}))


def test_there_are_enough_evil_patterns() -> None:
    assert len({expression for expression, _ in EVIL}) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EVIL)), ids=[expression[:30] for expression, _ in EVIL])
def test_an_evil_pattern_ends_in_little_time_and_memory(number: int) -> None:
    script = [sys.executable, "-c", SCRIPT, str(number)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"MC106", "MC412"}


def test_many_names_share_one_budget() -> None:
    """A pattern slow on each of a thousand names stops long before a thousand times its limit."""
    names = [f"m.{'a' * 28}{k}!" for k in range(1000)]
    tensors = {name: TensorSpec(name, DTYPES["F32"], (1,)) for name in names}
    with guard(30):  # each by itself: a thousand times the limit of one
        checked = check(parse("m.{x:/(a|aa)+[0-9]+b?/} -> n.{x}"), Manifest(tensors, (), "made up", None, {}))
    assert checked.diagnostics


@pytest.mark.parametrize(
    "expression",
    ["(", "a{2,1}", "[", "(?P<_0>a)", "a" * 513, "(a{100}){100}", "(?R)", "\\", "(?<n>a)(?<n>b)"],
)
def test_an_expression_is_refused_or_harmless(expression: str) -> None:
    found = Diagnostics()
    try:
        mapping = parse(f"{{x:/{expression}/}} -> n.{{x}}")
    except MappingError as error:
        found.extend(error.diagnostics)
    else:
        tensors = {"a": TensorSpec("a", DTYPES["F32"], (1,))}
        found.extend(check(mapping, Manifest(tensors, (), "made up", None, {})).diagnostics)
    assert {d.code for d in found} <= {"MC101", "MC106", "MC402", "MC405", "MC412"}


@pytest.mark.parametrize(
    "expression",
    [
        r"(a)\1",
        "(?i)a",
        "(?P<n>a)(?P=n)",
        "(?R)",
        "(?1)",
        "(?(1)a|b)",
        "(a){e<=1}",
        "(*SKIP)a",
        "(?x) a # b",
        "(?V1)a",
    ],
)
def test_an_expression_says_nothing_of_what_stands_around_it(expression: str) -> None:
    """It becomes a part of the segment's own: group numbers and flags would reach beyond it."""
    tensors = {"a": TensorSpec("a", DTYPES["F32"], (1,))}
    checked = check(parse(f"A{{x:/{expression}/}} -> n.{{x}}"), Manifest(tensors, (), "made up", None, {}))
    assert "MC106" in {d.code for d in checked.diagnostics}


@pytest.mark.parametrize(
    "expression",
    [
        r"[{(?\]]+",
        "(?:a|b)",
        "(?=a).",
        "(?i:a)",
        "(?P<n>a)",
        "(?<!b)a",
        r"\(\?",
        "a{1,2}",
        "a{1}",
        "[^]]",
        "(?>a)",
    ],
)
def test_what_an_expression_may_have(expression: str) -> None:
    name = "(?" if expression == r"\(\?" else "a"
    tensors = {name: TensorSpec(name, DTYPES["F32"], (1,))}
    checked = check(parse(f"{{x:/{expression}/}} -> n.{{x}}"), Manifest(tensors, (), "made up", None, {}))
    assert {d.code for d in checked.diagnostics} <= ({"MC402", "MC405"} if "{(" in expression else set())
