"""Every kind of image becomes upright 8-bit RGB, and every kind of damage a typed error."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tenshot.datasets import images
from tenshot.datasets.images import ImageStore, decode
from tenshot.projects.errors import ImageError, NotFoundError

H, W = 24, 32


def picture(height: int = H, width: int = W) -> np.ndarray:
    """Four flat quarters: red, green / blue, white; lossy codecs keep them and each rotation looks different."""
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left] = (250, 5, 5)
    pixels[:top, left:] = (5, 250, 5)
    pixels[top:, :left] = (5, 5, 250)
    pixels[top:, left:] = (250, 250, 250)
    return pixels


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(picture())


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))


def read(data: bytes, limit: float = 100.0) -> np.ndarray:
    return decode(data, name="x.img", max_megapixels=limit)


CODECS = [
    pytest.param("JPEG", {"quality": 95, "subsampling": 0}, id="jpeg"),
    pytest.param("JPEG", {"quality": 95, "progressive": True}, id="jpeg-progressive"),
    pytest.param("PNG", {}, id="png"),
    pytest.param("WEBP", {"quality": 95}, id="webp-lossy"),
    pytest.param("WEBP", {"lossless": True}, id="webp-lossless"),
    pytest.param("BMP", {}, id="bmp"),
    pytest.param("TIFF", {}, id="tiff"),
    pytest.param("TIFF", {"compression": "tiff_lzw"}, id="tiff-lzw"),
    pytest.param("TIFF", {"compression": "jpeg"}, id="tiff-jpeg"),
]


@pytest.mark.parametrize(("kind", "options"), CODECS)
def test_codec(kind, options):
    pixels = read(encode(rgb(), kind, **options))
    assert pixels.shape == (H, W, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    # Away from the edges of the quarters, where chroma subsampling smears.
    for row, column in ((4, 4), (4, 27), (19, 4), (19, 27)):
        assert np.abs(pixels[row, column].astype(int) - picture()[row, column]).max() <= 12


@pytest.mark.parametrize(("kind", "options"), CODECS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
def test_truncated(kind, options, keep):
    data = encode(noise(), kind, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow also warns about some damaged TIFFs
        with pytest.raises(ImageError, match=r"x\.img: is a (truncated|damaged)"):
            read(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    ("kind", "cut"),
    [
        pytest.param("JPEG", 2, id="jpeg-end-marker"),
        pytest.param("PNG", 12, id="png-end-chunk"),
        pytest.param("PNG", 1, id="png-last-byte"),
        pytest.param("WEBP", 1, id="webp-last-byte"),
        pytest.param("BMP", 1, id="bmp-last-byte"),
    ],
)
def test_truncated_at_the_very_end(kind, cut):
    with pytest.raises(ImageError, match="truncated"):
        read(encode(noise(), kind)[:-cut])


def grey_ramp(dtype, top: float) -> np.ndarray:
    return np.linspace(0, top, H * W).reshape(H, W).astype(dtype)


def alpha_half() -> Image.Image:
    pixels = np.dstack([picture(), np.full((H, W), 255, np.uint8)])
    pixels[:, : W // 2, 3] = 0
    pixels[:, : W // 2, :3] = 0  # black under the transparent part
    return Image.fromarray(pixels, "RGBA")


def palette_transparent() -> bytes:
    image = Image.new("P", (W, H), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, W // 2, H))
    return encode(image, "PNG", transparency=0)


MODES = [
    pytest.param(encode(rgb().convert("L"), "PNG"), (4, 4), None, id="grey"),
    pytest.param(encode(rgb().convert("L"), "JPEG", quality=95), (4, 4), None, id="grey-jpeg"),
    pytest.param(encode(rgb().quantize(8), "PNG"), (4, 4), (250, 5, 5), id="palette"),
    pytest.param(palette_transparent(), (4, 4), (200, 100, 50), id="palette-opaque-part"),
    pytest.param(palette_transparent(), (4, 27), (255, 255, 255), id="palette-transparent-part"),
    pytest.param(encode(rgb().convert("1"), "PNG"), (19, 27), (255, 255, 255), id="one-bit"),
    pytest.param(encode(rgb().convert("CMYK"), "JPEG", quality=98), (4, 4), (250, 5, 5), id="cmyk-adobe"),
    pytest.param(encode(rgb().convert("CMYK"), "TIFF"), (4, 4), (250, 5, 5), id="cmyk-tiff"),
    pytest.param(encode(rgb().convert("YCbCr"), "JPEG", quality=98), (4, 4), (250, 5, 5), id="ycbcr"),
    pytest.param(encode(alpha_half(), "PNG"), (4, 4), (255, 255, 255), id="alpha-transparent-is-white"),
    pytest.param(encode(alpha_half(), "PNG"), (4, 27), (5, 250, 5), id="alpha-opaque-is-itself"),
    pytest.param(encode(alpha_half(), "WEBP", lossless=True), (4, 4), (255, 255, 255), id="alpha-webp"),
    pytest.param(encode(alpha_half(), "TIFF"), (4, 4), (255, 255, 255), id="alpha-tiff"),
    pytest.param(encode(rgb().convert("LA"), "PNG"), (4, 4), None, id="grey-alpha"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.uint16, 65535)), "PNG"), (-1, -1), (255,) * 3, id="16-bit-png"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.uint16, 25700)), "TIFF"), (-1, -1), (100,) * 3, id="16-bit-tiff"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.int32, 200)), "TIFF"), (-1, -1), (200,) * 3, id="32-bit-as-8"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.float32, 1)), "TIFF"), (-1, -1), (255,) * 3, id="float-ratio"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.float32, 100)), "TIFF"), (-1, -1), (100,) * 3, id="float-as-8"),
    pytest.param(encode(Image.fromarray(grey_ramp(np.float32, 1e6)), "TIFF"), (-1, -1), (255,) * 3, id="float-range"),
    pytest.param(
        encode(Image.fromarray(grey_ramp(np.float32, 2e3) - 1e3), "TIFF"), (0, 0), (0,) * 3, id="float-negative"
    ),
]


@pytest.mark.parametrize(("data", "at", "expected"), MODES)
def test_mode(data, at, expected):
    pixels = read(data)
    assert pixels.shape == (H, W, 3)
    assert pixels.dtype == np.uint8
    if expected is None:  # grey: three equal channels
        assert (pixels == pixels[:, :, :1]).all()
        assert pixels.std() > 10
    else:
        assert np.abs(pixels[at].astype(int) - expected).max() <= 6


def test_cmyk_without_adobe_marker_is_not_inverted():
    data = encode(rgb().convert("CMYK"), "JPEG", quality=98)
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    plain = data[:start] + data[start + 2 + length :]
    # The same samples, read without inversion: what was ink is now light.
    assert np.abs(read(plain)[19, 27].astype(int) - read(data)[19, 27]).max() > 200


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_16_bit_rgb() -> bytes:
    rows = b"".join(b"\0" + (picture()[row].astype(">u2") * 257).tobytes() for row in range(H))
    header = struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_16_bit_rgb_png(tmp_path):
    assert (read(png_16_bit_rgb()) == picture()).all()
    stored = ImageStore(tmp_path).add(png_16_bit_rgb(), "deep.png")
    assert ImageStore(tmp_path).path(stored.sha256).read_bytes()[24] == 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF-LZW"])
def test_orientation(orientation, kind, tmp_path):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(picture())
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    if kind == "TIFF-LZW":
        options = {"compression": "tiff_lzw"}
    kind = kind.split("-")[0]
    data = encode(stored, kind, exif=exif.tobytes() if kind != "TIFF" else exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape == ((W, H, 3) if orientation >= 5 else (H, W, 3))
    pixels = read(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 2
    header = images.read_header(data, name="x", max_megapixels=1)
    assert (header.width_px, header.height_px, header.orientation) == (W, H, orientation)
    assert header.upright_wh_px == (pixels.shape[1], pixels.shape[0])
    store = ImageStore(tmp_path)
    added = store.add(data, "x")
    assert (added.width_px, added.height_px) == header.upright_wh_px
    assert np.abs(store.load(added.sha256).astype(int) - expected).max() <= 12
    again = images.read_header(store.path(added.sha256).read_bytes(), name="x", max_megapixels=1)
    assert again.orientation == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_exif_says(orientation):
    """Independent of Pillow: where the first row and column of the stored array go (EXIF 2.3, tag 0x0112)."""
    stored = np.array([[0, 1, 2], [3, 4, 5]])
    upright = images.apply_orientation(stored, orientation)
    first_row_is, first_column_is = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    edge = {"top": upright[0], "bottom": upright[-1], "left": upright[:, 0], "right": upright[:, -1]}
    assert sorted(edge[first_row_is]) == [0, 1, 2]
    assert sorted(edge[first_column_is]) == [0, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"hello, world, this is text", "is not an image", id="text"),
        pytest.param(b"<html><body>404</body></html>", "is not an image", id="html"),
        pytest.param(encode(rgb(), "GIF"), "is a GIF file", id="gif"),
        pytest.param(b"\0\0\0\x18ftypheic" + b"\0" * 40, "is a HEIC file", id="heic"),
        pytest.param(b"\0\0\0\x18ftypavif" + b"\0" * 40, "is a AVIF file", id="avif"),
        pytest.param(b"\0\0\0\x18ftypisom" + b"\0" * 40, "is a MP4 video file", id="mp4"),
        pytest.param(b"%PDF-1.7" + b"\0" * 40, "is a PDF file", id="pdf"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "is a (damaged|truncated) PNG", id="png-signature-only"),
        pytest.param(b"\xff\xd8\xff" + b"\0" * 40, "is a (damaged|truncated) JPEG", id="jpeg-signature-only"),
        pytest.param(b"RIFF\x20\0\0\0WEBPVP8 " + b"\0" * 40, "WEBP|zero size", id="webp-signature-only"),
        pytest.param(b"RIFF\x20\0\0\0WAVEfmt " + b"\0" * 40, "is not an image", id="wav"),
        pytest.param(b"BM" + b"\0" * 60, "BMP|zero size", id="bmp-signature-only"),
    ],
)
def test_refused(data, message):
    with pytest.raises(ImageError, match=message) as caught:
        read(data)
    assert caught.value.file == "x.img"


def png_header_only(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def webp_claiming(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + b"\0" * 20
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png_header_only(50_000, 50_000), id="png"),
        pytest.param(webp_claiming(16_000, 16_000), id="webp"),
        pytest.param(encode(Image.new("1", (12_000, 9_000)), "PNG"), id="one-bit-in-a-few-kilobytes"),
        pytest.param(encode(Image.new("1", (12_000, 9_000)), "TIFF", compression="group4"), id="tiff"),
    ],
)
def test_bomb_is_refused_by_its_header(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="megapixels, more than the 100 allowed"):
            read(data)


def test_large_but_allowed_image_gives_no_warning_of_pillow():
    """Pillow would warn at 89 megapixels: when it opens an image, and for a TIFF again when it loads one."""
    large = Image.new("1", (10_000, 9_500))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = images.read_header(encode(large, "PNG"), name="x", max_megapixels=100)
        assert header.upright_wh_px == (10_000, 9_500)
        assert read(encode(large, "TIFF")).shape == (9_500, 10_000, 3)


def test_limit_is_in_megapixels():
    data = encode(rgb(), "PNG")
    assert read(data, limit=H * W / 1e6).shape == (H, W, 3)
    with pytest.raises(ImageError, match="megapixels"):
        read(data, limit=(H * W - 1) / 1e6)


# The store --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "suffix", "kept"),
    [
        pytest.param(encode(rgb(), "JPEG"), ".jpg", True, id="jpeg"),
        pytest.param(encode(rgb().convert("L"), "JPEG"), ".jpg", True, id="jpeg-grey"),
        pytest.param(encode(rgb(), "PNG"), ".png", True, id="png"),
        pytest.param(encode(rgb().convert("L"), "PNG"), ".png", True, id="png-grey"),
        pytest.param(encode(rgb().convert("1"), "PNG"), ".png", False, id="png-1-bit"),
        pytest.param(encode(alpha_half(), "PNG"), ".png", False, id="png-alpha"),
        pytest.param(palette_transparent(), ".png", False, id="png-palette"),
        pytest.param(encode(rgb().convert("CMYK"), "JPEG"), ".jpg", False, id="jpeg-cmyk"),
        pytest.param(encode(rgb(), "WEBP"), ".jpg", False, id="webp-lossy"),
        pytest.param(encode(rgb(), "WEBP", lossless=True), ".png", False, id="webp-lossless"),
        pytest.param(encode(rgb(), "BMP"), ".png", False, id="bmp"),
        pytest.param(encode(rgb(), "TIFF"), ".png", False, id="tiff"),
    ],
)
def test_store(data, suffix, kept, tmp_path):
    store = ImageStore(tmp_path)
    added = store.add(data, "x")
    path = store.path(added.sha256)
    assert path == tmp_path / added.sha256[:2] / (added.sha256 + suffix)
    assert (path.read_bytes() == data) is kept
    assert (added.sha256 == added.source_sha256) is kept
    assert np.abs(store.load(added.sha256).astype(int) - read(data)).max() <= (0 if suffix == ".png" or kept else 60)
    assert store.add(data, "y") == added
    store.verify(added.sha256)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_store_refuses_and_leaves_nothing(tmp_path):
    with pytest.raises(ImageError):
        ImageStore(tmp_path).add(encode(noise(), "JPEG")[:-500], "cut.jpg")
    assert list(tmp_path.rglob("*")) == []


def test_store_notices_changed_and_missing_bytes(tmp_path):
    store = ImageStore(tmp_path)
    sha256 = store.add(encode(rgb(), "PNG"), "x").sha256
    path = store.path(sha256)
    path.write_bytes(encode(noise(), "PNG"))
    with pytest.raises(ImageError, match="have changed"):
        store.verify(sha256)
    store.add(encode(rgb(), "PNG"), "x")  # importing again mends a file of another length
    store.verify(sha256)
    path.unlink()
    with pytest.raises(NotFoundError):
        store.load(sha256)


def test_store_from_many_threads(tmp_path):
    data = [encode(Image.fromarray(picture() // (n + 1)), "BMP") for n in range(4)] * 8
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda d: ImageStore(tmp_path).add(d, "x"), data))
    assert len({a.sha256 for a in added}) == 4
    for one in added:
        ImageStore(tmp_path).verify(one.sha256)
