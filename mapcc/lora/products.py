"""Adapters of other kinds than LoRA: what fits a weight, and what follows its moves.

LoHa is the elementwise product of two pairs of factors: each pair follows as LoRA's do, since no element of
a target comes from two places. LoKr is a Kronecker product, whose pieces are none: it follows a rename.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from mapcc.ir.bound import BoundMapping
from mapcc.lora.follow import follow, is_computed, plain
from mapcc.lora.model import Factors, Product
from mapcc.lora.parts import Unfollowable
from mapcc.lora.values import Array, number, scalar

_PAIRS = ((".hada_w1_a", ".hada_w1_b"), (".hada_w2_a", ".hada_w2_b"))


def fits(product: Product, shape: tuple[int, ...]) -> bool:
    """Whether a product has a weight's outputs and inputs, as far as its kind is known."""
    tensors, rows, columns = product.tensors, shape[0] if shape else 1, prod(shape[1:])
    match product.kind:
        case "LoHa":
            if any(name not in tensors for pair in _PAIRS for name in pair):
                return False
            has_core = any(name.startswith(".hada_t") for name in tensors)
            ends = _loha_ends(tensors)
            return has_core or (len(ends) == 2 and set(ends.values()) == {(rows, columns)})
        case "LoKr":
            first, second = _lokr_ends(tensors, "w1"), _lokr_ends(tensors, "w2")
            if first is None or second is None:
                return False
            whole = columns if ".lokr_t2" not in tensors else shape[1]
            return first[0] * second[0] == rows and first[1] * second[1] == whole
        case _:
            return True


def follow_product(bound: BoundMapping, target: str, products: Mapping[str, Product]) -> Product:
    """What a product becomes for a target of one source; LoHa's also of several.

    Args:
        products: those of the target's sources, by source.

    Raises:
        Unfollowable: it is more than a rename, and they are not LoHa's; or a rule computes.
    """
    source = next(iter(products))
    if len(products) == 1 and plain(bound, target, source):
        return products[source]
    kinds = {product.kind for product in products.values()}
    if kinds != {"LoHa"} or any(_is_plain_loha(product) is None for product in products.values()):
        kind = ", ".join(sorted(kinds))
        raise Unfollowable(f"the factors of {kind} follow a weight that is renamed, and this is more")
    if is_computed(bound, target):
        raise Unfollowable("an operation computes values")
    out: dict[str, Array] = {}
    for at, (up, down) in enumerate(_PAIRS):
        pairs = {name: (_pair(product, at),) for name, product in products.items()}
        [factors] = follow(bound, target, pairs)
        shape = bound.given[target][0].layout.target_shapes[bound.given[target][1]]
        out[up] = factors.up
        out[down] = factors.down.reshape(factors.rank, prod(shape[1:]))
        if at == 0:
            out[".alpha"] = scalar(factors.scale * factors.rank, "F32")
    return Product("LoHa", out)


def _is_plain_loha(product: Product) -> bool | None:
    """True for two pairs and an alpha; None for what has a core, a magnitude, or lacks a factor."""
    wanted = {name for pair in _PAIRS for name in pair}
    return True if product.tensors.keys() - {".alpha"} == wanted else None


def _pair(product: Product, at: int) -> Factors:
    up, down = (product.tensors[name] for name in _PAIRS[at])
    alpha = product.tensors.get(".alpha")
    scale = 1.0 if alpha is None or at else number(alpha) / down.shape[0]
    return Factors(down.reshape(down.shape[0], -1), up.reshape(up.shape[0], -1), scale)


def _loha_ends(tensors: Mapping[str, Array]) -> dict[int, tuple[int, int]]:
    """Outputs and inputs of each pair whose ranks agree."""
    out = {}
    for at, (up, down) in enumerate(_PAIRS):
        a, b = tensors[up], tensors[down]
        if a.ndim == 2 and b.ndim >= 2 and b.shape[0] == a.shape[1] > 0:
            out[at] = a.shape[0], prod(b.shape[1:])
    return out


def _lokr_ends(tensors: Mapping[str, Array], which: str) -> tuple[int, int] | None:
    whole = tensors.get(f".lokr_{which}")
    if whole is not None:
        return (whole.shape[0], prod(whole.shape[1:])) if whole.ndim > 1 else None
    up, down = tensors.get(f".lokr_{which}_a"), tensors.get(f".lokr_{which}_b")
    if up is None or down is None or up.ndim < 2 or down.ndim < 2:
        return None
    if ".lokr_t2" in tensors and which == "w2":
        return up.shape[1], down.shape[1]
    return (up.shape[0], prod(down.shape[1:])) if up.shape[1] == down.shape[0] else None
