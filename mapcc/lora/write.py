"""An adapter as one of its readers takes it, so that it multiplies by the same number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import frexp, prod

import numpy as np

from mapcc.lora.blocks import stacked
from mapcc.lora.experts import fused, is_inputs_first, registered
from mapcc.lora.model import Factors, Fault, Whole, balanced
from mapcc.lora.parts import Unfollowable
from mapcc.lora.peft_config import PeftModule, peft_config
from mapcc.lora.readers import OWN, TITLES, Shapes
from mapcc.lora.results import Results
from mapcc.lora.values import Array, identity, is_finite, is_zero, number, scalar, type_of


@dataclass(slots=True)
class Written:
    """The tensors of the output, what is to be said of it, and its config if it is PEFT's."""

    tensors: dict[str, Array] = field(default_factory=dict)
    config: dict[str, object] | None = None
    notes: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    weights: set[str] = field(default_factory=set)


def write(
    results: Results,
    reader: str,
    prefix: str,
    targets: Shapes,
    alpha_type: str = "",
    source_config: Mapping[str, object] | None = None,
    is_transposed: bool | None = None,
) -> Written:
    """The output's tensors.

    Args:
        reader: one of ``READERS``; "" is any that takes ``lora_A`` and ``lora_B`` with a scale of 1.
        prefix: before all names.
        targets: all tensors of the target, with their shapes.
        alpha_type: of alphas, if the source has some, or "".
        source_config: PEFT's, of the source.
        is_transposed: what the class of the target's fused experts says; None: what their names tell.
    """
    writer = _Writer(results, reader, prefix, targets, alpha_type, is_transposed)
    writer.all(dict(source_config or {}))
    return writer.out


