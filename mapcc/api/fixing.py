"""Fixes carried out: on texts, and on the files of a mapping."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapcc.api.checking import Checked, Question
from mapcc.api.proving import Answer, keeps_promise
from mapcc.diagnostics.edits import certain_fixes, compatible, edited_texts, edits_of
from mapcc.diagnostics.model import Fix
from mapcc.tensors.disk import read_all

MAX_ROUNDS = 50
MAX_BYTES = 1 << 22
ALL = 1_000_000  # tries: whoever wants to have things mended waits for the proof


@dataclass(frozen=True, slots=True)
class Mended:
    """What the certain fixes of a check make of a mapping.

    Attributes:
        checked: the check of the mended mapping: what is left.
        applied: the fixes, in their order.
        before: the texts of the files that change, by name, as they were checked.
        after: the same, as they are to be.
    """

    checked: Checked
    applied: tuple[Fix, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)


def apply_fixes(fixes: Iterable[Fix]) -> dict[str, str]:
    """The new text of each file that some fixes edit, by its name; nothing is written.

    A fix that touches what one before it edits is left out.
    """
    return edited_texts(edits_of(compatible(fixes)))


def mended(checked: Checked, *, lint: bool = False) -> Mended:
    """Carry out the fixes that leave no choice, check again, and so on until there is none; in memory.

    With ``lint`` those of the warnings of :func:`mapcc.linted` too.
    """
    if checked.question is None:
        return Mended(checked)
    question = replace(checked.question, is_linted=lint or checked.question.is_linted)
    current = question.proven(question.answer({}), ALL)
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    applied: list[Fix] = []
    for _ in range(MAX_ROUNDS):
        fixes = list(dict.fromkeys(compatible(certain_fixes(current.diagnostics))))
        if not fixes:
            break
        chosen, answer = _tried(question, current, fixes, after)
        for edit in edits_of(chosen):
            before.setdefault(edit.span.source.name, edit.span.source.text)
        after |= edited_texts(edits_of(chosen))
        applied += chosen
        current = question.proven(answer, ALL, after)
    return Mended(current, tuple(applied), before, after)


def _tried(
    question: Question, current: Checked, fixes: list[Fix], texts: Mapping[str, str]
) -> tuple[list[Fix], Checked]:
    """All of the fixes, if together they keep the promise that each of them keeps; else the first."""
    ended = [each for each in current.diagnostics if any(fix in each.fixes for fix in fixes)]
    answer = question.answer({**texts, **edited_texts(edits_of(fixes))})
    if len(fixes) == 1 or keeps_promise(_answer(current), _answer(answer), ended, edits_of(fixes)):
        return fixes, answer
    first = fixes[:1]
    return first, question.answer({**texts, **edited_texts(edits_of(first))})


def _answer(checked: Checked) -> Answer:
    return Answer(checked.diagnostics, checked.bound is not None)


def write_mended(mended: Mended) -> None:
    """Put the new texts into their files: each whole or not at all, with its line ends and its mode.

    Raises:
        MappingError: MC005: a file is not what was checked any more, or cannot be written.
    """
    contents = {name: _raw(Path(name), mended.before[name], text) for name, text in mended.after.items()}
    for name, data in contents.items():
        _replace_file(Path(name).resolve(), data)


def _raw(path: Path, before: str, after: str) -> bytes:
    """The bytes of the new text, in the form of the file as it is: its mark, its line ends."""
    from mapcc.runtime.fs import cannot_write

    raw = read_all(path, MAX_BYTES) or b""
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    text = raw.decode("utf-8-sig", "replace")
    if text.replace("\r\n", "\n").replace("\r", "\n") != before:
        raise cannot_write(path, "it has changed since it was checked")
    if "\r\n" in text and "\n" not in text.replace("\r\n", ""):
        after = after.replace("\n", "\r\n")
    return mark + after.encode("utf-8")


def _replace_file(path: Path, data: bytes) -> None:
    from mapcc.runtime.fs import NewFile, door, writing

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        mode = stat.S_IMODE(path.stat().st_mode)
    file = NewFile(part)
    try:
        try:
            file.write(data, 0)
            with writing(part):
                os.fchmod(file.fd, mode)
            file.sync()
        finally:
            file.close()
        with writing(path):
            door.rename(part, path)
    except BaseException:
        with writing(part):
            door.unlink(part)
        raise
