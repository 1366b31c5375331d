"""Random mappings against a reading of their axes by single elements: every command gives the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcc
from tests.language.programs import Program, any_bits, drawn_program
from tests.language.programs_run import SMALL, Case

NUMBERS = st.integers(0, 1 << 40)
some = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
many = settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])


def tried(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Case(drawn_program(Random(number)), Path(folder)).is_right()


@pytest.mark.converts
@some
@given(NUMBERS)
def test_every_command_gives_what_the_notation_says(number: int) -> None:
    tried(number)


@pytest.mark.slow
@pytest.mark.converts
@many
@given(NUMBERS)
def test_every_command_gives_what_the_notation_says_many_times(number: int) -> None:
    tried(number)


# What was found: tensors without elements are last, as what is created is, in whichever shard that is.
FOUND = {
    "a number": (
        "create t.n.{i}.w : () = -3 | cast f16   where i in 0..11\ns.{i} -> t.{i}",
        {"s.2": ("BOOL", (2, 2)), "s.1": ("U8", (1, 2)), "s.0": ("U64", (0, 2))},
    ),
    "groups": (
        "create t.n.{i}.{1,0,x} : 2 3 = 0.5 | cast f32   where i in 0..1\ns.** -> t.s.**",
        {"s.u.v": ("F64", (0, 2)), "s.4.u.v": ("I32", (1, 2, 2)), "s.u": ("BOOL", (1, 2, 2))},
    ),
    "digits": (
        "create t.n.{i}.{b,a} : () = -3 | cast f16   where i in 0..11\n"
        "s.{2*b + r} -> t.{b}.{r}   where r in 0..1",
        {"s.0": ("I64", (0, 2)), "s.1": ("I32", (1, 2))},
    ),
}


@pytest.mark.converts
@pytest.mark.parametrize("what", FOUND)
def test_a_script_keeps_the_order(what: str, tmp_path: Path) -> None:
    text, shapes = FOUND[what]
    draw = Random(what)
    program = Program([text], [text], {n: any_bits(draw, *shape) for n, shape in shapes.items()})
    case = Case(program, tmp_path, needs_target=False)
    mapcc.convert(case.mapping, case.source, tmp_path / "out", max_shard_size=200, running=SMALL)
    case.scripted()
