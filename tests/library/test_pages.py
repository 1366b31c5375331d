"""The library's pages are what the mappings and their key sets say now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mapcc

PAGES = Path(__file__).resolve().parents[2] / "docs" / "library"


@pytest.mark.slow  # all mappings against all of their models
def test_the_pages_are_current() -> None:
    made = dict(mapcc.library_pages())
    assert {path.name for path in PAGES.iterdir()} == made.keys()
    stale = [name for name, text in made.items() if (PAGES / name).read_text("utf-8") != text]
    assert not stale, "run: mapcc docs --out docs/library"


def test_the_command_writes_them(tmp_path: Path, mapcc: Any) -> None:
    ran = mapcc("docs", "wan", "--out", tmp_path / "pages")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == ["index.md", "wan.md"]
    assert (tmp_path / "pages" / "wan.md").read_text("utf-8") == (PAGES / "wan.md").read_text("utf-8")


def test_what_a_page_shows() -> None:
    page = (PAGES / "flux.md").read_text("utf-8")
    assert "| `double_blocks.{0..18}.img_attn.qkv.{weight,bias}` rows 3072:6144 |" in page
    assert "│   ├── norm1.linear.{weight,bias}  18432 x 3072" in page
