"""Casts by definition, held against ml_dtypes (two versions, recorded) and torch: differences are data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mapcc.numeric.casts import narrow, to_single
from mapcc.numeric.fault import Unrepresentable
from mapcc.numeric.formats import F64
from mapcc.numeric.route import FORMATS, INTEGERS, code_of, route, saturation, unsigned
from tests.numeric.elements import (
    FLOATS,
    SHORT,
    cast,
    digest,
    is_nan,
    numbers,
    one_nan,
    samples,
)
from tests.numeric.record_ml_dtypes import FOLDER, theirs

PAIRS = [(source, target) for source in FLOATS for target in FLOATS if source != target]
_FILES = FOLDER.glob("ml_dtypes-*.json")
RECORDED = {path.stem.removeprefix("ml_dtypes-"): json.loads(path.read_text()) for path in _FILES}


# --- what others do otherwise: what they give, made of what is ours


def twice(x: Any, target: str) -> Any:
    """F64 is rounded to F32 first, and once more."""
    return cast(to_single(x), "F32", target)


def smallest_power(x: Any, source: str) -> Any:
    """In F8_E8M0, all that is more than 2**-127 and less than 1.5 * 2**-127 is 2**-126."""
    wide = cast(x if source != "F64" else to_single(x), "F32" if source == "F64" else source, "F64")
    wide = wide.view("<f8")
    ours = cast(x, source, "F8_E8M0") if source != "F64" else twice(x, "F8_E8M0")
    with np.errstate(invalid="ignore"):
        return np.where((wide > 2.0**-127) & (wide < 1.5 * 2.0**-127), np.uint8(1), ours)


NARROW = [name for name in FLOATS if FORMATS[name].bits <= 16 and name != "F16"]
# By version, source and target. What is not here is the same but for the payloads of NaN: libraries give
# every NaN the first bit of the mantissa alone, mapcc keeps what the narrower type has room for.
DIFFERENCES: dict[tuple[str, str, str], Callable[[Any], Any]] = {
    **{("0.5.4", "F64", target): (lambda x, to=target: twice(x, to)) for target in NARROW},
    **{
        ("0.5.4", source, "F8_E8M0"): (lambda x, own=source: smallest_power(x, own))
        for source in ("F64", "F32", "BF16")
    },
}


@pytest.mark.parametrize("version", sorted(RECORDED))
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_ml_dtypes_gives(version: str, source: str, target: str) -> None:
    wanted = RECORDED[version][f"{source}>{target}"]
    if wanted is None:
        return  # it has no such cast
    x = samples(source)
    if FORMATS[target].kind == "finite":
        x = numbers(x, source)
    ours = cast(x, source, target)
    different = DIFFERENCES.get((version, source, target))
    if different is not None:
        changed = different(x)
        assert (changed != ours).any(), "there is no such difference any more"
        ours = changed
    assert digest(one_nan(ours, target)) == wanted


def test_two_versions_are_recorded() -> None:
    assert {version.rpartition(".")[0] for version in RECORDED} == {"0.5", "0.7"}
    for recorded in RECORDED.values():
        assert recorded.keys() == {f"{source}>{target}" for source, target in PAIRS}
    assert not any(made is None for made in RECORDED["0.7.0"].values())


@pytest.mark.oracle
def test_the_installed_ml_dtypes_is_what_was_recorded() -> None:
    """Of a version that is not recorded this says what moved; mapcc's own bytes stay what they are."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    version = ml_dtypes.__version__ if ml_dtypes.__version__ in RECORDED else max(RECORDED)
    found = theirs()
    moved = [pair for pair, made in found.items() if made != RECORDED[version][pair]]
    assert moved == [], f"ml_dtypes {ml_dtypes.__version__} casts otherwise than {version}"


# --- torch


