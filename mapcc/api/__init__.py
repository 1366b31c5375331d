"""What a program imports: ``check``, ``convert``, ``emit_config``, ``invert``, ``keys``, ``show``.

Bad input raises :class:`mapcc.MappingError` with its diagnostics, except in :func:`check`, whose
result they are.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mapcc.api.checking import (
        Checked,
        bound_mapping,
        check,
        format_mapping,
        keys,
        linted,
        load_mapping,
        parse,
        show,
    )
    from mapcc.api.comparing import check_parts, diff
    from mapcc.api.converting import (
        carry_out,
        convert,
        load,
        load_plan,
        make_plan,
        save_plan,
        values_lost,
        verify_output,
    )
    from mapcc.api.emitting import emit_config, emit_script, invert, split_config
    from mapcc.api.fixing import Mended, apply_fixes, mended, write_mended
    from mapcc.api.identifying import identify, identify_parts
    from mapcc.api.lora import ConvertedLora, convert_lora
    from mapcc.api.shipped import check_models, library, library_pages
    from mapcc.api.tables import Imported, check_table, import_table
    from mapcc.syntax.budget import uses_allowed

__all__ = [
    "Checked",
    "ConvertedLora",
    "Imported",
    "Mended",
    "apply_fixes",
    "bound_mapping",
    "carry_out",
    "check",
    "check_models",
    "check_parts",
    "check_table",
    "convert",
    "convert_lora",
    "diff",
    "emit_config",
    "emit_script",
    "format_mapping",
    "identify",
    "identify_parts",
    "import_table",
    "invert",
    "keys",
    "library",
    "library_pages",
    "linted",
    "load",
    "load_mapping",
    "load_plan",
    "make_plan",
    "mended",
    "parse",
    "save_plan",
    "show",
    "split_config",
    "uses_allowed",
    "values_lost",
    "verify_output",
    "write_mended",
]

# Where each is: a check is not to wait for what converts, emits and identifies.
_HOMES = {
    "mapcc.api.checking": (
        "Checked",
        "bound_mapping",
        "check",
        "format_mapping",
        "keys",
        "linted",
        "load_mapping",
        "parse",
        "show",
    ),
    "mapcc.api.comparing": (
        "check_parts",
        "diff",
    ),
    "mapcc.api.converting": (
        "carry_out",
        "convert",
        "load",
        "load_plan",
        "make_plan",
        "save_plan",
        "values_lost",
        "verify_output",
    ),
    "mapcc.api.emitting": (
        "emit_config",
        "emit_script",
        "invert",
        "split_config",
    ),
    "mapcc.api.fixing": (
        "Mended",
        "apply_fixes",
        "mended",
        "write_mended",
    ),
    "mapcc.api.identifying": (
        "identify",
        "identify_parts",
    ),
    "mapcc.api.shipped": (
        "check_models",
        "library",
        "library_pages",
    ),
    "mapcc.api.lora": (
        "ConvertedLora",
        "convert_lora",
    ),
    "mapcc.api.tables": (
        "Imported",
        "check_table",
        "import_table",
    ),
    "mapcc.syntax.budget": ("uses_allowed",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'mapcc.api' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found
