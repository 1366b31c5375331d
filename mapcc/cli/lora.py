"""``mapcc lora``: adapters through a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import KEYS_HELP, MappingFile, Settings, app, setting
from mapcc.cli.output import say, say_name
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.render import plural


@app.command(
    epilog="Example: mapcc lora wan/official_to_diffusers --source lora.safetensors --out converted_lora"
)
def lora(
    mapping: MappingFile,
    source: Annotated[str, typer.Option("--source", "-s", metavar="SRC", help="The adapter.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="A .safetensors file, or a folder.")
    ],
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--model", metavar="KEYS", help=f"The model it is for, if the mapping names none. {KEYS_HELP}"
        ),
    ] = None,
    under: Annotated[str, typer.Option("--under", metavar="PREFIX", help="Take only these names.")] = "",
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="PREFIX", help="Before every name written: transformer.")
    ] = "",
    set_: Settings = None,
) -> None:
    """Convert a LoRA: cut and joined as its weights are, ranks stacked where weights are fused."""
    from mapcc import api

    settings = dict(setting(text) for text in set_ or ())
    done = api.convert_lora(mapping, source, out, model, under=under, prefix=prefix, settings=settings)
    if done.left_out:
        say(f"left out: {done.left_out} tensors that do not begin with {say_name(under)}")
    for name in fold(done.dropped):
        say(f"dropped, as its weight is: {escape(name)}")
    say(f"wrote {say_name(str(done.path))}: adapters of {plural(done.taken, 'weight')}, now of {done.given}")
