"""What a pickle of torch calls, and what becomes of it here: tensors as records, containers, stand-ins."""

from __future__ import annotations

import re
from collections.abc import Callable

from mapcc.tensors.dtypes import parse_dtype
from mapcc.tensors.machine import Machine, MachineFault
from mapcc.tensors.values import Named, Recorded, StandIn, Storage

_STORAGE = re.compile(r"torch(?:\.cuda|\.storage)?\.(\w+)Storage")
_KINDS = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "Untyped": "uint8",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}
# Of types that safetensors does not have.
_WIDTHS = {"complex128": 16, "complex32": 4, "qint32": 4, "bits16": 2}

_UNPLAIN = (
    ("_rebuild_sparse", "sparse", "save x.to_dense()"),
    ("_rebuild_qtensor", "quantized", "save x.dequantize()"),
    ("_rebuild_nested", "nested", "save its parts: x.unbind()"),
    ("_rebuild_meta", "without bytes (of the meta device)", "load the model's weights before it is saved"),
)
_DTENSOR = "torch.distributed.tensor.DTensor"
_WHOLE = "save x.full_tensor(), or all ranks together by torch.distributed.checkpoint"
_PLAIN = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}
_DICTS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
_LISTS = {"builtins.list", "builtins.set", "builtins.frozenset", "collections.deque"}
_SAME = {
    *(f"torch.jit._pickle.{name}" for name in ("build_intlist", "build_doublelist", "build_boollist")),
    *("torch.jit._pickle.build_tensorlist", "torch.jit._pickle.build_tensor_from_id"),
    *("torch.jit._pickle.restore_type_tag", "torch._utils._rebuild_parameter"),
    "torch._utils._rebuild_parameter_with_state",
}


def made(machine: Machine, name: str, args: object) -> object:
    """The value of a call of ``name``; ``MachineFault`` for a tensor without the facts of one."""
    if not isinstance(args, tuple):
        return StandIn(name)
    name = name.replace("__builtin__.", "builtins.", 1)  # as protocol 2 has it
    known = _CALLS.get(name)
    if known is not None:
        return known(machine, args)
    if name in _SAME:
        return args[0] if args else None
    if name.startswith("torch._utils._rebuild_"):
        return _unplain(name.removeprefix("torch._utils."), args)
    return StandIn(name, args)


def storage_of(pid: object) -> object:
    """The storage that a persistent id names: of archives by five things, of older files by six."""
    if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
        return pid[1]  # a class with its source, which is of no use here
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] not in ("storage", b"storage"):
        raise MachineFault("a storage is named by five things")
    kind, key, count, view = pid[1], pid[2], pid[4], pid[5] if len(pid) == 6 else None
    key = key.decode("latin-1") if isinstance(key, bytes) else key
    found = _STORAGE.fullmatch(kind.name) if isinstance(kind, Named) else None
    dtype = _KINDS.get(found[1]) if found else None
    if not isinstance(key, str) or type(count) is not int or count < 0 or dtype is None:
        raise MachineFault("a storage is named by five things")
    first = 0
    if view is not None:
        if not isinstance(view, tuple) or len(view) != 3 or type(view[1]) is not int or view[1] < 0:
            raise MachineFault("a view of a storage has a key, a first element and a size")
        first = view[1]
    return Storage(key, dtype, count, first)


