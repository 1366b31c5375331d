"""One door to every source of names: files, folders, indexes, keys files, Python factories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.compact import is_compact, read_compact
from mapcc.tensors.disk import listing, reading
from mapcc.tensors.documents import ConfigFile, Document, read_document
from mapcc.tensors.factory import PREFIX, read_factory
from mapcc.tensors.folder import folder_files
from mapcc.tensors.foreign import PICKLED, foreign, foreign_kind, is_legacy, sniff
from mapcc.tensors.index import open_index
from mapcc.tensors.keysfile import read_keys
from mapcc.tensors.parts import of_trainer, ranks_among, ranks_together
from mapcc.tensors.selection import Select, as_written, select_names, selects
from mapcc.tensors.shards import Shards, leads_outside, read_shards
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.tensors.strict_json import collector_off
from mapcc.tensors.variants import SUFFIX, is_index
from mapcc.tensors.weights import is_archive, not_selectable

_READS = (
    "mapcc reads .safetensors files, archives of torch.save and TorchScript (.pt, .pth, .bin, .ckpt), .npz, "
    "a folder or an index.json of these, keys files (.json), and py:module:function"
)
_CONFIG = "config.json"


def open_keyset(
    src: str | Path,
    *,
    config: str | Path | None = None,
    links_anywhere: bool = False,
    select: Select = None,
) -> Manifest:
    """The names, types and shapes of a source, and where its bytes lie. Only headers are read.

    Args:
        src: a ``.safetensors`` file, an archive of ``torch.save``, of TorchScript or of
            ``numpy.savez``; a folder (its index if it has just one, else all its
            ``.safetensors``, else its one archive); an ``.index.json``; a keys file;
            ``py:module:function`` or ``py:path/to/file.py:function``.
        config: a config to take instead of the ``config.json`` beside the source (beside a
            keys file ``NAME.json``, a ``NAME.config.json`` comes first).
        links_anywhere: whether files that are found, not named, may be links to outside
            of the checkpoint's folder.
        select: for checkpoints of torch, the dictionary that is meant, as a dotted path
            (``state_dict``, ``model.ema``); ``.`` for the top. For other sources, how the names begin
            that are meant, up to a dot. Several: all of them, each with its path in front of
            its names. For a compact keys file, the size.

    Raises:
        MappingError: with all that is wrong. MC001: not there, or not to be read. MC002:
            a malformed file of weights. MC003: malformed JSON, a name in two files, an
            index that does not tell the truth. MC004: a factory that fails. MC006: a file
            or a folder of another kind, or one that can be meant in several ways. MC007: a
            ``select`` that leads nowhere. MC418: a folder of several ranks.
    """
    select = as_written(select)
    given = None if config is None else ConfigFile(Path(config))
    if given is not None:
        given.read()  # what was named is wanted: its faults are told now
    if isinstance(src, str) and src.startswith(PREFIX):
        return Manifest(_selected(src, read_factory(src), select), (), src, given, {})
    path, select = _with_size(Path(src), select)
    with collector_off():
        if (entries := listing(path)) is not None:
            return _open_folder(path, entries, given, links_anywhere, select)
        return _open_file(path, given, links_anywhere, select)


def _selected(where: object, tensors: dict[str, TensorSpec], select: Select) -> dict[str, TensorSpec]:
    return tensors if select is None else select_names(str(where), tensors, selects(select))


def _with_size(path: Path, select: Select) -> tuple[Path, Select]:
    """``keys.json#14b`` is ``keys.json`` with ``select`` 14b, if no file has that name."""
    name, hash, size = path.name.rpartition("#")
    if select is None and hash and name.endswith(".json") and not path.exists():
        return path.with_name(name), size
    return path, select


def _open_file(path: Path, config: ConfigFile | None, anywhere: bool, select: Select) -> Manifest:
    with reading(path) as (fd, _):
        start = sniff(fd)
    if (told := of_trainer(path.parent, [path.name])) is not None:
        raise MappingError([told])
    kind = None if is_archive(start) else foreign_kind(start)
    if kind is not None:
        raise MappingError([foreign(path, kind)])
    if is_index(path.name):
        return _open_index(path, config, anywhere, select)
    if path.suffix == ".json" and not is_archive(start) and not is_legacy(start):
        tensors = _listed(read_document(path), select)
        places = (path.with_suffix(".config.json"), path.parent / _CONFIG)
        return Manifest(tensors, (), str(path), _config(config, anywhere, *places), {})
    # By content, whatever the ending: the blobs of the Hub's cache have none.
    if is_archive(start) or is_legacy(start) or start[8:9] == b"{" or path.suffix in (SUFFIX, *PICKLED):
        shards = read_shards([path], select)
        return _manifest(path, (path,), shards, select, _config(config, anywhere, path.parent / _CONFIG))
    raise MappingError([Diagnostic("MC006", f"`{path}` is of no kind that mapcc knows", notes=(_READS,))])


def _listed(document: Document, select: Select) -> dict[str, TensorSpec]:
    """The tensors of a keys file, or of one size in a compact one."""
    if not is_compact(document):
        return _selected(document.path, read_keys(document), select)
    if select is not None and not isinstance(select, str):
        raise MappingError([not_selectable(document.path, select)])
    return read_compact(document, select)


def _open_index(path: Path, config: ConfigFile | None, anywhere: bool, select: Select) -> Manifest:
    paths, shards = open_index(read_document(path, "numbers"), anywhere, select)
    return _manifest(path, paths, shards, select, _config(config, anywhere, path.parent / _CONFIG))


def _open_folder(
    path: Path, entries: list[str], config: ConfigFile | None, anywhere: bool, select: Select
) -> Manifest:
    used = folder_files(path, entries)
    outside = [fault for name in used if not anywhere and (fault := leads_outside(path / name, path))]
    if outside:
        raise MappingError(outside)
    if is_index(used[0]):
        manifest = _open_index(path / used[0], config, anywhere, select)
        return replace(manifest, where=str(path))
    paths = tuple(path / name for name in used)
    shards = read_shards(paths, select)
    if shards.twice:
        ranks = ranks_among(used)
        raise MappingError([ranks_together(path, ranks) if ranks else _twice(path, paths, shards)])
    return _manifest(path, paths, shards, select, _config(config, anywhere, path / _CONFIG))


def _manifest(
    where: Path, files: tuple[Path, ...], shards: Shards, select: Select, config: ConfigFile | None
) -> Manifest:
    return Manifest(
        shards.tensors if shards.is_chosen else _selected(where, shards.tensors, select),
        files,
        str(where),
        config,
        shards.metadata,
        shards.stamps,
        shards.skipped,
        shards.differing,
    )


def _config(given: ConfigFile | None, anywhere: bool, *places: Path) -> ConfigFile | None:
    if given is not None:
        return given
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        return None
    outside = None if anywhere else leads_outside(place, place.parent)
    if outside is not None:
        raise MappingError([outside])
    return ConfigFile(place)


def _twice(path: Path, paths: tuple[Path, ...], shards: Shards) -> Diagnostic:
    name, second = next(iter(shards.twice.items()))
    first = shards.tensors[name].file or 0
    return Diagnostic(
        "MC003",
        f"`{path}` has several files with tensors of the same name ({len(shards.twice)} of them)",
        notes=(f"`{name}` is in `{paths[first].name}` and in `{paths[second].name}`",),
        help="name the file, or the .safetensors.index.json, that you mean",
        names=tuple(fold(shards.twice)),
    )
