"""The project as a newcomer meets it: its commands, its archives, an installation, the demo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What goes into the wheel, and where.
SHIPPED = {
    "mapcc": "mapcc",
    "grammars": "mapcc/grammars",
    "mappings": "mapcc/mappings",
    "docs/codes": "mapcc/codes",
}
MAPPING = "bert/minilm_to_torch"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command as a user would; what it prints, or a failure that shows it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}"
    return done.stdout


def locked(root: Path, name: str = "requirements.lock") -> list[str]:
    """What a lock file names: ``numpy==2.4.6 ; python_full_version < '3.12'``."""
    text = (root / name).read_text("utf-8")
    return re.findall(r"^([\w.-]+==[^\\\n]+?) \\$", text, re.MULTILINE)


def version(root: Path) -> str:
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def make_targets(root: Path) -> set[str]:
    return set(re.findall(r"^([-.\w]+):(?!=)", (root / "Makefile").read_text("utf-8"), re.MULTILINE))


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source archive, so that one proves the other."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=True)
    versions = folder / "versions.txt"  # without hashes, with which pip takes no wheel from a folder
    versions.write_text("".join(f"{line}\n" for line in locked(root)), "utf-8")
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", versions, wheel, cwd=folder)
    return folder


def test_make_has_its_targets(root: Path) -> None:
    assert {
        "help",
        ".venv",
        "demo",
        "test",
        "fast",
        "fuzz",
        "lock",
        "test-latest",
        "lint",
        "bench",
        "wheel",
        "clean",
    } <= make_targets(root)


def test_make_alone_lists_the_targets(root: Path) -> None:
    listed = set(re.findall(r"^  make (\S+) +\S", run("make", cwd=root), re.MULTILINE))
    assert listed == make_targets(root) - {".PHONY", ".DEFAULT_GOAL"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_commands_in_the_docs_exist(root: Path, page: str) -> None:
    text = (root / page).read_text("utf-8")
    told = set(re.findall(r"(?:^|`)make ([-a-z]+)", text, re.MULTILINE))
    assert told <= make_targets(root)
    assert "test" in told


def test_readme_tells_the_two_commands(root: Path) -> None:
    text = (root / "README.md").read_text("utf-8")
    assert "make demo" in text
    assert "make test" in text


def test_ci_runs_from_anywhere(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text("utf-8")
    run("bash", "-n", script, cwd=Path("/"))


def test_torch_is_pinned_and_optional(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert "torch==2.13.0" in (root / "constraints.txt").read_text("utf-8").splitlines()
    assert not [requirement for requirement in project["dependencies"] if requirement.startswith("torch")]


LOCKS = {"requirements.lock": 60, "requirements-torch.lock": 1, "requirements-cuda.lock": 15}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_a_hash_for_everything(root: Path, name: str) -> None:
    text = (root / name).read_text("utf-8")
    entries = re.findall(r"^[\w.-]+==.*(?:\n .*)*", text, re.MULTILINE)
    assert len(entries) == len(locked(root, name)) >= LOCKS[name]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text  # from which index is the user's choice


def test_the_lock_is_of_this_project(root: Path) -> None:
    """Whatever pyproject.toml asks for is locked, within its range; nothing of CUDA beside it."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [Requirement(r) for r in project["dependencies"] + project["optional-dependencies"]["test"]]
    versions: dict[str, list[str]] = {}
    for entry in map(Requirement, locked(root) + locked(root, "requirements-torch.lock")):
        (found,) = entry.specifier
        versions.setdefault(canonicalize_name(entry.name), []).append(found.version)
    for requirement in asked:
        here = versions[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(one) for one in here), (str(requirement), here)
    assert versions["torch"] == ["2.13.0"]
    assert not [name for name in versions if name.startswith(("nvidia", "cuda", "triton"))]


def test_what_runs_this_is_what_is_locked(root: Path) -> None:
    """In CI at least; elsewhere it may be the newest, or what a contributor has."""
    moved = run(sys.executable, root / ".ci" / "moved.py", cwd=root)
    assert moved.startswith("0 packages") or not os.environ.get("CI"), moved


@pytest.mark.slow
def test_wheel_holds_the_package_and_its_data(root: Path, wheel: Path) -> None:
    expected = {
        (Path(to) / path.relative_to(root / at)).as_posix()
        for at, to in SHIPPED.items()
        for path in (root / at).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert any(re.fullmatch(r"mapcc/grammars/\w+\.lark", name) for name in names)
    assert any(re.fullmatch(r"mapcc/codes/MC\d+\.md", name) for name in names)
    assert f"mapcc/mappings/{MAPPING}.mapcc" in names
    assert "mapcc/py.typed" in names


@pytest.mark.slow
def test_wheel_has_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("licenses/LICENSE"))
        assert b"Apache License" in archive.read(licence)


@pytest.mark.slow
@pytest.mark.network
def test_installed_says_its_version(root: Path, installed: Path, tmp_path: Path) -> None:
    assert version(root) in run(installed / "bin" / "mapcc", "--version", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_installed_checks_a_library_mapping(root: Path, installed: Path, tmp_path: Path) -> None:
    """From another folder, by the mapping's name, and without torch."""
    (site,) = installed.glob("lib/python*/site-packages")
    assert not (site / "torch").exists()
    run(installed / "bin" / "mapcc", "check", MAPPING, cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_demo(root: Path) -> None:
    printed = run(sys.executable, "docs/demo/demo.py", cwd=root)
    found = re.search(r"largest difference of the hidden states: (\S+)", printed)
    assert found, printed
    assert float(found[1]) < 1e-5


def test_the_guide_names_all_that_a_program_has() -> None:
    """Its list of functions tells the truth: every name of the package stands there."""
    import mapcc

    guide = (Path(__file__).resolve().parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    listed = guide[guide.index("A program has `") :].split("\n\n", 1)[0]
    assert [name for name in mapcc.__all__ if name != "__version__" and f"`{name}`" not in listed] == []
