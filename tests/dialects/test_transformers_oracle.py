"""The engine against transformers itself: names and tensors, for every table that it has."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostics
from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.names import NamingStops, natural_key
from mapcc.dialects.transformers.read import from_objects
from mapcc.dialects.transformers.table import Transform
from mapcc.errors import MappingError
from mapcc.lift.installed import transformers_table
from mapcc.syntax.load import parse_source
from mapcc.text import Source

from .transformers_cases import (
    CASES,
    Case,
    case,
    config_of,
    evaluated,
    exemplar,
    loaded,
    synthetic,
    tensors,
    transforms_of,
)

pytestmark = pytest.mark.oracle

torch = pytest.importorskip("torch")
core = pytest.importorskip("transformers.core_model_loading")
conversion = pytest.importorskip("transformers.conversion_mapping")

MODEL_TYPES = sorted(conversion._build_checkpoint_conversion_mapping())


# --- names


def theirs(names: Iterable[str], transforms: list[Any], known: dict[str, int], base: str) -> list[object]:
    """The first step of the loader, with its own functions."""
    renamings = [one for one in transforms if isinstance(one, core.WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, core.WeightConverter)]
    out: list[object] = []
    for name in names:
        try:
            new = core.rename_source_key(name, renamings, converters, base, known)
            if new[0] not in known and name in known:
                new = core.rename_source_key(name, [], [], base, known)
        except (IndexError, TypeError, ValueError):
            new = None
        out.append(new)
    return out


def ours(names: Iterable[str], transforms: list[Any], known: dict[str, int], base: str) -> list[object]:
    naming = from_objects(transforms).of_model(base, None).naming
    guards: set[Any] = set()
    out: list[object] = []
    for name in names:
        try:
            way = naming.way(name, known, guards)
            out.append((way.name, way.pattern))
        except NamingStops:
            out.append(None)
    return out


def model_of(names: Iterable[str], transforms: list[Any], base: str, seed: str) -> dict[str, int]:
    """Some of the names that come out, with and without the prefix, and some that went in."""
    chance = random.Random(seed)
    known: dict[str, int] = {}
    for old, new in zip(names, theirs(names, transforms, {}, "~"), strict=True):
        if isinstance(new, tuple):
            choices = [new[0], f"{base}.{new[0]}", new[0].removeprefix(f"{base}."), old, ""]
            known[chance.choice(choices)] = 1
    known.pop("", None)
    return known


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_names_of_every_table(model_type: str) -> None:
    names = sorted(synthetic(transforms_of(model_type)), key=core.dot_natural_key)
    assert names == sorted(names, key=natural_key)
    for base in ("model", ""):
        known = model_of(names, transforms_of(model_type), base, model_type)
        for target in ({}, known):
            expected = theirs(names, transforms_of(model_type), target, base)
            assert ours(names, transforms_of(model_type), target, base) == expected


PIECE = st.sampled_from(
    [
        *(
            "a",
            "b",
            ".",
            r"\.",
            "^",
            "*.",
            r"(\d+)",
            r"\d",
            r"\1",
            "(a|b)",
            "(?!b)",
            "(?<!a)",
            "(.+)",
            "_",
            "$",
        ),
        *("a.b", "1", "|", "?", "(?:a)"),
    ]
)
PATTERN = st.lists(PIECE, min_size=1, max_size=4).map("".join)
NAME = st.lists(st.sampled_from(["a", "b", ".", "1", "10", "_", "model."]), min_size=1, max_size=6).map(
    "".join
)


@st.composite
def transforms(draw: Any) -> Any:
    kind = draw(st.sampled_from(["renaming", "renaming", "group", "prefix", "offset", "converter"]))
    sources = draw(st.lists(PATTERN, min_size=1, max_size=2))
    targets = draw(st.lists(PATTERN, min_size=1, max_size=2))
    try:
        match kind:
            case "renaming":
                made = core.WeightRenaming(sources, targets)
            case "group":
                made = core.GroupWeightRename(sources, targets)
            case "prefix":
                argument = draw(st.sampled_from(["prefix_to_add", "prefix_to_remove"]))
                model = draw(st.sampled_from([None, "", "b"]))
                made = core.PrefixChange(
                    **{argument: draw(st.sampled_from(["a", "model"]))}, model_prefix=model
                )
            case "offset":
                offset = draw(st.integers(-1, 2))
                made = core.Inkling2IndexOffsetWeightRename(sources, targets, offset=offset)
            case _:
                made = core.WeightConverter(sources, targets[:1], [core.MergeModulelist()])
    except (ValueError, re.error):
        return None
    if draw(st.booleans()):
        made.scope_prefix = draw(st.sampled_from(["", "a", "b.1"]))
        made.base_model_prefix = draw(st.sampled_from(["", "model"]))
    return made


@given(st.lists(transforms(), max_size=4), st.lists(NAME, max_size=8), st.sampled_from(["", "model", "a"]))
def test_names_of_any_table(made: list[Any], names: list[str], base: str) -> None:
    made = [one for one in made if one is not None]
    names = sorted(set(names), key=core.dot_natural_key)
    known = model_of(names, copy.deepcopy(made), base, str(names))
    for target in ({}, known):
        expected = theirs(names, copy.deepcopy(made), target, base)
        assert ours(names, made, target, base) == expected


@given(st.lists(PATTERN, min_size=1, max_size=2), st.lists(PATTERN, min_size=1, max_size=2))
def test_what_they_refuse_is_refused(sources: list[str], targets: list[str]) -> None:
    try:
        core.WeightRenaming(list(sources), list(targets))
        refused = False
    except (ValueError, re.error):
        refused = True
    try:
        TransformersTable((Transform("WeightRenaming", tuple(sources), tuple(targets)),))
    except MappingError:
        assert refused
    else:
        assert not refused


# --- tensors


def check(one: Case) -> list[str]:
    """What we say is made is what the loader sets; the codes of our faults."""
    outcome = one.table.run(one.source_manifest, one.target_manifest)
    got = evaluated(outcome.made, one.source)
    expected, report = loaded(one)
    for name, array in expected.items():
        if name in got:
            assert got[name].shape == array.shape, name
            assert got[name].tobytes() == array.tobytes(), name
    if not outcome.faults:
        assert got.keys() & one.target.keys() == expected.keys()
        assert not report.conversion_errors
        assert not report.mismatched_keys
    for fault in outcome.faults:
        assert fault.code in ("MC806", "MC807", "MC809")
    return [fault.code for fault in outcome.faults]


@pytest.mark.parametrize("name", CASES)
def test_tensors(name: str) -> None:
    one = case(name)
    assert check(one) == []
    assert one.expected().keys() == one.target.keys()


def automatic(model_type: str) -> Case:
    """A checkpoint with tensors for every converter of a table, and a model that is as we say."""
    made = transforms_of(model_type)
    shapes: dict[str, tuple[int, ...]] = {}
    for one in made:
        operations = [type(operation).__name__ for operation in getattr(one, "operations", ())]
        for source in one._original_source_patterns:
            count = (4 if "*" in source else 1) if operations else 1
            shape = (24, 8, 6) if "Transpose" in operations else (24, 8)
            for number in range(count):
                name = f"x.layers.1.{exemplar(source, str(number))}"
                shapes[re.sub(r"\.+", ".", f"{name}weight" if name.endswith(".") else name)] = shape
    heads = {"num_attention_heads": 3}
    config = {"vision_config": heads, **heads}
    blank = Case(made, tensors(shapes), {}, "model", config)
    outcome = blank.table.run(blank.source_manifest, None)
    blank.target = {name: array.shape for name, array in evaluated(outcome.made, blank.source).items()}
    return blank


WITH_CONVERTERS = [
    name for name in MODEL_TYPES if any(isinstance(one, core.WeightConverter) for one in transforms_of(name))
]


@pytest.mark.parametrize("model_type", WITH_CONVERTERS)
def test_tensors_of_every_converter(model_type: str) -> None:
    one = automatic(model_type)
    assert one.target
    # A module and a parameter cannot have one name: then only the parameter is there.
    one.target = {n: s for n, s in one.target.items() if not any(o.startswith(f"{n}.") for o in one.target)}
    check(one)


OPERATION = st.one_of(
    st.builds(core.Chunk, st.integers(0, 1)),
    st.builds(core.Concatenate, st.integers(0, 1)),
    st.builds(core.MergeModulelist, st.integers(0, 1)),
    st.builds(core.SplitModulelist, st.integers(0, 1)),
    st.builds(core.Transpose, st.integers(0, 1), st.integers(-1, 2), st.booleans()),
    st.builds(core.Interleave, st.integers(0, 1), st.booleans()),
    st.builds(core.PermuteForRope, st.just("inner"), st.sampled_from([None, ["p"], ["q"]]), st.booleans()),
    st.builds(core.Conv3dToLinear, st.just(2), st.just((1, 2, 1))),
    st.builds(core.LinearToConv3d, st.just(2), st.just((1, 2, 1))),
    st.builds(core.ErnieFuseAndSplitTextVisionExperts, st.just(0), st.integers(0, 1)),
    st.builds(core.ErnieSplitAndDecoupleTextVisionExperts, st.just(0), st.integers(0, 1)),
)
SHAPE = st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=3).map(tuple) | st.just((8, 4))


@st.composite
def conversions(draw: Any) -> Case:
    sources = draw(st.sampled_from([["s"], ["s.*.x"], ["s", "t"], ["s.*.x", "t.*.x"]]))
    targets = draw(st.sampled_from([["p"], ["p", "q"], ["p", "q", "r"], ["p.*.w"], ["p.*.w", "q.*.w"]]))
    operations = draw(st.lists(OPERATION, min_size=1, max_size=3))
    try:
        made = core.WeightConverter(sources, targets, operations)
    except ValueError:
        assume(False)
    shape, shapes = draw(SHAPE), {}
    for source in sources:
        other = draw(st.booleans()) and draw(SHAPE)
        for number in range(draw(st.sampled_from([2, 2, 4]))):
            shapes[f"m.{source.replace('*', str(number))}.weight"] = other or shape
    return Case([made], tensors(shapes), {}, "", {"inner": {"num_attention_heads": 2}})


@given(conversions())
def test_tensors_of_any_converter(one: Case) -> None:
    """Through the whole loader, into a model that is as we say."""
    outcome = one.table.run(one.source_manifest, None)
    if not outcome.faults:
        one.target = {name: array.shape for name, array in evaluated(outcome.made, one.source).items()}
        check(one)


@given(conversions())
def test_results_of_any_converter(one: Case) -> None:
    """The converter alone: what it gives, and whether it stops."""
    assume(not any(getattr(operation, "check_dims", False) for operation in one.transforms[0].operations))
    outcome = one.table.run(one.source_manifest, None)
    given = results(one)
    if any(fault.code == "MC809" for fault in outcome.faults):
        return
    if not any(fault.code == "MC806" for fault in outcome.faults):
        got = evaluated(outcome.made, one.source)
        assert given is not None
        assert got.keys() == given.keys()
        assert all(got[name].shape == given[name].shape for name in got)
        assert all(got[name].tobytes() == given[name].tobytes() for name in got)
    elif given is not None:
        # What transformers does without a word: fewer chunks than targets, members missing, lost names.
        silent = ("Chunk: torch makes", "`", "what the operations give", "ErnieSplitAndDecouple")
        assert any(fault.message.startswith(silent) for fault in outcome.faults)


def results(one: Case) -> dict[str, Any] | None:
    """What the converter gives for the first of its targets; None if it stops."""
    [converter] = copy.deepcopy(one.transforms)
    target = None
    for name in sorted(one.source, key=core.dot_natural_key):
        new, pattern = converter.rename_source_key(name)
        target = target or new
        if new == target:
            converter.add_tensor(new, name, pattern, torch.from_numpy(one.source[name]))
    try:
        given = converter.convert(target, model=None, config=config_of(one.config))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None
    tensors_of = {name: value[0] if isinstance(value, list) else value for name, value in given.items()}
    return {name: value.contiguous().numpy() for name, value in tensors_of.items()}


# --- the package's own tables


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_sketches_are_rules(model_type: str) -> None:
    table = transformers_table(model_type)
    sketches = table.sketches()
    assert [sketch.entry for sketch in sketches] == list(range(len(table.entries)))
    for sketch in sketches:
        assert sketch.assumed
        found = Diagnostics()
        parse_source(Source("sketch.mapcc", sketch.rule + "\n"), found)
        assert not found.errors, (sketch.rule, [item.message for item in found])


def test_type_of_model_that_is_not_there() -> None:
    with pytest.raises(MappingError, match="transformers has no table for `no_such`"):
        transformers_table("no_such")
