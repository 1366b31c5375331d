"""A port as its ``port.yaml`` says it: which weights become which components, and what proves each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mapcc.text import Span

Setting = int | float | str

# FastVideo's own words: its scripts and its reviewers look for these names.
MAPPING_FOLDER = "_mapping"
EVIDENCE_FOLDER = "evidence"
PLAN = "PLAN.md"
PORT = "port.yaml"


@dataclass(frozen=True, slots=True)
class Excluded:
    """Names that are left out, for a reason."""

    names: tuple[str, ...]
    because: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the official weights come from: a repository of the Hub at a commit, or a folder."""

    repository: str = ""
    revision: str = ""
    path: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Who loads the result. ``version``: of Diffusers, as ``model_index.json`` names it."""

    kind: str
    pipeline: str = ""
    version: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TensorInput:
    """One argument of a forward pass: random, seeded, of this shape; or one ``value`` throughout.

    Floating-point inputs are normal with ``scale``; integers are below ``high``, from ``low`` on.
    """

    shape: tuple[int, ...]
    dtype: str = "float"
    low: int = 0
    high: int = 2
    scale: float = 1.0
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two modules: a factory, how the common inputs are its arguments, and what it gives.

    Attributes:
        module: ``py:...``; empty where the class and the config of the component say it.
        arguments: of the forward pass, each with the input that it is; empty for the same names.
        output: the part of what it returns that counts: a key, or a number; empty for all.
        loads: the factory has loaded the weights itself.
    """

    module: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    loads: bool = False


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the two must come: ``|official - ported| <= atol + rtol * |official|``."""

    dtype: str = ""
    atol: float = 1e-4
    rtol: float = 1e-4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the pipeline that has weights.

    Attributes:
        sources: files or folders below the weights.
        prefix: what stands before its names in a file that holds others too.
        keep_prefix: the mapping has the prefix in its own patterns.
        target_class: ``diffusers.WanTransformer3DModel``: the library token, and the class.
        config: of the target: a file, or what would be in it.
        keep: types that stay, each with the names: ``("f32", ("**.norm.*",))``; "" for as it is.
        missing: target tensors that nothing gives, and why that is right.
        pairs: modules without weights that correspond: the official's name, the ported one's.
    """

    name: str
    sources: tuple[str, ...]
    mapping: str
    prefix: str = ""
    keep_prefix: bool = False
    select: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    keys: str = ""
    target_class: str = ""
    config: str | Mapping[str, object] | None = None
    source_config: str = ""
    dtype: str = ""
    keep: tuple[tuple[str, tuple[str, ...]], ...] = ()
    missing: tuple[Excluded, ...] = ()
    official: Side = Side()
    ported: Side = Side()
    inputs: str | Mapping[str, TensorInput] | None = None
    parity: Parity = Parity()
    pairs: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def library(self) -> str:
        """The token of ``model_index.json``: diffusers, transformers, fastvideo, ``fastvideo.module``."""
        return self.target_class.rpartition(".")[0]

    @property
    def has_parity(self) -> bool:
        return bool(self.official.module)


@dataclass(frozen=True, slots=True)
class Asset:
    """What is taken over as it is: a tokenizer, a scheduler, a component that needs no conversion."""

    name: str
    origin: str
    target_class: str = ""
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Outputs:
    """Two outputs of whole pipelines: files, or ``py:`` factories that give an array or a tensor.

    Attributes:
        minimum: for images and videos: the SSIM that the worst frame must reach.
    """

    official: str
    ported: str
    atol: float = 1e-4
    rtol: float = 1e-4
    minimum: float = 0.98


@dataclass(frozen=True, slots=True)
class Example:
    """A command that shows the port at work, and the file that it must write."""

    run: str
    produces: str


@dataclass(frozen=True, slots=True)
class Port:
    """A whole ``port.yaml``. Paths in it are relative to its own folder.

    Attributes:
        foreign: names in a file of several components that belong to none, and why.
        index: further entries of ``model_index.json``.
        not_applicable: items of the gate that this model does not have, and why: it draws no pictures.
        plain: the file as plain data, for hashes of its parts.
    """

    path: Path
    model: str
    weights: Weights
    target: Target
    components: tuple[Component, ...]
    family: str = ""
    official: str = ""
    official_revision: str = ""
    out_folder: str = ""
    assets: tuple[Asset, ...] = ()
    foreign: tuple[Excluded, ...] = ()
    index: Mapping[str, object] = field(default_factory=dict)
    pipeline: Outputs | None = None
    ssim: Outputs | None = None
    example: Example | None = None
    docs: tuple[str, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    plain: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The workspace: what all paths are relative to."""
        return self.path.parent

    @property
    def out(self) -> Path:
        return self.folder / (self.out_folder or f"converted_weights/{self.model}")

    @property
    def dumps(self) -> Path:
        return self.out / MAPPING_FOLDER

    @property
    def evidence(self) -> Path:
        return self.folder / EVIDENCE_FOLDER

    @property
    def plan(self) -> Path:
        return self.folder / PLAN

    @property
    def weights_folder(self) -> Path:
        """Where the official weights lie, or will."""
        return self.folder / (self.weights.path or f"official_weights/{self.model}")

    @property
    def target_word(self) -> str:
        """What the ported side is called in the names of files."""
        return {"fastvideo": "fastvideo", "diffusers": "diffusers"}.get(self.target.kind, "ported")

    def component(self, name: str) -> Component:
        return next(each for each in self.components if each.name == name)
