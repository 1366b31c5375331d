"""Bytes depend on mapcc alone: what computes them calls nothing that a version may change."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "mapcc"
MODULES = sorted(
    path
    for folder in ("numeric", "runtime", "plan", "emit/standalone", "lora")
    for path in (ROOT / folder).glob("*.py")
)
# Of numpy: what has no rounding of its own, or the one that IEEE 754 says. `sum`, `exp`, `dot` and their
# kind are of another order, or another polynomial, on another processor.
ALLOWED = {
    *("abs", "any", "arange", "array", "asarray", "ascontiguousarray", "concatenate", "copyto", "empty"),
    *(
        "empty_like",
        "errstate",
        "finfo",
        "flatnonzero",
        "frombuffer",
        "fromfile",
        "full",
        "full_like",
        "iinfo",
    ),
    *("isnan", "logical_and", "maximum", "minimum", "moveaxis", "nan", "ndarray", "negative", "ones"),
    *("count_nonzero", "dtype", "generic", "stack", "unravel_index", "where", "zeros", "zeros_like"),
    *("bool_", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "complex128"),
    *("floor", "rint", "sqrt", "lib", "typing", "add", "fill_diagonal", "isfinite", "memmap"),
}
METHODS = {"sum", "mean", "std", "var", "dot", "prod", "cumsum", "matmul", "trace"}
# A cast of numpy to a type that it has in some versions only, or rounds to in some otherwise.
TYPES = {"<f2", "f2", "float16", "half", "bfloat16", "longdouble", "<f16"}
# An adapter's arrays of F16 have numpy's type, and are cast by their codes.
NAMED = {"lora/values.py": {"<f2"}}


def faults(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from (f"{where}: {name}" for name in foreign(node))
            case ast.Attribute(value=ast.Name(id="np"), attr=name) if name not in ALLOWED:
                yield f"{where}: np.{name}"
            case ast.Call(func=ast.Attribute(attr=name, value=value)) if name in METHODS:
                if not (isinstance(value, ast.Name) and value.id in ("math", "np")):
                    yield f"{where}: .{name}()"
            case ast.BinOp(op=ast.MatMult()):
                yield f"{where}: @"
            case ast.Constant(value=str(text)) if text in TYPES - NAMED.get(
                path.relative_to(ROOT).as_posix(), set()
            ):
                yield f"{where}: {text}"


def foreign(node: ast.AST) -> Iterator[str]:
    """The modules of ml_dtypes that a statement imports."""
    match node:
        case ast.Import(names=names):
            imported = [name.name for name in names]
        case ast.ImportFrom(module=str(module)):
            imported = [module]
        case ast.Call(args=[ast.Constant(value=str(name)), *_], func=function):
            imported = [name] if ast.unparse(function).endswith("import_module") else []
        case _:
            imported = []
    yield from (name for name in imported if name.split(".")[0] == "ml_dtypes")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_is_called(path: Path) -> None:
    assert list(faults(path)) == []


def test_no_module_needs_ml_dtypes() -> None:
    """Its casts moved between two of its versions. The tests hold mapcc's own against both."""
    modules = sorted(ROOT.rglob("*.py"))
    imported = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in foreign(node)
    ]
    assert imported == []
    assert len(modules) > 300
    dynamic = ast.parse("importlib.import_module('ml_dtypes')\nimport ml_dtypes.x\nfrom ml_dtypes import y\n")
    assert len([name for node in ast.walk(dynamic) for name in foreign(node)]) == 3


def test_what_would_be_found(tmp_path: Path) -> None:
    text = "import ml_dtypes\nnp.exp(x)\nx.sum()\na @ b\nx.astype('<f2')\nfrom ml_dtypes import bfloat16\n"
    path = ROOT / "numeric" / "none.py"
    found = list(faults(Written(path, text)))  # type: ignore[arg-type]
    assert len(found) == 6


class Written:
    """A path whose text is here."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def read_text(self, _: str) -> str:
        return self.text

    def relative_to(self, root: Path) -> Path:
        return self.path.relative_to(root)
