"""Whatever is wrong with the input: diagnostics with a place, the exit code of the registry, nothing else.

Nothing is written, nothing of a file drives the terminal, and there is no traceback.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapcc.diagnostics.codes import CODES

Mapcc = Callable[..., Any]
Write = Callable[[str, Any, bytes], Path]

SPEC = {"dtype": "F32", "shape": [2, 3]}
KEYS = ("--source", "source.json", "--target", "target.json")
ESC = "\x1b[31m"
FOUND = re.compile(r"^(?:error|warning)\[(MC\d{3})\]: (.+)$", re.MULTILINE)
PLACE = re.compile(r"^ *--> (.+:\d+:\d+)$", re.MULTILINE)


def tree() -> dict[str, bytes | None]:
    """All files and folders below the working directory, with what is in them."""
    paths = sorted(path for path in Path().rglob("*") if "__pycache__" not in path.parts)
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def bad(folder: Path, mapcc: Mapcc) -> Callable[..., tuple[list[str], list[str], str]]:
    """``bad("check", ...)``: the codes, the places and all that was printed, after what always holds."""

    def run(*arguments: object) -> tuple[list[str], list[str], str]:
        before = tree()
        ran = mapcc(*arguments)
        printed = ran.out + ran.err
        assert tree() == before
        assert "Traceback" not in printed
        assert "bug in mapcc" not in printed
        assert printed.replace("\n", "").isprintable()
        codes = [code for code, _ in FOUND.findall(printed)]
        assert codes, printed
        assert ran.code == max(CODES[code].exit_code for code in codes)
        count = "1 error" if len(codes) == 1 else f"{len(codes)} errors"
        assert printed.endswith(f"\n\n{count}\n")
        if arguments[0] != "check":
            assert ran.out == ""  # standard output belongs to the result
        return codes, PLACE.findall(printed), printed

    return run


# --- the mapping

MAPPINGS = {
    "unknown key": ("m.yaml", "mapping: m\nrulez:\n- drop: a\n", "MC102", "m.yaml:2:1"),
    "duplicate key": ("m.yaml", "mapping: m\nrules: []\nrules: []\n", "MC102", "m.yaml:3:1"),
    "not YAML": ("m.yaml", "mapping: [m\n", "MC101", "m.yaml:2:1"),
    "control character in YAML": ("m.yaml", f"mapping: m\n# {ESC}\nrules: []\n", "MC101", "m.yaml:2:3"),
    "escaped control character": (
        "m.yaml",
        'rules:\n  - rename: {from: "a\\e[31m", to: b}\n',
        "MC101",
        "m.yaml:2:22",
    ),
    "syntax": ("m.mapcc", "layers.{i}.w => blocks.{i}.weight\n", "MC101", "m.mapcc:1:14"),
    "control character in a name": ("m.mapcc", f"a\n-> b\nc{ESC} -> d\n", "MC101", "m.mapcc:3:2"),
    "control character in a comment": ("m.mapcc", f"a -> b  # {ESC}\n", "MC101", "m.mapcc:1:11"),
    "control character in a text": ("m.mapcc", f'drop a because "{ESC}"\n', "MC101", "m.mapcc:1:17"),
    "C1 control character": ("m.mapcc", "a -> b # \x9b31m\n", "MC101", "m.mapcc:1:10"),
    "NUL": ("m.mapcc", "a\0 -> b\n", "MC101", "m.mapcc:1:2"),
    "binary": ("m.mapcc", "\x7fELF\x02\x01\x01\0\0\0", "MC101", "m.mapcc:1:1"),
    "uses itself": ("m.mapcc", 'use "m.mapcc"\n', "MC105", "m.mapcc:1:1"),
    "uses nothing": (
        "m.mapcc",
        'layers.{i}.w -> blocks.{i}.weight\nuse "absent.mapcc"\n',
        "MC001",
        "m.mapcc:2:1",
    ),
    "uses a folder": ("m.mapcc", 'use "."\n', "MC001", "m.mapcc:1:1"),
    "too deep": ("m.mapcc", f"a : {'(' * 99}x{')' * 99} -> b\n", "MC103", "m.mapcc:1:1"),
}


@pytest.mark.parametrize("case", MAPPINGS)
def test_a_mapping_with_one_fault(bad: Any, case: str) -> None:
    name, text, code, place = MAPPINGS[case]
    Path(name).write_text(text, "utf-8")
    codes, places, printed = bad("check", name, *KEYS)
    assert (codes, places) == ([code], [place]), printed


@pytest.mark.parametrize("case", MAPPINGS)
@pytest.mark.parametrize("command", ["convert", "fmt", "show", "invert", "emit-config"])
def test_every_command_reports_it_alike(bad: Any, command: str, case: str) -> None:
    name, text, code, place = MAPPINGS[case]
    if command == "fmt" and code in {"MC001", "MC105"}:
        pytest.skip("fmt reads this file alone, and binds nothing")
    Path(name).write_text(text, "utf-8")
    options = () if command == "fmt" else KEYS if command != "convert" else (*KEYS, "--out", "out")
    codes, places, printed = bad(command, name, *options)
    assert (codes, places) == ([code], [place]), printed


def test_no_such_mapping(bad: Any) -> None:
    codes, places, printed = bad("check", "mm.mapcc", *KEYS)
    assert (codes, places) == (["MC001"], [])
    assert "did you mean `m.mapcc`?" in printed


def test_a_name_of_a_file_is_escaped(bad: Any) -> None:
    assert "\\x1b[31m.mapcc" in bad("check", f"{ESC}.mapcc", *KEYS)[2]
    assert "\\x1b[31m.json" in bad("check", "m.mapcc", "--source", f"{ESC}.json")[2]
    Path(f"{ESC}.mapcc").write_text("a => b\n", "utf-8")
    codes, places, _ = bad("check", f"{ESC}.mapcc", *KEYS)
    assert (codes, places) == (["MC101"], ["\\x1b[31m.mapcc:1:3"])


def test_a_folder_is_no_mapping(bad: Any) -> None:
    Path("d.mapcc").mkdir()
    codes, _, printed = bad("check", "d.mapcc", *KEYS)
    assert codes == ["MC001"]
    assert "not a regular file" in printed


@pytest.mark.parametrize("name", ["m.mapcc", "m.yaml"])
def test_bytes_that_are_no_text(bad: Any, name: str) -> None:
    Path(name).write_bytes(b"\x93NUMPY\xff")
    codes, _, printed = bad("check", name, *KEYS)
    assert codes == ["MC001"]
    assert "not UTF-8 text (byte 0)" in printed


@pytest.mark.parametrize(
    ("name", "text"), [("e.mapcc", ""), ("e.yaml", ""), ("e.mapcc", 'mapping e "none"\n')]
)
def test_an_empty_mapping_takes_and_gives_nothing(bad: Any, name: str, text: str) -> None:
    Path(name).write_text(text, "utf-8")
    codes, _, _ = bad("check", name, *KEYS)
    assert codes == ["MC402", "MC401"]


def test_all_syntax_errors_at_once(bad: Any) -> None:
    lines = [
        "a.{q,k -> b.{q,k}",
        "c -> d",
        "e.* => f.*",
        "g : (a b -> h : a b",
        "i -> j",
        'drop k becuse "x"',
    ]
    Path("m.mapcc").write_text("\n".join(lines) + "\n", "utf-8")
    codes, places, _ = bad("check", "m.mapcc", *KEYS)
    assert codes == ["MC101"] * 4
    assert [place.split(":")[1] for place in places] == ["1", "3", "4", "6"]


def test_a_circle_through_another_file(bad: Any) -> None:
    Path("m.mapcc").write_text('use "n.mapcc"\n', "utf-8")
    Path("n.mapcc").write_text('layers.{i}.w -> blocks.{i}.weight\nuse "m.mapcc"\n', "utf-8")
    codes, places, printed = bad("check", "m.mapcc", *KEYS)
    assert (codes, places) == (["MC105"], ["n.mapcc:2:1"])
    assert "m.mapcc -> n.mapcc -> m.mapcc" in printed


def test_mapping_and_key_sets_are_all_reported(bad: Any) -> None:
    Path("m.mapcc").write_text("a => b\n", "utf-8")
    Path("target.json").write_text("[]", "utf-8")
    codes, places, _ = bad("check", "m.mapcc", "--source", "absent.json", "--target", "target.json")
    assert codes == ["MC101", "MC001", "MC003"]
    assert places == ["m.mapcc:1:3", "target.json:1:1"]


# --- the key sets

HEADERS = {
    "a header that is cut": (b'{"a": ', b"", "a header ends with `}`"),
    "no JSON": (b"{nonsense}", b"", "JSON:"),
    "no object": (b'["a"]', b"", "a header"),
    "cut in the tensors": ({"a": {**SPEC, "data_offsets": [0, 24]}}, b"\0" * 5, "it is cut short"),
    "an overlap": (
        {"a": {**SPEC, "data_offsets": [0, 24]}, "b": {**SPEC, "data_offsets": [12, 36]}},
        b"\0" * 36,
        "tensor `b`",
    ),
    "a name with ESC": (
        {f"a{ESC}": {**SPEC, "data_offsets": [0, 24]}},
        b"\0" * 24,
        "tensor `a\\x1b[31m`: a name has no control characters",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_broken_header(bad: Any, write_checkpoint: Write, case: str) -> None:
    header, data, words = HEADERS[case]
    write_checkpoint("broken.safetensors", header, data)
    for command in (
        ("check", "m.mapcc", "--source", "broken.safetensors"),
        ("convert", "m.mapcc", "--source", "broken.safetensors", "--out", "out"),
        ("keys", "broken.safetensors", "--out", "keys.json"),
    ):
        codes, _, printed = bad(*command)
        assert codes == ["MC002"]
        assert "`broken.safetensors`" in printed
        assert words in printed


@pytest.mark.parametrize("raw", [b"", b"\1\0\0", b"\xff" * 8 + b"{}", (1000).to_bytes(8, "little") + b"{}"])
def test_a_file_that_is_cut(bad: Any, raw: bytes) -> None:
    Path("cut.safetensors").write_bytes(raw)
    assert bad("check", "m.mapcc", "--source", "cut.safetensors")[0] == ["MC002"]


KEYS_FILES = {
    "cut": ('{"a": ', "expecting value", "k.json:1:7"),
    "a list": ("[1]", "not a JSON object", "k.json:1:1"),
    "an entry that is none": ('{\n"a": "F32"}', "an entry is", "k.json:2:1"),
    "a negative size": ('{"a": [2,\n -1]}', "-1 is not a natural number", "k.json:2:2"),
    "a size in parts": ('{"a": [1.5]}', "1.5 is not a natural number", "k.json:1:8"),
    "a key twice": ('{"a": [1],\n "a": [2]}', 'the key "a" stands twice', "k.json:2:2"),
    "a name with ESC": (json.dumps({f"a{ESC}": [1]}), "no control characters", "k.json:1:2"),
    "an unknown dtype": ('{"a": {"dtype": "F99", "shape": []}}', "F99", "k.json:1:2"),
}


@pytest.mark.parametrize("case", KEYS_FILES)
def test_a_broken_keys_file(bad: Any, case: str) -> None:
    text, words, place = KEYS_FILES[case]
    Path("k.json").write_text(text, "utf-8")
    for command in (("check", "m.mapcc", "--source", "k.json"), ("keys", "k.json")):
        codes, places, printed = bad(*command)
        assert (codes, places) == (["MC003"], [place]), printed
        assert words in printed


@pytest.mark.parametrize("name", ["absent.json", "absent.safetensors", "absent/", "absent.index.json"])
def test_no_such_key_set(bad: Any, name: str) -> None:
    assert bad("check", "m.mapcc", "--source", name)[0] == ["MC001"]
    assert bad("keys", name)[0] == ["MC001"]


def test_a_folder_without_a_checkpoint(bad: Any) -> None:
    Path("empty").mkdir()
    assert bad("check", "m.mapcc", "--source", "empty")[0] == ["MC006"]


@pytest.mark.parametrize("option", ["--source-config", "--target-config"])
def test_a_config_that_is_none(bad: Any, option: str) -> None:
    assert bad("check", "m.mapcc", *KEYS, option, "absent.json")[0] == ["MC001"]
    Path("c.json").write_text("[]", "utf-8")
    codes, places, _ = bad("check", "m.mapcc", *KEYS, option, "c.json")
    assert (codes, places) == (["MC003"], ["c.json:1:1"])


FACTORY = """
import torch

