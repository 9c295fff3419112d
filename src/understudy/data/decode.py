"""One image file becomes one square uint8 canvas; with only Pillow and NumPy, so the file is its own worker process."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from understudy.data.formats import MIN_SHARE, complete_scans, formats, formats_for, why_unidentified, why_unread
from understudy.data.value_ranges import DEFAULTS, OutOfRangeError, Range, extent, to_uint8

Pixels = NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # Pillow's own limit for refusing an image
MAX_FILE_BYTES = 1 << 29  # 512 MB is the size of MAX_PIXELS without compression, 3 bytes a pixel
DIGEST_BYTES = 16  # 128 bits: no two of a billion different files share a digest
FACTS = np.dtype([("digest", f"V{DIGEST_BYTES}"), ("hash", "<u8"), ("size", "<i4", 2)])
"""What is kept of each file beside its pixels: digest of its bytes, hash of its pixels, width and height as stored."""

_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112  # the EXIF tag
# Tags of a TIFF, by which Pillow's reading of it is completed.
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """An image that cannot be used; the text is the short reason shown in the quarantine list."""


class UnscaledError(Exception):
    """An image with values of a kind whose range is not known yet."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class DecodedFile(NamedTuple):
    """An image as a [channels canvas canvas] array, a digest of its file's bytes, its width and height in the file.

    `flaw` is what is wrong with an image that is used all the same.
    """

    pixels: Pixels
    digest: bytes
    size: tuple[int, int]
    flaw: str = ""


def decode_file(path: str, canvas: int, channels: int, ranges: Mapping[str, Range] = DEFAULTS) -> DecodedFile:
    """The file's image, and what is to be known of the file.

    Raises:
        UnreadableImageError: The file cannot be read as an image.
        UnscaledError: Its values are of a kind that `ranges` lacks.
    """
    data = _read(path)
    with _reasons(data):
        image, flaw, size = _open(data, path, (canvas, canvas), "L" if channels == 1 else "RGB", ranges)
        pixels = to_canvas(image, canvas, channels, ranges)
    return DecodedFile(pixels, hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), size, flaw)


def decode_bytes(data: bytes, canvas: int, channels: int, ranges: Mapping[str, Range] = DEFAULTS) -> Pixels:
    """The encoded image, upright, center-cropped to a square and resized, as a [channels canvas canvas] array.

    Transparent parts become white; of an animation the first frame counts; 16-bit and float values are scaled.

    Raises:
        UnreadableImageError: The bytes are not an image that can be decoded, or it has too many pixels.
    """
    with _reasons(data):
        image, _, _ = _open(data, "", (canvas, canvas), "L" if channels == 1 else "RGB", ranges)
        return to_canvas(image, canvas, channels, ranges)


def open_bytes(data: bytes) -> Image.Image:
    """The encoded image, decoded at its own size and mode.

    Raises:
        UnreadableImageError: The bytes are not an image that can be decoded, or it has too many pixels.
    """
    with _reasons(data):
        return _open(data)[0]


def file_extent(path: str) -> Range | None:
    """The range of the values of a file with more than 8 bits a value, None when there is none."""
    try:
        image = open_bytes(_read(path))
    except UnreadableImageError:
        return None
    return extent(wide_values(image)[1])


def _read(path: str) -> bytes:
    if reason := why_unread(path):
        raise UnreadableImageError(reason)
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise UnreadableImageError(f"the file is over the limit of {MAX_FILE_BYTES >> 20} MB")
            return file.read()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from None


