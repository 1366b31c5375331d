"""Archives of torch.save: what torch loads from a name is what lies in the bytes that the manifest says."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.dtypes import parse_dtype
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest, TensorSpec

Faults = Callable[..., tuple[Diagnostic, ...]]
Write = Callable[..., Path]

DTYPES = sorted(
    (value for value in vars(torch).values() if isinstance(value, torch.dtype) and parse_dtype(str(value))),
    key=str,
)
PLAIN = [dtype for dtype in DTYPES if dtype is not torch.float4_e2m1fn_x2]


@pytest.fixture
def saved(tmp_path: Path) -> Write:
    def save(value: object, name: str = "m.pt") -> Path:
        torch.save(value, tmp_path / name)
        return tmp_path / name

    return save


def some(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """A tensor of any type whose bytes are not all the same."""
    width = torch.empty(0, dtype=dtype).element_size()
    count = torch.Size(shape).numel() * width
    if dtype is torch.bool:
        return (torch.arange(count) % 3 == 0).reshape(shape)
    return (torch.arange(count) % 251).to(torch.uint8).view(dtype).reshape(shape)


def raw(tensor: torch.Tensor) -> bytes:
    """The elements in row-major order; through bytes, because numpy lacks most of the types."""
    fresh = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
    return bytes(fresh.untyped_storage().tolist())


def lying(manifest: Manifest, spec: TensorSpec) -> bytes:
    """The elements that the manifest says, read from the file, in row-major order."""
    assert spec.file is not None
    assert spec.dtype is not None
    data = manifest.files[spec.file].read_bytes()[spec.begin : spec.end]
    if spec.strides is None:
        assert len(data) == spec.nbytes
        return data
    width = spec.dtype.bits // 8
    lifted = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    strides = [stride * width for stride in spec.strides]
    return lifted.as_strided((*spec.shape, width), (*strides, 1)).contiguous().numpy().tobytes()


def same(path: Path, wanted: dict[str, torch.Tensor], **options: Any) -> Manifest:
    manifest = open_keyset(path, **options)
    assert list(manifest.names) == list(wanted)
    for name, tensor in wanted.items():
        spec = manifest.tensors[name]
        assert spec.dtype is parse_dtype(str(tensor.dtype))
        assert lying(manifest, spec) == raw(tensor), name
    return manifest


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(dtype: torch.dtype, saved: Write) -> None:
    manifest = same(saved({"w": some(dtype, 3, 4)}), {"w": some(dtype, 3, 4)})
    pairs = 2 if dtype is torch.float4_e2m1fn_x2 else 1
    assert manifest.tensors["w"].shape == (3, 4 * pairs)


def test_views_lie_in_their_storage(saved: Write) -> None:
    base = some(torch.float32, 6, 4)
    wanted = {
        "base": base,
        "tied": base,
        "rows": base[2:4],
        "column": base[:, 1],
        "transposed": base.T,
        "every_other": base[::2, 1:3],
        "expanded": base[0].expand(3, 4),
        "permuted": base.reshape(2, 3, 4).permute(2, 0, 1),
        "scalar": base[1, 1],
        "empty": base[:0],
        "one": base[:, :1].T[:, :1],
    }
    tensors = same(saved(wanted), wanted).tensors
    assert tensors["tied"][3:] == tensors["base"][3:]
    assert tensors["transposed"].strides == (1, 4)
    assert tensors["expanded"].strides == (0, 1)
    assert {name for name, spec in tensors.items() if spec.strides is None} == {
        *("base", "tied", "rows", "scalar", "empty", "one"),
    }
    assert tensors["column"].end - tensors["column"].begin == 4 * 21


@given(data=st.data())
def test_any_view(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = some(data.draw(st.sampled_from(PLAIN)), 120)
    shape = data.draw(st.lists(st.integers(0, 3), max_size=4))
    strides = [data.draw(st.integers(0, 12)) for _ in shape]
    reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True) if size)
    view = base.as_strided(shape, strides, data.draw(st.integers(0, max(0, 119 - reach))))
    path = tmp_path_factory.getbasetemp() / "view.pt"
    torch.save({"w": view}, path)
    same(path, {"w": view})


def test_what_a_state_dict_is_made_of(saved: Write) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    same(saved(model.state_dict()), dict(model.state_dict()))
    marked = torch.nn.Parameter(some(torch.float32, 2))
    marked.note = 1
    odd = OrderedDict(
        p=marked, q=torch.nn.Parameter(some(torch.float16, 2)), b=torch.nn.Buffer(torch.ones(2))
    )
    manifest = same(saved({**odd, "epoch": 3, "lr": [0.1], "none": None}), dict(odd))
    assert manifest.skipped == ("epoch", "lr", "none")


def test_a_name_that_ends_in_anything(saved: Write, tmp_path: Path) -> None:
    path = saved({"w": torch.ones(2)})
    for name in ("model.safetensors", "model.json", "blob", "pytorch_model.bin"):
        same(path.rename(tmp_path / name), {"w": torch.ones(2)})
        path = tmp_path / name


def special() -> dict[str, tuple[object, str]]:
    complex_one = torch.ones(3, dtype=torch.complex64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "quantized": (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantized"),
            "coo": (torch.eye(3).to_sparse(), "sparse"),
            "csr": (torch.eye(3).to_sparse_csr(), "sparse"),
            "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
            "meta": (torch.ones(3, device="meta"), "without bytes"),
            "conj": (complex_one.conj(), "conjugates"),
            "neg": (complex_one.conj().imag, "negates"),
            "complex128": (complex_one.to(torch.complex128), "torch.complex128"),
        }


@pytest.mark.parametrize("kind", special())
def test_tensors_that_are_no_plain_block_are_named(kind: str, saved: Write, faults: Faults) -> None:
    value, word = special()[kind]
    (fault,) = faults(open_keyset, saved({"plain": torch.ones(1), "odd.one": value}))
    assert (fault.code, fault.names) == ("MC006", ("odd.one",))
    assert word in fault.message


class Sub(torch.Tensor):
    """A class that no one knows."""


def test_a_subclass_is_named(saved: Write, faults: Faults) -> None:
    (fault,) = faults(open_keyset, saved({"odd.one": torch.ones(3).as_subclass(Sub)}))
    assert (fault.code, fault.names) == ("MC006", ("odd.one",))
    assert "of the subclass `" in fault.message
    assert "Sub`" in fault.message


@pytest.mark.parametrize("name", ["a\nb", "", "__metadata__", "\ud800"])
def test_names_that_no_tensor_can_have(name: str, saved: Write, faults: Faults) -> None:
    (fault,) = faults(open_keyset, saved({name: torch.ones(1)}))
    assert fault.code == "MC002"
    assert fault.names == (name,)


def test_folders(saved: Write, tmp_path: Path, faults: Faults, weights: Write) -> None:
    saved({"a": torch.ones(2)}, "pytorch_model.bin")
    same(tmp_path, {"a": torch.ones(2)})
    saved({"state": {}}, "optimizer.pt")
    same(tmp_path, {"a": torch.ones(2)})
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "other.bin")
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC006"
    assert fault.notes == ("archives: optimizer.pt, other.bin",)
    weights("m.safetensors", {"s": ("F32", (2,))})
    assert list(open_keyset(tmp_path).names) == ["s"]


def test_an_index_of_archives(saved: Write, tmp_path: Path, faults: Faults) -> None:
    names = [f"pytorch_model-0000{at}-of-00002.bin" for at in (1, 2)]
    tensors = {"a": some(torch.bfloat16, 2), "b": some(torch.float32, 3)}
    for name, (key, tensor) in zip(names, tensors.items(), strict=True):
        saved({key: tensor}, name)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip(tensors, names, strict=True))}), "utf-8")
    for source in (tmp_path, index):
        manifest = same(source, tensors)
        assert [path.name for path in manifest.files] == names
        assert [stamp.size for stamp in manifest.stamps] == [path.stat().st_size for path in manifest.files]
    (tmp_path / names[1]).unlink()
    (tmp_path / names[1]).symlink_to("/etc/hostname")
    (fault,) = faults(open_keyset, tmp_path)
    assert (fault.code, "outside of the checkpoint" in fault.message) == ("MC001", True)


MEMORY = """
import sys, torch, torch._weights_only_unpickler, torch.storage
from pathlib import Path
from mapcc.tensors.keysets import open_keyset

