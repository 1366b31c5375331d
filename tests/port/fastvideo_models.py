"""Diffusers' Wan, and FastVideo's own from its wheel, on the CPU: written into a workspace, not imported.

What is stubbed of FastVideo's imports: packages that are not installed and that its Wan does not call. Its
CPU platform has no attention backend: it gets torch's scaled dot product. Its process group is one process.
"""

MODELS = '''
import os
import sys
import types

import torch
from stubs import stub

WHEEL = {wheel!r}
STUBS = ("torchvision", "imageio", "remote_pdb", "cloudpickle", "einops", "peft", "accelerate", "torchaudio")
SIZES = dict(
    num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=10, freq_dim=8,
    ffn_dim=16, num_layers=2, rope_max_seq_len=32,
)


def fastvideo():
    """FastVideo's packages from the wheel, without the file that imports all of them."""
    if "fastvideo" in sys.modules:
        return
    import diffusers.loaders.lora_base  # before torchvision seems to be there
    import transformers.modeling_utils

    stub(*STUBS)
    package = types.ModuleType("fastvideo")
    package.__path__ = [WHEEL + "/fastvideo"]
    sys.modules["fastvideo"] = package
    one = dict(MASTER_ADDR="localhost", MASTER_PORT="{socket}", RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    os.environ.update(one, FASTVIDEO_ATTENTION_BACKEND="TORCH_SDPA", FASTVIDEO_CONFIGURE_LOGGING="0")
    from fastvideo.platforms.cpu import CpuPlatform

    backend = "fastvideo.attention.backends.sdpa.SDPABackend"
    CpuPlatform.get_attn_backend_cls = classmethod(lambda cls, *args, **kwargs: backend)
    # A second call on another device is none of ours.
    with torch.device("cpu"):
        from fastvideo.distributed import maybe_init_distributed_environment_and_model_parallel

        maybe_init_distributed_environment_and_model_parallel(1, 1)


def official():
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        **SIZES, patch_size=(1, 2, 2), cross_attn_norm=True, qk_norm="rms_norm_across_heads"
    )


def wan():
    """The class, and a module of it at this size."""
    fastvideo()
    from fastvideo.configs.models.dits import WanVideoConfig
    from fastvideo.models.dits.wanvideo import WanTransformer3DModel

    config = WanVideoConfig()
    config.update_model_arch(SIZES)
    return WanTransformer3DModel, WanTransformer3DModel(config, {{}})


def ported():
    from contextlib import contextmanager

    kind, model = wan()
    from fastvideo.forward_context import set_forward_context

    forward = model.forward

    def within(hidden_states, encoder_hidden_states, timestep):
        with set_forward_context(current_timestep=0, attn_metadata=None, forward_batch=None):
            return forward(hidden_states, encoder_hidden_states, timestep)

    model.forward = within
    return model


def strict_load(emitted):
    """FastVideo's own strict loader, with the emitted dict instead of its table: what it has loaded."""
    kind, model = wan()
    from fastvideo.models.loader.fsdp_load import load_model_from_full_model_state_dict
    from fastvideo.models.loader.utils import get_param_names_mapping
    from safetensors.torch import load_file

    scope = {{}}
    exec(open(emitted).read(), scope)
    table = get_param_names_mapping(scope["param_names_mapping"])
    with torch.device("meta"):
        config_model = wan()[1]
    tensors = load_file("official_weights/wan/diffusion_pytorch_model.safetensors")
    load_model_from_full_model_state_dict(
        config_model, iter(tensors.items()), torch.device("cpu"), torch.float32, strict=True,
        param_names_mapping=table,
    )
    found = config_model.state_dict()
    assert not any(tensor.is_meta for tensor in found.values())
    return found


def traced(path):
    """A forward pass of FastVideo's Wan under FastVideo's own activation trace."""
    from pathlib import Path

    from mapcc.port.parity import prepared
    from mapcc.port.read import read_port

    port = read_port(Path("port.yaml"))
    pair = prepared(port, port.components[0])
    stats = "abs_mean,sum,max,shape"
    os.environ.update(
        FASTVIDEO_TRACE_ACTIVATIONS="1", FASTVIDEO_TRACE_OUTPUT=path, FASTVIDEO_TRACE_STATS=stats,
        FASTVIDEO_TRACE_LAYERS=".*", FASTVIDEO_TRACE_STEPS="",
    )
    from fastvideo.hooks.activation_trace import attach_activation_trace

    manager = attach_activation_trace(pair.ported)
    pair.run("ported")
    manager.remove_from_manager()


if __name__ == "__main__":
    from safetensors.torch import save_file

    if sys.argv[1] == "trace":
        traced(sys.argv[2])
        sys.exit()
    state = strict_load(sys.argv[1])
    save_file({{name: tensor.contiguous() for name, tensor in state.items()}}, sys.argv[2])
'''
PORT = """\
model: wan
family: wan
weights: {path: official_weights/wan}
target: {kind: fastvideo, pipeline: WanPipeline, version: "0.42.1"}
components:
  transformer:
    source: diffusion_pytorch_model.safetensors
    mapping: wan/diffusers_to_fastvideo
    class: diffusers.WanTransformer3DModel
    config: {num_layers: 2}
    official: {module: "py:models.py:official", output: sample}
    ported: {module: "py:models.py:ported"}
    inputs:
      hidden_states: {shape: [1, 4, 2, 8, 8]}
      encoder_hidden_states: {shape: [1, 6, 10]}
      timestep: {shape: [1], dtype: int, high: 1000}
"""
