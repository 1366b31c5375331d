"""An adapter against the models that it may be for, and what of both lies under a prefix."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mapcc.api.checking import KeySet, keys, raise_if_any
from mapcc.api.lora_files import beneath, nothing_under, prefix_of, within_memory
from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.tensors.spec import Manifest

if TYPE_CHECKING:
    from mapcc.lora.model import Adapter, Fault


def sides_of(under: str) -> tuple[str, str]:
    """The two prefixes of ``--under``, without a separator at their end.

    Raises:
        MappingError: MC007.
    """
    from mapcc.passes.under import read_under

    found = Diagnostics()
    read = read_under(under, found) if under else None
    raise_if_any(found)
    return (read.left, read.right) if read is not None else ("", "")


@dataclass(frozen=True, slots=True)
class Given:
    """An adapter, and the model that it was read against.

    Attributes:
        left: what the model's own names lie under, and the mapping's do not.
        names: of the adapter's tensors that are for the model.
    """

    adapter: Adapter
    model: Manifest
    left: str
    names: Collection[str]


def best_given(
    lora: Manifest,
    models: Sequence[KeySet],
    is_own: bool,
    left: str,
    skipped: Collection[str],
    config: tuple[str, object] | None,
    scale: float | None,
) -> Given:
    """The adapter against the first model that it fits, or the one that it fits best.

    Args:
        is_own: they are those that the mapping names.
    """
    best: Given | None = None
    for each in models:
        given = _read(lora, keys(each), is_own, left, skipped, config, scale)
        if best is None or _count(given.adapter.faults) < _count(best.adapter.faults):
            best = given
        if not given.adapter.faults:
            break
    assert best is not None
    return best


def _read(
    lora: Manifest,
    model: Manifest,
    is_own: bool,
    left: str,
    skipped: Collection[str],
    config: tuple[str, object] | None,
    scale: float | None,
) -> Given:
    """What lies under a prefix: in the adapter, in the model, or in both.

    Of a model that the mapping itself names all names do, or it is not in the model: the mapping fits that
    model as it is.

    Raises:
        MappingError: MC008: nothing does; MC903; MC904.
    """
    from mapcc.lora.adapter import read_adapter

    prefix = prefix_of(lora, left)
    own = beneath(lora, prefix)
    within = beneath(model, left + ".") if left else model
    in_model = bool(left and within.tensors) and (not is_own or len(within.tensors) == len(model.tensors))
    if not own.tensors and not in_model:
        raise MappingError([nothing_under(lora, left)])
    if not own.tensors:
        own, prefix = lora, ""
    within_memory(own, skipped)
    known = within if in_model else model
    adapter = read_adapter(own, known, "" if in_model else prefix, skipped, config, scale)
    return Given(adapter, model, left if in_model else "", own.tensors.keys())


def _count(faults: Sequence[Fault]) -> int:
    return sum(max(1, len(fault.names)) for fault in faults)
