"""The dict for sglang, run by sglang's own function: the names of the mapping, or a refusal by rule."""

from __future__ import annotations

import pytest
from hypothesis import given

from mapcc.dialects.regexes import load
from mapcc.emit import emit_sglang

from .test_properties import mappings


@pytest.mark.oracle
@pytest.mark.network
@given(case=mappings())
def test_the_names_are_those_of_the_mapping(bind, sglang_names, case) -> None:
    text, shapes = case
    bound = bind(text, shapes)
    emitted = emit_sglang(bound)
    if not emitted.ok:
        assert {fault.code for fault in emitted.diagnostics} == {"MC601"}
        assert all(fault.span is not None for fault in emitted.diagnostics)
        return
    theirs = sglang_names(emitted.table)
    loaded = load(shapes, lambda name: theirs(name))
    assert not loaded.faults
    assert {t: set(s) for t, s in loaded.tensors.items()} == {
        target: {n for operand in instance.sources for n in operand}
        for target, (instance, _) in bound.given.items()
    }


def test_a_swap_cannot_be_said(bind) -> None:
    """Each name is the other's source: the engine would go on, and come back."""
    emitted = emit_sglang(bind("a -> b\nb -> a\n", {"a": (2,), "b": (2,)}))
    assert [fault.code for fault in emitted.diagnostics] == ["MC601", "MC601"]
    assert "stop at what this rule gives" in emitted.diagnostics[0].message


def test_a_chain_is_written_out(bind, sglang_names) -> None:
    emitted = emit_sglang(bind("a.* -> b.*\nb.x -> c.x\n", {"a.w": (2,), "b.x": (2,)}))
    assert emitted.ok
    theirs = sglang_names(emitted.table)
    assert (theirs("a.w")[0], theirs("b.x")[0]) == ("b.w", "c.x")


@pytest.mark.oracle
@pytest.mark.network
def test_tensors_are_left_out(bind, sglang_names) -> None:
    emitted = emit_sglang(bind('drop rope.** because "recomputed"\na -> b\n', {"rope.f": (2,), "a": (2,)}))
    theirs = sglang_names(emitted.table)
    assert (theirs("rope.f")[0], theirs("a")[0]) == ("", "b")
