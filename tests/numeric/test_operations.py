"""Operations by definition: exp against decimals, sums in their order, one NaN."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest

from mapcc.numeric import norms
from mapcc.numeric.casts import to_single, widened
from mapcc.numeric.operations import exp, kept_between, nearest_whole, neg_exp, scaled_by, shifted_by
from tests.numeric.elements import digest, samples


def test_exp_is_within_a_unit_in_the_last_place() -> None:
    getcontext().prec = 40
    x = np.concatenate(
        [samples("F64")[-400:].view("<f8"), np.linspace(-745, 709, 1500), np.linspace(-1, 1, 500)]
    )
    x = x[np.abs(x) < 744]
    x = x[x < 709.7]
    worst = Decimal(0)
    for value, found in zip(x.tolist(), exp(x).tolist(), strict=True):
        unit = Decimal(max(math.ulp(found), 2.0**-1074))
        worst = max(worst, abs(Decimal(found) - Decimal(value).exp()) / unit)
    assert worst < 1


def test_exp_at_its_ends() -> None:
    x = np.array([0.0, -0.0, math.inf, -math.inf, 709.782712893384, 709.7827128933841, -745.2, -746.0, 1e308])
    assert exp(x)[:4].tolist() == [1.0, 1.0, math.inf, 0.0]
    assert math.isfinite(exp(x)[4])
    assert exp(x)[5:].tolist() == [math.inf, 0.0, 0.0, math.inf]
    assert math.isnan(exp(np.array([math.nan]))[0])


def test_exp_of_f32_is_rounded_once() -> None:
    x = samples("F32")[::101]
    found = neg_exp(x)
    wide = -exp(widened(x).view("<f8"))
    nan = np.isnan(wide)
    assert (found[~nan] == to_single(wide.view("<u8"))[~nan]).all()
    assert (found[nan] == 0x7FC00000).all()


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_every_nan_that_is_computed_is_one(kind: str) -> None:
    codes = {"<f4": ["7f800001", "ffffffff", "7fc00000"], "<f8": ["7ff0000000000001", "fff8000000000000"]}[
        kind
    ]
    x = np.array([int(code, 16) for code in codes], kind.replace("f", "u"))
    one = 0x7FC00000 if kind == "<f4" else 0x7FF8000000000000
    made = [scaled_by(x, 2.0), shifted_by(x, 1.0), neg_exp(x), nearest_whole(x), kept_between(x, -1, 1)]
    infinite = np.array([math.inf], kind).view(x.dtype)
    made.append(scaled_by(infinite, 0.0))
    assert {int(code) for found in made for code in found} == {one}


def test_sums_have_an_order() -> None:
    """The second half onto the first: so numbers cancel in a way that another order would not."""
    x = np.array([1.0, 1e16, -1e16, 2.0, 5.0])
    assert norms.tree_sum(x) == ((1.0 + 2.0) + -1e16) + (1e16 + 5.0)
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 64, 1000):
        row = generator.normal(size=(count, 3))
        exact = [float(sum(map(Fraction, row[:, k].tolist()))) for k in range(3)]
        np.testing.assert_allclose(norms.tree_sum(row), exact, rtol=0, atol=count * 1e-15)


@pytest.mark.parametrize("box", [(1, 5, 70_000), (70_000, 5, 1), (3, 1000, 100), (1, 1, 1), (7, 3, 11)])
def test_weight_norm(box: tuple[int, int, int]) -> None:
    v = np.sin(np.arange(math.prod(box), dtype="<f8") * 0.37).astype("<f4").reshape(box)
    g = np.arange(1, box[1] + 1, dtype="<f4")
    found = norms.weight_norm(v.reshape(-1).view("<u4"), g.view("<u4"), box).view("<f4").reshape(box)
    wide = v.astype("<f8")
    expected = wide * g[:, None] / np.sqrt((wide * wide).sum(axis=(0, 2)))[:, None]
    np.testing.assert_allclose(found, expected, rtol=3e-7)


GOLDEN = {
    "neg_exp F32": "b5c34ce385a852cd",
    "neg_exp F64": "714685658aabc874",
    "scale F32": "b1be4fbba20bcd0a",
    "add F64": "d8fe2c147eb82792",
    "round F32": "f562d67559ca8cde",
    "norm F32": "899d8a4d2807065a",
    "norm F64": "409a4825323290e2",
}


def test_bytes_are_what_they_were() -> None:
    """On another processor, with another numpy: the same."""
    f32, f64 = samples("F32"), samples("F64")
    found = {
        "neg_exp F32": neg_exp(f32),
        "neg_exp F64": neg_exp(f64),
        "scale F32": scaled_by(f32, 0.1),
        "add F64": shifted_by(f64, 1 / 3),
        "round F32": nearest_whole(f32),
    }
    for name, x in (("F32", f32), ("F64", f64)):
        sane = x[:300_000].view(f"<f{x.itemsize}")
        sane = np.where(np.abs(sane) < 1e6, sane, 1.5).astype(sane.dtype).view(x.dtype)
        found[f"norm {name}"] = norms.weight_norm(sane, sane[:100], (3, 100, 1000))
    assert {name: digest(made) for name, made in found.items()} == GOLDEN
