"""The same with transformers: load a Llama, which fuses and splits by its conversion mapping, and save it.

python load_and_save.py SOURCE OUT [split]
"""

from __future__ import annotations

import sys

import torch
from transformers import LlamaForCausalLM  # type: ignore[import-not-found]
from transformers.conversion_mapping import register_checkpoint_conversion_mapping  # type: ignore[import-not-found]
from transformers.core_model_loading import Chunk, Split, WeightConverter  # type: ignore[import-not-found]


def register_split() -> None:
    """The checkpoint has qkv and gate_up; the model has their parts."""
    query, gate = (
        [f"self_attn.{name}_proj.weight" for name in "qkv"],
        [f"mlp.{name}_proj.weight" for name in ("gate", "up")],
    )
    mapping = [
        WeightConverter("self_attn.qkv_proj.weight", query, operations=[Split(dim=0)]),
        WeightConverter("mlp.gate_up_proj.weight", gate, operations=[Chunk(dim=0)]),
    ]
    register_checkpoint_conversion_mapping("llama", mapping, overwrite=True)


def main() -> None:
    source, out, *work = sys.argv[1:]
    if work:
        register_split()
    model = LlamaForCausalLM.from_pretrained(source, dtype=torch.bfloat16, local_files_only=True)
    model.save_pretrained(out, save_original_format=False)


if __name__ == "__main__":
    main()
