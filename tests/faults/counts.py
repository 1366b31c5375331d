"""How much the tests of this folder try, and that they tried it: a test that silently does less is no test.

``MAPCC_FUZZ=nightly`` asks for the floors of a night; ``MAPCC_SEED=N`` for other inputs than CI's.
"""

from __future__ import annotations

import os
import random

IS_NIGHT = os.environ.get("MAPCC_FUZZ") == "nightly"


def inputs(ci: int, nightly: int) -> int:
    """How many inputs to try."""
    return nightly if IS_NIGHT else ci


def randomness() -> random.Random:
    """The same inputs each time, unless the environment names another seed."""
    return random.Random(int(os.environ.get("MAPCC_SEED", "20260101")))


def report(floors: dict[str, int], **counts: int) -> None:
    """Print what was counted, for ``pytest -rP``, and fail if one of the ``floors`` was not reached."""
    print(" ".join(f"{what}={count}" for what, count in counts.items()))
    missed = {what: floor for what, floor in floors.items() if counts[what] < floor}
    assert not missed, f"fewer than the floors {missed}: {counts}"
