"""transformers' own tables: imported, converted, emitted again, and loaded by transformers each time.

What ``mapcc convert`` writes from the imported mapping, and what transformers' own loader makes of the same
checkpoint, with its own table and with the emitted one, are the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mapcc.api import check, convert
from mapcc.emit import emit_transformers
from mapcc.lift.lift import lift
from tests.dialects.transformers_cases import CASES, case

pytestmark = pytest.mark.oracle


def table_of(text: str) -> list:
    namespace: dict = {}
    exec(compile(text, "emitted", "exec"), namespace)
    return namespace["weight_mapping"]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape and a[name].tobytes() == np.ascontiguousarray(b[name]).tobytes()
        for name in a
    )


@pytest.mark.parametrize("name", CASES)
def test_imported_and_converted(tmp_path: Path, name: str) -> None:
    own = case(name)
    lifted = lift(own.table, own.source_manifest, own.target_manifest)
    assert not [d for d in lifted.diagnostics if d.exit_code]
    (tmp_path / "m.mapcc").write_text(lifted.text, "utf-8")
    save_file(own.source, tmp_path / "s.safetensors")
    (file,) = convert(tmp_path / "m.mapcc", tmp_path / "s.safetensors", tmp_path / "out").glob(
        "*.safetensors"
    )
    made = load_file(file)
    expected = own.expected()
    # The loader sets the model's parameters; what it calls unexpected, the checkpoint still has.
    assert same({n: t for n, t in made.items() if n in expected}, expected)
    assert not (made.keys() & own.target.keys()) - expected.keys()


@pytest.mark.parametrize("name", CASES)
def test_emitted_and_loaded(name: str) -> None:
    own = case(name)
    lifted = lift(own.table, own.source_manifest, own.target_manifest)
    checked = check(lifted.mapping, replace(own.source_manifest, config=own.config))
    emitted = emit_transformers(checked.bound)
    if not emitted.ok:
        assert {d.code for d in emitted.diagnostics} == {"MC601"}
        assert name in REFUSED, [d.message for d in emitted.diagnostics]
        return
    assert name not in REFUSED
    again = replace(own, transforms=table_of(emitted.text))
    assert same(again.expected(), own.expected())


# What transformers' own operations can say and plain ones cannot.
REFUSED = {"ernie4_5_vl_moe"}  # the list of experts is cut in two, and each half stacked
