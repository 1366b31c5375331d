"""A plan as text: what ``mapcc plan -o`` writes and ``convert --plan`` carries out, and its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from mapcc.ir.bound import Move
from mapcc.ir.values import VALUE_OPS, Step
from mapcc.plan.checked import plan_fault
from mapcc.plan.model import (
    Computing,
    Fill,
    Fold,
    Folded,
    Gathered,
    IndexFile,
    Origin,
    OutputFile,
    OutputTensor,
    Plan,
    Run,
    Segment,
    SourceFile,
    SourceTensor,
    Transfer,
    Turned,
    Twins,
)
from mapcc.plan.segments import is_gapless
from mapcc.tensors.disk import Stamp
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.index import shard_fault
from mapcc.tensors.safetensors import LENGTH, HeaderFault, parse_header
from mapcc.tensors.strict_json import JsonFault, check_cost

# To be raised whenever the same plan comes to give other bytes.
ENGINE = 2
_KIND = "mapcc plan"

Json = Any


class PlanFault(ValueError):
    """Why a text is not a plan."""


def digest(plan: Plan) -> str:
    """What tells two plans apart: the bytes of their outputs, as far as headers tell; no path, no clock.

    Sources are in it by their names and sizes.
    """
    content = _content(plan)
    content["sources"] = [[PurePath(s.path).name, s.stamp.size if s.stamp else 0] for s in plan.sources]
    return sha256(_text(content).encode()).hexdigest()


def run_key(plan: Plan, plan_digest: str, stamps: Sequence[Stamp]) -> str:
    """What tells two attempts apart: files of one can go on in another only if this is the same.

    ``stamps`` are those of the source's files: they tell that the values are the same.
    """
    sources = [[source.path, stamp] for source, stamp in zip(plan.sources, stamps, strict=True)]
    return sha256(_text([plan_digest, sources]).encode()).hexdigest()


def dump_plan(plan: Plan) -> str:
    """A plan as JSON; see :func:`load_plan`."""
    content = _content(plan)
    content["sources"] = [[source.path, source.stamp] for source in plan.sources]
    content["bytes"] = [plan.bytes_read, plan.bytes_written, plan.scratch]
    content["computing"] = plan.computing
    content["origin"] = plan.origin
    text = _text(content)
    return (
        json.dumps({_KIND: ENGINE, "sha256": sha256(text.encode()).hexdigest()})[:-1]
        + f', "plan": {text}}}\n'
    )


def load_plan(text: str) -> Plan:
    """The plan that :func:`dump_plan` wrote. Its tensors have no transfers: its segments do.

    Raises:
        PlanFault: it is none, of another version, or was changed.
    """
    try:
        check_cost(text)
        document = json.loads(text)
    except JsonFault as fault:
        raise PlanFault(fault.rule) from None
    except (ValueError, RecursionError):
        raise PlanFault("it is not JSON") from None
    if not isinstance(document, dict) or _KIND not in document:
        raise PlanFault("it is not a plan of mapcc")
    if document[_KIND] != ENGINE:
        raise PlanFault(f"it was made by another version of mapcc ({document[_KIND]}, this is {ENGINE})")
    content: Json = document.get("plan")
    try:
        digest_now = sha256(_text(content).encode()).hexdigest()
    except RecursionError:
        raise PlanFault("it is nested too deeply") from None
    if not isinstance(content, dict) or digest_now != document.get("sha256"):
        raise PlanFault("it was changed after it was made")
    try:
        plan = _plan(content)
        if rule := plan_fault(plan):
            raise PlanFault(rule)
        return plan
    except PlanFault:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise PlanFault(f"it cannot be read: {error}") from None


def _text(content: Json) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=True)


# --- to JSON


def _content(plan: Plan) -> dict[str, Json]:
    return {
        "files": [
            [file.name, file.header[LENGTH:].decode(), file.size, [_segment(s) for s in file.segments]]
            for file in plan.files
        ],
        "folds": [
            [f.step and _step(f.step), [_origin(t) for t in f.inputs], f.dtype.name, f.shape, f.move]
            for f in plan.folds
        ],
        "index": plan.index and [plan.index.name, plan.index.content.decode()],
        "engine": ENGINE,
        **({"twins": [_twins(twins) for twins in plan.twins]} if plan.twins else {}),
    }


def _twins(twins: Twins) -> Json:
    return [twins.name, twins.other, _origin(twins.first), _origin(twins.second)]


def _segment(segment: Segment) -> Json:
    match segment:
        case Run():
            return segment
        case Gathered(begin, end, name, transfers) | Turned(begin, end, name, transfers):
            kind = "turned" if isinstance(segment, Turned) else "gathered"
            return [kind, begin, end, name, [_transfer(transfer) for transfer in transfers]]


def _transfer(transfer: Transfer) -> Json:
    origin, move, steps, source, target = transfer
    return [_origin(origin), move, [_step(step) for step in steps], source.name, target.name]


def _origin(origin: Origin) -> Json:
    match origin:
        case SourceTensor(file, begin, dtype, shape):
            return [file, begin, dtype.name, shape]
        case Fill(value):
            # Infinities and NaN have no place in JSON.
            return ["fill", value.hex() if isinstance(value, float) else value]
        case Folded(number):
            return ["fold", number]


def _step(step: Step) -> Json:
    return [step.op.name, step.numbers, step.dtype and step.dtype.name]


# --- from JSON


def _plan(content: Mapping[str, Json]) -> Plan:
    read, written, scratch = content["bytes"]
    index = content["index"]
    if index is not None and shard_fault(index[0].removesuffix(".index.json")):
        raise PlanFault(f"no name of an index: {index[0]!r}")
    return Plan(
        sources=tuple(SourceFile(path, stamp and Stamp(*stamp)) for path, stamp in content["sources"]),
        files=tuple(_file(*file) for file in content["files"]),
        folds=tuple(_fold(*fold) for fold in content["folds"]),
        index=index and IndexFile(index[0], index[1].encode()),
        bytes_read=read,
        bytes_written=written,
        scratch=scratch,
        computing=tuple(Computing(rule, tuple(names)) for rule, names in content["computing"]),
        origin=dict(content["origin"].items()),
        twins=tuple(_read_twins(*twins) for twins in content.get("twins", ())),
    )


def _read_twins(name: Json, other: Json, *origins: Json) -> Twins:
    first, second = (_read_origin(*origin) for origin in origins)
    if isinstance(first, Fill) or isinstance(second, Fill) or not isinstance(name + other, str):
        raise PlanFault("no tensors to compare")
    return Twins(name, other, first, second)


def _file(name: str, text: str, size: int, segments: Sequence[Json]) -> OutputFile:
    if rule := shard_fault(name):
        raise PlanFault(f"no name of a file: {name!r}: {rule}")
    raw = text.encode()
    try:
        specs, _ = parse_header(raw, size)
    except HeaderFault as fault:
        raise PlanFault(f"the header of {name!r} is wrong: {fault.rule}") from None
    tensors = tuple(
        OutputTensor(spec.name, _dtype(spec.dtype), spec.shape, spec.begin, spec.end, ()) for spec in specs
    )
    header = len(raw).to_bytes(LENGTH, "little") + raw
    found = tuple(_read_segment(segment) for segment in segments)
    if not is_gapless(found, len(header), size):
        raise PlanFault(f"the parts of {name!r} do not give each byte once")
    return OutputFile(name, header, size, tensors, found)


def _dtype(dtype: Dtype | None) -> Dtype:
    assert dtype is not None
    return dtype


def _read_segment(segment: Sequence[Json]) -> Segment:
    if isinstance(segment[0], int):
        return Run(*segment)
    kind, begin, end, name, transfers = segment
    made = (begin, end, name, tuple(_read_transfer(*transfer) for transfer in transfers))
    if kind not in ("turned", "gathered"):
        raise PlanFault(f"no kind of bytes: {kind!r}")
    return Turned(*made) if kind == "turned" else Gathered(*made)


def _read_transfer(origin: Json, move: Json, steps: Json, source: str, target: str) -> Transfer:
    read = _read_move(*move)
    return Transfer(
        _read_origin(*origin), read, tuple(_read_step(*s) for s in steps), DTYPES[source], DTYPES[target]
    )


def _read_origin(first: Json, second: Json, *rest: Json) -> Origin:
    if first == "fill":
        return Fill(float.fromhex(second) if isinstance(second, str) else second)
    if first == "fold":
        return Folded(second)
    return SourceTensor(first, second, DTYPES[rest[0]], tuple(rest[1]))


def _read_step(op: str, numbers: Json, dtype: str | None) -> Step:
    pairs = tuple((name, value) for name, value in numbers)
    return Step(VALUE_OPS[op], pairs, None if dtype is None else DTYPES[dtype])


def _fold(step: Json, inputs: Json, dtype: str, shape: Json, move: Json) -> Fold:
    read = [_read_origin(*origin) for origin in inputs]
    tensors = tuple(origin for origin in read if not isinstance(origin, Fill))
    if len(tensors) != len(read):
        raise PlanFault("a fold of a constant")
    return Fold(step and _read_step(*step), tensors, DTYPES[dtype], tuple(shape), move and _read_move(*move))


def _read_move(number: int, offset: int, other: int, at: int, dims: Json) -> Move:
    return Move(number, offset, other, at, tuple((a, b, c) for a, b, c in dims))
