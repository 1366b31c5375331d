"""A converter as a rule, without a key set: its operations are tried on tensors of made-up sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.dialects.made import Made, Operand
from mapcc.dialects.regex_sketch import NoSketch
from mapcc.dialects.transformers.groups import Model, equations
from mapcc.dialects.transformers.names import Namer
from mapcc.dialects.transformers.table import Operation, Transform
from mapcc.ir.axes import Atom, Dim, Product, Rest, Shape, Sum
from mapcc.ir.notation import print_part, print_shape
from mapcc.ir.patterns import Text
from mapcc.tensors.spec import MAX_RANK

# Every chunk and pair of this size comes out even; what is small is a structure's own size.
_SIZE = 5040
_SMALL = 8
_MEMBERS = 7
_HEADS = 12

_SPECIAL = re.compile(r"[\\^$+?{}()|\[\]]")
_CONVOLUTIONS = ("Conv3dToLinear", "LinearToConv3d")
_UNSAID = ("ErnieFuseAndSplitTextVisionExperts", "ErnieSplitAndDecoupleTextVisionExperts", *_CONVOLUTIONS)


def tried(entry: Transform, namer: Namer) -> tuple[str, tuple[str, ...]]:
    """The rule, and what was assumed.

    Raises:
        NoSketch, Stops, Unfollowed: it cannot be said without a key set.
    """
    unsaid = [operation.name for operation in entry.operations if operation.name in _UNSAID]
    if unsaid or any(operation.option("num_shards_attribute") for operation in entry.operations):
        raise NoSketch(f"what {[*unsaid, 'it'][0]} does depends on the key set")
    sources = {_literal(pattern): pattern for pattern in namer.sources}
    targets = {_literal(pattern): pattern for pattern in namer.targets}
    collected = {
        pattern: [name.replace("*", str(k)) for k in range(_MEMBERS if "*" in name else 1)]
        for name, pattern in sources.items()
    }
    if (rank := _rank(entry.operations)) > MAX_RANK:
        raise NoSketch(f"a dimension beyond the {MAX_RANK} that a tensor has")
    shape = (_SIZE,) * rank
    made = equations(
        namer.targets[0], namer, entry.operations, collected, lambda _: shape, _model(entry, namer)
    )
    around = _around([*sources, *targets])
    rules = [_rule(one, (list(sources), list(targets)), around, entry.operations) for one in made]
    assumed = ["its patterns are whole segments"]
    if any(operation.option("check_dims") for operation in entry.operations):
        assumed.append("the checkpoint's tensors are the other way round than the model's")
    return "\n".join(rules), tuple(assumed)


def _literal(pattern: str) -> str:
    pattern = pattern.replace(r"\.", ".")
    if _SPECIAL.search(pattern) or not pattern:
        raise NoSketch("a regular expression in a converter, or nothing")
    return pattern


def _model(entry: Transform, namer: Namer) -> Model:
    """A model for Split: its pieces have different sizes, so that they are not taken to be equal."""
    step = _SIZE // 2 ** len(namer.targets)
    sizes = [step * (k + 1) for k in range(len(namer.targets) - 1)]
    sizes.append(_SIZE - sum(sizes))
    shapes = {target: (size,) * 8 for target, size in zip(namer.targets, sizes, strict=True)}
    splits = any(operation.name == "Split" for operation in entry.operations)
    return Model(shapes.get, splits, {"num_attention_heads": _HEADS})


def _rank(operations: Sequence[Operation]) -> int:
    """How many dimensions the operations speak of; the rest is `...`."""
    most, more = 0, 0
    for operation in operations:
        for name, default in (("dim", 0), ("dim0", 0), ("dim1", 1)):
            if name == "dim" or operation.name == "Transpose":
                at = operation.option(name, default)
                if not isinstance(at, int) or at < 0:
                    raise NoSketch("a dimension counted from the end")
                stacks = operation.name == "MergeModulelist"
                most = max(most, at + (not stacks) - more)
        more += operation.name == "MergeModulelist"
    return most


# --- names


def _around(names: Sequence[str]) -> tuple[str, str]:
    """What stands before and after the patterns, on both sides alike."""
    dotted = {name.startswith(".") for name in names}
    ends = {name.endswith(".") for name in names}
    if len(dotted) > 1 or len(ends) > 1 or any(name.endswith("_") for name in names):
        raise NoSketch("a pattern that begins or ends within a segment")
    after = "**" if ends == {True} else "" if any(name.endswith(".weight") for name in names) else "{,.**}"
    return "**" if dotted == {True} else "{,**.}", after


def _name(operand: Operand, patterns: Sequence[str], around: tuple[str, str]) -> str:
    pattern = next((p for p in patterns if p.replace("*", "0") == operand.names[0]), None)
    if pattern is None:
        raise NoSketch(f"`{operand.names[0]}` is none of its patterns")
    axis = f"[{operand.axis}]"
    written = axis.join(print_part(Text(part)) if part else "" for part in pattern.split("*"))
    return around[0] + written + around[1]


# --- shapes


def _rule(
    made: Made, names: tuple[list[str], list[str]], around: tuple[str, str], operations: Sequence[Operation]
) -> str:
    left, right = (
        ", ".join(_term(operand, patterns, around) for operand in side)
        for side, patterns in ((made.left, names[0]), (made.right, names[1]))
    )
    conditions = list(_conditions(made, operations))
    where = f" where {', '.join(conditions)}" if conditions else ""
    return f"{left} -> {right}{where}"


def _term(operand: Operand, patterns: Sequence[str], around: tuple[str, str]) -> str:
    name = _name(operand, patterns, around)
    if operand.shape is None:
        return name
    return f"{name} : {print_shape((*operand.shape, Rest()))}"


def _conditions(made: Made, operations: Sequence[Operation]) -> Iterator[str]:
    sizes = dict(made.sizes)
    for atom, size in sizes.items():
        if atom.startswith("h") and size == _HEADS:
            yield f"{atom} = {_heads(operations)}"
        elif size <= _SMALL:
            yield f"{atom} = {size}"
    for operand in made.left:
        for pieces in _sums(operand.shape or ()):
            whole = [piece.name for piece in pieces if isinstance(piece, Atom)]
            if len(whole) > 1 and len({sizes[name] for name in whole}) == 1 and sizes[whole[0]] > _SMALL:
                yield " = ".join(whole)


def _heads(operations: Sequence[Operation]) -> str:
    keys = [operation.option("subconfig_key") for operation in operations]
    inner = next((f"{key}." for key in keys if key), "")
    return f"source.config.{inner}num_attention_heads"


def _sums(dims: Shape) -> Iterator[tuple[Dim, ...]]:
    for dim in dims:
        match dim:
            case Sum(pieces):
                yield pieces
                yield from _sums(pieces)
            case Product(factors):
                yield from _sums(factors)
            case _:
                pass
