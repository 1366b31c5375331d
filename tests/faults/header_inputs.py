"""Files of safetensors at random, without an end: valid ones damaged, and ones built with a fault in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes

Layout = tuple[str, str, tuple[int, ...]]

LAYOUTS: list[list[Layout]] = [
    [],
    [("a", "F32", (1,))],
    [("a", "U8", (3,)), ("b.1", "BF16", (2, 0)), ("c", "I64", ())],
    [("é.w", "F4", (2, 4)), ("b", "BOOL", (1,))],
    [(f"{name}.w", name, (2, 4)) for name in DTYPES],
]
TOKENS = [
    *b'{ } [ ] , : " \\ - 0 1 9 1e0 2.0 -0 true false null NaN {} [] : ,'.split(),
    *b'\\u0061 \\ud800 \xff \xc3\xa9 \x1b \0 "a" "b" "dtype" "shape" "data_offsets" "__metadata__"'.split(),
    *b'"F4" "F32" "x":{}, "x":1, "__metadata__":{"k":"v"}, 9223372036854775808 18446744073709551616'.split(),
    *b'"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}, ,"shape":[1] ,"data_offsets":[0,4]'.split(),
    b" ",
    b"\n",
    b"\t",
    b"",
    b"",
]
NAMES = ['"a"', '"b"', '"a"', '"c.0"', '"é"', '"\\u0061"', '"__metadata__"', '""', '"\\n"', '"\\ud800"', "a"]
ODD = [
    "-1",
    "-0",
    "1.0",
    "1e0",
    "true",
    "null",
    '"1"',
    "[1]",
    "{}",
    "NaN",
    str(2**62),
    str(2**63),
    str(2**64),
]


def files(draw: random.Random) -> Iterator[bytes]:
    """Two of three are mutants, the third is built."""
    seeds = [_split(layout) for layout in LAYOUTS]
    seeds = [*seeds[:4] * 4, seeds[4]]  # the small ones are the fast ones
    while True:
        yield mutant(draw, seeds)
        yield mutant(draw, seeds)
        yield built(draw)


def _split(layout: list[Layout]) -> tuple[bytes, bytes]:
    head, places = header_bytes([(name, DTYPES[dtype], shape) for name, dtype, shape in layout])
    size = places[-1][1] - len(head) if places else 0
    return head[8:], bytes(at % 251 for at in range(size))


def mutant(draw: random.Random, seeds: list[tuple[bytes, bytes]]) -> bytes:
    """A valid file after up to three edits of its header; with the length put right, mostly."""
    chance = draw.random
    header, data = seeds[int(chance() * len(seeds))]
    for _ in range(int(chance() * 3.2)):
        at = int(chance() * (len(header) + 1))
        kind = chance()
        if kind < 0.6:  # a token put in, or in the place of a few bytes
            token = TOKENS[int(chance() * len(TOKENS))]
            header = header[:at] + token + header[at + int(chance() * 4) :]
        elif kind < 0.8:  # a byte damaged
            header = header[:at] + bytes((int(chance() * 256),)) + header[at + 1 :]
        else:  # a piece doubled
            header = header[:at] + header[at - int(chance() * 60) : at] + header[at:]
    length = len(header)
    if chance() < 0.06:
        length = max(0, length + (-1, 1, 8, 2**40)[int(chance() * 4)])
        data = data[int(chance() * 2) :] + b"?"[int(chance() * 2) :]
    return length.to_bytes(8, "little") + header + data


def built(draw: random.Random) -> bytes:
    """Tensors one after the other, with a fault in each part once in a while."""
    chance = draw.random
    entries = []
    end = 0
    for _ in range(int(chance() * 4)):
        dtype = DTYPE_NAMES[int(chance() * len(DTYPE_NAMES))]
        dims = [str(int(chance() * 4)) for _ in range(int(chance() * 3))] + ["4"] * (chance() < 0.8)
        bits = DTYPES[dtype].bits
        for size in dims:
            bits *= int(size)
        begin, end = end, end + -(-bits // 8)
        offsets = [str(begin), str(end)]
        fault = chance()
        if fault < 0.06:
            dims.insert(int(chance() * (len(dims) + 1)), ODD[int(chance() * len(ODD))])
        elif fault < 0.12:
            offsets[int(chance() * 2)] = ODD[int(chance() * len(ODD))]
        elif fault < 0.16:
            end += int(chance() * 3) - 1
            offsets[1] = str(end)
        elif fault < 0.2:
            dtype = ("F12", "f32", "")[int(chance() * 3)]
        fields = [
            f'"dtype":"{dtype}"',
            f'"shape":[{",".join(dims)}]',
            f'"data_offsets":[{",".join(offsets)}]',
        ]
        if chance() < 0.05:
            fields.append(('"x":1', fields[0], '"shape":[]')[int(chance() * 3)])
        entries.append(f"{NAMES[int(chance() ** 2 * len(NAMES))]}:{{{','.join(fields)}}}")
    if chance() < 0.1:
        entries.insert(0, METADATA[int(chance() * len(METADATA))])
    draw.shuffle(entries)
    header = f"{{{','.join(entries)}}}{'' if chance() < 0.9 else ' ' * 7}".encode()
    return len(header).to_bytes(8, "little") + header + bytes(max(0, end))


DTYPE_NAMES = list(DTYPES)
METADATA = [
    f'"__metadata__":{json.dumps(value)}' for value in ({}, None, {"k": "v"}, {"k": 1}, [], {"k": {}})
] + ['"__metadata__":{"k":"1","k":"2"}', '"__metadata__":{"k":"\\ud800"}']
