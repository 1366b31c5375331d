"""mapcc, the compiler for model weights: declarative mappings, checked before a weight is read.

>>> import mapcc
>>> print(mapcc.format_mapping(mapcc.parse("a.{q,k}->b.{q,k}")), end="")
a.{q,k} -> b.{q,k}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mapcc.api import (
        Checked,
        apply_fixes,
        carry_out,
        check,
        check_models,
        check_table,
        convert,
        convert_lora,
        diff,
        emit_config,
        emit_script,
        format_mapping,
        identify,
        identify_parts,
        import_table,
        invert,
        keys,
        library_pages,
        linted,
        load,
        load_mapping,
        load_plan,
        make_plan,
        mended,
        parse,
        save_plan,
        show,
        split_config,
        uses_allowed,
        values_lost,
        verify_output,
        write_mended,
    )
    from mapcc.diagnostics.model import Diagnostic, Fix
    from mapcc.errors import MappingError
    from mapcc.runtime import Options
    from mapcc.runtime.losses import ValuesLost

__all__ = [
    "Checked",
    "Diagnostic",
    "Fix",
    "MappingError",
    "Options",
    "ValuesLost",
    "__version__",
    "apply_fixes",
    "carry_out",
    "check",
    "check_models",
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


def __getattr__(name: str) -> object:
    # Lazily, so that ``mapcc --version`` does not pay for the parser.
    if name == "MappingError":
        from mapcc.errors import MappingError

        return MappingError
    if name == "Diagnostic":
        from mapcc.diagnostics.model import Diagnostic

        return Diagnostic
    if name == "Fix":
        from mapcc.diagnostics.model import Fix

        return Fix
    if name == "Options":
        from mapcc.runtime import Options

        return Options
    if name == "ValuesLost":
        from mapcc.runtime.losses import ValuesLost

        return ValuesLost
    if name in __all__:
        from mapcc import api

        return getattr(api, name)
    raise AttributeError(f"module 'mapcc' has no attribute {name!r}")
