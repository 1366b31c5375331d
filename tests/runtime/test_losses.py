"""What operations on values lose, told: the same counts however it was made, and numbers that are none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcc
from mapcc.errors import MappingError
from mapcc.plan import parts, segments
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, blocks, execute, worker
from mapcc.runtime.record import RECORD, read_record
from mapcc.runtime.shard import Shard
from tests.numeric.elements import cast, is_nan

Lab = Any
Mapcc = Callable[..., Any]

RULES = """odd -> odd
x : a b | cast f16 -> u : b a
y | scale 3 | cast f8_e4m3 -> v
z.{i} | clamp | cast i8 -> w.{i}"""


def tensors() -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The first has an odd number of bytes, so that all elements behind it lie across borders of windows."""
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(60, 70)) * 10.0 ** generator.integers(-12, 9, (60, 70))).astype("<f4")
    y = generator.integers(0, 1 << 16, 3000).astype("<u2")
    z = [np.round(generator.normal(size=500) * 100).astype("<f4") for _ in range(2)]
    made = {
        "odd": ("U8", (3,), b"abc"),
        "x": ("F32", (60, 70), x.tobytes()),
        "y": ("F16", (3000,), y.tobytes()),
    }
    return made | {f"z.{i}": ("F32", (500,), one.tobytes()) for i, one in enumerate(z)}


def expected() -> dict[str, dict[str, int]]:
    """Counted over whole tensors, by the definition of each kind."""
    found = tensors()
    x = np.frombuffer(found["x"][2], "<f4")
    half = cast(x.view("<u4"), "F32", "F16") & 0x7FFF
    y = np.frombuffer(found["y"][2], "<u2")
    wide = cast(y, "F16", "F32").view("<f4") * np.float32(3)
    quarter = cast(np.ascontiguousarray(wide).view("<u4"), "F32", "F8_E4M3")
    counts = {
        "u": {"infinite": int((half == 0x7C00).sum()), "zero": int(((half == 0) & (x != 0)).sum())},
        "v": {"nan": int((is_nan(quarter, "F8_E4M3") & ~is_nan(y, "F16")).sum())},
    }
    for i in range(2):
        z = np.frombuffer(found[f"z.{i}"][2], "<f4")
        counts[f"w.{i}"] = {"clamped": int(((z > 127) | (z < -128)).sum())}
    return counts


def told(folder: Path) -> dict[str, dict[str, int]]:
    return {name: dict(own) for one in read_record(folder).values for name, own in one.tensors.items()}


