"""Emitted scripts, run by themselves: the same files as ``mapcc convert``, byte for byte, or none."""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mapcc
from mapcc.emit.layout import text as literal
from mapcc.emit.script import _Tables
from mapcc.emit.script_words import NotSaid
from mapcc.errors import MappingError
from mapcc.ir.printer import print_mapping
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes
from tests.corpus.conftest import PAIRS, SETTINGS
from tests.language.scenarios import FREE, Scenario, scenarios

ROOT = Path(__file__).resolve().parents[2]
CORPUS = sorted((ROOT / "tests/corpus/data").glob("*.tar.xz"))
GOLDEN = Path(__file__).parent / "golden_llama.py.txt"
IMPORTS = {"collections", "itertools", "json", "math", "numpy", "os", "pathlib", "shutil", "sys", "typing"}
IMPORTS |= {"collections.abc"}

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


def checkpoint(path: Path, shapes: Shapes, seed: int = 0, floats: bool = False) -> Path:
    """Random bits, or random numbers where values are computed."""
    generator = np.random.default_rng(seed)
    rows = [(name, DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()]
    data = []
    for _, dtype, shape in rows:
        count = int(np.prod(shape, dtype=np.int64))
        raw = generator.bytes(count * dtype.bits // 8)
        if floats and dtype.name in ("F32", "F64", "F16"):
            raw = generator.normal(size=count).astype(f"<f{dtype.bits // 8}").tobytes()
        data.append(raw)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(header_bytes(rows)[0] + b"".join(data))
    return path


def run(script: Path, source: Path, out: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """``-I``: without the checkout on the path, so without mapcc."""
    command = [sys.executable, "-I", str(script), str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def files(folder: Path) -> dict[str, bytes]:
    """Shards and index; mapcc's own record is its own."""
    found = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    return {path.name: path.read_bytes() for path in found}


def agrees(mapping: Any, source: Path, folder: Path, target: Any = None, **options: Any) -> str:
    """Emits, reads, runs, compares; gives the script's text."""
    text = mapcc.emit_script(mapping, source, target, **options)
    allowed(text)
    script = folder / "convert.py"
    script.write_text(text, "ascii")
    done = run(script, source, folder / "by_script")
    assert done.returncode == 0, done.stderr
    by_mapcc = mapcc.convert(mapping, source, folder / "by_mapcc", target, **options)
    wanted = files(by_mapcc)
    assert wanted
    found = {path.name: path.read_bytes() for path in (folder / "by_script").iterdir()}
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    return text


def allowed(text: str) -> None:
    """What a script imports and calls, and how wide it is."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= IMPORTS
        elif isinstance(node, ast.ImportFrom):
            assert node.module in IMPORTS
        elif isinstance(node, ast.Name):
            assert node.id not in {"eval", "exec", "compile", "__import__", "getattr"}
    assert text.isascii()
    assert "\t" not in text


def tidy(folder: Path) -> None:
    for arguments in (
        ["check", "--select", "E,F,I", "--line-length", "120"],
        ["format", "--check", "--line-length", "110"],
    ):
        command = [sys.executable, "-m", "ruff", *arguments, "--isolated", str(folder / "convert.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# --- published models


@pytest.mark.converts
@pytest.mark.parametrize("archive", CORPUS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_the_corpus(archive: Path, tmp_path: Path) -> None:
    name = archive.name.removesuffix(".tar.xz")
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            (tmp_path / Path(member.name).name).write_bytes(content.read())
    mapping = ROOT / "mappings" / f"{PAIRS[name]}.mapcc"
    options: dict[str, Any] = {"settings": SETTINGS.get(name, {}), "max_shard_size": 100_000}
    target = tmp_path / "target.safetensors"
    agrees(mapping, tmp_path / "source.safetensors", tmp_path, target, **options)
    tidy(tmp_path)


LLAMA = """mapping rope "Llama"

tok.weight -> embed.weight
layers.{i} -> model.layers.{i} {
    w{q,k}.weight : (h f 2) c -> self_attn.{q,k}_proj.weight : (h 2 f) c   where f = 4
    wv.weight -> self_attn.v_proj.weight
    norm.weight -> norm.weight
    w{1,3}.weight -> mlp.{gate,up}_proj.weight
}
drop rope.freqs because "recomputed"
"""


def llama(layers: int) -> Shapes:
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "tok.weight": ("BF16", (10, 16)),
        "rope.freqs": ("F32", (4,)),
    }
    for i in range(layers):
        shapes |= {
            f"layers.{i}.wq.weight": ("BF16", (16, 16)),
            f"layers.{i}.wk.weight": ("BF16", (8, 16)),
            f"layers.{i}.wv.weight": ("BF16", (8, 16)),
            f"layers.{i}.norm.weight": ("BF16", (16,)),
            f"layers.{i}.w1.weight": ("BF16", (24, 16)),
            f"layers.{i}.w3.weight": ("BF16", (24, 16)),
        }
    return shapes


def test_a_script_to_read(tmp_path: Path) -> None:
    """``golden_llama.py.txt`` is what a reviewer reads. To renew it: remove it, and run this."""
    source = checkpoint(tmp_path / "model.safetensors", llama(32))
    text = agrees(mapcc.parse(LLAMA), source, tmp_path)
    tidy(tmp_path)
    assert len(text.splitlines()) < 300
    if not GOLDEN.exists():
        GOLDEN.write_text(text, "ascii")
    assert text == GOLDEN.read_text("ascii")


# --- by hand

F = "F32"
RULES: dict[str, tuple[str, Shapes]] = {
    "rename": ("a.{i}.* -> b.{i}.*", {f"a.{i}.w": (F, (2, 3)) for i in (0, 1, 5)}),
    "transpose": ("x : a b c -> y : c a b", {"x": ("BF16", (2, 3, 4))}),
    "unequal": ("x : (p + q + r) c -> a : p c, b : q c, z : r c where p = 1, q = 2", {"x": (F, (6, 2))}),
    "swap": ("x : (p + q) ... -> y : (q + p) ... where p = q", {"x": (F, (6, 2))}),
    "nested": (
        "x : (g (r + k + v) e) c -> q : (g r e) c, y : (g (v + k) e) c where g = 2, e = 3, k = v = 1",
        {"x": ("F16", (24, 2))},
    ),
    "stack": (
        "w.[e].[p=b,a] : o c -> w : e (p o) c",
        {f"w.{e}.{p}": (F, (2, 3)) for e in range(12) for p in "ab"},
    ),
    "unstack": ("w : o e c -> w.[e] : o c where e = 3", {"w": ("U8", (2, 3, 4))}),
    "name to name": (
        "a.{i}.[e] : c d -> b.[e].{i} : d c",
        {f"a.{i}.{e}": (F, (2, 3)) for i in (0, 1) for e in range(3)},
    ),
    "fuse": ("(x, y) | cat dim=1 -> z", {"x": (F, (2, 3)), "y": (F, (2, 5))}),
    "scalars": ("a.[t=x,y] : () -> c : t", {"a.x": (F, ()), "a.y": (F, ())}),
    "repeat": ("s : c -> t : h c r where h = 3, r = 2", {"s": (F, (4,))}),
    "copy": ("a.{i} -> b.{i}, c.{i}", {f"a.{i}": (F, (3,)) for i in range(12)}),
    "create": ("keep x\ncreate n.{i} : 2 3 = 0.5 | cast bf16 where i in 0..2", {"x": (F, (1,))}),
    "created piece": (
        "q : q, create : k = 1, v : v -> qkv : (q + k + v) where k = q",
        {"q": ("BF16", (3,)), "v": ("BF16", (2,))},
    ),
    "empty": ("keep a, b", {"a": (F, (0, 3)), "b": (F, (2,))}),
    "reversed": ("a.{n-1-i} -> b.{i} where n = count(a.{i})", {f"a.{i}": (F, (i + 1,)) for i in range(11)}),
    "F4": ("x : a b -> y : b a where a = 1\nkeep z", {"x": ("F4", (1, 6)), "z": ("F6_E2M3", (4, 2))}),
    "F4 pieces": ("x : r (a + b) -> y : r (b + a) where a = b", {"x": ("F4", (3, 8))}),
    "C64": ("x : a b -> y : b a", {"x": ("C64", (2, 3))}),
    "words": ("x : (lambda x_1 np) -> y : (np x_1 lambda) where np = 2, x_1 = 3", {"x": (F, (12,))}),
    "casts": (
        "a | cast bf16 -> a\nb | cast f32 -> b\nc | scale 0.3 | add 1 -> c\nd | cast f8_e5m2 -> d",
        {"a": (F, (99,)), "b": ("BF16", (99,)), "c": ("BF16", (99,)), "d": ("F64", (99,))},
    ),
    "cast and turn": ("x : a b | cast f16 | scale 2 -> y : b a", {"x": (F, (3, 5))}),
    "stacked casts": ("w.[e] : c | scale -0.5 -> w : c e", {f"w.{e}": ("BF16", (3,)) for e in range(3)}),
    "negative": ("x | neg_exp -> y", {"x": ("BF16", (200,))}),
    "norm": (
        "({a,b}_g, {a,b}_v) | weight_norm dim=0 | cast bf16 -> {a,b}",
        {"a_g": (F, (3, 1)), "a_v": (F, (3, 5)), "b_g": ("F16", (4, 1)), "b_v": ("BF16", (4, 2))},
    ),
    "norm and turn": (
        "(g, v) : a b | weight_norm dim=1 -> w : b a",
        {"g": ("F64", (1, 5)), "v": ("F64", (3, 5))},
    ),
    "quotes": (
        "** -> new.**",
        dict.fromkeys(
            ["a'b", 'a"b', "a'\"b", "{i}", "<i>.0", "[e].1", "\u00e9.2", "a.{i}.3", "\\n", "#"], (F, (2,))
        ),
    ),
    "every bracket": ("** -> new.**", {f"{n}.{i}": (F, (2,)) for n in "{<[$%" for i in range(3)}),
}  # fmt: skip


@pytest.mark.converts
@pytest.mark.parametrize("rule", RULES)
def test_by_hand(rule: str, tmp_path: Path) -> None:
    text, shapes = RULES[rule]
    source = checkpoint(tmp_path / "s.safetensors", shapes, floats="norm" in rule or "negative" in rule)
    script = agrees(mapcc.parse(text), source, tmp_path)
    if rule not in ("F4 pieces",):
        assert "moved(" not in script
    tidy(tmp_path)


TURNED = [
    "transpose",
    "nested",
    "swap",
    "stack",
    "created piece",
    "repeat",
    "cast and turn",
    "norm and turn",
    "C64",
]


@pytest.mark.converts
@pytest.mark.parametrize("rule", TURNED)
def test_a_table_of_moves_does_the_same(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a rule whose axes have no expression becomes."""

    def refused(self: object) -> None:
        raise NotSaid("anything")

    monkeypatch.setattr("mapcc.emit.script_blocks.Axes.build", refused)
    text, shapes = RULES[rule]
    source = checkpoint(tmp_path / "s.safetensors", shapes, floats="norm" in rule)
    assert "moved(" in agrees(mapcc.parse(text), source, tmp_path)


@pytest.mark.converts
@pytest.mark.parametrize("rule", ["rename", "unstack", "copy", "create", "quotes", "every bracket"])
def test_tables_that_are_not_folded_do_the_same(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given where folding would change the order of the output."""
    is_right = _Tables.is_right
    monkeypatch.setattr(_Tables, "is_right", lambda self: not self.is_folded and is_right(self))
    text, shapes = RULES[rule]
    source = checkpoint(tmp_path / "s.safetensors", shapes)
    assert "each(" not in agrees(mapcc.parse(text), source, tmp_path)


@pytest.mark.converts
def test_shards_in_and_out(tmp_path: Path) -> None:
    shapes = list(llama(4).items())
    for k, part in enumerate((shapes[:9], shapes[9:])):
        checkpoint(tmp_path / "in" / f"part-{k}.safetensors", dict(part), k)
    agrees(mapcc.parse(LLAMA), tmp_path / "in", tmp_path, max_shard_size=2000, prefix="diffusion")
    assert len(files(tmp_path / "by_script")) > 3


@pytest.mark.converts
@pytest.mark.parametrize(
    "source",
    ["F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "BOOL", "I64", "U8"],
)
def test_casts_of_every_kind(source: str, tmp_path: Path) -> None:
    floats = [
        "f16",
        "bf16",
        "f32",
        "f64",
        "f8_e4m3",
        "f8_e5m2",
        "f8_e4m3fnuz",
        "f8_e5m2fnuz",
        "f8_e8m0",
        "bool",
    ]
    text = "\n".join(f"a.{to} | cast {to} -> {to}" for to in floats)
    if source != "BOOL":
        text += "\nb | clamp | cast f8_e4m3 -> b\nc | clamp -> c"
    more = {name: (source, (3000,)) for name in "bc" if source != "BOOL"}
    path = checkpoint(tmp_path / "s.safetensors", {f"a.{to}": (source, (3000,)) for to in [*floats]} | more)
    agrees(mapcc.parse(text), path, tmp_path)


def test_pieces_cut_at_an_axis_of_size_one(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "s.safetensors", {"x": ("F32", (2, 6)), "y": ("F32", (1, 4))})
    text = "x : (a + b) (1 + k) -> t : ((b k + a) + b), u : a k   where a = b\ny : 1 d -> v : d\n"
    agrees(mapcc.parse(text), source, tmp_path)


# --- at random


@pytest.mark.slow
@pytest.mark.converts
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.sampled_from(["F32", "BF16", "U8"]))
def test_random_axes(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario, dtype: str) -> None:
    folder = tmp_path_factory.mktemp("axes")
    sources = scenario.sources()
    source = checkpoint(folder / "s.safetensors", {n: (dtype, a.shape) for n, a in sources.items()})
    text = mapcc.parse(print_mapping(scenario.mapping()))
    checked = mapcc.check(text, source)
    if not checked.ok:
        assert {d.code for d in checked.diagnostics} & {*FREE, "MC308"}
        return
    assert checked.bound is not None
    if any(None in instance.dtypes for instance in checked.bound.instances):
        return  # created beside others: what type, nobody says
    agrees(text, source, folder)


@settings(max_examples=100)
@given(st.lists(st.text(st.characters(), max_size=30), min_size=100, max_size=100))
def test_any_name_is_a_literal(names: list[str]) -> None:
    """10,000 names: each reads back, on one line, in ASCII."""
    source = f"[{', '.join(map(literal, names))}]"
    assert source.isascii()
    assert len(source.splitlines()) == 1
    assert ast.literal_eval(source) == names


# --- refusals


@pytest.fixture
def emitted(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A script for three tensors, and how it ends with another source, or another place."""
    source = checkpoint(tmp_path / "m.safetensors", SMALL)
    (tmp_path / "convert.py").write_text(mapcc.emit_script(mapcc.parse("a.{i} -> b.{i}"), source), "ascii")
    return lambda source=source, out=tmp_path / "out", **options: run(
        tmp_path / "convert.py", source, out, **options
    )


SMALL: Shapes = {f"a.{i}": ("F32", (1000,)) for i in range(3)}


def test_every_difference_is_told(emitted: Any, tmp_path: Path) -> None:
    other = dict(SMALL) | {"a.1": ("F32", (999,)), "a.2": ("F16", (1000,)), "new\n": ("F32", (1,))}
    del other["a.0"]
    done = emitted(checkpoint(tmp_path / "other.safetensors", {n.strip(): s for n, s in other.items()}))
    assert done.returncode == 1
    for line in ("'a.0' is missing", "'new' is unexpected", "'a.1' is F32 [999]", "'a.2' is F16 [1000]"):
        assert line in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out", "out.partial"])
def test_what_is_there_stays(emitted: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    done = emitted()
    assert (done.returncode, "is there already" in done.stderr) == (1, True)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["mine"]
    assert {"out", "out.partial"} & {path.name for path in tmp_path.iterdir()} == {name}


def test_not_inside_of_the_source(emitted: Any, tmp_path: Path) -> None:
    done = emitted(source=tmp_path, out=tmp_path / "out")
    assert (done.returncode, "inside of the source" in done.stderr) == (1, True)


@pytest.mark.parametrize("damage", ["cut", "not there", "twice", "noise"])
def test_a_source_that_is_none(emitted: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.safetensors"
    raw = path.read_bytes()
    header = json.dumps({"a": [1]}).encode()
    bad = {"cut": raw[:-1], "twice": raw + raw, "noise": len(header).to_bytes(8, "little") + header}
    path.unlink() if damage == "not there" else path.write_bytes(bad[damage])
    done = emitted()
    assert (done.returncode, "cannot read" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_full_disk_leaves_nothing(emitted: Any, tmp_path: Path) -> None:
    def limited() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    done = emitted(preexec_fn=limited)
    assert (done.returncode, "nothing was written" in done.stderr) == (1, True)
    assert {path.name for path in tmp_path.iterdir()} == {"m.safetensors", "convert.py"}


def test_a_number_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "s.safetensors", {"a": ("F32", (9,)), "b": ("F32", (9,))}, floats=True)
    raw = source.read_bytes()
    source.write_bytes(raw[:-4] + np.float32(1e9).tobytes())
    text = mapcc.emit_script(mapcc.parse("keep a\nb | round | cast i8 -> b"), source)
    (tmp_path / "convert.py").write_text(text, "ascii")
    done = run(tmp_path / "convert.py", source, tmp_path / "out")
    assert (done.returncode, "'b': 1000000000.0 is not a value of int8" in done.stderr) == (1, True)
    assert {path.name for path in tmp_path.iterdir()} == {"s.safetensors", "convert.py"}


def test_keys_alone_are_no_source() -> None:
    with pytest.raises(MappingError, match="MC006"):
        mapcc.emit_script(
            mapcc.parse("keep **"), mapcc.keys(ROOT / "mappings/llama/keys/meta.json#llama3_8b")
        )


def test_an_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3, "<f4"))
    with pytest.raises(MappingError, match=r"MC601.*safetensors alone"):
        mapcc.emit_script(mapcc.parse("keep **"), tmp_path / "a.npz")


def test_on_the_command_line(tmp_path: Path, mapcc: Any) -> None:
    source = checkpoint(tmp_path / "s.safetensors", SMALL)
    (tmp_path / "m.mapcc").write_text("a.{i} -> b.{i}\n")
    ran = mapcc("emit-script", tmp_path / "m.mapcc", "-s", source)
    assert (ran.code, ran.err) == (0, "")
    assert mapcc("emit-script", tmp_path / "m.mapcc", "-s", source, "-o", tmp_path / "c.py").code == 0
    assert (tmp_path / "c.py").read_text() == ran.out
