"""Containers in words, for people: which ones a key set has."""

from __future__ import annotations

from collections import Counter

from mapcc.tensors.quantised.model import Found, Quantised
from mapcc.tensors.quantised.recognise import config_of, quant_method, quantised
from mapcc.tensors.spec import Manifest


def describe_containers(key_set: Manifest) -> tuple[str, ...]:
    """One line for each container of quantised weights that a key set has; none if it has none.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> from mapcc.tensors.spec import TensorSpec
    >>> f8, f32 = DTYPES["F8_E4M3"], DTYPES["F32"]
    >>> specs = (TensorSpec("a.weight", f8, (288, 144)), TensorSpec("a.weight_scale_inv", f32, (3, 2)))
    >>> describe_containers(Manifest({s.name: s for s in specs}, (), "", None, {}))
    ('FP8 blocks with weight_scale_inv, 128 x 128 (1 weight)',)
    """
    found = quantised(key_set)
    counts = Counter(weight.container.name for weight in found.weights.values())
    lines = [f"{called(found, name)} ({_number(count)})" for name, count in counts.items()]
    if not lines and (method := quant_method(config_of(key_set))):
        lines = [f"none that mapcc knows, though its config says {method}"]
    return tuple(lines)


def called(found: Found, name: str) -> str:
    """A container's name, with the size of its blocks."""
    block = found.groups.get(name, ())
    if not block or not all(block):
        return name
    if len([size for size in block if size > 1]) == 1:
        return f"{name}, groups of {max(block)}"
    return f"{name}, {' x '.join(map(str, block))}"


def told(found: Found, weight: Quantised) -> str:
    """What a quantised weight is, and what its true value is."""
    return f"{called(found, weight.container.name)}: {weight.container.value}"


def _number(count: int) -> str:
    return "1 weight" if count == 1 else f"{count:,} weights"
