"""The output's header: names, types and shapes."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.diagnostics.model import Diagnostic
from mapcc.ir.bound import BoundMapping
from mapcc.passes.findings import Findings
from mapcc.passes.metadata import carried_metadata
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import Manifest

_HELP = "was it made with this mapping, of this source? convert it again"


def compare_headers(bound: BoundMapping, out: Manifest, findings: Findings) -> Iterator[str]:
    """The names whose types and shapes are right; the others are findings."""
    for name, (instance, number) in bound.given.items():
        found = out.tensors.get(name)
        span = instance.equation.span
        shape, dtype = instance.layout.target_shapes[number], instance.dtypes[number]
        if found is None:
            findings.add("MC503", "the output does not have what this rule gives", span, name, help=_HELP)
        elif found.shape != shape:
            message = f"the rule gives the shape {list(shape)}, the output has {list(found.shape)}"
            findings.add("MC503", message, span, name, help=_HELP)
        elif dtype is not None and found.dtype != dtype:
            message = f"the rule gives {dtype.name}, the output has {_shown(found.dtype)}"
            findings.add("MC503", message, span, name, help=_HELP)
        else:
            yield name
    for name in out.tensors:
        if name not in bound.given:
            findings.add("MC503", "the output has tensors that no rule gives", None, name, help=_HELP)


def compare_metadata(bound: BoundMapping, out: Manifest) -> list[Diagnostic]:
    """MC503 if the headers of an output of mapcc say something else than what is carried over."""
    wanted = carried_metadata(bound).metadata
    keys = sorted(wanted.keys() | out.metadata.keys())
    wrong = [key for key in keys if wanted.get(key) != out.metadata.get(key) or key in out.differing]
    message = "the output's __metadata__ is not what is carried over from the source"
    return [Diagnostic("MC503", message, help=_HELP, names=tuple(wrong))] if wrong else []


def _shown(dtype: Dtype | None) -> str:
    return "a type that is not known" if dtype is None else dtype.name
