"""The containers that mapcc knows, as data. The first that fits a weight is its container."""

from __future__ import annotations

from mapcc.tensors.quantised.model import Companion, Container, Role

F8 = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
SCALES = FLOATS | F8 | {"F8_E8M0", "U8"}
BYTES = frozenset({"U8", "I8"})
PACKED = frozenset({"U8", "I8", "I32", "U32"})
CODES = frozenset({"U8", "I8", "I16", "I32", "U32", "I64", "F4"}) | F8
ANY: frozenset[str] = frozenset()

# The marker of ComfyUI's scaled FP8: a tensor without a weight of its own.
MARKERS = ("scaled_fp8",)
_RELEASE = "take the release in BF16 or F16"


def _transformers(config: str, then: str = "") -> str:
    """For what transformers unpacks while it loads."""
    load = f"from_pretrained(DIR, {config})" if config else "from_pretrained(DIR)"
    return f"transformers unpacks it: {load}, {then}then save_pretrained(OUT); or {_RELEASE}"


_CT = _transformers("quantization_config=CompressedTensorsConfig(run_compressed=False)")
_FP8 = _transformers("quantization_config=FineGrainedFP8Config(dequantize=True)")
_BNB = _transformers("", "model.dequantize(), ")
_AWQ = "AutoAWQ unpacks a weight: dequantize_gemm in awq/utils/packing_utils.py; or take the release in F16"
_OWN = "dequantise it with the tool that made it, or take the release in BF16 or F16"


def _factor(
    suffix: str,
    types: frozenset[str] = SCALES,
    dims: tuple[int, ...] | None = None,
    equal: tuple[int, ...] = (),
    fewer: int | None = None,
) -> Companion:
    return Companion(suffix, "factor", types, True, dims, equal, fewer)


def _maybe(suffix: str, role: Role = "factor", types: frozenset[str] = ANY) -> Companion:
    return Companion(suffix, role, types)


_INPUTS = (
    *(_maybe(suffix, "activation") for suffix in ("input_scale", "scale_input", "input_scale_ub")),
    *(_maybe(suffix, "activation") for suffix in ("input_global_scale", "output_scale", "input_zero_point")),
    _maybe("activation_scaling_factor", "activation"),
    _maybe("comfy_quant", "table"),
)
# What others call it: TensorRT-LLM (both of the first), and what loaders of their own write.
_SCALES_BESIDE = ("per_channel_scale", "weights_scaling_factor", "scales", "scale_inv", "weight_scales")
_FP8_VALUE = "BF16 = F8 * its scale"


def _scaled(scale: str, name: str = "", main: str = "weight") -> Container:
    """A weight of eight bits with one scale for the tensor, a row or a block."""
    # A learned scale stands beside weights too: it has their type, and one of blocks never has.
    types = SCALES if scale != "scale" else frozenset({"F32", "F8_E8M0"})
    companions = (_factor(scale, types), _maybe(f"{main}_zero_point"), *_INPUTS)
    called = name or f"scaled FP8 with {scale}"
    return Container(called, main, F8, companions, _FP8_VALUE, _OWN, certain=scale != "scale")


# Codes that mean nothing without all that stands beside them: name, what ends the code's name, its types, the
# companions (the first is always there), and what the value is.
_TOGETHER: tuple[tuple[str, str, frozenset[str], tuple[str, ...], str], ...] = (
    (
        "ExLlamaV2",
        "q_weight",
        frozenset({"I32", "U32"}),
        ("q_scale", "q_scale_max", "q_groups", "q_invperm", "q_group_map", "q_perm"),
        "F16 = code * scale of its group, rows in the order of q_invperm",
    ),
    (
        "ExLlamaV3",
        "trellis",
        frozenset({"I16", "U16"}),
        ("svh", "suh", "su", "sv", "mcg", "mul1", "scale"),
        "F16 = decoded codes, turned and scaled by suh and svh",
    ),
    (
        "QuIP#",
        "Qidxs",
        frozenset({"I16", "I32", "I64"}),
        ("SU", "SV", "Wscale", "codebook_id", "grid_packed_abs"),
        "F16 = the vectors of its codes, turned by SU and SV",
    ),
    (
        "VPTQ",
        "indices",
        frozenset({"I16", "I32", "U16", "I64"}),
        (
            "centroids.weight",
            "res_centroids.weight",
            "outlier_centroids.weight",
            "weight_scale",
            "weight_bias",
            "perm",
        ),
        "F16 = the sum of its codes' vectors",
    ),
    (
        "HIGGS",
        "weight",
        frozenset({"I16", "U8"}),
        ("tables2", "tables", "scales"),
        "F16 = tables[code] * scale",
    ),
    ("Marlin", "B", frozenset({"I32"}), ("s", "workspace", "meta"), "F16 = (code - 8) * scale of its group"),
    (
        "ONNX Runtime's integers",
        "weight_quantized",
        frozenset({"I8", "U8"}),
        ("weight_scale", "weight_zero_point"),
        "F32 = (code - zero point) * its scale",
    ),
)

