"""Traces as files: one side recorded here, or both read that others have recorded."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.activations import NOISE, Differing, Row, first_differing, read_rows, write_rows
from mapcc.port.components import hold
from mapcc.port.model import Component, Port
from mapcc.port.pairs import pairs_of
from mapcc.port.sides import NOISE as SHORT

if TYPE_CHECKING:
    from torch.nn import Module


def write_trace(port: Port, component: Component, which: str, path: Path) -> int:
    """Run one side, ``official`` or ``ported``, and write its activations' figures; how many lines.

    Raises:
        MappingError: as for parity; MC005.
    """
    from mapcc.port.parity import prepared
    from mapcc.port.spool import Spool, recorded

    pair = prepared(port, component)
    modules = dict(pair.side(which)[1].named_modules())
    spool = Spool(port.folder)
    try:
        with recorded(modules, modules, spool) as events:
            pair.run(which)
        return write_rows(path, events, spool)
    finally:
        spool.close()


def compare_traces(
    port: Port, component: Component, official: Path | None, ported: Path | None
) -> tuple[int, Differing | None]:
    """How many modules were compared, and the first that differs. A side without a file is run here.

    Raises:
        MappingError: MC001, MC003: a file; as for parity, where a side is run; the mapping is not clean.
    """
    checked = hold(port, component).checked
    if checked.bound is None or not checked.ok:
        raise MappingError(checked.diagnostics)
    with TemporaryDirectory() as folder:
        sides: list[list[Row]] = []
        for which, path in (("official", official), ("ported", ported)):
            if path is None:
                path = Path(folder) / f"{which}.jsonl"
                write_trace(port, component, which, path)
            sides.append(read_rows(path))
    theirs, ours = (_named(rows) for rows in sides)
    pairs = pairs_of(checked.bound, theirs, ours, component.pairs)
    noise = max(NOISE, SHORT.get(component.parity.dtype, 0))
    compared, found = first_differing(pairs, sides[0], sides[1], noise)
    if not compared:
        message = f"no module of `{component.name}` is in both traces with the same number of elements"
        help = "were the two recorded on the same inputs, with FASTVIDEO_TRACE_LAYERS='.*'?"
        raise MappingError([Diagnostic("MC914", message, component.span, help=help)])
    return compared, found


def _named(rows: list[Row]) -> dict[str, Module]:
    """Modules of which only the names are known."""
    stand_in: Any = object()
    return {row.module: cast("Module", stand_in) for row in rows}
