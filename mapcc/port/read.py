"""``port.yaml`` read: its schema is this module, a function for each map that it has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.port.fields import Fields, plain
from mapcc.port.model import (
    PORT,
    Asset,
    Component,
    Example,
    Excluded,
    Outputs,
    Parity,
    Port,
    Setting,
    Side,
    Target,
    TensorInput,
    Weights,
)
from mapcc.syntax.yaml_nodes import Map, Scalar, read_yaml
from mapcc.tensors.disk import read_all
from mapcc.tensors.dtypes import parse_dtype, torch_name
from mapcc.text import Source, Span

# Not every model has these; every model has components.
EXCUSABLE = ("pipeline", "ssim", "example")
KINDS = ("diffusers", "fastvideo", "python")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_MOST = 1 << 20


def read_port(path: Path) -> Port:
    """The port of a file, or of the ``port.yaml`` in a folder.

    Raises:
        MappingError: MC001 if it cannot be read; MC101 or MC102 for each thing that is wrong in it.
    """
    path = path / PORT if path.is_dir() else path
    raw = read_all(path, _MOST)
    if raw is None:
        raise MappingError([Diagnostic("MC103", f"`{path}` has more than {_MOST:,} bytes")])
    try:
        source = Source(str(path), raw.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise MappingError([Diagnostic("MC001", f"`{path}` is not UTF-8 (byte {error.start})")]) from None
    found = Diagnostics()
    port = parse_port(source, found)
    if found.errors or port is None:
        raise MappingError(found)
    return port


def parse_port(source: Source, found: Diagnostics) -> Port | None:
    """The port that a text says; faults go to ``found``."""
    node = read_yaml(source, found)
    if found.errors:
        return None
    fields = Fields(node or Map({}, {}, Span(source, 0, 0)), "a port", found, Span(source, 0, 0))
    port = _port(fields, Path(source.name))
    fields.end()
    _check_names(port, fields)
    value = None if node is None else plain(node)
    return replace(port, plain=value) if isinstance(value, Mapping) else None


def _port(fields: Fields, path: Path) -> Port:
    official = fields.fields("official", "`official`")
    return Port(
        path=path,
        model=fields.text("model", needed="the name of the folder in converted_weights/"),
        family=fields.text("family"),
        official=_part(official, "repository"),
        official_revision=_part(official, "revision", last=True),
        weights=_weights(fields),
        target=_target(fields),
        out_folder=fields.text("out"),
        components=fields.each("components", _component, needed="{transformer: {source: ..., mapping: ...}}"),
        assets=fields.each("assets", _asset),
        foreign=_excluded(fields, "foreign"),
        index=fields.plain("model_index"),
        pipeline=_outputs(fields, "pipeline"),
        ssim=_outputs(fields, "ssim"),
        example=_example(fields),
        docs=fields.texts("docs"),
        not_applicable=_not_applicable(fields),
    )


def _part(fields: Fields, key: str, last: bool = False) -> str:
    value = fields.text(key)
    if last:
        fields.end()
    return value


def _weights(fields: Fields) -> Weights:
    inner = fields.fields("weights", "`weights`", needed="{path: official_weights/NAME}")
    weights = Weights(inner.text("repository"), inner.text("revision"), inner.text("path"), inner.span)
    inner.end()
    if fields.has("weights") and not weights.repository and not weights.path:
        inner.fault(
            "`weights` says neither which repository nor which path", help="path: official_weights/NAME"
        )
    if weights.repository and not _COMMIT.fullmatch(weights.revision):
        inner.fault(
            "the revision of weights is a commit: 40 digits, so that they stay what they are",
            help="`mapcc port fetch` tells the commit that a branch is at now",
        )
    return weights


def _target(fields: Fields) -> Target:
    inner = fields.fields("target", "`target`", needed="{kind: diffusers}")
    kind = inner.text("kind", needed=KINDS[0], within=KINDS) if fields.has("target") else KINDS[0]
    target = Target(kind, inner.text("pipeline"), inner.text("version"), inner.span)
    inner.end()
    if kind in ("diffusers", "fastvideo") and fields.has("target"):
        for key, example in (("pipeline", "WanPipeline"), ("version", '"0.42.1"')):
            if not inner.has(key):
                inner.take(key, example)  # it goes into model_index.json
    return target


def _component(name: str, fields: Fields) -> Component:
    config = fields.take("config")
    component = Component(
        name=name,
        sources=fields.texts("source", needed="model.safetensors"),
        mapping=fields.text("mapping", needed=f"{name}.mapcc"),
        prefix=fields.text("prefix"),
        keep_prefix=fields.flag("keep_prefix"),
        select=fields.text("select"),
        settings=_settings(fields),
        keys=fields.text("keys"),
        target_class=_class(fields),
        config=config.text if isinstance(config, Scalar) else _map(fields, "config"),
        source_config=fields.text("source_config"),
        dtype=_dtype(fields),
        keep=_keep(fields),
        missing=_excluded(fields, "missing"),
        official=_side(fields, "official"),
        ported=_side(fields, "ported"),
        inputs=_inputs(fields),
        parity=_parity(fields),
        pairs=fields.named("pairs"),
        span=fields.span,
    )
    fields.end()
    return component


def _map(fields: Fields, key: str) -> Mapping[str, object] | None:
    return fields.plain(key) if fields.has(key) else None


def _settings(fields: Fields) -> dict[str, Setting]:
    values = fields.plain("set")
    for name, value in values.items():
        if not isinstance(value, int | float | str):
            fields.fault(f"`set` gives `{name}` a number or a text", help=f"set: {{{name}: 8}}")
    return {name: value for name, value in values.items() if isinstance(value, int | float | str)}


def _class(fields: Fields) -> str:
    name = fields.text("class")
    if name and not re.fullmatch(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*", name):
        message = f"`class` is a library and a class, and not {name!r}"
        fields.fault(message, fields.at("class"), "diffusers.AutoencoderKL")
    return name


def _dtype(fields: Fields) -> str:
    name = fields.text("dtype")
    if name and parse_dtype(name) is None:
        fields.fault(f"no type {name!r}", fields.at("dtype"), "bf16, f16, f32")
    return name


def _keep(fields: Fields) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """``keep: {f32: [...]}``, or a list for what keeps the type that it has."""
    node = fields.take("keep")
    if node is None:
        return ()
    if not fields.has("dtype"):
        fields.fault("`keep` names exceptions of `dtype`, which is not there", node.span, "add `dtype: bf16`")
    if not isinstance(node, Map):
        return (("", fields.texts("keep")),)
    inner = fields.fields("keep", "`keep`")
    kept = tuple((key, inner.texts(key)) for key in node.entries)
    for name in node.entries:
        if parse_dtype(name) is None:
            inner.fault(f"no type {name!r}", node.keys[name], "keep: {f32: [...]}")
    return kept


def _excluded(fields: Fields, key: str) -> tuple[Excluded, ...]:
    out = []
    for each in fields.listed(key, f"an entry of `{key}`"):
        names = each.texts("names", needed='["...*"]')
        because = each.text("because", needed='"why that is right"')
        each.end()
        out.append(Excluded(names, because, each.span))
    return tuple(out)


def _side(fields: Fields, key: str) -> Side:
    if not fields.has(key):
        fields.take(key)
        return Side()
    inner = fields.fields(key, f"`{key}`")
    side = Side(inner.text("module"), inner.named("arguments"), inner.text("output"), inner.flag("loads"))
    if side.module and not side.module.startswith("py:"):
        help = "py:models.py:official, or py:package.module:function"
        inner.fault("`module` is a Python factory", inner.at("module"), help)
    inner.end()
    return side


def _inputs(fields: Fields) -> str | dict[str, TensorInput] | None:
    node = fields.take("inputs")
    if node is None:
        return None
    if isinstance(node, Scalar):
        if not node.text.startswith("py:"):
            fields.fault("`inputs` is a map of tensors, or a factory", node.span, "py:models.py:inputs")
        return node.text
    return dict(fields.each("inputs", _input))


def _input(name: str, fields: Fields) -> tuple[str, TensorInput]:
    value = fields.number("value", 0.0) if fields.has("value") else None
    made = TensorInput(
        shape=fields.naturals("shape", needed="[1, 16]"),
        dtype=_input_dtype(fields),
        low=fields.natural("low", 0),
        high=fields.natural("high", 2),
        scale=fields.number("scale", 1.0),
        value=value,
    )
    fields.end()
    return name, made


_PARITY_TYPES = "f32, f64, bf16, f16"


def _input_dtype(fields: Fields) -> str:
    """``float``: the type of both modules; ``int``: 64 bits, as indices have; else a type's own name."""
    name = fields.text("dtype", "float")
    if name == "float":
        return name
    return _torch_type(fields, "int64" if name == "int" else name, "float, int, bool, f32, i64")


