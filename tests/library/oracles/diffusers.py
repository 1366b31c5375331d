"""Diffusers 0.42.1's own converters of single files, on tiny models of its own classes."""

from __future__ import annotations

from tests.library.diffusers_models import single_file

WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 40,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
HUNYUAN = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 2,
    "num_single_layers": 2,
    "num_refiner_layers": 2,
    "text_embed_dim": 16,
    "pooled_projection_dim": 8,
    "rope_axes_dim": (4, 4, 4),
}
FLUX = {
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "pooled_projection_dim": 8,
    "axes_dims_rope": (4, 4, 4),
}
FLUX2 = {
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "timestep_guidance_channels": 16,
    "axes_dims_rope": (3, 3, 3, 3),
}
MOCHI = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "pooled_projection_dim": 16,
    "in_channels": 4,
    "text_embed_dim": 16,
    "time_embed_dim": 4,
    "max_sequence_length": 16,
}
SD3 = {
    "sample_size": 8,
    "in_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 12,
    "out_channels": 4,
    "pos_embed_max_size": 6,
}
Z_IMAGE = {
    "in_channels": 4,
    "dim": 32,
    "n_layers": 2,
    "n_refiner_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
    "cap_feat_dim": 12,
    "axes_dims": [4, 6, 6],
}
AURAFLOW = {
    "sample_size": 8,
    "in_channels": 4,
    "num_mmdit_layers": 2,
    "num_single_dit_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 12,
    "caption_projection_dim": 16,
    "out_channels": 4,
    "pos_embed_max_size": 16,
}
LTX = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "num_layers": 2,
    "caption_channels": 12,
}

ORACLES = [
    *(
        single_file(
            "wan/official_to_diffusers",
            variant,
            "WanTransformer3DModel",
            WAN | config,
            "convert_wan_transformer_to_diffusers",
        )
        for variant, config in (("t2v", {}), ("i2v", {"image_dim": 16, "added_kv_proj_dim": 24}))
    ),
    *(
        single_file(
            "hunyuan_video/official_to_diffusers",
            variant,
            "HunyuanVideoTransformer3DModel",
            HUNYUAN | {"guidance_embeds": guidance},
            "convert_hunyuan_video_transformer_to_diffusers",
            constants={3072: 24},
        )
        for variant, guidance in (("t2v", False), ("t2v_distilled", True))
    ),
    *(
        single_file(
            "flux/official_to_diffusers",
            variant,
            "FluxTransformer2DModel",
            FLUX | {"guidance_embeds": guidance},
            "convert_flux_transformer_checkpoint_to_diffusers",
            constants={3072: 24},
        )
        for variant, guidance in (("schnell", False), ("dev", True))
    ),
    single_file(
        "flux/flux2_to_diffusers",
        "dev",
        "Flux2Transformer2DModel",
        FLUX2,
        "convert_flux2_transformer_checkpoint_to_diffusers",
    ),
    single_file(
        "mochi/official_to_diffusers",
        "preview",
        "MochiTransformer3DModel",
        MOCHI,
        "convert_mochi_transformer_checkpoint_to_diffusers",
        constants={48: 2},
    ),
    *(
        single_file(
            "stable_diffusion/sd3_to_diffusers",
            variant,
            "SD3Transformer2DModel",
            SD3 | config,
            "convert_sd3_transformer_checkpoint_to_diffusers",
        )
        for variant, config in (
            ("3", {}),
            ("3_5_large", {"qk_norm": "rms_norm"}),
            ("3_5_medium", {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)}),
        )
    ),
    single_file(
        "z_image/official_to_diffusers",
        "base",
        "ZImageTransformer2DModel",
        Z_IMAGE,
        "convert_z_image_transformer_checkpoint_to_diffusers",
    ),
    single_file(
        "auraflow/official_to_diffusers",
        "v0_2",
        "AuraFlowTransformer2DModel",
        AURAFLOW,
        "convert_auraflow_transformer_checkpoint_to_diffusers",
    ),
    single_file(
        "ltx/official_to_diffusers",
        "2b",
        "LTXVideoTransformer3DModel",
        LTX,
        "convert_ltx_transformer_checkpoint_to_diffusers",
    ),
]