class _Writer:
    def __init__(
        self,
        results: Results,
        reader: str,
        prefix: str,
        targets: Shapes,
        alpha_type: str,
        is_transposed: bool | None,
    ) -> None:
        self.results = results
        self.reader = reader
        self.prefix = prefix
        self.targets = targets
        self.alpha_type = alpha_type
        self.is_transposed = is_transposed
        self.out = Written()
        self.weights = dict(results.weights)
        self.biases: dict[str, Array] = {}
        self.saved: list[str] = []
        self.modules: list[PeftModule] = []
        self.is_kohya = reader in ("kohya", "comfy")

    def all(self, source_config: dict[str, object]) -> None:
        for target, whole in self.results.whole.items():
            if whole.replaces:
                self._replaced(target, whole)
            elif is_zero(whole.array):
                self._note("left out, since all of it is zero", target)
            elif self.is_kohya:
                self._kohya_difference(target, whole.array)
            else:
                self._difference(target, whole.array)
        if not self.is_kohya:
            self._fill_up()
        for target, factors in self.weights.items():
            if not self._refused(target, factors):
                self.out.weights.add(target)
                self._kohya(target, factors) if self.is_kohya else self._peft(target, factors)
        for target, product in self.results.products.items():
            if self.reader in ("diffusers", "peft"):
                self._fault(target, f"{product.kind} is another kind of adapter than LoRA")
                continue
            self.out.weights.add(target)
            for suffix, array in product.tensors.items():
                self.out.tensors[self._name(target) + suffix] = array
        if self.reader == "peft":
            self.out.config = peft_config(
                self.modules, self.saved, bool(self.biases), self.targets, source_config
            )

    # --- names, notes and faults

    def _name(self, target: str) -> str:
        """The module of a weight, as the reader writes it."""
        module = target.removesuffix(".weight")
        if self.reader in ("kohya", "comfy", "diffusers"):
            own = next((own for own in OWN if module.startswith(own)), "")
            module = module.removeprefix(own)
        return self.prefix + (module.replace(".", "_") if self.reader == "kohya" else module)

    def _note(self, text: str, target: str) -> None:
        self.out.notes.setdefault(text, []).append(target)

    def _fault(self, target: str, why: str) -> None:
        reader = TITLES.get(self.reader, "an adapter")
        message = f"{reader} cannot be given the adapter of {{}}: {why}"
        names = self.results.origins.get(target, ())
        self.out.faults.append(Fault("MC905", message, names, target=target))

    def _refused(self, target: str, factors: tuple[Factors, ...]) -> bool:
        is_fused = len(factors) > 1 or not target.endswith(".weight")
        if is_fused and self.reader in ("diffusers", "kohya", "comfy"):
            self._fault(target, "it is of fused experts")
        elif factors[0].embedding and self.reader in ("diffusers", "kohya", "comfy"):
            self._fault(target, "it is of an embedding")
        elif is_fused and self.reader == "peft" and self.biases:
            self._fault(target, "fused experts cannot stand beside differences of biases (lora_bias)")
        elif (
            factors[0].by_column and not factors[0].turned and not factors[0].embedding and not self.is_kohya
        ):
            self._fault(target, "its magnitudes of DoRA are norms of inputs")
        elif self._is_dora and factors[0].magnitude is None and not self.is_kohya and self.reader:
            self._fault(target, "it has no magnitude, and DoRA is for all modules or for none")
        else:
            return False
        return True

    @property
    def _is_dora(self) -> bool:
        return any(factors[0].magnitude is not None for factors in self.results.weights.values())

    # --- whole tensors

    def _replaced(self, target: str, whole: Whole) -> None:
        module, _, leaf = target.rpartition(".")
        if self.reader in ("", "peft"):
            if self.reader == "peft" and leaf not in ("weight", "bias"):
                return self._fault(target, "it is a parameter, and it saves whole modules only")
            wrapped = f"{module}.weight" in self.weights
            place = f"{module}.base_layer.{leaf}" if wrapped and self.reader else target
            self.out.tensors[self.prefix + place] = whole.array
            self.saved.append(target)
        elif self.reader == "comfy" and leaf != "bias":
            self.out.tensors[f"{self._name(target)}.set_weight"] = whole.array
        else:
            self._fault(target, "it is given whole, and not as a difference")
        return None

    def _difference(self, target: str, array: Array) -> None:
        """As factors of full rank, which multiply to it; as the bias of ``lora_B``; or as it is."""
        module, _, leaf = target.rpartition(".")
        weight = f"{module}.weight"
        if leaf == "weight" and array.ndim > 1:
            factors = _of_difference(array)
            self._note(f"written as factors of rank {factors.rank}, which multiply to the difference", target)
            known = self.weights.get(target, ())
            if known and known[0].magnitude is not None:
                return self._fault(target, "a difference beside DoRA")
            try:
                self.weights[target] = (stacked([*known, factors]),)
            except Unfollowable as why:
                self._fault(target, str(why))
        elif leaf == "bias" and len(self.targets.get(weight, ())) > 1:
            self.biases[weight] = array
        elif not self.reader:
            suffix = {"weight": f"{module}.diff", "bias": f"{module}.diff_b"}.get(leaf, f"{target}.diff")
            self.out.tensors[self.prefix + suffix] = array
        else:
            self._fault(target, "it is a difference of a tensor that is no matrix")
        return None

    def _fill_up(self) -> None:
        """Biases are for all modules or for none; and a module that has only a bias has factors of zero."""
        if not self.biases:
            return
        for weight, bias in self.biases.items():
            if weight not in self.weights:
                rows, columns = self.targets[weight][0], prod(self.targets[weight][1:])
                zeros = Factors(np.zeros((1, columns), bias.dtype), np.zeros((rows, 1), bias.dtype))
                self.weights[weight] = (zeros,)
                self.results.origins.setdefault(weight, self._origins_of_bias(weight))
        for weight in self.weights:
            if f"{weight.removesuffix('.weight')}.bias" not in self.targets and weight.endswith(".weight"):
                self._note(
                    "has no bias in the model, so that PEFT cannot fuse this adapter into weights", weight
                )

    def _origins_of_bias(self, weight: str) -> tuple[str, ...]:
        return self.results.origins.get(f"{weight.removesuffix('.weight')}.bias", ())

    def _kohya_difference(self, target: str, array: Array) -> None:
        module, _, leaf = target.rpartition(".")
        norm = len(self.targets.get(f"{module}.weight", ())) == 1 and self.reader == "kohya"
        name = self._name(f"{module}.weight")
        if leaf == "weight":
            self.out.tensors[f"{name}.w_norm" if norm else f"{name}.diff"] = array
        elif leaf == "bias":
            self.out.tensors[f"{name}.b_norm" if norm else f"{name}.diff_b"] = array
        elif self.reader == "comfy":
            self.out.tensors[f"{self._name(target)}.diff"] = array
        else:
            self._fault(target, "it is a difference of a parameter that is no module's weight or bias")

    # --- factors

    def _peft(self, target: str, factors: tuple[Factors, ...]) -> None:
        """``lora_A`` and ``lora_B``. PEFT alone is told a scale; others multiply by 1."""
        told = self.reader == "peft" and not self.biases
        same = len({f.scale for f in factors}) == 1
        own = factors if told and same else tuple(self._balanced(target, f) for f in factors)
        if len(own) > 1 or not target.endswith(".weight"):
            return self._fused(target, own)
        [one] = own
        shape = self.targets[target]
        name = self._name(target)
        turned = bool(one.turned) and self.reader == "peft"
        down, up = (one.up.T, one.down.T) if turned or one.embedding else (one.down, one.up)
        if one.embedding:
            self.out.tensors[f"{name}.lora_embedding_A"] = down
            self.out.tensors[f"{name}.lora_embedding_B"] = up
        else:
            ones = (1,) * (len(shape) - 2)
            self.out.tensors[f"{name}.lora_A.weight"] = down if turned else down.reshape(one.rank, *shape[1:])
            self.out.tensors[f"{name}.lora_B.weight"] = (
                up if turned else up.reshape(shape[0], one.rank, *ones)
            )
        if self.biases and not one.embedding:
            bias = self.biases.get(target)
            self.out.tensors[f"{name}.lora_B.bias"] = (
                np.zeros(up.shape[0], up.dtype) if bias is None else bias
            )
        if one.magnitude is not None:
            ends = (1, -1, *(1,) * (len(shape) - 2)) if len(shape) > 2 else (-1,)
            self.out.tensors[f"{name}.lora_magnitude_vector"] = one.magnitude.reshape(ends)
        module = target.removesuffix(".weight")
        self.modules.append(PeftModule(module, one.rank, one.scale, turned, one.magnitude is not None))
        return None

    def _balanced(self, target: str, factors: Factors) -> Factors:
        out = balanced(factors)
        if not is_finite(out.down) and is_finite(factors.down):
            self._fault(target, f"its scale is {factors.scale}, which is too large for its factors")
        if out is not factors and out.down.dtype.itemsize < 4 and not _is_power_of_two(factors.scale):
            self._note(f"its scale is in lora_A, rounded to {type_of(out.down)}", target)
        return out

    def _fused(self, target: str, factors: tuple[Factors, ...]) -> None:
        if len({f.scale for f in factors}) > 1:
            factors = tuple(balanced(f) for f in factors)
        shape = self.targets[target]
        inputs_first = is_inputs_first(target, self.targets)
        if self.is_transposed is not None:
            inputs_first = self.is_transposed
        down, up = fused(factors, shape[0], inputs_first)
        module = target.rpartition(".")[0]
        depth = len([t for t in self.weights if t.rpartition(".")[0] == module and _after(t, target)])
        name = self.prefix + module + ".base_layer" * depth
        self.out.tensors[f"{name}.lora_A.weight"] = down
        self.out.tensors[f"{name}.lora_B.weight"] = up
        rank = down.shape[0] // shape[0]
        self.modules.append(PeftModule(target, rank, factors[0].scale, is_parameter=True))

    def _kohya(self, target: str, factors: tuple[Factors, ...]) -> None:
        [one] = factors
        shape, name = self.targets[target], self._name(target)
        ones = (1,) * (len(shape) - 2)
        down, up = ("lora_down", "lora_up") if self.reader == "kohya" else ("lora_A", "lora_B")
        self.out.tensors[f"{name}.{down}.weight"] = one.down.reshape(one.rank, *shape[1:])
        self.out.tensors[f"{name}.{up}.weight"] = one.up.reshape(shape[0], one.rank, *ones)
        self.out.tensors[f"{name}.alpha"] = self._alpha(one.scale * one.rank)
        if one.magnitude is not None:
            ends = (1, -1, *ones) if one.by_column else (-1, 1, *ones)
            self.out.tensors[f"{name}.dora_scale"] = one.magnitude.reshape(ends)

    def _alpha(self, alpha: float) -> Array:
        own = scalar(alpha, self.alpha_type or "F32")
        return own if number(own) == alpha else scalar(alpha, "F32")


def _after(name: str, other: str) -> bool:
    """Whether PEFT wraps one parameter of a module after another: in the order of their registration."""
    return (registered(name), name) > (registered(other), other)


def _of_difference(array: Array) -> Factors:
    """Factors of full rank: one is the difference, and the other the identity."""
    matrix = array.reshape(array.shape[0], -1)
    rows, columns = matrix.shape
    if columns <= rows:
        return Factors(identity(columns, type_of(array)), matrix)
    return Factors(matrix, identity(rows, type_of(array)))


def _is_power_of_two(number: float) -> bool:
    return abs(frexp(number)[0]) == 0.5
