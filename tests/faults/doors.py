"""The door to the file system, watched, and made to fail at one call of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mapcc.runtime.fs import Door

# What each call may fail with. A descriptor is closed all the same, as Linux does.
ERRORS = {
    "mkdir": (errno.ENOSPC,),
    "create": (errno.ENOSPC, errno.EIO),
    "pwrite": (errno.ENOSPC, errno.EIO),
    "allocate": (errno.ENOSPC, errno.EIO),
    "truncate": (errno.EIO,),
    "fsync": (errno.EIO, errno.ENOSPC),
    "close": (errno.EIO,),
    "rename": (errno.EIO, errno.ENOSPC),
    "unlink": (errno.EIO,),
    "rmdir": (errno.EIO,),
}
NAMES = (*ERRORS, "clone", "copy_range")


class Call(NamedTuple):
    """One call: ``path`` is the first path, or that of the descriptor."""

    name: str
    path: str
    arguments: tuple[Any, ...]


Around = Callable[[Call, Callable[[], Any]], Any]


@contextmanager
def around(step: Around) -> Iterator[None]:
    """``step`` is called in place of each call of the door, and may make it."""

    def method(name: str) -> Callable[..., Any]:
        real = getattr(Door, name)

        def call(self: Door, *arguments: Any) -> Any:
            made = Call(name, _path(arguments[0]), arguments)
            return step(made, lambda: real(self, *arguments))

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(Door, name, method(name))
        yield


def _path(first: Any) -> str:
    return str(Path(f"/proc/self/fd/{first}").readlink()) if isinstance(first, int) else str(first)


@contextmanager
def watched(tried: list[Call] | None = None) -> Iterator[list[Call]]:
    """The calls that succeed; in ``tried``, those that do not as well."""
    calls: list[Call] = []

    def step(call: Call, real: Callable[[], Any]) -> Any:
        if tried is not None:
            tried.append(call)
        result = real()
        calls.append(call)
        return result

    with around(step):
        yield calls


@contextmanager
def failing(number: int, error: int) -> Iterator[None]:
    """Call ``number``, counted from 0, fails."""
    left = iter(range(number))

    def step(call: Call, real: Callable[[], Any]) -> Any:
        if next(left, None) is None and next(once, None):
            if call.name == "close":
                real()
            raise OSError(error, os.strerror(error))
        return real()

    once = iter([True])
    with around(step):
        yield


@contextmanager
def deadly(number: int, code: int) -> Iterator[None]:
    """The process ends before call ``number``, as by SIGKILL; in a child alone."""
    left = iter(range(number))

    def step(call: Call, real: Callable[[], Any]) -> Any:
        if next(left, None) is None:
            os._exit(code)
        return real()

    with around(step):
        yield
