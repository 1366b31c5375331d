"""Mappings that were made to do harm: each is read in some way, or kills, where a parser is naive."""

# ruff: noqa: E501

from __future__ import annotations

# Each is read in some way by yaml.safe_load, or kills it. None is a mapping.
YAML = [
    "a: &x 1\nb: *x", "&a [*a]", "rules: !!python/object:os.system {}", "rules: !!set {}", "rules: ! x",
    "<<: {a: 1}", "rules:\n  - <<: *x", "rules: []\nrules: []", "let: {D: 1, D: 2}", "no: yes",
    "{[a]: b}", "{{a: b}: c}", "? [a]\n: b", "--- a\n--- b", "rules: []\n---\nrules: []", "%YAML 9.9\n---\na: b",
    "let: {D: 2024-13-45}", "let: {D: 1:30}", "let: {D: 0o17}", "let: {D: 017}", "let: {D: .inf}", "let: {D: ~}",
    "let: {D: " + "9" * 5000 + "}", "let: {D: 1e999}", "[" * 100_000, "{" * 100_000, "{a: " * 50_000,
    "- " * 100_000, "? " * 50_000, "a" * 200_000, '"' + "\\" * 100_001, "'" * 99_999, "\x00", "a: \x07", "\ufeff",
    "rules: [" + "a, " * 250_000 + "]", "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcdefghij", "bcdefghijk", strict=True)),
    "? {a: b}\n: c", "a" * (1 << 20) + "b", "rules:\n" + "- drop: x\n" * 110_000, "a: !!python/object/apply:os.system [x]",
    "!!binary aGk=", "--- !<tag:x> a", "rules: &r\n- *r", "&a &b c", "a: 1\n\u0085b: 2", "a: \ud800", "'\\ud800'", "\"\\ud800\"", "# only a comment", "", "null", "true", "rules", "rules:", "rules: {}",
    "rules: [[]]", "rules: [{}]", "rules: [null]", "rules: [{rename: }]", "rules: [{rename: {}}]",
    "rules: [{rename: {from: [], to: []}}]", "rules: [{rename: {from: {}, to: {}}}]", "rules: [{drop: {keys: []}}]",
    "rules: [{split: {from: [], into: [a]}}]", "rules: [{permute: {from: a, to: b, dims: []}}]",
    "rules: [{create: {keys: a, shape: '', value: ''}}]", "rules: [{scope: {from: [], to: []}}]",
    "rules: [{use: []}]", "rules: [{default: {}}]", "rules: [{let: []}]", "dtype: []", "dtype: {to: {}}",
    "dtype: {to: f32, keep: [a]}", "separator: {source: ''}", "separator: {here: x}", "mapping: a b", "title: x",
    "rules: [{rename: {from: 'a -> b', to: c}}]", "rules: [{rename: {from: \"a\\nb\", to: c}}]",
    "rules: [{rename: {from: a, to: b, where: 'x optional'}}]", "rules: [{rename: {from: a, to: b, optional: maybe}}]",
    "rules: [{keep: '(((((((((((((((((((((((((((((((((('}]", "let: {D: '" + "(" * 5000 + "'}",
    "let: {D: '" + "-" * 5000 + "1'}", "let: {D: '" + "1+" * 5000 + "1'}", "let: {D: '" + "2**" * 5000 + "1'}",
    "let: {'a b': 1}", "let: {where: 1}", "rules: [{create: {keys: a, shape: a, value: 0, cast: 'x y'}}]",
]  # fmt: skip
TEXT = [
    "let x = " + "(" * 5000, "let x = " + "-" * 5000 + "1", "let x = " + "1 + " * 20_000 + "1",
    "let x = " + "2**" * 20_000 + "2", "a : " + "(" * 5000 + "b" + ")" * 5000 + " -> c", "{" * 5000,
    "{a," * 5000 + "}" * 5000 + " -> b", "a -> b {\n" * 5000, "((((" * 1000 + "a", "[" * 5000,
    "a -> b where " + " = ".join(["a"] * 20_000), "a -> " + ", ".join(["b"] * 20_000),
    "{" + ",".join(["a"] * 5000) + "}{" + ",".join(["a"] * 5000) + "} -> {x,y}{x,y}",
    "{a,b}" * 30 + " -> " + "{a,b}" * 30, "keep " + "{a,b}" * 30, "drop " + "{a,b}" * 40 + ' because "x"',
    "a.[t=" + ",".join(map(str, range(20_000))) + "] : -> b", "keep " + "[t=a,b]" * 40,
    "a : " + "(a + b) " * 30 + "-> b", "a.{i} -> b.{i} where i in 0..99999999999",
    "a -> b.{i} where i in 0..999999999999", "a.{i+j*1000} -> b where i in 0..99999, j in 0..99999",
    "let a = b\nlet b = a\nx : (h d) -> y : h d where h = a", "let a = 9**9**9**9\nx -> y where a > 1",
    "create a.{i} : d = 0 where i in 0..99999999", "a -> b.{i}.{j}.{k} where i in 0..9999, j in 0..9999, k in 0..9999",
    "\n" * 200_000, "# c\n" * 100_000, "a\\\n" * 1000, '"' * 100_001, '"\\' * 50_000, "{ " * 50_000,
    "a.[e] -> b.[e]", "{i} -> {i}", "** -> **", "* -> *", "a" * 100_000 + " -> b", "a.b" * 50_000 + " -> c",
]  # fmt: skip
