"""What commands share: the application, their options, and how options are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated, Optional

import typer

from mapcc.cli.output import fail
from mapcc.diagnostics.model import Diagnostic

app = typer.Typer(
    name="mapcc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The compiler for model weights: check, convert and emit declarative weight mappings.",
)


class ReportFormat(StrEnum):
    text = "text"
    json = "json"
    github = "github"


class ListFormat(StrEnum):
    text = "text"
    json = "json"


class MappingForm(StrEnum):
    text = "text"
    yaml = "yaml"


class Dialect(StrEnum):
    fastvideo = "fastvideo"
    sglang = "sglang"
    transformers = "transformers"
    vllm = "vllm"
    torchtitan = "torchtitan"


class CopyMode(StrEnum):
    auto = "auto"
    window = "window"
    kernel = "kernel"
    reflink = "reflink"


class Side(StrEnum):
    target = "target"
    source = "source"


MappingFile = Annotated[Path, typer.Argument(metavar="MAPPING", help="A .mapcc or .yaml file.")]
KEYS_HELP = (
    "A .safetensors file, an archive of torch.save or TorchScript (.pt, .pth, .bin, .ckpt), an .npz, "
    "a directory, an index.json, a keys file, or py:module:callable."
)
Source = Annotated[str, typer.Option("--source", "-s", metavar="SRC", help=KEYS_HELP)]
Target = Annotated[Optional[str], typer.Option("--target", "-t", metavar="SRC", help="The wanted key set.")]  # noqa: UP045
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="NAME=VALUE", help="A value for one of the mapping's lets."),
]
SourceConfig = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--source-config", metavar="FILE", help="config.json of the source."),
]
TargetConfig = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--target-config", metavar="FILE", help="config.json of the target."),
]
ShardSize = Annotated[str, typer.Option("--max-shard-size", metavar="SIZE", help="Of one file: 5GB, 500MB.")]
Prefix = Annotated[str, typer.Option("--prefix", help="Of the file names: model, diffusion_pytorch_model.")]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Of all buffers, whatever the tensors' sizes.")
]
Select = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--select",
        metavar="PATH",
        help="The dictionary of the source that is meant (state_dict, model.ema), or how its names begin. "
        "Given again: these too, each under its own path.",
    ),
]


Under = Annotated[
    str,
    typer.Option(
        "--under",
        metavar="A[ -> B]",
        help="Hold the mapping against what lies beneath this prefix, and leave out the rest: "
        "model.diffusion_model.",
    ),
]


Drops = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--drop", metavar="NAMES", help="Leave these out, too: 'vae.**'. A pattern; repeatable."),
]


def _allow_uses(context: typer.Context, folders: list[Path] | None) -> list[Path] | None:
    """For as long as the command runs."""
    if folders:
        from mapcc.syntax.budget import uses_allowed

        context.with_resource(uses_allowed(*folders))
    return folders


AllowUse = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--allow-use",
        metavar="DIR",
        help="A folder whose files the mapping may use, too.",
        callback=_allow_uses,
    ),
]


def key_options(
    settings: list[str] | None,
    source_config: Path | None,
    target_config: Path | None,
    select: list[str] | None = None,
    under: str = "",
) -> dict[str, object]:
    return {
        "settings": dict(setting(text) for text in settings or ()),
        "source_config": source_config,
        "target_config": target_config,
        "select": select,
        "under": under,
    }


def with_drops(options: dict[str, object], drops: list[str] | None) -> dict[str, object]:
    """The options of a check, and what is left out beside what the mapping leaves out."""
    if not drops:
        return {**options, "statements": ""}
    from mapcc.api.identifying import drop_statements

    return {**options, "statements": drop_statements(drops)}


def setting(text: str) -> tuple[str, int | float | str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        fail([Diagnostic("MC007", f"--set {text} is not NAME=VALUE", help=f"--set {name or 'NAME'}=VALUE")])
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def size_of(option: str, text: str) -> int:
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    digits = text.rstrip("BGIKMbgikm ")
    unit = text[len(digits) :].strip().upper()
    try:
        size = int(float(digits) * units[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        message = f"{option} {text} is not a size"
        fail([Diagnostic("MC007", message, help=f"{option} 5GB, or 500MB")])
    return size


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        fail([Diagnostic("MC005", f"cannot make `{path}`: {why}")])


def write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        help = "" if path.parent.is_dir() else f"mkdir -p {quote(str(path.parent))}"
        fail([Diagnostic("MC005", f"cannot write `{path}`: {why}", help=help)])
