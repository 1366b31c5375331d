"""Equations of an engine to rules: axes in names, indices that are shifted, ranges, what cannot be folded."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.dialects.made import Entry, Fault, Made, Operand, Outcome, Trace, renamed
from mapcc.ir.axes import Atom, Rest, Sum
from mapcc.lift.lift import lift
from mapcc.lift.tails import Names, bounded, is_exact
from mapcc.lift.templates import drafts

from .conftest import manifest


@dataclass(frozen=True)
class Fixed:
    """A table that does what it is told."""

    outcome: Outcome
    dialect: str = "test"
    entries: tuple[Entry, ...] = (Entry("first"), Entry("second"))

    def run(self, source, target):
        return self.outcome

    def trace(self, name):
        return Trace(name, (), ())


def rules_of(mades: list[Made], shapes: dict[str, tuple[int, ...]], **more) -> list[str]:
    text = lift(Fixed(Outcome(mades, **more)), manifest(shapes)).text
    return [" ".join(line.split()) for line in text.splitlines() if line and not line.startswith("#")]


def names_of(mades: list[Made]) -> dict[str, tuple[int, ...]]:
    return {name: (4, 4) for made in mades for operand in made.left for name in operand.names}


@pytest.mark.parametrize(
    ("pairs", "rules"),
    [
        ([("a.0.w", "b.0.w"), ("a.1.w", "b.1.w")], ["a.{i}.w -> b.{i}.w"]),
        ([("a.0.w", "b.1.w"), ("a.1.w", "b.2.w")], ["a.{i}.w -> b.{i+1}.w"]),
        ([("a.3.w", "b.1.w"), ("a.4.w", "b.2.w")], ["a.{i}.w -> b.{i-2}.w"]),
        ([("a.w", "b.w"), ("a.b", "b.b")], ["a.* -> b.*"]),
        ([("a.x.w", "b.x.w"), ("a.y.b", "b.y.b")], ["a.** -> b.**"]),
        ([("a.0.1", "b.1.0"), ("a.1.2", "b.2.1"), ("a.0.2", "b.2.0")], ["a.{i}.{j} -> b.{j}.{i}"]),
        # Of a model with one layer nothing can be known of its index.
        ([("a.0.w", "b.0.w")], ["a.0.w -> b.0.w"]),
        ([("a.0.w", "b.0.weight")], ["a.0.w -> b.0.weight"]),
        # Flat numbers to nested ones: told apart by their values.
        ([(f"u.{k}.w", f"b.{k // 2}.r.{k % 2}.w") for k in range(4)], 4),
        ([("a.007.w", "b.007.w")], ["a.007.w -> b.007.w"]),
    ],
)
def test_renames(pairs, rules) -> None:
    mades = [renamed(source, target, (0,)) for source, target in pairs]
    found = rules_of(mades, names_of(mades))
    assert found == rules if isinstance(rules, list) else len(found) == rules


def test_a_rule_takes_no_more_than_its_names() -> None:
    """The last layer goes another way: the index of the others is bounded."""
    mades = [renamed(f"a.{k}.w", f"b.{k}.w", (0,)) for k in range(3)] + [renamed("a.3.w", "last.w", (1,))]
    assert rules_of(mades, names_of(mades)) == ["a.{i}.w -> b.{i}.w where i in 0..2", "a.3.w -> last.w"]


def test_what_no_bound_parts_is_written_out() -> None:
    mades = [renamed(f"a.{k}.w", f"b.{k}.w", (k % 2,)) for k in range(4)]
    assert len(rules_of(mades, names_of(mades))) == 4


def test_a_name_axis() -> None:
    mades = [
        Made(
            (Operand(tuple(f"l.{i}.e.{k}.w" for k in range(3)), (Atom("o"), Atom("c")), "e"),),
            (Operand((f"l.{i}.experts",), (Atom("e"), Atom("o"), Atom("c"))),),
            entries=(0,),
        )
        for i in range(2)
    ]
    assert rules_of(mades, names_of(mades)) == ["l.{i}.e.[e].w : o c -> l.{i}.experts : e o c"]


def test_an_axis_of_labels() -> None:
    made = Made(
        (Operand(("x.q.w", "x.k.w"), (Atom("d"), Rest()), "t"),),
        (Operand(("x.qk.w",), (Atom("t"), Atom("d"), Rest())),),
        entries=(0,),
    )
    assert rules_of([made], names_of([made])) == ["x.[t=q,k].w : d ... -> x.qk.w : t d ..."]


def test_sizes_are_written() -> None:
    made = Made(
        (Operand(("qk",), (Sum((Atom("a"), Atom("b"))), Rest())),),
        (Operand(("q",), (Atom("a"), Rest())), Operand(("k",), (Atom("b"), Rest()))),
        sizes=(("a", 2), ("b", 2)),
        entries=(0,),
    )
    assert rules_of([made], {"qk": (4, 4)}) == ["qk : (a + b) ... -> q : a ..., k : b ... where a = b = 2"]


def test_what_is_left_out_and_what_is_lost() -> None:
    found = rules_of(
        [renamed("a", "x", (0,))],
        {"a": (2,), "b": (2,), "c": (2,)},
        dropped={"b": 1},
        faults=[Fault("MC807", "two tensors become `x`, and the last counts", ("c",))],
    )
    assert found == [
        "a -> x",
        'drop b because "test leaves it out"',
        'drop c because "two tensors become `x`, and the last counts"',
    ]


@pytest.mark.parametrize(
    "name", ["a b.w", "q'.w", 'd".w', r"b\g<1>.w", "$.{x}.w", "keep.w", "étage.w", "#.w"]
)
def test_odd_names(name: str) -> None:
    mades = [renamed(name, f"new.{name}", (0,)), renamed("plain", "plain")]
    assert lift(Fixed(Outcome(mades)), manifest(names_of(mades))).bound.given.keys() == {
        f"new.{name}",
        "plain",
    }


SEGMENT = st.sampled_from(["a", "b", "x1", "0", "1", "2", "10", "w", "n-1"])
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join)


@given(
    st.lists(
        st.tuples(NAME, NAME, st.integers(0, 1)), unique_by=(lambda t: t[0], lambda t: t[1]), max_size=12
    )
)
def test_any_one_to_one_renaming(triples) -> None:
    """What is printed, parsed and bound does to every name what it was lifted from."""
    mades = [renamed(source, target, (entry,)) for source, target, entry in triples]
    lifted = lift(Fixed(Outcome(mades)), manifest(names_of(mades)))
    given_by = {target: i.sources[0][0] for target, (i, _) in lifted.bound.given.items()}
    assert given_by == {target: source for source, target, _ in triples}


@given(st.lists(NAME, unique=True, max_size=12), st.lists(NAME, unique=True, max_size=12))
def test_exactness_is_what_it_says(taken, others) -> None:
    every = Names([*taken, *others])
    for draft in drafts([renamed(name, f"x.{name}") for name in taken]):
        matched = {n for term in draft.left for n, _ in every.matching(term.template)}
        assert draft.names <= matched
        assert is_exact(draft, every) == (matched <= draft.names)
        kept = bounded(draft, every)
        assert kept is None or is_exact(kept, every)
