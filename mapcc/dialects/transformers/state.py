"""What transformers' operations work on here: tensors as lists of axes, under the names of patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mapcc.dialects.transformers.axes import Axes, Stops, Unfollowed
from mapcc.dialects.transformers.table import Operation, Value
from mapcc.ir.axes import Dim

Config = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor under way.

    Attributes:
        member: the axis along which it is one of many, once such an axis is taken apart.
    """

    dims: tuple[Dim, ...]
    member: Dim | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The tensors of the checkpoint that one pattern collected; merged, they are one with an axis more."""

    tensors: tuple[Tensor, ...]
    merge: Callable[[Sequence[int], Dim], None]


Held = Tensor | Listed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a converter is at work.

    Attributes:
        sources, targets: its patterns, as they are processed.
        name: the full name of the first target.
        shape: of a target of the model; None where it has none of that name.
        known: whether the model's key set is given at all.
    """

    axes: Axes
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    name: str
    shape: Callable[[str], tuple[int, ...] | None]
    known: bool
    config: Config | None

    @property
    def only_target(self) -> str:
        if len(self.targets) > 1:
            raise Stops("it gives one tensor, and there are several targets")
        return self.targets[0]

    def expected(self, name: str) -> tuple[int, ...]:
        if not self.known:
            raise Unfollowed("its sizes are the model's, whose key set is not given")
        if (shape := self.shape(name)) is None:
            raise Stops(f"the model has no parameter {name!r}")
        return shape


State = dict[str, Held]
Step = Callable[[State, Operation, Place], State]


def first(held: Held) -> Tensor:
    """A list that gets through is its first tensor."""
    return held.tensors[0] if isinstance(held, Listed) else held


def only(state: State) -> Tensor:
    if len(state) != 1:
        raise Stops(f"it takes one tensor, not {len(state)}")
    return whole(first(next(iter(state.values()))))


def whole(tensor: Tensor) -> Tensor:
    if tensor.member is not None:
        raise Unfollowed("it works on tensors that an operation before it took apart")
    return tensor


def natural(operation: Operation, name: str, default: int = 0) -> int:
    value = operation.option(name, default)
    if not isinstance(value, int):
        raise Unfollowed(f"{name}={value!r} is not a number")
    return value


def dim_of(operation: Operation, rank: int, name: str = "dim", default: int = 0) -> int:
    at = natural(operation, name, default)
    if not -rank <= at < rank:
        raise Stops(f"{name}={at}, and the tensor has {rank} dimensions")
    return at % rank


def replaced(dims: Sequence[Dim], at: int, *by: Dim) -> tuple[Dim, ...]:
    return (*dims[:at], *by, *dims[at + 1 :])


# --- what the model's config says


def subconfig(config: Config | None, key: Value) -> Config | None:
    inner = config.get(str(key)) if config is not None and key is not None else None
    return inner if isinstance(inner, Mapping) else config


def text_config(config: Config | None) -> Config | None:
    """The part of a config that is the language model's."""
    keys = ("text_encoder", "decoder", "generator", "text_config")
    inner = [part for key in keys if config and isinstance(part := config.get(key), Mapping)]
    if len(inner) > 1:
        raise Stops("the config has several parts of a language model")
    return inner[0] if inner else config


def setting(config: Config | None, name: str) -> int:
    value = config.get(name) if config is not None else None
    if not isinstance(value, int):
        raise Unfollowed(f"it needs {name} of the model's config, which does not say it")
    return value