TORCH = {
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


def by_torch(x: Any, source: str, target: str) -> Any:
    torch = pytest.importorskip("torch")
    result = torch.from_numpy(x.copy()).view(getattr(torch, TORCH[source])).to(getattr(torch, TORCH[target]))
    raw = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[result.element_size()]
    return result.view(raw).numpy()


def torch_differs(x: Any, source: str, target: str, theirs: Any) -> Any:
    """Where torch is known to give something else [torch 2.13.0]."""
    with np.errstate(all="ignore"):
        value = cast(x, source, "F64").view("<f8")
    known = np.zeros(x.shape, bool)
    if source == "F64" and FORMATS[target].bits <= 16:  # rounded twice, by way of F32
        with np.errstate(all="ignore"):
            known |= to_single(x).view("<f4").astype("<f8") != value
    if target == "F8_E4M3":  # clamped: too large is the largest
        known |= (np.abs(value) > 448) & ((theirs & 0x7F) == 0x7E)
    if target == "F8_E8M0":  # the sign is dropped, 0 is 2**-127, and so is nothing else
        known |= (value <= 0) | ((value > 2.0**-127) & (value < 1.5 * 2.0**-127) & (theirs == 1))
    return known


@pytest.mark.oracle
@pytest.mark.parametrize("target", TORCH)
@pytest.mark.parametrize("source", TORCH)
def test_what_torch_gives(source: str, target: str) -> None:
    if source == target:
        return
    x = samples(source)
    ours, theirs = cast(x, source, target), by_torch(x, source, target)
    both = is_nan(ours, target) & is_nan(theirs, target)
    same = (ours == theirs) | both | torch_differs(x, source, target, theirs)
    assert same.all(), [(hex(x[k]), hex(ours[k]), hex(theirs[k])) for k in np.flatnonzero(~same)[:5]]


# --- without an oracle


def exact(code: int, name: str) -> Fraction:
    """The number of a finite code, by the definition of the format."""
    form = FORMATS[name]
    magnitude = code & form.mask
    if form.kind == "power":
        return Fraction(2) ** (magnitude - form.bias)
    exponent, fraction = magnitude >> form.mantissa, magnitude & ((1 << form.mantissa) - 1)
    significand = fraction + (1 << form.mantissa if exponent else 0)
    value = significand * Fraction(2) ** (max(exponent, 1) - form.bias - form.mantissa)
    return -value if code & form.sign else value


def finite(name: str) -> list[int]:
    form = FORMATS[name]
    return [code for code in range(form.largest + 1) if not (form.kind == "fnuz" and code == form.sign)]


@pytest.mark.parametrize("name", SHORT)
def test_every_code_is_its_number(name: str) -> None:
    codes = finite(name)
    wide = cast(np.array(codes, unsigned(name)), name, "F64").view("<f8").tolist()
    step = 1 if len(codes) < 1000 else 37
    assert [Fraction(value) for value in wide[::step]] == [exact(code, name) for code in codes[::step]]


@pytest.mark.parametrize("name", SHORT)
def test_numbers_between_two_codes_go_to_the_nearer_one(name: str) -> None:
    """For every two neighbours: just below the middle, the middle itself (to the even one), just above."""
    codes = np.array(finite(name), "<u8")
    low, high = codes[:-1], codes[1:]
    ends = cast(codes.astype(unsigned(name)), name, "F64").view("<f8")
    middle = (ends[:-1] + ends[1:]) / 2  # exact: F64 has many more bits
    even = np.where(low % 2 == 0, low, high) if FORMATS[name].kind != "power" else high
    bits = middle.view("<u8")
    for nudge, wanted in ((-1, low), (0, even), (1, high)):
        assert (cast(bits + np.uint64(nudge % 2**64), "F64", name) == wanted).all()
    if name != "F8_E8M0":
        negative = cast(bits | np.uint64(1 << 63), "F64", name)
        signs = np.uint64(FORMATS[name].sign) * ((even > 0) | (FORMATS[name].kind != "fnuz"))
        assert (negative == (even | signs)).all()


@pytest.mark.parametrize(
    ("name", "edge", "nan", "infinite"),
    [  # the first number that is too large, NaN, and what becomes of infinity
        ("F16", 65520.0, 0x7E00, 0x7C00),
        ("BF16", (2 - 2.0**-8) * 2.0**127, 0x7FC0, 0x7F80),
        ("F32", (2 - 2.0**-24) * 2.0**127, 0x7FC00000, 0x7F800000),
        ("F8_E5M2", 61440.0, 0x7E, 0x7C),
        ("F8_E4M3", math.nextafter(464.0, math.inf), 0x7F, 0x7F),
        ("F8_E4M3FNUZ", 248.0, 0x80, 0x80),
        ("F8_E5M2FNUZ", 61440.0, 0x80, 0x80),
        ("F8_E8M0", 1.5 * 2.0**127, 0xFF, 0xFF),
        ("F6_E2M3", math.inf, None, 0x1F),
        ("F6_E3M2", math.inf, None, 0x1F),
        ("F4", math.inf, None, 0x07),
    ],
)
def test_what_is_too_large(name: str, edge: float, nan: int | None, infinite: int) -> None:
    """The table of the language page: overflow, infinity, NaN."""
    at = np.array([edge, math.nextafter(edge, 0.0), math.inf, math.nan]).view("<u8")
    over, under, infinity = cast(at[:3], "F64", name).tolist()
    assert (over, under, infinity) == (infinite, FORMATS[name].largest, infinite)
    assert code_of(edge, name) == over
    negative = cast(at[2:3] | np.uint64(1 << 63), "F64", name)[0]
    power = FORMATS[name].kind == "power"
    assert negative == (infinite if power else infinite | FORMATS[name].sign)
    if nan is None:
        with pytest.raises(Unrepresentable, match="nan is not a value"):
            cast(at, "F64", name)
    else:
        assert cast(at[3:], "F64", name)[0] == nan


def test_of_nan_the_sign_and_the_first_bits_stay() -> None:
    x = np.array([0x7FC12345, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], "<u4")
    assert [hex(code) for code in cast(x, "F32", "BF16")] == ["0x7fc1", "0xffc0", "0x7fff", "0xffff"]
    assert [hex(code) for code in cast(x, "F32", "F16")] == ["0x7e09", "0xfe00", "0x7fff", "0xffff"]
    assert cast(x, "F32", "F8_E5M2").tolist() == [0x7E, 0xFE, 0x7F, 0xFF]
    assert cast(x, "F32", "F8_E4M3").tolist() == [0x7F, 0xFF, 0x7F, 0xFF]
    assert cast(x, "F32", "F8_E8M0").tolist() == cast(x, "F32", "F8_E4M3FNUZ").tolist()[:0] + [0xFF] * 4
    # An F16 that is too large for F8_E4M3: NaN with the sign of the number.
    assert cast(np.array([0x7BFF, 0xFBFF, 0xFC00], "<u2"), "F16", "F8_E4M3").tolist() == [0x7F, 0xFF, 0xFF]


@pytest.mark.parametrize("wide", ["F64", "F32", "BF16", "F16"])
@pytest.mark.parametrize("name", SHORT)
def test_a_wider_type_gives_every_code_back(name: str, wide: str) -> None:
    """NaN with its payload too: a cast that widens is a bijection."""
    if name == wide or FORMATS[name].mantissa > FORMATS[wide].mantissa:
        return
    x = samples(name)
    y = cast(x, name, wide)
    value, back = cast(x, name, "F64").view("<f8"), y if wide == "F64" else cast(y, wide, "F64")
    held = (value == back.view("<f8")) | np.isnan(value)
    if {name, wide} != {"BF16", "F16"} and (name, wide) != ("F8_E8M0", "F16"):
        assert held.all()
    assert (cast(y, wide, name) == x)[held].all()


def test_every_block_is_cast_by_itself() -> None:
    """What is done where a block has large or small numbers changes nothing of the others."""
    for source in ("F32", "F64"):
        x = samples(source)
        for target in SHORT:
            own = numbers(x, source) if FORMATS[target].kind == "finite" else x
            whole = cast(own, source, target)
            parts = [cast(own[at : at + 7], source, target) for at in range(0, 3500, 7)]
            assert (np.concatenate(parts) == whole[: sum(map(len, parts))]).all()


# --- integers and BOOL


EDGES = sorted(
    {
        s * (2**k + d)
        for k in (0, 1, 7, 8, 11, 15, 16, 24, 31, 32, 53, 62, 63, 64)
        for d in (-1, 0, 1)
        for s in (1, -1)
    }
)


def integers(name: str) -> Any:
    limits = np.iinfo(INTEGERS[name])
    edges = np.array([n for n in EDGES if limits.min <= n <= limits.max], INTEGERS[name])
    return np.concatenate([edges.view(unsigned(name)), samples(name)[:2000]])


@pytest.mark.parametrize("target", [name for name in FLOATS if name not in ("F6_E2M3", "F6_E3M2", "F4")])
@pytest.mark.parametrize("source", INTEGERS)
def test_integers_are_rounded_once(source: str, target: str) -> None:
    """Python's own division of integers is exact, and rounds to F64 once; what is narrower, by the codes."""
    x = integers(source)[:400]
    found = cast(x, source, target)
    if target == "F64":
        assert found.view("<f8").tolist() == [float(n) for n in x.view(INTEGERS[source]).tolist()]
        return
    for n, code in zip(x.view(INTEGERS[source]).tolist(), found.tolist(), strict=True):
        if target == "F8_E8M0" and n <= 0:
            assert code == 0xFF
            continue
        # No code is nearer, and of two as near ones this is the even one.
        magnitude = code & FORMATS[target].mask
        if not magnitude <= FORMATS[target].largest or (FORMATS[target].kind == "fnuz" and code == 0x80):
            largest = exact(FORMATS[target].largest, target)
            below = exact(FORMATS[target].largest - 1, target)
            assert (
                abs(n) > largest + (largest - below) / 2
                or (abs(n) == largest + (largest - below) / 2 and FORMATS[target].kind in ("ieee", "fnuz"))
                or target == "F8_E8M0"
            )
            continue
        away = abs(exact(code, target) - n)
        for other in (magnitude - 1, magnitude + 1):
            if 0 <= other <= FORMATS[target].largest:
                distance = abs(exact(other, target) - abs(n))
                assert distance > away or (distance == away and (code % 2 == 0 or target == "F8_E8M0"))


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("source", INTEGERS)
def test_between_integers(source: str, target: str) -> None:
    x = integers(source)
    limits = np.iinfo(INTEGERS[target])
    values = x.view(INTEGERS[source]).tolist()
    fits = np.array([limits.min <= n <= limits.max for n in values])
    kept = x[fits]
    found = cast(kept, source, target).view(INTEGERS[target]).tolist()
    assert found == kept.view(INTEGERS[source]).tolist()
    saturated = x
    for call in route(source, target, True):
        saturated = call(saturated)
    assert saturated.view(INTEGERS[target]).tolist() == [max(limits.min, min(limits.max, n)) for n in values]
    if not fits.all():
        with pytest.raises(Unrepresentable, match="is not a value of") as error:
            cast(x, source, target)
        assert error.value.at == int(np.flatnonzero(~fits)[0])


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("source", ["F64", "F32", "BF16", "F16", "F8_E4M3", "F8_E8M0"])
def test_floats_to_integers(source: str, target: str) -> None:
    """Every number is kept, or none is made up: a fraction and what is too large are errors."""
    limits = np.iinfo(INTEGERS[target])
    x = numbers(samples(source), source)[::13]
    edges = np.array([*EDGES, 0.5, -0.5, 1.5, 2.0**63 - 1024, -(2.0**63) - 2048], "<f8").view("<u8")
    x = np.concatenate([x, edges if source == "F64" else cast(edges, "F64", source)])
    x = x[~is_nan(x, source)]
    values = cast(x, source, "F64").view("<f8") if source != "F64" else x.view("<f8")
    x, values = x[np.isfinite(values)], values[np.isfinite(values)].tolist()
    right = np.array([value == int(value) and limits.min <= int(value) <= limits.max for value in values])
    assert right.any()
    found = cast(x[right], source, target).view(INTEGERS[target]).tolist()
    assert found == [int(value) for value, is_right in zip(values, right, strict=True) if is_right]
    for k in np.flatnonzero(~right)[:20]:
        with pytest.raises(Unrepresentable) as error:
            cast(x[k : k + 1], source, target)
        assert error.value.fraction == (values[k] != int(values[k]))


def test_the_first_fault_is_told() -> None:
    x = np.array([1.0, 2.0, 2.5, 300.0, math.nan]).view("<u8")
    with pytest.raises(Unrepresentable, match=r"2\.5 is no whole number") as error:
        cast(x, "F64", "U8")
    assert (error.value.at, error.value.value, error.value.fraction) == (2, "2.5", True)
    with pytest.raises(Unrepresentable, match="nan is not a value of uint8"):
        cast(x[4:], "F64", "U8")


@pytest.mark.parametrize("name", [*FLOATS, *INTEGERS])
def test_bool(name: str) -> None:
    zero = 0xFF if name == "F8_E8M0" else 0  # there is none: NaN
    assert cast(np.array([0, 1, 2, 255], "u1"), "BOOL", name).tolist() == [zero, *[code_of(1, name)] * 3]
    x = samples(name)
    is_zero = x == 0
    if name in FLOATS and FORMATS[name].has_negative_zero:
        is_zero |= x == FORMATS[name].sign
    if name == "F8_E8M0":
        is_zero = np.zeros(x.shape, bool)
    assert (cast(x, name, "BOOL") == ~is_zero).all()


# --- saturation


@pytest.mark.parametrize("target", [name for name in FLOATS if FORMATS[name].kind != "finite"])
@pytest.mark.parametrize("source", ["F64", "F32", "BF16", "F16", "F8_E5M2", "F8_E4M3FNUZ", "I64", "U8"])
def test_clamped_casts_have_no_new_infinity_and_no_new_nan(source: str, target: str) -> None:
    x = samples(source)
    plain = cast(x, source, target)
    call = saturation(source, target)
    assert call is not None
    found = call.with_(plain, x)
    form = FORMATS[target]
    was_nan = is_nan(x, source) if source in FORMATS else np.zeros(x.shape, bool)
    assert (is_nan(found, target) == was_nan).all()
    magnitude = found & found.dtype.type(form.mask)
    if form.kind == "ieee":
        assert (magnitude[~was_nan] <= form.largest).all()
    lost = is_nan(plain, target) & ~was_nan
    if form.kind == "ieee":
        lost |= (plain & plain.dtype.type(form.mask)) == form.infinity
    assert (found[~lost] == plain[~lost]).all()
    if form.kind != "power":
        assert ((found[lost] & found.dtype.type(form.largest)) == form.largest).all()
        if source in FORMATS:
            negative = (x & x.dtype.type(FORMATS[source].sign)) != 0
            assert (((found & found.dtype.type(form.sign)) != 0) == negative)[lost].all()


def test_clamped_to_powers_of_two() -> None:
    x = np.array([0.0, -1.0, -math.inf, math.inf, 1e300, 3.0, math.nan]).view("<u8")
    call = saturation("F64", "F8_E8M0")
    assert call is not None
    found = call.with_(cast(x, "F64", "F8_E8M0"), x)
    assert found.tolist() == [0, 0, 0, 254, 254, 129, 255]


def test_narrowing_is_one_function() -> None:
    """F32 by its own path is what F64 gives: every table is made of one of the two."""
    x = samples("F32")
    wide = cast(x, "F32", "F64")
    for target in SHORT:
        own = ~is_nan(x, "F32") if FORMATS[target].kind == "finite" else np.ones(x.shape, bool)
        assert (cast(x[own], "F32", target) == narrow(wide[own], F64, FORMATS[target])).all()
    again = to_single(wide)
    assert (again == x).all()
