"""Names never drive the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.escape import NAME_LIMIT, cells, escape, prose, shorten

ANY = st.text(st.characters(exclude_categories=()))

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
BREAKS = [0x2028, 0x2029, 0x85]
INVISIBLE = [0xAD, 0x200B, 0x200D, 0xFEFF, 0xE0041]
SURROGATES = [0xD800, 0xDFFF]


@pytest.mark.parametrize("point", [*CONTROLS, *BIDI, *BREAKS, *INVISIBLE, *SURROGATES], ids=hex)
def test_what_drives_a_terminal_is_written_out(point: int) -> None:
    shown = escape(f"a{chr(point)}b")
    assert shown.isascii()
    assert shown.startswith("a\\")
    assert int(shown[3:-1], 16) == point


@pytest.mark.parametrize("text", ["", "plain name", "café", "層.0.重み", "back\\slash"])
def test_what_prints_stays(text: str) -> None:
    assert escape(text) == text


@given(ANY)
def test_escaped_text_prints_and_encodes(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(ANY, st.integers(5, 50))
def test_shortened_text_keeps_its_ends(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or (short[0] == text[0] and short[-1] == text[-1] and "..." in short)


def test_long_names_in_prose_are_shortened_in_the_middle() -> None:
    name = "blocks." + "x" * 5000 + ".weight"
    said = prose(f"the tensor `{name}` is missing")
    assert len(said) < NAME_LIMIT + 40
    assert said.startswith("the tensor `blocks.xxx")
    assert "xxx.weight` is missing" in said


def test_prose_without_end_is_cut() -> None:
    assert len(prose("a b " * 1_000_000)) <= 4000


@given(st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Mn"])))
def test_cells_count_columns(text: str) -> None:
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    assert cells(text) <= len(text) + wide
