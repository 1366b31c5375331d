"""What the commands print when all is well, and how many faults at once are reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mapcc as library

Mapcc = Callable[..., Any]

COMMANDS = [
    *("check", "show", "keys", "fmt", "explain", "plan", "convert", "verify"),
    *("emit-config", "emit-script", "invert", "list", "identify", "docs", "lora", "import", "diff", "port"),
]
KEYS = ("--source", "source.json", "--target", "target.json")
FIELDS = [
    *("code", "title", "severity", "message", "file", "line", "column", "end_line", "end_column"),
    *("label", "notes", "help", "names", "fixes", "related"),
]
TEN_FAULTS = """\
mapping ten "ten faults of different kinds"

a.{i}.dead -> b.{i}.dead
given -> twice
given.too -> twice
shape -> shape
types -> types
heads : (h d) -> heads : (d h) where h = 3
left : x y -> left : x
nothing -> nowhere
op.w -> op.w | cast(F99)
stars.* -> stars
"""


def ten_faults() -> None:
    Path("m.mapcc").write_text(TEN_FAULTS, "utf-8")
    source = {"given": [2], "given.too": [2], "shape": [2], "types": {"dtype": "I64", "shape": [2]}}
    source |= {
        "heads": [4],
        "left": [2, 3],
        "nothing": [1],
        "op.w": [1],
        "stars.a": [1],
        "taken.by.none": [1],
    }
    target = {"twice": [2], "shape": [3], "types": {"dtype": "I32", "shape": [2]}, "heads": [4], "left": [2]}
    target |= {"op.w": [1], "stars": [1], "missing": [1]}
    Path("source.json").write_text(json.dumps(source), "utf-8")
    Path("target.json").write_text(json.dumps(target), "utf-8")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


# --- check


def test_a_clean_check(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", *KEYS)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "clean: 2 source tensors -> 2 target tensors\nrules: 1 bijective\n"


def test_ten_faults_at_once(folder: Path, mapcc: Mapcc) -> None:
    ten_faults()
    ran = mapcc("check", "m.mapcc", *KEYS)
    codes = [line[6:11] for line in ran.out.splitlines() if line.startswith("error[")]
    assert len(codes) >= 10, ran.out
    assert len(set(codes)) >= 8, Counter(codes)
    assert ran.out.endswith(f"\n\n{len(codes)} errors\n")
    assert ran.code == 1


def test_forty_blocks_are_one_fault(folder: Path, mapcc: Mapcc) -> None:
    source = {f"layers.{i}.w": [2] for i in range(40)} | {f"layers.{i}.b": [2] for i in range(40)}
    target = {f"blocks.{i}.weight": [2] for i in range(40)} | {f"blocks.{i}.scale": [2] for i in range(40)}
    Path("source.json").write_text(json.dumps(source), "utf-8")
    Path("target.json").write_text(json.dumps(target), "utf-8")
    ran = mapcc("check", "m.mapcc", *KEYS)
    assert ran.out.count("error[") == 2
    assert "`layers.{0..39}.b`" in ran.out
    assert "`blocks.{0..39}.scale`" in ran.out
    assert ran.out.endswith("\n2 errors\n")


def test_json_has_stable_fields(folder: Path, mapcc: Mapcc) -> None:
    ten_faults()
    ran = mapcc("check", "m.mapcc", *KEYS, "--format", "json")
    found = json.loads(ran.out)
    assert list(found) == ["version", "diagnostics", "tally"]
    assert found["version"] == 1
    assert all(list(diagnostic) == FIELDS for diagnostic in found["diagnostics"])
    assert found["tally"] == {"errors": len(found["diagnostics"]), "warnings": 0}
    assert (ran.code, ran.err) == (1, "")


def test_json_of_a_clean_check(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", *KEYS, "--format", "json")
    assert json.loads(ran.out) == {"version": 1, "diagnostics": [], "tally": {"errors": 0, "warnings": 0}}
    assert ran.code == 0


def test_github_has_a_line_for_each(folder: Path, mapcc: Mapcc) -> None:
    ten_faults()
    count = len(json.loads(mapcc("check", "m.mapcc", *KEYS, "--format", "json").out)["diagnostics"])
    ran = mapcc("check", "m.mapcc", *KEYS, "--format", "github")
    lines = ran.out.splitlines()
    assert len(lines) == count
    assert all(line.startswith("::error ") and "title=MC" in line for line in lines)
    assert any("file=m.mapcc,line=" in line for line in lines)


def test_github_of_a_clean_check_is_silent(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", *KEYS, "--format", "github")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_setting_counts(folder: Path, mapcc: Mapcc) -> None:
    Path("m.mapcc").write_text(
        "let heads = 3\nlayers.{i}.w : (h d) c -> blocks.{i}.weight : (d h) c where h = heads\n", "utf-8"
    )
    assert mapcc("check", "m.mapcc", *KEYS).code == 1
    assert mapcc("check", "m.mapcc", *KEYS, "--set", "heads=2").code == 0


# --- convert, keys


def test_convert(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("convert", "m.mapcc", "--source", "source.safetensors", "--out", "a/b/out")
    assert (ran.code, ran.err) == (
        0,
        "source: 1 file, 48 B read once; disk: 232 B; buffers: at most 8.4 MB\n",
    )
    assert ran.out.startswith("wrote a/b/out")
    assert [path.name for path in Path("a/b").rglob("*.safetensors")] == ["model.safetensors"]
    assert Path("a/b/out/model.safetensors").read_bytes().endswith(bytes(range(48)))
    assert mapcc("keys", "a/b/out").out == mapcc("keys", "target.json").out


def test_keys_to_the_screen_and_to_a_file(folder: Path, mapcc: Mapcc) -> None:
    shown = mapcc("keys", "source.safetensors")
    assert (shown.code, shown.err) == (0, "")
    assert json.loads(shown.out) == json.loads(Path("source.json").read_text("utf-8"))
    written = mapcc("keys", "source.safetensors", "-o", "k.json")
    assert (written.code, written.out, written.err) == (0, "", "")
    assert Path("k.json").read_text("utf-8") == shown.out
    assert mapcc("check", "m.mapcc", "--source", "k.json", "--target", "target.json").code == 0


# --- show


def test_show(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("show", "m.mapcc", *KEYS, "--filter", "blocks.1.*")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "blocks.1.weight  F32 [2, 3]\n    <- layers.1.w\n    rule m.mapcc:3:1\n"


def test_show_the_source(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("show", "m.mapcc", *KEYS, "--side", "source", "--filter", "0.w")
    assert ran.out == "layers.0.w  F32 [2, 3]\n    -> blocks.0.weight\n    rule m.mapcc:3:1\n"


def test_show_as_json(folder: Path, mapcc: Mapcc) -> None:
    shown = json.loads(mapcc("show", "m.mapcc", *KEYS, "--format", "json").out)
    assert [s["name"] for s in shown] == ["blocks.0.weight", "blocks.1.weight"]
    assert all(list(s) == ["name", "dtype", "shape", "rule", "reason", "pieces"] for s in shown)
    assert shown[0]["pieces"][0]["names"] == ["layers.0.w"]
    assert (shown[0]["dtype"], shown[0]["shape"]) == ("F32", [2, 3])


# --- fmt

UNTIDY = """\
mapping m "a test"
# above
layers.{i}.w->blocks.{i}.weight   # behind
# at the end
"""


def test_fmt_there_and_back_keeps_the_comments(folder: Path, mapcc: Mapcc) -> None:
    Path("m.mapcc").write_text(UNTIDY, "utf-8")
    text = mapcc("fmt", "m.mapcc").out
    Path("m.yaml").write_text(mapcc("fmt", "m.mapcc", "--to", "yaml").out, "utf-8")
    for comment in ("# above", "# behind", "# at the end"):
        assert comment in text
        assert comment in Path("m.yaml").read_text("utf-8")
    assert mapcc("check", "m.yaml", *KEYS).code == 0
    assert mapcc("fmt", "m.yaml", "--check").code == 0
    Path("back.mapcc").write_text(mapcc("fmt", "m.yaml", "--to", "text").out, "utf-8")
    assert mapcc("check", "back.mapcc", *KEYS).code == 0
    for comment in ("# above", "# behind", "# at the end"):
        assert comment in Path("back.mapcc").read_text("utf-8")


def test_fmt_check_and_write(folder: Path, mapcc: Mapcc) -> None:
    Path("m.mapcc").write_text(UNTIDY, "utf-8")
    ran = mapcc("fmt", "m.mapcc", "--check")
    assert (ran.code, ran.out) == (1, "m.mapcc: would change\n")
    assert Path("m.mapcc").read_text("utf-8") == UNTIDY
    assert (mapcc("fmt", "m.mapcc", "--write").code) == 0
    assert Path("m.mapcc").read_text("utf-8") != UNTIDY
    ran = mapcc("fmt", "m.mapcc", "--check")
    assert (ran.code, ran.out) == (0, "m.mapcc: formatted\n")


# --- invert, emit-config, explain


def test_invert(folder: Path, mapcc: Mapcc) -> None:
    unproven = mapcc("invert", "m.mapcc")
    proven = mapcc("invert", "m.mapcc", *KEYS)
    assert (unproven.code, proven.code) == (0, 0)
    assert "blocks.{i}.weight -> layers.{i}.w\n" in proven.out
    assert "not proven" in unproven.err
    assert proven.err == ""
    Path("back.mapcc").write_text(proven.out, "utf-8")
    ran = mapcc("check", "back.mapcc", "--source", "target.json", "--target", "source.json")
    assert ran.code == 0


def test_emit_config_is_python(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("emit-config", "m.mapcc", *KEYS)
    assert (ran.code, ran.err) == (0, "")
    names: dict[str, Any] = {}
    exec(ran.out, names)
    ((pattern, replacement),) = names["param_names_mapping"].items()
    assert (pattern, replacement) == (r"^layers\.(0|[1-9][0-9]*)\.w$", r"blocks.\1.weight")


def test_explain(folder: Path, mapcc: Mapcc) -> None:
    ran = mapcc("explain", "mc401")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("# MC401: ")


# --- the command line itself


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_has_an_example(mapcc: Mapcc, command: str, option: str) -> None:
    ran = mapcc(command, option)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count(f"Example: mapcc {command} ") == 1


def test_help_lists_all_commands(mapcc: Mapcc) -> None:
    listed = mapcc("--help").out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line.strip()] == COMMANDS


def test_version(mapcc: Mapcc) -> None:
    ran = mapcc("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"mapcc {library.__version__}\n", "")


@pytest.mark.slow
def test_as_a_module() -> None:
    done = run("-m", "mapcc", "--version")
    assert (done.returncode, done.stdout) == (0, f"mapcc {library.__version__}\n")


@pytest.mark.slow
def test_completion() -> None:
    script = run("-m", "mapcc", _MAPCC_COMPLETE="source_bash")
    assert script.returncode == 0
    assert "_mapcc_completion" in script.stdout
    done = run("-m", "mapcc", _MAPCC_COMPLETE="complete_bash", COMP_WORDS="mapcc em", COMP_CWORD="1")
    assert (done.returncode, done.stdout.split()) == (0, ["emit-config", "emit-script"])


IMPORTED = """
import sys
from mapcc.cli import main
sys.argv = ["mapcc", "check", "m.mapcc", "--source", "source.safetensors", "--target", "target.json"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = ("torch", "numpy", "ml_dtypes", "safetensors", "huggingface_hub")
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.slow
def test_check_imports_no_framework(folder: Path) -> None:
    done = run("-c", IMPORTED)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_the_library_has_all_that_it_names() -> None:
    assert all(getattr(library, name) is not None for name in library.__all__)
    assert {"check", "convert", "emit_config", "invert", "keys", "show"} <= set(library.__all__)
    with pytest.raises(AttributeError):
        library.no_such_name  # noqa: B018


def test_the_library_does_what_the_commands_do(folder: Path) -> None:
    checked = library.check("m.mapcc", "source.json", "target.json")
    assert (checked.ok, checked.exit_code) == (True, 0)
    assert library.convert("m.mapcc", "source.safetensors", "out", "target.json") == Path("out")
    with pytest.raises(library.MappingError) as failed:
        library.convert("m.mapcc", "source.json", "other")
    assert [diagnostic.code for diagnostic in failed.value.diagnostics] == ["MC006"]


def test_an_archive_is_a_source_of_every_command(folder: Path, mapcc: Mapcc) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save({"epoch": 3, "net": {"at": 1, **load_file("source.safetensors")}}, "source.pt")
    ran = mapcc("keys", "source.pt", "--select", "net")
    assert (ran.code, ran.err) == (0, "left out: at\n")
    assert ran.out == mapcc("keys", "source.safetensors").out
    given = ("m.mapcc", "--source", "source.pt", "--target", "target.json")
    for command in ("check", "show", "invert"):
        ran = mapcc(command, *given)
        assert ran.code == 1
        assert "--select net" in ran.out + ran.err
        assert mapcc(command, *given, "--select", "net").code == 0
    assert mapcc("convert", *given, "--select", "net", "--out", "one").code == 0
    assert mapcc("convert", "m.mapcc", "--source", "source.safetensors", "--out", "two").code == 0
    assert Path("one/model.safetensors").read_bytes() == Path("two/model.safetensors").read_bytes()
