"""What was measured, and on what: a claim holds as long as all of that is still the same.

A file for each thing that was shown, ``evidence/parity-transformer.json``. It has the figures, and the
hash of each thing that they depend on; when one of those changes, the evidence is stale, and says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.files import write_text
from mapcc.port.hashes import GONE

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """One result.

    Attributes:
        item: what was done: ``check``, ``convert``, ``parity``, ``review``, ...
        component: of which; "" for the whole port.
        passed: whether it is as it should be.
        figures: what was measured.
        made_of: what it depends on, each with its hash: ``mapping transformer``, ``code models.py``.
    """

    item: str
    component: str
    passed: bool
    figures: Mapping[str, Any] = field(default_factory=dict)
    made_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.item}-{self.component}" if self.component else self.item


def save(folder: Path, evidence: Evidence) -> None:
    content = {
        "mapcc evidence": FORMAT,
        "item": evidence.item,
        "component": evidence.component,
        "passed": evidence.passed,
        "figures": evidence.figures,
        "made_of": dict(sorted(evidence.made_of.items())),
    }
    write_text(folder / f"{evidence.name}.json", json.dumps(content, indent=1) + "\n")


def load(folder: Path, item: str, component: str = "") -> Evidence | None:
    """What was recorded of this; None if nothing was.

    Raises:
        MappingError: MC003 if it is no evidence of mapcc.
    """
    path = folder / f"{Evidence(item, component, True).name}.json"
    try:
        content = json.loads(path.read_bytes())
        if content["mapcc evidence"] != FORMAT or (content["item"], content["component"]) != (
            item,
            component,
        ):
            raise ValueError("it is of something else")
        made_of = {str(key): str(value) for key, value in content["made_of"].items()}
        return Evidence(item, component, content["passed"] is True, dict(content["figures"]), made_of)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        help = "remove it, and measure again"
        raise MappingError([Diagnostic("MC003", f"`{path}` is no evidence: {error}", help=help)]) from None


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Why evidence does not hold any more, a phrase for each thing."""
    for key, digest in then.items():
        if key not in now or now[key] == GONE:
            yield f"{key} is gone"
        elif now[key] != digest:
            yield f"{key} has changed"
    for key in now:
        if key not in then:
            yield f"{key} has come since"
