"""Factors of fused experts, as PEFT writes them.

``lora_A`` is (expert rank) x inputs, ``lora_B`` outputs x (rank expert): not in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from mapcc.lora.arrays import read, unreadable
from mapcc.lora.config import PeftConfig
from mapcc.lora.groups import Group
from mapcc.lora.model import Adapter, Factors, Fault
from mapcc.lora.modules import Modules
from mapcc.lora.names import Role
from mapcc.lora.values import Array, alike
from mapcc.tensors.spec import Manifest, TensorSpec

Scale = Callable[[str, int, TensorSpec | None, tuple[str, ...]], float]

_SQUARE = {
    False: "square experts, read as outputs x inputs, since their class does not say is_transposed",
    True: "square experts, read as inputs x outputs, as GPT-OSS's",
}
# How transformers registers them. The last one's wrapper is PEFT's outermost.
ORDER = ("gate_up_proj", "up_proj", "gate_proj", "down_proj")


def read_experts(
    groups: Mapping[tuple[str, int], Group],
    adapter: Manifest,
    modules: Modules,
    model: Manifest,
    scale_of: Scale,
    config: PeftConfig | None,
    out: Adapter,
) -> None:
    """Groups of modules that have no weight of their own, but parameters with a block for each expert."""
    by_module: dict[str, list[Group]] = {}
    for (module, _), group in sorted(groups.items()):
        by_module.setdefault(module, []).append(group)
    told: list[bool] = []
    later: list[tuple[Group, str]] = []
    for module, nested in by_module.items():
        for group, name in _parameters(module, nested, modules, model, config, out):
            ways = _layouts(group, model.tensors[name].shape)
            if len(ways) == 1:
                told.append(ways[0])
            later.append((group, name))
    for group, name in later:
        ways = _layouts(group, model.tensors[name].shape)
        if len(ways) > 1 and len(set(told)) == 1:
            ways = told[:1]
        if len(ways) > 1:
            ways = [is_inputs_first(name, model.tensors)]
            out.notes.setdefault(_SQUARE[ways[0]], []).append(name)
        _add(group, name, ways[0], adapter, model, scale_of, out)


def _parameters(
    module: str,
    nested: Sequence[Group],
    modules: Modules,
    model: Manifest,
    config: PeftConfig | None,
    out: Adapter,
) -> list[tuple[Group, str]]:
    """Which parameter each of a module's wrappers is for: the one that its factors fit."""
    below = [found.name for found in modules.below(module) if len(model.tensors[found.name].shape) == 3]
    if config is not None and config.parameters:
        wanted = [n for n in below if any(f".{n}".endswith(f".{p}") for p in config.parameters)]
        below = wanted or below
    missing = [group for group in nested if not {Role.DOWN, Role.UP} <= group.roles.keys()]
    for group in missing:
        absent = Role.UP if Role.DOWN in group.roles else Role.DOWN
        out.faults.append(Fault("MC901", f"{absent.value} of {module} is missing", group.names))
    complete = [group for group in nested if group not in missing]
    within_reason = below if len(below) <= 6 else []
    fitting = [
        chosen
        for chosen in permutations(within_reason, len(complete))
        if all(_layouts(g, model.tensors[n].shape) for g, n in zip(complete, chosen, strict=True))
    ]
    if len(fitting) > 1:
        fitting = [chosen for chosen in fitting if list(chosen) == sorted(chosen, key=registered)[::-1]]
    if len(fitting) == 1:
        return list(zip(complete, fitting[0], strict=True))
    names = tuple(name for group in complete for name in group.names)
    shapes = ", ".join(f"{name.rpartition('.')[2]} {list(model.tensors[name].shape)}" for name in below)
    why = "fit no parameter" if not fitting else "fit several parameters"
    if complete:
        out.faults.append(
            Fault("MC901", f"factors of {module} {why} of it ({shapes or 'none has 3 axes'})", names)
        )
    return []


def registered(name: str) -> int:
    last = name.rpartition(".")[2]
    return ORDER.index(last) if last in ORDER else len(ORDER)


def _layouts(group: Group, shape: tuple[int, ...]) -> list[bool]:
    """Whether experts are outputs x inputs (False) or inputs x outputs (True), as far as shapes tell."""
    down, up = group.roles[Role.DOWN].shape, group.roles[Role.UP].shape
    experts, rows, columns = shape
    if len(down) != 2 or len(up) != 2 or down[0] != up[1] or not experts or not down[0] or down[0] % experts:
        return []
    ends = (up[0], down[1])
    return [turned for turned in (False, True) if ends == ((columns, rows) if turned else (rows, columns))]


def _add(
    group: Group,
    name: str,
    turned: bool,
    adapter: Manifest,
    model: Manifest,
    scale_of: Scale,
    out: Adapter,
) -> None:
    specs = group.roles
    if group.doubled:
        message = f"{name} has two tensors of one kind: {group.doubled[0].name}"
        out.faults.append(Fault("MC901", message, group.names))
        return
    if why := next((f"{s.name}: {why}" for s in specs.values() if (why := unreadable(s))), ""):
        out.faults.append(Fault("MC006", why, group.names))
        return
    experts, rows, _ = model.tensors[name].shape
    down, up = read(adapter, specs[Role.DOWN]), read(adapter, specs[Role.UP])
    rank = down.shape[0] // experts
    module = f"{group.module}.{name.rpartition('.')[2]}"
    scale = scale_of(module, rank, specs.get(Role.ALPHA), group.names)
    out.origins.setdefault(name, []).extend(group.names)
    out.factors[name] = tuple(
        replace(_expert(down, up, expert, experts, turned), first=expert * rows, scale=scale)
        for expert in range(experts)
    )


def _expert(down: Array, up: Array, expert: int, experts: int, turned: bool) -> Factors:
    own_down = down.reshape(experts, -1, down.shape[1])[expert]
    own_up = up.reshape(up.shape[0], -1, experts)[:, :, expert]
    if turned:
        own_down, own_up = own_up.T, own_down.T
    return Factors(np.ascontiguousarray(own_down), np.ascontiguousarray(own_up), turned=None)


def is_inputs_first(name: str, names: Collection[str]) -> bool:
    """Whether PEFT takes a parameter of fused experts for inputs x outputs.

    It does so where the module's class says ``is_transposed``. In transformers GPT-OSS's does, whose experts
    have biases; Llama 4's are inputs x outputs too, but its class does not say so, and PEFT does not ask.
    """
    return f"{name}_bias" in names


def fused(blocks: Sequence[Factors], experts: int, inputs_first: bool) -> tuple[Array, Array]:
    """The factors of all experts as PEFT writes them; ranks are filled up with zeros to the largest."""
    rank = max(block.rank for block in blocks)
    first = blocks[0]
    ends = (first.up.shape[0], first.down.shape[1])
    outputs, inputs = ends[::-1] if inputs_first else ends
    downs, ups = alike([block.down for block in blocks]), alike([block.up for block in blocks])
    if inputs_first:
        downs, ups = [up.T for up in ups], [down.T for down in downs]
    down = np.zeros((experts, rank, inputs), downs[0].dtype)
    up = np.zeros((outputs, rank, experts), ups[0].dtype)
    for block, own_down, own_up in zip(blocks, downs, ups, strict=True):
        expert = block.first // block.up.shape[0]
        down[expert, : block.rank] = own_down
        up[:, : block.rank, expert] = own_up
    return down.reshape(experts * rank, inputs), up.reshape(outputs, rank * experts)
