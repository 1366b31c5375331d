"""The twelve defects once more as a person meets them: files, the command line, a place and a help.

The source is a checkpoint of two Llama 3 layers whose tensors were never written: the file has a
header, and a hole of 168 MB. Every read is recorded, and none goes beyond the header.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import pytest

Shapes = dict[str, tuple[int, ...]]

# Llama 3 8B: 32 query heads, 8 key and value heads of 128. Two layers of it.
HIDDEN, QUERY, KEY = 4096, 4096, 1024
META: Shapes = {
    f"layers.{i}.attention.w{name}.weight": shape
    for i in range(2)
    for name, shape in (
        ("q", (QUERY, HIDDEN)),
        ("k", (KEY, HIDDEN)),
        ("v", (KEY, HIDDEN)),
        ("o", (HIDDEN, QUERY)),
    )
}
HF: Shapes = {
    name.replace("attention.w", "self_attn.").replace(".weight", "_proj.weight"): s
    for name, s in META.items()
}
FUSED: Shapes = {f"layers.{i}.attn.qkv.weight": (QUERY + 2 * KEY, HIDDEN) for i in range(2)} | {
    f"layers.{i}.attn.proj.weight": (HIDDEN, QUERY) for i in range(2)
}
RENAME = "layers.{i}.attention.w{q,k,v,o}.weight -> layers.{i}.self_attn.{q,k,v,o}_proj.weight\n"
FUSE = """\
layers.{i}.attention -> layers.{i}.attn {
    wq.weight : q c, wk.weight : k c, wv.weight : v c -> qkv.weight : (q + k + v) c
    wo.weight -> proj.weight
}
"""


@dataclass(frozen=True)
class Defect:
    """``says``: each finding's code, line and column, and words that its report has."""

    mapping: str
    source: Shapes
    target: Shapes
    says: tuple[tuple[str, str, tuple[str, ...]], ...]


def without(shapes: Shapes, *names: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name not in names}


