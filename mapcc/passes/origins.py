"""Where the elements of each target tensor come from, in a form in which two mappings can be compared.

Names of rules, of axes and of blocks are gone; what is left are boxes of elements, each with the
tensor that it is taken from and what is done to its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import frexp

from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.ir.expr import Unevaluable, Value, evaluate
from mapcc.ir.program import Unit
from mapcc.ir.values import VALUE_OPS, Step, widens
from mapcc.passes.moves import Dims, normal_form, simplify_dims
from mapcc.passes.scope import let_lookup
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.spec import Manifest, TensorSpec

Shape = tuple[int, ...]
Steps = tuple[Step, ...]

# Joining boxes takes the square of their number.
MOST_JOINED = 64
# Numbers that every type has which can be filled with them: a cast changes nothing.
_EXACT = (0, 1)


@dataclass(frozen=True, slots=True)
class Origin:
    """The tensors that elements are taken from (the last is the one that is moved), and their way.

    ``names`` is empty for a constant, which ``fill`` is. ``shape`` and ``dtype`` are those of the last
    tensor; ``steps`` are in normal form: see :func:`chain`.
    """

    names: tuple[str, ...]
    shape: Shape
    dtype: Dtype | None = None
    steps: Steps = ()
    fill: Value | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A strided box of a target, and where it lies in what it is taken from: see :class:`Move`.

    ``origin`` is another :class:`Made` where an intermediate tensor lies between.
    """

    origin: Origin | Made
    at: int
    to: int
    dims: Dims


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor and the boxes that make it; ``problem`` is why that cannot be said."""

    shape: Shape
    dtype: Dtype | None
    boxes: tuple[Box, ...]
    problem: str = ""

    def origins(self) -> Iterator[Origin]:
        for box in self.boxes:
            if isinstance(box.origin, Made):
                yield from box.origin.origins()
            else:
                yield box.origin


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All that a mapping gives of a source: what :func:`differences` compares."""

    source: Manifest
    targets: dict[str, Made]

    def keys(self) -> Manifest:
        """The key set of what is given, for the mapping that is to come behind."""
        tensors = {name: TensorSpec(name, made.dtype, made.shape) for name, made in self.targets.items()}
        return Manifest(tensors, (), f"what is made of {self.source.where}", None, {})


def result_of(bound: BoundMapping) -> Result:
    """A mapping that was bound without errors."""
    reader = _Reader(bound)
    targets: dict[str, Made] = {}
    for instance in bound.instances:
        targets.update(reader.targets(instance))
    return Result(bound.source, targets)


@dataclass(frozen=True, slots=True)
class _Reader:
    bound: BoundMapping

    def targets(self, instance: Instance) -> Iterator[tuple[str, Made]]:
        layout, tensors = instance.layout, self.bound.source.tensors
        by_target: dict[int, list[Move]] = {}
        for move in layout.moves:
            by_target.setdefault(move.target, []).append(move)
        for number, name in enumerate(instance.targets):
            dtype = instance.dtypes[number] if instance.dtypes else None
            cast = instance.equation.targets[layout.term_of_target[number]].cast
            origins: dict[int, Origin] = {}
            for move in by_target.get(number, ()):
                if move.source not in origins:
                    unit = instance.equation.units[layout.unit_of_source[move.source]]
                    specs = [tensors[source] for source in instance.sources[move.source]]
                    origins[move.source] = self._origin(instance, unit, specs, cast, dtype)
            found = boxes(by_target.get(number, ()), origins)
            yield name, Made(layout.target_shapes[number], dtype, found)

    def _origin(
        self,
        instance: Instance,
        unit: Unit,
        specs: Sequence[TensorSpec],
        cast: Dtype | None,
        dtype: Dtype | None,
    ) -> Origin:
        if unit.fill is None:
            last = specs[-1]
            steps = unit.steps if cast is None else (*unit.steps, cast_to(cast))
            names = tuple(spec.name for spec in specs)
            return Origin(names, last.shape, last.dtype, chain(steps, last.dtype, dtype))
        try:
            value = evaluate(unit.fill, let_lookup(instance.equation.scope))
        except Unevaluable as error:
            raise ValueError(f"a number that is created has no value: {error}") from error
        return Origin((), (), fill=value)


def boxes(moves: Sequence[Move], origins: Mapping[int, Origin]) -> tuple[Box, ...]:
    """The boxes of one target."""
    return joined([_box(origins[move.source], move) for move in moves])