def anonymous():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("RssAnon"))

open_keyset(sys.argv[1])
before = anonymous()
manifest = open_keyset(sys.argv[2])
print(len(manifest.tensors), anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_a_large_archive_takes_no_memory(saved: Write) -> None:
    small = saved({"w": torch.ones(1)}, "small.pt")
    large = saved({f"layers.{at}.w": torch.zeros(1024, 1024) for at in range(50)}, "large.pt")
    assert large.stat().st_size > 200_000_000
    command = [sys.executable, "-c", MEMORY, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 50
    assert grown < 20_000  # kB


WITHOUT = """
import sys
from mapcc.tensors.keysets import open_keyset

names = [list(open_keyset(path).names) for path in sys.argv[1:]]
assert "torch" not in sys.modules
assert names == [["w"]] * 3, names
"""


def test_torch_is_not_needed(saved: Write, tmp_path: Path) -> None:
    legacy = tmp_path / "legacy.pt"
    torch.save({"w": torch.ones(1)}, legacy, _use_new_zipfile_serialization=False)
    paths = [
        saved({"w": torch.ones(1)}),
        legacy,
        saved(OrderedDict(w=torch.nn.Parameter(torch.ones(1))), "p.pt"),
    ]
    subprocess.run([sys.executable, "-c", WITHOUT, *map(str, paths)], check=True)
