"""An adapter as values: factors, whole differences, and products of other kinds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mapcc.lora.values import Array, cast, is_finite, scaled
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Factors:
    """``up @ down`` times ``scale`` is added to rows of a weight, as it is stored; both are matrices here.

    Attributes:
        down: rank x inputs: the columns of a convolution count as inputs.
        up: outputs x rank.
        first: the first row of the weight that they are for; those of fused experts are for a part of it.
        turned: the weight is stored as the transpose of what the module multiplies with; None where
            nothing tells.
        magnitude: of DoRA: the norm of each row, or None.
        by_column: the norms are of columns.
        embedding: they are an embedding's.
    """

    down: Array
    up: Array
    scale: float = 1.0
    first: int = 0
    turned: bool | None = False
    magnitude: Array | None = None
    by_column: bool = False
    embedding: bool = False

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def nbytes(self) -> int:
        return int(self.down.nbytes + self.up.nbytes)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole tensor's difference; or what it becomes, if ``replaces``."""

    array: Array
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Product:
    """Factors of another kind (LoKr, LoHa), by their suffixes, with their alpha."""

    kind: str
    tensors: dict[str, Array]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why tensors of an adapter cannot be taken along; and all of the module's, to be left out together.

    Attributes:
        message: of faults that are one for each of several targets, with a ``{}`` for these.
        target: the tensor of the target that this one is about.
    """

    code: str
    message: str
    names: tuple[str, ...]
    help: str = ""
    span: Span | None = None
    target: str = ""


@dataclass(slots=True)
class Adapter:
    """An adapter under the names of a model's tensors.

    Attributes:
        factors: by the weight that they are for: one, or one for each expert.
        whole: by the tensor that is changed.
        products: by the weight.
        origins: the names in the file, by the tensor of the model that they are for.
        prefix: what stood before the modules' names.
        alpha_type: of the alphas; "" if there are none.
        notes: what is to be said, and of which of the model's tensors.
    """

    factors: dict[str, tuple[Factors, ...]] = field(default_factory=dict)
    whole: dict[str, Whole] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    origins: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    prefix: str = ""
    alpha_type: str = ""
    notes: dict[str, list[str]] = field(default_factory=dict)


def balanced(factors: Factors) -> Factors:
    """The same product with a scale of 1: as Diffusers puts scales into factors, shared by powers of two.

    Where a number grows beyond its type, both are of F32 afterwards.
    """
    if factors.scale == 1.0:
        return factors
    down, up = factors.scale, 1.0
    while 0 < down * 2 < up:
        down, up = down * 2, up / 2
    new_down, new_up = scaled(factors.down, down), scaled(factors.up, up)
    if not (is_finite(new_down) and is_finite(new_up)):
        new_down = scaled(cast(factors.down, "F32"), down)
        new_up = scaled(cast(factors.up, "F32"), up)
    return replace(factors, down=new_down, up=new_up, scale=1.0)
