"""What a program imports: ``check``, ``convert``, ``emit_config``, ``invert``, ``keys``, ``show``.

Bad input raises :class:`mapcc.MappingError` with its diagnostics, except in :func:`check`, whose
result they are.
"""

from mapcc.api.checking import (
    Checked,
    bound_mapping,
    check,
    format_mapping,
    keys,
    load_mapping,
    parse,
    show,
)
from mapcc.api.converting import carry_out, convert, load, load_plan, make_plan, save_plan, verify_output
from mapcc.api.emitting import emit_config, emit_script, invert

__all__ = [
    "Checked",
    "bound_mapping",
    "carry_out",
    "check",
    "convert",
    "emit_config",
    "emit_script",
    "format_mapping",
    "invert",
    "keys",
    "load",
    "load_mapping",
    "load_plan",
    "make_plan",
    "parse",
    "save_plan",
    "show",
    "verify_output",
]
