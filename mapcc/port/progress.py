"""The items of a port, each with the evidence that ticks it: what PLAN.md, the gate and the report share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mapcc.port.model import Component, Port
from mapcc.port.state import State


class Status(StrEnum):
    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    OPEN = "open"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be shown.

    Attributes:
        key: as the box in PLAN.md has it: ``parity transformer``.
        section: of PLAN.md, from 1.
        command: whose success is the acceptance criterion.
        in_gate: the gate asks for it.
    """

    key: str
    section: int
    title: str
    command: str
    in_gate: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    item: Item
    status: Status
    why: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.status in (Status.DONE, Status.EXCLUDED)


SECTIONS = (
    "Scope and constraints",
    "Architecture mapping",
    "Component parity milestones",
    "Pipeline wiring",
    "Testing",
    "Example and docs",
    "Risks",
)


def ordered(port: Port) -> list[Component]:
    """The DiT first: whatever goes wrong goes wrong there."""
    return sorted(port.components, key=lambda each: not each.name.startswith(("transformer", "dit", "unet")))


def items(port: Port) -> Iterator[Item]:
    yield Item("fetch", 1, "Official weights are there, their hashes recorded", "mapcc port fetch", False)
    yield Item("inspect", 1, "Layout known; conversion or config decided", "mapcc port inspect", False)
    components = ordered(port)
    for name in (component.name for component in components):
        yield Item(f"keys {name}", 2, f"{name}: both key sets dumped", "mapcc port keys", False)
        yield Item(f"check {name}", 2, f"{name}: no missing, unexpected or misshapen key", "mapcc port check")
        yield Item(f"review {name}", 2, f"{name}: rules explicit and reviewed", f"mapcc port review {name}")
    for name in (component.name for component in components):
        yield Item(f"convert {name}", 3, f"{name}: converted", "mapcc port convert")
        yield Item(f"load {name}", 3, f"{name}: loads strictly", f"mapcc port parity {name}")
        yield Item(
            f"parity {name}", 3, f"{name}: agrees with the official module", f"mapcc port parity {name}"
        )
    yield Item("check", 4, "Every tensor has a component, and the loader takes the index", "mapcc port check")
    yield Item("pipeline", 4, "The pipelines' outputs agree", "mapcc port parity pipeline")
    for name in (component.name for component in components):
        test = f"pytest {test_path(port, name)}"
        if not (port.folder / test_path(port, name)).exists():
            test = f"mapcc port parity {name} --write-test && {test}"
        yield Item(f"test {name}", 5, f"{name}: the parity test passes under pytest", test, False)
    yield Item("ssim", 5, "Images or videos are alike (SSIM)", "mapcc port compare")
    yield Item("example", 6, "The example produces its output", "mapcc port example")
    yield Item("docs", 6, "The docs are there", "mapcc port status")


def test_path(port: Port, component: str) -> str:
    """Where FastVideo's contributors look for it."""
    return f"tests/local_tests/{port.family or port.model}/test_{component}_parity.py"


def standings(port: Port) -> list[Standing]:
    """Every item with what its evidence says today."""
    state = State(port, still=True)
    return [_standing(port, state, item) for item in items(port)]


def _standing(port: Port, state: State, item: Item) -> Standing:
    if item.key in port.not_applicable:
        return Standing(item, Status.EXCLUDED, (port.not_applicable[item.key],))
    if item.key == "docs":
        return _docs(port, item)
    kind, _, component = item.key.partition(" ")
    unset = _unset(port, kind, component)
    if unset:
        return Standing(item, Status.OPEN, (unset,))
    made = state.evidence(kind, component)
    if made is None:
        return Standing(item, Status.OPEN, ("not done yet",))
    why = state.why_stale(made)
    if why:
        return Standing(item, Status.STALE, why)
    return Standing(
        item, Status.DONE if made.passed else Status.FAILED, () if made.passed else ("it failed",)
    )


def _unset(port: Port, kind: str, component: str) -> str:
    """What port.yaml does not say yet, and this item needs."""
    if kind in ("pipeline", "ssim", "example") and getattr(port, kind) is None:
        return f"port.yaml has no `{kind}`"
    if kind in ("parity", "test") and not port.component(component).has_parity:
        return "port.yaml names no official module"
    return ""


def _docs(port: Port, item: Item) -> Standing:
    if not port.docs:
        return Standing(item, Status.OPEN, ("port.yaml has no `docs`",))
    missing = [name for name in port.docs if not _has_text(port, name)]
    if missing:
        return Standing(item, Status.OPEN, tuple(f"{name} is not there, or empty" for name in missing))
    return Standing(item, Status.DONE)


def _has_text(port: Port, name: str) -> bool:
    path = port.folder / name
    return path.is_file() and path.stat().st_size > 0
