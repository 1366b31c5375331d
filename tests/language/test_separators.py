"""Characters that end a line for some readers, or turn text round, are in no mapping as they are."""

from __future__ import annotations

import pytest

from mapcc.api import format_mapping, invert, parse
from mapcc.errors import MappingError

HIDDEN = ["\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\x0b", "\x0c", "\x1c", "\x1b", "\x9b"]


@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a -> b  # c{0}d", "m.mapcc"),
        ("# c{0}d\na -> b", "m.mapcc"),
        ('"a{0}b" -> c', "m.mapcc"),
        ('drop a because "x{0}y"', "m.mapcc"),
        ("rules:  # x{0}y\n  - keep: a\n", "m.yaml"),
        ('rules:\n  - drop: {{keys: a, because: "x{0}y"}}\n', "m.yaml"),
    ],
)
def test_they_are_refused(char: str, text: str, name: str) -> None:
    with pytest.raises(MappingError, match="MC101") as refused:
        parse(text.format(char), name)
    assert char not in str(refused.value)


@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
def test_as_escapes_they_stay_escapes(char: str) -> None:
    escape = f"\\u{ord(char):04x}"
    mapping = parse(f'keep a\ndrop b because "x{escape}y"\nabout source "{escape}"\n')
    printed = [format_mapping(mapping), format_mapping(mapping, "yaml"), invert(mapping).text]
    for text in printed:
        assert char not in text
        assert len(text.splitlines()) == text.count("\n")
    assert format_mapping(parse(printed[0])) == printed[0]
    assert format_mapping(parse(printed[1], "m.yaml"), "yaml") == printed[1]
