"""Malformed and odd files, made here and now: mapcc's reader against the safetensors library's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.safetensors import MAX_HEADER, read_header
from mapcc.tensors.spec import MAX_TENSORS
from tests.faults.counts import report
from tests.tensors.headers import accepted, craft, malformed
from tests.work import guard

pytestmark = pytest.mark.oracle

# What readers were seen to disagree on, or to take for right: each line with its cases.
ROWS = [
    "empty file|seven bytes",
    "length beyond the file|length of 2^64-1|length 0",
    "length one too large",
    "padding without end",
    "not UTF-8|not JSON|an array|byte order mark|padded with NUL|a second value",
    "leading space",
    "padded with newlines|padded with tabs",
    "key twice, same span, other dtype",
    "key twice, other span|key twice by escape",
    "empty tensor twice",
    "metadata twice|dtype twice",
    "key twice in metadata",
    "unknown field",
    "overlap|partial overlap|hole|hole at the start|begin after end",
    "trailing bytes|trailing zip archive|truncated data",
    'dimension -1|offset -4|dimension 2.0|dimension "2"|dimension true|dimension NaN|dimension 8e0',
    "400 digits|three offsets|product overflow|bytes overflow|huge, huge, 0",
    "0, 2^62|0, huge, huge|0, 2^64-1",
    "unknown dtype|lower-case dtype",
    "F4 that ends within a byte|F6 that ends within a byte|F4 with a last dimension of 1",
    "f4 |f6_e2m3 |f6_e3m2 |f8_e8m0 |c64 ",
    "BOOL bytes other than 0 and 1|signalling NaN and infinity",
    "length not a multiple of 8|F32 at an odd offset",
    "rank 64|rank 65",
    "empty name|newline in a name|ESC in a name|NUL in a name|names to quote|name of 1 MB",
    "names that differ in case|names that differ in form",
    "lone surrogate|lone surrogate in metadata",
    "deep nesting|deep nesting of lists",
    "offsets in reverse order|metadata null",
    "metadata is a tensor",
]  # fmt: skip

Seen = list[tuple[str, str, list[int], bytes]]


def ours(path: Path) -> Seen | Diagnostic:
    """The tensors, or the one diagnostic that refuses the file."""
    try:
        header = read_header(path)
    except MappingError as error:
        (fault,) = error.diagnostics
        return fault
    raw = path.read_bytes()
    return sorted((t.name, str(t.dtype).upper(), list(t.shape), raw[t.begin : t.end]) for t in header.tensors)


def theirs(path: Path) -> Seen | None:
    """The same by the library, which must say it alike from the bytes and from the file."""
    try:
        found = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError:
        with pytest.raises(safetensors.SafetensorError):
            safetensors.safe_open(path, "numpy")
        return None
    with safetensors.safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == sorted(name for name, _ in found)
    return sorted((name, info["dtype"], info["shape"], bytes(info["data"])) for name, info in found)


def test_every_file_is_refused_by_a_rule_or_read_as_the_library_reads_it(tmp_path: Path) -> None:
    cases = [(what, raw, rule) for what, raw, rule in malformed()]
    cases += [(what, raw, "") for what, raw in accepted()]
    path = tmp_path / "case.safetensors"
    refused = stricter = 0
    for what, raw, rule in cases:
        path.write_bytes(raw)
        found, library = ours(path), theirs(path)
        assert path.read_bytes() == raw
        if isinstance(found, Diagnostic):
            assert rule, what
            says_file_offset_and_rule(found, path, rule)
            refused += 1
            stricter += library is not None
        else:
            assert (rule, found) == ("", library), what
    names = {what for what, _, _ in cases}
    wanted = [what for row in ROWS for what in row.split("|")]
    assert set(wanted) <= names
    report(
        {"files": 130, "rows": 30, "named": 76, "stricter": 15},
        files=len(names),
        rows=len(ROWS),
        named=len(set(wanted)),
        refused=refused,
        accepted=len(cases) - refused,
        stricter=stricter,
    )


def says_file_offset_and_rule(fault: Diagnostic, path: Path, rule: str) -> None:
    assert fault.code == "MC002"
    assert f"`{path}`" in fault.message
    assert rule in fault.message
    # Where it became too deep is for no parser to say.
    assert " at byte " in fault.message or "deeply" in fault.message


def special(folder: Path) -> dict[str, Path]:
    """What is found under a name instead of a file."""
    places = {
        name: folder / f"{name}.safetensors"
        for name in ("fifo", "folder", "itself", "first", "second", "nowhere", "socket")
    }
    os.mkfifo(places["fifo"])
    places["folder"].mkdir()
    places["itself"].symlink_to(places["itself"])
    places["first"].symlink_to(places["second"])
    places["second"].symlink_to(places["first"])
    places["nowhere"].symlink_to("absent")
    del places["socket"]
    return places | {
        "zeros": Path("/dev/zero"),
        "null": Path("/dev/null"),
        "fifo by link": link(folder, "fifo"),
    }


def link(folder: Path, name: str) -> Path:
    path = folder / "link.safetensors"
    path.symlink_to(f"{name}.safetensors")
    return path


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    places = special(tmp_path)
    for what, path in places.items():
        fault = ours(path)
        assert isinstance(fault, Diagnostic), what
        assert (fault.code, str(path) in fault.message) == ("MC001", True)
    report({"files": 9}, files=len(places))


@pytest.mark.slow
def test_a_header_of_spaces_and_one_of_too_many_tensors(tmp_path: Path) -> None:
    """100 MB that the library takes, and 52 MB that it takes 4 s and 942 MB for."""
    path = tmp_path / "case.safetensors"
    tensor = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    huge = {
        "padded": b"{}" + b" " * (MAX_HEADER - 2),
        f"at most {MAX_TENSORS:,} tensors": (
            f"{{{','.join(tensor % at for at in range(MAX_TENSORS + 1))}}}".encode()
        ),
    }
    for rule, header in huge.items():
        path.write_bytes(craft(header))
        with guard():
            fault = ours(path)
        assert isinstance(fault, Diagnostic)
        assert rule in fault.message
    report({"files": 2}, files=len(huge))
