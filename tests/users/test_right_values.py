"""What users' checkpoints become, byte for byte, and verified by another way than they were made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mapcc import api

DATA = Path(__file__).parent / "data"
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


@dataclass(frozen=True)
class Case:
    """One way to convert a folder of the data; ``rules`` where the mapping is not a file of it."""

    folder: str
    rules: str = ""
    source: str = ""
    expected: str = "expected.safetensors"
    options: dict[str, object] = field(default_factory=dict)
    has_target: bool = True

    def mapping(self, folder: Path) -> Path:
        if not self.rules:
            return DATA / self.folder / "m.mapcc"
        path = folder / "m.mapcc"
        path.write_text(self.rules, "utf-8")
        return path

    def source_path(self) -> Path:
        folder = DATA / self.folder
        if self.source:
            return folder / self.source
        (found,) = (path for path in folder.iterdir() if path.stem == "source")
        return found

    def target_path(self) -> Path | None:
        path = DATA / self.folder / "target.json"
        return path if self.has_target and path.exists() else None


OWN = [
    "02_clip_without_text_model", "05_proj_in_conv_or_linear", "06_vae_to_original",
    "13_diffsynth_lora_default", "24_training_wrappers", "25_ip_adapter", "26_t5_tied",
    "27_animatediff_pe", "29_controlnet", "30_sd21_openclip", "33_ltx_vae_0_9_5",
    "23_gguf_folded_conv", "01_wrappers", "09_bin_shards", "22_gptoss_bf16", "27_rms_plus_one",
    "28_conv_inflate", "40_gqa_permute", "41_gdn_qkvz", "42_gdn_tp_merge", "43_mla_kv_b",
    "44_conv3d_patch", "45_conv_layout", "46_olmo_gate", "48_peft_moe", "50_scan_layers",
    "51_upcycle", "52_depth_upscale", "53_positions_offset", "55_bn_counter", "56_dfine_inproj",
    "57_eva_kbias", "59_bias_mask", "70_zero_padded",
]  # fmt: skip
WAN = 'use "wan/official_to_diffusers"\n'
CASES = {
    **{name: Case(name) for name in OWN},
    "01_flux_prefix": Case(
        "01_flux_prefix",
        'use "flux/official_to_diffusers" under model.diffusion_model -> .',
        has_target=False,
    ),
    "03_position_ids_float": Case(
        "03_position_ids_float",
        "cond_stage_model.transformer.text_model -> text_model {\n"
        "    keep embeddings.token_embedding.*\n"
        "    embeddings.position_ids | round | cast i64 -> embeddings.position_ids\n}",
    ),
    "08_fp8_scaled_rename": Case("08_fp8_scaled_rename", f"{WAN}keep scaled_fp8"),
    "19_hunyuan_pt_module": Case("19_hunyuan_pt_module", options={"select": "module"}),
    "19_hunyuan_pt_module, flat": Case("19_hunyuan_pt_module", source="flat.pt"),
    "20_pt_with_namespace": Case("20_pt_with_namespace", "keep **", options={"select": "ema"}),
    "32_cogvideo_sat": Case("32_cogvideo_sat", options={"select": "module"}),
    "36_pt_views_aliases": Case("36_pt_views_aliases", options={"select": "state_dict"}),
    "37_wan_flf2v": Case(
        "37_wan_flf2v", f"{WAN}img_emb.emb_pos -> condition_embedder.image_embedder.pos_embed"
    ),
    "47_tied_optional, with": Case(
        "47_tied_optional", source="with.safetensors", expected="expected_with.safetensors", has_target=False
    ),
    "47_tied_optional, without": Case(
        "47_tied_optional", source="without.safetensors", expected="expected_without.safetensors"
    ),
    "70_zero_padded, as {i:03}": Case(
        "70_zero_padded",
        'separator source "/"\n'
        "encoder/block_{i:03}/layer_000 -> encoder.block.{i}.layer.0 {\n"
        "    SelfAttention/q : c o -> SelfAttention.q.weight : o c\n"
        "    rms_norm/scale -> layer_norm.weight\n"
        "}\n",
    ),
}


def read(folder: Path) -> Tensors:
    """The tensors of a file, or of a folder of files, from their bytes alone."""
    found: Tensors = {}
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = entry["dtype"], tuple(entry["shape"]), data[start + begin : start + end]
    return found


@pytest.mark.converts
@pytest.mark.parametrize("name", CASES)
def test_right_values(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source, out = case.source_path(), tmp_path / "out"
    api.convert(case.mapping(tmp_path), source, out, target=case.target_path(), **case.options)
    assert read(out) == read(DATA / case.folder / case.expected)
    assert not api.verify_output(out, source)
