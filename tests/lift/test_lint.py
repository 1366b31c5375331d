"""Each finding on a table that has it, and none on one that has not."""

from __future__ import annotations

from collections import Counter

import pytest

from mapcc.dialects.fastvideo_read import of_mapping, read_param_names
from mapcc.lift.lint import lint
from mapcc.text import Source

from .conftest import manifest
from .preimages import sources_of
from .test_fastvideo_tables import TABLES

Q = {r"^blocks\.(\d+)\.q\.(.*)$": r"layers.\1.to_q.\2"}
NAMES = ["blocks.0.q.weight", "blocks.1.q.weight"]


def found(table, names, dialect="fastvideo", target=None) -> list:
    opened = of_mapping(table, dialect)
    source = manifest(dict.fromkeys(names, (4, 4)))
    wanted = manifest(dict.fromkeys(target, (4, 4))) if target else None
    return lint(opened, source, opened.run(source, wanted), wanted)


def codes(*arguments, **options) -> list[str]:
    return [diagnostic.code for diagnostic in found(*arguments, **options)]


def test_a_sound_table() -> None:
    assert codes(Q, NAMES) == []


def test_dead() -> None:
    assert codes({**Q, "^x$": "y"}, NAMES) == ["MC801"]


def test_shadowed() -> None:
    (one,) = found({r"^blocks\.(.*)$": r"b.\1", **Q}, NAMES)
    assert (one.code, one.names) == ("MC802", ("blocks.{0,1}.q.weight",))


def test_order() -> None:
    table = {**Q, r"^blocks\.(.*)$": r"b.\1"}
    assert codes(table, [*NAMES, "blocks.0.norm"]) == ["MC803"]
    # Two that match, and say the same, may stand as they will.
    assert codes({"^a$": "b", "^a(.*)$": r"b\1"}, ["a", "ac"]) == []


@pytest.mark.parametrize("pattern", ["^head", "head$", "^he.d$", r"^(head)", "^head.$"])
def test_loose(pattern: str) -> None:
    assert "MC804" in codes({pattern: "tail"}, ["head"])


@pytest.mark.parametrize(
    "pattern", [r"^head$", r"^head\.(.*)$", r"^a\.(\d+)\.[^.]+$", r"^a\.(.+)$", r"^(.*)$"]
)
def test_not_loose(pattern: str) -> None:
    assert "MC804" not in codes({pattern: "tail"}, ["head"])


def test_not_idempotent() -> None:
    assert codes({r"^pe\.(.*)$": r"pe.proj.\1"}, ["pe.w"]) == ["MC805"]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"^q$": ("qk", 0, 2), "^k$": ("qk", 1, 2)}, ["q"]),
        ({"^q$": ("qk", 0, 2), "^k$": ("qk", 2, 2)}, ["q", "k"]),
        ({"^(q|k)$": ("qk", 0, 2)}, ["q", "k"]),
        ({"^q$": ("qk", 0, 3), "^k$": ("qk", 1, 2)}, ["q", "k"]),
    ],
)
def test_groups(table, names) -> None:
    assert "MC806" in codes(table, names)


def test_parts_without_dimensions() -> None:
    opened = of_mapping({"^q$": ("qk", 0, 2), "^k$": ("qk", 1, 2)}, "fastvideo")
    source = manifest({"q": (), "k": ()})
    assert [d.code for d in lint(opened, source, opened.run(source, None))] == ["MC806"]


def test_shapes_that_do_not_fit() -> None:
    """torch.cat would refuse them: an error at the table's entry, and the others are imported."""
    from mapcc.api import check_table, import_table

    text = "param_names_mapping = {'^q$': ('qk', 0, 2), '^k$': ('qk', 1, 2), '^a$': 'b'}"
    table = read_param_names(Source("t.py", text), "fastvideo")
    source = manifest({"q": (4, 4), "k": (4, 5), "a": (2,)})
    checked = check_table(table, "", source)
    (error,) = [d for d in checked.diagnostics if d.exit_code]
    assert (error.code[:3], error.span.source.name) == ("MC3", "t.py")
    imported = import_table(table, source=source)
    assert "a -> b" in imported.text
    assert any(d.exit_code == 1 for d in imported.diagnostics)


def test_two_sources() -> None:
    (one,) = found({"^(q|k)$": "x"}, ["q", "k"])
    assert (one.code, one.names) == ("MC807", ("q",))


def test_passing() -> None:
    (one,) = found(Q, [*NAMES, "zz"], target=["layers.0.to_q.weight", "layers.1.to_q.weight"])
    assert (one.code, one.names) == ("MC808", ("zz",))


def test_chained() -> None:
    table = {r"^a\.(.*)$": r"b.\1", r"^b\.(.*)$": r"c.\1"}
    assert codes(table, ["a.w"], dialect="sglang") == ["MC810"]
    assert "MC810" not in codes(table, ["a.w"])


@pytest.mark.parametrize(
    ("before", "behind", "told"),
    [
        ("", "", ["MC801"]),
        ("", '# mapcc: allow MC801 because "older checkpoints"', []),
        ('# mapcc: allow MC804, MC801 because "older checkpoints"', "", []),
        ("", '# mapcc: allow MC802 because "of another"', ["MC801"]),
        ("", "# mapcc: allow MC801", ["MC801"]),  # a reason is required
    ],
)
def test_allowed(before: str, behind: str, told: list[str]) -> None:
    text = f"param_names_mapping = {{\n    '^a$': 'b',\n    {before}\n    '^x$': 'y',  {behind}\n}}\n"
    table = read_param_names(Source("t.py", text), "fastvideo")
    source = manifest({"a": (2,)})
    assert [d.code for d in lint(table, source, table.run(source, None))] == told


@pytest.mark.oracle
@pytest.mark.network
def test_what_fastvideo_ships(config_source, loader, native_keys) -> None:
    """On the names of its 24 models. What is found is printed: it is the report of these tables."""
    told: Counter[str] = Counter()
    again: set[str] = set()
    for model, module in TABLES.items():
        if not module:
            continue
        table = read_param_names(config_source(module), "fastvideo")
        sources, _ = sources_of(
            dict(table.table), loader.get_param_names_mapping(dict(table.table)), native_keys[model]
        )
        source, target = manifest(sources), manifest(native_keys[model])
        for one in lint(table, source, table.run(source, target), target):
            told[one.code] += 1
            assert one.span is not None or one.code == "MC808"
            if one.code == "MC805":
                again.add(f"{model}: {one.span.text}")
    print(dict(told), *sorted(again), sep="\n")
    assert told["MC806"] == told["MC807"] == told["MC808"] == 0
    assert any(line.startswith("wanvideo: ") for line in again)
    assert told["MC801"] > 30
