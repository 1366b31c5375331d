"""Random mappings that are right, with a source and what the target has to be.

Each statement has names of its own, and is written with what it gives. They are drawn from a
``random.Random``, so that one number tells a whole case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes
from tests.language.arithmetic import CASTS, computed, drawn_numbers, drawn_steps, filled, written_steps
from tests.language.naive import Codes, Store, Tensor, extents, made, stored
from tests.language.rule_axes import Axes, drawn_axes, drawn_parts

Tensors = dict[str, Tensor]
TYPES = sorted(name for name, dtype in DTYPES.items() if dtype.bits >= 8)


@dataclass(slots=True)
class Program:
    """A mapping with its tensors.

    Attributes:
        sized_lines: the same with all sizes of axes, should the key sets not tell them.
        external: tensors of the target that the mapping does not give.
        comes_back: whether the inverse gives every bit of the source.
        is_rounded: whether values are computed, whose inverse is another number.
        has_inverse: whether it is no repeat, and drops no piece.
    """

    lines: list[str] = field(default_factory=list)
    sized_lines: list[str] = field(default_factory=list)
    sources: Tensors = field(default_factory=dict)
    targets: Tensors = field(default_factory=dict)
    external: Tensors = field(default_factory=dict)
    comes_back: bool = True
    is_rounded: bool = False
    has_inverse: bool = True

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def sized_text(self) -> str:
        return "\n".join(self.sized_lines) + "\n"

    def say(self, line: str, sized: str = "") -> None:
        self.lines.append(line)
        self.sized_lines.append(sized or line)

    def wanted(self) -> Tensors:
        """The key set of the target."""
        return {**self.targets, **self.external}


def drawn_program(draw: Random, most: int = 4) -> Program:
    """One to four statements, and tensors in any order."""
    out = Program()
    kinds: list[Callable[[Random, Program, str], None]] = [_axes] * 4 + [*_OTHERS]
    for number in range(draw.randrange(1, most + 1)):
        own = Program()
        draw.choice(kinds)(draw, own, f"r{number}")
        _in_block(draw, own, f"b{number}")
        for mine, theirs in zip(_tables(out), _tables(own), strict=True):
            mine.update(theirs)
        out.lines += own.lines
        out.sized_lines += own.sized_lines
        out.comes_back &= own.comes_back
        out.is_rounded |= own.is_rounded
        out.has_inverse &= own.has_inverse
    if not out.sources:
        _plain(draw, out, "more")
    if draw.random() < 0.6:  # else as the rules are written, which folds
        out.sources = dict(draw.sample([*out.sources.items()], len(out.sources)))
    if draw.random() < 0.2:
        out.external["t.ext.w"] = any_bits(draw, "F16", (2,))
        out.say('external t.ext.** because "from elsewhere"')
    return out


def _tables(program: Program) -> tuple[Tensors, Tensors]:
    return program.sources, program.targets


def _in_block(draw: Random, own: Program, head: str) -> None:
    """Some statements stand in a block, which prefixes their names."""
    if draw.random() < 0.7:
        return
    left, right = draw.choice(((head, f"n.{head}"), (head, "."), (".", head)))
    before = [f"{side}." if side != "." else "" for side in (left, right)]
    for lines in (own.lines, own.sized_lines):
        lines[:] = [f"{left} -> {right} {{", *(f"    {line}" for line in lines), "}"]
    own.sources = {before[0] + name: tensor for name, tensor in own.sources.items()}
    own.targets = {before[1] + name: tensor for name, tensor in own.targets.items()}


# --- axes


@dataclass(frozen=True, slots=True)
class _Values:
    """What becomes of the elements of a rule: without steps any bits are moved."""

    dtype: str
    steps: list[tuple[str, float | str]]
    to: str

    def drawn(self, draw: Random, shape: tuple[int, ...]) -> Tensor:
        if self.steps:
            return Tensor(self.dtype, drawn_numbers(draw, self.dtype, shape))
        return any_bits(draw, self.dtype, shape)

    def of(self, tensor: Tensor) -> Codes:
        return computed(tensor.codes, self.dtype, self.steps, self.to) if self.steps else tensor.codes


def _drawn_values(draw: Random, is_created: bool) -> _Values:
    if is_created:
        dtype = draw.choice([*CASTS])
        return _Values(dtype, [], dtype)
    if draw.random() < 0.25:
        dtype = draw.choice([*CASTS])
        return _Values(dtype, *drawn_steps(draw, dtype))
    dtype = draw.choice(TYPES)
    return _Values(dtype, [], dtype)


def _axes(draw: Random, out: Program, head: str) -> None:
    rule = drawn_axes(draw, head, drawn_parts(draw))
    values = _drawn_values(draw, any(term.fill is not None for term in rule.left))
    words = written_steps(values.steps)
    left = ", ".join(rule.text(term, 0) + words for term in rule.left)
    right = ", ".join(rule.text(term, 1) for term in rule.right)
    sized = [f"{atom} = {size}" for atom, size in rule.sizes.items() if not atom.isdigit()]
    told = draw.choice((sized, [], [], draw.sample(sized, draw.randrange(len(sized) + 1))))
    out.say(f"{left} -> {right}{_where(told)}", f"{left} -> {right}{_where(sized)}")
    out.is_rounded = bool(values.steps)
    out.has_inverse = not any(term.is_dropped for term in rule.right) and "r" not in rule.sizes
    for instance in rule.instances():
        _one(draw, out, rule, instance, values)


def _where(conditions: list[str]) -> str:
    return f"   where {', '.join(conditions)}" if conditions else ""


def _one(
    draw: Random, out: Program, rule: Axes, instance: tuple[tuple[str, str], ...], values: _Values
) -> None:
    """The tensors of one instance."""
    store: Store = {}
    own = _unsigned(values.to)
    for term in rule.left:
        shape = extents(term.dims, rule.sizes)
        if term.fill is not None:
            constant = np.full(shape, filled(term.fill, values.to), own)
            stored(constant, term.dims, rule.sizes, frozenset(), store)
            continue
        for name, at in rule.names(term, 0, instance):
            tensor = out.sources[name] = values.drawn(draw, shape)
            stored(values.of(tensor), term.dims, rule.sizes, at, store)
    for term in rule.right:
        if not term.is_dropped:
            for name, at in rule.names(term, 1, instance):
                out.targets[name] = Tensor(values.to, made(term.dims, rule.sizes, at, store, own))


# --- the other kinds


def _plain(draw: Random, out: Program, head: str) -> None:
    """A rename, with every kind of part of a name; F4, too, whose elements share bytes."""
    parts = drawn_parts(draw)
    rule = Axes((), (), {}, parts)
    names = ["".join(written[side] for written, _ in parts) for side in (0, 1)]
    out.say(f"s.{head}{names[0]} {draw.choice(('->', '<->'))} t.{head}{names[1]}")
    for instance in rule.instances():
        tensor = any_bits(draw, draw.choice(TYPES), draw.choice(((), (3,), (2, 3), (0, 2), (1, 2, 2))))
        texts = ["".join(text[side] for text in instance) for side in (0, 1)]
        out.sources[f"s.{head}{texts[0]}"] = tensor
        out.targets[f"t.{head}{texts[1]}"] = tensor


def _copied(draw: Random, out: Program, head: str) -> None:
    out.say(f"s.{head}.{{i}} -> t.{head}.a.{{i}}, t.{head}.b.{{i}}")
    for k in range(draw.choice((1, 3, 12))):
        tensor = any_bits(draw, draw.choice(TYPES), (2, 3))
        out.sources[f"s.{head}.{k}"] = tensor
        out.targets |= {f"t.{head}.a.{k}": tensor, f"t.{head}.b.{k}": tensor}


def _created(draw: Random, out: Program, head: str) -> None:
    """Beside groups, so that its names do not come one after the other."""
    dtype, value = draw.choice(("F32", "BF16", "F16")), draw.choice((0, 1, 0.5, -3))
    count, shape = draw.choice((1, 2, 3, 12)), draw.choice(((), (2,), (2, 3)))
    names = draw.choice((("w",), ("b", "a"), ("1", "0", "x")))
    pattern = f"t.{head}.{{i}}.{{{','.join(names)}}}" if len(names) > 1 else f"t.{head}.{{i}}.w"
    size = " ".join(map(str, shape)) or "()"
    low = draw.choice((0, 0, 2))
    cast = f" | cast {dtype.lower()}"
    where = f"where i in {low}..{low + count - 1}"
    out.say(f"create {pattern} : {size} = {value}{cast}   {where}")
    for k in range(low, low + count):
        for name in names:
            codes = np.full(shape, filled(value, dtype), _unsigned(dtype))
            out.targets[f"t.{head}.{k}.{name}"] = Tensor(dtype, codes)


def _dropped(draw: Random, out: Program, head: str) -> None:
    out.say(f'drop s.{head}.{{i}}.** because "not wanted"   where i % 2 == 0')
    out.say(f"keep s.{head}.{{i}}.** optional  where i % 2 == 1")
    for k in range(draw.choice((1, 2, 4))):
        tensor = any_bits(draw, draw.choice(TYPES), (3,))
        out.sources[f"s.{head}.{k}.a.w"] = tensor
        if k % 2:
            out.targets[f"s.{head}.{k}.a.w"] = tensor
    out.comes_back = False


def _digits(draw: Random, out: Program, head: str) -> None:
    count, base = draw.choice((1, 2, 4)), draw.choice((2, 3))
    out.say(f"s.{head}.{{{base}*b + r}} -> t.{head}.{{b}}.{{r}}   where r in 0..{base - 1}")
    for k in range(count * base):
        tensor = any_bits(draw, draw.choice(TYPES), (k % 3, 2))
        out.sources[f"s.{head}.{k}"] = tensor
        out.targets[f"t.{head}.{k // base}.{k % base}"] = tensor


def _reversed(draw: Random, out: Program, head: str) -> None:
    count = draw.choice((1, 2, 11))
    out.say(f"s.{head}.{{n-1-i}}.* -> t.{head}.{{i}}.*   where n = count(s.{head}.{{i}})")
    for k in range(count):
        tensor = any_bits(draw, draw.choice(TYPES), (2,))
        out.sources[f"s.{head}.{k}.w"] = tensor
        out.targets[f"t.{head}.{count - 1 - k}.w"] = tensor


def _several(draw: Random, out: Program, head: str) -> None:
    """A named operation: tensors that are joined, or one that is split, by numpy's functions."""
    dim, dtype, kind = (
        draw.choice((0, 1)),
        draw.choice(TYPES),
        draw.choice(("cat", "stack", "split", "chunk")),
    )
    layers = draw.choice((1, 2, 11))
    count = draw.choice((2, 3))
    lengths = [draw.choice((1, 2, 3)) for _ in range(count)] if kind in ("cat", "split") else [2] * count
    names = [f"{letter}.{{i}}" for letter in "xyz"[:count]]
    side = "s" if kind in ("cat", "stack") else "t"
    listed = ", ".join(f"{side}.{head}{name}" for name in names)
    sized = {"split": f" [{', '.join(map(str, lengths))}]", "chunk": f" {count}"}.get(kind, "")
    if side == "s":
        out.say(f"({listed}) | {kind} dim={dim} -> t.{head}.{{i}}")
    else:
        out.say(f"s.{head}.{{i}} | {kind}{sized} dim={dim} -> {listed}")
    for k in range(layers):
        parts = [any_bits(draw, dtype, (n, 2) if dim == 0 else (2, n)) for n in lengths]
        join = np.stack if kind == "stack" else np.concatenate
        whole = Tensor(dtype, join([part.codes for part in parts], axis=dim))
        own = {f"{side}.{head}{letter}.{k}": part for letter, part in zip("xyz", parts, strict=False)}
        if side == "s":
            out.sources |= own
            out.targets[f"t.{head}.{k}"] = whole
        else:
            out.sources[f"s.{head}.{k}"] = whole
            out.targets |= own


