"""Which tensors of a key set are quantised weights, and which others belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mapcc.errors import MappingError
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.quantised.blocks import block_of, fits
from mapcc.tensors.quantised.model import Companion, Container, Found, Quantised
from mapcc.tensors.quantised.table import CONTAINERS, MARKERS
from mapcc.tensors.spec import Manifest, TensorSpec

Tensors = Mapping[str, TensorSpec]
Block = tuple[int, ...]
# Whether a companion belongs to a weight, by which it is and what both are: few kinds, of many tensors. Types
# by identity, as they take long to hash.
_Known = dict[tuple[str, int, Block, int, Block], bool]

# An end of a name that a companion may have, so that most checkpoints are done with after one look.
_ENDS = tuple({c.suffix for each in CONTAINERS for c in each.companions if c.required})


def quantised(key_set: Manifest) -> Found:
    """The quantised weights of a key set, told by names, types and shapes; blocks by its config too."""
    tensors = key_set.tensors
    by_tail: dict[str, list[str]] = {}
    for name in [name for name in tensors if name.endswith(_ENDS)]:
        by_tail.setdefault(_tail(name), []).append(name)
    weights: dict[str, Quantised] = {}
    owner: dict[str, Quantised] = {}
    tails = {_tail(name) for name in tensors} if by_tail else set()
    for container in CONTAINERS if by_tail else ():
        known: _Known = {}
        companions = [each for each in container.companions if _can_be(each, tails)]
        if any(each.required and each not in companions for each in container.companions):
            continue
        for stem in _stems(container, by_tail):
            main = tensors.get(stem + container.main)
            if main is None or main.name in weights or main.name in owner:
                continue
            found = _in_container(container, companions, stem, main, tensors, known)
            if found is not None:
                weights[main.name] = found
                owner.update((spec.name, found) for _, spec in found.companions)
    if not weights:
        return Found()
    markers = tuple(name for name in tensors if _tail(name) in MARKERS)
    blocks, groups = _blocks(tuple(weights.values()), config_of(key_set))
    return Found(weights, owner, markers, blocks, groups)


def _tail(name: str) -> str:
    return name.rpartition(".")[2]


def _can_be(companion: Companion, tails: Iterable[str]) -> bool:
    """Whether any tensor ends like it: most key sets have none of most companions."""
    end = _tail(companion.suffix)
    return any(tail.endswith(end) for tail in tails)


def _stems(container: Container, by_tail: Mapping[str, list[str]]) -> list[str]:
    """The stems that have the container's first required companion: few tensors end like one."""
    suffix = next(c.suffix for c in container.companions if c.required)
    tail = _tail(suffix)
    names = [name for end, several in by_tail.items() if end.endswith(tail) for name in several]
    stems = [name[: -len(suffix)] for name in names if name.endswith(suffix)]
    if suffix[0] in "._:" or container.main == "":
        return [stem for stem in stems if stem]
    # A word of its own: `scales` is not the end of `wscales`.
    return [stem for stem in stems if not stem or stem[-1] in "./:"]


def _in_container(
    container: Container,
    possible: Sequence[Companion],
    stem: str,
    main: TensorSpec,
    tensors: Tensors,
    known: _Known,
) -> Quantised | None:
    if not _is_of(main, container.types, container.certain):
        return None
    companions: list[tuple[Companion, TensorSpec]] = []
    for companion in possible:
        spec = tensors.get(stem + companion.suffix)
        if spec is not None and spec is not main:
            key = (companion.suffix, id(main.dtype), main.shape, id(spec.dtype), spec.shape)
            belongs = known.get(key)
            if belongs is None:
                belongs = known[key] = _belongs(companion, spec, main, container)
            if belongs:
                companions.append((companion, spec))
                continue
        if companion.required:
            return None
    return Quantised(container, stem, main, tuple(companions))


def _is_of(spec: TensorSpec, types: frozenset[str], certain: bool) -> bool:
    return certain if spec.dtype is None else not types or spec.dtype.name in types


def _belongs(companion: Companion, spec: TensorSpec, main: TensorSpec, container: Container) -> bool:
    if not _is_of(spec, companion.types, container.certain):
        return False
    if companion.role != "factor" or container.flat:
        return True
    if companion.fewer is not None and len(main.shape) - len(spec.shape) != companion.fewer:
        return False
    return fits(companion, main.shape, spec.shape)


def _blocks(
    weights: Sequence[Quantised], config: Mapping[str, object] | None
) -> tuple[dict[str, Block], dict[str, Block]]:
    """By container, the block in elements of a weight, and in codes."""
    by_container: dict[str, list[Quantised]] = {}
    for weight in weights:
        if not weight.container.flat:
            by_container.setdefault(weight.container.name, []).append(weight)
    stated = _stated_block(config)
    blocks: dict[str, Block] = {}
    groups: dict[str, Block] = {}
    for name, several in by_container.items():
        grids = {(id(grid[0]), *grid[1:]): grid for grid in map(_grid, several)}
        block = block_of(grids.values(), stated)
        if block and max(block) != 1:
            blocks[name] = block
            groups[name] = _in_codes(several[0], block, config)
    return blocks, groups


def _in_codes(weight: Quantised, block: Block, config: Mapping[str, object] | None) -> Block:
    container, dtype = weight.container, weight.main.dtype
    if container.packed is None or dtype is None or len(block) < -container.packed:
        return block
    codes = dtype.bits // _bits(config, container.bits) if dtype.bits >= 8 else 1
    at = len(block) + container.packed
    return tuple(size * codes if number == at else size for number, size in enumerate(block))


def _bits(config: Mapping[str, object] | None, otherwise: int) -> int:
    for key in ("quantization_config", "quantization"):
        said = (config or {}).get(key)
        bits = said.get("bits") if isinstance(said, Mapping) else None
        if type(bits) is int and 1 <= bits <= 8:
            return bits
    return otherwise


def _grid(weight: Quantised) -> tuple[Companion, tuple[int, ...], tuple[int, ...]]:
    companion, spec = next((c, spec) for c, spec in weight.companions if c.role == "factor")
    return companion, weight.main.shape, spec.shape


def _stated_block(config: Mapping[str, object] | None) -> tuple[int, ...]:
    """``weight_block_size`` of a config, of whatever form that is known."""
    said = (config or {}).get("quantization_config")
    size = said.get("weight_block_size") if isinstance(said, Mapping) else None
    if not isinstance(size, list | tuple) or not all(type(n) is int and n > 0 for n in size):
        return ()
    return tuple(size)


def config_of(key_set: Manifest) -> Mapping[str, object] | None:
    """The config of a key set, as far as it can be read.

    It only helps to recognise: what is wrong with it is told to whoever asks for a value of it.
    """
    try:
        return None if key_set.config is None else dict(key_set.config)
    except MappingError:
        return None


def quant_method(config: Mapping[str, object] | None) -> str:
    """What a config calls its quantisation; nothing if it speaks of none."""
    for key in ("quantization_config", "quantization", "compression_config"):
        said = (config or {}).get(key)
        if isinstance(said, Mapping):
            method = said.get("quant_method", said.get("quant_algo", said.get("mode", key)))
            return method if isinstance(method, str) else key
    return ""


def is_code(dtype: Dtype) -> bool:
    """Whether a tensor of a type can hold the codes of a quantised weight, in a container of any kind."""
    # Positions and the like are counted in 64 bits.
    return (dtype.kind in ("int", "uint") and dtype.bits < 64) or (dtype.kind == "float" and dtype.bits < 16)
