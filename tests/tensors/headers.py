"""Files of safetensors by hand: each way to be malformed, and each way to be odd but right."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import MAX_HEADER, MAX_PADDING


def craft(header: str | bytes, size: int = 0, length: int | None = None) -> bytes:
    """A file of a header as it is given, and ``size`` bytes of data."""
    raw = header.encode() if isinstance(header, str) else header
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(size)


def entry(name: str = "a", dtype: str = '"F32"', shape: str = "[1]", offsets: str = "[0,4]") -> str:
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}'


def one(**fields: str) -> bytes:
    return craft("{" + entry(**fields) + "}", 4)


def many(*entries: str, size: int) -> bytes:
    return craft("{" + ",".join(entries) + "}", size)


ONE = entry()


def malformed() -> Iterator[tuple[str, bytes, str]]:
    """What it is, the file, and a word of the rule that refuses it."""
    yield "empty file", b"", "8 bytes of length"
    yield "seven bytes", b"\2\0\0\0\0\0\0", "8 bytes of length"
    yield "length beyond the file", craft("{}", length=3), "only 2 follow"
    yield "length of 2^64-1", craft("{}", length=2**64 - 1), "at most 100,000,000"
    yield "length one too large", craft("{}", length=MAX_HEADER + 1), "at most 100,000,000"
    yield "length 0", craft(""), "begins with `{`"
    yield "padding without end", craft(b"{}" + b" " * (MAX_PADDING + 1)), "padded"
    yield "not UTF-8", craft(b'{"\xff":1}'), "UTF-8"
    yield "not JSON", craft("{]}"), "JSON"
    yield "an array", craft("[]"), "begins with `{`"
    yield "byte order mark", craft(b"\xef\xbb\xbf{}"), "begins with `{`"
    yield "padded with NUL", craft(b"{}\0\0"), "only spaces"
    yield "a second value", craft("{} {}"), "JSON"
    yield "leading space", craft(" {}"), "begins with `{`"
    yield "padded with newlines", craft("{}\n\n"), "only spaces"
    yield "padded with tabs", craft("{} \t"), "only spaces"
    yield "control character in a string", craft('{"\1":1}'), "JSON"
    yield "trailing comma", craft("{" + ONE + ",}", 4), "JSON"
    yield "key twice, same span, other dtype", many(ONE, entry(dtype='"I32"'), size=4), "stands twice"
    yield "key twice, other span", many(ONE, entry(offsets="[4,8]"), size=8), "stands twice"
    yield "key twice by escape", many(ONE, entry(name="\\u0061"), size=4), "stands twice"
    empty = entry(shape="[0]", offsets="[0,0]")
    yield "empty tensor twice", many(empty, empty, size=0), "stands twice"
    yield "metadata twice", craft('{"__metadata__":{},"__metadata__":{}}'), "stands twice"
    yield "dtype twice", craft('{"a":{"dtype":"F32","dtype":"F32"}}'), "stands twice"
    yield "key twice in metadata", craft('{"__metadata__":{"k":"1","k":"2"}}'), "stands twice"
    yield "metadata of numbers", craft('{"__metadata__":{"k":1}}'), "object of strings"
    yield "metadata is a list", craft('{"__metadata__":[]}'), "object of strings"
    yield "metadata is a tensor", craft("{" + entry(name="__metadata__") + "}", 4), "object of strings"
    yield "unknown field", craft('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}', 4), "no other"
    yield "missing field", craft('{"a":{"dtype":"F32","shape":[]}}'), "no other"
    yield "entry is a list", craft('{"a":[]}'), "no other"
    yield "entry is null", craft('{"a":null}'), "no other"
    b = {"name": "b"}
    yield "overlap", many(ONE, entry(**b, offsets="[0,4]"), size=4), "begins before"
    yield "partial overlap", many(ONE, entry(**b, offsets="[2,6]"), size=6), "begins before"
    yield "hole", many(ONE, entry(**b, offsets="[8,12]"), size=12), "hole"
    yield "hole at the start", many(entry(offsets="[4,8]"), size=8), "hole"
    yield "empty tensor in a hole", many(ONE, entry(**b, shape="[0]", offsets="[8,8]"), size=8), "hole"
    yield "begin after end", one(offsets="[4,0]"), "its offsets -4"
    yield "trailing bytes", craft("{" + ONE + "}", 5), "what follows is no tensor"
    yield (
        "trailing zip archive",
        craft("{" + ONE + "}", 4) + b"PK\x05\x06" + bytes(18),
        "what follows is no tensor",
    )
    yield "trailing bytes after nothing", craft("{}", 1), "what follows is no tensor"
    yield "truncated data", craft("{" + ONE + "}", 3), "cut short"
    for bad in ("-1", "2.0", '"2"', "NaN", "Infinity", "8e0", "-0", "null", "[1]", "{}"):
        yield f"dimension {bad}", one(shape=f"[{bad}]"), "JSON" if bad in "NaN Infinity" else "natural number"
    for bad in ("-4", "4.0", '"4"', "NaN", "4e0", "null", "[4]"):
        yield f"offset {bad}", one(offsets=f"[0,{bad}]"), "JSON" if bad == "NaN" else "natural number"
    yield "dimension true", one(shape="[true]"), "natural number"
    yield (
        "true after a valid 1",
        many(ONE, entry(**b, shape="[true]", offsets="[4,8]"), size=8),
        "natural number",
    )
    yield "offset false", one(offsets="[false,4]"), "natural number"
    yield "negative zero offset", one(offsets="[-0,4]"), "natural number"
    yield "400 digits", one(shape=f"[{'9' * 400}]"), "64-bit"
    yield "5,000 digits", one(shape=f"[{'9' * 5000}]"), "digits"
    yield "one offset", one(offsets="[0]"), "two natural numbers"
    yield "three offsets", one(offsets="[0,2,4]"), "two natural numbers"
    yield "offsets in an object", one(offsets='{"0":1,"4":2}'), "two natural numbers"
    yield "offsets in a string", one(offsets='"04"'), "two natural numbers"
    yield "shape is a string", one(shape='""'), "list of dimensions"
    yield "shape is an object", one(shape="{}"), "list of dimensions"
    yield "shape is a number", one(shape="1"), "list of dimensions"
    yield "product overflow", one(shape=f"[{2**32},{2**32}]"), "64-bit"
    yield "bytes overflow", one(shape=f"[{2**62}]"), "bytes"
    yield "huge, huge, 0", one(shape=f"[{2**62},{2**62},0]", offsets="[0,0]"), "64-bit"
    yield "0, huge, huge", one(shape=f"[0,{2**62},{2**62}]", offsets="[0,0]"), "64-bit"
    yield "0, 2^64-1", one(shape=f"[0,{2**64 - 1}]", offsets="[0,0]"), "64-bit"
    yield "unknown dtype", one(dtype='"F12"'), "no dtype"
    yield "lower-case dtype", one(dtype='"f32"'), "no dtype"
    yield "dtype is null", one(dtype="null"), "no dtype"
    yield "dtype is a list", one(dtype="[]"), "no dtype"
    yield "size does not fit", one(shape="[2]"), "its offsets 4"
    yield (
        "F4 that ends within a byte",
        many(entry(dtype='"F4"', shape="[3]", offsets="[0,2]"), size=2),
        "within a byte",
    )
    yield (
        "F6 that ends within a byte",
        many(entry(dtype='"F6_E2M3"', shape="[3]", offsets="[0,3]"), size=3),
        "within a byte",
    )
    yield "rank 65", one(shape=f"[{','.join('1' * 65)}]"), "64 dimensions"
    yield "empty name", one(name=""), "not empty"
    for what, escaped in (
        ("newline", "\\n"),
        ("ESC", "\\u001b"),
        ("NUL", "\\u0000"),
        ("C1", "\\u009b"),
        ("DEL", "\\u007f"),
    ):
        yield f"{what} in a name", one(name=f"a{escaped}b"), "control characters"
    yield "name of 1 MB", one(name="x" * 1_000_000), "4096 bytes"
    yield "name of 4,098 bytes in 2,049 characters", one(name="é" * 2049), "4096 bytes"
    yield "lone surrogate", one(name="\\ud800"), "surrogate"
    yield "lone surrogate in metadata", craft('{"__metadata__":{"k":"\\udfff"}}'), "surrogate"
    yield "deep nesting", craft('{"a":' * 100_000 + "1" + "}" * 100_000), "deeply"
    yield "deep nesting of lists", craft('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "deeply"


def accepted() -> Iterator[tuple[str, bytes]]:
    """What it is, and the file."""
    yield "nothing", craft("{}")
    yield "padded", craft("{}" + " " * MAX_PADDING)
    yield "spaces within", craft('{ "a" :\n{"dtype":"F32","shape":[ ],\t"data_offsets":[0, 4]}}', 4)
    yield "metadata null", craft('{"__metadata__":null}')
    yield (
        "metadata with words of JSON",
        craft('{"__metadata__":{"k":"a,-1,[true,:false,1.5","l":"\\\\ud800"}}'),
    )
    yield "length not a multiple of 8", one()
    yield (
        "F32 at an odd offset",
        many(entry("a", '"U8"'), entry("b", offsets="[1,5]"), size=5).replace(b"[0,4]", b"[0,1]"),
    )
    yield "offsets in reverse order", many(entry("a", offsets="[4,8]"), entry("b"), size=8)
    yield (
        "empty tensors between",
        many(
            ONE, entry("b", shape="[3,0]", offsets="[4,4]"), entry("c", shape="[0]", offsets="[0,0]"), size=4
        ),
    )
    yield "0, 2^62", many(entry(shape=f"[0,{2**62}]", offsets="[0,0]"), size=0)
    yield "rank 64", one(shape=f"[{','.join('1' * 64)}]")
    yield "names that differ in case", many(entry("B.w"), entry("b.w", offsets="[4,8]"), size=8)
    yield "names that differ in form", many(entry("é"), entry("e\u0301", offsets="[4,8]"), size=8)
    yield (
        "names to quote",
        many(entry("../../etc/passwd"), entry("a']\\\\import os", offsets="[4,8]"), size=8),
    )
    yield "name of 4,096 bytes", one(name="é" * 2048)
    yield "name by escapes", one(name="\\ud83d\\ude00")
    for dtype in DTYPES.values():
        yield (
            f"{dtype} ",
            many(entry(dtype=f'"{dtype.name}"', shape="[8]", offsets=f"[0,{dtype.bits}]"), size=dtype.bits),
        )
    yield "F4 with a last dimension of 1", many(entry(dtype='"F4"', shape="[2,1]", offsets="[0,1]"), size=1)
    yield "BOOL bytes other than 0 and 1", one(dtype='"BOOL"', shape="[4]")[:-4] + b"\2\xff\0\1"
    yield "signalling NaN and infinity", one(dtype='"F16"', shape="[2]")[:-4] + b"\1\x7c\0\xfc"
