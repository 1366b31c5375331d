"""Archives of ``torch.save``: what is in them, read by torch's restricted unpickler.

Only ``data.pkl`` is read. A storage becomes one without bytes, on the meta device, whose place
in the file is known; so a tensor of it is a place, a shape and strides.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.dtypes import parse_dtype
from mapcc.tensors.spec import TensorSpec, name_fault, shape_fault
from mapcc.tensors.strided import placed, reach
from mapcc.tensors.zips import Member, read_member

MAX_PICKLE = 100_000_000  # bytes: as much as a header of safetensors
MIN_TORCH = (2, 10)
_SHOWN = 8

# Torch's own list is longer. Not here: what makes tensors that are no block of bytes
# (sparse, quantized, nested, of subclasses), and what allocates as much as a pickle asks for.
ALLOWED = re.compile(
    r"collections\.OrderedDict|torch\.(Size|Tensor|device|\w+Storage)|torch\.storage\.\w+Storage"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.Parameter"
    r"|torch\.(bool|(b|q|qu)?u?int\d+|b?float\d+\w*|complex\d+|bits\w+)"
    r"|_codecs\.encode|builtins\.(set|complex)"
)
_KINDS = (
    ("torch._utils._rebuild_sparse", "a sparse tensor"),
    ("torch._utils._rebuild_qtensor", "a quantized tensor"),
    ("torch._utils._rebuild_nested", "a nested tensor"),
    ("torch._utils._rebuild_meta", "a tensor without bytes (of the meta device)"),
    ("torch._utils._rebuild_wrapper", "a tensor of a subclass"),
)
_ELSEWHERE = "where its classes are, save its tensors alone: torch.save({name: tensor, ...}, 'weights.pt')"


class PickleFault(Exception):
    """What is wrong with an archive, and whether it is malformed or of a kind that is not read."""

    def __init__(self, rule: str, code: str = "MC002", name: str | None = None, help: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.code = code
        self.name = name
        self.help = help


@dataclass(slots=True)
class Archive:
    """An archive that is open: ``root`` is the folder that all its members are in.

    Attributes:
        storages: where the storages lie that were asked for, by their address in torch, with
            the object, because an address is one's own only as long as one lives.
    """

    fd: int
    members: dict[str, Member]
    root: str
    file: int | None
    storages: dict[int, tuple[Member, Any]] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)

    def read(self, name: str, limit: int = MAX_PICKLE) -> bytes | None:
        """A member's bytes; None if there is none. ``ZipFault`` if it has more than ``limit``."""
        member = self.members.get(f"{self.root}/{name}")
        return None if member is None else read_member(self.fd, member, limit)


def unpickle(archive: Archive, classes: Mapping[str, object], path: Path) -> object:
    """What ``data.pkl`` holds, with tensors on the meta device. No code of the archive is run.

    Args:
        classes: what more than tensors and containers it may name, and what stands for it.

    Raises:
        PickleFault, ZipFault: it is malformed, or names anything else.
        MappingError: MC001 if torch is absent or too old.
    """
    torch = _torch(path)
    raw = archive.read("data.pkl") or b""
    order = archive.read("byteorder")
    if order not in (None, b"little"):
        raise PickleFault(f"its numbers are in the byte order {order!r}; only little is read", "MC006")
    _check_globals(raw, classes)
    unpickler = torch._weights_only_unpickler.Unpickler(io.BytesIO(raw), encoding="utf-8")
    unpickler.persistent_load = lambda pid: _storage(archive, pid, torch)
    known = [(stand_in, name) for name, stand_in in classes.items()]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.simplefilter("ignore")
            return unpickler.load()
    except PickleFault:
        raise
    # Of a pickle that is damaged, torch's machine raises anything: IndexError, struct.error, RuntimeError.
    except Exception as error:
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise PickleFault(f"data.pkl cannot be read: {why[:200]}") from None


