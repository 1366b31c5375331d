"""Every mapping against the key sets of its model at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mapcc
from mapcc.ir.bound import BoundMapping


def moves(bound: BoundMapping | None) -> set[tuple[object, ...]]:
    """What a bound mapping does, however it was written."""
    assert bound is not None
    return {
        (
            instance.sources,
            instance.targets,
            instance.dtypes,
            instance.layout.target_shapes,
            instance.layout.moves,
            tuple(unit.steps for unit in instance.equation.units),
        )
        for instance in bound.instances
    } | {("dropped", name) for name in bound.dropped}


def test_clean_against_both_sides(model: Any) -> None:
    checked = mapcc.check(model.mapping, model.keys("source"), model.keys("target"))
    assert not checked.diagnostics
    assert checked.bound is not None
    assert (
        checked.bound.given.keys() | checked.bound.external.keys()
        == mapcc.keys(model.keys("target")).tensors.keys()
    )


def test_clean_without_a_target(case: Any) -> None:
    """What the mapping gives does not depend on being told what is wanted."""
    alone = mapcc.check(case.mapping, case.keys("source"))
    assert not alone.diagnostics
    both = mapcc.check(case.mapping, case.keys("source"), case.keys("target"))
    assert moves(alone.bound) == moves(both.bound)


@pytest.mark.slow
def test_yaml_means_the_same(case: Any, library_copy: Path) -> None:
    form = library_copy / case.mapping.parent.name / f"{case.name}.yaml"
    form.write_text(mapcc.format_mapping(mapcc.load_mapping(case.mapping), "yaml"), "utf-8")
    first = mapcc.check(case.mapping, case.keys("source"), case.keys("target"))
    with mapcc.uses_allowed(library_copy):  # of other families, as the library's own folder
        second = mapcc.check(form, case.keys("source"), case.keys("target"))
    assert not second.diagnostics
    assert moves(first.bound) == moves(second.bound)


@pytest.mark.slow
def test_the_canonical_form_means_the_same(case: Any, library_copy: Path) -> None:
    form = library_copy / case.mapping.parent.name / f"{case.name}.mapcc"
    form.write_text(mapcc.format_mapping(mapcc.load_mapping(case.mapping)), "utf-8")
    first = mapcc.check(case.mapping, case.keys("source"), case.keys("target"))
    with mapcc.uses_allowed(library_copy):  # of other families, as the library's own folder
        second = mapcc.check(form, case.keys("source"), case.keys("target"))
    assert moves(first.bound) == moves(second.bound)


def test_on_the_command_line(case: Any, mapcc: Any) -> None:
    """Alone, a mapping is held against the models that it names."""
    ran = mapcc("check", case.mapping)
    assert ran.code == 0
    assert f"{case.full.size}: clean: " in ran.out
    assert not ran.err
