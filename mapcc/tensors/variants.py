"""Names of files that hold one model in several precisions: plain ones, and those of a variant (``fp16``).

``model.fp16.safetensors``, ``model.fp16-00001-of-00002.safetensors`` and, as older releases of Diffusers
wrote it, ``model-00001-of-00002.fp16.safetensors``; the index ``model.safetensors.index.fp16.json``,
``model.safetensors.fp16.index.json`` or ``model.fp16.safetensors.index.json``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SUFFIX = ".safetensors"
SUFFIXES = (SUFFIX, ".bin", ".pt", ".pth", ".ckpt")

_SUFFIX = rf"(?P<suffix>{'|'.join(map(re.escape, SUFFIXES))})"
_WORD = r"(?:\.(?P<{}>[A-Za-z]\w*))?"
_INDEX = re.compile(rf".+?{_WORD.format('a')}{_SUFFIX}{_WORD.format('b')}\.index{_WORD.format('c')}\.json")
_FILE = re.compile(rf".+?{_WORD.format('a')}(?:-\d+-of-\d+)?{_WORD.format('b')}{_SUFFIX}")
_NUMBER = re.compile(r"-\d+-of-\d+(?=\.)")
# Of a name with dots in it, the last word may be anything: these are told to be precisions.
_VARIANT = re.compile(r"fp\d+\w*|float\d+|bf16|bfloat16|int\d+|q\d\w*|ema|non_ema|no_ema|half|nf4", re.I)


class Named(NamedTuple):
    """What the name of a file of weights, or of an index, says.

    Attributes:
        base: the name without the variant and the number of a shard: the same for all precisions.
        variant: empty in the plain ones.
    """

    base: str
    suffix: str
    variant: str
    is_index: bool


def named(name: str) -> Named | None:
    """None for a file of another kind.

    >>> named("m.safetensors.index.fp16.json")
    Named(base='m.safetensors.index.json', suffix='.safetensors', variant='fp16', is_index=True)
    >>> named("model-00001-of-00002.fp16.safetensors").variant, named("pytorch_model.bin").variant
    ('fp16', '')
    >>> named("config.json")
    """
    index = _INDEX.fullmatch(name)
    found = index or _FILE.fullmatch(name)
    if found is None:
        return None
    words = [word for key, word in found.groupdict().items() if key != "suffix" and word]
    # What stands in an index's own ending is a variant whatever it is.
    sure = [found[key] for key in ("b", "c") if index is not None and found[key]]
    variant = next((word for word in (*sure, *words) if word in sure or _VARIANT.fullmatch(word)), "")
    base = _NUMBER.sub("", name.replace(f".{variant}", "", 1) if variant else name)
    return Named(base, found["suffix"], variant, index is not None)


def is_index(name: str) -> bool:
    """Whether a file of this name is an index of shards, of whatever variant.

    >>> is_index("m.safetensors.index.fp16.json"), is_index("m.bin.index.json"), is_index("a.json")
    (True, True, False)
    """
    found = named(name)
    return name.endswith(".index.json") or (found is not None and found.is_index)