CONTAINERS: tuple[Container, ...] = (
    *(
        Container(
            name,
            main,
            types,
            (
                Companion(first, "shape", required=True),
                *(_maybe(each, "shape") for each in others),
            ),
            value,
            _RELEASE,
            certain=len(main) > 1,
            flat=True,
        )
        for name, main, types, (first, *others), value in _TOGETHER
    ),
    Container(
        "NVFP4 of compressed-tensors",
        "weight_packed",
        frozenset({"U8"}),
        (_factor("weight_scale", frozenset({"F8_E4M3"})), _factor("weight_global_scale", FLOATS), *_INPUTS),
        "BF16 = code * scale of its group / global scale",
        _CT,
        packed=-1,
    ),
    Container(
        "compressed-tensors",
        "weight_packed",
        PACKED,
        (
            _factor("weight_scale"),
            _maybe("weight_zero_point"),
            _maybe("weight_global_scale"),
            Companion("weight_g_idx", dims=(1,)),
            _maybe("weight_shape", "shape"),
            _maybe("meta", "shape"),
            *_INPUTS,
        ),
        "BF16 = (code - zero point) * scale of its group",
        _CT,
        packed=-1,
    ),
    Container(
        "sparse compressed-tensors",
        "weight.compressed",
        ANY,
        (
            Companion("weight.bitmask", "shape", required=True),
            _maybe("weight.shape", "shape"),
            _maybe("weight.row_offsets", "shape"),
            _maybe("weight_scale"),
        ),
        "the values lie where the bitmask has a one",
        _CT,
        flat=True,
    ),
    Container(
        "NVFP4 of ModelOpt",
        "weight",
        frozenset({"U8", "F4"}),
        (_factor("weight_scale", SCALES), _factor("weight_scale_2", FLOATS), *_INPUTS),
        "BF16 = code * scale of its group * weight_scale_2",
        _OWN,
        packed=-1,
    ),
    Container(
        "MXFP4 with blocks and scales",
        "_blocks",
        frozenset({"U8", "F4"}),
        (_factor("_scales", frozenset({"U8", "F8_E8M0"}), fewer=1),),
        "BF16 = code * 2 ** (scale of its block - 127)",
        _transformers("quantization_config=Mxfp4Config(dequantize=True)"),
    ),
    *(
        Container(
            f"bitsandbytes {kind}",
            "weight",
            ANY,
            (
                Companion("weight.absmax", required=True),
                Companion("weight.quant_map", "table", required=True),
                *(
                    _maybe(f"weight.{each}")
                    for each in ("nested_absmax", "nested_quant_map", "nested_offset")
                ),
                Companion(f"weight.quant_state.bitsandbytes__{kind}", "shape", required=stated),
            ),
            "F16 = table[code] * absmax of its block",
            _BNB,
            flat=True,
        )
        for kind, stated in (("fp4", True), ("nf4", False))
    ),
    Container(
        "bitsandbytes int8",
        "weight",
        frozenset({"I8"}),
        (_factor("SCB", FLOATS), _maybe("weight_format", "table")),
        "F16 = code * SCB of its row / 127",
        _BNB,
    ),
    Container(
        "GPTQ",
        "qweight",
        frozenset({"I32", "U32"}),
        (
            _factor("scales", FLOATS, equal=(1,)),
            _maybe("qzeros"),
            Companion("g_idx", dims=(0,)),
        ),
        "F16 = (code - zero) * scale of its group, transposed to [out, in]",
        _RELEASE,
        inputs_first=True,
        packed=-2,
    ),
    Container(
        "AWQ",
        "qweight",
        frozenset({"I32", "U32"}),
        (_factor("scales", FLOATS), _factor("qzeros", ANY)),
        "F16 = (code - zero) * scale of its group, transposed to [out, in]",
        _AWQ,
        inputs_first=True,
    ),
    Container(
        "SVDQuant",
        "qweight",
        BYTES,
        (
            Companion("wscales", "shape", required=True),
            *(
                _maybe(each, "shape")
                for each in ("wtscale", "wcscales", "smooth_factor", "smooth_factor_orig")
            ),
            *(_maybe(each, "shape") for each in ("lora_down", "lora_up", "proj_down", "proj_up", "wzeros")),
        ),
        "BF16 = code * scale of its group, and the low-rank part added",
        _RELEASE,
        flat=True,
    ),
    *(
        Container(
            "EETQ",
            main,
            frozenset({"I8"}),
            (_factor("weight_scales", FLOATS, dims=(1,)),),
            "F16 = code * scale of its column, transposed to [out, in]",
            _RELEASE,
            inputs_first=True,
        )
        for main in ("weight", "qweight")
    ),
    Container(
        "MLX affine groups",
        "weight",
        frozenset({"U32"}),
        (_factor("scales", SCALES), _maybe("biases", types=FLOATS)),
        "BF16 = code * scale of its group + bias of its group",
        "mlx-lm unpacks it: mlx_lm.convert --hf-path DIR --mlx-path OUT --dequantize; "
        "or take the release in BF16",
        certain=False,
        packed=-1,
    ),
    Container(
        "quanto",
        "weight._data",
        CODES,
        (
            _factor("weight._scale", FLOATS),
            *(_maybe(f"weight.{each}", "factor") for each in ("_shift", "_zeropoint")),
            *_INPUTS,
        ),
        "F16 = code * its scale",
        _OWN,
    ),
    *(
        Container(
            "HQQ",
            "W_q",
            CODES,
            (
                Companion(f"{meta}scale", "shape", required=True),
                *(
                    _maybe(f"{meta}{each}", "shape")
                    for each in (
                        *("zero", "shape", "group_size", "nbits", "axis", "packing", "channel_wise"),
                        *("unpack_view_dtype", "view_as_float", "quant_scale", "quant_zero", "optimize"),
                        *("round_zero", "compute_dtype", "stores_quant_config"),
                    )
                ),
            ),
            "F16 = (code - zero) * scale of its group",
            _OWN,
            flat=True,
        )
        for meta in ("", "meta.")
    ),
    Container(
        "AQLM",
        "codes",
        frozenset({"I8", "I16", "U8"}),
        (
            Companion("codebooks", "shape", types=FLOATS, required=True),
            Companion("scales", "shape", types=FLOATS, required=True),
        ),
        "F16 = the sum of its codes' vectors * scale of its row",
        _RELEASE,
        flat=True,
    ),
    *(
        Container(
            "torchao",
            f"{before}{data}",
            CODES,
            (
                _factor(f"{before}{scale}"),
                _maybe(f"{before}{zero}"),
                *(_maybe(f"{before}{each}", "activation") for each in ("act_scale", "act_pre_scale")),
            ),
            "BF16 = (code - zero point) * its scale",
            _OWN,
        )
        for before in ("weight:", "_weight_", "weight.", "weight:tensor_impl:", "weight:layout_tensor:")
        for data, scale, zero in (
            ("qdata", "scale", "zero_point"),
            ("int_data", "scale", "zero_point"),
            ("float8_data", "scale", "zero_point"),
            ("_data", "_scale", "_zero_point"),
        )
    ),
    # A fused tensor of experts has the scale behind its own name: gate_up_proj, gate_up_proj_scale_inv.
    Container(
        "FP8 blocks with weight_scale_inv",
        "",
        F8,
        (_factor("_scale_inv", FLOATS | {"F8_E8M0"}),),
        "BF16 = F8 * scale of its block",
        _FP8,
    ),
    _scaled("scale_weight"),
    _scaled("weight_scale"),
    _scaled("scale"),
    *(_scaled(each) for each in _SCALES_BESIDE),
    _scaled("_scale", "scaled FP8 with a scale beside it", main=""),
    Container(
        "microscaling with E8M0 scales",
        "",
        frozenset({"F4", "F6_E2M3", "F6_E3M2", "I8", "U8"}) | F8,
        (_factor(".scale", frozenset({"F8_E8M0"})),),
        "BF16 = code * scale of its block",
        _OWN,
        certain=False,
    ),
    Container(
        "microscaling with E8M0 scales",
        "weight",
        frozenset({"F4", "F6_E2M3", "F6_E3M2", "I8", "U8"}),
        (_factor("scale", frozenset({"F8_E8M0"})),),
        "BF16 = code * scale of its block",
        _OWN,
        certain=False,
    ),
    *(
        Container(
            "integers with weight_scale",
            main,
            frozenset({"I8", "U8", "I32"}),
            (_factor(scale), _maybe(f"{main}_zero_point"), *_INPUTS),
            "BF16 = (code - zero point) * its scale",
            _CT,
            certain=False,
        )
        for main, scale in (
            ("weight", "weight_scale"),
            ("weight", "scale_weight"),
            ("", "_scale"),
            *(("weight", each) for each in _SCALES_BESIDE),
        )
    ),
)
