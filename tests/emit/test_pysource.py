"""Literals and comments that hold any text, and are never more than text."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.emit.pysource import Section, assigned_dict, comment, literal, quoted, read_dict

# Everything: control characters, lone surrogates, bidirectional marks, line ends of all kinds.
ANY = st.text(st.characters(), max_size=20) | st.sampled_from(
    [
        "'",
        '"',
        "\\",
        'r"',
        "a\\",
        "\\\\",
        '"""',
        "\n",
        "\r",
        "\x0b",
        "\x85",
        "\u2028",
        "\ud800",
        "\u202e",
        "{}",
    ]
)
ENTRY = ANY | st.tuples(ANY, st.integers(0, 99), st.integers(0, 99))


@given(ENTRY)
def test_a_literal_reads_back(value) -> None:
    text = literal(value)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert ast.literal_eval(text) == value


@given(ANY)
def test_a_comment_stays_one(text) -> None:
    line = comment(f"from {quoted(text)}")
    tokens = list(tokenize.generate_tokens(io.StringIO(line + "\n").readline))
    assert [t.type for t in tokens] == [tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER]
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("text", ["a\nimport os", "a\rimport os", "caf\u00e9", "\x1b[31m"])
def test_a_comment_of_bare_text_is_refused(text) -> None:
    with pytest.raises(AssertionError):
        comment(text)


@given(st.dictionaries(ANY, ENTRY, max_size=5), ANY)
def test_a_dict_reads_back_and_does_nothing_else(table, title) -> None:
    text = assigned_dict(
        "d", [comment(quoted(title))], [Section((comment(quoted(title)),), tuple(table.items()))]
    )
    assert dict(read_dict(text, "d")) == table
    namespace: dict[str, object] = {"__builtins__": {}}
    exec(compile(text, "emitted", "exec"), namespace)
    assert namespace["d"] == table
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Assign)


def test_no_other_module_builds_source(root: Path) -> None:
    words = ("def ", "import ", " = {", "class ")
    for path in sorted((root / "mapcc").rglob("*.py")):
        if path.name == "pysource.py":
            continue
        strings = [
            part.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.JoinedStr)
            for part in node.values
            if isinstance(part, ast.Constant)
        ]
        assert not [s for s in strings if str(s).startswith(words)], path
