"""Sets of files that are one model together: told by their names, so that a part is not taken for the whole.

Two kinds. *Shards* hold different tensors, and a folder of them is one key set. *Ranks* hold a piece each of
the same tensors, as tensor-parallel training writes them: nothing but their mapping says how to join them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import listing
from mapcc.tensors.spec import Manifest

_OF = re.compile(r"^(.*?)(?<![0-9])([0-9]{1,6})([-_]of[-_])([0-9]{1,6})(?![0-9])(.*)$", re.DOTALL)
_RANK = re.compile(
    r"(?<![a-z0-9])"
    r"((?:(?:mp|tp|pp|ep|dp|cp|tensor|pipeline|model|expert|zero_pp)[-_.]?)?rank[-_]?|[tp]p[-_]?|consolidated\."
    r"|model(?=[0-9]+-mp[0-9]))"  # of DeepSeek's own code: model0-mp8
    r"([0-9]+(?:_[0-9]+)?)(?![a-z0-9])",
    re.IGNORECASE,
)
# `rank_32` is an adapter's rank as well; of these words nobody else makes use.
_CERTAIN = re.compile(
    r"(?:mp|tp|pp|ep|tensor|pipeline|zero_pp)[-_.]?rank[-_]?$|consolidated\.$", re.IGNORECASE
)
_WORLD = re.compile(r"(?:world[-_]size[-_]|(?<=[0-9])-mp)([0-9]+)", re.IGNORECASE)
_ZERO = re.compile(r"zero_pp_rank_[0-9]+_mp_rank_[0-9]+_optim_states\.pt$")
_LAYER = re.compile(r"^layer_[0-9]+-model_[0-9]+-model_states\.pt$")
_NUMBERED = re.compile(r"^(.*?)[-_.]?([0-9]{1,3})(\.[a-z]+)$")

_JOIN = (
    "mapcc does not join ranks yet: join them with the tools of the framework that wrote them, and give what "
    "comes out"
)
_ALONE = "for this part alone, give it under a name of its own"


@dataclass(frozen=True, slots=True)
class _Shard:
    """A name that says ``3 of 5``."""

    key: tuple[str, str, int, str]
    number: int
    width: int

    @property
    def of(self) -> int:
        return self.key[2]

    def named(self, number: int) -> str:
        before, between, of, behind = self.key
        return f"{before}{number:0{self.width}}{between}{of:0{self.width}}{behind}"


def _shard(name: str) -> _Shard | None:
    found = _OF.match(name)
    if found is None:
        return None
    before, number, between, of, behind = found.groups()
    if int(of) < 1 or int(number) > int(of):
        return None
    return _Shard((before, between, int(of), behind), int(number), len(number))


def part_of_set(key_set: Manifest) -> Diagnostic | None:
    """MC418 if the files of a key set are only a part of the files that belong together, told by their names.

    An index counts too: one that names one of two files is the index of half a model.
    """
    where, files = key_set.where, key_set.files
    if not files:
        return None
    return missing_shards(where, files) or _one_rank(where, files) or _gap(where, files)


# --- shards


def missing_shards(where: str, files: Sequence[Path]) -> Diagnostic | None:
    """MC418 if files are some of a set whose names say how many there are."""
    sets: dict[tuple[object, ...], dict[int, _Shard]] = {}
    for path in files:
        if (shard := _shard(path.name)) is not None:
            sets.setdefault((path.parent, *shard.key), {})[shard.number] = shard
    for found in sets.values():
        some = next(iter(found.values()))
        absent = [some.named(number) for number in _absent(found, some.of)]
        if absent:
            return _half(where, files[0].parent, some, len(found), absent)
    return None


def _absent(found: Iterable[int], of: int) -> list[int]:
    """The numbers that are not there: counted from 1, or from 0 where one is 0."""
    there = set(found)
    first = 0 if 0 in there and of not in there else 1
    return [number for number in range(first, first + of) if number not in there]


def _half(where: str, folder: Path, some: _Shard, count: int, absent: list[str]) -> Diagnostic:
    beside = [name for name in absent if (folder / name).exists()]
    gone = [name for name in absent if name not in beside]
    what = f"{count} of {some.of} files of a model" if count > 1 else f"one of {some.of} files of a model"
    notes = []
    if gone:
        notes.append(f"not there: {', '.join(fold(gone, 8))}")
    if beside:
        notes.append(f"beside it: {', '.join(fold(beside, 8))}")
    help = f"get the files that are not there; {_ALONE}" if gone else f"give all of them: {folder}; {_ALONE}"
    return Diagnostic("MC418", f"`{where}` is {what}", notes=tuple(notes), help=help)


def complete_set(names: Iterable[str]) -> list[str]:
    """The files of the one set of shards among these of which none is absent; nothing if there is none.

    >>> complete_set(["a-00001-of-00002.bin", "a-00002-of-00002.bin", "training_args.bin"])
    ['a-00001-of-00002.bin', 'a-00002-of-00002.bin']
    """
    sets: dict[tuple[str, str, int, str], dict[int, str]] = {}
    for name in names:
        shard = _shard(name)
        if shard is not None and _RANK.search(name) is None:
            sets.setdefault(shard.key, {})[shard.number] = name
    whole = [found for key, found in sets.items() if not _absent(found, key[2])]
    return [whole[0][number] for number in sorted(whole[0])] if len(whole) == 1 else []


# --- what trainers write


def of_trainer(folder: Path, names: Iterable[str]) -> Diagnostic | None:
    """MC418 for files of a distributed checkpoint that only its framework joins, with the command for it."""
    found = [name for name in names if name.endswith(".distcp") or _ZERO.search(name)]
    if not found:
        return None
    if found[0].endswith(".distcp"):
        kind = "a distributed checkpoint of torch (DCP)"
        program, place = "torch.distributed.checkpoint.format_utils dcp_to_torch", folder
        out = place.with_name(f"{place.name or 'weights'}.pt")
    else:
        kind = "a ZeRO checkpoint of DeepSpeed, its weights flattened and cut over ranks"
        program, place = "deepspeed.utils.zero_to_fp32", folder.parent
        out = place / "weights"
    words = ("python", "-m", *program.split(), str(place), str(out))
    return Diagnostic(
        "MC418",
        f"`{folder}` holds {kind}",
        notes=(f"files: {', '.join(fold(found, 8))}", "each holds a piece of the tensors"),
        help=f"join them first: {shlex.join(words)}; and give what it writes",
    )


# --- ranks


def ranks_among(names: Iterable[str]) -> list[str]:
    """The names that are those of several ranks of one model; nothing if there are none.

    >>> ranks_among(["consolidated.00.pth", "consolidated.01.pth", "params.json"])
    ['consolidated.00.pth', 'consolidated.01.pth']
    >>> ranks_among(["lora_rank_32.safetensors", "lora_rank_64.safetensors"])
    []
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        if _LAYER.match(name):
            alike.setdefault("layer", []).append(name)
        elif _RANK.search(name) is not None:
            alike.setdefault(_RANK.sub(r"\g<1>#", name), []).append(name)
    sets = [found for found in alike.values() if len(found) > 1 and any(map(_is_first, found))]
    return max(sets, key=len, default=[])


