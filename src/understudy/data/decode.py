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
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # Pillow's own limit for refusing an image
MAX_FILE_BYTES = 1 << 29
DIGEST_BYTES = 16
FACTS = np.dtype([("digest", f"V{DIGEST_BYTES}"), ("hash", "<u8"), ("size", "<i4", 2)])
"""What is kept of each file beside its pixels: digest of its bytes, hash of its pixels, width and height as stored."""

# Never PostScript, PDF or other formats whose reader runs a program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF")
_WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112
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


class DecodedFile(NamedTuple):
    """An image as a [channels canvas canvas] array, a digest of its file's bytes, its width and height in the file."""

    pixels: Pixels
    digest: bytes
    size: tuple[int, int]


def decode_file(path: str, canvas: int, channels: int) -> DecodedFile:
    """The file's image, and what is to be known of the file.

    Raises:
        UnreadableImageError: The file cannot be read as an image.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise UnreadableImageError(f"the file is over the limit of {MAX_FILE_BYTES >> 20} MB")
            data = file.read()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from None
    pixels, size = _decode(data, canvas, channels)
    return DecodedFile(pixels, hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), size)


def decode_bytes(data: bytes, canvas: int, channels: int) -> Pixels:
    """The encoded image, upright, center-cropped to a square and resized, as a [channels canvas canvas] array.

    Transparent parts become white; of an animation the first frame counts; 16-bit values are scaled, not clipped.

    Raises:
        UnreadableImageError: The bytes are not an image that can be decoded, or it has too many pixels.
    """
    return _decode(data, canvas, channels)[0]


def _decode(data: bytes, canvas: int, channels: int) -> tuple[Pixels, tuple[int, int]]:
    """The pixels, and the width and height before anything was done to them."""
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata and large sizes; both are handled here
            image = Image.open(io.BytesIO(data), formats=_formats())
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(_too_large(f"{width} x {height}"))
            image.draft("L" if channels == 1 else "RGB", (canvas, canvas))
            image.load()
            return to_canvas(image, canvas, channels), (width, height)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_unidentified(data)) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(_too_large("its number of")) from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UnreadableImageError(_reason(error)) from None


def to_canvas(image: Image.Image, canvas: int, channels: int) -> Pixels:
    """The image, upright, center-cropped to a square and resized, as a [channels canvas canvas] array."""
    orientation = _orientation(image)
    image = _flatten(image, "L" if channels == 1 else "RGB")
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
            with Image.open(path, formats=_formats()) as image:
                return image.size
    except Exception:  # the same files are named, with a reason, when they are decoded
        return None


def is_gray(pixels: Pixels) -> bool:
    """Whether a [3 h w] image holds no color."""
    return bool((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all())


def fingerprints(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A number of 64 bits for each row of bytes [n b], the same for the same bytes and hardly ever for others.

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


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info and getattr(image, "format", None) not in ("PNG", "WEBP", "AVIF"):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the image
        return 1


def _flatten(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode in _WIDE_MODES:
        image = _narrow(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)


def _narrow(image: Image.Image) -> Image.Image:
    """The 8-bit version of an image with 16 or 32 bits a pixel; a full-scale value becomes 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    full_scale = 65535.0
    if image.mode == "F" or image.mode == "I":
        top = float(values.max())
        full_scale = next((scale for scale in (1.0, 255.0, 65535.0) if top <= scale), top)
        full_scale = 255.0 if image.mode == "I" and full_scale == 1.0 else full_scale
    return Image.fromarray(np.round(values.clip(0, full_scale) * (255 / full_scale)).astype(np.uint8))


def _too_large(pixels: str) -> str:
    return f"{pixels} pixels are over the limit of {MAX_PIXELS // 10**6} million"


def _unidentified(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "HEIC images are not supported; convert it to JPEG"
    return "not an image, or of a format that is not supported"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    if "truncated" in text or isinstance(error, (EOFError, struct.error)):
        return "the file is cut short"
    return f"damaged: {text or type(error).__name__}"


def decode_into(
    store: str | Path, start: int, paths: list[str], canvas: int, channels: int
) -> tuple[list[tuple[int, str]], bytes]:
    """(position, reason) of unreadable files, and every file's `FACTS`, once the rows from `start` on are written."""
    bad, facts = [], np.zeros(len(paths), FACTS)
    row_bytes = channels * canvas * canvas
    with Path(store).open("r+b") as file:
        file.seek(start * row_bytes)
        for position, path in enumerate(paths):
            try:
                pixels, digest, size = decode_file(path, canvas, channels)
                file.write(pixels.data)
                facts[position] = digest, fingerprints(pixels.reshape(1, -1))[0], size
            except UnreadableImageError as error:
                bad.append((position, str(error)))
                file.seek((start + position + 1) * row_bytes)
    return bad, facts.tobytes()


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Answer each line of `requests`, a chunk of files to write into the store, by one line in `replies`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends us by closing the pipe
    _formats()
    _answer(replies, "ready")
    for line in requests:
        job: dict[str, Any] = json.loads(line)
        try:
            bad, facts = decode_into(**job)
            reply: dict[str, Any] = {"bad": bad, "facts": facts.hex()}
        except OSError as error:
            reply = {"errno": error.errno, "error": str(error)}
        _answer(replies, json.dumps(reply))


def _answer(replies: IO[str], text: str) -> None:
    replies.write(text + "\n")
    replies.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
