"""Pictures that Pillow reads are read, the reason says what to do of others, a nearly whole JPEG is used."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import understudy as us
from tests.data.conftest import picture
from understudy.data.decode import UnreadableImageError, decode_bytes, decode_file
from understudy.data.formats import EXTENSIONS

GRAY = np.tile(np.linspace(10, 240, 32).astype(np.uint8), (32, 1))


@pytest.mark.parametrize("ending", ["tga", "ico", "pcx", "sgi", "qoi", "ppm", "dds", "tif", "gif"])
def test_decode_file__lossless_formats(tmp_path: Path, ending: str) -> None:
    picture(1, (32, 32)).quantize(64).convert("RGB").save(tmp_path / f"a.{ending}")
    expected = np.asarray(picture(1, (32, 32)).quantize(64).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_file(str(tmp_path / f"a.{ending}"), 32, 3).pixels, expected)
    assert f".{ending}" in EXTENSIONS


@pytest.mark.parametrize("ending", ["jp2", "j2k", "mpo", "avif"])
def test_decode_file__lossy_formats(tmp_path: Path, ending: str) -> None:
    Image.new("RGB", (32, 32), (200, 60, 20)).save(tmp_path / f"a.{ending}")
    np.testing.assert_allclose(
        decode_file(str(tmp_path / f"a.{ending}"), 16, 3).pixels.mean((1, 2)), (200, 60, 20), atol=5
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.dcm", "DICOM images (.dcm) are not supported; export it as 16-bit PNG"),
        ("a.NEF", "camera RAW images (.nef) are not supported; export it as JPEG, PNG or TIFF"),
        ("a.exr", "OpenEXR or Radiance images (.exr) are not supported; export it as PNG or float TIFF"),
        ("a.jxl", "JPEG XL images need the package pillow-jxl-plugin; install it, or convert the file to JPEG"),
        ("a.tif", "a TIFF of a kind that is not supported; save it as 8-bit color, or 8-bit, 16-bit or float32 gray"),
    ],
)
def test_load__other_image_files_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr("understudy.data.formats._register", lambda plugin: False)
    picture().save(tmp_path / "good.png")
    data = {"a.jxl": b"\xff\x0a" + bytes(90), "a.tif": b"II*\0\x08\0\0\0" + bytes(90)}
    (tmp_path / name).write_bytes(data.get(name, bytes(90)))
    assert us.load(unlabeled=tmp_path).quarantine == ((name, reason),)


def test_decode_file__a_raw_file_never_shows_its_thumbnail(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.nef", "TIFF")
    with pytest.raises(UnreadableImageError, match="camera RAW"):
        decode_file(str(tmp_path / "a.nef"), 16, 3)


def tiff(values: np.ndarray, *, photometric: int = 1, planar: bool = False, sample_format: int = 1) -> bytes:
    """An uncompressed TIFF of the values [h w c]."""
    height, width, depth = values.shape
    planes = [values[..., at] for at in range(depth)] if planar else [values]
    data = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes)
    share = len(data) // len(planes)
    tags = [
        *((256, [width]), (257, [height]), (258, [values.itemsize * 8] * depth), (259, [1]), (262, [photometric])),
        *((273, [8 + at * share for at in range(len(planes))]), (277, [depth]), (278, [height])),
        *((279, [share] * len(planes)), (284, [2 if planar else 1]), (339, [sample_format] * depth)),
    ]
    start = 8 + len(data)
    after, entries, extra = start + 6 + 12 * len(tags), b"", b""
    for tag, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        entries += packed if len(packed) == 4 else struct.pack("<I", after + len(extra))
        extra += b"" if len(packed) == 4 else packed
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


def test_decode_bytes__wide_tiffs_show_their_picture() -> None:
    wide = GRAY[..., None].astype(np.uint16) * 257
    for data in (
        tiff(wide),
        tiff(65535 - wide, photometric=0),
        tiff(GRAY[..., None].astype(np.uint32) * 16843009),
        tiff(GRAY[..., None].astype(np.int16), sample_format=2),
        tiff(255 - GRAY[..., None], photometric=0),
    ):
        np.testing.assert_allclose(decode_bytes(data, 32, 1)[0].astype(int), GRAY, atol=1)


def test_decode_bytes__planes_of_8_bits_are_read_and_of_16_refused() -> None:
    color = np.stack([GRAY, GRAY.T, 255 - GRAY], -1)
    data = tiff(color, photometric=2, planar=True)
    np.testing.assert_array_equal(decode_bytes(data, 32, 3), color.transpose(2, 0, 1))
    with pytest.raises(UnreadableImageError, match="16-bit color in separate planes is not supported"):
        decode_bytes(tiff(color.astype(np.uint16), photometric=2, planar=True), 32, 3)


def jpeg(**settings: object) -> bytes:
    buffer = io.BytesIO()
    picture(1, (160, 160)).save(buffer, "JPEG", **settings)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_decode_bytes__a_jpeg_without_its_last_bytes(progressive: bool) -> None:
    data = jpeg(progressive=progressive)
    whole, cut = (decode_bytes(part, 160, 3).astype(int) for part in (data, data[:-200]))
    assert np.abs(whole - cut)[:, :140].mean() < 2
    with pytest.raises(UnreadableImageError, match="cut short, more than a tenth of it is missing"):
        decode_bytes(data[: len(data) // 5], 160, 3)


def test_decode_bytes__a_white_jpeg_without_its_end_marker() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "JPEG")
    assert (decode_bytes(buffer.getvalue()[:-2], 64, 3) == 255).all()


def test_load__a_cut_jpeg_is_used_and_noted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "b.jpg").write_bytes(jpeg()[:-100])
    for _ in range(2):  # decoded, then found in the cache
        loaded = us.load(unlabeled=tmp_path)
        assert len(loaded) == 2
        assert loaded.notes[-1:] == (
            "1 image is cut short and used (its end is missing, less than a tenth of it): b.jpg",
        )
