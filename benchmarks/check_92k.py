"""How long ``mapcc check`` takes on a model of 92,000 tensors, and on what.

Makes DeepSeek-V3's key set (61 layers, 256 routed experts, a scale beside each FP8 weight, the
multi-token-prediction layer: 91,991 names, as in its index on the hub), checks it against the key
set of DeepSeek's own inference code, and against stacked experts as in transformers 5.

    python benchmarks/check_92k.py [--runs 5] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
MAPPING = ROOT / "mappings" / "moe" / "deepseek_v3_to_original.mapcc"

STACKED = """\
mapping deepseek_v3_stacked "DeepSeek-V3: one tensor an expert -> stacked and fused, as in transformers 5"

let layers = 61

keep model.embed_tokens.*, model.norm.*, lm_head.*

model.layers.{i} -> model.layers.{i} where i < layers {
    keep input_layernorm.*, post_attention_layernorm.*, self_attn.**
    keep mlp.{gate,down,up}_proj.*, mlp.gate.*, mlp.shared_experts.**

    mlp.experts.[e].[p=gate_proj,up_proj].weight{,_scale_inv} : o c
        -> mlp.experts.gate_up_proj{,_scale_inv} : e (p o) c
    mlp.experts.[e].down_proj.weight{,_scale_inv} : o c -> mlp.experts.down_proj{,_scale_inv} : e o c
}

