"""``mapcc verify``: an output against its record and, given the source, against its mapping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.ir.rules import extended
from mapcc.passes.check import bind
from mapcc.passes.under import placed, read_under
from mapcc.plan import make_plan
from mapcc.runtime.audit import audit
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.loading import fold_in_memory
from mapcc.runtime.record import RECORD, Record, read_record
from mapcc.runtime.sources import opened
from mapcc.runtime.twins import differing_twins
from mapcc.syntax.load import Loader, parse_source
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest
from mapcc.text import Source
from mapcc.verify.compare import compare
from mapcc.verify.headers import compare_metadata

Progress = Callable[[int, int], None]


def verify(
    out: Path,
    source: Manifest | None,
    *,
    samples: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Diagnostic, ...]:
    """See :func:`mapcc.verify_output`."""
    record = read_record(out)
    found = audit(out, record, progress)
    if source is None or any("is not there" in d.message for d in found):
        return tuple(found)
    bound, output = _bound(record, source, out)
    found += _other_source(record, source)
    found += compare_metadata(bound, output)
    found += _twins(bound)
    found += compare(bound, output, samples=samples, seed=seed)
    return tuple(found)


def select_of(out: Path) -> str | list[str] | None:
    """The dictionaries of the source that were converted, as the record of ``out`` tells."""
    options: dict[str, Any] = read_record(out).origin.get("options") or {}
    selected = options.get("select")
    if isinstance(selected, list):
        return [str(path) for path in selected]
    return None if selected is None else str(selected)


def _bound(record: Record, source: Manifest, out: Path) -> tuple[BoundMapping, Manifest]:
    """The recorded mapping, held against the source and against what came out of it."""
    found = Diagnostics()
    loader = Loader(found, is_closed=True)  # the record is all that is believed
    texts = record.origin.get("mapping") or []
    if not texts:
        message = f"`{out / RECORD}` has no mapping to compare values with"
        raise MappingError([Diagnostic("MC003", message, help="verify without --source: hashes alone")])
    main = Path(texts[0]["name"])
    for text in texts:
        loader.preload(Path(text["name"]), text["text"])
    mapping = loader.load(main)
    output = open_keyset(out)
    if mapping is None:
        raise MappingError(found)
    options = record.origin.get("options") or {}
    # Sizes and types that only the target told are those of the output, which its hashes hold.
    target = output if options.get("had_target") else None
    settings = options.get("settings") or {}
    if options.get("statements"):
        mapping = extended(mapping, parse_source(Source(RECORD, options["statements"]), found))
    if options.get("under"):
        under = read_under(options["under"], found)
        if under is not None:
            mapping = placed(mapping, main, under, source, target, settings, found, loader)
    if mapping is None or found.errors:
        raise MappingError(found)
    bound = bind(mapping, main, source, target, settings, found, loader)
    if found.errors:
        raise MappingError(found)
    return bound, output


def _twins(bound: BoundMapping) -> list[Diagnostic]:
    """What was dropped as a copy, compared again."""
    if not bound.copies:
        return []
    plan = make_plan(bound)
    with opened(plan.sources) as files:
        inputs = Inputs(plan, files, fold_in_memory)
        try:
            return differing_twins(plan, inputs)
        finally:
            inputs.close()


def _other_source(record: Record, source: Manifest) -> list[Diagnostic]:
    recorded = {file["name"]: file["size"] for file in (record.origin.get("source") or {}).get("files", [])}
    now = {path.name: path.stat().st_size for path in source.files}
    if recorded == now:
        return []
    message = f"`{source.where}` is not the source of this conversion: its files have other names or sizes"
    return [Diagnostic("MC503", message, help="give the source that was converted")]