def _torch_type(fields: Fields, name: str, help: str) -> str:
    """torch's own name of a type, by whichever name it goes; "" if it has none."""
    dtype = parse_dtype(name)
    known = torch_name(dtype) if dtype and dtype.bits >= 8 else None
    if known is None:
        fields.fault(f"no type {name!r}", fields.at("dtype"), help)
    return known or ""


def _parity_dtype(fields: Fields) -> str:
    name = fields.text("dtype")
    known = _torch_type(fields, name, _PARITY_TYPES) if name else ""
    if known and known not in ("float32", "float64", "bfloat16", "float16"):
        fields.fault(f"modules cannot be compared in {name}", fields.at("dtype"), _PARITY_TYPES)
    return known


def _parity(fields: Fields) -> Parity:
    inner = fields.fields("parity", "`parity`")
    parity = Parity(
        _parity_dtype(inner),
        inner.number("atol", 1e-4, low=0),
        inner.number("rtol", 1e-4, low=0),
        inner.natural("seed", 0),
    )
    inner.end()
    return parity


def _asset(name: str, fields: Fields) -> Asset:
    asset = Asset(name, fields.text("from", name), _class(fields), fields.span)
    fields.end()
    return asset


def _outputs(fields: Fields, key: str) -> Outputs | None:
    if not fields.has(key):
        fields.take(key)
        return None
    inner = fields.fields(key, f"`{key}`")
    outputs = Outputs(
        inner.text("official", needed="outputs/official.npy"),
        inner.text("ported", needed="outputs/ported.npy"),
        inner.number("atol", 1e-4, low=0),
        inner.number("rtol", 1e-4, low=0),
        inner.number("minimum", 0.98, low=-1),
    )
    inner.end()
    return outputs


