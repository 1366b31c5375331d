"""``mapcc lora``: adapters through a mapping."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import KEYS_HELP, AllowUse, MappingFile, Settings, app, setting
from mapcc.cli.output import fail, say, say_name
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.render import plural


class Reader(StrEnum):
    diffusers = "diffusers"
    peft = "peft"
    kohya = "kohya"
    comfy = "comfy"


@app.command(
    epilog="Example: mapcc lora wan/official_to_diffusers --source lora.safetensors --to diffusers --out lora"
)
def lora(
    mapping: MappingFile,
    source: Annotated[
        str, typer.Option("--source", "-s", metavar="SRC", help="The adapter: a file, or PEFT's folder.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="A .safetensors file, or a folder.")
    ],
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--model", metavar="KEYS", help=f"The model it is for, if the mapping names none. {KEYS_HELP}"
        ),
    ] = None,
    to: Annotated[Optional[Reader], typer.Option("--to", help="Who is to read it.")] = None,  # noqa: UP045
    skip: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--skip", metavar="PATTERN", help="Leave these tensors out: '**.diff'."),
    ] = None,
    under: Annotated[
        str,
        typer.Option(
            "--under",
            metavar="A[ -> B]",
            help="Take what lies beneath this prefix, in the adapter or in the model, and leave out the "
            "rest: transformer, lora_unet_.",
        ),
    ] = "",
    prefix: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--prefix", metavar="PREFIX", help="Before every name written, if not the reader's own."
        ),
    ] = None,
    beside: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--beside",
            metavar="PREFIX=KEYS",
            help="Another component that it is for, whose names stay: lora_te1_=text_encoder.",
        ),
    ] = None,
    scale: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--scale", metavar="X", help="alpha / rank, where nothing in the adapter says it."),
    ] = None,
    is_transposed: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--is-transposed/--not-transposed",
            help="Whether the class of the target's fused experts says is_transposed, as GPT-OSS's does.",
        ),
    ] = None,
    set_: Settings = None,
    allow_use: AllowUse = None,
) -> None:
    """Convert a LoRA: cut and joined as its weights are, ranks stacked where weights are fused."""
    from mapcc import api

    settings = dict(setting(text) for text in set_ or ())
    done = api.convert_lora(
        mapping,
        source,
        out,
        model,
        to=to.value if to else "",
        under=under,
        prefix=prefix,
        skip=skip or (),
        beside=dict(_component(text) for text in beside or ()),
        scale=scale,
        is_transposed=is_transposed,
        settings=settings,
    )
    if done.left_out:
        left = under.partition("->")[0].strip()
        say(f"left out: {plural(done.left_out, 'tensor')}, not under {say_name(left)}")
    for pattern, names in done.skipped.items():
        _say_names(f"skipped, as {say_name(pattern)} says", names)
    _say_names("dropped, as its weight is", done.dropped)
    for note, names in done.notes.items():
        _say_names(note, names)
    say(f"wrote {say_name(str(done.path))}: adapters of {plural(done.taken, 'weight')}, now of {done.given}")


def _component(text: str) -> tuple[str, str]:
    prefix, equals, keys = text.partition("=")
    if not (prefix and equals and keys):
        help = "--beside lora_te1_=text_encoder/model.safetensors"
        fail([Diagnostic("MC007", f"--beside {text} is not PREFIX=KEYS", help=help)])
    return prefix, keys


def _say_names(why: str, names: tuple[str, ...]) -> None:
    for name in fold(names, 20):
        say(f"{why}: {escape(name)}")