def _turned(draw: Random, out: Program, head: str) -> None:
    order = draw.sample(range(3), 3)
    tensor = any_bits(draw, draw.choice(TYPES), (2, 3, 4))
    out.say(f"s.{head} | permute {' '.join(map(str, order))} -> t.{head}")
    out.sources[f"s.{head}"] = tensor
    out.targets[f"t.{head}"] = Tensor(tensor.dtype, tensor.codes.transpose(order))


_OTHERS = [_plain, _copied, _created, _created, _dropped, _digits, _reversed, _several, _turned]


# --- bytes


def _unsigned(dtype: str) -> np.dtype[np.unsignedinteger]:
    return np.dtype(f"<u{DTYPES[dtype].bits // 8}")


def any_bits(draw: Random, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Any bits: NaNs of every kind, too."""
    own = _unsigned(dtype)
    raw = draw.randbytes(int(np.prod(shape)) * own.itemsize)
    return Tensor(dtype, np.frombuffer(raw, own).reshape(shape))


def raw(tensor: Tensor) -> bytes:
    return np.ascontiguousarray(tensor.codes).tobytes()


def write(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A checkpoint of one file, its bytes in the order of the tensors."""
    rows = [(name, DTYPES[tensor.dtype], tensor.shape) for name, tensor in tensors.items()]
    path.write_bytes(header_bytes(rows)[0] + b"".join(map(raw, tensors.values())))
    return path
