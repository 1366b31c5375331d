"""Activations of a forward pass, written to the disk as they come: memory holds one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_128

from mapcc.port.measure import tensors_in

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module
    from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor on the disk. ``digest`` is the same for the same elements in the same order."""

    digest: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int
    size: int

    @property
    def numel(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(slots=True)
class Event:
    """One call of one module: what went in and came out, and when, among all calls."""

    module: str
    call: int
    began: int
    ended: int = 0
    inputs: list[tuple[str, Kept]] = field(default_factory=list)
    outputs: list[tuple[str, Kept]] = field(default_factory=list)


class Spool:
    """A file of tensors; equal ones are in it once."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._known: dict[str, tuple[int, int]] = {}
        self._end = 0

    def keep(self, tensor: Tensor) -> Kept:
        import torch

        flat = tensor.detach().contiguous().cpu().reshape(-1)
        raw = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
        digest = f"{tensor.dtype}:{xxh3_128(raw.data).hexdigest()}"
        if digest not in self._known:
            self._file.seek(self._end)
            self._file.write(raw.data)
            self._known[digest] = (self._end, raw.nbytes)
            self._end += raw.nbytes
        begin, size = self._known[digest]
        return Kept(digest, tuple(tensor.shape), tensor.dtype, begin, size)

    def read(self, kept: Kept) -> Tensor:
        import torch

        self._file.seek(kept.begin)
        raw = bytearray(self._file.read(kept.size))
        flat = torch.frombuffer(raw, dtype=kept.dtype) if raw else torch.empty(0, dtype=kept.dtype)
        return flat.reshape(kept.shape)

    def close(self) -> None:
        self._file.close()


class Stop(Exception):
    """The activation that was waited for is there: nothing more needs to be computed."""


@contextmanager
def recorded(
    modules: Mapping[str, Module],
    wanted: Collection[str],
    spool: Spool,
    until: tuple[str, int, str] | None = None,
) -> Iterator[list[Event]]:
    """The calls of the modules ``wanted``, in the order in which they begin, while this lasts.

    Args:
        until: the module, the number of its call, and ``in`` or ``out``: :class:`Stop` is raised there.
    """
    events: list[Event] = []
    open_events: list[Event] = []
    clock, calls = [0], dict.fromkeys(wanted, 0)
    handles: list[RemovableHandle] = []

    def before(name: str) -> Any:
        def hook(_: Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
            clock[0] += 1
            event = Event(name, calls[name], clock[0])
            calls[name] += 1
            given = [*tensors_in(positional, "in"), *tensors_in(named, "in")]
            event.inputs = [(label, spool.keep(tensor)) for label, tensor in given]
            events.append(event)
            open_events.append(event)
            if until == (name, event.call, "in"):
                raise Stop

        return hook

    def after(name: str) -> Any:
        def hook(_: Module, __: tuple[Any, ...], output: object) -> None:
            clock[0] += 1
            while open_events and open_events[-1].module != name:
                open_events.pop()
            event = open_events.pop()
            event.ended = clock[0]
            event.outputs = [(label, spool.keep(tensor)) for label, tensor in tensors_in(output)]
            if until == (name, event.call, "out"):
                raise Stop

        return hook

    try:
        for name in wanted:
            handles.append(modules[name].register_forward_pre_hook(before(name), with_kwargs=True))
            handles.append(modules[name].register_forward_hook(after(name)))
        yield events
    finally:
        for handle in handles:
            handle.remove()
