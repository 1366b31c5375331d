"""Emitted mappers, run by vLLM's own class; and every mapper of its models through mapcc and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from mapcc.dialects.python_source import PythonSource
from mapcc.dialects.vllm.engine import VllmTable
from mapcc.dialects.vllm.read import mappers as names_of
from mapcc.dialects.vllm.read import read_vllm
from mapcc.emit.vllm import emit_vllm
from mapcc.errors import MappingError
from mapcc.lift.lift import lift
from mapcc.tensors.spec import Manifest, name_fault
from mapcc.text import Source
from tests.dialects.vllm_wheel import (
    SHA256,
    UTILS,
    VERSION,
    members,
    synthetic,
    texts,
    theirs,
    weights_mapper,
)

from .conftest import keys
from .test_properties import mappings
from .test_vllm import LLAMA, SHAPES, run

pytestmark = [pytest.mark.oracle, pytest.mark.network]


@pytest.fixture(scope="module")
def modules(wheel) -> dict[str, str]:
    return texts(wheel("vllm", VERSION, SHA256, keep=members()))


@pytest.fixture(scope="module")
def cls(modules: dict[str, str]) -> type:
    return weights_mapper(modules[UTILS])


def agree(cls: type, text: str, table: VllmTable, source: Manifest) -> None:
    real, way = run(text, cls), table.engine()
    for name in source.tensors:
        assert way(name)[:2] == theirs(real, name)


def test_a_model(bind, cls: type) -> None:
    bound = bind(LLAMA, SHAPES)
    emitted = emit_vllm(bound)
    assert emitted.table is not None
    agree(cls, emitted.text, emitted.table, bound.source)


@given(mappings())
def test_random_mappings(bind, cls: type, case) -> None:
    bound = bind(*case)
    emitted = emit_vllm(bound)
    assert emitted.table is not None
    agree(cls, emitted.text, emitted.table, bound.source)


@pytest.mark.slow
def test_every_mapper_there_and_back(cls: type, modules: dict[str, str]) -> None:
    done = 0
    for member, text in modules.items():
        source = Source(member.rpartition("/")[2], text)
        for name in dict.fromkeys(names_of(PythonSource(source))):
            try:
                table = read_vllm(source, name)
            except MappingError:
                continue  # it would have to be run, or goes on in another file
            there_and_back(cls, table)
            done += 1
    assert done > 200


def there_and_back(cls: type, table: VllmTable) -> None:
    names = (re.sub("weight", ".weight", name) for name in synthetic(table))
    names = dict.fromkeys(re.sub(r"\.+", ".", name).strip(".") for name in names)
    source = keys({name: (4, 3) for name in names if not name_fault(name)})
    lifted = lift(table, source)
    assert not [found for found in lifted.diagnostics if found.exit_code], lifted.text
    emitted = emit_vllm(lifted.bound)
    assert emitted.table is not None, (lifted.text, emitted.diagnostics)
    assert given_by(emitted.table, source) == given_by(table, source)
    agree(cls, emitted.text, emitted.table, source)


def given_by(table: VllmTable, source: Manifest) -> dict[str, list[str]]:
    return {
        made.right[0].names[0]: [name for operand in made.left for name in operand.names]
        for made in table.run(source, None).made
    }
