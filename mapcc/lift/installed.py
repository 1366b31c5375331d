"""The table that an installed package has for a type of models."""

from __future__ import annotations

from importlib import import_module

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.read import from_objects
from mapcc.errors import MappingError

# What the loader adds to every model's table.
LEGACY = "legacy"


def transformers_table(model_type: str) -> TransformersTable:
    """What the installed transformers has for a model type, or for a class of models, by its name.

    The entries that every model gets are added, as the loader adds them. The entries of models within
    the model are not: which these are, only the model itself tells.

    Raises:
        MappingError: MC004: transformers is not installed, or is older; it has nothing for this name.
    """
    try:
        module = import_module("transformers.conversion_mapping")
        get = module.get_checkpoint_conversion_mapping
        own, legacy = get(model_type), get(LEGACY)
    except (ImportError, AttributeError) as error:
        message = f"transformers has no table of conversions here: {error}"
        raise MappingError([Diagnostic("MC004", message, help="pip install 'transformers>=5'")]) from None
    if own is None:
        raise MappingError([Diagnostic("MC004", f"transformers has no table for `{model_type}`")])
    return from_objects([*own, *(legacy or [])] if model_type != LEGACY else own)
