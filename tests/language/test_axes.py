"""Random axis rules, bound and moved element by element, against numpy on the notation itself."""

from __future__ import annotations

import numpy as np
from hypothesis import event, given

from mapcc.api import Checked, check, parse
from mapcc.ir.printer import print_mapping
from tests.language.notation import bound_and_moved
from tests.language.scenarios import FREE, Scenario, manifest, scenarios


def held(
    scenario: Scenario, sources: dict[str, np.ndarray], targets: dict[str, np.ndarray] | None
) -> Checked:
    text = print_mapping(scenario.mapping())
    target = None if targets is None else manifest(targets)
    return check(parse(text), manifest(sources), target)


def agrees(scenario: Scenario, with_target: bool) -> bool:
    sources = scenario.sources()
    targets = scenario.targets(sources)
    checked = held(scenario, sources, targets if with_target else None)
    codes = {d.code for d in checked.diagnostics}
    if scenario.hides_rest:
        assert codes & {"MC308", *FREE}
        return False
    if codes & FREE and codes <= {*FREE, "MC401"} and not scenario.all_given:
        return False
    assert not codes, [(d.code, d.message, d.notes) for d in checked.diagnostics]
    assert checked.bound is not None
    given = bound_and_moved(checked.bound, sources, drops=any(term.dropped for term in scenario.right))
    assert given.keys() == targets.keys()
    for name, array in targets.items():
        np.testing.assert_array_equal(given[name], array, name)
    return True


@given(scenarios())
def test_the_moves_do_what_the_notation_says(scenario: Scenario) -> None:
    event("bound" if agrees(scenario, with_target=True) else "refused: sizes free")


@given(scenarios())
def test_and_without_a_target_too(scenario: Scenario) -> None:
    event("bound" if agrees(scenario, with_target=False) else "refused: sizes free")