DEFECTS = {
    "D1 two sources, one target": Defect(
        RENAME.replace("{q,k,v,o}_proj", "{q,k,k,o}_proj"),
        META,
        HF,
        (
            ("MC206", "m.mapcc:1:1", ("layers.{0,1}.self_attn.k_proj.weight",)),
            ("MC401", "", ("layers.{0,1}.self_attn.v_proj.weight",)),
        ),
    ),
    "D2 two rules, one source": Defect(
        RENAME + "layers.{i}.attention.wo.* -> layers.{i}.self_attn.out.*\n",
        META,
        HF | {f"layers.{i}.self_attn.out.weight": (HIDDEN, QUERY) for i in range(2)},
        (("MC403", "m.mapcc:1:1", ("layers.{0,1}.attention.wo.weight", "m.mapcc:2:1", "default { ... }")),),
    ),
    "D3 dead rule": Defect(
        RENAME + "layers.{i}.attention.q_norm.weight -> layers.{i}.self_attn.q_norm.weight\n",
        META,
        HF,
        (("MC405", "m.mapcc:2:1", ("layers.{i}.attention.q_norm.weight", "nearest", "'optional'")),),
    ),
    "D4 unmapped source": Defect(
        RENAME,
        META | {"rope.freqs": (64,)},
        HF,
        (("MC402", "", ("`rope.freqs`", 'drop rope.freqs because "..."')),),
    ),
    "D5 unproduced target": Defect(
        RENAME,
        META,
        HF | {"lm_head.weight": (128256, HIDDEN)},
        (("MC401", "", ("`lm_head.weight`", 'external lm_head.weight because "..."')),),
    ),
    "D6 wrong target shape": Defect(
        FUSE,
        META,
        FUSED | {f"layers.{i}.attn.qkv.weight": (HIDDEN, QUERY + 2 * KEY) for i in range(2)},
        (
            (
                "MC408",
                "m.mapcc:2:58",
                ("[6144, 4096]", "[4096, 6144]", "layers.{0,1}.attn.qkv.weight", "transpose"),
            ),
        ),
    ),
    "D7 a member is missing": Defect(
        FUSE,
        without(META, "layers.1.attention.wk.weight"),
        FUSED,
        (("MC406", "m.mapcc:2:5", ("layers.1.attention.wk.weight", "layers.1.attention.wq.weight")),),
    ),
    "D8 q, k, v in equal parts": Defect(
        "layers.{i}.attn.qkv.weight : (t d) c -> layers.{i}.attention.[t=wq,wk,wv].weight : d c\n"
        "layers.{i}.attn.proj.weight          -> layers.{i}.attention.wo.weight\n",
        FUSED,
        META,
        (
            (
                "MC408",
                "m.mapcc:1:41",
                ("the rule gives [2048, 4096], the target has [4096, 4096]", "(q + k + v)"),
            ),
            (
                "MC408",
                "m.mapcc:1:41",
                ("the rule gives [2048, 4096], the target has [1024, 4096]", "(q + k + v)"),
            ),
        ),
    ),
    "D9 names swapped by mistake": Defect(
        RENAME.replace("{q,k,v,o}_proj", "{q,v,k,o}_proj"),  # no shape tells
        META,
        HF,
        (("MC203", "m.mapcc:1:43", ("{q,k,v,o}", "{q,v,k,o}")),),
    ),
    "D10 a name within a name": Defect(
        RENAME,
        META | {f"layers.{i}.attention.wq.weight_scale": (QUERY,) for i in range(2)},
        HF,
        (("MC402", "", ("layers.{0,1}.attention.wq.weight_scale",)),),
    ),
    "D11 one copy for two targets": Defect(
        "tok_embeddings.weight -> {embed_tokens,lm_head}.weight\n",
        {"tok_embeddings.weight": (128256, HIDDEN)},
        {"embed_tokens.weight": (128256, HIDDEN), "lm_head.weight": (128256, HIDDEN)},
        (("MC201", "m.mapcc:1:1", ("a -> x, y",)),),
    ),
}

SOUND = {
    "D8 q, k, v of their own sizes": (
        "layers.{i}.attn.qkv.weight : (q + k + v) c\n"
        "    -> layers.{i}.attention.wq.weight : q c, layers.{i}.attention.wk.weight : k c,\n"
        "       layers.{i}.attention.wv.weight : v c\n"
        "layers.{i}.attn.proj.weight -> layers.{i}.attention.wo.weight\n",
        FUSED,
        META,
        {
            "layers.0.attention.wq.weight": ("layers.0.attn.qkv.weight rows 0:4096",),
            "layers.1.attention.wv.weight": ("layers.1.attn.qkv.weight rows 5120:6144",),
        },
    ),
    "D9 a swap": (
        "scale.weight -> shift.weight\nshift.weight -> scale.weight\n",
        {"scale.weight": (HIDDEN,), "shift.weight": (HIDDEN,)},
        {"scale.weight": (HIDDEN,), "shift.weight": (HIDDEN,)},
        {"scale.weight": ("shift.weight",), "shift.weight": ("scale.weight",)},
    ),
    "D10 names within names": (
        "layers.{i}.q_proj.weight      -> layers.{i}.to_q.weight\n"
        "layers.{i}.q_proj_norm.weight -> layers.{i}.norm_to_q.weight\n",
        {"layers.0.q_proj.weight": (QUERY, HIDDEN), "layers.0.q_proj_norm.weight": (128,)},
        {"layers.0.to_q.weight": (QUERY, HIDDEN), "layers.0.norm_to_q.weight": (128,)},
        {"layers.0.norm_to_q.weight": ("layers.0.q_proj_norm.weight",)},
    ),
    "D11 a copy": (
        "tok_embeddings.weight -> embed_tokens.weight, lm_head.weight\n",
        {"tok_embeddings.weight": (128256, HIDDEN)},
        {"embed_tokens.weight": (128256, HIDDEN), "lm_head.weight": (128256, HIDDEN)},
        {"embed_tokens.weight": ("tok_embeddings.weight",), "lm_head.weight": ("tok_embeddings.weight",)},
    ),
    "D12 an uneven fuse": (
        FUSE,
        META,
        FUSED,
        {
            "layers.0.attn.qkv.weight": (
                "rows 0:4096 <- layers.0.attention.wq.weight",
                "rows 4096:5120 <- layers.0.attention.wk.weight",
                "rows 5120:6144 <- layers.0.attention.wv.weight",
            ),
        },
    ),
}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, ...]]:
    """Writes the files, and watches what is read of them; gives the options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")

    def write(mapping: str, source: Shapes, target: Shapes) -> tuple[str, ...]:
        Path("m.mapcc").write_text(mapping, "utf-8")
        keys = {name: {"dtype": "BF16", "shape": shape} for name, shape in target.items()}
        Path("target.json").write_text(json.dumps(keys), "utf-8")
        header = hollow(Path("source.safetensors"), source)
        monkeypatch.setattr(os, "pread", watched(header))
        return ("m.mapcc", "--source", "source.safetensors", "--target", "target.json")

    return write


def hollow(path: Path, shapes: Shapes) -> int:
    """A checkpoint whose tensors were never written; how long its header is."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    raw = json.dumps(entries).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    os.truncate(path, 8 + len(raw) + at)
    return 8 + len(raw)


