"""A folder with one subfolder per class, a folder of splits of such folders, or a plain pile of images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from understudy.core.errors import DataError
from understudy.data.collection import UNLABELED, Part
from understudy.data.table import Table, class_order, concatenate, to_names

# HEIC is listed although it cannot be decoded, so that such photos are named in the quarantine list.
EXTENSIONS = frozenset(
    f".{name}"
    for names in ("jpg jpeg jpe jfif png webp bmp dib", "tif tiff gif ppm pgm pbm pnm avif heic heif")
    for name in names.split()
)
_JUNK = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_PARTS = {
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
    "test": Part.TEST,
    "testing": Part.TEST,
}
_PILES = frozenset(("unlabeled", "unlabelled"))


@dataclass
class _Scan:
    """The images found below a folder, as paths relative to the source's root."""

    images: list[str] = field(default_factory=list)
    others: int = 0
    unusable: list[tuple[str, str]] = field(default_factory=list)


def read_folder(path: Path, *, labeled: bool) -> Table:
    """The images below the folder; the first folder below it, or below `train`, `test` and the like, is the class.

    Symbolic links are followed, a link back to a folder above itself is not. Hidden files are passed over in silence,
    files without an image's extension are counted.

    Raises:
        DataError: There is no image, or labels are wanted and there are no class folders.
    """
    root = Path(os.path.abspath(path))
    if not labeled:
        table = _pile(root, root)
        if not len(table):
            raise DataError(f"folder {path} holds no image; images end in {', '.join(sorted(EXTENSIONS))}")
        return table
    splits, classes, piles = _layout(root)
    tables = [_classes(root, folders, Part.FREE) for folders in [classes] if folders]
    notes = []
    if any(part == Part.TRAIN for part, _ in splits):
        if classes:
            notes.append(f"only the split folders of {path} are used, not {', '.join(sorted(f.name for f in classes))}")
        tables = []
    for part, folder in sorted(splits):
        folders = list(_folders(folder))
        notes.append(f"folder {folder.name}/ is taken as the {part.name.lower()} images")
        if folders:
            tables.append(_classes(root, folders, part))
        else:
            notes.append(f"folder {folder.name}/ has no class folders, so its images are not used")
    for pile in piles:
        tables.append(_pile(root, pile))
        notes.append(f"folder {pile.name}/ is taken as unlabeled images")
    if loose := sum(_is_image(entry.name) for entry in os.scandir(root) if entry.is_file()):
        notes.append(f"{loose} images that lie beside the class folders in {path} are not used")
    if not any((table.labels >= 0).any() for table in tables):
        raise DataError(_no_classes(path))
    # Classes are those of the training images, whatever order the parts come in.
    return concatenate(sorted(tables, key=lambda table: table.parts[0] if len(table) else 0)).noting(*notes)


def _layout(root: Path) -> tuple[list[tuple[Part, Path]], list[Path], list[Path]]:
    """Folders that are splits, classes and unlabeled piles, told by their names and by what they hold."""
    folders = list(_folders(root))
    names = {folder.name.lower() for folder in folders}
    has_train = any(_PARTS.get(name) == Part.TRAIN for name in names)
    splits, classes, piles = [], [], []
    for folder in folders:
        name = folder.name.lower()
        if name in _PARTS and (has_train or any(_folders(folder))):
            splits.append((_PARTS[name], folder))
        elif name in _PILES:
            piles.append(folder)
        else:
            classes.append(folder)
    return splits, classes, piles


def _classes(root: Path, folders: list[Path], part: Part) -> Table:
    """The images of class folders, labeled by the folders' names; a class folder without images is no class."""
    scans = {folder.name: _scan(root, folder) for folder in folders}
    values = class_order(name for name, scan in scans.items() if scan.images)
    code = {value: number for number, value in enumerate(values)}
    scans = dict(sorted(scans.items(), key=lambda item: code.get(item[0], -1)))
    images = [image for scan in scans.values() for image in scan.images]
    labels = np.concatenate([np.full(len(scan.images), code.get(name, -1), np.int64) for name, scan in scans.items()])
    notes = [f"class folder {name}/ holds no image" for name, scan in scans.items() if not scan.images]
    return _table(root, images, labels, list(scans.values()), values, part).noting(*notes)


def _pile(root: Path, folder: Path) -> Table:
    """All images below the folder, unlabeled."""
    scan = _scan(root, folder)
    return _table(root, scan.images, np.full(len(scan.images), UNLABELED, np.int64), [scan], (), Part.FREE)


def _table(
    root: Path, images: list[str], labels: np.ndarray, scans: list[_Scan], values: tuple[object, ...], part: Part
) -> Table:
    others = sum(scan.others for scan in scans)
    return Table(
        names=to_names(images),
        images=to_names([os.path.join(root, image) for image in images]),
        labels=labels,
        values=values,
        parts=np.full(len(images), part, np.uint8),
        quarantine=tuple(item for scan in scans for item in scan.unusable),
        notes=(f"{others} files that are not images were passed over",) if others else (),
    )


def _scan(root: Path, folder: Path) -> _Scan:
    """The images below `folder`, in an order that does not depend on the file system."""
    scan = _Scan()
    _walk(str(folder), os.path.relpath(folder, root), frozenset(), scan)
    return scan


def _walk(folder: str, name: str, above: frozenset[tuple[int, int]], scan: _Scan) -> None:
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        scan.unusable.append((name, f"folder cannot be read: {error.strerror}"))
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a symbolic link led back to where we are
        return
    for entry in entries:
        if _is_junk(entry.name):
            continue
        below = entry.name if name == "." else f"{name}/{entry.name}"
        if _is_folder(entry) and not _is_image(entry.name):
            _walk(entry.path, below, above | {identity}, scan)
        elif not _is_image(entry.name):
            scan.others += 1
        elif _is_text(below):
            scan.images.append(below)
        else:
            scan.unusable.append((os.fsencode(below).decode("utf-8", "replace"), "its name is not valid UTF-8"))


def _folders(root: Path) -> Iterator[Path]:
    """The folders directly below, in order, hidden ones left out."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry) and not _is_junk(entry.name))
    return (root / name for name in names if _is_text(name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_classes(path: Path) -> str:
    scan = _scan(path, path)
    if scan.images:
        return (
            f"folder {path} holds {len(scan.images)} images but no class folders; put each class into a "
            "subfolder named after it, or pass the folder as unlabeled"
        )
    return f"folder {path} holds no image; images end in {', '.join(sorted(EXTENSIONS))}"
