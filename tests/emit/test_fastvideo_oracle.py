"""FastVideo's own functions run the emitted dicts: byte for byte what ``mapcc convert`` gives.

The functions come from the wheel on PyPI, imported from the zip; nothing of it is installed.
"""

from __future__ import annotations

import ast
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mapcc.api import check, convert, emit_config
from mapcc.tensors.keysets import open_keyset

CONFIGS = "fastvideo/configs/models/dits"

# Real names, and every dimension of a layer a 64th: equations between sizes still hold.
SCALE = 64

pytestmark = [pytest.mark.oracle, pytest.mark.network]


@pytest.fixture
def own_table(fastvideo: Path) -> Callable[[str], dict]:
    """The ``param_names_mapping`` that FastVideo ships in one of its configs."""

    def table(module: str) -> dict:
        with zipfile.ZipFile(fastvideo) as archive:
            tree = ast.parse(archive.read(f"{CONFIGS}/{module}.py"))
        for node in ast.walk(tree):
            match node:
                case ast.AnnAssign(
                    target=ast.Name(id="param_names_mapping"), value=ast.Call(keywords=[keyword])
                ):
                    assert isinstance(keyword.value, ast.Lambda)
                    return ast.literal_eval(keyword.value.body)
        raise AssertionError(f"no param_names_mapping in {module}")

    return table


# --- the models


def keys(root: Path, path: str) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in open_keyset(root / "mappings" / path).tensors.items()}


def hunyuan(root: Path) -> tuple[dict, dict]:
    """With guidance embeds on both sides: the wheel's default is without."""
    source = keys(root, "hunyuan_video/keys/diffusers.json#t2v_distilled")
    target = keys(root, "hunyuan_video/keys/fastvideo.json")
    guidance = {
        name.replace("time_in.", "guidance_in."): shape
        for name, shape in target.items()
        if name.startswith("time_in.")
    }
    return source, target | guidance


def hunyuan_without_guidance(root: Path) -> tuple[dict, dict]:
    return keys(root, "hunyuan_video/keys/diffusers.json#t2v"), keys(
        root, "hunyuan_video/keys/fastvideo.json"
    )


def wan_t2v(root: Path) -> tuple[dict, dict]:
    return keys(root, "wan/keys/diffusers.json#t2v_14b"), keys(root, "wan/keys/fastvideo.json#t2v_14b")


def wan_i2v(root: Path) -> tuple[dict, None]:
    return keys(root, "wan/keys/diffusers.json#i2v_14b"), None


CASES = {
    "hunyuan": ("hunyuan_video/diffusers_to_fastvideo.mapcc", hunyuan, "hunyuanvideo", 49),
    "hunyuan without guidance": (
        "hunyuan_video/diffusers_to_fastvideo.mapcc",
        hunyuan_without_guidance,
        "hunyuanvideo",
        47,
    ),
    "wan t2v": ("wan/diffusers_to_fastvideo.mapcc", wan_t2v, "wanvideo", 16),
    "wan i2v": ("wan/diffusers_to_fastvideo.mapcc", wan_i2v, "wanvideo", 18),
}


def scaled(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(n // SCALE if n >= SCALE and n % SCALE == 0 else n for n in shape)
        for name, shape in shapes.items()
    }


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Random bits, NaNs of every kind among them: nothing may be computed on the way."""
    random = np.random.default_rng(0)
    tensors = {
        name: torch.from_numpy(random.integers(0, 2**16, shape, np.uint16)).view(torch.bfloat16)
        for name, shape in shapes.items()
    }
    save_file(tensors, path)


def bytes_of(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[tuple[int, ...], torch.dtype, bytes]]:
    return {
        name: (tuple(t.shape), t.dtype, t.contiguous().view(torch.uint8).numpy().tobytes())
        for name, t in tensors.items()
    }


def table_of(text: str) -> dict:
    namespace: dict = {"__builtins__": {}}
    exec(compile(text, "emitted", "exec"), namespace)
    return namespace["param_names_mapping"]


@pytest.fixture(params=CASES)
def case(request, root: Path, tmp_path: Path):
    mapping, key_sets, config, entries = CASES[request.param]
    source, target = key_sets(root)
    write_weights(tmp_path / "source.safetensors", scaled(source))
    if target is not None:
        (tmp_path / "target.json").write_text(json.dumps(scaled(target)), "utf-8")
    return {
        "mapping": root / "mappings" / mapping,
        "source": tmp_path / "source.safetensors",
        "target": tmp_path / "target.json" if target is not None else None,
        "config": config,
        "entries": entries,
    }


def test_the_dict_gives_what_convert_gives(case, loader, tmp_path) -> None:
    text = emit_config(case["mapping"], case["source"], case["target"])
    table = table_of(text)
    assert len(table) == case["entries"]
    map_name = loader.get_param_names_mapping(table)
    theirs, _ = loader.hf_to_custom_state_dict(load_file(case["source"]), map_name)
    out = convert(case["mapping"], case["source"], tmp_path / "out", case["target"])
    ours: dict[str, torch.Tensor] = {}
    for file in sorted(out.glob("*.safetensors")):
        ours |= load_file(file)
    assert len(ours) > 800
    assert bytes_of(theirs) == bytes_of(ours)
    if case["target"] is not None:
        assert ours.keys() == json.loads(case["target"].read_text("utf-8")).keys()


def test_the_order_in_which_tensors_arrive_does_not_matter(case, loader) -> None:
    table = table_of(emit_config(case["mapping"], case["source"], case["target"]))
    map_name = loader.get_param_names_mapping(table)
    tensors = load_file(case["source"])
    forward, _ = loader.hf_to_custom_state_dict(tensors, map_name)
    backward, _ = loader.hf_to_custom_state_dict(dict(reversed(tensors.items())), map_name)
    assert bytes_of(forward) == bytes_of(backward)


def test_the_dict_names_what_their_own_table_names(case, loader, own_table) -> None:
    """All names of the source: the same target, the same place in a concatenation."""
    checked = check(case["mapping"], case["source"], case["target"])
    ours = loader.get_param_names_mapping(
        table_of(emit_config(case["mapping"], case["source"], case["target"]))
    )
    theirs = loader.get_param_names_mapping(own_table(case["config"]))
    assert checked.bound is not None
    names = list(checked.bound.source.tensors)
    assert {name: ours(name) for name in names} == {name: theirs(name) for name in names}


def test_the_replay_is_their_engine(case, loader, own_table) -> None:
    """The model of their functions that mapcc carries, on their own tables."""
    from mapcc.dialects.regexes import load, mapper

    table = own_table(case["config"])
    theirs, ours = loader.get_param_names_mapping(table), mapper(table)
    names = list(load_file(case["source"]))
    odd = [name + suffix for name in names[::7] for suffix in (".x", "x", "\u0663", "")]
    assert [ours(name) for name in names + odd] == [theirs(name) for name in names + odd]
    tensors = {name: torch.full((1,), float(k)) for k, name in enumerate(names)}
    state, _ = loader.hf_to_custom_state_dict(tensors, theirs)
    loaded = load(names, ours)
    assert not loaded.faults
    assert {target: [names[int(k)] for k in tensor] for target, tensor in state.items()} == {
        target: list(sources) for target, sources in loaded.tensors.items()
    }
