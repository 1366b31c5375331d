"""What a program imports: ``check``, ``convert``, ``emit_config``, ``invert``, ``keys``, ``show``.

Bad input raises :class:`mapcc.MappingError` with its diagnostics, except in :func:`check`, whose
result they are.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.expr import Unevaluable
from mapcc.ir.printer import print_mapping
from mapcc.passes.check import Setting, bind
from mapcc.passes.describe import Shown, describe_sources, describe_targets
from mapcc.passes.verdict import Verdict, verdicts
from mapcc.resources import library_mapping
from mapcc.syntax.load import Loader, parse_source
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest
from mapcc.text import Source

if TYPE_CHECKING:
    from mapcc.passes.invert import Inverted
    from mapcc.plan import Plan
    from mapcc.runtime import Options
    from mapcc.runtime.loading import Module, Tensor

KeySet = str | Path | Manifest
MappingLike = str | Path | rules.Mapping
Progress = Callable[[int, int], None]

_MOST_OF_A_PLAN = 1 << 30  # bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of :func:`check`.

    Attributes:
        diagnostics: everything that was found, errors and warnings.
        bound: the mapping held against its key sets; only complete if :attr:`ok`.
    """

    diagnostics: tuple[Diagnostic, ...]
    bound: BoundMapping | None

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


@dataclass(slots=True)
class _Opened:
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
    _raise_if_any(found)
    return mapping


def load_mapping(path: str | Path) -> rules.Mapping:
    """A mapping from its file, or a shipped one by its name (``bert/e2e_minilm_to_torch``).

    Raises:
        MappingError: it cannot be read, or has errors.
    """
    found = Diagnostics()
    mapping = Loader(found).load(_file(path))
    _raise_if_any(found)
    assert mapping is not None
    return mapping


def _open(mapping: MappingLike, found: Diagnostics) -> _Opened:
    loader = Loader(found)
    if isinstance(mapping, rules.Mapping):
        name = mapping.source.name if mapping.source else "mapping.mapcc"
        return _Opened(mapping, Path(name), loader, found)
    before, path = len(found), _file(mapping)
    loaded = loader.load(path)
    return _Opened(loaded if len(found) == before else None, path, loader, found)


def _file(mapping: str | Path) -> Path:
    """A file that is there goes before a mapping of the library."""
    path = Path(mapping)
    return path if path.exists() else library_mapping(path.as_posix()) or path


def _raise_if_any(found: Diagnostics) -> None:
    if found.errors:
        raise MappingError(found)


def keys(source: KeySet, *, config: str | Path | None = None, select: str | None = None) -> Manifest:
    """The names, types and shapes of a checkpoint or model; only headers are read.

    Args:
        source: a ``.safetensors`` file, an archive of ``torch.save``, of TorchScript or of
            ``numpy.savez``, a directory, an ``index.json``, a keys file, or ``py:module:callable``.
        config: its ``config.json``, where it does not lie beside it.
        select: of an archive of torch, the dictionary that is meant (``state_dict``, ``model.ema``).
    """
    return source if isinstance(source, Manifest) else open_keyset(source, config=config, select=select)


