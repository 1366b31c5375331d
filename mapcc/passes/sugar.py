"""Named operations (``transpose``, ``chunk``, ``cat``, ...) lowered to axes.

Atoms made here begin with ``_``, which nobody needs to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.ir.axes import Atom, Dim, Product, Rest, Shape, Sum
from mapcc.ir.expr import Expr, Name, Number
from mapcc.ir.patterns import NameAxis, Pattern
from mapcc.ir.program import Scope
from mapcc.ir.values import STRUCTURAL_OPS
from mapcc.passes.scope import evaluated

Terms = list[rules.Term]


class _Refused(Exception):
    pass


def lower_sugar(
    left: Terms, right: Terms, scope: Scope, found: Diagnostics
) -> tuple[Terms, Terms, tuple[rules.Condition, ...]] | None:
    """Both sides with axes in place of the named operation, and the equations that it adds.

    None, with a diagnostic, where an operation does not fit.
    """
    holder = next((t for t in left if _structural(t)), None)
    if holder is None:
        return left, right, ()
    assert isinstance(holder, rules.Tensor | rules.Bundle)
    op = holder.ops[0]
    try:
        if len(left) > 1:
            raise _Refused("stands on the only term of the left; put several tensors in parentheses")
        if op.name not in STRUCTURAL_OPS or any(o.name in STRUCTURAL_OPS for o in holder.ops[1:]):
            raise _Refused("is the first operation of a term, and the only one that moves elements")
        if holder.shape is not None or any(getattr(term, "shape", None) is not None for term in right):
            raise _Refused("takes the place of a shape: write one or the other")
        if not all(isinstance(term, rules.Tensor) for term in right):
            raise _Refused("gives whole tensors: write axes to drop a part")
        return _Lowering(op, holder, [t for t in right if isinstance(t, rules.Tensor)], scope, found).run()
    except _Refused as error:
        found.add(Diagnostic("MC501", f"{op.name} {error}", op.span or holder.span))
        return None


def _structural(term: rules.Term) -> bool:
    match term:
        case rules.Tensor(_, _, ops) | rules.Bundle(_, _, ops):
            return any(op.name in STRUCTURAL_OPS for op in ops)
        case _:
            return False


class _Lowering:
    def __init__(
        self,
        op: rules.Op,
        holder: rules.Tensor | rules.Bundle,
        right: list[rules.Tensor],
        scope: Scope,
        found: Diagnostics,
    ) -> None:
        self.op, self.scope, self.found = op, scope, found
        self.rest_of_ops = holder.ops[1:]
        self.inputs = [holder] if isinstance(holder, rules.Tensor) else list(holder.members)
        self.outputs = right
        if any(
            member.ops or member.shape is not None
            for member in self.inputs[isinstance(holder, rules.Tensor) :]
        ):
            raise _Refused("takes tensors without shape or operations of their own")
        for key, _ in op.options:
            if key != "dim":
                raise _Refused(f"has no option {key!r}; it takes dim=")

    def run(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        lowered: tuple[Terms, Terms, tuple[rules.Condition, ...]] = getattr(self, f"_{self.op.name}")()
        return lowered

    # --- arguments

    def _integer(self, argument: rules.Argument, what: str) -> int:
        value = (
            None if isinstance(argument, tuple) else evaluated(argument, self.scope, self.op.span, self.found)
        )
        if not isinstance(value, int) or value < 0:
            raise _Refused(f"takes a whole number for {what}")
        return value

    @property
    def dim(self) -> int:
        options = dict(self.op.options)
        dim = self._integer(options["dim"], "dim") if "dim" in options else 0
        if dim > 16:
            raise _Refused("has a dim of 16 at most")
        return dim

    def _arguments(self, count: int, wants: str) -> tuple[rules.Argument, ...]:
        if len(self.op.arguments) != count:
            raise _Refused(f"takes {wants}")
        return self.op.arguments

    def _only(self, tensors: Sequence[rules.Tensor], side: str) -> rules.Tensor:
        if len(tensors) != 1:
            raise _Refused(f"has one tensor on the {side}")
        return tensors[0]

    # --- shapes

    def _shape(self, *middle: Dim) -> Shape:
        return (*(Atom(f"_d{k}") for k in range(self.dim)), *middle, Rest())

    def _left(self, tensor: rules.Tensor, shape: Shape) -> rules.Tensor:
        return replace(tensor, shape=shape, ops=self.rest_of_ops)

    # --- operations

    def _transpose(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        self._arguments(0, "no argument; dim= is the first of the two that change places")
        a, b = self._only(self.inputs, "left"), self._only(self.outputs, "right")
        x, y = Atom("_x"), Atom("_y")
        return [self._left(a, self._shape(x, y))], [replace(b, shape=self._shape(y, x))], ()

    def _permute(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        order = [self._integer(argument, "a dimension") for argument in self.op.arguments]
        if self.op.options:
            raise _Refused("takes every dimension, and so no dim=")
        if sorted(order) != list(range(len(order))) or not order:
            raise _Refused("takes every dimension once: permute 1 0 2")
        a, b = self._only(self.inputs, "left"), self._only(self.outputs, "right")
        dims = tuple(Atom(f"_d{k}") for k in range(len(order)))
        return [self._left(a, dims)], [replace(b, shape=tuple(dims[k] for k in order))], ()

    def _chunk(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        (argument,) = self._arguments(1, "the number of chunks")
        count = self._integer(argument, "the number of chunks")
        source = self._only(self.inputs, "left")
        axis = _name_axis(self.outputs)
        if axis is not None:
            return self._chunk_to_axis(source, axis, count)
        if len(self.outputs) != count:
            raise _Refused(f"{count} gives {count} tensors; {len(self.outputs)} stand on the right")
        pieces = [Atom(f"_p{k}") for k in range(count)]
        equal = rules.Compare(tuple(Name(p.name) for p in pieces), ("=",) * (count - 1), span=self.op.span)
        return (*self._cut(source, pieces), (equal,) if count > 1 else ())

    def _chunk_to_axis(
        self, source: rules.Tensor, axis: NameAxis, count: int
    ) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        if axis.labels is not None and len(axis.labels) != count:
            raise _Refused(f"{count} gives {count} tensors; [{axis.atom}=...] has {len(axis.labels)} labels")
        piece = Atom("_p")
        target = replace(self.outputs[0], shape=self._shape(piece))
        size = _equal(Atom(axis.atom), Number(count), self.op)
        return [self._left(source, self._shape(Product((Atom(axis.atom), piece))))], [target], (size,)

    def _split(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        (sizes,) = self._arguments(1, "a list of sizes: split [D, D, M]")
        if not isinstance(sizes, tuple):
            raise _Refused("takes a list of sizes: split [D, D, M]")
        if len(sizes) != len(self.outputs):
            raise _Refused(f"has {len(sizes)} sizes; {len(self.outputs)} tensors stand on the right")
        pieces = [Atom(f"_p{k}") for k in range(len(sizes))]
        equations = tuple(_equal(piece, size, self.op) for piece, size in zip(pieces, sizes, strict=True))
        return (*self._cut(self._only(self.inputs, "left"), pieces), equations)

    def _cut(self, source: rules.Tensor, pieces: Sequence[Atom]) -> tuple[Terms, Terms]:
        whole: Dim = Sum(tuple(pieces)) if len(pieces) > 1 else pieces[0]
        targets: Terms = [
            replace(target, shape=self._shape(piece))
            for target, piece in zip(self.outputs, pieces, strict=True)
        ]
        return [self._left(source, self._shape(whole))], targets

    def _cat(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        self._arguments(0, "no argument but dim=")
        target = self._only(self.outputs, "right")
        axis = _name_axis(self.inputs)
        if axis is not None:
            piece = Atom("_p")
            whole = self._shape(Product((Atom(axis.atom), piece)))
            return [self._left(self.inputs[0], self._shape(piece))], [replace(target, shape=whole)], ()
        pieces = [Atom(f"_p{k}") for k in range(len(self.inputs))]
        sources: Terms = [
            self._left(tensor, self._shape(piece)) for tensor, piece in zip(self.inputs, pieces, strict=True)
        ]
        total: Dim = Sum(tuple(pieces)) if len(pieces) > 1 else pieces[0]
        return sources, [replace(target, shape=self._shape(total))], ()

    def _stack(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        self._arguments(0, "no argument but dim=")
        target = self._only(self.outputs, "right")
        inputs, new = _along_new_axis(self.inputs)
        sources: Terms = [self._left(tensor, self._shape()) for tensor in inputs]
        return sources, [replace(target, shape=self._shape(new))], ()

    def _unstack(self) -> tuple[Terms, Terms, tuple[rules.Condition, ...]]:
        self._arguments(0, "no argument but dim=")
        source = self._only(self.inputs, "left")
        outputs, gone = _along_new_axis(self.outputs)
        targets: Terms = [replace(tensor, shape=self._shape()) for tensor in outputs]
        return [self._left(source, self._shape(gone))], targets, ()


def _along_new_axis(tensors: Sequence[rules.Tensor]) -> tuple[list[rules.Tensor], Dim]:
    """Tensors that lie along an axis of their own: a name axis, or one of one label for each."""
    axis = _name_axis(tensors)
    if axis is not None:
        return list(tensors), Atom(axis.atom)
    atoms = [Atom(f"_s{k}") for k in range(len(tensors))]
    tagged = [
        replace(t, name=Pattern((*t.name.parts, NameAxis(atom.name, ("",))), t.name.span))
        for t, atom in zip(tensors, atoms, strict=True)
    ]
    return tagged, Sum(tuple(atoms)) if len(atoms) > 1 else atoms[0]


def _name_axis(tensors: Sequence[rules.Tensor]) -> NameAxis | None:
    """The one name axis of a single tensor."""
    if len(tensors) != 1:
        return None
    found = [part for part in tensors[0].name.parts if isinstance(part, NameAxis)]
    return found[0] if len(found) == 1 else None


def _equal(piece: Atom, size: Expr, op: rules.Op) -> rules.Compare:
    return rules.Compare((Name(piece.name), size), ("=",), span=op.span)
