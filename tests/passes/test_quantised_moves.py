"""Random moves of a weight in blocks and of its scales: what check says, held against every element."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest

import mapcc
from mapcc.ir.bound import BoundMapping
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.quantised.recognise import quantised
from mapcc.tensors.spec import Manifest, TensorSpec

Array = npt.NDArray[np.int64]
FP8 = "FP8 blocks with weight_scale_inv"


def divisor(random: Random, n: int) -> int:
    return random.choice([d for d in range(1, n + 1) if n % d == 0])


def rules(random: Random, kind: str, names: list[str], rows: int, grid: int, block: int) -> str:
    """Two rules, one for weights and one for scales, that agree or do not."""
    labels = ",".join(names)
    shuffled = ",".join(random.sample(names, len(names))) if random.random() < 0.3 else labels
    match kind:
        case "interleave":
            t = divisor(random, rows)
            u = t if grid % t == 0 and random.random() < 0.5 else divisor(random, grid)
            way = random.choice(["(h t) c -> {} : (t h) c", "(t h) c -> {} : (h t) c"])
            weight, scale = f"{way} where t = {t}", f"{way} where t = {u}"
        case "blocks":
            h = divisor(random, grid)
            if rows % (h * block):
                h, block = divisor(random, rows), 1
            weight = f"(h t d) c -> {{}} : (t h d) c where h = {h}, d = {block}"
            scale = f"(h t) c -> {{}} : (t h) c where h = {h if grid % h == 0 else divisor(random, grid)}"
        case "halves":
            k = random.randrange(1, max(grid, 2))
            p = k * block if k * block < rows and random.random() < 0.6 else random.randrange(1, rows)
            weight, scale = (f"(p + q) c -> {{}} : (q + p) c where p = {each}" for each in (p, k))
        case "transpose":
            weight = "r c -> {} : c r"
            scale = random.choice([weight, "r c -> {} : r c"])
        case _:
            way = random.choice(["z : (t d) c", "z : d (t c)", "z : t d c"])
            before, behind = way.split(" : ")
            left = f"[t={labels}].weight : d c -> {before}.weight : {behind}"
            return f"{left}\n[t={shuffled}].weight_scale_inv : d c -> {before}.weight_scale_inv : {behind}"
    name = f"{names[0]}.weight"
    return f"{name} : {weight.format(name)}\n{name}_scale_inv : {scale.format(f'{name}_scale_inv')}"


def moved(bound: BoundMapping, arrays: dict[str, Array]) -> dict[str, Array]:
    out: dict[str, Array] = {}
    for instance in bound.instances:
        for number, target in enumerate(instance.targets):
            shape = instance.layout.target_shapes[number]
            flat = np.full(int(np.prod(shape)), -1, dtype=np.int64)
            for move in instance.layout.moves:
                at, to = np.array([move.source_offset]), np.array([move.target_offset])
                for size, left, right in move.dims:
                    at = (at[:, None] + np.arange(size) * left).ravel()
                    to = (to[:, None] + np.arange(size) * right).ravel()
                flat[to] = arrays[instance.sources[move.source][-1]].ravel()[at]
            out[target] = flat.reshape(shape)
    return out


def spread(scales: Array, shape: tuple[int, ...], blocks: tuple[int, ...]) -> Array | None:
    """The scale of every element, as a reader of blocks sees it; None if they are no grid."""
    places = []
    for dim, long in enumerate(shape):
        size = scales.shape[dim]
        fitting = [
            b for b in (*blocks[dim - len(shape) :], *blocks, -(-long // size)) if b and -(-long // b) == size
        ]
        length = 1 if size == long else long if size == 1 else next(iter(fitting), 0)
        if not length:
            return None
        places.append(np.arange(long) // length)
    spread: Array = scales[np.ix_(*places)]
    return spread


@pytest.mark.parametrize("seed", range(6))
def test_check_says_what_every_element_says(seed: int) -> None:
    random, seen = Random(seed), {True: 0, False: 0}
    for _ in range(60):
        block, wide = random.choice([2, 3, 4, 8]), random.choice([2, 4])
        grid, columns = random.choice([2, 4, 6]), random.choice([2, 3]) * wide
        rows = grid * block - (random.randrange(block) if random.random() < 0.2 else 0)
        names = random.choice([["l"], ["q", "k"], ["q", "k", "v"]])
        alone = ["interleave", "blocks", "halves", "transpose"]
        kind = random.choice(alone) if len(names) == 1 else "join"
        text = rules(random, kind, names, rows, grid, block)
        shape, own = (rows, columns), (grid, columns // wide)
        tensors = [TensorSpec(f"{name}.weight", DTYPES["F8_E4M3"], shape) for name in names]
        tensors += [TensorSpec(f"{name}.weight_scale_inv", DTYPES["F32"], own) for name in names]
        source = Manifest({spec.name: spec for spec in tensors}, (), "x", None, {})
        result = mapcc.check(mapcc.parse(text), source)
        codes = {diagnostic.code for diagnostic in result.diagnostics}
        if result.bound is None or codes - {"MC416"}:
            continue
        blocks = quantised(source).blocks[FP8]
        arrays: dict[str, Array] = {}
        for number, name in enumerate(names):
            scales = np.arange(grid * own[1]).reshape(own) + number * 1000
            whole = spread(scales, shape, blocks)
            assert whole is not None
            arrays |= {f"{name}.weight_scale_inv": scales, f"{name}.weight": whole}
        out = moved(result.bound, arrays)
        agree = True
        for target, weight in out.items():
            if target.endswith(".weight"):
                wanted = spread(out[f"{target}_scale_inv"], weight.shape, blocks)
                agree &= wanted is not None and np.array_equal(wanted, weight)
        assert agree == ("MC416" not in codes), text
        seen[agree] += 1
    assert min(seen.values()) > 5
