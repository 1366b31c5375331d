"""Samples of every tensor of an output, against what the mapping says of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.findings import Findings
from mapcc.tensors.spec import Manifest
from mapcc.verify.elements import Elements
from mapcc.verify.headers import compare_headers
from mapcc.verify.reads import opened
from mapcc.verify.report import Report
from mapcc.verify.samples import draw, landmarks, per_tensor
from mapcc.verify.work import Group, Slice, groups

MOST = 1_000_000  # elements of the output; as many of the source are read
CHUNK = 1 << 16


def compare(
    bound: BoundMapping,
    out: Manifest,
    *,
    samples: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Diagnostic, ...]:
    """Whether ``out`` is what ``bound`` makes of its source: every name, type and shape, and samples.

    Of each tensor the first and the last element are looked at, elements where pieces and dimensions
    begin and end, and others by chance; all of them, if there are no more than ``samples``. Where they
    come from is read off the rule's axes, and operations are computed, without the code that converts.

    Args:
        bound: complete, that is, bound without an error, to a source that has bytes.
        samples: how many elements of a tensor by chance, and as many where pieces meet; fewer for very
            many tensors, so that about two million elements are read at most.
        seed: of the chance.
        progress: called with tensors done and tensors in all.

    Returns:
        MC503 for each rule whose tensors differ; none if nothing was found.

    Raises:
        MappingError: MC001 if a file cannot be read, MC002 if it changes meanwhile, MC006 if one of the
            two has no bytes.
    """
    _have_bytes(bound.source)
    _have_bytes(out)
    found, report = Diagnostics(), Report()
    findings = Findings(found)
    names = list(compare_headers(bound, out, findings))
    samples = max(4, min(samples, MOST // (2 * max(1, len(names)))))
    done = 0
    with opened(bound.source) as source, opened(out) as output:
        elements = Elements(bound, source, output, report, findings)
        for group in groups(bound, names, out.tensors):
            for part in _slices(group, samples, np.random.default_rng([seed, done])):
                elements.compare(part)
                done += len(part.tensors)
                if progress is not None:
                    progress(done, len(names))
    if progress is not None:
        progress(len(names), len(names))
    findings.flush()
    report.flush(found)
    return tuple(found)


def _have_bytes(manifest: Manifest) -> None:
    if any(spec.file is None or spec.dtype is None for spec in manifest.tensors.values()):
        message = f"`{manifest.where}` has the names of tensors, but not their values"
        raise MappingError([Diagnostic("MC006", message, help="give the checkpoint itself")])


def _slices(group: Group, samples: int, generator: np.random.Generator) -> Iterator[Slice]:
    extents = group.extents
    marks = landmarks(group.reading.notation, group.equation.targets[group.term].shape)
    for tensors in group.chunks(max(1, CHUNK // per_tensor(extents, marks, samples))):
        tensor, at = draw(extents, marks, samples, len(tensors), generator)
        yield Slice(group, tensors, tensor, at)
