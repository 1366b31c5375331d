"""Runs in a process of their own, which may be killed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from mapcc.errors import MappingError
from tests.faults.jobs import REFUSED, WAS_THERE, WROTE

BROKEN = 70


def start(run: Callable[[], bool]) -> int:
    """A child that makes a run; its number."""
    child = os.fork()
    if child:
        return child
    code = BROKEN
    try:
        code = WROTE if run() else WAS_THERE
    except MappingError as error:
        code = REFUSED if max(d.exit_code for d in error.diagnostics) == 2 else BROKEN
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Its exit code; negative, the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(run: Callable[[], bool]) -> int:
    return ended(start(run))
