"""Which image files are read, by whom, and what to say about the others; with only Pillow, for decoder processes."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

from PIL import Image

# Raster formats that Pillow decodes in its own process. PostScript (EPS) starts Ghostscript, WMF needs Windows, and
# FITS, BUFR, GRIB and HDF5 hold measurements of more dimensions than two, or are stubs for another program.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF"),
    *("JPEG2000", "MPO", "DDS", "ICO", "PCX", "SGI", "SUN", "QOI", "PSD"),
)
# TGA has no signature: its reader takes many files that are no images, so the file's name must say it.
_TGA = frozenset((".tga", ".icb", ".vda", ".vst"))
_JXL = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Per format that a plugin adds to Pillow: its name in messages, the plugin's module, the package to install.
_PLUGINS = {"HEIF": ("HEIC", "pillow_heif", "pillow-heif"), "JXL": ("JPEG XL", "pillow_jxl", "pillow-jxl-plugin")}


def _extensions(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


_READ = (
    _extensions("jpg jpeg jpe jfif jif png apng webp bmp dib tif tiff gif ppm pgm pbm pnm pfm avif jp2 j2k j2c jpc jpf")
    | _extensions("jpx mpo dds ico pcx sgi rgb rgba bw ras qoi psd heic heif hif jxl")
    | _TGA
)
# Pillow would take most camera RAW files for a TIFF and read the thumbnail, which must not pass for the image.
_UNREAD = {
    extension: (name, advice)
    for name, advice, extensions in (
        ("DICOM", "export it as 16-bit PNG", "dcm dicom"),
        (
            "camera RAW",
            "export it as JPEG, PNG or TIFF",
            "nef nrw cr2 cr3 crw arw srf sr2 dng orf rw2 raf pef srw x3f raw erf kdc dcr mrw 3fr iiq rwl",
        ),
        ("OpenEXR or Radiance", "export it as PNG or float TIFF", "exr hdr"),
        ("FITS", "export it as 16-bit PNG or float TIFF", "fits fit fts"),
        ("JPEG XR", "convert it to PNG", "jxr wdp hdp"),
        ("whole-slide or microscope", "export the planes or tiles as PNG or TIFF", "svs ndpi scn mrxs czi lif nd2 lsm"),
        ("vector", "export it as PNG", "svg svgz eps ps wmf emf ai"),
        ("GIMP", "export it as PNG", "xcf"),
        ("NIfTI", "export the slices as 16-bit PNG", "nii"),
    )
    for extension in _extensions(extensions)
}

EXTENSIONS = _READ | frozenset(_UNREAD)
"""File name endings of images: those that are read and those that are listed, with the reason, as not readable."""


def readable() -> str:
    """The file name endings that are read, as a text for messages."""
    return ", ".join(sorted(_READ))


def why_unread(path: str) -> str | None:
    """The reason why files with this ending are not read, or None when they are."""
    extension = Path(path).suffix.lower()
    if extension not in _UNREAD:
        return None
    name, advice = _UNREAD[extension]
    return f"{name} images ({extension}) are not supported; {advice}"


def formats_for(data: bytes, path: str = "") -> tuple[str, ...]:
    """The names of Pillow's readers that may try these bytes."""
    if Path(path).suffix.lower() in _TGA:
        return (*formats(), "TGA")
    plugin = _plugin_format(data)
    return (*formats(), plugin) if plugin and _register(plugin) else formats()


@functools.cache
def formats() -> tuple[str, ...]:
    """The names of those readers that this installation of Pillow has, without plugins."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def why_unidentified(data: bytes) -> str:
    """The reason why no reader takes the bytes."""
    plugin = _plugin_format(data)
    if plugin and not _register(plugin):
        name, _, package = _PLUGINS[plugin]
        return f"{name} images need the package {package}; install it, or convert the file to JPEG"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that is not supported; save it as 8-bit color, or 8-bit, 16-bit or float32 gray"
    return "not an image, or of a format that is not supported"


def _plugin_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        return "HEIF"
    return "JXL" if data.startswith((_JXL, b"\xff\n")) else None


@functools.cache
def _register(plugin: str) -> bool:
    """Whether the plugin is installed; it is imported on first need, as importing costs each decoder process time."""
    try:
        module = importlib.import_module(_PLUGINS[plugin][1])
        if plugin == "HEIF":
            module.register_heif_opener()
    except Exception:  # a plugin built for another Pillow may fail in any way; its files are listed with the reason
        return False
    return plugin in Image.OPEN


# A cut JPEG is used when at least this share of its rows is there: a tenth is what random crops take away anyway, and
# the label was given to the whole picture.
MIN_SHARE = 0.9
_START_OF_SCAN, _PROGRESSIVE = 0xDA, 0xC2  # the JPEG markers SOS and SOF2
_MARKER = re.compile(rb"\xff([\xc0-\xfe])", re.DOTALL)


def complete_scans(data: bytes) -> bool | None:
    """Whether a progressive JPEG that is cut short has all frequencies of its brightness, at first precision at least.

    None for a JPEG that is not progressive, whose rows come one after another.
    """
    at, progressive, whole = 2, False, False
    while (match := _MARKER.search(data, at)) is not None:
        marker, at = match.group(1)[0], match.end()
        if 0xD0 <= marker <= 0xD8:  # markers without a length
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == _START_OF_SCAN:
            if not progressive:
                return None
            if whole:  # the scan with the highest frequencies has ended, since another one begins
                return True
            scan = data[at + 2 : at + length]
            # A scan of one component (the first is brightness) up to frequency 63, in its first approximation.
            whole = len(scan) >= 6 and scan[0] == 1 and scan[1] in (0, 1) and scan[-2] == 63 and scan[-1] >> 4 == 0
        progressive = progressive or marker == _PROGRESSIVE
        at += max(2, length)
    return False if progressive else None
