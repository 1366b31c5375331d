"""Both key sets of every component as files, under the names that FastVideo's reviewers look for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mapcc.port.components import source_keys, target_keys
from mapcc.port.evidence import Evidence
from mapcc.port.files import write_text
from mapcc.port.model import Port
from mapcc.port.state import State
from mapcc.tensors.dump import dump_keys


def dump_port(port: Port) -> Iterator[tuple[Path, int]]:
    """Each file that is written, and how many tensors it has."""
    state = State(port)
    for component in port.components:
        official = source_keys(port, component)
        path = port.dumps / f"{component.name}_official_keys.json"
        write_text(path, dump_keys(official))
        yield path, len(official.tensors)
        ported = target_keys(port, component)
        if ported is not None:
            path = port.dumps / f"{component.name}_{port.target_word}_keys.json"
            write_text(path, dump_keys(ported))
            yield path, len(ported.tensors)
        kinds = (f"{kind} {component.name}" for kind in ("settings", "names"))
        passed = ported is not None
        state.record(Evidence("keys", component.name, passed, {}, state.all_of(*kinds)))