@contextmanager
def _collector_off() -> Iterator[None]:
    """A hundred thousand small tuples make the garbage collector a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: str | None = None,
) -> Checked:
    """Hold a mapping against its key sets, before any weight is read.

    Args:
        mapping: a file, or a parsed mapping.
        source: the key set that is converted (see :func:`keys`).
        target: the key set that is wanted; without it only the source's side is checked.
        settings: values for the mapping's lets (``--set``).
        select: which dictionary of the source is meant (see :func:`keys`).
    """
    with _collector_off():
        opened = _open(mapping, Diagnostics())
    return _hold(opened, source, target, settings, source_config, target_config, select)


def _hold(
    opened: _Opened,
    source: KeySet,
    target: KeySet | None,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: str | None = None,
) -> Checked:
    found = opened.found
    with _collector_off():
        source_keys = _key_set(source, source_config, found, select)
        target_keys = None if target is None else _key_set(target, target_config, found)
        if opened.mapping is None or source_keys is None or (target is not None and target_keys is None):
            return Checked(tuple(found), None)
        try:
            bound = bind(
                opened.mapping, opened.path, source_keys, target_keys, settings or {}, found, opened.loader
            )
        except MappingError as error:
            found.extend(error.diagnostics)
            return Checked(tuple(found), None)
        except Unevaluable as error:
            found.add(Diagnostic("MC108", str(error), error.span))
            return Checked(tuple(found), None)
    return Checked(tuple(found), bound)


def _key_set(
    source: KeySet, config: str | Path | None, found: Diagnostics, select: str | None = None
) -> Manifest | None:
    try:
        return keys(source, config=config, select=select)
    except MappingError as error:
        found.extend(error.diagnostics)
        return None


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
    from mapcc.ir.yaml_printer import print_yaml

    return print_yaml(mapping) if to == "yaml" else print_mapping(mapping)


def make_plan(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    max_shard_size: int = 5_000_000_000,
    prefix: str = "model",
    hash_source: bool = False,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: str | None = None,
) -> Plan:
    """What :func:`convert` will do, from headers alone: exact files, ranges and moves, as data.

    Args:
        max_shard_size: bytes of tensors in one file.
        prefix: of the file names: ``model`` or ``diffusion_pytorch_model``.
        hash_source: read the whole source once more, for the SHA-256 of its files in the record.

    Raises:
        MappingError: the mapping does not check clean, or the source has no weights.
    """
    from mapcc.origin import origin
    from mapcc.plan import make_plan as planned

    with _collector_off():
        opened = _open(mapping, Diagnostics())
        checked = _hold(opened, source, target, settings, source_config, target_config, select)
        bound = bound_mapping(checked)
        asked = {"max_shard_size": max_shard_size, "prefix": prefix, "select": select}
        asked |= {"settings": dict(settings)} if settings else {}
        made = planned(bound, max_shard_size=max_shard_size, prefix=prefix)
        return replace(
            made, origin=origin(opened.loader, opened.path, bound.source, asked, hash_source=hash_source)
        )


def convert(
    mapping: MappingLike,
    source: KeySet,
    out: str | Path,
    target: KeySet | None = None,
    *,
    progress: Progress | None = None,
    running: Options | None = None,
    **options: object,
) -> Path:
    """Convert a checkpoint; ``out`` is absent or complete afterwards.

    An attempt that was interrupted goes on where it stopped. An output that is there already, made
    from the same plan, is left as it is.

    Args:
        out: a directory that does not exist yet, or is empty.
        progress: called with bytes done and bytes in all.
        running: memory, threads, and how durable the output is (:class:`mapcc.Options`).
        options: those of :func:`make_plan`.

    Raises:
        MappingError: the mapping does not check clean, or the files cannot be read or written.
    """
    carry_out(make_plan(mapping, source, target, **options), out, progress=progress, running=running)  # type: ignore[arg-type]
    return Path(out)


def carry_out(
    plan: Plan,
    out: str | Path,
    *,
    progress: Progress | None = None,
    running: Options | None = None,
) -> bool:
    """Do what a plan says. Whether something was written: not if the output was there already."""
    from mapcc.runtime import execute

    return execute(plan, Path(out), progress, running)


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan to a file, for :func:`load_plan`, here or on another machine."""
    from mapcc.plan.document import dump_plan

    try:
        Path(path).write_text(dump_plan(plan), encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}")]) from None


def load_plan(path: str | Path) -> Plan:
    """The plan of a file.

    Raises:
        MappingError: MC001 if it cannot be read, MC003 if it is no plan, or was changed.
    """
    from mapcc.plan.document import PlanFault
    from mapcc.plan.document import load_plan as parsed
    from mapcc.tensors.disk import read_all

    with _collector_off():
        raw = read_all(Path(path), _MOST_OF_A_PLAN)
        try:
            if raw is None:
                raise PlanFault(f"it has more than {_MOST_OF_A_PLAN:,} bytes")
            return parsed(raw.decode())
        except (PlanFault, UnicodeDecodeError) as error:
            help = "make it again with `mapcc plan`"
            raise MappingError([Diagnostic("MC003", f"`{path}`: {error}", help=help)]) from None