@contextmanager
def _reasons(data: bytes) -> Iterator[None]:
    """Turn what Pillow raises into a short reason, and ignore its warnings about odd metadata."""
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (UnreadableImageError, UnscaledError):
        raise
    except OutOfRangeError as error:
        raise UnreadableImageError(str(error)) from None
    except UnidentifiedImageError:
        raise UnreadableImageError(why_unidentified(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(_too_large("its number of")) from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UnreadableImageError(_reason(error)) from None


def _open(
    data: bytes,
    path: str = "",
    draft: tuple[int, int] | None = None,
    mode: str = "RGB",
    ranges: Mapping[str, Range] = DEFAULTS,
) -> tuple[Image.Image, str, tuple[int, int]]:
    """The decoded image, its flaw, and the width and height before anything was done to it."""
    image = Image.open(io.BytesIO(data), formats=formats_for(data, path))
    size = image.size
    if size[0] * size[1] > MAX_PIXELS:
        raise UnreadableImageError(_too_large(f"{size[0]} x {size[1]}"))
    if (kind := wide_kind(image)) is not None and kind not in ranges:
        raise UnscaledError(kind)  # before its pixels are decoded, which will be done once the range is known
    if draft is not None:
        image.draft(mode, draft)
    if image.format == "TIFF":
        _refuse_garbled(image)
    try:
        image.load()
    except OSError as error:
        if image.format not in ("JPEG", "MPO") or "truncated" not in str(error):
            raise
        return _complete(data), "its end is missing, less than a tenth of it", size
    return image, "", size


def _complete(data: bytes) -> Image.Image:
    """The picture of a JPEG that is cut short, when nearly all of it is there.

    Raises:
        UnreadableImageError: More of it is missing.
    """
    if (whole := complete_scans(data)) is None:
        whole = _share_of_rows(data) >= MIN_SHARE
    if not whole:
        raise UnreadableImageError("the file is cut short, more than a tenth of it is missing")
    # An end marker lets Pillow finish, and libjpeg fill what is missing with a medium gray.
    image = Image.open(io.BytesIO(data + b"\xff\xd9"), formats=("JPEG",))
    image.load()
    return image


def _share_of_rows(data: bytes) -> float:
    """How much of a cut JPEG's height can be decoded; libjpeg fills the rows that cannot with a medium gray."""
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    allowed = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    rows = np.asarray(image).reshape(image.height, -1)
    drawn = np.flatnonzero(((rows < 127) | (rows > 128)).any(1))
    return float(drawn[-1] + 1) / image.height if len(drawn) else 0.0


def _refuse_garbled(image: Image.Image) -> None:
    """Raise for the TIFF that Pillow decodes into noise: color of more than 8 bits, one plane after another."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(_BITS, (8,))
    if tags.get(_PLANAR) == 2 and len(bits) > 1 and max(bits) > 8:
        raise UnreadableImageError("a TIFF of 16-bit color in separate planes is not supported; save it interleaved")


def to_canvas(image: Image.Image, canvas: int, channels: int, ranges: Mapping[str, Range] = DEFAULTS) -> Pixels:
    """The image, upright, center-cropped to a square and resized, as a [channels canvas canvas] array.

    Raises:
        UnscaledError: Its values are of a kind that `ranges` lacks.
        OutOfRangeError: Its values are of another unit than the range.
    """
    orientation = _orientation(image)
    image = _flatten(image, "L" if channels == 1 else "RGB", ranges)
    if image.size != (canvas, canvas):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        if side == canvas:
            image = image.crop(box)
        else:
            image = image.resize((canvas, canvas), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])
    pixels = np.asarray(image)
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def probe_file(path: str) -> tuple[int, int] | None:
    """Width and height of the image by the file's header, or None when it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=(*formats(), "TGA")) as image:
                return image.size
    except Exception:  # the same files are named, with a reason, when they are decoded
        return None


def is_gray(pixels: Pixels) -> bool:
    """Whether a [3 h w] image holds no color."""
    return bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())


def fingerprints(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number of 64 bits for each row of bytes [n b], equal for equal bytes and almost never for others.

    A sum of the row's words, each times a fixed random number, as fast as the bytes can be read. Words are folded
    first, because a difference in their highest bit alone would be lost in the sum.
    """
    count, length = rows.shape
    whole = length // 8 * 8
    words = np.zeros((count, whole // 8 + (whole < length)), np.uint64)
    words.view(np.uint8)[:, :length] = rows
    words ^= words >> np.uint64(29)
    found: NDArray[np.uint64] = words @ _multipliers(words.shape[1])
    return found


@functools.cache
def _multipliers(count: int) -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(0, 1 << 64, count, np.uint64) | np.uint64(1)


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and getattr(image, "format", None) not in ("PNG", "WEBP", "AVIF"):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the image
        return 1


def _flatten(image: Image.Image, mode: str, ranges: Mapping[str, Range]) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_MODES:
        image = _narrow(image, ranges)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)


def _narrow(image: Image.Image, ranges: Mapping[str, Range]) -> Image.Image:
    """The 8-bit version of an image with 16 or 32 bits a pixel."""
    kind, values = wide_values(image)
    if kind not in ranges:
        raise UnscaledError(kind)
    pixels = to_uint8(values, kind, ranges[kind])
    # Pillow inverts where zero is white for 8 bits alone.
    return Image.fromarray(255 - pixels if _tiff_tag(image, _PHOTOMETRIC) == 0 else pixels)


def wide_kind(image: Image.Image) -> str | None:
    """The kind of value of an image with 16 or 32 bits a pixel, None for one with 8."""
    if image.mode not in _WIDE_MODES:
        return None
    if image.mode == "F":
        return "float"
    if image.mode != "I":
        return "uint16"
    if image.format in ("PNG", "PPM", "JPEG2000"):
        return "uint16"
    bits, sample_format = _tiff_tag(image, _BITS), _tiff_tag(image, _SAMPLE_FORMAT)
    return "uint32" if image.format == "TIFF" and bits == 32 and sample_format in (None, 1) else "int"


def wide_values(image: Image.Image) -> tuple[str, NDArray[Any]]:
    """The kind and the values of an image with 16 or 32 bits a pixel."""
    kind = wide_kind(image)
    assert kind is not None
    values = np.asarray(image)
    if kind == "uint32":  # Pillow reads these bits as signed
        return kind, values.view(np.uint32).astype(np.float64)
    return kind, values.astype(np.float32)


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _too_large(pixels: str) -> str:
    return f"{pixels} pixels are over the limit of {MAX_PIXELS // 10**6} million"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    if "truncated" in text or isinstance(error, (EOFError, struct.error)):
        return "the file is cut short"
    return f"damaged: {text or type(error).__name__}"


class DecodingResult(NamedTuple):
    """The outcome of decoding some files, by position.

    Args:
        bad: (position, reason) of unreadable files.
        unscaled: (position, kind of value) of files that wait for the range of this kind.
        flawed: (position, flaw) of files that are used all the same.
        facts: Every file's `FACTS`.
    """

    bad: list[tuple[int, str]]
    unscaled: list[tuple[int, str]]
    flawed: list[tuple[int, str]]
    facts: bytes


def decode_into(
    store: str | Path,
    rows: Sequence[int],
    paths: Sequence[str],
    canvas: int,
    channels: int,
    ranges: Mapping[str, Range] = DEFAULTS,
) -> DecodingResult:
    """Decode each file into its row of the store."""
    bad, unscaled, flawed = [], [], []
    facts = np.zeros(len(paths), FACTS)
    row_bytes = channels * canvas * canvas
    with Path(store).open("r+b") as file:
        for position, (row, path) in enumerate(zip(rows, paths, strict=True)):
            try:
                decoded = decode_file(path, canvas, channels, ranges)
            except UnreadableImageError as error:
                bad.append((position, str(error)))
            except UnscaledError as error:
                unscaled.append((position, error.kind))
            else:
                file.seek(row * row_bytes)
                file.write(decoded.pixels.data)
                facts[position] = decoded.digest, fingerprints(decoded.pixels.reshape(1, -1))[0], decoded.size
                if decoded.flaw:
                    flawed.append((position, decoded.flaw))
    return DecodingResult(bad, unscaled, flawed, facts.tobytes())


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer each line of `requests`, a chunk of files to write into the store, by one line in `replies`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends us by closing the pipe
    formats()
    _answer(replies, "ready")
    for line in requests:
        job: dict[str, Any] = json.loads(line)
        try:
            outcome = decode_into(**job)
            reply: dict[str, Any] = outcome._asdict() | {"facts": outcome.facts.hex()}
        except OSError as error:
            reply = {"errno": error.errno, "error": str(error)}
        _answer(replies, json.dumps(reply))


def _answer(replies: IO[str], text: str) -> None:
    replies.write(text + "\n")
    replies.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
