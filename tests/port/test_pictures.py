"""Outputs of pipelines side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapcc.errors import MappingError
from mapcc.port.pictures import compare_outputs
from tests.port.conftest import Workspace

pytestmark = pytest.mark.converts


def picture(path: Path, seed: int = 0, noise: float = 0.0, size: tuple[int, int] = (24, 32)) -> Path:
    from PIL import Image

    Image.fromarray(pixels(seed, noise, size)).save(path)
    return path


def pixels(seed: int, noise: float, size: tuple[int, int] = (24, 32)) -> Any:
    smooth = np.linspace(0, 200, size[0] * size[1] * 3).reshape(*size, 3)
    random = np.random.default_rng(seed).normal(size=smooth.shape) * noise
    return (smooth + random).clip(0, 255).astype(np.uint8)


def video(path: Path, worst: int, frames: int = 5) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.bit_rate = 32, 24, 4_000_000
        for at in range(frames):
            frame = av.VideoFrame.from_ndarray(pixels(at, 60 if at == worst else 0), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_the_same_image(tmp_path: Path) -> None:
    found = compare_outputs(picture(tmp_path / "a.png"), picture(tmp_path / "b.png"))
    assert found.ssim == 1
    assert found.frames is not None
    assert found.frames.psnr == (float("inf"),)
    assert found.passed(1)


def test_another_image(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    found = compare_outputs(picture(tmp_path / "a.png"), picture(tmp_path / "b.png", noise=40), sheet=sheet)
    assert found.ssim is not None
    assert found.ssim < 0.9
    assert not found.passed(0.98)
    from PIL import Image

    with Image.open(sheet) as image:
        assert image.size == (3 * 32, 24)


def test_it_agrees_with_its_definition(tmp_path: Path) -> None:
    """PSNR by hand; SSIM is scikit-image's own."""
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", noise=5)
    found = compare_outputs(a, b)
    assert found.frames is not None
    error = np.mean((pixels(0, 0).astype(float) - pixels(0, 5).astype(float)) ** 2)
    assert found.frames.psnr[0] == pytest.approx(10 * np.log10(255**2 / error))


def test_the_worst_frame_of_a_video(tmp_path: Path) -> None:
    found = compare_outputs(video(tmp_path / "a.mp4", -1), video(tmp_path / "b.mp4", 3))
    assert found.kind == "video"
    assert found.frames is not None
    assert len(found.frames.ssim) == 5
    assert found.frames.worst == 3


def test_a_folder_of_frames(tmp_path: Path) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        for at in range(3):
            picture(tmp_path / side / f"{at}.png", noise=50 if side == "b" and at == 1 else 0)
    found = compare_outputs(tmp_path / "a", tmp_path / "b")
    assert found.frames is not None
    assert found.frames.worst == 1


def test_latents(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    a = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", a)
    save_file({"latents": a + 1e-6}, tmp_path / "b.safetensors")
    found = compare_outputs(tmp_path / "a.npy", tmp_path / "b.safetensors")
    assert found.passed(0)
    np.save(tmp_path / "c.npy", a + 1)
    assert not compare_outputs(tmp_path / "a.npy", tmp_path / "c.npy").passed(0)


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("a.png", "small.png", "other frames or sizes"),
        ("a.png", "a.npy", "is an image, .* latents"),
        ("a.png", "broken.png", "no image that can be read"),
        ("a.txt", "a.txt", "no kind that can be compared"),
        ("gone.png", "a.png", "no such file"),
        ("tiny.png", "tiny.png", "SSIM needs 7 pixels"),
        ("empty", "empty", "no images in it"),
        ("a.npy", "other.npy", "shapes differ"),
        ("broken.mp4", "broken.mp4", "no video that can be read"),
    ],
)
def test_what_cannot_be_compared(a: str, b: str, why: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "small.png", size=(16, 16))
    picture(tmp_path / "tiny.png", size=(4, 4))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG but not really")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "a.txt").write_text("a", "utf-8")
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "a.npy", np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(4))
    with pytest.raises(MappingError, match=why):
        compare_outputs(tmp_path / a, tmp_path / b)


def test_the_command(workspace: Workspace) -> None:
    picture(Path("a.png"))
    picture(Path("b.png"), noise=40)
    assert "image: alike" in workspace.good("compare", "a.png", "a.png")
    ran = workspace.port("compare", "a.png", "b.png", "--sheet", "sheet.png")
    assert ran.code == 1
    assert "not alike" in ran.out
    assert Path("sheet.png").exists()
    assert workspace.port("compare", "a.png").code == 2
