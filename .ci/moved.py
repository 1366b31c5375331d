"""Says how the packages of the environment that runs this differ from the lock files."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path


def main() -> None:
    locks = sorted(Path(__file__).resolve().parents[1].glob("requirements*.lock"))
    text = "".join(path.read_text("utf-8") for path in locks)
    locked: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        locked.setdefault(normal(name), []).append(version)
    here = {normal(found.metadata["Name"]): found.version.partition("+")[0] for found in distributions()}
    rows = [
        (name, " or ".join(locked.get(name, ["-"])), here.get(name, "-"))
        for name in sorted((locked.keys() | here.keys()) - {"mapcc", "pip", "setuptools"})
        if name in here and here[name] not in locked.get(name, [])
    ]
    print(f"{len(rows)} packages have moved since the lock")
    for name, before, now in rows:
        print(f"  {name:24} {before} -> {now}")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
