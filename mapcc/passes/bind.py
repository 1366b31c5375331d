"""Binding: which tensors each equation takes, what it gives, in which shapes.

Every source name is matched once, against all patterns together. The matches of an equation that
agree on its variables are an instance; the members of one are found jointly, as they occur.
"""

from __future__ import annotations

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir.program import Program
from mapcc.passes.analyse import analyse
from mapcc.passes.binder import Binder
from mapcc.passes.instances import make_instances
from mapcc.passes.take import match_sources
from mapcc.tensors.spec import Manifest


def bind_sources(program: Program, source: Manifest, target: Manifest | None, found: Diagnostics) -> Binder:
    """Everything up to instances; coverage and types come after."""
    analyse(program, found, source.tensors)
    binder = Binder(program, source, target, found)
    match_sources(binder)
    make_instances(binder)
    return binder