def _is_first(name: str) -> bool:
    """Whether a name is that of rank 0; no adapter has that rank."""
    numbers = [number for _, text in _RANK.findall(name) for number in text.split("_")]
    return all(int(number) == 0 for number in numbers) or _LAYER.match(name) is not None


def ranks_together(where: str | Path, names: Sequence[str], kind: str = "files") -> Diagnostic:
    """MC418 for several ranks where one key set is wanted."""
    return Diagnostic(
        "MC418",
        f"`{where}` holds {len(names)} ranks of one model",
        notes=(f"{kind}: {', '.join(fold(names, 8))}", "each holds a piece of the same tensors"),
        help=_JOIN,
    )


def _one_rank(where: str, files: Sequence[Path]) -> Diagnostic | None:
    for path in (files[0], files[0].absolute().parent):
        name = path.name
        found = _RANK.search(name)
        if found is None and not _LAYER.match(name):
            continue
        siblings = _ranks_beside(path)
        if {each.name for each in files}.issuperset(siblings) and siblings:
            return None
        world = _WORLD.search(name)
        of = max(len(siblings), int(world[1]) if world else 0, 1)
        is_later = found is not None and _CERTAIN.search(found[1]) is not None and not _is_first(name)
        if of > 1 or is_later or found is None:
            return _rank(where, name, siblings, of)
    return None


def _ranks_beside(path: Path) -> list[str]:
    try:
        names = listing(path.parent) or []
    except MappingError:  # a folder that may be entered and not listed: only the name itself tells then
        return []
    skeleton = _RANK.sub(r"\g<1>#", path.name)
    ranks = ranks_among(
        [name for name in names if _RANK.sub(r"\g<1>#", name) == skeleton or _LAYER.match(name)]
    )
    return ranks if path.name in ranks else []


def _rank(where: str, name: str, siblings: list[str], of: int) -> Diagnostic:
    others = [sibling for sibling in siblings if sibling != name]
    several = f"one of {of} ranks" if of > 1 else "one rank of several"
    notes = ["a rank holds a piece of each tensor, and some tensors whole"]
    if others:
        notes.append(f"the others: {', '.join(fold(others, 8))}")
    return Diagnostic(
        "MC418", f"`{where}` is {several} of a model", notes=tuple(notes), help=f"{_JOIN}; {_ALONE}"
    )


# --- numbers without a count


def _gap(where: str, files: Sequence[Path]) -> Diagnostic | None:
    """``model-1`` and ``model-3`` in a folder that is read as a whole: where is 2?"""
    sets: dict[tuple[str, str], dict[int, str]] = {}
    for path in files if len(files) > 1 else ():
        found = _NUMBERED.match(path.name)
        if found is not None and _shard(path.name) is None:
            sets.setdefault((found[1], found[3]), {})[int(found[2])] = path.name
    for (before, behind), numbers in sets.items():
        low, high = min(numbers), max(numbers)
        absent = [number for number in range(low, high) if number not in numbers]
        if len(numbers) > 1 and low <= 1 and absent and len(absent) < len(numbers):
            named = ", ".join(map(str, absent))
            notes = (f"there are {', '.join(fold(numbers.values(), 8))}",)
            return Diagnostic(
                "MC418",
                f"`{where}` has no number {named} of its files `{before}`...`{behind}`",
                notes=notes,
                help=f"get the file that is not there, or name the ones that are meant; {_ALONE}",
            )
    return None
