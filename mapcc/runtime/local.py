"""A plan carried out on this machine: its files in threads, then the index, the record, the name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.errors import MappingError
from mapcc.numeric.fault import Unrepresentable
from mapcc.plan.document import digest, run_key
from mapcc.plan.memory import BUDGET, Buffers, buffers
from mapcc.plan.model import Plan
from mapcc.runtime.fs import cannot_write
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.journal import SUFFIX, open_journal
from mapcc.runtime.pool import Pool
from mapcc.runtime.recognise import check_values
from mapcc.runtime.record import RECORD, check_record, record_bytes
from mapcc.runtime.shard import Shard
from mapcc.runtime.sources import InputFile, opened
from mapcc.runtime.staging import Staging, checked_place, is_free, staging
from mapcc.runtime.twins import check_twins
from mapcc.runtime.worker import Copy, Worker

if TYPE_CHECKING:
    from mapcc.runtime.arrays import Array

Progress = Callable[[int, int], None]

# More threads than this wait for the memory, not for each other.
MOST_WORKERS = 8
_PROBE = ".probe"


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is carried out; the output is the same, byte for byte.

    Attributes:
        memory: bytes of buffers, in all.
        workers: threads; 0 for as many as there are processors, up to 8.
        sync: wait until the disk has every file, so that a loss of power costs nothing.
        verify: read every file back before the output appears. Without ``sync`` it tells little.
        hashes: keep hashes, without which nothing can be resumed or verified.
        copy: how bytes go from file to file; None to find out what the file system can.
        sizes: the buffers themselves, instead of those that ``memory`` and ``workers`` give.
    """

    memory: int = BUDGET
    workers: int = 0
    sync: bool = True
    verify: bool | None = None
    hashes: bool = True
    copy: Copy | None = None
    sizes: Buffers | None = None

    @property
    def threads(self) -> int:
        # Of those that this process may use, where the system tells.
        affinity = getattr(os, "sched_getaffinity", None)
        return self.workers or min(MOST_WORKERS, len(affinity(0)) if affinity else os.cpu_count() or 1)


def execute(plan: Plan, out: Path, progress: Progress | None = None, options: Options | None = None) -> bool:
    """Write the output folder ``out``. It appears complete, or not at all.

    What an earlier attempt at the same plan has finished is kept, if its hashes are still right.

    Args:
        out: absent, or an empty folder. Folders above it are made.
        progress: called with the bytes written and the bytes to write, from first to last.

    Returns:
        Whether something was written: not if ``out`` is there, made from the same plan.

    Raises:
        MappingError: MC001 if a source cannot be read, MC002 if one is not, or does not stay, what the
            plan was made from, MC005 if the output cannot be written (it is there, a source is in it,
            the disk is full), MC502 if a number cannot be cast to its integer type, MC505 if
            it has a fraction, MC007 if the memory is too little.
    """
    options = options or Options()
    sizes = options.sizes or buffers(plan, options.threads, options.memory)
    place = checked_place(out, [file.path for file in plan.sources])
    key = digest(plan)
    if not is_free(place):
        check_record(out, place, plan, key)
        check_values(out, place, plan, sizes)
        _remove_journal(place)
        return False
    with opened(plan.sources) as inputs, _staged(plan, inputs, place, key, options) as stage:
        if not is_free(place):
            raise cannot_write(out, "another mapcc wrote it just now")
        _prepare(plan, stage)
        try:
            _write(plan, inputs, stage, progress, options, sizes)
            for file, source in zip(inputs, plan.sources, strict=True):
                file.check_unchanged(source.stamp or file.stamp)
        except MappingError as error:
            if any(d.exit_code == 1 for d in error.diagnostics):
                stage.forget()  # the source is wrong, or changed: what was made of it is worth nothing
            raise
        _finish(plan, key, stage)
        if progress is not None:
            progress(plan.bytes_written, plan.bytes_written)
        stage.commit()
    return True


