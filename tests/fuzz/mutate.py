"""Damage at random: bytes and words taken out, put in, doubled, exchanged, and numbers made extreme."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_WORD = re.compile(rb"\s+|\w+|[^\w\s]")
NUMBERS = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"\0\0\1\0", b"\xff" * 8]
TEXTS = [
    *b"{ } [ ] ( ) , : \" \\ ' -> # = | * ** . .. ... - 0 1 -1 9 1e999 2.0 1e0 true false null".split(),
    *b'NaN {} [] "" :: \\u0061 \\ud800 \xff \xc3\xa9 \x1b \0 99999999999999999999'.split(),
    *b"9223372036854775808 {i} {a,b} [t=q,k] {x:/a+/} *** weight_map keys dtype shape".split(),
    *b"data_offsets sizes groups __metadata__ BF16 F4".split(),
    *b"drop where optional use under exists( count( in let dtype create external keep separator".split(),
    *(b"\n", b" ", b"\t", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80"),
    *(b"[" * 200, b"{" * 200, b'{"a":' * 300, b"(" * 200),
]
# Of pickles: what calls, builds, marks and names.
CODES = [
    *(
        bytes((code,))
        for code in b"(.0125FGIJKLMNPQRSTUVXabcdeghijlopqrstu}])\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b"
    ),
    *(bytes((code,)) for code in b"\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"),
    *(
        b"cos\nsystem\n",
        b"c__builtin__\neval\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
    ),
    *(b"h\0", b"q\0", b"h\1", b"K\xff", b"X\1\0\0\0w", b"}X\6\0\0\0strideK\1sb", b"ctorch\nFloatStorage\n"),
]


def damaged(draw: random.Random, raw: bytes, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """``raw`` after one to four edits; ``words`` are put in, of ``others`` pieces are taken."""
    edit = _edit_words if words is TEXTS and draw.random() < 0.7 else _edit_bytes
    for _ in range(1 + int(draw.random() ** 2 * 4)):
        raw = edit(draw, raw, words, others)
    return raw


def _edit_bytes(draw: random.Random, raw: bytes, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    chance = draw.random
    at, kind = int(chance() * (len(raw) + 1)), chance()
    if kind < 0.3:
        return raw[:at] + bytes((int(chance() * 256),)) + raw[at + 1 :]
    if kind < 0.5:
        return raw[:at] + draw.choice(words) + raw[at + int(chance() * 4) :]
    if kind < 0.65:
        number = draw.choice(NUMBERS)
        return raw[:at] + number + raw[at + len(number) :]
    if kind < 0.75:
        return raw[:at] + raw[at + int(chance() * 40) :]
    if kind < 0.85:
        return raw[:at] + raw[max(0, at - int(chance() * 60)) : at] * (1 + int(chance() * 3)) + raw[at:]
    if kind < 0.95:
        other = draw.choice(others)
        begin = int(chance() * len(other))
        return raw[:at] + other[begin : begin + int(chance() * 80)] + raw[at:]
    return raw[:at]


def _edit_words(draw: random.Random, raw: bytes, words: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    pieces = _WORD.findall(raw)
    at, to = (int(draw.random() * (len(pieces) + 1)) for _ in range(2))
    kind = draw.random()
    if kind < 0.4:
        pieces.insert(at, draw.choice(words))
    elif kind < 0.6:
        pieces[at : at + 1] = [draw.choice(words)]
    elif kind < 0.75:
        del pieces[at : at + 1 + int(draw.random() * 4)]
    elif kind < 0.9:
        pieces[at:at] = pieces[to : to + 12] * (1 + int(draw.random() * 3))
    else:
        pieces[min(at, to) : max(at, to)] = _WORD.findall(draw.choice(others))[:40]
    return b"".join(pieces)
