"""Where the data files lie: inside the package in a wheel, at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def data_folder(name: str, in_checkout: str) -> Path:
    """The folder of shipped data ``name``; ``in_checkout`` is where a checkout keeps it."""
    shipped = _PACKAGE / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / in_checkout


def grammar() -> str:
    """The text of the language's grammar."""
    return (grammars() / "mapcc.lark").read_text(encoding="utf-8")


def grammars() -> Path:
    return data_folder("grammars", "grammars")


def mappings() -> Path:
    return data_folder("mappings", "mappings")


def library_mapping(name: str) -> Path | None:
    """The file of a shipped mapping by its short name, ``family/case``; None if there is none.

    >>> library_mapping("bert/minilm_to_torch").name
    'minilm_to_torch.mapcc'
    """
    family, slash, case = name.partition("/")
    if not (slash and family.isidentifier() and case.isidentifier()):
        return None
    path = mappings() / family / f"{case}.mapcc"
    return path if path.is_file() else None


def library_name(path: Path) -> str | None:
    """What a file of the library is called there: ``wan/parts/block_to_diffusers``; None for any other.

    >>> library_name(mappings() / "wan" / "parts" / "block_to_diffusers.mapcc")
    'wan/parts/block_to_diffusers'
    """
    try:
        return path.relative_to(mappings()).with_suffix("").as_posix()
    except ValueError:
        return None


def library_names() -> list[str]:
    """What :func:`library_mapping` knows, sorted.

    >>> "bert/minilm_to_torch" in library_names()
    True
    """
    return sorted(f"{path.parent.name}/{path.stem}" for path in mappings().glob("*/*.mapcc"))


def code_pages() -> Path:
    return data_folder("codes", "docs/codes")
