"""Plans in words: what is read, moved and written, and what it takes."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.cli.progress import written_size
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.render import plural
from mapcc.plan import Plan
from mapcc.plan.memory import buffers
from mapcc.plan.model import Gathered, OutputFile, Run, Turned
from mapcc.runtime import MOST_WORKERS, Options

_KINDS = ((Run, "byte range"), (Gathered, "gathered tensor"), (Turned, "turned tensor"))


def plan_lines(plan: Plan, memory: int) -> Iterator[str]:
    """What ``mapcc plan`` prints."""
    for file in plan.files:
        size = written_size(file.size)
        yield f"{escape(file.name)}  {plural(len(file.tensors), 'tensor')}, {size}: {_parts(file)}"
    if plan.index is not None:
        yield f"{escape(plan.index.name)}  {written_size(len(plan.index.content))}"
    yield cost_line(plan, Options(memory))
    yield from left_out_lines(plan)


def _parts(file: OutputFile) -> str:
    found = []
    for kind, noun in _KINDS:
        own = [segment for segment in file.segments if isinstance(segment, kind)]
        if own:
            found.append(f"{plural(len(own), noun)} ({written_size(sum(s.end - s.begin for s in own))})")
    return ", ".join(found) or "nothing in it"


def left_out_lines(plan: Plan) -> Iterator[str]:
    """What of the source is not in the output, beside what the mapping drops; nothing, mostly."""
    source = plan.origin.get("source")
    if not isinstance(source, dict):
        return
    if count := source.get("left_out"):
        yield f"left out: {plural(count, 'source tensor')} outside of the prefix"
    for why, keys in (source.get("metadata_left_out") or {}).items():
        yield f"left out of __metadata__: {', '.join(map(escape, keys))}: {escape(why)}"


def cost_line(plan: Plan, running: Options) -> str:
    """What a conversion takes, for before it begins."""
    # As on a large machine, so that the same plan says the same everywhere.
    sizes = buffers(plan, running.workers or MOST_WORKERS, running.memory)
    sources = f"{plural(len(plan.sources), 'file')}, {written_size(plan.bytes_read)} read once"
    disk = written_size(plan.bytes_written + plan.scratch)
    return f"source: {sources}; disk: {disk}; buffers: at most {written_size(sizes.total)}"
