"""The parameter of the model that a name in an adapter's file means."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from mapcc.lora.names import flat_prefix, spellings
from mapcc.tensors.spec import Manifest

# What a model's own names may begin with where an adapter's do not.
_OWN = ("model.diffusion_model.", "diffusion_model.")


class Found(NamedTuple):
    """A parameter of the model, and what stood before its module's name in the adapter."""

    name: str
    prefix: str


class Modules:
    """Finds parameters under longer names, under shorter ones, and with underscores for their dots."""

    def __init__(self, model: Manifest) -> None:
        self.names = model.tensors.keys()
        self.own = ("", *_own_prefixes(self.names))
        self.flat: dict[str, set[str]] = {}
        self.children: dict[str, list[str]] = {}
        for name in self.names:
            self.children.setdefault(name.rpartition(".")[0], []).append(name)
            for own in self.own:
                if name.startswith(own):
                    self.flat.setdefault(name.removeprefix(own).replace(".", "_"), set()).add(name)

    def find(self, module: str, parameters: Sequence[str]) -> Found | None:
        """The first of ``parameters`` that the module has, under any way to write its name."""
        for own in self.own:
            for spelling in spellings(module):
                for parameter in parameters:
                    if found := self._dotted(own, spelling, parameter):
                        return found
        return None if "." in module else self._flat(module, parameters)

    def below(self, module: str) -> tuple[Found, ...]:
        """The parameters right below a module, whatever they are called."""
        for prefix, rest in _heads(module):
            for own in self.own:
                if below := self.children.get(own + rest):
                    return tuple(Found(name, prefix) for name in below)
        return ()

    def _dotted(self, own: str, module: str, parameter: str) -> Found | None:
        for prefix, rest in _heads(module):
            if (name := own + rest + parameter) in self.names:
                return Found(name, prefix)
        return None

    def _flat(self, module: str, parameters: Sequence[str]) -> Found | None:
        prefix = flat_prefix(module)
        for parameter in parameters:
            names = self.flat.get(module.removeprefix(prefix) + parameter.replace(".", "_"), set())
            if len(names) == 1:
                return Found(next(iter(names)), prefix)
        return None

    def several(self, module: str, parameters: Sequence[str]) -> tuple[str, ...]:
        """The parameters that a flat name may mean, where it may mean several."""
        if "." in module:
            return ()
        rest = module.removeprefix(flat_prefix(module))
        for parameter in parameters:
            names = self.flat.get(rest + parameter.replace(".", "_"), set())
            if len(names) > 1:
                return tuple(sorted(names))
        return ()


def _heads(name: str) -> Iterator[tuple[str, str]]:
    """A name cut at each of its dots, the shortest prefix first."""
    at = 0
    while True:
        yield name[:at], name[at:]
        at = name.find(".", at) + 1
        if not at:
            return


def _own_prefixes(names: Collection[str]) -> Iterator[str]:
    first, last = min(names, default=""), max(names, default="")
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    common = first[: first.rfind(".", 0, shared) + 1]
    if common and not any(part.isdigit() for part in common.split(".")):
        yield common
    for own in _OWN:
        if own != common and any(name.startswith(own) for name in names):
            yield own