def joined(apart: Sequence[Box]) -> tuple[Box, ...]:
    """Boxes of one target, those of one origin joined, in the order of the target."""
    if len(apart) == 1:  # nearly always
        return (apart[0],)
    by_origin: dict[Origin | Made, list[Move]] = {}
    for box in apart:
        by_origin.setdefault(box.origin, []).append(Move(0, box.at, 0, box.to, box.dims))
    out: list[Box] = []
    for origin, own in by_origin.items():
        moves = normal_form(own) if 1 < len(own) <= MOST_JOINED else own
        out += [Box(origin, move.source_offset, move.target_offset, move.dims) for move in moves]
    return tuple(sorted(out, key=lambda box: box.to))


def _box(origin: Origin, move: Move) -> Box:
    if origin.names:
        return Box(origin, move.source_offset, move.target_offset, move.dims)
    # All elements of a constant are the same one.
    dims = simplify_dims((size, 0, along) for size, _, along in move.dims)
    return Box(origin, 0, move.target_offset, dims)


# --- values


def cast_to(dtype: Dtype) -> Step:
    return Step(VALUE_OPS["cast"], (), dtype)


def chain(steps: Sequence[Step], before: Dtype | None, after: Dtype | None) -> Steps:
    """Steps from a type to another in normal form: casts that change no value are left out.

    Two chains that are the same in this form give the same values; of others nothing is known.

    >>> bf16, f32 = DTYPES["BF16"], DTYPES["F32"]
    >>> chain((cast_to(f32), cast_to(bf16)), bf16, bf16)
    ()
    """
    out: list[tuple[Step, Dtype | None]] = []  # each with the type that it takes
    now = before
    wanted = [*steps, cast_to(after)] if after is not None else steps
    for step in wanted:
        if step.is_saturating:
            out.append((step, now))
            continue
        if step.dtype is None:
            now = _computed(out, step, now)
            continue
        if out and _widens(*out[-1]) and not _is_clamped(out[:-1]):
            now = out.pop()[1]
        if step.dtype != now or _is_clamped(out):
            out.append((step, now))
        now = step.dtype
    return tuple(step for step, _ in out)


def _computed(out: list[tuple[Step, Dtype | None]], step: Step, now: Dtype | None) -> Dtype | None:
    """The type of what an operation gives: it computes in F32, or in F64 if it is given F64."""
    if out and _widens(*out[-1]) and step.op.elementwise and not _is_clamped(out[:-1]):
        took = out[-1][1]
        if took is not None and _working(took) == out[-1][0].dtype:
            out.pop()
    out.append((step, now))
    return _working(now) if now is not None and step.op.elementwise else None


def _is_clamped(out: Sequence[tuple[Step, Dtype | None]]) -> bool:
    """Whether a cast that comes next is the one to which ``clamp`` keeps."""
    return bool(out) and out[-1][0].is_saturating


def _working(dtype: Dtype) -> Dtype:
    return DTYPES["F64"] if dtype == DTYPES["F64"] else DTYPES["F32"]


def _widens(step: Step, took: Dtype | None) -> bool:
    """Whether a step is a cast that changes no value."""
    return step.dtype is not None and took is not None and widens(took, step.dtype)


def without_last_cast(origin: Origin) -> Origin:
    """Where types differ, that is said once, and not of every element."""
    if origin.steps and origin.steps[-1].dtype is not None:
        return replace(origin, steps=origin.steps[:-1])
    return origin


def converted(origin: Origin, made: Dtype | None, steps: Sequence[Step], after: Dtype | None) -> Origin:
    """What becomes of elements behind a first mapping, that gave the type ``made``, in a second one."""
    if origin.names:
        return replace(origin, steps=chain((*origin.steps, *steps), origin.dtype, after))
    own = chain(steps, made, after)
    if not own or (not origin.steps and _is_held(origin.fill, made, own)):
        return origin
    first = () if made is None else (cast_to(made),)
    return replace(origin, steps=(*origin.steps, *first, *own))


def _is_held(value: Value | None, made: Dtype | None, casts: Steps) -> bool:
    """Whether a number comes through these types unchanged up to the last of them."""
    types = [made, *(step.dtype for step in casts)]
    return all(dtype is not None and _is_exact(value, dtype) for dtype in types[:-1]) and bool(types[-1])


def _is_exact(value: Value | None, dtype: Dtype) -> bool:
    """Whether a type surely has this number: then it does not show that it was held in it."""
    if value in _EXACT:
        return True
    if isinstance(value, str | None) or dtype.kind != "float" or dtype.bits < 16:
        return False
    mantissa, exponent = frexp(value)
    return (mantissa * 256).is_integer() and abs(exponent) < 14
