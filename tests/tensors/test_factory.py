"""The ``py:`` source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]

MODEL = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50_000, 4096)
        self.head = nn.Linear(4096, 50_000, bias=False)
        self.head.weight = self.embed.weight
        self.gain = nn.Parameter(torch.empty(3, dtype=torch.float16))
        self.register_buffer("ids", torch.arange(4))
        self.register_buffer("mask", torch.ones(2, 2, dtype=torch.bool))
        self.register_buffer("step", torch.tensor(1, dtype=torch.int32))
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        assert self.embed.weight.is_meta
        print("building")

    def get_extra_state(self):
        return {"version": 1}


class Families:
    small = Model


def build():
    return Model()


def state():
    return {"w": torch.zeros(2, 3, dtype=torch.uint8), "f8": torch.zeros(4, dtype=torch.float8_e4m3fn)}


def number():
    return 7


def numbers():
    return {"w": 7}


def controls():
    return {"a\\nb": torch.zeros(1)}


def double_complex():
    return {"c": torch.zeros(1, dtype=torch.complex128)}


def fails():
    print("about to fail")
    raise RuntimeError("no \\x1b[31m weights")


def fails_in_torch():
    return nn.Linear(1, 1)(torch.zeros(3))


def leaves():
    raise SystemExit(3)


def argument(config):
    return Model()
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "my_model_of_a_test.py"
    path.write_text(MODEL, "utf-8")
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    "source",
    [
        "py:my_model_of_a_test.py:build",
        "py:./my_model_of_a_test.py:Model",
        "py:my_model_of_a_test:build",
        "py:my_model_of_a_test:Families.small",
    ],
)
def test_a_module(source: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.path)
    manifest = open_keyset(source)
    assert {t.name: (t.dtype and t.dtype.short, t.shape) for t in manifest.tensors.values()} == {
        "gain": (None, (3,)),
        "ids": ("i64", (4,)),
        "mask": ("bool", (2, 2)),
        "step": ("i32", ()),
        "embed.weight": (None, (50_000, 4096)),
        "head.weight": (None, (50_000, 4096)),
    }
    assert (manifest.where, manifest.files, manifest.config) == (source, (), None)
    assert sys.path == before
    assert capsys.readouterr().out == ""


def test_a_dict_of_tensors(model: Path) -> None:
    manifest = open_keyset(f"py:{model}:state")
    assert [(t.name, t.dtype and t.dtype.short, t.shape) for t in manifest.tensors.values()] == [
        ("w", "u8", (2, 3)),
        ("f8", None, (4,)),
    ]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("number", "it is int, not a torch.nn.Module or a dict of tensors"),
        ("numbers", "`w` is int, not a tensor"),
        ("controls", "control characters"),
        ("double_complex", "torch.complex128, which safetensors does not have"),
        ("fails", "RuntimeError: no"),
        ("leaves", "SystemExit: 3"),
        ("argument", "TypeError: argument() missing 1 required positional argument"),
        ("biuld", "has no `biuld`"),
    ],
)
def test_what_goes_wrong(function: str, said: str, model: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, f"py:{model}:{function}")
    assert fault.code == "MC004"
    assert f"py:{model}:{function}" in fault.message
    assert said in fault.message


def test_a_failure_says_where_and_what_was_printed(model: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, f"py:{model}:fails")
    line = MODEL.splitlines().index('    raise RuntimeError("no \\x1b[31m weights")') + 1
    assert fault.notes[0].startswith(f"raised at {model}:{line}, in fails: raise RuntimeError(")
    assert fault.notes[1] == "the last that it printed: about to fail"


def test_a_failure_within_torch_says_which_line_led_there(model: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, f"py:{model}:fails_in_torch")
    assert "torch" in fault.notes[0]
    assert fault.notes[1].startswith(f"from {model}:")
    assert fault.notes[1].endswith("in fails_in_torch: return nn.Linear(1, 1)(torch.zeros(3))")


def test_a_misspelled_function_is_suggested(model: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, f"py:{model}:biuld")
    assert fault.help == "did you mean `build`?"


def test_a_file_that_is_not_there(model: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, "py:my_model_of_a_tset.py:build")
    assert fault.code == "MC001"
    assert fault.help == "did you mean `my_model_of_a_test.py`?"


def test_a_file_with_a_syntax_error(model: Path, faults: Faults) -> None:
    model.write_text("x = 1\ndef build(:\n    pass\n", "utf-8")
    (fault,) = faults(open_keyset, f"py:{model}:build")
    assert "SyntaxError" in fault.message
    assert fault.notes == (f"at {model}:2: def build(:",)


@pytest.mark.parametrize("source", ["py:", "py:a", "py::f", "py:a:", "py:no_such_module:f", "py:json:loads"])
def test_not_a_factory(source: str, faults: Faults) -> None:
    (fault,) = faults(open_keyset, source)
    assert fault.code == "MC004"


def test_a_neighbour_of_the_file_can_be_imported(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = model.with_name("uses_a_neighbour.py")
    other.write_text("def build():\n    from my_model_of_a_test import state\n    return state()\n", "utf-8")
    monkeypatch.chdir("/")
    assert list(open_keyset(f"py:{other}:build").names) == ["w", "f8"]


def test_without_torch(model: Path) -> None:
    """In a process of its own, where torch cannot be imported."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mapcc.errors import MappingError\n"
        "from mapcc.tensors.keysets import open_keyset\n"
        "try:\n"
        f"    open_keyset({f'py:{model}:build'!r})\n"
        "except MappingError as error:\n"
        "    print(*error.diagnostics)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "MC004" in done.stdout
    assert "torch is not installed" in done.stdout


def test_other_sources_do_not_import_torch(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text('{"a": [1]}', "utf-8")
    code = (
        "import sys\n"
        "from mapcc.tensors.keysets import open_keyset\n"
        f"open_keyset({str(tmp_path / 'k.json')!r})\n"
        "assert not {'torch', 'numpy', 'safetensors'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
