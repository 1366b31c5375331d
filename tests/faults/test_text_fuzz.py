"""Hundreds of thousands of texts, in both forms: nothing comes out but mappings and diagnostics."""

from __future__ import annotations

from itertools import islice

import pytest

from mapcc.diagnostics.model import Diagnostics
from mapcc.syntax.yaml_nodes import read_yaml
from mapcc.text import Source
from tests.faults.counts import inputs, randomness, report
from tests.faults.texts import DSL_WORDS, MAPPINGS, YAML_WORDS, YAMLS, damaged, noise, parsed
from tests.work import guard

pytestmark = pytest.mark.slow


def test_yaml_as_nodes() -> None:
    """The layer that stands before PyYAML alone: the tests at night try two million."""
    draw = randomness()
    wanted = inputs(500_000, 2_000_000)
    texts = [
        islice(noise(draw, YAML_WORDS), wanted * 24 // 25),
        islice(damaged(draw, YAMLS, YAML_WORDS), wanted // 25),
    ]
    tried = read = 0
    for text in (text for kind in texts for text in kind):
        found = Diagnostics()
        node = read_yaml(Source("m.yaml", text), found)
        assert node is None or not len(found)
        for fault in found:
            assert fault.span is not None
            assert 0 <= fault.span.start <= fault.span.end <= len(text)
        tried += 1
        read += node is not None
    report({"inputs": wanted, "read": wanted // 20}, inputs=tried, read=read, escaped=0)


@pytest.mark.parametrize(
    ("name", "ci", "nightly"), [("m.yaml", 10_000, 200_000), ("m.mapcc", 20_000, 500_000)]
)
def test_mappings(name: str, ci: int, nightly: int) -> None:
    draw = randomness()
    wanted = inputs(ci, nightly)
    valid, words = (YAMLS, YAML_WORDS) if name == "m.yaml" else (MAPPINGS, DSL_WORDS)
    texts = [islice(noise(draw, words), wanted // 4), islice(damaged(draw, valid, words), wanted * 3 // 4)]
    tried = mappings = 0
    for text in (text for kind in texts for text in kind):
        with guard():
            mappings += parsed(text, name)
        tried += 1
    report({"inputs": wanted, "mappings": wanted // 100}, inputs=tried, mappings=mappings, escaped=0)
