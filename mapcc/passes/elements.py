"""What single elements cannot do: be smaller than a byte and move alone, or hold any number."""

from __future__ import annotations

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir.bound import Instance
from mapcc.passes.binder import Binder
from mapcc.passes.fills import fill_value
from mapcc.passes.moves import unaligned


def check_elements(binder: Binder) -> None:
    """F4 and F6 move in whole bytes; created elements have a value that their type has."""
    movable: set[int] = set()  # few combinations of types occur, and instances share them
    creating = {id(e) for e in binder.program.equations + binder.program.creates if binder.facts(e).creates}
    for instance in binder.bound.instances:
        if id(instance.equation) in creating:
            _fills(binder, instance)
        if id(instance.dtypes) in movable:
            continue
        if any(dtype is not None and dtype.bits < 8 for dtype in instance.dtypes):
            _whole_bytes(binder, instance)
        else:
            movable.add(id(instance.dtypes))


def _fills(binder: Binder, instance: Instance) -> None:
    equation = instance.equation
    for move in instance.layout.moves:
        unit = equation.units[instance.layout.unit_of_source[move.source]]
        dtype = instance.dtypes[move.target]
        if not unit.is_created or dtype is None:
            continue
        found = Diagnostics()
        fill_value(unit, equation, dtype, found)
        for d in found:
            binder.findings.add(
                d.code, d.message, d.span, instance.targets[move.target], notes=d.notes, help=d.help
            )


def _whole_bytes(binder: Binder, instance: Instance) -> None:
    for move in instance.layout.moves:
        dtype = instance.dtypes[move.target]
        if dtype is not None and unaligned(move, dtype.bits):
            binder.findings.add(
                "MC502",
                "elements that are smaller than a byte can only be moved in whole bytes",
                instance.equation.span,
                instance.targets[move.target],
                notes=("two F4 share a byte, and four F6 share three",),
                help="move them by twos (F4) or by fours (F6): cut and permute other dimensions than the "
                "last, or whole bytes of it",
            )
