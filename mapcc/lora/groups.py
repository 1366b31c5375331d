"""The tensors of an adapter's file, sorted by the parameters that they are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from mapcc.lora.model import Adapter, Fault
from mapcc.lora.modules import Modules
from mapcc.lora.names import Role, flat_prefix, told
from mapcc.tensors.spec import Manifest, TensorSpec

_PLACES = (".base_layer", ".modules_to_save.default", ".original_module")
_FACTORS = (Role.DOWN, Role.UP, Role.EMBEDDING_DOWN, Role.EMBEDDING_UP)
_IP_ADAPTER = ("ip_adapter", "image_proj", "to_k_ip", "to_v_ip")


@dataclass(slots=True)
class Group:
    """The tensors of an adapter for one weight.

    Attributes:
        module: its name in the file.
        depth: how many wrappers stand between: of fused experts, which parameter is meant.
    """

    module: str
    depth: int = 0
    roles: dict[Role, TensorSpec] = field(default_factory=dict)
    product: dict[str, TensorSpec] = field(default_factory=dict)
    kind: str = ""
    doubled: list[TensorSpec] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in (*self.roles.values(), *self.product.values(), *self.doubled))

    def add(self, role: Role, spec: TensorSpec) -> None:
        if role in self.roles:
            self.doubled.append(spec)
        else:
            self.roles[role] = spec


@dataclass(slots=True)
class SortedNames:
    """All tensors of a file, by what they are for."""

    groups: dict[str, Group] = field(default_factory=dict)
    whole: list[tuple[Role, str, TensorSpec]] = field(default_factory=list)
    experts: dict[tuple[str, int], Group] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    several: dict[str, tuple[str, ...]] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)


def sort_out(adapter: Manifest, modules: Modules, under: str, skipped: Collection[str]) -> SortedNames:
    names = SortedNames()
    for name, spec in adapter.tensors.items():
        if name in skipped:
            continue
        rest = name.removeprefix(under)
        if under.endswith("_"):
            rest = rest.removeprefix("_")  # some write two of them
        _sort(rest, under, spec, modules, names)
    return names


def _sort(name: str, under: str, spec: TensorSpec, modules: Modules, names: SortedNames) -> None:
    role, module, suffix, parameters, kind = told(name)
    bare, depth = _unwrapped(module)
    if role is Role.WHOLE:
        role = Role.REPLACED
    found = modules.find(bare, parameters)
    if found is None and role is Role.ALPHA and (found := modules.find(name, ("",))):
        role = Role.REPLACED  # a tensor of the model has that name
    if found is None:
        if meant := modules.several(bare, parameters):
            names.several[spec.name] = meant
        elif role in (*_FACTORS, Role.ALPHA) and modules.below(bare):
            names.prefixes[spec.name] = under + modules.below(bare)[0].prefix
            names.experts.setdefault((bare, depth), Group(bare, depth)).add(role, spec)
        else:
            names.strange.append(spec.name)
        return
    names.prefixes[spec.name] = under + found.prefix
    if role in (Role.DIFFERENCE, Role.REPLACED, Role.UP_BIAS):
        names.whole.append((role, found.name, spec))
        return
    group = names.groups.setdefault(found.name, Group(bare, depth))
    if role is Role.PRODUCT:
        group.product[suffix] = spec
        group.kind = kind
    else:
        group.add(role, spec)


def _unwrapped(module: str) -> tuple[str, int]:
    """A module's name without PEFT's wrappers, and how many there were."""
    depth = 0
    for place in _PLACES:
        depth += module.count(place)
        module = module.replace(place + ".", ".").removesuffix(place)
    return module, depth


def keep_one_prefix(names: SortedNames, out: Adapter) -> None:
    """What stands before modules' names is the same for all: other names are of another component."""
    counts = Counter(names.prefixes.values())
    if not counts:
        return
    [(out.prefix, _)] = counts.most_common(1)
    foreign = {name for name, prefix in names.prefixes.items() if prefix != out.prefix}
    if not foreign:
        return
    names.strange += sorted(foreign)
    names.whole = [each for each in names.whole if each[2].name not in foreign]
    names.groups = {key: g for key, g in names.groups.items() if not foreign.intersection(g.names)}
    names.experts = {key: g for key, g in names.experts.items() if not foreign.intersection(g.names)}


def strange_fault(strange: list[str], count: int) -> Fault:
    message = f"{len(strange)} of {count} tensors belong to no module of the model"
    help = "--model KEYS names another model" if len(strange) * 2 > count else ""
    if any(mark in name for name in strange for mark in _IP_ADAPTER):
        help = "an IP-Adapter is whole layers, not factors of the model's: `mapcc convert` it with rules"
    encoders = sorted({prefix for name in strange if (prefix := flat_prefix(name)).startswith("lora_te")})
    if encoders:
        help = f"take them along: {' '.join(f'--beside {prefix}=KEYS' for prefix in encoders)}"
    return Fault("MC901", message, tuple(strange), help)
