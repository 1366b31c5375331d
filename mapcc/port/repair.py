"""What would make it right: mistakes that porters make, undone one at a time in the module at fault.

If the activation that differed agrees after exchanging ``to_q`` and ``to_k``, the rules of these two are
wrong, and nothing else is. Each guess costs a forward pass up to that activation, and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from mapcc.api import load, parse
from mapcc.diagnostics.fold import fold
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.describe import describe_targets
from mapcc.port.components import source_keys
from mapcc.port.features import axes_of
from mapcc.port.inputs import chosen
from mapcc.port.measure import tensors_in
from mapcc.port.pairs import LAYER, in_any_layer, module_of, sources_of
from mapcc.port.parity import Pair
from mapcc.port.sides import GROWTH, Compared, Sides, apart
from mapcc.port.spool import recorded
from mapcc.port.symptoms import Repair

if TYPE_CHECKING:
    from torch import Tensor

MOST_GUESSES = 400
# After one that fits: another may fit as well, and more of the model.
MORE_GUESSES = 40
_CHUNKS = (2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class _Guess:
    finding: str
    values: Mapping[str, Tensor]
    of_layers: bool = False


def find_repair(
    pair: Pair,
    bound: BoundMapping,
    sides: Sides,
    row: Compared,
    limit: float,
    within: Sequence[str],
) -> Repair | None:
    """A guess with which the activation of ``row`` is what it should be, and the model's output if possible.

    Where no guess makes the output right, something else is wrong too: then the first for the activation.

    Args:
        within: modules of the port, in whose parameters it is looked for, one after the other.
    """
    ran, called = _before(sides, row), {event.module for event in sides.ported}
    guesser = _Guesser(pair, bound, lambda module: _took_part(module, ran, called))
    first: Repair | None = None
    left = MOST_GUESSES
    for guess in (guess for module in within for guess in guesser.guesses(module)):
        if left <= 0:
            break
        left -= 1
        # With whole layers exchanged, the mapping's own counterparts are the wrong ones.
        error = 0.0 if guess.of_layers else _error_with(pair, sides, row, guess.values)
        if error is None or error > limit:
            continue
        found = Repair(guess.finding, tuple(guess.values), of_layers=guess.of_layers)
        if output_is_right(pair, sides, guess.values, limit):
            return found
        if first is None and not guess.of_layers:
            first, left = found, min(left, MORE_GUESSES)
    return first


def _before(sides: Sides, row: Compared) -> set[str]:
    """The modules that have begun before the activation: others have no part in it."""
    moment = row.event.ended if row.where == "out" else row.event.began
    return {event.module for event in sides.ported if event.began < moment}


def _took_part(module: str, ran: Collection[str], called: Collection[str]) -> bool:
    """Whether a module has begun; if it is never called, since its holder uses its weights, then that."""
    while module and module not in called:
        module = module_of(module)
    return module in ran


def output_is_right(pair: Pair, sides: Sides, values: Mapping[str, Tensor], limit: float) -> bool:
    """Whether the whole model gives what the official one gives, with these values."""
    try:
        with patched(pair, values):
            ours = tensors_in(chosen(pair.component, "ported", pair.run("ported")))
    except MappingError:
        return False
    return len(ours) == len(sides.wanted) and all(
        a.shape == kept.shape and apart(sides.spool.read(kept), a.cpu()) <= GROWTH * limit
        for (_, a), kept in zip(ours, sides.wanted, strict=True)
    )


def exchange(pair: Pair, one: str, two: str) -> dict[str, Tensor] | None:
    """Two modules of the port with each other's parameters; None if they have others."""
    state = pair.ported.state_dict()
    ours, theirs = ({n: v for n, v in state.items() if module_of(n) == module} for module in (one, two))
    leaves = [name.rpartition(".")[2] for name in ours]
    if not leaves or leaves != [name.rpartition(".")[2] for name in theirs]:
        return None
    pairs = list(zip(ours.items(), theirs.items(), strict=True))
    if any(a.shape != b.shape for (_, a), (_, b) in pairs):
        return None
    return {n: b.clone() for (n, _), (_, b) in pairs} | {n: a.clone() for (_, a), (n, _) in pairs}


def _error_with(pair: Pair, sides: Sides, row: Compared, values: Mapping[str, Tensor]) -> float | None:
    modules = dict(pair.ported.named_modules())
    name, call = row.event.module, row.event.call
    with (
        patched(pair, values),
        recorded(modules, [name], sides.spool, until=(name, call, row.where)) as events,
        suppress(MappingError),  # it was stopped, or cannot be computed with these values
    ):
        pair.run("ported")
    last = next((event for event in events if event.call == call), None)
    listed = (last.outputs if row.where == "out" else last.inputs) if last else []
    return sides.error_of(row.event, row.where, {row.where: listed[0][1]}) if listed else None


