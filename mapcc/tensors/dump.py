"""A key set as a keys file: what ``open_keyset`` reads back as the same."""

from __future__ import annotations

import json

from mapcc.tensors.keysfile import WRAPPER
from mapcc.tensors.spec import Manifest, TensorSpec


def dump_keys(manifest: Manifest) -> str:
    """The key set as a keys file, in ASCII, a tensor a line, in the manifest's order.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> spec = TensorSpec("a", DTYPES["F32"], (2, 3))
    >>> print(dump_keys(Manifest({"a": spec}, (), "", None, {})), end="")
    {
      "a": {"dtype": "F32", "shape": [2, 3]}
    }
    """
    lines = [f"  {json.dumps(spec.name)}: {_entry(spec)}" for spec in manifest.tensors.values()]
    text = "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"
    # A tensor that is called "keys" must not be taken for the wrapper.
    return f'{{"keys": {text}}}\n' if manifest.tensors.keys() <= WRAPPER else f"{text}\n"


def _entry(spec: TensorSpec) -> str:
    dtype = "" if spec.dtype is None else f'"dtype": "{spec.dtype.name}", '
    return f'{{{dtype}"shape": [{", ".join(map(str, spec.shape))}]}}'
