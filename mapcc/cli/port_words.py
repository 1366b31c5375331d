"""Results of a port in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.render import plural

if TYPE_CHECKING:
    from mapcc.port.activations import Differing
    from mapcc.port.divergence import Divergence, Traced
    from mapcc.port.parity import Output
    from mapcc.port.pictures import Comparison
    from mapcc.port.progress import Standing
    from mapcc.port.words import ComponentCheck

_SHOWN = 12


def words_lines(checked: ComponentCheck) -> Iterator[str]:
    words = checked.words
    yield f"{checked.name}:"
    lists = (
        ("missing", words.missing),
        ("unexpected", words.unexpected),
        ("skipped", [name for name, _ in words.skipped]),
        ("unchanged", words.unchanged),
        ("renamed", words.renamed),
        ("shape-mismatched", words.shape_mismatched),
    )
    for word, names in lists:
        shown = (
            f": {escape(', '.join(fold(names, 4)))}" if names and word not in ("unchanged", "renamed") else ""
        )
        yield f"  {word}: {len(names)}{shown}"
    yield f"  strict_load: {words.strict_load}"


def output_lines(component: str, outputs: Sequence[Output]) -> Iterator[str]:
    for output in outputs:
        found = output.distance
        if found is None:
            yield f"{component} {output.label}: cannot be compared: {output.problem}"
            continue
        word = "agrees" if output.ok else "differs"
        absolute = f"max abs {found.max_abs:.3g}, mean abs {found.mean_abs:.3g}"
        relative = f"max rel {found.max_rel:.3g}, mean rel {found.mean_rel:.3g}"
        yield f"{component} {output.label}: {word}: {absolute}, {relative}, cosine {found.cosine:.9f}"


def trace_lines(traced: Traced, every_row: bool) -> Iterator[str]:
    if every_row:
        for row in traced.rows:
            if row.error is not None:
                official = ", ".join(row.officials)
                yield f"{row.error:10.3g}  {row.event.module or '(the model)'} {row.where}  <- {official}"
    if traced.divergence is None:
        most = f"largest difference {traced.level:.3g}"
        yield f"{traced.component}: no divergence in {plural(traced.compared, 'activation')}, {most}"
        yield from (f"  note: {escape(note)}" for note in traced.notes)
        return
    yield from _divergence_lines(traced.component, traced.divergence)


def _divergence_lines(component: str, found: Divergence) -> Iterator[str]:
    seen, where = found.seen_at
    yield f"{component}: first divergence in {escape(found.module) or 'the model itself'}"
    yield f"  official: {escape(', '.join(found.officials[:_SHOWN])) or 'nothing corresponds'}"
    yield f"  seen at: what {'goes into' if where == 'in' else 'comes out of'} {escape(seen)}"
    errors = f"input {_error(found.input_error)}, output {_error(found.output_error)}"
    yield f"  error: {errors} (of the largest element)"
    yield f"  fault: {found.fault}" + (f": {escape(found.finding)}" if found.finding else "")
    for parameter in found.parameters[:_SHOWN]:
        made = f" <- {', '.join(parameter.sources)}" if parameter.sources else ""
        rule = parameter.rule
        place = f"  ({rule.source.name}:{rule.line})" if rule else ""
        yield f"  {escape(parameter.name)}{escape(made)}{escape(place)}"
    if len(found.parameters) > _SHOWN:
        yield f"  and {len(found.parameters) - _SHOWN} more parameters"
    if found.fault == "mapping":
        for rule in found.rules:
            text = " ".join(rule.text.split())[:90]
            yield f"  rule at {escape(rule.source.name)}:{rule.line}: {escape(text)}"
    else:
        yield "  look at: mapping, attention backend, scheduler, in this order"


def _error(error: float | None) -> str:
    return "not comparable" if error is None else f"{error:.3g}"


def differing_lines(component: str, compared: int, found: Differing | None) -> Iterator[str]:
    if found is None:
        yield f"{component}: the traces agree in {plural(compared, 'module')}"
        return
    yield f"{component}: first divergence in {escape(found.row.module)} ({found.row.tensor})"
    yield f"  official: {escape(', '.join(row.module for row in found.officials))}"
    yield f"  {found.figure} differs by {found.error:.3g} of its size; {plural(compared, 'module')} compared"


def comparison_lines(found: Comparison, minimum: float) -> Iterator[str]:
    for name, distance in found.distances:
        word = "agrees" if distance.ok else "differs"
        yield f"{escape(name)}: {word}: max abs {distance.max_abs:.3g}, cosine {distance.cosine:.9f}"
    if found.frames is not None:
        worst = found.frames.worst
        word = "alike" if found.passed(minimum) else "not alike"
        mean = sum(found.frames.ssim) / len(found.frames.ssim)
        yield f"{found.kind}: {word}: {plural(len(found.frames.ssim), 'frame')}, SSIM {mean:.4f} on average"
        yield (
            f"  worst frame {worst}: SSIM {found.frames.ssim[worst]:.4f} (at least {minimum:g}), "
            f"PSNR {min(found.frames.psnr):.1f} dB"
        )


def standing_lines(now: Sequence[Standing]) -> Iterator[str]:
    width = max((len(standing.item.title) for standing in now), default=0)
    for standing in now:
        why = f"  {escape('; '.join(standing.why))}" if standing.why else ""
        todo = "" if standing.done else f"  -> {standing.item.command}"
        yield f"{standing.status.value:8}  {standing.item.title:{width}}{why}{todo}".rstrip()
