"""Which files of a folder are its checkpoint."""

from __future__ import annotations

import shlex
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.foreign_folders import foreign_folder
from mapcc.tensors.parts import complete_set, missing_shards, of_trainer, ranks_among, ranks_together
from mapcc.tensors.variants import SUFFIX, Named, named
from mapcc.tensors.weights import ARCHIVES

# A trainer leaves optimizer.pt, scheduler.pt and training_args.bin beside the weights.
_USUAL = ("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.pt", "model.pth")


def folder_files(path: Path, entries: list[str]) -> list[str]:
    """The one index of a folder, or the names of its files of weights; safetensors go before archives.

    Several archives are taken together without an index only if their names say that they are all of a
    set (``-00001-of-00002``): others may be of anything. Files of several
    precisions never are (:mod:`mapcc.tensors.variants`).

    Args:
        entries: the names in the folder ``path``.

    Raises:
        MappingError: MC006 if there is nothing, or no telling which archive or precision is meant; MC418 if
            there is a part of a set, or there are several ranks.
    """
    found = {name: word for name in entries if (word := named(name)) is not None}
    safe = {name: word for name, word in found.items() if word.suffix == SUFFIX}
    for some in (safe, found):
        indexes = [name for name, word in some.items() if word.is_index]
        files = [name for name, word in some.items() if not word.is_index and some is safe]
        if len(indexes) == 1 and not (found[indexes[0]].variant and _is_plain(files, found)):
            return indexes
        if precisions := _precisions(indexes, found) or _precisions([*indexes, *files], found):
            raise MappingError([_either(path, precisions)])
        if files:
            return files
    if (told := of_trainer(path, entries)) is not None:
        raise MappingError([told])
    archives = [name for name in entries if name.endswith(ARCHIVES)]
    usual = [name for name in archives if name in _USUAL]
    for one in (archives, usual):
        if len(one) == 1:
            return one
    if whole := complete_set(archives):
        return whole
    if (foreign := foreign_folder(path, entries)) is not None:
        raise MappingError([foreign])
    raise MappingError([_several(path, archives) if archives else _nothing(path, entries)])


def _is_plain(files: list[str], found: dict[str, Named]) -> bool:
    """Whether there is a whole model without a variant, beside the index of one."""
    return any(not found[name].variant and found[name].base == name for name in files)


def _precisions(names: list[str], found: dict[str, Named]) -> list[str]:
    """The first file of each variant of one and the same model, the plain one first."""
    first: dict[str, dict[str, str]] = {}
    for name in names:
        first.setdefault(found[name].base.replace(".index.json", ""), {}).setdefault(
            found[name].variant, name
        )
    several = next((variants for variants in first.values() if len(variants) > 1), {})
    return [several[variant] for variant in sorted(several)]


def _either(path: Path, names: list[str]) -> Diagnostic:
    return Diagnostic(
        "MC006",
        f"`{path}` holds the same weights {len(names)} times, in other precisions",
        notes=(f"of each, the file to name: {', '.join(fold(names, 8))}",),
        help=f"name the one that is meant: {shlex.quote(str(path / names[0]))}",
    )


def _several(path: Path, archives: list[str]) -> Diagnostic:
    if ranks := ranks_among(archives):
        return ranks_together(path, ranks)
    if (part := missing_shards(str(path), [path / name for name in archives])) is not None:
        return part
    return Diagnostic(
        "MC006",
        f"`{path}` has several archives, and no index that says which of them are its checkpoint",
        notes=(f"archives: {', '.join(fold(archives, 8))}",),
        help=f"name the file that is meant: {path / archives[0]}",
    )


def _nothing(path: Path, entries: list[str]) -> Diagnostic:
    inside = [name for name in entries[:1000] if _has_weights(path / name)]
    if ranks := ranks_among(inside):
        return ranks_together(path, ranks, "folders")
    keys = [name for name in entries if name.endswith(".json") and name != "config.json"]
    notes = [
        f"{what}: {', '.join(fold(names, 8))}"
        for what, names in (("folders in it with weights", inside), ("JSON files", keys))
        if names
    ]
    help = "name a folder or a file with .safetensors, or an archive of torch.save or numpy.savez"
    if inside:
        help = f"name one of its folders: {path / inside[0]}"
    return Diagnostic("MC006", f"`{path}` has no file of weights", notes=tuple(notes), help=help)


def _has_weights(folder: Path) -> bool:
    return any(any(folder.glob(f"*{suffix}")) for suffix in (SUFFIX, *ARCHIVES))