def _staged(
    plan: Plan, inputs: Sequence[InputFile], place: Path, key: str, options: Options
) -> AbstractContextManager[Staging]:
    stamps = [source.stamp or file.stamp for file, source in zip(inputs, plan.sources, strict=True)]
    return staging(place, run_key(plan, key, stamps), durable=options.sync)


def _prepare(plan: Plan, stage: Staging) -> None:
    names = {file.name for file in plan.files}
    stage.keep(names & stage.finished.keys())
    kept = sum(file.size for file in plan.files if file.name in stage.finished)
    stage.require(plan.bytes_written + plan.scratch - kept)


def _write(
    plan: Plan,
    files: Sequence[InputFile],
    stage: Staging,
    progress: Progress | None,
    options: Options,
    sizes: Buffers,
) -> None:
    copy = options.copy or _probe(files, stage)
    verify = options.sync if options.verify is None else options.verify
    inputs = Inputs(plan, files, _folder(plan, stage))
    count = sizes.workers if options.sizes else min(sizes.workers, _parallel(plan))
    workers = [Worker(inputs, sizes, copy, hashes=options.hashes) for _ in range(count)]
    shards = [Shard(f, stage, verify=verify, allocate=copy is not Copy.REFLINK) for f in plan.files]

    def report() -> None:
        if progress is not None:
            progress(sum(worker.done for worker in workers), plan.bytes_written)

    report()
    try:
        check_twins(plan, inputs)
        Pool(shards).run(workers, report)
    except Unrepresentable as error:
        from mapcc.runtime.faults import unrepresentable  # numpy, which byte ranges do without

        raise MappingError(unrepresentable(plan, inputs, sizes, error)) from None
    finally:
        inputs.close()
        for shard in shards:
            shard.close()
    report()


def _parallel(plan: Plan) -> int:
    """Threads beyond one for each few MB cost more than they bring."""
    return max(1, plan.bytes_written >> 22)


def _probe(files: Sequence[InputFile], stage: Staging) -> Copy:
    """Whether the output can share the source's blocks: tried, since no name of a file system tells."""
    large = next((file for file in files if file.stamp.size >= 1 << 16), None)
    if large is None:
        return Copy.WINDOW
    file = stage.file(_PROBE)
    try:
        shares = file.clone_from(large.fd, 0, 0, 4096)
    finally:
        file.close()
    stage.remove(_PROBE)
    return Copy.REFLINK if shares else Copy.WINDOW


def _folder(plan: Plan, stage: Staging) -> Callable[[Inputs, int, Array], InputFile]:
    def compute(inputs: Inputs, number: int, buffer: Array) -> InputFile:
        from mapcc.runtime.folds import write_fold

        name = f".fold-{number}"
        file = stage.file(name, plan.folds[number].nbytes)
        try:
            write_fold(plan.folds[number], inputs, file, buffer)
        finally:
            file.close()
        made = InputFile(stage.folder / name)
        stage.remove(name)  # it stays until it is closed
        return made

    return compute


def _finish(plan: Plan, key: str, stage: Staging) -> None:
    """The index and the record come last, so that what they name is there."""
    entries = [stage.finished[file.name] for file in plan.files]
    texts = {RECORD: record_bytes(plan, key, entries)}
    if plan.index is not None:
        texts[plan.index.name] = plan.index.content
    for name, content in texts.items():
        file = stage.file(name)
        try:
            file.write(content, 0)
            if stage.durable:
                file.sync()
            stage.seal(name, file.fd)
        finally:
            file.close()


def _remove_journal(place: Path) -> None:
    """Of an attempt that died between the rename and its end; not of one that is at work elsewhere."""
    path = place.with_name(place.name + SUFFIX)
    if os.path.lexists(path):
        journal = open_journal(path, "", durable=False)
        try:
            journal.unlink()
        finally:
            journal.close()