def tensor_spec(archive: Archive, name: str, tensor: Any) -> TensorSpec:
    """Where a tensor of :func:`unpickle` lies. ``PickleFault`` if it is no plain block of numbers."""
    kind = _unplain(tensor)
    if kind:
        raise PickleFault(f"it is {kind}: safetensors has plain tensors only", "MC006", name)
    dtype = parse_dtype(str(tensor.dtype))
    shape, strides = tuple(map(int, tensor.shape)), tuple(map(int, tensor.stride()))
    if dtype is None:
        raise PickleFault(f"it is of type {tensor.dtype}, which safetensors does not have", "MC006", name)
    fault = name_fault(name) or shape_fault(shape)
    member = archive.storages.get(tensor.untyped_storage()._cdata, (None,))[0]
    if fault or member is None:
        raise PickleFault(fault or "it has no bytes in the archive", name=name)
    width = int(tensor.element_size())
    begin = int(tensor.storage_offset()) * width
    size = reach(shape, strides) * width
    if size and begin + size > member.size:
        raise PickleFault(
            f"it ends at byte {begin + size:,} of its storage, which has {member.size:,}", name=name
        )
    if width * 8 != dtype.bits:  # torch counts pairs of 4 bits as one element
        if not shape or placed(name, dtype, shape, strides, None, 0).strides:
            raise PickleFault("its pairs of 4 bits are not contiguous", "MC006", name)
        at = member.begin + begin
        return TensorSpec(name, dtype, (*shape[:-1], 2 * shape[-1]), archive.file, at, at + size)
    return placed(name, dtype, shape, strides, archive.file, member.begin + (begin if size else 0))


def _unplain(tensor: Any) -> str:
    if type(tensor).__name__ not in ("Tensor", "Parameter"):
        return f"of the subclass {type(tensor).__name__}"
    if str(tensor.layout) != "torch.strided":
        return f"sparse ({tensor.layout})"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_conj() or tensor.is_neg():
        return "a view that conjugates or negates when it is read (save x.resolve_conj().resolve_neg())"
    return ""


def _storage(archive: Archive, pid: Any, torch: Any) -> Any:
    """What torch asks for by ``("storage", type, key, location, number of elements)``."""
    if type(pid) is not tuple or len(pid) != 5:
        raise PickleFault("a storage is named by five things")
    _, kind, key, _, count = pid
    key = key.decode("latin-1") if isinstance(key, bytes) else key
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise PickleFault("a storage is named by five things")
    if key not in archive.keys:
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        archive.keys[key] = _new_storage(archive, key, count, dtype, torch)
    return archive.keys[key]


def _new_storage(archive: Archive, key: str, count: int, dtype: Any, torch: Any) -> Any:
    member = archive.members.get(f"{archive.root}/data/{key}")
    if member is None:
        raise PickleFault(f"the storage `{key}` is not there")
    if not member.stored:
        raise PickleFault(f"the storage `{key}` is compressed: torch.save does not do that", "MC006")
    width = torch._utils._element_size(dtype)
    if member.size // width != count:
        raise PickleFault(f"the storage `{key}` has {member.size:,} bytes, not {count:,} elements of {dtype}")
    untyped = torch.UntypedStorage(count * width, device="meta")
    archive.storages[untyped._cdata] = (member, untyped)
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def _check_globals(raw: bytes, classes: Mapping[str, object]) -> None:
    """Torch checks it as well, while it reads; this says all of them, before anything is made."""
    last = ""
    wrong: dict[str, str] = {}
    try:
        for code, value, _ in pickletools.genops(raw):
            if code.name == "BINUNICODE":
                last = str(value)
            elif code.name == "GLOBAL":
                name = str(value).replace(" ", ".")
                if name not in classes and not ALLOWED.fullmatch(name):
                    wrong.setdefault(name, last)
    except ValueError as error:
        raise PickleFault(f"data.pkl is no pickle: {error}") from None
    if wrong:
        name, near = next(iter(wrong.items()))
        kind = next((kind for start, kind in _KINDS if name.startswith(start)), None)
        what = f"it is {kind}"
        if kind is None:
            what = f"it needs {', '.join(f'`{name}`' for name in list(wrong)[:_SHOWN])}"
            what += f" (first after `{near}`)" if near else ""
        rule = f"{what}; mapcc reads plain tensors and containers only"
        raise PickleFault(rule, "MC006", near if kind else None, _ELSEWHERE)


def _torch(path: Path) -> Any:  # a module without types here, since torch may be absent
    try:
        torch = import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MappingError([_unavailable(path, "torch is not installed")]) from None
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < MIN_TORCH:  # before that, the restricted unpickler could be made to run code
        raise MappingError([_unavailable(path, f"torch {torch.__version__} is too old for it")])
    import_module("torch._weights_only_unpickler")
    return torch


def _unavailable(path: Path, why: str) -> Diagnostic:
    return Diagnostic("MC001", f"cannot read `{path}`: {why}", help="pip install 'mapcc[torch]'")