def verify_output(
    out: str | Path,
    source: KeySet | None = None,
    *,
    samples: int = 64,
    seed: int = 0,
    source_config: str | Path | None = None,
    select: str | None = None,
    progress: Progress | None = None,
) -> tuple[Diagnostic, ...]:
    """Whether an output of :func:`convert` is still what was written, and what its mapping says.

    Every byte is held against the hashes of its manifest. Given the source, elements of every tensor
    are computed a second time, from the mapping in the manifest, by other code than converts.

    Args:
        samples: how many elements of a tensor, beside those where its pieces meet.
        seed: of the chance by which elements are chosen.
        progress: called with bytes hashed and bytes in all.

    Returns:
        MC504 for a file that is not as it was written, MC503 for values that are not what the mapping
        says; nothing if all is well.

    Raises:
        MappingError: MC001 or MC003 if there is no manifest, or it is not one.
    """
    from mapcc.verify.output import select_of, verify

    folder = Path(out)
    manifest = None
    if source is not None:
        manifest = keys(source, config=source_config, select=select or select_of(folder))
    return verify(folder, manifest, samples=samples, seed=seed, progress=progress)


def load(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    device: str = "cpu",
    into: Module | None = None,
    running: Options | None = None,
    **options: object,
) -> Iterator[tuple[str, Tensor]]:
    """The mapped tensors one at a time, without writing a file.

    The mapping is held against the key sets, and the module checked, before the first tensor.

    Args:
        target: the wanted key set; with ``into``, the module itself is one.
        device: where the tensors are put.
        into: a module, possibly on the meta device, whose parameters and persistent buffers these are
            to be, strictly: names, shapes and types. Each becomes the module's as it is yielded.
        options: those of :func:`make_plan`.

    Raises:
        MappingError: the mapping does not check clean, or a file cannot be read; MC401, MC407, MC408
            or MC409 where the module wants other tensors.
    """
    from mapcc.runtime.loading import loaded

    return loaded(make_plan(mapping, source, target, **options), device, into, running)  # type: ignore[arg-type]


def emit_config(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    format: str = "fastvideo",
    **options: object,
) -> str:
    """A framework's own config that does what the mapping does, replayed over the key set first.

    Raises:
        MappingError: a rule cannot be said there (``MC601``, one for each rule), or the mapping
            does not check clean.
    """
    from mapcc.emit import EMITTERS

    if format not in EMITTERS:
        known = ", ".join(EMITTERS)
        raise MappingError([Diagnostic("MC007", f"no format {format!r}", help=f"there is {known}")])
    checked = check(mapping, source, target, **options)  # type: ignore[arg-type]
    emitted = EMITTERS[format](bound_mapping(checked))
    if emitted.diagnostics:
        raise MappingError(emitted.diagnostics)
    return emitted.text


def emit_script(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    max_shard_size: int = 5_000_000_000,
    prefix: str = "model",
    **options: object,
) -> str:
    """A standalone script that writes the shards that :func:`convert` would write, byte for byte.

    Its tables were written out again and held against the plan before it was given.

    Args:
        source: the checkpoint itself: the script is for this one, and refuses what differs from it.

    Raises:
        MappingError: a script cannot do it (``MC601``), the mapping does not check clean, or the
            source has no weights.
    """
    from mapcc.emit.script import emit_script as emitted
    from mapcc.plan import make_plan as planned

    bound = bound_mapping(check(mapping, source, target, **options))  # type: ignore[arg-type]
    return emitted(bound, planned(bound, max_shard_size=max_shard_size, prefix=prefix))


def invert(
    mapping: MappingLike,
    source: KeySet | None = None,
    target: KeySet | None = None,
    *,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: str | None = None,
) -> Inverted:
    """The mapping from target to source, as a mapping.

    With both key sets it is proven: bound backwards, its moves are the original's, reversed.

    Raises:
        MappingError: an inverse cannot be written (``MC701``), with the rules at fault.
    """
    from mapcc.passes.invert import invert_bound, invert_text

    found = Diagnostics()
    opened = _open(mapping, found)
    _raise_if_any(found)
    assert opened.mapping is not None
    if source is None or target is None:
        return invert_text(opened.mapping, opened.path, opened.loader)
    checked = _hold(opened, source, target, settings, source_config, target_config, select)
    return invert_bound(opened.mapping, opened.path, bound_mapping(checked), opened.loader, settings)
