"""Random rules over axes: numpy's output is right, and what the moves give is right only if they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from mapcc.api import check, parse
from mapcc.ir.bound import BoundMapping, Layout, Move
from mapcc.ir.printer import print_mapping
from mapcc.tensors.keysets import open_keyset
from mapcc.verify import compare
from tests.language.notation import bound_and_moved
from tests.language.scenarios import Scenario, manifest, scenarios

Arrays = dict[str, np.ndarray]
Bench = Any


def setting(scenario: Scenario, bench: Bench) -> tuple[BoundMapping, Arrays, Arrays]:
    """The rule bound to files, the source's arrays, and numpy's targets."""
    sources = scenario.sources()
    targets = scenario.targets(sources)
    path = bench.write("source", packed(sources))
    checked = check(parse(print_mapping(scenario.mapping())), path, manifest(targets))
    assume(checked.ok and not scenario.hides_rest)
    assert checked.bound is not None
    return checked.bound, sources, targets


def packed(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: ("F32", array.shape, array.astype("<f4").tobytes()) for name, array in arrays.items()}


def verified(bench: Bench, bound: BoundMapping, targets: Arrays, samples: int) -> list[str]:
    out = open_keyset(bench.write("out", packed(targets)))
    return [d.code for d in compare(bound, out, samples=samples)]


@given(scenarios(), st.sampled_from([4, 9, 1 << 18]))
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_what_numpy_makes_is_right(shared_bench: Bench, scenario: Scenario, samples: int) -> None:
    bound, _, targets = setting(scenario, shared_bench)
    assert verified(shared_bench, bound, targets, samples) == []


@pytest.mark.slow
@given(scenarios(), st.data())
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_two_elements_that_change_places_are_found(
    shared_bench: Bench, scenario: Scenario, data: st.DataObject
) -> None:
    bound, _, targets = setting(scenario, shared_bench)
    name = data.draw(st.sampled_from(sorted(targets)))
    flat = targets[name].reshape(-1).copy()
    places = st.integers(0, flat.size - 1)
    one, other = data.draw(places), data.draw(places)
    assume(flat[one] != flat[other])
    flat[[one, other]] = flat[[other, one]]
    changed = targets | {name: flat.reshape(targets[name].shape)}
    assert verified(shared_bench, bound, changed, 1 << 18) == ["MC503"]


# --- a converter that is broken


def broken(move: Move, how: str) -> Move:
    """The move with a mistake of the kind that a compiler can make."""
    match how:
        case "offset":
            return move._replace(source_offset=move.source_offset + 1)
        case "strides":
            dims = tuple((size, to, to) for size, _, to in move.dims)
            return move._replace(dims=dims)
        case _:
            order = [at for _, at, _ in move.dims][::-1]
            dims = tuple((size, at, to) for (size, _, to), at in zip(move.dims, order, strict=True))
            return move._replace(dims=dims)


@pytest.mark.slow
@given(scenarios(), st.sampled_from(["offset", "strides", "order"]), st.data())
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_wrong_moves_are_found(
    shared_bench: Bench, scenario: Scenario, how: str, data: st.DataObject
) -> None:
    """The moves of one layout are spoilt after binding; numpy carries them out; the axes say otherwise."""
    bound, sources, targets = setting(scenario, shared_bench)
    instance = data.draw(st.sampled_from([i for i in bound.instances if i.layout.moves]))
    at = data.draw(st.integers(0, len(instance.layout.moves) - 1))
    moves = list(instance.layout.moves)
    moves[at] = broken(moves[at], how)
    instance.layout = Layout(*instance.layout[:2], tuple(moves), *instance.layout[3:])
    try:
        given_by_moves = bound_and_moved(bound, sources, drops=True)
    except IndexError:
        assume(False)
    differs = any((given_by_moves[name] != targets[name]).any() for name in targets)
    event("differs" if differs else "the same")
    found = verified(shared_bench, bound, given_by_moves, 1 << 18)
    assert found == (["MC503"] if differs else []), "no error found: checker is broken"


def test_a_pass_that_is_broken_is_found(bench: Bench, monkeypatch: Any) -> None:
    """The pass that joins axes forgets to look at the source: the output is not what the rule says."""
    from mapcc.passes import moves as pass_

    rule = parse("x : (h t d) c -> [t=q,k,v] : (h d) c   where h = 2\n")
    source = {"x": np.arange(1, 97).reshape(12, 8)}
    path = bench.write("source", packed(source))
    right = check(rule, path).bound
    assert right is not None
    assert verified(bench, right, bound_and_moved(right, source), 64) == []

    def merged(dims: Any) -> Any:
        """What continues in the target is one run, whatever it is in the source."""
        out: list[tuple[int, int, int]] = []
        for size, at, to in right_pass(dims):
            if out and out[-1][2] == size * to:
                out[-1] = (out[-1][0] * size, at, to)
            else:
                out.append((size, at, to))
        return tuple(out)

    right_pass = pass_.simplify_dims
    monkeypatch.setattr(pass_, "simplify_dims", merged)
    wrong = check(rule, path).bound
    assert wrong is not None
    found = verified(bench, wrong, bound_and_moved(wrong, source, drops=True), 64)
    assert found == ["MC503"], "no error found: checker is broken"
