"""One fault is told once: no traceback, and no second finding that follows from the first."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mapcc import api

Keys = dict[str, list[int]]

ONCE: dict[str, tuple[str, Keys, Keys, list[str]]] = {
    "regex in drop": ('drop {x:/[/}.w because "x"\na -> b', {"a": [1], "c.w": [1]}, {"b": [1]}, ["MC106"]),
    "regex in external": (
        'external {x:/[/}.w because "x"\na -> b',
        {"a": [1]},
        {"b": [1], "c.w": [1]},
        ["MC106"],
    ),
    "regex in dtype": ("dtype bf16 { keep f32 : {x:/(/}.w }\na -> b", {"a": [1]}, {"b": [1]}, ["MC106"]),
    "regex in create": ("create {x:/(/}.w : d = 0\na -> b", {"a": [1]}, {"b": [1], "c.w": [1]}, ["MC106"]),
    "regex in exists": ("a -> b where exists({x:/[/}.w)", {"a": [1]}, {"b": [1]}, ["MC106"]),
    "regex in count": (
        "a.{i} -> b.{i} where i < count({x:/[/}.w)",
        {"a.0": [1]},
        {"b.0": [1]},
        ["MC106"],
    ),
    "wildcards in drop": ('drop a.*{i} because "x"', {"a.x1": [1]}, {}, ["MC208"]),
    "unknown word in drop": (
        'drop a.{i} because "x" where i in 0..n',
        {"a.1": [1]},
        {},
        ["MC104"],
    ),
    "unknown word in external": (
        'external a.{i} because "x" where i in 0..n\nb -> b',
        {"b": [1]},
        {"a.1": [1], "b": [1]},
        ["MC104"],
    ),
    "no value in a rule": ("a.{i} -> b.{i} where i < 1 // 0", {"a.0": [1]}, {"b.0": [1]}, ["MC108"]),
    "no value in drop": ('drop a.{i} because "x" where i < 1 % 0', {"a.0": [1]}, {}, ["MC108"]),
    "no value in create": ("create b.{i} : d = 0 where i < 1 % 0", {}, {"b.0": [1]}, ["MC108"]),
    "operators without an end": ("let n = 1" + " + 1" * 5000 + "\na -> b", {"a": [1]}, {"b": [1]}, ["MC103"]),
    "names without an end": ("keep " + "".join(f"[t{k}=a,b]" for k in range(40)), {}, {}, ["MC103"]),
    "sums without an end": (f"a : {'(p + q) ' * 30}-> b", {"a": [1]}, {"b": [1]}, ["MC103"]),
    "targets without an end": (f"a -> b{', b' * 5000}", {"a": [1]}, {"b": [1]}, ["MC103"]),
    "domain without an end": ("a -> b.{i} where i in 0..999999999999", {"a": [1]}, {"b.0": [1]}, ["MC103"]),
    "each copy of a group": (
        "{a,b,c}.* -> {x,y,z}.w",
        {"a.w": [1], "b.w": [1], "c.w": [1]},
        {"x.w": [1], "y.w": [1], "z.w": [1]},
        ["MC202"],
    ),
    "a word in each copy": (
        "{a,b}.{i} -> {x,y}.{j}",
        {"a.0": [1], "b.0": [1]},
        {"x.0": [1], "y.0": [1]},
        ["MC204"],
    ),
    "dead rule": ("a -> x\nb -> y", {"a": [1]}, {"x": [1], "y": [1]}, ["MC405"]),
    "two takers": ("a -> x\n* -> m.*", {"a": [1]}, {"x": [1]}, ["MC403"]),
    "two givers": ("a -> x\nb -> x", {"a": [1], "b": [1]}, {"x": [2]}, ["MC404"]),
    "absent member": ("(g, v) | weight_norm -> w", {"v": [2, 2]}, {"w": [2, 2]}, ["MC406"]),
    "name axis to a bare name": ("e.[e].w -> w", {"e.0.w": [1], "e.1.w": [1]}, {"w": [2, 1]}, ["MC309"]),
    "used file is absent": (
        'use "x.mapcc" under {a,b} -> {c,d}',
        {"a.w": [1], "b.w": [1]},
        {"c.w": [1], "d.w": [1]},
        ["MC001"],
    ),
    "used file has an error": (
        'use "bad.mapcc" under a -> c\nuse "bad.mapcc" under b -> d',
        {"a.w": [1], "b.w": [1]},
        {"c.w": [1], "d.w": [1]},
        ["MC101"],
    ),
    "NUL in a path": ('use "a\\u0000b"', {}, {}, ["MC001"]),
}


@pytest.mark.parametrize("case", ONCE)
def test_told_once(case: str, tmp_path: Path) -> None:
    text, source, target, codes = ONCE[case]
    mapping = tmp_path / "m.mapcc"
    mapping.write_text(text, "utf-8")
    (tmp_path / "bad.mapcc").write_text("w => w", "utf-8")
    assert [d.code for d in api.check(mapping, *written(tmp_path, source, target)).diagnostics] == codes


def written(folder: Path, *sides: Keys) -> list[Path]:
    paths = [folder / f"{number}.json" for number in range(len(sides))]
    for path, side in zip(paths, sides, strict=True):
        path.write_text(json.dumps(side), "utf-8")
    return paths


def test_a_slow_pattern_is_told_at_its_place(tmp_path: Path) -> None:
    mapping = tmp_path / "m.mapcc"
    mapping.write_text("a -> b\nx.{t:/(a|aa)+b?/} -> y.{t}", "utf-8")
    source, target = written(tmp_path, {"a": [1], f"x.{'a' * 60}_": [1]}, {"b": [1]})
    (found,) = api.check(mapping, source, target).diagnostics
    assert found.code == "MC412"
    assert found.span is not None
    assert (found.span.line, found.span.text) == (2, "x.{t:/(a|aa)+b?/}")


def test_an_inverse_uses_settings_and_restores_types(tmp_path: Path) -> None:
    mapping = tmp_path / "m.mapcc"
    mapping.write_text("let k = 5\na : (h d) | cast bf16 -> b : h d where h = k", "utf-8")
    (tmp_path / "s.json").write_text('{"a": {"dtype": "F32", "shape": [6]}}', "utf-8")
    (tmp_path / "t.json").write_text('{"b": {"dtype": "BF16", "shape": [2, 3]}}', "utf-8")
    inverse = api.invert(mapping, tmp_path / "s.json", tmp_path / "t.json", settings={"k": 2})
    assert inverse.proven
    assert "cast f32" in inverse.text


@pytest.mark.parametrize("title", ["A -> B: C", "Wan: A -> B", "A -> B"])
def test_a_title_may_have_a_colon_anywhere(title: str, tmp_path: Path) -> None:
    mapping = tmp_path / "m.mapcc"
    mapping.write_text(f'mapping m "{title}"\n\na -> b', "utf-8")
    assert "mapping m_inverse" in api.invert(mapping).text


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.mapcc")
    (found,) = api.check(tmp_path / "m.mapcc", *written(tmp_path, {})).diagnostics
    assert found.code == "MC001"


@pytest.mark.parametrize(("name", "instead"), [("a.[t=q,k].w", "{q,k}"), ("a.[e].w", "{e}")])
def test_a_name_axis_in_create_has_no_other_side(name: str, instead: str, tmp_path: Path) -> None:
    (tmp_path / "m.mapcc").write_text(f'drop x because "not needed"\ncreate {name} : 2 = 0\n', "utf-8")
    (tmp_path / "s.json").write_text('{"x": [2]}', "utf-8")
    (tmp_path / "t.json").write_text('{"a.q.w": [2], "a.k.w": [2]}', "utf-8")
    for target in (None, tmp_path / "t.json"):
        first, *_ = api.check(tmp_path / "m.mapcc", tmp_path / "s.json", target).diagnostics
        assert (first.code, first.help) == ("MC207", f"write {instead}")
        assert first.span is not None
        assert (first.span.line, first.span.column) == (2, 8)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("create b.{i-2} : 1 = 0 where i in 0..3", "MC204"),
        ("create b.{-1} : 1 = 0", "MC204"),
        ("create b.{i} : 1 = 0 where i in 0..99999999", "MC103"),
    ],
)
def test_created_by_a_domain_alone(text: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "m.mapcc").write_text(text, "utf-8")
    (tmp_path / "s.json").write_text("{}", "utf-8")
    assert [d.code for d in api.check(tmp_path / "m.mapcc", tmp_path / "s.json").diagnostics] == [code]
