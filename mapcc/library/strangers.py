"""Whether a source is one of the models that a mapping is for, of whatever size; or a rank, or a part of one.

A mapping of the library knows its models' key sets. What they have in common is what a finetune has too:
the kinds of tensors (names but for numbers), how many dimensions each has, which dimensions are the same
size in all of them, and that layers are counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.library.catalog import Pair, declared_pairs
from mapcc.passes.match import Trie
from mapcc.passes.segments import variants
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import TensorSpec

Tensors = Mapping[str, TensorSpec]
Shape = tuple[int, ...]
Place = tuple[str, int]  # a kind, and one of its dimensions

# Not the number of `w1` and `fc2`: that is a name.
_NUMBER = re.compile(r"(?<![A-Za-z0-9])[0-9]+(?![A-Za-z0-9])")
_SHOWN = 4
_MOST_CUT = 64  # ranks of one model

_JOIN = "join the ranks with the tools of the framework that wrote them, and give what comes out"
_WHAT = "`mapcc identify SRC` says what it is"


@dataclass(slots=True)
class _Keys:
    """The tensors of one key set by kind: names but for numbers."""

    tensors: Tensors
    kinds: dict[str, list[str]]

    @classmethod
    def of(cls, tensors: Tensors) -> _Keys:
        kinds: dict[str, list[str]] = {}
        for name in tensors:
            kinds.setdefault(_NUMBER.sub("0", name), []).append(name)
        return cls(tensors, kinds)

    def shape(self, kind: str) -> Shape | None:
        """The shape of all tensors of a kind; None if they differ, or there are none."""
        shapes = {self.tensors[name].shape for name in self.kinds.get(kind, ())}
        return shapes.pop() if len(shapes) == 1 else None

    def ranks(self, kind: str) -> set[int]:
        return {len(self.tensors[name].shape) for name in self.kinds[kind]}


def strangers_of(
    mapping: rules.Mapping, path: Path, bound: BoundMapping, under: str = ""
) -> tuple[Diagnostic, ...]:
    """The same for a mapping of the library: one of somebody else's knows no models.

    Args:
        under: the prefix of the source beneath which the mapping is applied.
    """
    pairs, title = declared_pairs(mapping, path), "; ".join(mapping.about("source"))
    meant = f'; if it is meant: a mapping of your own with use "{path.parent.name}/{path.stem}"'
    if not under:
        found = strangers(pairs, title, bound.source.tensors, bound)
        return tuple(replace(each, help=each.help + meant) for each in found)
    beneath = {name: spec for name, spec in bound.source.tensors.items() if name.startswith(under)}
    known = open_keyset(pairs[0].source).tensors if pairs else {}
    if not any(name.startswith(under) for name in known):
        beneath = {name[len(under) + 1 :]: spec for name, spec in beneath.items()}
    return tuple(replace(each, help=each.help + meant) for each in strangers(pairs, title, beneath))


def strangers(
    pairs: Sequence[Pair], title: str, source: Tensors, bound: BoundMapping | None = None
) -> tuple[Diagnostic, ...]:
    """MC419 for a rank or a part of a model, MC417 for what is none of the models; nothing for a finetune.

    Args:
        pairs: the models of a mapping.
        title: what its source is called.
        source: the tensors that it is applied to, as the mapping names them.
        bound: the mapping on them: what it asks for, and takes.
    """
    models = [_Keys.of(open_keyset(pair.source).tensors) for pair in pairs]
    if not models or any(_is_same(model.tensors, source) for model in models):
        return ()
    keys = _Keys.of(source)
    published = _published_rank(pairs, title, models, source)
    part = published or _top_rank(models, keys) or _no_beginning(models, keys)
    if part is not None:
        return (part,)
    notes = tuple(_differences(models, keys, bound))
    if not notes:
        return ()
    nearest = max(range(len(models)), key=lambda at: len(models[at].kinds.keys() & keys.kinds.keys()))
    of = "not the model" if len(models) == 1 else f"none of the {len(models)} models"
    message = f"the source is {of} that this mapping is for"
    told = f"the nearest is {title}, {pairs[nearest].size}"
    return (Diagnostic("MC417", message, notes=(*notes, told), help=_WHAT),)


def _is_same(model: Tensors, source: Tensors) -> bool:
    return model.keys() == source.keys() and all(
        spec.shape == source[name].shape and _alike(spec, source[name]) for name, spec in model.items()
    )


def _alike(a: TensorSpec, b: TensorSpec) -> bool:
    """Whether both hold numbers with a fraction, or both do not; a silent key set contradicts nothing."""
    if a.dtype is None or b.dtype is None:
        return True
    return (a.dtype.kind == "float") == (b.dtype.kind == "float")


# --- a rank, or a part


def _published_rank(
    pairs: Sequence[Pair], title: str, models: Sequence[_Keys], source: Tensors
) -> Diagnostic | None:
    """The tensors of a published model, most of them cut into the same number of pieces."""
    for pair, model in zip(pairs, models, strict=True):
        if not source or not source.keys() <= model.tensors.keys():
            continue
        cuts = [_cut(source[name].shape, model.tensors[name].shape) for name in source]
        pieces = {cut for cut in cuts if cut > 1}
        matrices = sum(len(spec.shape) > 1 for spec in source.values())
        if 0 not in cuts and len(pieces) == 1 and 2 * sum(cut > 1 for cut in cuts) >= matrices:
            message = f"the source is one of {pieces.pop()} ranks of a model: {title}, {pair.size}"
            cut_names = [name for name, cut in zip(source, cuts, strict=True) if cut > 1]
            return Diagnostic("MC419", message, help=_JOIN, names=tuple(fold(cut_names)))
    return None


def _cut(piece: Shape, whole: Shape) -> int:
    """Into how many pieces a tensor was cut, along one dimension; 1 if it is whole, 0 if neither.

    >>> _cut((2048, 4096), (4096, 4096)), _cut((8, 8), (8, 8)), _cut((2, 4), (4, 8))
    (2, 1, 0)
    """
    if len(piece) != len(whole):
        return 0
    differing = [(a, b) for a, b in zip(piece, whole, strict=True) if a != b]
    if not differing:
        return 1
    ((a, b), *more) = differing
    return b // a if not more and a and b % a == 0 and b // a <= _MOST_CUT else 0


def _top_rank(models: Sequence[_Keys], keys: _Keys) -> Diagnostic | None:
    """Of tensors that a model has once, one is narrower than others that are as wide in every model."""
    for places in _same_sizes(models, keys):
        top = [place for place in places if not _NUMBER.search(place[0])]
        sizes = {place: _size(keys, place) for place in top}
        pieces = _pieces(sizes.values())
        if pieces:
            narrow, wide = min(top, key=sizes.__getitem__), max(top, key=sizes.__getitem__)
            message = f"the source is one of {pieces} ranks of a model"
            return Diagnostic("MC419", message, notes=(_unequal(keys, narrow, wide),), help=_JOIN)
    return None


def _no_beginning(models: Sequence[_Keys], keys: _Keys) -> Diagnostic | None:
    """Layers, or experts, that every model counts from 0, and of which the first ones are not there."""
    counted = [_counted(model.kinds) for model in models]
    for prefix, numbers in _counted(keys.kinds).items():
        known = [each[prefix] for each in counted if prefix in each]
        if len(known) < len(models) or any(len(each) != max(each) + 1 for each in known):
            continue
        absent = sorted(set(range(max(numbers) + 1)) - numbers)
        if absent:
            shown = fold(f"{prefix}{number}" for number in absent)
            message = f"the source is a part of a model, without {', '.join(shown[:_SHOWN])}"
            help = "give all files of the model: its folder, or its index"
            return Diagnostic("MC419", message, help=help, names=tuple(shown))
    return None


def _counted(kinds: Mapping[str, Iterable[str]]) -> dict[str, set[int]]:
    """The numbers behind each beginning of a name; the numbers in that beginning do not count."""
    found: dict[str, set[int]] = {}
    for names in kinds.values():
        for name in names:
            for number in _NUMBER.finditer(name):
                if len(number[0]) < 7 and (number.start() == 0 or name[number.start() - 1] in "._/"):
                    prefix = _NUMBER.sub("0", name[: number.start()])
                    found.setdefault(prefix, set()).add(int(number[0]))
    return found


# --- sizes that are the same in all models


def _same_sizes(models: Sequence[_Keys], keys: _Keys) -> Iterator[list[Place]]:
    """Dimensions that are as long as each other in every model, and not always as long: no chance that."""
    alike: dict[tuple[int, ...], list[Place]] = {}
    for kind in keys.kinds:
        shapes = [keys.shape(kind), *(model.shape(kind) for model in models)]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes) or len({len(shape) for shape in known}) != 1:
            continue
        for dim in range(len(known[0])):
            sizes = tuple(shape[dim] for shape in known[1:])
            if len(set(sizes)) > 1:
                alike.setdefault(sizes, []).append((kind, dim))
    yield from (places for places in alike.values() if len(places) > 1)


def _size(keys: _Keys, place: Place) -> int:
    kind, dim = place
    shape = keys.shape(kind)
    assert shape is not None
    return shape[dim]


def _pieces(sizes: Iterable[int]) -> int:
    """Into how many pieces the smaller of two sizes would have been cut; 0 if it was not."""
    found = sorted(set(sizes))
    if len(found) != 2 or not found[0] or found[1] % found[0]:
        return 0
    pieces = found[1] // found[0]
    return pieces if pieces <= _MOST_CUT else 0


def _unequal(keys: _Keys, narrow: Place, wide: Place) -> str:
    one, other = keys.kinds[narrow[0]][0], keys.kinds[wide[0]][0]
    sizes = f"`{one}` has {_size(keys, narrow)} where `{other}` has {_size(keys, wide)}"
    return f"{sizes}: in every model they are equal"


# --- differences


def _differences(models: Sequence[_Keys], keys: _Keys, bound: BoundMapping | None) -> Iterator[str]:
    """What no finetune would have: one line for each kind of difference."""
    common = set(models[0].kinds).intersection(*(model.kinds for model in models))
    known = {kind for model in models for kind in model.kinds}
    asked = _asked(bound)
    absent = [kind for kind in common - keys.kinds.keys() if asked(models[0].kinds[kind][0])]
    taken = [kind for kind in keys.kinds if kind not in known and _is_taken(bound, keys.kinds[kind])]
    shared = [kind for kind in keys.kinds if kind in known and _is_taken(bound, keys.kinds[kind])]
    typed = [kind for kind in shared if not all(_alike(*each) for each in _beside(models, keys, kind))]
    turned = [
        kind
        for kind in shared
        if not any(keys.ranks(kind) & model.ranks(kind) for model in models if kind in model.kinds)
    ]
    for words, kinds, having in (
        ("every model has", absent, models[0]),
        ("no model has", taken, keys),
        ("of another type in every model", typed, keys),
        ("of another number of dimensions in every model", turned, keys),
    ):
        if kinds:
            names = fold(name for kind in sorted(kinds) for name in having.kinds[kind])
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{words}: {', '.join(names[:_SHOWN])}{more}"
    for places in _same_sizes(models, keys):
        sizes = {place: _size(keys, place) for place in places}
        if _pieces(sizes.values()):
            yield _unequal(keys, min(places, key=sizes.__getitem__), max(places, key=sizes.__getitem__))


def _beside(models: Sequence[_Keys], keys: _Keys, kind: str) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    spec = keys.tensors[keys.kinds[kind][0]]
    for model in models:
        if kind in model.kinds:
            yield spec, model.tensors[model.kinds[kind][0]]


def _is_taken(bound: BoundMapping | None, names: Sequence[str]) -> bool:
    return bound is None or any(name in bound.taken for name in names)


def _asked(bound: BoundMapping | None) -> Callable[[str], bool]:
    """Whether a rule that may not match nothing asks for a name."""
    if bound is None:
        return lambda name: True
    separator = bound.program.separators[0]
    trie = Trie(separator)
    for equation in bound.program.equations:
        for unit in equation.units if not equation.optional else ():
            for pattern in unit.names:
                for variant in variants(pattern, separator):
                    trie.add(None, variant)
    return lambda name: any(True for _ in trie.match(name))
