"""A conversion script: what ``mapcc convert`` does with one checkpoint, for who does not have mapcc.

The tables are folded rows; before the script is given, they are written out again and held against
the plan, to the last byte of every header.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.emit.pysource import comment, quoted
from mapcc.emit.script_operands import Function, Helpers, Recipe, is_list, places_of
from mapcc.emit.script_recipes import recipe_of
from mapcc.emit.script_rows import FAMILY, Brackets, Family, Folded, Row, brackets_for, family, fold_rows
from mapcc.emit.script_text import Key, Names, Script, SourceKey, place, render
from mapcc.emit.script_words import NotSaid
from mapcc.emit.standalone import checkpoint, tables
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.passes.findings import Findings
from mapcc.plan.model import OutputTensor, Plan
from mapcc.tensors.disk import read_at, reading
from mapcc.text import Span

Sections = list[tuple[tuple[str, ...], list[Folded]]]

CANNOT = "a conversion script cannot"
CONVERT = "'mapcc convert' can"


def emit_script(bound: BoundMapping, plan: Plan) -> str:
    """The script that writes what ``plan`` writes.

    Raises:
        MappingError: MC601 for what a script cannot do: read a source that is not safetensors, or
            compute with types that numpy does not have and the script neither.
    """
    _check_source(plan)
    recipes = _recipes(bound, plan)
    for is_folded in (True, False):
        script = _Tables(bound, plan, recipes, is_folded)
        if script.is_right():
            return script.text()
    raise AssertionError("the tables written out are what the plan says")


def _check_source(plan: Plan) -> None:
    faults = []
    for file in plan.sources:
        with reading(Path(file.path)) as (fd, _):
            start = read_at(fd, 9, 0)
        if start[8:9] != b"{":
            message = f"{CANNOT} read `{file.path}`: it reads safetensors alone"
            faults.append(Diagnostic("MC601", message, help=CONVERT))
    if plan.twins:
        message = f"{CANNOT} compare what is dropped as the same as another"
        names = tuple(twins.name for twins in plan.twins)
        faults.append(Diagnostic("MC601", message, help=CONVERT, names=names))
    if faults:
        raise MappingError(faults)


@dataclass(slots=True)
class _Recipes:
    """What makes each output, in the order of the plan, and the helpers that it needs."""

    outputs: list[tuple[OutputTensor, Instance, Recipe]] = field(default_factory=list)
    helpers: Helpers = field(default_factory=Helpers)


def _recipes(bound: BoundMapping, plan: Plan) -> _Recipes:
    """Computed once for all tensors of a rule that are alike."""
    out = _Recipes()
    known: dict[Hashable, Recipe] = {}
    found = Diagnostics()
    findings = Findings(found)
    for file in plan.files:
        for tensor in file.tensors:
            instance, number = bound.given[tensor.name]
            alike = tuple((t.origin[2:] if len(t.origin) > 2 else t.origin, t[2:]) for t in tensor.transfers)
            key = (id(instance.equation), id(instance.layout), number, tensor.dtype, alike)
            try:
                if key not in known:
                    known[key] = recipe_of(bound, plan, out.helpers, tensor, instance, number)
                out.outputs.append((tensor, instance, known[key]))
            except NotSaid as error:
                span = instance.equation.span
                findings.add("MC601", f"{CANNOT} {error}", span, tensor.name, help=CONVERT)
    findings.flush()
    if found.errors:
        raise MappingError(found)
    return out


class _Tables:
    """All tables of a script, folded or not."""

    def __init__(self, bound: BoundMapping, plan: Plan, recipes: _Recipes, is_folded: bool) -> None:
        self.bound, self.plan, self.recipes = bound, plan, recipes
        self.is_folded = is_folded
        self.files = [PurePath(file.path).name for file in plan.sources]
        self.brackets = brackets_for([*bound.source.tensors, *bound.given])
        self.names = Names()
        source = bound.program.mapping.source
        self.home = source.name if source else ""
        self.source = self._source()
        self.dropped = self._dropped()
        self.outputs = self._outputs()

    # --- tables

    def _source(self) -> Sections:
        rows = [
            Row(SourceKey(spec.dtype.name if spec.dtype else "", spec.shape), (name,))
            for name, spec in self.bound.source.tensors.items()
            if name in self.bound.taken
        ]
        return [((), self._fold(rows))]

    def _dropped(self) -> Sections:
        reasons: dict[str, list[Row]] = {}
        for name in self.bound.source.tensors:
            if name not in self.bound.taken:
                listed = self.bound.dropped.get(name)
                reasons.setdefault(listed.because if listed else "", []).append(Row(("dropped",), (name,)))
        return [((comment(quoted(why)),), self._fold(rows)) for why, rows in reasons.items()]

    def _outputs(self) -> Sections:
        sections: dict[Span | None, list[Row]] = {}
        outputs = self.recipes.outputs
        for tensor, instance, recipe in outputs:
            span = instance.equation.span if self.is_folded else None
            sections.setdefault(span, []).append(self._row(tensor, instance, recipe))
        return [(self._place(span), self._fold(sections[span])) for span in sorted(sections, key=self._key)]

    def _key(self, span: Span | None) -> tuple[bool, str, int]:
        """The mapping's own rules first, each file's in their order."""
        if span is None:
            return False, "", 0
        return span.source.name != self.home, span.source.name, span.start

    def _row(self, tensor: OutputTensor, instance: Instance, recipe: Recipe) -> Row:
        names = [tensor.name]
        inputs: list[tuple[int, Family] | int] = []
        for group in recipe.inputs:
            own = [instance.sources[operand][nth] for operand, nth in places_of(group)]
            if is_list(group):
                folded = family(own, self.brackets)
                inputs.append((len(folded.templates), Family((), folded.values)))
                names += folded.templates
            else:
                inputs.append(1)
                names += own
        make = recipe.make
        if isinstance(make, Function):
            make = self.names.function(make, instance.equation.span, self.home)
        typed = () if make == "renamed" else (tensor.dtype.name, tensor.shape)
        key = Key(make, *(typed or ("", ())), tuple(inputs), recipe.sizes, tuple(n for n, _ in recipe.places))
        return Row(key, tuple(names), tuple(place for _, place in recipe.places))

    def _fold(self, rows: Sequence[Row]) -> list[Folded]:
        if self.is_folded:
            return fold_rows(rows, self.brackets)
        return [folded for row in rows for folded in fold_rows([row], self.brackets)]

    def _place(self, span: Span | None) -> tuple[str, ...]:
        return (place(span, self.home),) if span else ()

    # --- the proof

    def is_right(self) -> bool:
        """Whether the tables, written out as the script does it, are the plan."""
        found = checkpoint_of(self.bound)
        if checkpoint.differences(found, self._written(self.source), self._written(self.dropped)):
            return False
        outputs = checkpoint.in_order(self._written(self.outputs), found)
        shards = []
        for name, count, _ in self.counts():
            shards.append((name, outputs[:count]))
            outputs = outputs[count:]
        for (_, own), file in zip(shards, self.plan.files, strict=True):
            if [output.name for output in own] != [tensor.name for tensor in file.tensors]:
                return False
            if checkpoint.header(own, self.metadata(), len(file.header)) != file.header:
                return False
        index = self.plan.index
        return index is None or checkpoint.index_json(shards) == index.content

    def _written(self, table: Sections) -> list[tuple[Any, ...]]:
        return [row for _, rows in table for one in rows for row in written_out(one, self.brackets)]

    def counts(self) -> list[tuple[str, int, int]]:
        return [(file.name, len(file.tensors), len(file.header)) for file in self.plan.files]

    def metadata(self) -> dict[str, str]:
        head = json.loads(self.plan.files[0].header[8:])
        metadata: dict[str, str] = head.get("__metadata__", {})
        return metadata

    def text(self) -> str:
        index = self.plan.index
        return render(
            Script(
                self._title(),
                self.brackets,
                self.recipes.helpers,
                self.names,
                self.files,
                self.source,
                self.dropped,
                self.outputs,
                self.counts(),
                index.name if index else "",
                self.metadata(),
            )
        )

    def _title(self) -> list[str]:
        name = self.bound.program.mapping.name
        whose = f" from the mapping {quoted(name)}" if name else ""
        return [comment(f"Emitted by mapcc{whose}, whose lines the comments quote.")]


def checkpoint_of(bound: BoundMapping) -> dict[str, checkpoint.Found]:
    """The source as the script finds it: file by file, in the order of the bytes."""
    specs = [spec for spec in bound.source.tensors.values() if spec.dtype is not None]
    specs.sort(key=lambda spec: (spec.file or 0, spec.begin, spec.end))
    return {s.name: checkpoint.Found(s.dtype.name, s.shape, Path(), s.begin) for s in specs if s.dtype}


def written_out(folded: Folded, brackets: Brackets) -> list[tuple[Any, ...]]:
    """What the script's own functions make of a row."""
    index = [
        {brackets.mark(letter): number for letter, number in zip(folded.letters, row, strict=True)}
        for row in folded.values
    ]
    match folded.key:
        case SourceKey(dtype, shape):
            row: tuple[Any, ...] = (folded.names[0], dtype, shape)
        case ("dropped",):
            row = (folded.names[0],)
        case Key(make, dtype, shape, inputs, sizes, places):
            sources = _inputs(inputs, folded.names[1:], brackets)
            numbers = {**dict(sizes), **dict(zip(places, folded.numbers, strict=True))}
            row = (folded.names[0], dtype, shape, make, sources, numbers)
            if make == "renamed":
                row = (folded.names[0], sources[0])
        case _:
            raise AssertionError(folded.key)
    return [tables.fill_in(row, at) for at in index]


def _inputs(
    inputs: Iterable[tuple[int, Family] | int], names: Sequence[str], brackets: Brackets
) -> list[str | list[str]]:
    out: list[str | list[str]] = []
    at = 0
    for one in inputs:
        if isinstance(one, int):
            out.append(names[at])
            at += 1
            continue
        count, own = one
        templates = names[at : at + count]
        index: dict[str, Iterable[int]] = {brackets.mark(FAMILY): own.values} if own.values else {}
        out.append(tables.family(index, *templates))
        at += count
    return out
