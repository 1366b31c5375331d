"""Names written from the values of variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from mapcc.ir.expr import Expr, Name, Unevaluable, affine, names
from mapcc.ir.notation import print_expr
from mapcc.ir.patterns import Pattern
from mapcc.passes.segments import Hole, Variant, name_axes, variants

Value = int | str
Parameters = Callable[[str], int]


class NegativeIndex(Exception):
    """An index expression is below zero for these values."""


@dataclass(frozen=True, slots=True)
class Template:
    """A name with its labelled axes chosen: literal chunks, and holes between them.

    ``plain`` is a format string with the positions of variables where no arithmetic is needed.
    """

    variant: Variant
    chunks: tuple[str | Hole, ...]
    plain: str | None
    deep: bool

    def write(self, values: Sequence[Value], order: Mapping[str, int], parameters: Parameters) -> str:
        if self.plain is not None and not self.deep:
            return self.plain.format(*values)
        return "".join(self._chunk(chunk, values, order, parameters) for chunk in self.chunks)

    def _chunk(
        self, chunk: str | Hole, values: Sequence[Value], order: Mapping[str, int], parameters: Parameters
    ) -> str:
        if isinstance(chunk, str):
            return chunk
        if chunk.expr is None or (isinstance(chunk.expr, Name) and chunk.variable in order):
            value = values[order[chunk.variable]]
            return (
                value.replace("\0", self.variant.separator)
                if isinstance(value, str)
                else _number(value, chunk)
            )
        return _number(index_value(chunk.expr, values, order, parameters), chunk)


def _number(value: int, hole: Hole) -> str:
    return f"{value:0{hole.width}}" if hole.width else str(value)


def index_value(expr: Expr, values: Sequence[Value], order: Mapping[str, int], parameters: Parameters) -> int:
    """The number that an index expression gives."""
    words = names(expr)
    form = affine(expr, {word: parameters(word) for word in words if word not in order})
    if form is None:  # a let or a size that divides it is 0
        raise Unevaluable(f"{print_expr(expr)} has no value here")
    number = form.value({word: int(values[order[word]]) for word in words if word in order})
    if number < 0:
        raise NegativeIndex(number)
    return number


def template(variant: Variant, order: Mapping[str, int]) -> Template:
    chunks: list[str | Hole] = []
    for at, segment in enumerate(variant.segments):
        if at:
            chunks.append(variant.separator)
        chunks.extend(segment)
    merged: list[str | Hole] = []
    for chunk in chunks:
        if isinstance(chunk, str) and merged and isinstance(merged[-1], str):
            merged[-1] += chunk
        else:
            merged.append(chunk)
    deep = any(isinstance(c, Hole) and c.variable.startswith("**") for c in merged)
    plain: str | None = ""
    for chunk in merged:
        if isinstance(chunk, str):
            plain = None if plain is None else plain + chunk.replace("{", "{{").replace("}", "}}")
        elif chunk.variable in order and (chunk.expr is None or isinstance(chunk.expr, Name)):
            spec = f":0{chunk.width}" if chunk.width else ""
            plain = None if plain is None else plain + f"{{{order[chunk.variable]}{spec}}}"
        else:
            plain = None
    return Template(variant, tuple(merged), plain, deep)


@dataclass(frozen=True, slots=True)
class NameWriter:
    """All the names that one pattern gives: a template for each choice of labels.

    ``axes`` are the pattern's name axes in order; an index axis is a variable ``[e``.
    """

    axes: tuple[str, ...]
    templates: dict[tuple[int, ...], Template]
    labelled: tuple[bool, ...]
    order: dict[str, int]

    @property
    def plain_format(self) -> Callable[..., str] | None:
        """How the name is formatted from values alone, if it is one name without arithmetic."""
        template = self.templates.get(())
        if self.axes or template is None or template.plain is None or template.deep:
            return None
        return template.plain.format

    def write(self, values: Sequence[Value], position: Sequence[int], parameters: Parameters) -> str:
        """The name at a position along the axes."""
        labels = tuple(p for p, is_label in zip(position, self.labelled, strict=True) if is_label)
        if all(self.labelled):
            return self.templates[labels].write(values, self.order, parameters)
        indexed = [p for p, is_label in zip(position, self.labelled, strict=True) if not is_label]
        return self.templates[labels].write([*values, *indexed], self.order, parameters)

    def write_all(
        self, values: Sequence[Value], sizes: Mapping[str, int], parameters: Parameters
    ) -> list[str]:
        """Every name, row-major along the axes."""
        if not self.axes:
            return [self.templates[()].write(values, self.order, parameters)]
        ranges = (range(sizes[axis]) for axis in self.axes)
        return [self.write(values, position, parameters) for position in product(*ranges)]


def name_writer(
    pattern: Pattern, separator: str, variables: Sequence[str], regexes: frozenset[str]
) -> NameWriter:
    axes = name_axes(pattern)
    order = {variable: at for at, variable in enumerate(variables)}
    for axis in axes:
        if axis.labels is None:
            order[f"[{axis.atom}"] = len(order)
    templates = {
        tuple(k for _, k in variant.positions): template(variant, order)
        for variant in variants(pattern, separator, dict.fromkeys(regexes, ""))
    }
    return NameWriter(
        tuple(axis.atom for axis in axes),
        templates,
        tuple(axis.labels is not None for axis in axes),
        order,
    )
