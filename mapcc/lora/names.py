"""What the names in an adapter's file tell: the role of a tensor, and the module that it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a tensor is to its module."""

    DOWN = "lora_A"
    UP = "lora_B"
    MID = "lora_mid"
    ALPHA = "alpha"
    MAGNITUDE = "magnitude"
    EMBEDDING_DOWN = "lora_embedding_A"
    EMBEDDING_UP = "lora_embedding_B"
    UP_BIAS = "lora_B.bias"
    DIFFERENCE = "diff"
    REPLACED = "set"
    PRODUCT = "product"
    WHOLE = ""


class Told(NamedTuple):
    """A name read.

    Attributes:
        module: the name before the suffix.
        suffix: as it stands in the file.
        parameters: how the module's parameter may be called, behind its name; "" is the module's own name.
        kind: of a PRODUCT: LoKr, LoHa, OFT.
    """

    role: Role
    module: str
    suffix: str
    parameters: tuple[str, ...]
    kind: str = ""


# PEFT may write the name of the adapter: lora_A.default.weight.
_NAMED = r"(?:\.[^.]+)?"
_WEIGHT = (".weight",)
_ANY = (".weight", "", ".scale", ".gamma")
_FORMS: tuple[tuple[re.Pattern[str], Role, tuple[str, ...]], ...] = tuple(
    (re.compile(rf"(?P<module>.+?)(?P<suffix>{suffix})"), role, parameters)
    for suffix, role, parameters in (
        (rf"\.lora_A{_NAMED}\.weight|\.lora_A", Role.DOWN, _WEIGHT),
        (rf"\.lora_B{_NAMED}\.weight|\.lora_B", Role.UP, _WEIGHT),
        (rf"\.lora_B{_NAMED}\.bias|\.lora_up\.bias", Role.UP_BIAS, (".bias",)),
        (rf"\.lora_embedding_A{_NAMED}", Role.EMBEDDING_DOWN, _WEIGHT),
        (rf"\.lora_embedding_B{_NAMED}", Role.EMBEDDING_UP, _WEIGHT),
        (rf"\.lora_magnitude_vector{_NAMED}|\.lora_magnitude_vector{_NAMED}\.weight|\.dora_scale",
         Role.MAGNITUDE, _WEIGHT),
        (r"\.lora_down\.weight|[._]lora\.down\.weight|\.lora_linear_layer\.down\.weight", Role.DOWN, _WEIGHT),
        (r"\.lora_up\.weight|[._]lora\.up\.weight|\.lora_linear_layer\.up\.weight", Role.UP, _WEIGHT),
        (r"\.lora_mid\.weight", Role.MID, _WEIGHT),
        (r"\.alpha|\.lora_alpha", Role.ALPHA, _WEIGHT),
        (r"\.diff|\.w_norm", Role.DIFFERENCE, _ANY),
        (r"\.diff_b|\.b_norm", Role.DIFFERENCE, (".bias", ".beta")),
        (r"\.diff_m", Role.DIFFERENCE, (".modulation",)),
        (r"\.set_weight", Role.REPLACED, _ANY),
        (r"\.(?:lokr_(?:w1|w2)(?:_[ab])?|lokr_t[12]|hada_w[12]_[ab]|hada_t[12])", Role.PRODUCT, _WEIGHT),
        (r"\.(?:oft_blocks|oft_diag|oft_[rs]|boft_[rs]|ia3_l|rescale|[ab][12]\.weight|vera_lambda_[bd])"
         rf"{_NAMED}", Role.PRODUCT, _WEIGHT),
    )
)  # fmt: skip

# XLabs' Flux: a processor's factors are for the attention of the picture (1) or of the text (2).
_XLABS = re.compile(
    r"(?P<block>.*(?:double|single)_blocks\.\d+)\.processor\."
    r"(?P<part>qkv|proj)_lora(?P<stream>[12]?)\.(?P<side>down|up)\.weight"
)
# How the last parts of modules' names were spelled earlier, and are now.
_EARLIER = (
    (".to_out", ".to_out.0"),
    (".self_attn.to_q", ".self_attn.q_proj"),
    (".self_attn.to_k", ".self_attn.k_proj"),
    (".self_attn.to_v", ".self_attn.v_proj"),
    (".self_attn.to_out", ".self_attn.out_proj"),
)

# kohya writes a module's dots as underscores, behind the name of the component.
FLAT = (
    "lora_unet_", "lora_transformer_", "lora_dit_", "lora_prior_unet_", "lora_te_", "lora_te1_", "lora_te2_",
    "lora_te3_", "lycoris_",
)  # fmt: skip

_KINDS = (("lokr_", "LoKr"), ("hada_", "LoHa"), ("oft_", "OFT"), ("boft_", "BOFT"), ("ia3_", "IA3"))


def told(name: str) -> Told:
    """What a name tells by itself; a name of no adapter's is a WHOLE tensor, perhaps of the model.

    >>> told("blocks.0.q.lora_A.default.weight")[:3]
    (<Role.DOWN: 'lora_A'>, 'blocks.0.q', '.lora_A.default.weight')
    >>> told("double_blocks.0.processor.qkv_lora2.up.weight")[:2]
    (<Role.UP: 'lora_B'>, 'double_blocks.0.txt_attn.qkv')
    """
    if xlabs := _XLABS.fullmatch(name):
        module = f"{xlabs['block']}.{_xlabs(xlabs['part'], xlabs['stream'])}"
        role = Role.DOWN if xlabs["side"] == "down" else Role.UP
        return Told(role, module, name.removeprefix(xlabs["block"]), _WEIGHT)
    for form, role, parameters in _FORMS:
        if found := form.fullmatch(name):
            suffix = found["suffix"]
            kind = next((kind for mark, kind in _KINDS if mark in suffix), "")
            kind = (kind or suffix.strip(".")) if role is Role.PRODUCT else ""
            return Told(role, found["module"], suffix, parameters, kind)
    return Told(Role.WHOLE, name, "", ("",))


def _xlabs(part: str, stream: str) -> str:
    if not stream:
        return "linear1" if part == "qkv" else "linear2"
    return f"{'img' if stream == '1' else 'txt'}_attn.{part}"


def is_partial(name: str) -> bool:
    """Whether a name is of factors for the first rows of a weight: XLabs' of a single block's q, k and v."""
    found = _XLABS.fullmatch(name)
    return found is not None and found["part"] == "qkv" and not found["stream"]


def spellings(module: str) -> Iterator[str]:
    """The module's name, and what it may be called now."""
    now = module.replace(".processor.", ".").removesuffix(".processor")
    yield from dict.fromkeys((module, now))
    for earlier, word in _EARLIER:
        if now.endswith(earlier):
            yield now.removesuffix(earlier) + word


def flat_prefix(module: str) -> str:
    """The name of the component before a module written flat, or "".

    >>> flat_prefix("lora_te1_text_model_encoder_layers_0_mlp_fc1")
    'lora_te1_'
    """
    found = next((prefix for prefix in FLAT if module.startswith(prefix)), "")
    return found + "_" if found and module.removeprefix(found).startswith("_") else found
