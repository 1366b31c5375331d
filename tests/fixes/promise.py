"""What a fix promises, held by itself: its finding goes, no other comes, the result parses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mapcc
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shape = tuple[int, ...]
Key = tuple[str, str, tuple[str, ...]]


def key_set(shapes: Mapping[str, Shape | tuple[str, Shape]]) -> Manifest:
    """Names and shapes, with types where they are not F32; there are no bytes behind them."""
    tensors = {}
    for name, entry in shapes.items():
        dtype, shape = entry if entry and isinstance(entry[0], str) else ("F32", entry)
        tensors[name] = TensorSpec(name, DTYPES[dtype], tuple(shape))  # type: ignore[arg-type]
    return Manifest(tensors, (), "key set", None, {})


@dataclass(frozen=True)
class Case:
    """A mapping's file, and what it is held against."""

    path: Path
    text: str
    source: Manifest
    target: Manifest | None

    def found(self, text: str | None = None, lint: bool = False) -> mapcc.Checked:
        """The check of this text, or of another in its place."""
        self.path.write_text(self.text if text is None else text, "utf-8")
        checked = mapcc.check(self.path, self.source, self.target)
        return mapcc.linted(checked) if lint and checked.ok else checked


def identities(diagnostics: tuple[mapcc.Diagnostic, ...]) -> Counter[Key]:
    return Counter((d.code, d.message, d.names) for d in diagnostics)


def spliced(text: str, fix: mapcc.Fix, name: str) -> str:
    """The text after a fix, by its places alone."""
    edits = sorted(fix.edits, key=lambda edit: -edit.span.start)
    assert edits
    assert len({(edit.span.start, edit.span.end) for edit in edits}) == len(edits)
    for edit in edits:
        assert edit.span.source.name == name
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return text


def broken_promises(case: Case, checked: mapcc.Checked, lint: bool = False) -> list[str]:
    """In words, each fix that does not do what it promises."""
    was = identities(checked.diagnostics)
    wrong: list[str] = []
    for diagnostic in checked.diagnostics:
        for fix in diagnostic.fixes:
            after = spliced(case.text, fix, str(case.path))
            again = case.found(after, lint)
            said = f"{diagnostic.code} {diagnostic.message}: {fix.title}\n{after}"
            if again.bound is None and checked.bound is not None:
                wrong.append(f"does not parse: {said}")
                continue
            now = identities(again.diagnostics)
            gone: Key = (diagnostic.code, diagnostic.message, diagnostic.names)
            if now[gone] >= was[gone]:
                wrong.append(f"the finding stays: {said}")
            if new := now - was:
                wrong.append(f"{sorted(new)} comes: {said}")
    case.path.write_text(case.text, "utf-8")
    return wrong