def _example(fields: Fields) -> Example | None:
    if not fields.has("example"):
        fields.take("example")
        return None
    inner = fields.fields("example", "`example`")
    example = Example(
        inner.text("run", needed='"python example.py"'), inner.text("produces", needed="outputs/example.png")
    )
    inner.end()
    return example


def _not_applicable(fields: Fields) -> dict[str, str]:
    inner = fields.fields("not_applicable", "`not_applicable`")
    reasons = {name: inner.text(name) for name in EXCUSABLE}
    inner.end()
    return {name: why for name, why in reasons.items() if why}


def _check_names(port: Port, fields: Fields) -> None:
    """Names become folders: none may lead elsewhere, and none may stand for two things."""
    named = [("component", each.name, each.span) for each in port.components]
    named += [("asset", each.name, each.span) for each in port.assets]
    for kind, name, span in [("model", port.model, fields.at("model")), *named]:
        if name and not _NAME.fullmatch(name):
            fields.fault(
                f"the {kind} {name!r} cannot be the name of a folder", span, "letters, digits, . _ -"
            )
    components = {each.name for each in port.components}
    for asset in port.assets:
        if asset.name in components:
            fields.fault(f"`{asset.name}` is a component and an asset", asset.span)
        if ".." in Path(asset.origin).parts:
            fields.fault(f"`from: {asset.origin}` leads out of its folder", asset.span)
    if ".." in Path(port.out_folder).parts:
        fields.fault(f"`out: {port.out_folder}` leads out of its folder", fields.at("out"))
