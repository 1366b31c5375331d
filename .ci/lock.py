"""Renews the lock files: every package of the tests, the demo and CI, to the version and the hash.

``make lock`` runs it with uv beside it. The lock is for all platforms at once. torch is kept apart,
as pip, asked with hashes, prefers PyPI's CUDA build to a CPU build on the disk; and so is what only
a CUDA build needs, since a CPU build must not bring gigabytes of it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK, TORCH, CUDA = (ROOT / f"requirements{part}.lock" for part in ("", "-torch", "-cuda"))
OLDEST = "3.11"
# Oracles: what mapcc models of these is the engine of one version.
ORACLES = ["diffusers==0.42.1", "transformers==5.23.0"]
OF_CUDA = re.compile(r"(nvidia|cuda)-|triton==")

MADE = "# Made by `make lock`: do not edit. "
HEADS = {
    LOCK: "All but torch that `make test` and `make demo` install.",
    TORCH: "torch: the builds of PyPI, and the CPU builds that were met.",
    CUDA: "What torch needs besides, where pip takes its CUDA build.",
}


def main() -> int:
    texts = {path: f"{MADE}{head}\n" for path, head in HEADS.items()}
    for entry in compiled():
        if entry.startswith("torch=="):
            texts[TORCH] += with_hashes(entry, cpu_hashes(entry.split()[0]))
        else:
            texts[CUDA if OF_CUDA.match(entry) else LOCK] += entry
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    return 0


def compiled() -> list[str]:
    """What uv resolves: one text for each package, its hashes on lines of their own."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "oracles.txt"
        pins.write_text("\n".join(ORACLES), "utf-8")
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "pyproject.toml",
            "--extra",
            "test",
            "--quiet",
        ]
        command += [
            "--universal",
            "--python-version",
            OLDEST,
            "--generate-hashes",
            "--no-annotate",
            "--no-header",
        ]
        command += ["--constraint", "constraints.txt", "--constraint", str(pins)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return re.findall(r"^\S.*(?:\n .*)*\n", done.stdout, re.MULTILINE)


def cpu_hashes(torch: str) -> set[str]:
    """Hashes of builds that PyPI does not have: what pip takes here, and what earlier runs found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, torch]
        subprocess.run(command, check=True)
        found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}
    before = TORCH.read_text("utf-8") if TORCH.exists() else ""
    return found | set(re.findall("sha256:([0-9a-f]{64})", before if f"{torch} " in before else ""))


def with_hashes(entry: str, hashes: set[str]) -> str:
    head = entry.splitlines()[0].removesuffix("\\").rstrip()
    every = sorted(hashes | set(re.findall("sha256:([0-9a-f]{64})", entry)))
    return " \\\n".join([head, *(f"    --hash=sha256:{one}" for one in every)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