@contextmanager
def patched(pair: Pair, values: Mapping[str, Tensor]) -> Iterator[None]:
    state = pair.ported.state_dict()
    before = {name: state[name].clone() for name in values}
    try:
        for name, value in values.items():
            state[name].copy_(value)
        yield
    finally:
        for name, value in before.items():
            state[name].copy_(value)


# --- guesses


class _Guesser:
    def __init__(self, pair: Pair, bound: BoundMapping, took_part: Callable[[str], bool]) -> None:
        self.bound = bound
        self.took_part = took_part
        self.state = pair.ported.state_dict()
        self.modules = dict(pair.ported.named_modules())
        self.pair = pair
        # The operations that values have gone through.
        self.steps = {
            shown.name: " ".join(dict.fromkeys(piece.steps for piece in shown.pieces if piece.steps))
            for shown in describe_targets(bound)
        }

    def guesses(self, module: str) -> Iterator[_Guess]:
        under = f"{module}." if module else ""
        own = [n for n in self.state if n.startswith(under) and n in self.bound.given]
        own = [name for name in own if self.took_part(module_of(name))]
        yield from self._exact(own)
        yield from self._exchanged(own)
        yield from self._neighbours(module)
        yield from self._single(own)
        yield from self._heads(own)
        yield from self._layers(module)

    def _exact(self, own: Sequence[str]) -> Iterator[_Guess]:
        """Values as the official file has them: before casts, and before any arithmetic."""
        for name in own:
            done = self.steps[name]
            exact = self._official_values(name) if done else None
            if exact is not None and exact.shape == self.state[name].shape:
                yield _Guess(f"{name} is right without `{done}`", {name: exact})

    def _exchanged(self, own: Sequence[str]) -> Iterator[_Guess]:
        """Two modules, or two parameters, of one shape each in the other's place."""
        groups: dict[str, dict[str, str]] = {}
        for name in own:
            groups.setdefault(module_of(name), {})[name.rpartition(".")[2]] = name
        for (one, ours), (two, theirs) in combinations(groups.items(), 2):
            same = [leaf for leaf in ours if leaf in theirs and self._alike(ours[leaf], theirs[leaf])]
            if same and ours.keys() == theirs.keys() and len(same) == len(ours):
                values = {ours[leaf]: self.state[theirs[leaf]].clone() for leaf in same}
                values |= {theirs[leaf]: self.state[ours[leaf]].clone() for leaf in same}
                yield _Guess(f"{one} and {two} have each other's weights", values)
        for one, two in combinations(own, 2):
            if module_of(one) == module_of(two) and self._alike(one, two):
                values = {one: self.state[two].clone(), two: self.state[one].clone()}
                yield _Guess(f"{one} and {two} have each other's values", values)

    def _neighbours(self, module: str) -> Iterator[_Guess]:
        """One module in the place of another of its layer, which may not have begun: two norms, say."""
        numbered = [part.end() for part in LAYER.finditer(module)]
        layer = module[: numbered[-1]] if numbered and numbered[-1] < len(module) else module_of(module)
        for other in self.modules:
            if other == module or not other.startswith(f"{layer}." if layer else ""):
                continue
            values = exchange(self.pair, module, other) or {}
            if values and all(name in self.bound.given for name in values):
                yield _Guess(f"{module} and {other} have each other's weights", values)

    def _layers(self, module: str) -> Iterator[_Guess]:
        """The whole of a layer in another one's place."""
        own = {name: name.removeprefix(module) for name in self.state if name.startswith(f"{module}.")}
        for other in self.modules:
            if not own or other == module or in_any_layer(other) != in_any_layer(module):
                continue
            twins = {name: f"{other}{rest}" for name, rest in own.items()}
            if all(twin in self.state and self._alike(name, twin) for name, twin in twins.items()):
                values = {name: self.state[twin].clone() for name, twin in twins.items()}
                values |= {twin: self.state[name].clone() for name, twin in twins.items()}
                known = {name: value for name, value in values.items() if name in self.bound.given}
                yield _Guess(f"{module} and {other} have each other's weights", known, of_layers=True)

    def _alike(self, one: str, two: str) -> bool:
        return self.state[one].shape == self.state[two].shape and one != two

    def _single(self, own: Sequence[str]) -> Iterator[_Guess]:
        """One module's parameters rearranged, or off by one."""
        for name in own:
            value = self.state[name]
            if value.ndim == 2 and value.shape[0] == value.shape[1]:
                yield _Guess(f"{name} is transposed", {name: value.T.clone()})
            for one in range(value.ndim - 1) if value.ndim > 2 else ():
                if value.shape[one] == value.shape[one + 1] > 1:
                    told = f"{name}: dimensions {one} and {one + 1} are exchanged"
                    yield _Guess(told, {name: value.transpose(one, one + 1).clone()})
        for module in dict.fromkeys(map(module_of, own)):
            yield from self._chunks(module, own)
        for name in own:
            value = self.state[name]
            if value.ndim == 1 and value.is_floating_point():
                yield _Guess(f"{name} lacks 1: the port adds none to it", {name: value + 1})
                yield _Guess(f"{name} has 1 too much: the port adds it", {name: value - 1})
            if value.is_floating_point():
                yield _Guess(f"{name} has the wrong sign", {name: -value})

    def _chunks(self, module: str, own: Sequence[str]) -> Iterator[_Guess]:
        """Halves, or other equal parts, of the outputs in each other's place: together or alone."""
        names = [name for name in own if module_of(name) == module]
        axes = {name: axes_of(self.modules[module], self.state[name].shape).out for name in names}
        sizes = {self.state[name].shape[axes[name]] for name in names if self.state[name].ndim}
        if len(sizes) != 1:
            return
        [size] = sizes
        together = [names] if len(names) == 1 else [names, *([name] for name in names)]
        for count in _CHUNKS:
            if size % count or size == count:
                continue
            for one, two in combinations(range(count), 2):
                for group in together:
                    values = {name: _swapped(self.state[name], axes[name], count, one, two) for name in group}
                    whose = module if group is together[0] else group[0]
                    yield _Guess(f"{whose}: parts {one} and {two} of {count} have each other's place", values)

    # --- heads of a rotary embedding

    def _heads(self, own: Sequence[str]) -> Iterator[_Guess]:
        """The official rows, paired for rotation in the other way, or in heads of another size."""
        weights = [name for name in own if self.state[name].ndim in (1, 2)]
        rows = {name: plain for name in weights if (plain := self._unmoved(name)) is not None}
        for size in _head_sizes([value.shape[0] for value in rows.values()]):
            for finding, order in _ORDERS.items():
                changed = {
                    name: turned
                    for name, value in rows.items()
                    if value.shape[0] % size == 0
                    and not (turned := _paired(value, size, order)).equal(self.state[name])
                }
                for names in _groups_of(list(changed)):
                    told = ", ".join(fold(names))
                    values = {name: changed[name] for name in names}
                    yield _Guess(f"{told}: {finding}, in heads of {size}", values)

    def _unmoved(self, name: str) -> Tensor | None:
        """The official rows in the official order, if it is one whole tensor that was permuted."""
        instance, number = self.bound.given[name]
        if sum(move.target == number for move in instance.layout.moves) != 1 or self.steps[name]:
            return None
        value = self._official_values(name, in_official_order=True)
        return value if value is not None and value.shape == self.state[name].shape else None

    def _official_values(self, name: str, in_official_order: bool = False) -> Tensor | None:
        import torch

        sources = sources_of(self.bound, name)
        if len(sources) != 1:
            return None
        whole = source_keys(self.pair.port, self.pair.component)
        only = replace(whole, tensors={sources[0]: whole.tensors[sources[0]]})
        [(_, value)] = load(parse("keep **"), only)
        if in_official_order:
            return value.to(self.state[name].device, self.state[name].dtype)
        instance, number = self.bound.given[name]
        moves = [move for move in instance.layout.moves if move.target == number]
        out = torch.empty(instance.layout.target_shapes[number], dtype=value.dtype)
        for move in moves:
            size, given, taken = ([dim[at] for dim in move.dims] for at in range(3))
            there = value.reshape(-1).as_strided(size, given, move.source_offset)
            out.view(-1).as_strided(size, taken, move.target_offset).copy_(there)
        return out.to(self.state[name].device)


def _swapped(value: Tensor, axis: int, count: int, one: int, two: int) -> Tensor:
    import torch

    parts = list(value.chunk(count, axis))
    parts[one], parts[two] = parts[two], parts[one]
    return torch.cat(parts, axis)


_ORDERS = {
    "its rows are to be paired by halves": "halves",
    "its rows are to be paired as neighbours": "neighbours",
    "its rows are to stay as they are": "as they are",
}


def _paired(value: Tensor, size: int, order: str) -> Tensor:
    rest = value.shape[1:]
    if order == "halves":
        return value.reshape(-1, size // 2, 2, *rest).transpose(1, 2).reshape(value.shape)
    if order == "neighbours":
        return value.reshape(-1, 2, size // 2, *rest).transpose(1, 2).reshape(value.shape)
    return value


def _head_sizes(rows: Sequence[int]) -> list[int]:
    most = max(rows, default=0)
    return [size for size in range(4, most + 1, 2) if any(count % size == 0 for count in rows)]


def _groups_of(names: list[str]) -> Iterator[list[str]]:
    """One alone, two together: q and k are turned, and nothing else."""
    for name in names:
        yield [name]
    for pair in combinations(names, 2):
        yield list(pair)