PREAD = os.pread


def watched(header: int) -> Callable[[int, int, int], bytes]:
    def read(fd: int, size: int, offset: int) -> bytes:
        is_checkpoint = os.fstat(fd).st_size > 1_000_000
        assert not is_checkpoint or offset < header, "a tensor was read"
        return PREAD(fd, min(size, header - offset) if is_checkpoint else size, offset)

    return read


def reports(printed: str) -> list[tuple[str, str, str]]:
    """The code, the place and the whole text of each diagnostic."""
    out = []
    for report in re.split(r"^(?=(?:error|warning)\[)", printed, flags=re.MULTILINE)[1:]:
        code = report[report.index("[") + 1 : report.index("]")]
        place = re.search(r"^ *--> (\S+)$", report, re.MULTILINE)
        out.append((code, place[1] if place else "", report))
    return out


@pytest.mark.parametrize("name", DEFECTS)
def test_caught(name: str, case: Any, mapcc: Any) -> None:
    defect = DEFECTS[name]
    ran = mapcc("check", *case(defect.mapping, defect.source, defect.target))
    found = reports(ran.out)
    assert (ran.code, ran.err) == (1, "")
    assert [(code, place) for code, place, _ in found] == [said[:2] for said in defect.says], ran.out
    for (_, _, text), (_, _, words) in zip(found, defect.says, strict=True):
        assert all(word in text for word in words), text


@pytest.mark.parametrize("name", SOUND)
def test_handled(name: str, case: Any, mapcc: Any) -> None:
    mapping, source, target, wanted = SOUND[name]
    options = case(mapping, source, target)
    ran = mapcc("check", *options)
    assert (ran.code, ran.out.partition(":")[0]) == (0, "clean"), ran.out
    for tensor, lines in wanted.items():
        shown = mapcc("show", *options, "--filter", tensor).out
        assert all(line in shown for line in lines), shown


@pytest.mark.parametrize("name", SOUND)
def test_the_way_back(name: str, case: Any, mapcc: Any) -> None:
    """The inverse is proven, and checks clean from the target's names to the source's."""
    mapping, source, target, _ = SOUND[name]
    back = mapcc("invert", *case(mapping, source, target))
    assert (back.code, back.err) == (0, "")
    assert mapcc("check", *case(back.out, target, source)).code == 0
