"""What MC402 and MC405 say of names that differ in their writing: each help is typed."""

from __future__ import annotations

from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostic
from tests.passes.test_lint import Shapes, manifest

PADDED: Shapes = {f"l.{i:02}.w": [4] for i in range(12)}


def told(text: str, source: Shapes) -> dict[str, Diagnostic]:
    found = check(parse(text), manifest(source)).diagnostics
    assert len({d.code for d in found}) == len(found)
    return {d.code: d for d in found}


def test_numbers_with_zeros_in_front_are_one_finding() -> None:
    """The rule takes 10 and 11, so that nothing else is wrong with it."""
    missing = told("l.{i}.w -> m.{i}.w", PADDED)["MC402"]
    assert missing.message == "no rule takes `l.{i:02}.w`"
    assert "`l.{i:02}.w`" in missing.help
    assert "drop" not in missing.help
    assert len(missing.names) == 10
    assert not told("l.{i:02}.w -> m.{i}.w", PADDED)


def test_one_such_name_is_itself() -> None:
    assert told("keep a", {"a": [1], "b.01": [1]})["MC402"].help.endswith('`drop b.01 because "..."`')


def test_names_cut_at_slashes() -> None:
    source: Shapes = {f"l/{i}/q/w": [4] for i in range(2)}
    assert "`l/{i}/q/w`" in told("l.{i}.q.w -> m.{i}", source)["MC405"].help
    assert not told("l/{i}/q/w -> m.{i}", source)


def test_what_where_leaves_out_is_no_other_name() -> None:
    dead = told("l.{i}.w -> m.{i} where i > 7", {f"l.{i}.w": [4] for i in range(3)})["MC405"]
    assert dead.help == "add 'optional' if it may be absent"
    assert "3 names match the pattern, but not 'where'" in dead.notes
