"""The ``adapter_config.json`` that goes with an adapter's factors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class PeftModule(NamedTuple):
    """A module with factors; or a parameter, of fused experts."""

    name: str
    rank: int
    scale: float
    turned: bool = False
    is_dora: bool = False
    is_parameter: bool = False

    @property
    def alpha(self) -> int | float:
        """What PEFT divides by the rank to get the scale."""
        alpha = self.scale * self.rank
        return int(alpha) if alpha == int(alpha) else alpha


def peft_config(
    modules: Sequence[PeftModule],
    saved: Sequence[str],
    has_biases: bool,
    targets: Mapping[str, tuple[int, ...]],
    source: Mapping[str, object],
) -> dict[str, object]:
    """What PEFT reads ranks, scales and modules from.

    Args:
        saved: tensors that are given whole.
        has_biases: some modules have a ``lora_B.bias``.
        targets: all tensors of the model.
        source: the config of the adapter that was converted, if it had one.
    """
    rank = _commonest([module.rank for module in modules], 1)
    alpha = _commonest([module.alpha for module in modules], rank)
    names = {module.name for module in modules if not module.is_parameter}
    parameters = sorted(module.name for module in modules if module.is_parameter)
    biases = [name for name in saved if name.endswith(".bias")]
    whole = {name.rpartition(".")[0] for name in saved if name.endswith(".weight")} - names
    return {
        "peft_type": "LORA",
        "task_type": source.get("task_type"),
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_pattern(m.name): m.rank for m in modules if m.rank != rank},
        "alpha_pattern": {_pattern(m.name): m.alpha for m in modules if m.alpha != alpha},
        "use_rslora": False,
        "use_dora": any(module.is_dora for module in modules),
        "lora_bias": has_biases,
        "lora_dropout": 0.0,
        "bias": "all" if biases else "none",
        "fan_in_fan_out": any(module.turned for module in modules),
        "init_lora_weights": True,
        "target_modules": _modules(names, targets),
        "target_parameters": parameters or None,
        "modules_to_save": sorted(whole) or None,
    }


def _commonest(values: Sequence[int | float], usual: int | float) -> int | float:
    return Counter(values).most_common(1)[0][0] if values else usual


def _pattern(name: str) -> str:
    """PEFT takes these as regular expressions, also behind a dot."""
    return "^" + re.escape(name).replace(r"\-", "-")


def _modules(names: Collection[str], targets: Mapping[str, tuple[int, ...]]) -> list[str] | str:
    """The last segments of the names where they say as much; the names; or an expression.

    PEFT takes a name of this list also for what ends with it behind a dot.
    """
    modules = [name.removesuffix(".weight") for name in targets if name.endswith(".weight")]
    short = sorted({name.rpartition(".")[2] for name in names})
    if {module for module in modules if module.rpartition(".")[2] in short} == set(names):
        return short
    if not any(module.endswith(f".{name}") for name in names for module in _ending(modules, name)):
        return sorted(names)
    return "|".join(re.escape(name).replace(r"\-", "-") for name in sorted(names))


def _ending(modules: Sequence[str], name: str) -> list[str]:
    last = name.rpartition(".")[2]
    return [module for module in modules if module.endswith(last) and module != name]