drop model.layers.{i}.** because "multi-token prediction" where i >= layers
"""

Keys = dict[str, dict[str, object]]
Weights = Iterator[tuple[str, tuple[int, ...]]]
Result = TypeVar("Result")

HIDDEN, DENSE_WIDTH, EXPERT_WIDTH, VOCABULARY, BLOCK = 7168, 18432, 2048, 129280, 128
Q_RANK, KV_RANK, HEADS, NOPE, ROPE, VALUE = 1536, 512, 128, 128, 64, 128


# --- the key sets


def source_keys(layers: int = 61, dense: int = 3, experts: int = 256) -> Keys:
    """As on the hub; layer number ``layers`` is the multi-token-prediction module."""
    out: Keys = {}
    _plain(out, "model.embed_tokens.weight", (VOCABULARY, HIDDEN))
    for i in range(layers + 1):
        prefix = f"model.layers.{i}"
        _layer(out, prefix, 0 if i < dense else experts)
        if i == layers:
            for name, shape in _prediction():
                _plain(out, f"{prefix}.{name}", shape)
    _plain(out, "model.norm.weight", (HIDDEN,))
    _plain(out, "lm_head.weight", (VOCABULARY, HIDDEN))
    return out


def _layer(out: Keys, prefix: str, experts: int) -> None:
    for name in ("input_layernorm", "post_attention_layernorm"):
        _plain(out, f"{prefix}.{name}.weight", (HIDDEN,))
    for name, shape in _attention():
        _quantized(out, f"{prefix}.self_attn.{name}", shape)
    _plain(out, f"{prefix}.self_attn.q_a_layernorm.weight", (Q_RANK,))
    _plain(out, f"{prefix}.self_attn.kv_a_layernorm.weight", (KV_RANK,))
    if not experts:
        _ffn(out, f"{prefix}.mlp", DENSE_WIDTH)
        return
    _plain(out, f"{prefix}.mlp.gate.weight", (experts, HIDDEN))
    _plain(out, f"{prefix}.mlp.gate.e_score_correction_bias", (experts,), "F32")
    _ffn(out, f"{prefix}.mlp.shared_experts", EXPERT_WIDTH)
    for e in range(experts):
        _ffn(out, f"{prefix}.mlp.experts.{e}", EXPERT_WIDTH)


def _attention() -> Weights:
    yield "q_a_proj", (Q_RANK, HIDDEN)
    yield "q_b_proj", (HEADS * (NOPE + ROPE), Q_RANK)
    yield "kv_a_proj_with_mqa", (KV_RANK + ROPE, HIDDEN)
    yield "kv_b_proj", (HEADS * (NOPE + VALUE), KV_RANK)
    yield "o_proj", (HIDDEN, HEADS * VALUE)


def _prediction() -> Weights:
    yield "embed_tokens.weight", (VOCABULARY, HIDDEN)
    yield "enorm.weight", (HIDDEN,)
    yield "hnorm.weight", (HIDDEN,)
    yield "eh_proj.weight", (HIDDEN, 2 * HIDDEN)
    yield "shared_head.norm.weight", (HIDDEN,)
    yield "shared_head.head.weight", (VOCABULARY, HIDDEN)


def _ffn(out: Keys, prefix: str, width: int) -> None:
    for name, shape in (
        ("gate_proj", (width, HIDDEN)),
        ("down_proj", (HIDDEN, width)),
        ("up_proj", (width, HIDDEN)),
    ):
        _quantized(out, f"{prefix}.{name}", shape)


def _quantized(out: Keys, prefix: str, shape: tuple[int, ...]) -> None:
    _plain(out, f"{prefix}.weight", shape, "F8_E4M3")
    _plain(out, f"{prefix}.weight_scale_inv", tuple(-(-n // BLOCK) for n in shape), "F32")


def _plain(out: Keys, name: str, shape: tuple[int, ...], dtype: str = "BF16") -> None:
    out[name] = {"dtype": dtype, "shape": list(shape)}


_RENAMED = {
    "embed_tokens": "embed",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_a_proj": "wq_a",
    "q_a_layernorm": "q_norm",
    "q_b_proj": "wq_b",
    "kv_a_proj_with_mqa": "wkv_a",
    "kv_a_layernorm": "kv_norm",
    "kv_b_proj": "wkv_b",
    "o_proj": "wo",
    "gate": "gate",
    "gate_proj": "w1",
    "down_proj": "w2",
    "up_proj": "w3",
    "norm": "norm",
    "lm_head": "head",
}


def original_name(name: str) -> str:
    """A name as ``inference/convert.py`` of deepseek-ai/DeepSeek-V3 renames it."""
    *path, key, last = name.removeprefix("model.").split(".")
    path = [{"self_attn": "attn", "mlp": "ffn"}.get(part, part) for part in path]
    last = {"weight_scale_inv": "scale", "e_score_correction_bias": "bias"}.get(last, last)
    return ".".join([*path, _RENAMED[key], last])


def original_keys(source: Keys, layers: int = 61) -> Keys:
    prediction = f"model.layers.{layers}."
    return {original_name(name): spec for name, spec in source.items() if not name.startswith(prediction)}


def stacked_keys(source: Keys, layers: int = 61, experts: int = 256) -> Keys:
    """All routed experts of a layer in one tensor, gate and up fused in it."""
    out: Keys = {}
    for name, spec in source.items():
        head, routed, tail = name.partition(".mlp.experts.")
        if name.startswith(f"model.layers.{layers}."):
            continue
        if not routed:
            out[name] = spec
        elif tail.startswith("0.") and ".up_proj." not in tail:
            _, projection, last = tail.split(".")
            rows, columns = spec["shape"]  # type: ignore[misc]
            fused = projection == "gate_proj"
            stacked = ("gate_up_proj" if fused else projection) + last.removeprefix("weight")
            shape = (experts, 2 * rows if fused else rows, columns)  # type: ignore[has-type]
            _plain(out, f"{head}.mlp.experts.{stacked}", shape, str(spec["dtype"]))
    return out


# --- the clock


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    started = perf_counter()
    result = work()
    return perf_counter() - started, result


def process(command: list[str], runs: int) -> float:
    """The best time of a whole process; its modules are compiled, as those of an installation are."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "mapcc-bench")

    def once() -> None:
        subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT, env=environment)

    once()

    return min(timed(once)[0] for _ in range(runs))


