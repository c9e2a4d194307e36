"""Bytes to upright 8-bit RGB pixels, with limits checked before anything is decoded, and the store of images.

What becomes of pixels that are not 8-bit RGB:

- grey is repeated over the three channels; 1-bit becomes 0 and 255; a palette is looked up;
- alpha is composited on white: what lies under transparent pixels is arbitrary (often black) and no annotator saw it,
  while cut-out product shots are looked at on white pages;
- CMYK is converted without a colour profile; a JPEG with Adobe's marker holds it inverted, one without does not;
- 16-bit is divided by 257, never stretched, so that a pixel's value does not depend on its neighbours;
- 32-bit integers and floats have no natural range: 0…1 (float only), 0…255 and 0…65535 are taken as such if all
  values fit in (the first that fits), else the image is stretched from its smallest to its largest value;
- of several pages or frames the first one counts; colour profiles are ignored, as every training library does.

Pillow decodes everything: OpenCV gave the same pixels only 10 % faster on a 1.2-megapixel JPEG, and fills the missing
part of a truncated file with grey without an error.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from tenshot.projects.errors import ImageError, NotFoundError

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

RGB = NDArray[np.uint8]
"""[H, W, 3], upright."""

ACCEPTED = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"})
"""Lower case; only used to find images in folders. What a file is, its content says."""

# The limit is a setting of ours and checked from the header. Pillow's own would warn at 89 and raise at 179 megapixels.
Image.MAX_IMAGE_PIXELS = None

ORIENTATION = 0x0112
_CONVERT = "convert it to JPEG or PNG first"
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftyp", "MP4 video"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<svg", "SVG"),
    (0, b"\x00\x00\x01\x00", "icon (ICO)"),
    (0, b"PK\x03\x04", "ZIP"),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before its pixels are decoded."""

    format: str
    """One of ACCEPTED."""
    width_px: int
    height_px: int
    """Size as stored in the file, before the EXIF rotation."""
    orientation: int
    """EXIF orientation, 1–8; 1 is upright."""

    @property
    def upright_wh_px(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        turned = self.orientation >= 5
        return (self.height_px, self.width_px) if turned else (self.width_px, self.height_px)


def decode(data: bytes, *, name: str, max_megapixels: float) -> RGB:
    """The upright picture as uint8 [H, W, 3]. `name` is what errors call the image.

    Raises ImageError: empty, of no accepted format, truncated or damaged, of zero size, or above `max_megapixels`
    (millions of pixels; judged by the header, before memory is taken).
    """
    image, header = _open(data, name, max_megapixels)
    return _pixels(image, header, name)


def read_header(data: bytes, *, name: str, max_megapixels: float) -> Header:
    """Format, size and orientation without decoding. Raises ImageError like `decode`, but sees less damage."""
    return _open(data, name, max_megapixels)[1]


def read_image(path: Path, *, name: str | None = None, max_megapixels: float) -> RGB:
    """`decode` for a file. Raises ImageError also where the file cannot be read."""
    return decode(read_bytes(path, name=name), name=name or str(path), max_megapixels=max_megapixels)


def read_bytes(path: Path, *, name: str | None = None) -> bytes:
    """Contents of an image file. Raises ImageError instead of OSError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(name or str(path), f"cannot be read: {error.strerror or error}") from None


def sniff(data: bytes) -> str:
    """Name of the format by its first bytes; an empty string if unknown."""
    for offset, magic, kind in _SIGNATURES:
        if data[offset : offset + len(magic)] == magic and (kind != "WEBP" or data[:4] == b"RIFF"):
            return kind
    return ""


def apply_orientation(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array [H, W, …] from how it is stored to upright, for an EXIF orientation 1–8."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _open(data: bytes, name: str, max_megapixels: float) -> tuple[Image.Image, Header]:
    kind = _accepted_kind(data, name)
    if kind == "WEBP":  # Pillow allocates the canvas of a WebP when it opens it
        _check_size(*_webp_size(data), name, max_megapixels)
    try:
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except MemoryError:
        raise
    except Exception as error:  # on hostile bytes Pillow's plugins raise nearly anything
        raise _damaged(kind, data, name, error) from None
    turn = _orientation(image)
    width, height = image.size
    if kind == "TIFF" and turn >= 5:  # Pillow gives the upright size of a TIFF, unlike that of all others
        width, height = height, width
    _check_size(width, height, name, max_megapixels)
    if _is_cut(kind, data):
        raise ImageError(name, f"is a truncated {kind} file", hint="copy or download it again")
    return image, Header(kind, width, height, turn)


def _accepted_kind(data: bytes, name: str) -> str:
    if not data:
        raise ImageError(name, "the file is empty", hint="copy or download it again")
    kind = sniff(data)
    if not kind:
        raise ImageError(name, f"is not an image (it starts with {data[:8]!r}); expected {', '.join(ACCEPTED)}")
    if kind not in ACCEPTED:
        raise ImageError(name, f"is a {kind} file; expected {', '.join(ACCEPTED)}", hint=_CONVERT)
    return kind


def _check_size(width: int, height: int, name: str, max_megapixels: float) -> None:
    if width <= 0 or height <= 0:
        raise ImageError(name, f"has zero size: {width}×{height} px")
    if width * height > max_megapixels * 1e6:
        raise ImageError(
            name,
            f"is {width}×{height} px = {width * height / 1e6:.1f} megapixels, more than the {max_megapixels:g} allowed",
            hint="make it smaller, or raise the setting images.max_megapixels",
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in px by the header; (1, 1) where the header makes no sense, which Pillow then refuses."""
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 1, 1
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata do not make the picture worse
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_cut(kind: str, data: bytes) -> bool:
    """Whether the end is missing, where the pixels alone would not show it."""
    if kind == "PNG":
        return b"IEND\xaeB`\x82" not in data
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def _damaged(kind: str, data: bytes, name: str, error: Exception) -> ImageError:
    text = str(error).lower()
    if "truncated" in text or _is_cut(kind, data):
        return ImageError(name, f"is a truncated {kind} file", hint="copy or download it again")
    detail = "" if "cannot identify" in text or not text else f" ({error})"
    return ImageError(name, f"is a damaged {kind} file{detail}", hint="copy or download it again")


def _pixels(image: Image.Image, header: Header, name: str) -> RGB:
    try:
        image.load()
        rgb = _to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # as in _open
        raise _damaged(header.format, b"", name, error) from None
    # Pillow turns a TIFF by itself when it loads it.
    return np.ascontiguousarray(rgb) if header.format == "TIFF" else apply_orientation(rgb, header.orientation)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_to_8_bit(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "CMYK":
        # Pillow inverts every CMYK JPEG, as Adobe writes them.
        as_adobe = image.format not in ("JPEG", "MPO") or "adobe" in image.info
        return np.asarray((image if as_adobe else ImageChops.invert(image)).convert("RGB"))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey [H, W] of 16 or 32 bits or floats to 0…255; see the module's docstring for the ranges."""
    if values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    floats = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(floats.min()), float(floats.max())
    limits = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    top = next((limit for limit in limits if low >= 0 and high <= limit), None)
    if top is None:
        floats, top = floats - low, high - low
    return np.asarray(np.rint(floats * (255.0 / top)), np.uint8)


# The store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredImage:
    sha256: str
    """Hex, of the stored bytes: the image's id."""
    width_px: int
    height_px: int
    """Size of the upright picture, as stored."""
    source_sha256: str
    """Hex, of the bytes that were handed in."""
    orientation: int
    """EXIF orientation (1–8) that was applied."""


class ImageStore:
    """Content-addressed upright images: `root/ab/<sha256>.jpg|png`. Safe to use from many processes at once.

    A plain upright 8-bit RGB or grey JPEG or PNG keeps its bytes. Everything else is written anew: as JPEG (4:4:4)
    where the source was lossy already, else as PNG.
    """

    def __init__(self, root: Path, *, max_megapixels: float = 100.0, jpeg_quality: int = 95) -> None:
        self.root = root
        self.max_megapixels = max_megapixels
        self.jpeg_quality = jpeg_quality

    @classmethod
    def of(cls, workspace: Workspace) -> ImageStore:
        """The store of a workspace, with its settings."""
        limits = workspace.settings.images
        return cls(workspace.images, max_megapixels=limits.max_megapixels, jpeg_quality=limits.jpeg_quality)

    def add(self, data: bytes, name: str) -> StoredImage:
        """Decode, make upright, store. Adding the same image twice stores it once. Raises ImageError."""
        image, header = _open(data, name, self.max_megapixels)
        plain = _is_plain(image, header, data)
        pixels = _pixels(image, header, name)
        stored, suffix = (data, _suffix(header.format)) if plain else self._encode(pixels, header, data)
        sha256 = hashlib.sha256(stored).hexdigest()
        self._write(self.root / sha256[:2] / f"{sha256}{suffix}", stored)
        height, width = pixels.shape[:2]
        source = sha256 if plain else hashlib.sha256(data).hexdigest()
        return StoredImage(sha256, width, height, source, header.orientation)

    def path(self, sha256: str) -> Path:
        """The file of an image. Raises NotFoundError."""
        for suffix in (".jpg", ".png"):
            path = self.root / sha256[:2] / f"{sha256}{suffix}"
            if path.is_file():
                return path
        raise NotFoundError(f"image {sha256[:12]}… is not in {self.root}", hint="import its data again", sha256=sha256)

    def load(self, sha256: str) -> RGB:
        """The pixels, uint8 [H, W, 3]. Raises NotFoundError, ImageError."""
        path = self.path(sha256)
        return read_image(path, max_megapixels=float("inf"))  # what is stored was judged when it came in

    def verify(self, sha256: str) -> None:
        """Read an image in full. Raises NotFoundError, and ImageError if its bytes are no longer those of its name."""
        path = self.path(sha256)
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ImageError(str(path), "its bytes have changed since it was stored", hint="import its data again")
        decode(data, name=str(path), max_megapixels=float("inf"))

    def _encode(self, pixels: RGB, header: Header, data: bytes) -> tuple[bytes, str]:
        image, out = Image.fromarray(pixels), io.BytesIO()
        if _is_lossy(header.format, data) and max(image.size) < 65500:
            image.save(out, "JPEG", quality=self.jpeg_quality, subsampling=0)
            return out.getvalue(), ".jpg"
        image.save(out, "PNG")
        return out.getvalue(), ".png"

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        # A file of another length is what a power cut left of it.
        if path.is_file() and path.stat().st_size == len(data):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _is_plain(image: Image.Image, header: Header, data: bytes) -> bool:
    if header.orientation != 1 or image.mode not in ("RGB", "L") or "transparency" in image.info:
        return False
    # Pillow says RGB of a PNG with 16 bits a channel, too; byte 24 is its bit depth.
    return header.format == "JPEG" or (header.format == "PNG" and data[24] == 8)


def _is_lossy(kind: str, data: bytes) -> bool:
    return kind == "JPEG" or (kind == "WEBP" and b"VP8 " in data[12:4096])


def _suffix(kind: str) -> str:
    return ".jpg" if kind == "JPEG" else ".png"
