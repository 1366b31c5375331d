"""A complete bound mapping to a plan: exact files, transfers, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.metadata import carried_metadata
from mapcc.plan.lower import Lowering
from mapcc.plan.model import Fold, OutputFile, Plan, SourceFile, SourceTensor, Twins
from mapcc.plan.moves import elements_read
from mapcc.plan.shards import divide, index_file, output_files
from mapcc.tensors.index import SUFFIX, shard_fault
from mapcc.tensors.spec import Manifest

MAX_SHARD_SIZE = 5_000_000_000


def make_plan(
    bound: BoundMapping,
    *,
    max_shard_size: int = MAX_SHARD_SIZE,
    prefix: str = "model",
) -> Plan:
    """The plan of converting ``bound.source``. Nothing is read but the manifest.

    The output's tensors are in the order in which their first elements lie in the source; created
    ones are last.

    Args:
        bound: complete, that is, bound without an error.
        max_shard_size: of the tensors of one output file, in bytes; a larger tensor has a file of
            its own.
        prefix: of the files: ``model.safetensors``, or ``model-00001-of-00002.safetensors`` and
            ``model.safetensors.index.json``.

    Raises:
        MappingError: MC006 if the source has no bytes (a keys file, a Python factory), MC502 for a
            type smaller than a byte whose bytes would be taken apart and for a created number that
            its type does not have, MC104 or MC108 for one that has no value, MC209 and MC005 for
            what no file can hold, MC007 for an impossible size or prefix.
    """
    _check_options(max_shard_size, prefix)
    _check_source(bound.source)
    found = Diagnostics()
    lowering = Lowering(bound, found)
    tensors = sorted(lowering.run(), key=lambda tensor: tensor.place)
    if found.errors:
        raise MappingError(found)
    twins = tuple(lowering.twins())
    files = output_files(divide(tensors, max_shard_size), prefix, carried_metadata(bound).metadata)
    index = index_file(files, prefix)
    folds = tuple(lowering.folds)
    return Plan(
        sources=_source_files(bound.source),
        files=files,
        folds=folds,
        index=index,
        bytes_read=_bytes_read(files, folds) + sum(_nbytes_of(twins, folds)),
        bytes_written=sum(file.size for file in files) + (len(index.content) if index else 0),
        scratch=sum(fold.nbytes for fold in folds),
        computing=lowering.computing(),
        twins=twins,
    )


def _check_options(max_shard_size: int, prefix: str) -> None:
    if max_shard_size < 1:
        raise MappingError([Diagnostic("MC007", f"a shard has at least 1 byte, not {max_shard_size}")])
    fault = shard_fault(f"{prefix}{SUFFIX}") or shard_fault(f"{prefix}-00001-of-00001{SUFFIX}")
    if fault is not None:
        raise MappingError([Diagnostic("MC007", f"no prefix of a file name: `{prefix}`: {fault}")])


def _check_source(source: Manifest) -> None:
    if source.files and all(spec.file is not None for spec in source.tensors.values()):
        return
    message = f"`{source.where}` has the names of tensors, but not their values"
    help = "to convert, give the checkpoint itself: a .safetensors file, its folder or its index"
    raise MappingError([Diagnostic("MC006", message, help=help)])


def _source_files(source: Manifest) -> tuple[SourceFile, ...]:
    stamps = source.stamps or (None,) * len(source.files)
    return tuple(SourceFile(str(path), stamp) for path, stamp in zip(source.files, stamps, strict=True))


def _bytes_read(files: Iterable[OutputFile], folds: Sequence[Fold]) -> int:
    # The last input of an operation is read twice: for its norm, and to be scaled.
    inputs = [one for f in folds for one in (*f.inputs, *([f.inputs[-1]] if f.step else []))]
    total = sum(_nbytes(one) for one in inputs if isinstance(one, SourceTensor))
    for file in files:
        for tensor in file.tensors:
            for transfer in tensor.transfers:
                if isinstance(transfer.origin, SourceTensor):
                    total += elements_read(transfer.move) * max(8, transfer.source.bits) // 8
    return total


def _nbytes_of(twins: Sequence[Twins], folds: Sequence[Fold]) -> Iterator[int]:
    for one in twins:
        for origin in (one.first, one.second):
            yield _nbytes(origin) if isinstance(origin, SourceTensor) else folds[origin.number].nbytes


def _nbytes(tensor: SourceTensor) -> int:
    return prod(tensor.shape) * tensor.dtype.bits // 8
