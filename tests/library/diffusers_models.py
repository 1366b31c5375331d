"""Tiny models of Diffusers' own classes, in the layouts that its converters of single files read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any

from tests.library.oracle import Oracle, Pair

Converter = Callable[..., Mapping[str, Any]]


def single_file(
    mapping: str,
    variant: str,
    model: str,
    config: Mapping[str, object],
    converter: str,
    *,
    settings: Mapping[str, int] | None = None,
    prefix: str = "",
    constants: Mapping[int, int] | None = None,
    dropped: Mapping[str, tuple[int, ...]] | None = None,
    emptied: bool = True,
    told: bool = False,
) -> Oracle:
    """``converter`` of ``diffusers.loaders.single_file_utils``, for a ``model`` of ``config``.

    Args:
        prefix: what the converter expects before all names, and the mapping does not.
        constants: sizes of the full model that stand as numbers in the converter's code, and what
            they are in the tiny one.
        dropped: tensors of the source that nothing becomes.
        emptied: false for a converter that takes all tensors out of the checkpoint, and then asks it what
            is there: they stay there.
        told: the converter is given the model's config.
    """

    def make() -> Pair:
        import torch
        from diffusers.loaders import single_file_utils

        shapes = target_shapes(model, config)
        random = torch.Generator().manual_seed(0)
        wanted = source_shapes(mapping, shapes, settings or {}) | dict(dropped or {})
        source = {name: torch.randn(shape, generator=random) for name, shape in wanted.items()}
        convert = with_constants(getattr(single_file_utils, converter), constants or {})
        tensors = {prefix + name: t.clone() for name, t in source.items()}
        options = {"config": dict(config)} if told else {}
        expected = convert(tensors if emptied else Kept(tensors), **options)
        # What the peer makes is the real class's: the oracle is about a model that exists.
        assert {name: tuple(t.shape) for name, t in expected.items()} == shapes
        return Pair(source, expected, settings=settings or {})

    return Oracle(mapping, variant, f"diffusers {converter}", make)


class Kept(dict[str, Any]):
    """What is taken out stays in."""

    def pop(self, key: str, *default: Any) -> Any:
        return self.get(key, *default)


def with_constants(function: Any, constants: Mapping[int, int]) -> Any:
    """The same code, with other numbers in it."""
    if not constants:
        return function
    code = _replaced(function.__code__, constants)
    assert code != function.__code__
    return FunctionType(code, function.__globals__, None, function.__defaults__, function.__closure__)


def _replaced(code: CodeType, constants: Mapping[int, int]) -> CodeType:
    def changed(each: object) -> object:
        if isinstance(each, CodeType):
            return _replaced(each, constants)
        if isinstance(each, tuple):
            return tuple(map(changed, each))
        return constants.get(each, each) if type(each) is int else each

    return code.replace(co_consts=tuple(map(changed, code.co_consts)))


def target_shapes(model: str, config: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    import diffusers
    import torch

    with torch.device("meta"):
        built = getattr(diffusers, model)(**config)
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}


def source_shapes(
    mapping: str, target: Mapping[str, tuple[int, ...]], settings: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """What the mapping's inverse gives: that it is the peer's layout too, the peer's converter shows."""
    import mapcc
    from mapcc.library.catalog import catalog
    from mapcc.passes.describe import describe_targets
    from mapcc.tensors.dtypes import DTYPES
    from mapcc.tensors.spec import Manifest, TensorSpec

    family = mapping.partition("/")[0]
    [entry] = [entry for entry in catalog(families=[family]) if entry.name == mapping]
    pair = entry.pairs[0]
    text = mapcc.invert(entry.path, pair.source, pair.target).text
    specs = {name: TensorSpec(name, DTYPES["F32"], shape) for name, shape in target.items()}
    checked = mapcc.check(mapcc.parse(text), Manifest(specs, (), "tiny", None, {}), settings=dict(settings))
    assert checked.bound is not None
    assert checked.exit_code == 0, "\n".join(map(str, checked.diagnostics))
    return {shown.name: tuple(shown.shape) for shown in describe_targets(checked.bound)}