def stages(mapping: Path, source: Path, target: Path) -> dict[str, float]:
    """The parts of one check, in this process."""
    from mapcc.diagnostics.model import Diagnostics
    from mapcc.passes.analyse import analyse
    from mapcc.passes.binder import Binder
    from mapcc.passes.coverage import cover
    from mapcc.passes.flatten import flatten
    from mapcc.passes.instances import make_instances
    from mapcc.passes.take import match_sources
    from mapcc.passes.verdict import check_bijections
    from mapcc.syntax.load import Loader
    from mapcc.tensors.keysets import open_keyset

    found = Diagnostics()
    loader = Loader(found)
    spent: dict[str, float] = {}
    gc.disable()
    spent["read both key sets"], (ours, theirs) = timed(
        lambda: (open_keyset(str(source)), open_keyset(str(target)))
    )
    spent["parse the mapping"], parsed = timed(lambda: loader.load(mapping))
    assert parsed is not None
    spent["flatten, analyse"], program = timed(lambda: flatten(parsed, mapping, {}, {}, found, loader))
    spent["flatten, analyse"] += timed(lambda: analyse(program, found))[0]
    binder = Binder(program, ours, theirs, found)
    spent["match names"], _ = timed(lambda: match_sources(binder))
    spent["make instances"], _ = timed(lambda: make_instances(binder))
    spent["coverage and types"], _ = timed(lambda: cover(binder))
    spent["bijections"], _ = timed(lambda: check_bijections(binder.bound, found))
    gc.enable()
    assert not found.errors, [d.message for d in found]
    return spent


def report(title: str, mapping: Path, source: Path, target: Path, runs: int) -> None:
    whole = process(["-m", "mapcc", "check", str(mapping), "-s", str(source), "-t", str(target)], runs)
    plain = process(["-c", "pass"], runs)
    script = "import json, sys; [json.load(open(path)) for path in sys.argv[1:]]"
    reading = process(["-c", script, str(source), str(target)], runs)
    print(f"\n{title}")
    print(f"  mapcc check, whole process           {whole:6.2f} s")
    print(f"  python -c pass                       {plain:6.2f} s   mapcc is {whole / plain:.0f} times that")
    print(
        f"  json.load of the same two files      {reading:6.2f} s   mapcc is {whole / reading:.1f} times that"
    )
    best: dict[str, float] = {}
    for _ in range(runs):
        for name, seconds in stages(mapping, source, target).items():
            best[name] = min(seconds, best.get(name, seconds))
    best["start, imports, grammar, print, exit"] = max(0.0, whole - sum(best.values()))
    for name, seconds in best.items():
        print(f"    {name:36} {seconds:5.2f} s  {seconds / whole:4.0%}")


def small(runs: int) -> None:
    keys = ROOT / "mappings" / "llama" / "keys"
    mapping = ROOT / "mappings" / "llama" / "llama3_meta_to_hf.mapcc"
    sides = [str(keys / f"llama3_meta_to_hf.{side}.json") for side in ("source", "target")]
    whole = process(["-m", "mapcc", "check", str(mapping), "-s", sides[0], "-t", sides[1]], runs)
    print("\nLlama 3 8B, 291 -> 291 tensors")
    print(f"  mapcc check, whole process           {whole:6.2f} s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--keep", type=Path, help="write the key sets here, and leave them")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        source = source_keys()
        sides = {"source": source, "original": original_keys(source), "stacked": stacked_keys(source)}
        paths = {side: folder / f"deepseek_v3.{side}.json" for side in sides}
        for side, keys in sides.items():
            paths[side].write_text(json.dumps(keys), encoding="utf-8")
        stacked = folder / "deepseek_v3_stacked.mapcc"
        stacked.write_text(STACKED, encoding="utf-8")
        print(f"Python {sys.version.split()[0]}, best of {given.runs}")
        counted = {side: len(keys) for side, keys in sides.items()}
        title = f"DeepSeek-V3, renamed: {counted['source']} -> {counted['original']} tensors"
        report(title, MAPPING, paths["source"], paths["original"], given.runs)
        title = f"DeepSeek-V3, experts stacked: {counted['source']} -> {counted['stacked']} tensors"
        report(title, stacked, paths["source"], paths["stacked"], given.runs)
        small(given.runs)


if __name__ == "__main__":
    main()