def width_of(dtype: str) -> int:
    """Bytes of one element, as torch counts them: two of 4 bits are one.

    >>> width_of("float32"), width_of("complex128"), width_of("float4_e2m1fn_x2")
    (4, 16, 1)
    """
    known = parse_dtype(dtype)
    return _WIDTHS.get(dtype, 1) if known is None else max(1, known.bits // 8)


def _tensor(machine: Machine, args: tuple[object, ...]) -> Recorded:
    """``_rebuild_tensor(storage, offset, size, stride)``, and with more that says nothing of its bytes."""
    storage = args[0] if args else None
    dtype = storage.dtype if isinstance(storage, Storage) else ""
    return _recorded(args, dtype, args[6] if len(args) > 6 else None)


def _tensor_with_type(machine: Machine, args: tuple[object, ...]) -> Recorded:
    dtype = args[6] if len(args) > 6 else None
    if not isinstance(dtype, Named) or not dtype.name.startswith("torch."):
        raise MachineFault("a tensor of a storage without a type has no type itself")
    return _recorded(args, dtype.name.removeprefix("torch."), args[7] if len(args) > 7 else None)


def _recorded(args: tuple[object, ...], dtype: str, more: object) -> Recorded:
    if len(args) < 4:
        raise MachineFault("a tensor is a storage, an offset, a shape and strides")
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise MachineFault("a tensor begins at an element of a storage")
    if not _naturals(shape) or not _naturals(strides) or len(shape) != len(strides):  # type: ignore[arg-type]
        raise MachineFault("a tensor has a shape of natural numbers, and a stride for each")
    kind, advice = "", ""
    if isinstance(more, dict) and (more.get("conj") or more.get("neg")):
        kind = "a view that conjugates or negates when it is read"
        advice = "save x.resolve_conj().resolve_neg()"
    return Recorded(storage, dtype, storage.first + offset, shape, strides, kind, advice)  # type: ignore[arg-type]


def _naturals(value: object) -> bool:
    return isinstance(value, tuple) and all(type(size) is int and size >= 0 for size in value)


def _unplain(name: str, args: tuple[object, ...]) -> Recorded:
    if name.startswith("_rebuild_wrapper"):
        kind = args[0].name if args and isinstance(args[0], Named) else "?"
        return _of_class(kind)
    for start, kind, advice in _UNPLAIN:
        if name.startswith(start):
            return Recorded(kind=kind, advice=advice)
    return Recorded(kind=f"of a device or a kind that is rebuilt by torch's {name}", advice="save x.cpu()")


def _of_class(name: str) -> Recorded:
    if name == _DTENSOR:
        return Recorded(kind="a DTensor, one rank's piece of a tensor", advice=_WHOLE)
    advice = "save its plain tensors: x.dequantize(), or those that it holds"
    return Recorded(kind=f"of the subclass `{name}`", advice=advice)


def _from_type(machine: Machine, args: tuple[object, ...]) -> object:
    """``_rebuild_from_type_v2(function, type, arguments, state)``: with attributes, or a subclass."""
    if len(args) < 3 or not isinstance(args[0], Named) or not isinstance(args[1], Named):
        raise MachineFault("a tensor of a class is a function, the class and arguments")
    if args[0].name.startswith("torch._tensor._rebuild_from_type"):
        raise MachineFault("a tensor of a class is made of one that is none")
    inner = made(machine, args[0].name, args[2])
    if args[1].name in _PLAIN or not isinstance(inner, Recorded):
        return inner
    return inner if inner.kind else _of_class(args[1].name)


def _dictionary(machine: Machine, args: tuple[object, ...]) -> dict[object, object]:
    """An ``OrderedDict`` of pairs, a ``defaultdict`` of a factory and a dictionary, ..."""
    found: dict[object, object] = {}
    for source in args[:2]:
        if isinstance(source, dict):
            machine.set_items(found, [part for pair in source.items() for part in pair])
        elif isinstance(source, (list, tuple)):
            machine.pay(32 * len(source))
            pairs = [pair for pair in source if isinstance(pair, (list, tuple)) and len(pair) == 2]
            machine.set_items(found, [part for pair in pairs for part in pair])
    return found


def _listed(machine: Machine, args: tuple[object, ...]) -> list[object]:
    source = args[0] if args and isinstance(args[0], (list, tuple)) else ()
    machine.pay(8 * len(source))
    return list(source)


def _size(machine: Machine, args: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(_listed(machine, args))


_CALLS: dict[str, Callable[[Machine, tuple[object, ...]], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch.Size": _size,
    "builtins.tuple": _size,
    **dict.fromkeys(_DICTS, _dictionary),
    **dict.fromkeys(_LISTS, _listed),
}
