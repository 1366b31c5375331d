"""Mappings and key sets opened, and held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.expr import Unevaluable
from mapcc.ir.rules import extended
from mapcc.passes.check import Setting, bind
from mapcc.passes.verdict import Verdict, verdicts
from mapcc.resources import library_mapping, mappings
from mapcc.syntax.load import Loader, parse_source
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.parts import part_of_set
from mapcc.tensors.selection import Select
from mapcc.tensors.spec import Manifest
from mapcc.tensors.strict_json import collector_off
from mapcc.text import Source

if TYPE_CHECKING:
    from mapcc.passes.describe import Shown

KeySet = str | Path | Manifest
MappingLike = str | Path | rules.Mapping
Progress = Callable[[int, int], None]

# Names that are looked at once more to prove fixes: of a checkpoint of a hundred thousand, few are tried.
TRIED_NAMES = 100_000
MAX_TRIES = 24

STATEMENTS = "further statements"  # what their source is called where something in them is wrong


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of :func:`check`.

    Attributes:
        diagnostics: everything that was found, errors and warnings.
        bound: the mapping held against its key sets; only complete if :attr:`ok`.
    """

    diagnostics: tuple[Diagnostic, ...]
    bound: BoundMapping | None
    question: Question | None = field(default=None, repr=False, compare=False)

    @property
    def exit_code(self) -> int:
        """0 clean (warnings aside), 1 the input is wrong, 2 mapcc could not work."""
        return max((d.exit_code for d in self.diagnostics), default=0)

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    def verdicts(self) -> dict[int, Verdict]:
        """For each equation, by its number: bijective, invertible or lossy, and why."""
        return verdicts(self.bound) if self.bound else {}


@dataclass(frozen=True, slots=True)
class Question:
    """What a check was asked, so that it can be asked once more of edited texts."""

    mapping: MappingLike
    source: Manifest
    target: Manifest | None
    settings: Mapping[str, Setting]
    statements: str
    under: str = ""
    is_linted: bool = False

    def answer(self, texts: Mapping[str, str]) -> Checked:
        """The same check, as if the files by these names had these texts."""
        with collector_off():
            opened = and_also(opened_mapping(self.mapping, Diagnostics(), texts), self.statements)
        checked = unproven(opened, self.source, self.target, self.settings, self.under)
        return _with_lint(checked) if self.is_linted and checked.ok else checked

    def proven(
        self, checked: Checked, tries: int | None = None, texts: Mapping[str, str] | None = None
    ) -> Checked:
        """The check with those of its fixes that keep their promise; ``texts`` are what was checked."""
        if not any(diagnostic.fixes for diagnostic in checked.diagnostics):
            return checked
        if not _is_as_written(self.mapping):
            return replace(checked, diagnostics=without_fixes(checked.diagnostics))
        from mapcc.api.proving import Answer, with_proven_fixes

        def ask(edited: Mapping[str, str]) -> Answer:
            again = self.answer({**(texts or {}), **edited})
            return Answer(again.diagnostics, again.bound is not None)

        names = len(self.source.tensors) + (len(self.target.tensors) if self.target else 0)
        if tries is None:
            tries = _tries(names + _size_of(checked))
        answer = Answer(checked.diagnostics, checked.bound is not None)
        return replace(checked, diagnostics=with_proven_fixes(answer, ask, tries))


def _size_of(checked: Checked) -> int:
    """How much a try works on, beside the names: the text that it reads, its rules, what it finds."""
    size = 25 * len(checked.diagnostics)
    texts = {each.span.source for each in checked.diagnostics if each.span is not None}
    if checked.bound is not None:
        program = checked.bound.program
        listed = len(program.drops) + len(program.externals) + len(program.creates)
        size += 10 * (len(program.equations) + listed)
        if program.mapping.source is not None:
            texts.add(program.mapping.source)
    return size + sum(len(source.text) for source in texts)


