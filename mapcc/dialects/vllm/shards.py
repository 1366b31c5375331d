"""What vLLM's layers make of the tensors that a mapper gives them: renamed ones, and shards of one.

On one device ``QKVParallelLinear`` lays its shards ``q``, ``k``, ``v`` one behind the other along
dimension 0, and ``MergedColumnParallelLinear`` its shards 0, 1, 2, ....
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mapcc.dialects.made import Fault, Made, Operand, Outcome, renamed
from mapcc.ir.axes import Atom, Dim, Product, Rest, Sum
from mapcc.tensors.spec import Manifest, TensorSpec

Shard = str | int | tuple[int, ...]

LETTERS = ("q", "k", "v")


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor of a parameter, and the entries that acted on its name.

    Attributes:
        shards: those that it fills; none if it is the whole parameter.
        known: all shards that the table has for the parameter.
    """

    spec: TensorSpec
    shards: tuple[Shard, ...]
    fired: tuple[int, ...]
    known: tuple[Shard, ...] = ()


class _Wrong(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def gathered(parts: Mapping[str, Sequence[Part]], target: Manifest | None) -> Outcome:
    """All parameters, each from its parts in the order of the checkpoint."""
    out = Outcome()
    for name, own in parts.items():
        whole = [part for part in own if not part.shards]
        try:
            if not whole:
                out.made.append(_stacked(name, own, _rows(name, target)))
                continue
            if len(own) > 1:
                out.faults.append(
                    _fault("MC807", f"several tensors become `{name}`, and the last counts", own)
                )
            out.made.append(renamed(whole[-1].spec.name, name, whole[-1].fired))
        except _Wrong as wrong:
            # None of them is given: a reader must be told of all.
            out.faults.append(_fault(wrong.code, f"{wrong}", own))
    return out


def _fault(code: str, message: str, parts: Iterable[Part]) -> Fault:
    listed = list(parts)
    entries = tuple(dict.fromkeys(number for part in listed for number in part.fired))
    return Fault(code, message, tuple(part.spec.name for part in listed), entries)


def _rows(name: str, target: Manifest | None) -> int | None:
    spec = target.tensors.get(name) if target else None
    return spec.shape[0] if spec and spec.shape else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part, the place of the first shard that it fills, how many it does, and how often it is written."""

    part: Part
    first: int
    width: int
    times: int


def _stacked(name: str, parts: Sequence[Part], rows: int | None) -> Made:
    """The parameter as a concatenation of its shards.

    Raises:
        _Wrong: a shard is missing, or comes twice, or the pieces are none of a concatenation.
    """
    pieces = sorted((_piece(name, part) for part in parts), key=lambda piece: piece.first)
    _check(name, parts, pieces, counted=rows is None)
    for part in parts:
        if not part.spec.shape:
            raise _Wrong("MC809", f"a shard of `{name}` has no dimensions: what becomes of it is its layer's")
        if part.spec.shape[1:] != parts[0].spec.shape[1:]:
            raise _Wrong("MC809", f"the shards of `{name}` differ in more than dimension 0")
    if rows is not None:
        found = sum(piece.part.spec.shape[0] * piece.times for piece in pieces)
        if found < rows:
            raise _Wrong("MC806", f"`{name}` has {rows} rows, and its shards have {found}")
    return _made(name, pieces)


def _check(name: str, parts: Sequence[Part], pieces: Sequence[_Piece], counted: bool) -> None:
    """``counted``: without the model's shape, it has the shards that the table has entries for."""
    letters = {isinstance(shard, str) for part in parts for shard in part.shards}
    if len(letters) > 1:
        raise _Wrong("MC809", f"the shards of `{name}` are letters and numbers")
    taken: set[int] = set()
    for piece in pieces:
        for place in range(piece.first, piece.first + piece.width):
            if place in taken:
                raise _Wrong("MC807", f"two tensors become shard {_called(place, letters)} of `{name}`")
            taken.add(place)
    known = [place for part in parts for shard in part.known for place in _places(name, shard) if counted]
    count = len(LETTERS) if True in letters else max([*taken, *known]) + 1
    missing = [_called(place, letters) for place in range(count) if place not in taken]
    if missing:
        which = ", ".join(missing)
        raise _Wrong(
            "MC806", f"shard {which} of `{name}` has no tensor: it stays as it was, and nothing says so"
        )


def _called(place: int, letters: set[bool]) -> str:
    return LETTERS[place] if True in letters else str(place)


def _piece(name: str, part: Part) -> _Piece:
    places: list[int] = []
    for shard in part.shards:
        places += _places(name, shard)
    first = min(places)
    if places != list(range(first, first + len(places))):
        shards = ", ".join(map(str, part.shards))
        raise _Wrong("MC809", f"`{part.spec.name}` fills shards {shards} of `{name}`, which do not adjoin")
    return _Piece(part, first, len(places), len(part.shards))


def _places(name: str, shard: Shard) -> Iterator[int]:
    if isinstance(shard, tuple):
        yield from shard
    elif isinstance(shard, int):
        yield shard
    elif shard in LETTERS:
        yield LETTERS.index(shard)
    else:
        raise _Wrong("MC809", f"`{name}` has a shard {shard!r}: its place is its layer's")


def _made(name: str, pieces: Sequence[_Piece]) -> Made:
    entries = tuple(dict.fromkeys(number for piece in pieces for number in piece.part.fired))
    left: list[Operand] = []
    whole: list[Dim] = []
    sizes: list[tuple[str, int]] = []
    for k, piece in enumerate(pieces):
        left.append(Operand((piece.part.spec.name,), (Atom(f"p{k}"), Rest())))
        whole.append(Atom(f"p{k}"))
        if piece.times > 1:
            whole[-1] = Product((Atom(f"r{k}"), Atom(f"p{k}")))
            sizes.append((f"r{k}", piece.times))
    if len(pieces) == 1 and not sizes:
        return renamed(pieces[0].part.spec.name, name, entries)
    dim = Sum(tuple(whole)) if len(whole) > 1 else whole[0]
    return Made(tuple(left), (Operand((name,), (dim, Rest())),), tuple(sizes), entries)
