"""Two outputs of a pipeline side by side: latents, images, videos. PSNR, SSIM, worst frame, contact sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.measure import Distance, distance
from mapcc.tensors.disk import unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif")
_LATENTS = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".bin")
_WINDOW = 7  # pixels: SSIM's own; an image must be as large
_SHOWN = 6  # frames in the contact sheet


@dataclass(frozen=True, slots=True)
class Frames:
    """SSIM and PSNR (dB; inf where equal) of each frame; ``worst`` is the number of the least alike."""

    ssim: tuple[float, ...]
    psnr: tuple[float, ...]

    @property
    def worst(self) -> int:
        return min(range(len(self.ssim)), key=lambda at: self.ssim[at])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of two files of a kind: ``frames`` of pictures, ``distances`` of latents, by their names."""

    kind: str
    frames: Frames | None = None
    distances: tuple[tuple[str, Distance], ...] = ()

    @property
    def ssim(self) -> float | None:
        """Of the worst frame."""
        return min(self.frames.ssim) if self.frames else None

    def passed(self, minimum: float) -> bool:
        if self.frames is not None:
            return min(self.frames.ssim) >= minimum
        return bool(self.distances) and all(found.ok for _, found in self.distances)

    def as_json(self) -> dict[str, Any]:
        if self.frames is None:
            return {"kind": self.kind, "tensors": {name: each.as_json() for name, each in self.distances}}
        finite = [min(value, 1e6) for value in self.frames.psnr]  # JSON has no infinity
        worst = self.frames.worst
        return {
            "kind": self.kind,
            "frames": len(finite),
            "ssim_mean": float(np.mean(self.frames.ssim)),
            "ssim_worst": self.frames.ssim[worst],
            "psnr_worst": min(finite),
            "worst_frame": worst,
        }


def compare_outputs(
    a: Path, b: Path, *, atol: float = 1e-4, rtol: float = 1e-4, sheet: Path | None = None
) -> Comparison:
    """Two files, by their kind.

    Args:
        sheet: where a PNG goes that shows frames of both, and their difference, the worst first.

    Raises:
        MappingError: MC001, MC006: a file cannot be read, or is of no kind that can be compared, or of
            another kind, size or length than the other.
    """
    kinds = [_kind(path) for path in (a, b)]
    if kinds[0] != kinds[1]:
        raise _unfit(f"`{a}` is {_article(kinds[0])}, `{b}` {_article(kinds[1])}")
    if kinds[0] == "latents":
        return Comparison("latents", distances=tuple(_latents(a, b, atol, rtol)))
    ours, theirs = _frames(a, kinds[0]), _frames(b, kinds[0])
    if ours.shape != theirs.shape:
        sizes = " and ".join("x".join(map(str, each.shape[:3])) for each in (ours, theirs))
        raise _unfit(f"the two have other frames or sizes: {sizes}")
    if min(ours.shape[1:3]) < _WINDOW:
        raise _unfit(f"SSIM needs {_WINDOW} pixels each way, and there are {min(ours.shape[1:3])}")
    frames = Frames(
        tuple(_ssim(x, y) for x, y in zip(ours, theirs, strict=True)),
        tuple(_psnr(x, y) for x, y in zip(ours, theirs, strict=True)),
    )
    if sheet is not None:
        _write_sheet(sheet, ours, theirs, sorted(range(len(ours)), key=lambda at: frames.ssim[at])[:_SHOWN])
    return Comparison(kinds[0], frames)


def _article(kind: str) -> str:
    return kind if kind == "latents" else f"a{'n' if kind == 'image' else ''} {kind}"


def _kind(path: Path) -> str:
    if not path.exists():
        raise MappingError([unreadable(path, FileNotFoundError(2, "no such file"))])
    if path.is_dir():
        return "video"
    for kind, suffixes in (("image", _IMAGES), ("video", _VIDEOS), ("latents", _LATENTS)):
        if path.suffix.lower() in suffixes:
            return kind
    known = ", ".join((*_LATENTS, *_IMAGES, *_VIDEOS))
    raise _unfit(f"`{path}` is of no kind that can be compared", f"one of {known}, or a folder of images")


def _unfit(message: str, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC006", message, help=help)])


# --- latents


def _latents(a: Path, b: Path, atol: float, rtol: float) -> list[tuple[str, Distance]]:
    ours, theirs = arrays_of(a), arrays_of(b)
    if len(ours) == len(theirs) == 1:
        theirs = dict(zip(ours, theirs.values(), strict=True))  # whatever the two are called
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise _unfit(f"only one of the two has {', '.join(odd[:5])}")
    try:
        return [(name, distance(ours[name], theirs[name], atol, rtol)) for name in ours]
    except ValueError as error:
        raise _unfit(str(error)) from None


def arrays_of(path: Path) -> dict[str, Any]:
    import torch

    from mapcc.api import keys as key_set
    from mapcc.api import load, parse

    if path.suffix == ".npy":
        try:
            return {"array": torch.from_numpy(np.load(path, allow_pickle=False))}
        except (OSError, ValueError, TypeError) as error:
            raise _unfit(f"`{path}` cannot be read: {error}") from None
    source = key_set(path)
    return dict(load(parse("keep **"), source))


# --- pictures


def _frames(path: Path, kind: str) -> Array:
    """Frames, height, width, 3 colours; 8 bits."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in _IMAGES)
        if not files:
            raise _unfit(f"`{path}` has no images in it")
        return _stacked(path, [_image(each) for each in files])
    return _stacked(path, [_image(path)] if kind == "image" else _video(path))


def _stacked(path: Path, frames: Sequence[Array]) -> Array:
    if not frames:
        raise _unfit(f"`{path}` has no frames")
    if len({frame.shape for frame in frames}) > 1:
        raise _unfit(f"`{path}` has frames of several sizes")
    return np.stack(frames)


def _image(path: Path) -> Array:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise _unfit(f"`{path}` is no image that can be read: {error}") from None


def _video(path: Path) -> list[Array]:
    if path.suffix.lower() == ".gif":
        from PIL import Image, ImageSequence

        with Image.open(path) as image:
            return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    import av

    try:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise _unfit(f"`{path}` is no video that can be read: {error}") from None


def _ssim(a: Array, b: Array) -> float:
    from skimage.metrics import structural_similarity

    options = {"channel_axis": -1, "data_range": 255, "win_size": _WINDOW}
    return float(structural_similarity(a, b, **options))  # type: ignore[no-untyped-call]


def _psnr(a: Array, b: Array) -> float:
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _write_sheet(path: Path, a: Array, b: Array, shown: Sequence[int]) -> None:
    """A row for each frame: the one, the other, and what differs, as bright as it can be."""
    from PIL import Image

    rows = []
    for at in shown:
        gap = np.abs(a[at].astype(np.int16) - b[at].astype(np.int16))
        gain = 255 / max(int(gap.max()), 1)
        rows.append(np.concatenate([a[at], b[at], (gap * gain).astype(np.uint8)], axis=1))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows, axis=0)).save(path, format="PNG")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}")]) from None
