"""Files that say little and mean much: read in 512 MiB, or refused, whatever they hold."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.counts import report

pytestmark = pytest.mark.slow

LIMITED = """
import resource
import sys
from mapcc.errors import MappingError
from mapcc.tensors.keysets import open_keyset

resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
for path in sys.argv[1:]:
    try:
        print(len(open_keyset(path).tensors), "tensors", path)
    except MappingError as error:
        print(*sorted({fault.code for fault in error.diagnostics}), error.diagnostics[0].message)
"""
MANY = 8_000_000
CLASS = b"class M(Module):\n  __parameters__ = [%s]\n"


def header(text: bytes) -> bytes:
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def headers() -> Iterator[tuple[str, bytes]]:
    yield "nested lists", header(b'{"a":' + b"[" * MANY + b"]" * MANY + b"}")
    yield "empty lists", header(b'{"a":[' + b"[]," * MANY + b"[]]}")
    yield "ones", header(b'{"a":[' + b"1," * MANY + b"1]}")
    empty = b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    yield "a million tensors", header(b"{" + b",".join(empty % at for at in range(1_000_000)) + b"}")


def pickles() -> Iterator[tuple[str, bytes]]:
    """Each has values that take a hundred times the bytes that say them."""
    yield "lists", b"]" * MANY
    yield "dictionaries", b"}" + b"}K\x01Ns" * (MANY // 5)
    yield "a key of tuples in each other", b"}N" + b"\x85" * 1_000_000 + b"Ns"
    pairs = b"(" + b"K\x01K\x01\x86" * 100_000 + b"lq\x010"
    copies = b"ccollections\nOrderedDict\nq\x000" + pairs + b"(" + b"h\x00h\x01\x85R" * 10_000 + b"l"
    yield "copies of pairs", copies
    twice = b"}q\x00(X\x01\x00\x00\x00wK\x01u"
    for at in range(60):
        twice += b"0}q%c(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cu" % (at + 1, at, at)
    yield "each holds the one before twice", twice


def scripts() -> Iterator[tuple[str, bytes, dict[str, bytes]]]:
    """TorchScript: what the pickle holds, and its sources."""
    module = b"\x80\x02c__torch__\nM\n)\x81q\x00}(%su" + b"b."
    own = module % b"X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00"
    plain = {"code/__torch__.py": CLASS % b'"w", '}
    yield "a module in itself", own, plain
    yield "sources", module % b"", {f"code/__torch__/a{at}.py": bytes(60_000_000) for at in range(40)}
    yield "lines", module % b"", {"code/__torch__.py": CLASS % b'"w", ' + b"a\n" * 25_000_000}
    yield "a long list of names", module % b"", {"code/__torch__.py": CLASS % (b"1," * 25_000_000)}
    yield "names", module % b"", {"code/__torch__.py": CLASS % (b'"w",' * 12_000_000)}


def archive(path: Path, pickled: bytes, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened:
        for name, data in ({"data.pkl": pickled} | parts).items():
            opened.writestr(zipfile.ZipInfo(f"archive/{name}"), data, zipfile.ZIP_DEFLATED)


def test_what_says_little_and_means_much(tmp_path: Path) -> None:
    wanted: list[Path] = []
    for what, raw in headers():
        wanted.append(tmp_path / f"{what}.safetensors")
        wanted[-1].write_bytes(raw)
    for what, raw in pickles():
        wanted.append(tmp_path / f"{what}.pt")
        archive(wanted[-1], b"\x80\x02" + raw + b".", {})
    for what, raw, parts in scripts():
        wanted.append(tmp_path / f"{what}.pt")
        archive(wanted[-1], raw, {"constants.pkl": b"\x80\x02)."} | parts)
    surroundings = os.environ | {"MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", LIMITED, *map(str, wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (0, len(wanted)), done.stderr[-2000:]
    for path, line in zip(wanted, lines, strict=True):
        assert line.startswith("0 tensors" if path.stem == "lines" else ("MC002 ", "MC006 ")), line
        assert path.name in line, (path, line)
    report({"files": 14}, files=len(wanted))
