"""Each mapping of the library against the peer's own code, on tiny random models: byte for byte."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import mapcc
from mapcc.ir import rules
from mapcc.library.catalog import catalog
from tests.library.oracle import Oracle, Pair

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.converts]

MODULES = sorted(path.stem for path in (Path(__file__).parent / "oracles").glob("*.py"))
ORACLES = [oracle for name in MODULES for oracle in import_module(f"tests.library.oracles.{name}").ORACLES]


def inverses() -> dict[str, list[str]]:
    """The library's mappings that are others, read from right to left."""
    found: dict[str, list[str]] = {}
    for entry in catalog():
        for statement in entry.mapping.body:
            if isinstance(statement, rules.Use) and statement.inverse:
                found.setdefault(f"{entry.family}/{Path(statement.path).stem}", []).append(entry.name)
    return found


INVERSES = inverses()


def differences(expected: Any, found: Any, tolerance: float) -> list[str]:
    import torch

    out = [f"missing {key}" for key in sorted(expected.keys() - found.keys())]
    out += [f"extra {key}" for key in sorted(found.keys() - expected.keys())]
    for key in sorted(expected.keys() & found.keys()):
        a, b = expected[key], found[key]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            out.append(f"{key} is {b.dtype} {tuple(b.shape)}, should be {a.dtype} {tuple(a.shape)}")
        elif tolerance and not torch.allclose(a.float(), b.float(), rtol=0, atol=tolerance):
            out.append(f"values of {key}")
        elif not tolerance and not torch.equal(bits(a), bits(b)):
            out.append(f"bytes of {key}")
    return out


def bits(tensor: Any) -> Any:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)


def saved(tensors: Any, folder: Path, config: Any = None) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    # Copies: a peer's result may share memory, or be a slice.
    copies = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    save_file(copies, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(dict(config)), "utf-8")
    return folder


def loaded(folder: Path) -> Any:
    from safetensors.torch import load_file

    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.name)
def test_does_what_the_peer_does(oracle: Oracle, tmp_path: Path) -> None:
    pair: Pair = oracle.make()
    source = saved(pair.source, tmp_path / "source", pair.config)
    target = saved(pair.expected, tmp_path / "target")
    options: Any = {"settings": dict(pair.settings)}
    mapping: Any = oracle.mapping
    if oracle.inverse:
        inverted = mapcc.invert(mapping, target, source, **options)
        mapping = tmp_path / "inverse.mapcc"
        mapping.write_text(inverted.text, "utf-8")
    checked = mapcc.check(mapping, source, target, **options)
    assert checked.exit_code == 0, "\n".join(map(str, checked.diagnostics))
    out = mapcc.convert(mapping, source, tmp_path / "out", **options)
    assert differences(pair.expected, loaded(out), oracle.tolerance) == []
    for inverse in INVERSES.get(oracle.mapping, ()):
        back = mapcc.convert(inverse, target, tmp_path / "back", **options)
        assert differences(pair.source, loaded(back), 0) == []
