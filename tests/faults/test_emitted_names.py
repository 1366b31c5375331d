"""Emitted Python is data, whatever the names: nothing but literals, which read back as they were."""

from __future__ import annotations

import ast
import json
import random

import pytest

from mapcc.api import bound_mapping, check, parse
from mapcc.emit import emit_fastvideo
from mapcc.emit.fastvideo_back import way_back
from mapcc.emit.pysource import Entry, Section, assigned_dict, comment, quoted
from mapcc.errors import MappingError
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec, name_fault
from tests.faults import nasty
from tests.faults.counts import inputs, randomness, report

DATA = (ast.Module, ast.Assign, ast.Name, ast.Store, ast.Load, ast.Dict, ast.Tuple, ast.Constant)
SPEC = {"a": TensorSpec("a", DTYPES["F32"], (2,))}


def values_of(text: str) -> dict[str, object]:
    """What a snippet assigns; it is assignments of literals, and nothing else."""
    module = ast.parse(text)
    assert all(isinstance(node, DATA) for node in ast.walk(module))
    namespace: dict[str, object] = {"__builtins__": {}}
    exec(compile(text, "emitted", "exec"), namespace)
    values = {}
    for statement in module.body:
        assert isinstance(statement, ast.Assign)
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        values[target.id] = ast.literal_eval(statement.value)
        assert namespace[target.id] == values[target.id]
    return values


def test_literals_and_comments() -> None:
    draw = randomness()
    wanted = inputs(10_000, 200_000)
    tried = nasty_ones = 0
    while tried < wanted:
        table: dict[str, Entry] = {nasty.name(draw): entry(draw) for _ in range(10)}
        notes = tuple(comment(f"from {quoted(key)}") for key in table)
        text = assigned_dict("table", notes[:2], [Section(notes, tuple(table.items()))])
        assert text.isascii()
        assert values_of(text) == {"table": table}
        tried += len(table)
        nasty_ones += sum(name_fault(key) is not None for key in table)
    report({"names": 10_000, "nasty": wanted // 4}, names=tried, nasty=nasty_ones)


def entry(draw: random.Random) -> Entry:
    return nasty.name(draw) if draw.random() < 0.5 else (nasty.name(draw), draw.randrange(9), 9)


@pytest.mark.slow
def test_mappings_of_nasty_names() -> None:
    """From the text of a mapping, through all of it, to what is emitted."""
    draw = randomness()
    wanted = inputs(5_000, 50_000)
    tried = emitted = 0
    while tried < wanted:
        names = sorted({f"{at}{nasty.name(draw, nasty.PRINTED)}" for at in range(20)})
        tried += len(names)
        rules = [f"{json.dumps(name)} -> {json.dumps('new' + name)}" for name in names]
        specs = {name: TensorSpec(name, DTYPES["F32"], (2,)) for name in names}
        mapping = parse("\n".join(['separator source "§"', 'separator target "§"', *rules]))
        found = emit_fastvideo(bound_mapping(check(mapping, Manifest(specs, (), "test", None, {}))))
        if not found.ok:  # a dict of regular expressions cannot say all names
            assert {fault.code for fault in found.diagnostics} == {"MC601"}
            continue
        emitted += len(names)
        assert found.text.isascii()
        values = values_of(found.text)
        assert values.pop("param_names_mapping") == found.table
        assert values.keys() == {"reverse_param_names_mapping", "lora_param_names_mapping"}
        back = values["reverse_param_names_mapping"]
        assert all(way_back(back, "new" + name) == [(name, 0)] for name in names)
    report({"names": wanted, "emitted": wanted // 2}, names=tried, emitted=emitted)


def test_a_text_that_does_not_print_is_no_name() -> None:
    refused = 0
    for character in (*nasty.CONTROLS, *nasty.MARKS):
        with pytest.raises(MappingError) as caught:
            bound_mapping(check(parse(f"a -> {json.dumps(character)}"), Manifest(SPEC, (), "test", None, {})))
        refused += any(fault.span is not None for fault in caught.value.diagnostics)
    report({"refused": 80}, refused=refused)
