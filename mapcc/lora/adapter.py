"""An adapter read against the key set of the model that it is for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isclose

from mapcc.diagnostics.fold import fold
from mapcc.lora.arrays import read, unreadable
from mapcc.lora.config import CONFIG, LARGEST, PeftConfig, read_config
from mapcc.lora.experts import read_experts
from mapcc.lora.groups import Group, keep_one_prefix, sort_out, strange_fault
from mapcc.lora.model import Adapter, Fault, Product, Whole
from mapcc.lora.modules import Modules
from mapcc.lora.names import Role, is_partial, told
from mapcc.lora.products import fits
from mapcc.lora.shaped import Misshapen, factors_of, is_turned
from mapcc.lora.values import Array, added, cast, number, scaled, type_of
from mapcc.tensors.spec import Manifest, TensorSpec

PEFT = "base_model.model."


def read_adapter(
    adapter: Manifest,
    model: Manifest,
    under: str = "",
    skipped: Collection[str] = (),
    config: tuple[str, object] | None = None,
    scale: float | None = None,
) -> Adapter:
    """The tensors of an adapter, by the tensors of the model that they change.

    Args:
        under: how all names begin, and the model's do not.
        skipped: names to leave out.
        config: PEFT's, and where it lies.
        scale: what products are multiplied by where neither a tensor nor a config says so.

    Raises:
        MappingError: MC904: the config cannot be used. What is wrong with tensors is in ``faults``.
    """
    out = Adapter()
    modules = Modules(model)
    names = sort_out(adapter, modules, under, skipped)
    keep_one_prefix(names, out)
    peft = read_config(*config, out.prefix) if config else None
    if names.strange:
        out.faults.append(strange_fault(names.strange, len(adapter.tensors)))
    for name, meant in names.several.items():
        out.faults.append(Fault("MC901", f"{name} may be {' or '.join(fold(meant))}", (name,)))
    scales = _Scales(peft, scale, adapter, out, under)
    for weight, group in names.groups.items():
        out.origins.setdefault(weight, []).extend(group.names)
    _read_groups(names.groups, adapter, model, scales, out)
    read_experts(names.experts, adapter, modules, model, scales.of, peft, out)
    for role, name, spec in names.whole:
        _read_whole(role, name, spec, adapter, model, scales, out)
    out.faults += scales.faults()
    changes = out.factors or out.products or any(not whole.replaces for whole in out.whole.values())
    if not changes and not out.faults:
        out.faults.append(Fault("MC901", f"`{adapter.where}` holds no adapter", ()))
    return out


# --- scales


@dataclass(slots=True)
class _Scales:
    """What the products of modules are multiplied by, and what is wrong with it."""

    config: PeftConfig | None
    usual: float | None
    adapter: Manifest
    out: Adapter
    under: str
    unknown: list[str] = field(default_factory=list)
    ranks: dict[str, list[str]] = field(default_factory=dict)
    twofold: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    unbounded: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, module: str, rank: int, alpha: TensorSpec | None, names: tuple[str, ...]) -> float:
        key = (self.under + module).removeprefix(PEFT)
        if self._is_metadata:
            key = key.removeprefix(self.out.prefix)
        told = None
        if alpha is not None:
            array = read(self.adapter, alpha)
            if array.size != 1:
                self.vectors.append(alpha.name)
                return 1.0
            self.out.alpha_type = self.out.alpha_type or type_of(array)
            alpha_is = number(array)
            if not abs(alpha_is) <= LARGEST:
                self.unbounded.setdefault(f"{alpha.name} is {alpha_is}", names)
                return 1.0
            told = alpha_is / rank
        if self.config is None:
            if told is None and self.usual is None and (self.under + module).startswith(PEFT):
                self.unknown += names
            return told if told is not None else self.usual or 1.0
        if (said := self.config.rank_of(key)) != rank:
            self.ranks.setdefault(f"its rank is {rank}, and {said} in `{self.config.where}`", []).extend(
                names
            )
        scale = self.config.scale_of(key)
        if told is not None and not isclose(told, scale, rel_tol=1e-3):
            self.twofold += names
        return scale

    @property
    def _is_metadata(self) -> bool:
        return self.config is not None and not self.config.where.endswith(CONFIG)

    def faults(self) -> Iterator[Fault]:
        if self.unknown:
            message = f"what the products are multiplied by is not told: there is no {CONFIG} beside them"
            help = "--source the folder that has it, or --scale 1 (its lora_alpha / r)"
            yield Fault("MC904", message, tuple(self.unknown), help)
        for message, names in self.ranks.items():
            yield Fault("MC904", message, tuple(names))
        if self.twofold:
            yield Fault(
                "MC904", "an alpha in the file and the config say different scales", tuple(self.twofold)
            )
        for name in self.vectors:
            yield Fault("MC901", f"{name} is not one number", (name,))
        for message, of in self.unbounded.items():
            yield Fault("MC901", message, of)


# --- tensors


def _read_groups(
    groups: Mapping[str, Group], adapter: Manifest, model: Manifest, scales: _Scales, out: Adapter
) -> None:
    pairs: dict[str, tuple[Group, dict[Role, Array]]] = {}
    for weight, group in groups.items():
        specs = (*group.roles.values(), *group.product.values())
        if why := next((f"{s.name}: {why}" for s in specs if (why := unreadable(s))), ""):
            out.faults.append(Fault("MC006", why, group.names))
        elif twice := _twice(group):
            out.faults.append(Fault("MC901", f"{weight} has {twice}", group.names))
        elif group.product:
            tensors = {suffix: read(adapter, spec) for suffix, spec in group.product.items()}
            for role in (Role.ALPHA, Role.MAGNITUDE):
                if role in group.roles:
                    _, _, suffix, _, _ = told(group.roles[role].name)
                    tensors[suffix] = read(adapter, group.roles[role])
            product = Product(group.kind, tensors)
            if fits(product, model.tensors[weight].shape) and _is_one_number(tensors.get(".alpha")):
                out.products[weight] = product
            else:
                message = f"the factors of {group.kind} for {weight} do not multiply to its shape"
                out.faults.append(Fault("MC901", message, group.names))
        elif missing := _missing(group.roles):
            out.faults.append(Fault("MC901", f"{missing} of {weight} is missing", group.names))
        else:
            pairs[weight] = group, {role: read(adapter, spec) for role, spec in group.roles.items()}
    turned = is_turned(
        {weight: arrays for weight, (_, arrays) in pairs.items()},
        model,
        scales.config is not None and scales.config.fan_in_fan_out,
    )
    for weight, (group, arrays) in pairs.items():
        partial = any(is_partial(name) for name in group.names)
        try:
            factors = factors_of(arrays, model.tensors[weight].shape, weight in turned, partial)
        except Misshapen as wrong:
            out.faults.append(_misshapen(group.roles[wrong.role], weight, model, group.names))
            continue
        rank = int(arrays[Role.DOWN].shape[0]) if Role.MID in arrays else factors.rank
        scale = scales.of(group.module, rank, group.roles.get(Role.ALPHA), group.names)
        out.factors[weight] = (replace(factors, scale=scale),)


def _is_one_number(alpha: Array | None) -> bool:
    return alpha is None or (alpha.size == 1 and abs(number(alpha)) <= LARGEST)


def _twice(group: Group) -> str:
    """What there is too much of for one weight."""
    if group.doubled:
        return f"two tensors of one kind: {group.doubled[0].name}"
    kinds = (Role.DOWN, Role.UP, Role.MID), (Role.EMBEDDING_DOWN, Role.EMBEDDING_UP)
    present = [any(role in group.roles for role in kind) for kind in kinds]
    return "factors of two kinds" if sum(present) + bool(group.product) > 1 else ""


def _missing(roles: Mapping[Role, TensorSpec]) -> str:
    if Role.EMBEDDING_DOWN in roles or Role.EMBEDDING_UP in roles:
        wanted = (Role.EMBEDDING_DOWN, Role.EMBEDDING_UP)
    else:
        wanted = (Role.DOWN, Role.UP)
    return next((role.value for role in wanted if role not in roles), "")


def _read_whole(
    role: Role,
    name: str,
    spec: TensorSpec,
    adapter: Manifest,
    model: Manifest,
    scales: _Scales,
    out: Adapter,
) -> None:
    if why := unreadable(spec):
        out.faults.append(Fault("MC006", f"{spec.name}: {why}", (spec.name,)))
        return
    array = read(adapter, spec)
    if array.shape != model.tensors[name].shape:
        out.faults.append(_misshapen(spec, name, model, (spec.name,)))
        return
    out.origins.setdefault(name, []).append(spec.name)
    if role is Role.UP_BIAS:
        factors = out.factors.get(name.removesuffix(".bias") + ".weight")
        if factors and factors[0].scale != 1.0:
            array = cast(scaled(cast(array, "F64"), factors[0].scale), "F32")
    known = out.whole.get(name)
    if known is not None and known.replaces != (role is Role.REPLACED):
        message = f"{name} is given whole, and as a difference"
        out.faults.append(Fault("MC901", message, tuple(out.origins[name])))
    elif known is not None:
        array = added(known.array, array)
    out.whole[name] = Whole(array, role is Role.REPLACED)


def _misshapen(spec: TensorSpec, of: str, model: Manifest, names: tuple[str, ...]) -> Fault:
    message = (
        f"{spec.name} has shape {list(spec.shape)}, and {of} of the model {list(model.tensors[of].shape)}"
    )
    return Fault("MC901", message, names, "is it the model that the adapter was trained on?")
