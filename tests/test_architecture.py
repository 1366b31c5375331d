"""The floors: a module imports only from floors below its own, or from its own package."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "text": 0,
    "errors": 0,
    "numeric": 0,
    "resources": 0,
    "diagnostics": 1,
    "tensors": 2,
    "ir": 3,
    "syntax": 4,
    "dialects": 4,
    "passes": 5,
    "library": 6,
    "plan": 6,
    "lift": 6,
    "emit": 7,
    "lora": 7,
    "runtime": 7,
    "verify": 8,
    "origin": 7,
    "api": 9,
    "__init__": 10,  # `from mapcc import check`: the front of the house, which only the cli may use
    "port": 10,
    "cli": 11,
    "__main__": 12,
}

# An exception carries diagnostics, so its annotations name a type from one floor up.
TYPE_ONLY_UPWARD = {("errors", "diagnostics")}

# Who may import a third-party package; one that is not here belongs to everybody.
OWNERS = {
    "lark": {"syntax"},
    "yaml": {"syntax"},
    "regex": {"passes"},
    "torch": {"emit", "runtime", "port"},
    "transformers": {"lift"},
    "ray": {"emit", "runtime"},
    "fsspec": {"emit", "runtime"},
    "huggingface_hub": {"port"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
}

# The door to torch below floor 7: it builds a model to ask for its keys.
TORCH_IN_FUNCTIONS = {"tensors/factory.py"}

DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "skimage": "scikit-image"}


@dataclass(frozen=True)
class Import:
    """One imported module, by its full dotted name."""

    name: str
    line: int
    in_function: bool
    type_only: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def package(self) -> str:
        """Which of mapcc's packages this is."""
        return [*self.name.split("."), "__init__"][1]


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT / "mapcc").as_posix() for path in (ROOT / "mapcc").rglob("*.py"))


def package_of(module: str) -> str:
    return module.removesuffix(".py").partition("/")[0]


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / "mapcc" / module).read_text(encoding="utf-8"), module)


def imports(module: str) -> Iterator[Import]:
    yield from walk(parse(module), module, in_function=False, type_only=False)


def walk(node: ast.AST, module: str, *, in_function: bool, type_only: bool) -> Iterator[Import]:
    for name in imported_names(node, module):
        yield Import(name, node.lineno, in_function, type_only)  # type: ignore[attr-defined]
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        for guarded in node.body:
            yield from walk(guarded, module, in_function=in_function, type_only=True)
        for guarded in node.orelse:
            yield from walk(guarded, module, in_function=in_function, type_only=type_only)
        return
    inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, module, in_function=inside, type_only=type_only)


def imported_names(node: ast.AST, module: str) -> list[str]:
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=name, names=aliases, level=level):
            origin = absolute(name, level, module)
            # What is imported from the root may be a package of its own or a name in it.
            return [submodule(alias.name) for alias in aliases] if origin == "mapcc" else [origin]
        case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
            dynamic = ast.unparse(function) in {"import_module", "importlib.import_module", "__import__"}
            return [name] if dynamic else []
        case _:
            return []


def absolute(name: str | None, level: int, module: str) -> str:
    if level == 0:
        return name or ""
    parents = ["mapcc", *module.split("/")]
    return ".".join([*parents[: len(parents) - level], *([name] if name else [])])


def submodule(name: str) -> str:
    found = (ROOT / "mapcc" / f"{name}.py").exists() or (ROOT / "mapcc" / name).is_dir()
    return f"mapcc.{name}" if found else "mapcc"


def test_each_package_has_a_floor() -> None:
    assert {package_of(module) for module in modules()} <= FLOORS.keys()


def test_the_floors_are_those_that_the_contributors_read() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    told = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == {name: floor for name, floor in FLOORS.items() if not name.startswith("__")}


@pytest.mark.parametrize("module", modules())
def test_imports_go_down(module: str) -> None:
    package = package_of(module)
    wrong = [
        f"mapcc/{module}:{found.line} (floor {FLOORS[package]}) imports {found.name} "
        f"(floor {FLOORS[found.package]})"
        for found in imports(module)
        if found.top == "mapcc"
        and found.package != package
        and FLOORS[found.package] >= FLOORS[package]
        and not (found.type_only and (package, found.package) in TYPE_ONLY_UPWARD)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", modules())
def test_third_party_packages_stay_with_their_owners(module: str) -> None:
    wrong = [
        f"mapcc/{module}:{found.line} imports {found.name}, which belongs to {sorted(OWNERS[found.top])}"
        for found in imports(module)
        if found.top in OWNERS
        and package_of(module) not in OWNERS[found.top]
        and not (
            found.top == "torch" and module in TORCH_IN_FUNCTIONS and (found.in_function or found.type_only)
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [*extras["torch"], *extras["transformers"], *extras["port"]]
    requirements = [*project["dependencies"], *optional]
    declared = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}
    used = {found.top for module in modules() for found in imports(module)}
    third_party = used - set(sys.stdlib_module_names) - {"mapcc"}
    assert {DISTRIBUTIONS.get(name, name) for name in third_party} <= declared


@pytest.mark.parametrize("module", [m for m in modules() if package_of(m) not in {"cli", "__main__"}])
def test_only_the_cli_prints(module: str) -> None:
    streams = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}
    wrong = [
        f"mapcc/{module}:{node.lineno} uses {ast.unparse(node)}"
        for node in ast.walk(parse(module))
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in streams)
    ]
    assert not wrong, "\n".join(wrong)


CHECK_WITHOUT_TORCH = """
import sys
from mapcc.cli import main

sys.argv = ["mapcc", "check", "m.mapcc", "--source", "source.json", "--target", "target.json"]
try:
    code = main()
except SystemExit as end:
    code = end.code
if code:
    sys.exit(f"check ended with {code}")
if "torch" in sys.modules:
    sys.exit("torch was imported")
"""


def test_check_does_not_import_torch(tmp_path: Path) -> None:
    """It costs more than a second and 220 MB, and a small check takes a fraction of that."""
    spec = {"dtype": "F32", "shape": [2, 3]}
    (tmp_path / "m.mapcc").write_text('mapping m "a test"\n\nlayers.{i}.w -> blocks.{i}.weight\n', "utf-8")
    (tmp_path / "source.json").write_text(json.dumps({"layers.0.w": spec, "layers.1.w": spec}), "utf-8")
    (tmp_path / "target.json").write_text(
        json.dumps({"blocks.0.weight": spec, "blocks.1.weight": spec}), "utf-8"
    )
    command = [sys.executable, "-c", CHECK_WITHOUT_TORCH]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