NUMBER = 1

def raises():
    print("loading")
    raise RuntimeError("no \\x1b[31m weights")

def ends():
    raise SystemExit(0)

def number():
    return 3
"""

FACTORIES = {
    "py:": "not a module and a function",
    "py:factory": "not a module and a function",
    "py:factory.py:raises": "RuntimeError: no \\x1b[31m weights",
    "py:factory.py:ends": "SystemExit: 0",
    "py:factory.py:number": "it is int, not a torch.nn.Module",
    "py:factory.py:NUMBER": "it is int, not a torch.nn.Module",
    "py:factory.py:raise": "did you mean `raises`?",
    "py:broken.py:f": "SyntaxError",
    "py:no_such_module_of_mapcc:f": "No module named 'no_such_module_of_mapcc'",
    f"py:{ESC}:f": "No module named",
}


@pytest.mark.parametrize("where", FACTORIES)
def test_a_factory_that_fails(bad: Any, where: str) -> None:
    pytest.importorskip("torch")
    Path("factory.py").write_text(FACTORY, "utf-8")
    Path("broken.py").write_text("def f(:\n", "utf-8")
    codes, _, printed = bad("check", "m.mapcc", "--source", where)
    assert codes == ["MC004"]
    assert FACTORIES[where] in printed
    assert "contextlib" not in printed  # mapcc's own frames are no place to look


def test_a_factory_in_no_file(bad: Any) -> None:
    pytest.importorskip("torch")
    assert bad("keys", "py:absent.py:f")[0] == ["MC001"]


# --- the options

LET = "let heads = 2\nlayers.{i}.w : (h d) c -> blocks.{i}.weight : (d h) c where h = heads\n"


@pytest.mark.parametrize("setting", ["heads", "=3", "", "1=2", f"{ESC}=3", "a b=3"])
def test_a_setting_that_is_malformed(bad: Any, setting: str) -> None:
    codes, _, printed = bad("check", "m.mapcc", *KEYS, "--set", setting)
    assert codes == ["MC007"]
    assert "is not NAME=VALUE" in printed


def test_a_setting_of_no_let(bad: Any) -> None:
    Path("m.mapcc").write_text(LET, "utf-8")
    codes, _, printed = bad("check", "m.mapcc", *KEYS, "--set", "heds=3")
    assert codes == ["MC104"]
    assert "heads" in printed


@pytest.mark.parametrize("value", ["abc", "", "1.5", "inf", "nan", "1e400", "9" * 5000, "-1", "0", "3", ESC])
def test_a_setting_that_does_not_fit(bad: Any, value: str) -> None:
    Path("m.mapcc").write_text(LET, "utf-8")
    codes, places, _ = bad("check", "m.mapcc", *KEYS, "--set", f"heads={value}")
    assert codes in (["MC108"], ["MC306"])
    assert len(places) == 1


@pytest.mark.parametrize("size", ["abc", "", "0", "-1GB", "nan", "inf", "1e400", "5XB", ESC])
def test_a_shard_size_that_is_none(bad: Any, size: str) -> None:
    convert = ("convert", "m.mapcc", "--source", "source.safetensors", "--out", "out")
    assert bad(*convert, f"--max-shard-size={size}")[0] == ["MC007"]


@pytest.mark.parametrize("prefix", ["a/b", "", "..", f"a{ESC}", "a\0", "x" * 300])
def test_a_prefix_that_is_no_file_name(bad: Any, prefix: str) -> None:
    convert = ("convert", "m.mapcc", "--source", "source.safetensors", "--out", "out")
    assert bad(*convert, "--prefix", prefix)[0] == ["MC007"]


@pytest.mark.parametrize("format", ["cobol", "", ESC])
def test_an_unknown_dialect(bad: Any, format: str) -> None:
    codes, _, printed = bad("emit-config", "m.mapcc", *KEYS, "--format", format)
    assert codes == ["MC007"]
    assert "fastvideo" in printed


@pytest.mark.parametrize("code", ["MC999", "nonsense", "", "../codes/MC001", ESC])
def test_an_unknown_code(bad: Any, code: str) -> None:
    codes, _, printed = bad("explain", code)
    assert codes == ["MC007"]
    assert "codes go from MC001 to" in printed


@pytest.mark.parametrize("side", ["target", "source"])
@pytest.mark.parametrize("filter", ["no.such.name", "*.bias", "[", ESC])
def test_a_filter_that_matches_nothing(bad: Any, filter: str, side: str) -> None:
    codes, _, printed = bad("show", "m.mapcc", *KEYS, "--filter", filter, "--side", side)
    assert codes == ["MC007"]
    assert f"no {side} tensor matches" in printed


# --- the output

CONVERT = ("convert", "m.mapcc", "--source", "source.safetensors", "--out")


def test_an_output_that_is_there(bad: Any) -> None:
    Path("full").mkdir()
    Path("full/note.txt").write_text("mine", "utf-8")
    codes, _, printed = bad(*CONVERT, "full")
    assert codes == ["MC005"]
    assert "not empty" in printed
    codes, _, printed = bad(*CONVERT, "m.mapcc")
    assert codes == ["MC005"]
    assert "it is a file" in printed


@pytest.mark.parametrize("out", ["m.mapcc/out", "m.mapcc/a/b/out"])
def test_an_output_below_a_file(bad: Any, out: str) -> None:
    codes, _, printed = bad(*CONVERT, out)
    assert codes == ["MC005"]
    assert f"cannot write `{out}`" in printed
    assert "is not a folder" in printed


@pytest.mark.parametrize("out", [".", "", "source.safetensors", "link", "o" * 300])
def test_an_output_that_cannot_be(bad: Any, out: str) -> None:
    Path("link").symlink_to(".")
    assert bad(*CONVERT, out)[0] == ["MC005"]


@pytest.mark.parametrize("source", ["checkpoint", "checkpoint/model.safetensors"])
def test_an_output_over_its_source(bad: Any, source: str) -> None:
    Path("checkpoint").mkdir()
    Path("source.safetensors").rename("checkpoint/model.safetensors")
    codes, _, printed = bad("convert", "m.mapcc", "--source", source, "--out", "checkpoint")
    assert codes == ["MC005"]
    assert "choose another --out" in printed


def test_an_output_beside_its_source_leaves_it_alone(folder: Path, mapcc: Mapcc) -> None:
    Path("checkpoint").mkdir()
    source = Path("source.safetensors").rename("checkpoint/model.safetensors")
    before = source.read_bytes()
    ran = mapcc("convert", "m.mapcc", "--source", "checkpoint", "--out", "checkpoint/converted")
    assert ran.code == 0
    assert source.read_bytes() == before


def test_names_without_values_cannot_be_converted(bad: Any) -> None:
    codes, _, printed = bad("convert", "m.mapcc", *KEYS, "--out", "out")
    assert codes == ["MC006"]
    assert "not their values" in printed


@pytest.mark.parametrize("out", ["absent/keys.json", "m.mapcc/keys.json", "."])
def test_keys_that_cannot_be_written(bad: Any, out: str) -> None:
    assert bad("keys", "source.json", "--out", out)[0] == ["MC005"]


def test_nothing_is_formatted_over_a_fault(bad: Any) -> None:
    Path("m.mapcc").write_text("a => b\n", "utf-8")
    assert bad("fmt", "m.mapcc", "--write")[0] == ["MC101"]


# --- the command line itself

USAGE = {
    "no command": ("nope",),
    "a command that is ESC": (ESC,),
    "no mapping": ("check",),
    "no source": ("show", "m.mapcc"),
    "no output": ("convert", "m.mapcc", "--source", "source.safetensors"),
    "an unknown option": ("check", "m.mapcc", f"--nope{ESC}"),
    "an unknown format": ("check", "m.mapcc", *KEYS, "--format", "xml"),
    "a format of another command": ("show", "m.mapcc", *KEYS, "--format", "github"),
    "an unknown side": ("show", "m.mapcc", *KEYS, "--side", f"left{ESC}"),
    "an unknown form": ("fmt", "m.mapcc", "--to", "toml"),
    "too many": ("explain", "MC001", "MC002"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage(folder: Path, mapcc: Mapcc, case: str) -> None:
    before = tree()
    ran = mapcc(*USAGE[case])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: mapcc ")
    assert ran.err.count("Error: ") == 1
    assert ran.err.replace("\n", "").isprintable()
    assert tree() == before


COMMANDS = [
    ("check", "absent.mapcc", *KEYS),
    ("check", "m.mapcc", "--source", "py:no_such_module_of_mapcc:f"),
    ("explain", ESC),
    (*CONVERT, "m.mapcc/out"),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_in_a_process_of_its_own(folder: Path, command: tuple[str, ...]) -> None:
    before = tree()
    done = subprocess.run(
        [sys.executable, "-m", "mapcc", *command], capture_output=True, text=True, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 2
    assert len(FOUND.findall(printed)) == 1
    assert printed.replace("\n", "").isprintable()
    assert tree() == before


@pytest.mark.slow
def test_a_reader_that_goes_away(folder: Path) -> None:
    Path("source.json").write_text(json.dumps({f"layers.{i}.w": SPEC for i in range(20_000)}), "utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "mapcc", "show", "m.mapcc", "--source", "source.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"b"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