def _tries(size: int) -> int:
    """As many as keep the proving of fixes within a few times what one large model takes; one, or none."""
    return min(MAX_TRIES, TRIED_NAMES // (size + 1)) or int(size < 5 * TRIED_NAMES)


def _is_as_written(mapping: MappingLike) -> bool:
    """Whether a mapping is what its text says, so that an edit of the text is one of the mapping."""
    if not isinstance(mapping, rules.Mapping):
        return True
    return mapping.source is not None and parse_source(mapping.source, Diagnostics()) == mapping


@dataclass(slots=True)
class Opened:
    mapping: rules.Mapping | None
    path: Path
    loader: Loader
    found: Diagnostics = field(default_factory=Diagnostics)


def parse(text: str, name: str = "mapping.mapcc") -> rules.Mapping:
    """A mapping from its text (YAML if ``name`` ends in ``.yaml``).

    Raises:
        MappingError: it has errors.

    >>> parse("a.* -> b.*").body[0].bijective
    False
    """
    found = Diagnostics()
    mapping = parse_source(Source(name, text), found)
    raise_if_any(found)
    return mapping


def load_mapping(path: str | Path) -> rules.Mapping:
    """A mapping from its file, or a shipped one by its name (``bert/minilm_to_torch``).

    Raises:
        MappingError: it cannot be read, or has errors.
    """
    found = Diagnostics()
    mapping = Loader(found).load(mapping_file(path))
    raise_if_any(found)
    assert mapping is not None
    return mapping


def opened_mapping(
    mapping: MappingLike, found: Diagnostics, texts: Mapping[str, str] | None = None
) -> Opened:
    """A mapping read; ``texts`` stand in the place of the files by their names."""
    loader = Loader(found)
    before = len(found)
    for name, text in (texts or {}).items():
        loader.preload(Path(name), text)
    if not isinstance(mapping, rules.Mapping):
        path = mapping_file(mapping)
        loaded = loader.load(path)
    else:
        path = Path(mapping.source.name if mapping.source else "mapping.mapcc")
        loaded = loader.load(path) if texts and path.name and str(path) in texts else mapping
    return Opened(loaded if len(found) == before else None, path, loader, found)


def and_also(opened: Opened, statements: str) -> Opened:
    """The mapping with further statements, given as text; they go before its own ``dtype``."""
    if not statements or opened.mapping is None:
        return opened
    before = len(opened.found)
    more = parse_source(Source(STATEMENTS, statements), opened.found)
    whole = extended(opened.mapping, more)
    return replace(opened, mapping=whole if len(opened.found) == before else None)


def mapping_file(mapping: str | Path) -> Path:
    """A file that is there goes before a mapping of the library."""
    path = Path(mapping)
    return path if path.exists() else library_mapping(path.as_posix()) or path


def raise_if_any(found: Diagnostics) -> None:
    if found.errors:
        raise MappingError(without_fixes(found))


def keys(source: KeySet, *, config: str | Path | None = None, select: Select = None) -> Manifest:
    """The names, types and shapes of a checkpoint or model; only headers are read.

    Args:
        source: a ``.safetensors`` file, an archive of ``torch.save``, of TorchScript or of
            ``numpy.savez``, a directory, an ``index.json``, a keys file, or ``py:module:callable``.
        config: its ``config.json``, where it does not lie beside it.
        select: of a checkpoint of torch, the dictionary that is meant (``state_dict``, ``model.ema``); of
            others, how the names begin. Several: each keeps its path in front of its names.
    """
    return source if isinstance(source, Manifest) else open_keyset(source, config=config, select=select)


def check(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
    under: str = "",
    statements: str = "",
) -> Checked:
    """Hold a mapping against its key sets, before any weight is read.

    Args:
        mapping: a file, or a parsed mapping.
        source: the key set that is converted (see :func:`keys`).
        target: the key set that is wanted; without it only the source's side is checked.
        settings: values for the mapping's lets (``--set``).
        select: which dictionary of the source is meant (see :func:`keys`).
        under: a prefix, ``A`` or ``A -> B``: the mapping is held against what lies beneath it, and
            the other tensors are left out.
        statements: further ones, as text, that this use of the mapping adds to it: what is ``external``
            here, the ``dtype`` of the output.
    """
    with collector_off():
        opened = and_also(opened_mapping(mapping, Diagnostics()), statements)
        source_keys = key_set(source, source_config, opened.found, select)
        target_keys = None if target is None else key_set(target, target_config, opened.found)
    if source_keys is None or (target is not None and target_keys is None):
        return Checked(without_fixes(opened.found), None)
    question = Question(mapping, source_keys, target_keys, settings or {}, statements, under)
    checked = unproven(opened, source_keys, target_keys, settings or {}, under)
    return question.proven(replace(checked, question=question))


def without_fixes(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """For whoever does not prove them: fixes that are only proposed are not told."""
    return tuple(replace(each, fixes=()) if each.fixes else each for each in diagnostics)


def held(
    opened: Opened,
    source: KeySet,
    target: KeySet | None,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
    under: str = "",
) -> Checked:
    found = opened.found
    with collector_off():
        source_keys = key_set(source, source_config, found, select)
        target_keys = None if target is None else key_set(target, target_config, found)
    if source_keys is None or (target is not None and target_keys is None):
        return Checked(without_fixes(found), None)
    checked = unproven(opened, source_keys, target_keys, settings or {}, under)
    return replace(checked, diagnostics=without_fixes(checked.diagnostics))


def unproven(
    opened: Opened,
    source: Manifest,
    target: Manifest | None,
    settings: Mapping[str, Setting],
    under: str,
) -> Checked:
    """The check of what was opened; its fixes are proposals."""
    found = opened.found
    if opened.mapping is None:
        return Checked(tuple(found), None)
    parts = [part_of_set(keys) for keys in (source, target) if keys is not None]
    if any(parts):  # everything else that would be said is of what is not there
        found.extend(part for part in parts if part is not None)
        return Checked(tuple(found), None)
    with collector_off():
        try:
            mapping = put_under(opened, under, source, target, settings)
            if mapping is None:
                return Checked(tuple(found), None)
            bound = bind(mapping, opened.path, source, target, settings, found, opened.loader)
            if not found.errors:
                found.extend(_strangers(opened.mapping, opened.path, bound, under))
        except MappingError as error:
            found.extend(error.diagnostics)
            return Checked(tuple(found), None)
        except Unevaluable as error:
            found.add(Diagnostic("MC108", str(error), error.span))
            return Checked(tuple(found), None)
    return Checked(tuple(found), bound)


def _strangers(mapping: rules.Mapping, path: Path, bound: BoundMapping, under: str) -> Iterable[Diagnostic]:
    """What a mapping of the library says of a source that is none of its models."""
    if path.resolve().parent.parent != mappings().resolve():
        return ()
    from mapcc.library.strangers import strangers_of

    return strangers_of(mapping, path, bound, source_prefix(under))


def source_prefix(under: str) -> str:
    """The source's side of ``--under``, without a separator at its end."""
    from mapcc.passes.under import read_under

    read = read_under(under, Diagnostics()) if under else None
    return read.left if read is not None else ""


def put_under(
    opened: Opened,
    under: str,
    source: Manifest | None,
    target: Manifest | None,
    settings: Mapping[str, Setting] | None,
) -> rules.Mapping | None:
    """The mapping, for what lies beneath a prefix; None if nothing does, which is told."""
    if not under or opened.mapping is None:
        return opened.mapping
    from mapcc.passes.under import placed, read_under

    read = read_under(under, opened.found)
    if read is None:
        return None
    loader, found = opened.loader, opened.found
    return placed(opened.mapping, opened.path, read, source, target, settings or {}, found, loader)


def key_set(
    source: KeySet, config: str | Path | None, found: Diagnostics, select: Select = None
) -> Manifest | None:
    try:
        return keys(source, config=config, select=select)
    except MappingError as error:
        found.extend(error.diagnostics)
        return None


def linted(checked: Checked) -> Checked:
    """A clean check, with the warnings MC811 to MC813: what no shape and no name can tell to be wrong.

    They are switched off where they are known to be right: ``allow MC812 because "..."`` on a rule.
    """
    whole = _with_lint(checked)
    if checked.question is None:
        return replace(whole, diagnostics=without_fixes(whole.diagnostics))
    question = replace(checked.question, is_linted=True)
    return question.proven(replace(whole, question=question))


def _with_lint(checked: Checked) -> Checked:
    from mapcc.passes.lint import lint

    return replace(checked, diagnostics=(*checked.diagnostics, *lint(bound_mapping(checked))))


def bound_mapping(checked: Checked) -> BoundMapping:
    """The bound mapping of a clean check; raises :class:`MappingError` otherwise."""
    if not checked.ok or checked.bound is None:
        raise MappingError(checked.diagnostics)
    return checked.bound


def show(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    side: str = "target",
    **options: object,
) -> list[Shown]:
    """Each tensor of one side with what it comes from (``target``) or where it goes (``source``).

    Works on a mapping with errors too: what is bound is shown. Options are those of :func:`check`.

    Raises:
        MappingError: a file or the text cannot be read, so that rules are missing; or nothing is bound.
    """
    from mapcc.passes.describe import describe_sources, describe_targets

    checked = check(mapping, source, target, **options)  # type: ignore[arg-type]
    # Codes below 200 are of files and of the text.
    unread = [d for d in checked.diagnostics if d.exit_code and int(d.code[2:]) < 200]
    if unread or checked.bound is None:
        raise MappingError(unread or checked.diagnostics)
    shown = list(describe_sources(checked.bound) if side == "source" else describe_targets(checked.bound))
    if not shown and not checked.ok:
        raise MappingError(checked.diagnostics)
    return shown


def format_mapping(mapping: rules.Mapping, to: str = "text") -> str:
    """A mapping in its canonical form, as ``text`` or ``yaml``.

    >>> format_mapping(parse("a.*->b.*"))
    'a.* -> b.*\\n'
    """
    from mapcc.ir.printer import print_mapping
    from mapcc.ir.yaml_printer import print_yaml

    return print_yaml(mapping) if to == "yaml" else print_mapping(mapping)
