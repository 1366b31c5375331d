"""More of Diffusers 0.42.1's converters of single files: video, VAEs, and the models around them."""

from __future__ import annotations

from tests.library.diffusers_models import single_file, source_shapes
from tests.library.oracle import Oracle, Pair

LUMINA = {
    "sample_size": 8,
    "in_channels": 4,
    "hidden_size": 24,
    "num_layers": 2,
    "num_attention_heads": 6,
    "num_kv_heads": 2,
    "multiple_of": 8,
    "axes_dim_rope": (2, 2, 2),
    "axes_lens": (8, 8, 8),
    "cap_feat_dim": 12,
}
SANA = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 8,
    "cross_attention_dim": 16,
    "caption_channels": 12,
    "sample_size": 8,
}
COSMOS = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 2,
    "text_embed_dim": 16,
    "adaln_lora_dim": 8,
    "max_size": (4, 8, 8),
}
LTX2 = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "audio_in_channels": 4,
    "audio_out_channels": 4,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 4,
    "audio_cross_attention_dim": 8,
    "num_layers": 2,
    "caption_channels": 12,
}
CHROMA = {
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "axes_dims_rope": (4, 4, 4),
    "approximator_num_channels": 8,
    "approximator_hidden_dim": 16,
    "approximator_layers": 2,
}
WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 40,
    "rope_max_seq_len": 32,
}
ANIMATE = {
    "latent_channels": 4,
    "out_channels": 4,
    "in_channels": 12,
    "num_layers": 6,
    "image_dim": 16,
    "added_kv_proj_dim": 24,
    "motion_encoder_channel_sizes": {
        "4": 8,
        "8": 8,
        "16": 8,
        "32": 8,
        "64": 8,
        "128": 8,
        "256": 8,
        "512": 8,
        "1024": 8,
    },
    "motion_style_dim": 8,
    "motion_dim": 4,
    "motion_encoder_dim": 8,
    "face_encoder_hidden_dim": 8,
    "face_encoder_num_heads": 2,
}
UNET = {
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "attention_head_dim": (1, 2, 2),
    "cross_attention_dim": 8,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 16,
    "norm_num_groups": 4,
    "use_linear_projection": True,
}
UNET_1 = {
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 2,
    "down_block_types": (
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "cross_attention_dim": 8,
    "norm_num_groups": 4,
}
KL = {
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
}
LTX_VAE = {"block_out_channels": (8, 16, 32, 32), "layers_per_block": (2, 1, 1, 1, 2), "latent_channels": 4}
LTX2_VAE = {
    "latent_channels": 4,
    "block_out_channels": (4, 8, 16, 32),
    "decoder_block_out_channels": (4, 8, 16),
    "layers_per_block": (1, 2, 1, 1, 1),
    "decoder_layers_per_block": (1, 2, 1, 1),
}
LTX2_AUDIO = {
    "base_channels": 8,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "latent_channels": 2,
    "resolution": 16,
}
WAN_VAE = {"base_dim": 4, "z_dim": 2, "num_res_blocks": 2}


def open_clip() -> Pair:
    import torch
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=20,
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=6,
        projection_dim=12,
    )
    model = CLIPTextModelWithProjection(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    prefix = "conditioner.embedders.1.model."
    wanted = source_shapes("stable_diffusion/openclip_to_hf", shapes, {}) | {f"{prefix}logit_scale": ()}
    random = torch.Generator().manual_seed(0)
    source = {name: torch.randn(shape, generator=random) for name, shape in wanted.items()}
    expected = convert_open_clip_checkpoint(model, dict(source), prefix)
    assert {name: tuple(tensor.shape) for name, tensor in expected.items()} == shapes
    return Pair(source, expected)


ORACLES = [
    Oracle("stable_diffusion/openclip_to_hf", "sdxl", "diffusers convert_open_clip_checkpoint", open_clip),
    single_file(
        "lumina/v2_to_diffusers",
        "2b",
        "Lumina2Transformer2DModel",
        LUMINA,
        "convert_lumina2_to_diffusers",
        constants={2304: 24, 768: 8},
    ),
    single_file(
        "sana/official_to_diffusers",
        "1600m",
        "SanaTransformer2DModel",
        SANA,
        "convert_sana_transformer_to_diffusers",
        dropped={"pos_embed": (1, 64, 16), "y_embedder.y_embedding": (10, 12)},
    ),
    single_file(
        "cosmos/v1_official_to_diffusers",
        "7b",
        "CosmosTransformer3DModel",
        COSMOS,
        "convert_cosmos_transformer_checkpoint_to_diffusers",
        dropped={"net.logvar.1.weight": (1, 8), "net.pos_embedder.seq": (8,)},
        emptied=False,  # as published, it never gets to its branch for Cosmos 1
    ),
    single_file(
        "cosmos/v2_official_to_diffusers",
        "2b",
        "CosmosTransformer3DModel",
        COSMOS | {"extra_pos_embed_type": None},
        "convert_cosmos_transformer_checkpoint_to_diffusers",
        dropped={"net.accum_iteration": (1,), "net.pos_embedder.seq": (8,)},
    ),
    single_file(
        "ltx/ltx2_to_diffusers",
        "19b",
        "LTX2VideoTransformer3DModel",
        LTX2,
        "convert_ltx2_transformer_to_diffusers",
        dropped={"model.diffusion_model.video_embeddings_connector.learnable_registers": (4, 4)},
    ),
    single_file(
        "wan/vae_to_diffusers",
        "2_1",
        "AutoencoderKLWan",
        WAN_VAE,
        "convert_wan_vae_to_diffusers",
    ),
    single_file(
        "wan/official_to_diffusers",
        "vace",
        "WanVACETransformer3DModel",
        WAN | {"num_layers": 4, "vace_layers": [0, 2], "vace_in_channels": 8},
        "convert_wan_transformer_to_diffusers",
    ),
    single_file(
        "wan/animate_to_diffusers",
        "14b",
        "WanAnimateTransformer3DModel",
        WAN | ANIMATE,
        "convert_wan_transformer_to_diffusers",
        dropped={},
    ),
    single_file(
        "flux/chroma_to_diffusers",
        "v1",
        "ChromaTransformer2DModel",
        CHROMA,
        "convert_chroma_transformer_checkpoint_to_diffusers",
        constants={3072: 24},
    ),
    *(
        single_file(
            "stable_diffusion/unet_to_diffusers",
            variant,
            "UNet2DConditionModel",
            config,
            "convert_ldm_unet_checkpoint",
            told=True,
        )
        for variant, config in (("xl", UNET), ("1_5", UNET_1))
    ),
    *(
        single_file(
            "stable_diffusion/vae_to_diffusers",
            variant,
            "AutoencoderKL",
            KL | config,
            "convert_ldm_vae_checkpoint",
            told=True,
        )
        for variant, config in (("xl", {}), ("flux", {"use_quant_conv": False, "use_post_quant_conv": False}))
    ),
    single_file(
        "ltx/vae_to_diffusers",
        "0_9",
        "AutoencoderKLLTXVideo",
        LTX_VAE,
        "convert_ltx_vae_checkpoint_to_diffusers",
        dropped={
            "vae.per_channel_statistics.channel": (4,),
            "vae.per_channel_statistics.mean-of-stds": (4,),
            "vae.per_channel_statistics.mean-of-stds_over_std-of-means": (4,),
            "model.diffusion_model.proj_out.bias": (4,),
        },
    ),
    single_file(
        "ltx/ltx2_vae_to_diffusers",
        "19b",
        "AutoencoderKLLTX2Video",
        LTX2_VAE,
        "convert_ltx2_vae_to_diffusers",
        dropped={"vae.per_channel_statistics.mean-of-stds": (4,)},
    ),
    single_file(
        "ltx/ltx2_audio_vae_to_diffusers",
        "19b",
        "AutoencoderKLLTX2Audio",
        LTX2_AUDIO,
        "convert_ltx2_audio_vae_to_diffusers",
    ),
]
