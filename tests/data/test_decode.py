"""Every common kind of file becomes the canvas it should, and a bad one becomes a short reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import picture
from understudy.data.decode import UnreadableImageError, decode_bytes, decode_file


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims to have side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(4096))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_decode_bytes__lossless(kind: str) -> None:
    image = picture(1)
    expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_bytes(encoded(image, kind), 16, 3), expected)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_decode_bytes__lossy(kind: str) -> None:
    image = Image.new("RGB", (40, 30), (200, 60, 20))
    result = decode_bytes(encoded(image, kind, quality=95), 16, 3)
    np.testing.assert_allclose(result.mean((1, 2)), (200, 60, 20), atol=4)


def test_decode_bytes__large_jpeg_equals_full_decoding() -> None:
    ramp = np.add.outer(np.linspace(0, 120, 480), np.linspace(0, 120, 640)).astype(np.uint8)
    data = encoded(Image.fromarray(ramp), "JPEG", quality=95)
    result = decode_bytes(data, 32, 1)[0]
    expected = Image.fromarray(ramp).crop((80, 0, 560, 480)).resize((32, 32), Image.Resampling.BOX)
    np.testing.assert_allclose(result.astype(int), np.asarray(expected).astype(int), atol=3)


def test_decode_bytes__gray_16_bit_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256).reshape(16, 16).round().astype(np.uint16)
    result = decode_bytes(encoded(Image.fromarray(values), "PNG"), 16, 1)[0]
    np.testing.assert_allclose(result.astype(float), values / 257, atol=0.51)


def test_decode_bytes__float_tiff() -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    result = decode_bytes(encoded(Image.fromarray(values), "TIFF"), 16, 1)[0]
    np.testing.assert_allclose(result.astype(float), values * 255, atol=0.51)


def test_decode_bytes__palette_and_transparent_palette() -> None:
    image = picture(2).quantize(16)
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_bytes(encoded(image, "PNG"), 16, 3), expected)
    transparent = decode_bytes(encoded(image, "PNG", transparency=image.getpixel((0, 0))), 16, 3)
    assert (transparent[:, 0, 0] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_decode_bytes__alpha_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (10, 10, 10, 255))
    image.paste((10, 10, 10, 0), (0, 0, 8, 16))
    result = decode_bytes(encoded(image.convert(mode), "PNG"), 16, 3)
    assert (result[:, :, :8] == 255).all()
    assert (result[:, :, 8:] == 10).all()


def test_decode_bytes__cmyk() -> None:
    image = Image.new("RGB", (16, 16), (200, 60, 20)).convert("CMYK")
    result = decode_bytes(encoded(image, "JPEG", quality=95), 16, 3)
    np.testing.assert_allclose(result.mean((1, 2)), (200, 60, 20), atol=6)


def test_decode_bytes__one_bit_and_gray_as_color() -> None:
    for mode in ("1", "L"):
        result = decode_bytes(encoded(picture(3, mode=mode), "PNG"), 16, 3)
        assert (result[0] == result[1]).all()
        assert (result[0] == result[2]).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_decode_bytes__animation_gives_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("white", "black")]
    result = decode_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), 16, 3)
    assert result.min() >= 250


@pytest.mark.parametrize("orientation", range(1, 9))
def test_decode_bytes__exif_orientation(orientation: int) -> None:
    image = Image.new("L", (16, 16), 255)
    image.paste(0, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "PNG", exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decode_bytes(data, 16, 1)[0], expected)
    jpeg = decode_bytes(encoded(image, "JPEG", exif=exif, quality=95), 16, 1)[0]
    np.testing.assert_allclose(jpeg.astype(int), expected.astype(int), atol=40)


def test_decode_bytes__damaged_exif_is_survived() -> None:
    data = encoded(picture(1), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\xff\xff")
    assert decode_bytes(data, 16, 3).shape == (3, 16, 16)


def test_decode_bytes__center_crop_of_mixed_sizes() -> None:
    image = Image.new("RGB", (64, 16), "red")
    image.paste("blue", (24, 0, 40, 16))
    result = decode_bytes(encoded(image, "PNG"), 16, 3)
    np.testing.assert_array_equal(result[:, 8, 8], (0, 0, 255))
    assert (result[2] == 255).all()


def test_decode_bytes__one_pixel() -> None:
    result = decode_bytes(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG"), 16, 3)
    assert result.shape == (3, 16, 16)
    assert (result[:, 3, 3] == (9, 8, 7)).all()


def test_decode_file__png_renamed_to_jpg(tmp_path: Path) -> None:
    path = tmp_path / "renamed.jpg"
    path.write_bytes(encoded(picture(1), "PNG"))
    pixels, digest, size, flaw = decode_file(str(path), 16, 3)
    np.testing.assert_array_equal(pixels, np.asarray(picture(1)).transpose(2, 0, 1))
    assert len(digest) == 16
    assert (size, flaw) == ((16, 16), "")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decode_file__size_is_that_in_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "wide"
    path.write_bytes(encoded(picture(1, size=(640, 320)), kind))
    assert decode_file(str(path), 16, 3).size == (640, 320)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (encoded(picture(1, (64, 64)), "JPEG")[:900], "the file is cut short, more than a tenth of it is missing"),
        (encoded(picture(1, (64, 64)), "PNG")[:900], "the file is cut short"),
        (b"not an image", "not an image, or of a format that is not supported"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image, or of a format that is not supported"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0",
            "HEIC images need the package pillow-heif; install it, or convert the file to JPEG",
        ),
        (bomb(30_000), "pixels are over the limit of 178 million"),
        (bomb(12_000), "the file is cut short"),
    ],
    ids=["empty", "cut jpeg", "cut png", "text", "postscript", "heic", "30000 x 30000", "12000 x 12000"],
)
def test_decode_bytes__bad_file_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_bytes(data, 16, 3)
    assert str(caught.value).endswith(reason)


def test_decode_bytes__pixel_limit_holds_when_pillows_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnreadableImageError, match="30000 x 30000 pixels are over the limit"):
        decode_bytes(bomb(30_000), 16, 3)


def test_decode_file__folder_named_like_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(UnreadableImageError, match="cannot be read: Is a directory"):
        decode_file(str(tmp_path / "x.jpg"), 16, 3)
