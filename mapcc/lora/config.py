"""What an adapter's scale is where its tensors do not say so: PEFT's config, in a file or in a header."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.passes.regexes import matches_to_end, regex_fault
from mapcc.tensors.strict_json import JsonFault, loads

N = TypeVar("N", int, float)
CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"  # where Diffusers keeps the same, under the component's prefix
LARGEST = 1e30  # of an alpha
_LIMIT = 8 << 20
# Inits that change the weights of the model too, so that the factors alone are not what was trained.
_CHANGES_MODEL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The part of PEFT's LoraConfig that says what factors mean.

    Attributes:
        where: the file, for messages.
        ranks, alphas: for modules whose names match a pattern, other than ``rank`` and ``alpha``.
        parameters: those that are adapted as parameters: of fused experts.
        fields: all of it, as it was read.
    """

    where: str
    rank: int
    alpha: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    fan_in_fan_out: bool = False
    parameters: tuple[str, ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict)

    def rank_of(self, module: str) -> int:
        return self._of(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        rank, alpha = self.rank_of(module), self._of(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)

    def _of(self, patterns: Mapping[str, N], module: str, usual: N) -> N:
        """As PEFT matches them: behind a dot or at the beginning, to the end, the first that fits."""
        for pattern, value in patterns.items():
            try:
                if matches_to_end(pattern, module):
                    return value
            except TimeoutError:
                raise _fault(self.where, f"the pattern {pattern[:80]!r} takes too long to match") from None
        return usual


def find_config(source: str, metadata: Mapping[str, str]) -> tuple[str, object] | None:
    """The config of an adapter, not yet read for what it says: where it lies, and its value.

    Args:
        source: the adapter's file or folder.
        metadata: of its header.

    Raises:
        MappingError: MC904: it is not JSON.
    """
    path = Path(source)
    beside = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    if beside.is_file() and (path.is_dir() or path.name.startswith("adapter_model")):
        return str(beside), _json(str(beside), _text(beside))
    if METADATA in metadata:
        return METADATA, _json(METADATA, metadata[METADATA])
    return None


def read_config(where: str, value: object, prefix: str = "") -> PeftConfig | None:
    """A config's facts; None if nothing of it is about names with this prefix.

    Raises:
        MappingError: MC904: it is of another kind of adapter, or does not say a number where one is needed.
    """
    if not isinstance(value, dict):
        raise _fault(where, "it is not an object of JSON")
    fields = value
    if where == METADATA:
        mark = prefix.rstrip(".") + "."
        fields = {key.removeprefix(mark): item for key, item in value.items() if key.startswith(mark)}
        if not fields:
            return None
    kind = fields.get("peft_type", "LORA")
    if kind != "LORA":
        raise _fault(where, f"it is of {kind!r}; `mapcc lora` follows LORA")
    init = fields.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(_CHANGES_MODEL):
        help = "save it with path_initial_model_for_weight_conversion, which makes it one for the plain model"
        raise _fault(where, f"init_lora_weights is {init!r}, which changes the model's own weights", help)
    rank = _number(where, fields, "r", 8)
    return PeftConfig(
        where,
        int(rank),
        _number(where, fields, "lora_alpha", 8),
        {key: int(number) for key, number in _patterns(where, fields, "rank_pattern").items()},
        _patterns(where, fields, "alpha_pattern"),
        _flag(where, fields, "use_rslora"),
        _flag(where, fields, "fan_in_fan_out"),
        tuple(name for name in _list(where, fields, "target_parameters")),
        fields,
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LIMIT:
            raise _fault(str(path), f"it is larger than {_LIMIT >> 20} MiB")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _fault(str(path), (why or str(error)).lower()) from None


def _json(where: str, text: str) -> object:
    try:
        return loads(text, "floats")
    except JsonFault as fault:
        raise _fault(where, fault.rule) from None


def _number(where: str, fields: Mapping[str, object], key: str, usual: float) -> float:
    value = fields.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise _fault(where, f"{key} is {_shown(value)}, and should be a number")
    if key == "r" and (value < 1 or value != int(value)):
        raise _fault(where, f"r is {_shown(value)}, and should be a natural number from 1")
    return value


def _patterns(where: str, fields: Mapping[str, object], key: str) -> dict[str, float]:
    value = fields.get(key) or {}
    if not isinstance(value, dict):
        raise _fault(where, f"{key} is {_shown(value)}, and should be an object of patterns and numbers")
    for pattern in value:
        if why := regex_fault(pattern):
            raise _fault(where, f"{key} has the pattern {pattern[:80]!r}: {why}")
    name = "r" if key == "rank_pattern" else "lora_alpha"
    return {pattern: _number(where, {name: number}, name, 0) for pattern, number in value.items()}


def _list(where: str, fields: Mapping[str, object], key: str) -> list[str]:
    value = fields.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _fault(where, f"{key} is {_shown(value)}, and should be a list of names")
    return value


def _flag(where: str, fields: Mapping[str, object], key: str) -> bool:
    value = fields.get(key) or False
    if not isinstance(value, bool):
        raise _fault(where, f"{key} is {_shown(value)}, and should be true or false")
    return value


def _shown(value: object) -> str:
    return json.dumps(value)[:80]


def _fault(where: str, message: str, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC904", f"`{where}`: {message}", help=help)])