@pytest.mark.parametrize("row", [1, segments.ROW])
@pytest.mark.parametrize(
    ("workers", "window", "span"),
    [(1, 64, 256), (3, 64, 256), (2, 4096, 4096), (1, 50, 64), (4, 1 << 16, 1 << 16)],
)
def test_the_same_counts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, workers: int, window: int, span: int, row: int
) -> None:
    monkeypatch.setattr(segments, "ROW", row)
    for module in (parts, blocks, worker):
        monkeypatch.setattr(module, "PART", 4096)
    sizes = Buffers(workers, window, span, max(16, window // 2), 64, max(1, window // 8))
    execute(lab.plan(RULES, tensors()), lab.out, options=Options(sizes=sizes))
    assert told(lab.out) == expected()
    values = read_record(lab.out).values
    assert [one.rule.split(": ")[1].split(" ")[0] for one in values] == ["x", "y", "z.{i}"]
    assert values[2].of == 1000


def test_a_second_attempt_tells_what_the_first_has_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lab.plan(RULES, tensors(), max_shard_size=9000)
    assert len(plan.files) > 1
    execute(plan, lab.out)
    whole = (lab.out / RECORD).read_bytes()
    assert told(lab.out) == expected()
    for path in lab.out.iterdir():
        path.unlink()
    lab.out.rmdir()
    finish, done = Shard.finish, []

    def once(self: Shard, own: Any) -> None:
        if done:
            raise KeyboardInterrupt
        finish(self, own)
        done.append(self.output.name)

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "finish", once)
        with pytest.raises(KeyboardInterrupt):
            execute(plan, lab.out, options=Options(workers=1))
    started: list[str] = []
    start = Shard.start

    def counted(self: Shard, own: Any) -> bool:
        if is_new := start(self, own):
            started.append(self.output.name)
        return is_new

    monkeypatch.setattr(Shard, "start", counted)
    execute(plan, lab.out)
    assert done[0] not in started
    assert (lab.out / RECORD).read_bytes() == whole


def test_load_warns(lab: Lab) -> None:
    pytest.importorskip("torch")
    lab.write(tensors())
    with pytest.warns(mapcc.ValuesLost) as seen:
        assert len(dict(mapcc.load(mapcc.parse(RULES), lab.source))) == 5
    said = [str(one.message) for one in seen]
    assert [text.partition(" became")[0].partition(" clamped")[0].rpartition(" ")[2] for text in said] == [
        str(next(iter(expected()["u"].values()))),
        str(next(iter(expected()["v"].values()))),
        str(sum(own["clamped"] for name, own in expected().items() if name.startswith("w"))),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dict(mapcc.load(mapcc.parse("keep **"), lab.source))


# --- a number that is none


@pytest.mark.parametrize("row", [1, segments.ROW])
@pytest.mark.parametrize(("workers", "window"), [(1, 64), (4, 64), (3, 4096)])
def test_every_tensor_and_its_first_number(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, workers: int, window: int, row: int
) -> None:
    """Whichever thread meets one first."""
    monkeypatch.setattr(segments, "ROW", row)
    good = np.arange(1200, dtype="<f4").reshape(30, 40)
    half, large = good.copy(), good.copy()
    half[7, 11], half[20, 3], half[3, 30] = 0.5, 2.9996, 1.25
    large[0, 5] = 1e30
    source = {
        "a.0": ("F32", (30, 40), half.tobytes()),
        "a.1": ("F32", (30, 40), good.tobytes()),
        "a.2": ("F32", (30, 40), (good + np.float32(0.5)).tobytes()),
        "b": ("F32", (30, 40), large.tobytes()),
    }
    rules = "a.{i} : r c | cast i64 -> x.{i} : c r\nb | cast i16 -> y"
    sizes = Buffers(workers, window, 256, max(16, window // 2), 64, 8)
    with pytest.raises(MappingError) as error:
        execute(lab.plan(rules, source), lab.out, options=Options(sizes=sizes))
    first, second = error.value.diagnostics
    assert (first.code, first.names) == ("MC505", ("x.{0,2}",))
    assert first.message == "2.9996 is cast to I64, and is no whole number"  # x.0 runs by columns of a.0
    assert first.notes[0] == "the first is `x.0` [3, 20]"
    assert "a.{i} : r c | cast i64 -> x.{i} : c r" in first.notes[1]
    assert (second.code, second.names) == ("MC502", ("y",))
    assert second.notes[0] == "the first is `y` [0, 5]"
    assert lab.names() == {"source.safetensors"}


POSITIONS = [k + 0.0003 * (-1) ** (k % 3) for k in range(77)]


def test_positions_that_were_averaged(tmp_path: Path, mapcc: Mapcc) -> None:
    """A buffer of whole numbers that a merge has made floats of: never cut."""
    from safetensors.numpy import load_file, save_file

    save_file({"ids": np.array([POSITIONS], "<f4")}, tmp_path / "s.safetensors")
    (tmp_path / "m.mapcc").write_text("ids | cast i64 -> ids\n")
    (tmp_path / "r.mapcc").write_text("ids | round | cast i64 -> ids\n")
    ran = mapcc("convert", tmp_path / "m.mapcc", "-s", tmp_path / "s.safetensors", "-o", tmp_path / "out")
    assert (ran.code, "MC505" in ran.err, (tmp_path / "out").exists()) == (1, True, False)
    ran = mapcc("convert", tmp_path / "r.mapcc", "-s", tmp_path / "s.safetensors", "-o", tmp_path / "out")
    assert (ran.code, "77 rounded to whole numbers, of 77: ids" in ran.out) == (0, True)
    assert load_file(tmp_path / "out" / "model.safetensors")["ids"].tolist() == [list(range(77))]


def test_narrow_casts_are_told(tmp_path: Path, mapcc: Mapcc, lab: Lab) -> None:
    big = cast(np.array([1e4, -0.3, 1.0, -3e38], "<f4").view("<u4"), "F32", "BF16")
    scale = np.array([500, 447, 1e4, -0.3], "<f4")
    lab.write({"big": ("BF16", (2, 2), big.tobytes()), "scale": ("F32", (4,), scale.tobytes())})
    (tmp_path / "m.mapcc").write_text("big | cast f16 -> big\nscale | cast f8_e4m3 -> scale\n")
    for word in ("wrote", "already there"):
        ran = mapcc("convert", tmp_path / "m.mapcc", "-s", lab.source, "-o", tmp_path / "out")
        assert ran.code == 0
        assert word in ran.out
        assert "1 became infinite, of 4: big" in ran.out
        assert "2 became NaN, of 4: scale" in ran.out
        assert "| clamp" in ran.out
    (tmp_path / "c.mapcc").write_text(
        "big | clamp | cast f16 -> big\nscale | clamp | cast f8_e4m3 -> scale\n"
    )
    assert mapcc("convert", tmp_path / "c.mapcc", "-s", lab.source, "-o", tmp_path / "c").code == 0
    found = lab.read(tmp_path / "c" / "model.safetensors")
    assert np.frombuffer(found["scale"][2], "u1").tolist() == [0x7E, 0x7E, 0x7E, 0xAA]
    assert np.frombuffer(found["big"][2], "<u2").tolist()[3] == 0xFBFF
