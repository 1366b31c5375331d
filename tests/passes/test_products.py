"""A product of axes that stand side by side wherever they stand is one unknown."""

from __future__ import annotations

import pytest

from mapcc.api import check, parse
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

SOURCE = Manifest({"a": TensorSpec("a", DTYPES["F32"], (24, 4))}, (), "test", None, {})


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a : (g q e) c -> b : (q e g) c where g = 2", "a : (g x) c -> b : (x g) c where g = 2"),
        ("a : (q e) c -> b : c (q e)", "a : x c -> b : c x"),
        ("a : (p q e g) c -> b : (g p q e) c where g = 3", "a : (x g) c -> b : (g x) c where g = 3"),
    ],
)
def test_only_the_product_has_to_be_told(text: str, same: str) -> None:
    moves = []
    for each in (text, same):
        checked = check(parse(each), SOURCE)
        assert checked.ok
        assert checked.bound is not None
        moves.append([instance.layout.moves for instance in checked.bound.instances])
    assert moves[0] == moves[1]


@pytest.mark.parametrize(
    "text",
    ["a : (q e) c -> b : (e q) c", "a : (q e) c -> b : q e c", "a : (g q e) c -> b : (q g e) c where g = 2"],
)
def test_axes_that_part_have_to_be_told(text: str) -> None:
    assert "MC307" in [fault.code for fault in check(parse(text), SOURCE).diagnostics]
