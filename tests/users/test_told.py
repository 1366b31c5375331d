"""What cannot be right is told, and nothing is written: parts of a set, quantised weights, other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from tests.conftest import Ran

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("folder", "source", "rules", "code", "words"),
    [
        ("32_vocab_rows", "source.safetensors", "keep a.*, b.*, c.*", "MC402", "d.weight"),
        ("08_index_allowlist", "source_missing", "keep **", "MC003", "00002-of-00002"),
        ("03_position_ids_float", "source.safetensors", "** | cast i64 -> **", "MC5", "position_ids"),
        ("37_wan_flf2v", "source.safetensors", 'use "wan/official_to_diffusers"', "MC402", "img_emb.emb_pos"),
        ("19_hunyuan_pt_module", "source.pt", "keep **", "MC006", "--select module"),
    ],
)
def test_told(
    folder: str,
    source: str,
    rules: str,
    code: str,
    words: str,
    mapcc: Callable[..., Ran],
    tmp_path: Path,
) -> None:
    (tmp_path / "m.mapcc").write_text(rules, "utf-8")
    arguments = (tmp_path / "m.mapcc", "--source", DATA / folder / source, "--out", tmp_path / "out")
    ran = mapcc("convert", *arguments)
    assert ran.code in (1, 2), ran.out
    assert f"error[{code}" in ran.err
    assert words in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["m.mapcc"]


def test_an_index_is_the_authority(mapcc: Callable[..., Ran], tmp_path: Path) -> None:
    """A file beside those of the index is not read; a tensor in two of them is told, with both."""
    (tmp_path / "m.mapcc").write_text("keep **", "utf-8")
    stray = DATA / "08_index_allowlist/source_stray"
    listed = json.loads((stray / "model.safetensors.index.json").read_text("utf-8"))["weight_map"]
    ran = mapcc("keys", stray)
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)) == set(listed)


def test_a_table_of_positions_that_was_doubled(mapcc: Callable[..., Ran], tmp_path: Path) -> None:
    """The rows that are cut off must be named: no rule takes less than a tensor by chance."""
    import numpy as np

    save_file({"pe": np.zeros((1, 48, 4), np.float32)}, tmp_path / "s.safetensors")
    (tmp_path / "t.json").write_text(json.dumps({"pe": {"dtype": "F32", "shape": [1, 24, 4]}}), "utf-8")
    (tmp_path / "m.mapcc").write_text("keep pe", "utf-8")
    check = (
        "check",
        tmp_path / "m.mapcc",
        "--source",
        tmp_path / "s.safetensors",
        "--target",
        tmp_path / "t.json",
    )
    ran = mapcc(*check)
    assert ran.code == 1
    assert "error[MC408]" in ran.err + ran.out
    (tmp_path / "m.mapcc").write_text(
        'pe : a (b + rest) c -> pe : a b c, drop : a rest c because "half"', "utf-8"
    )
    assert mapcc(*check).code == 0
