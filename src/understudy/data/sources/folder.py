"""A folder with one subfolder per class, a folder of splits of such folders, or a folder of unlabeled images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from understudy.core.errors import DataError
from understudy.core.text import agree, counted
from understudy.data.collection import UNLABELED, Part
from understudy.data.formats import EXTENSIONS, readable
from understudy.data.table import Table, class_order, concatenate, to_names

_JUNK = frozenset(("thumbs.db", "desktop.ini"))
# Folders that systems and tools create, in lower case: they hold thumbnails and deleted files.
_SYSTEM = frozenset(
    (
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "lost.dir",
        "__macosx",
        "__pycache__",
    )
)
# A run or a comparison has one of these from its first second, with the format of the folder inside.
_OWN = ("identity.json", "request.json", "comparison.json")
_PARTS = {
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
    "test": Part.TEST,
    "testing": Part.TEST,
}
_UNLABELED = re.compile(
    r"(un|non?|not)[\W_]*label(l?ed|s)?([\W_]*(images?|imgs?|data|dataset|photos?|pictures?|pool|train|set))?"
    r"|unsup(ervised)?"
)
# Possibly a class, possibly meant as the unlabeled images: used as a class, with a note.
_DOUBTFUL = frozenset(("pile", "pool", "unsorted", "unannotated", "unknown", "misc", "extra"))
_NOT_UTF8 = "its name is not valid UTF-8"

_Above = frozenset[tuple[int, int]]


@dataclass
class _Scan:
    """The images found below a folder, as paths relative to the source's root, and what was left out."""

    images: list[str] = field(default_factory=list)
    others: int = 0
    unusable: list[tuple[str, str]] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)


def read_folder(path: Path, *, labeled: bool) -> Table:
    """The images below the folder; the first folder below it, or below `train`, `test` and the like, is the class.

    A folder that holds only one folder, which holds the classes, stands for that one. Symbolic links are followed, a
    link back to a folder above itself is not. Hidden files are skipped in silence, files without an image's extension
    are counted, folders of the system and results of this program are left out with a note.

    Raises:
        DataError: There is no image, the folder cannot be read, or labels are wanted and there are no class folders.
    """
    root = Path(os.path.abspath(path))
    _check_readable(root)
    if not labeled:
        table = _unlabeled(root, root)
        if not len(table):
            raise DataError(f"folder {path} holds no image; images end in {readable()}")
        return table
    base = _holding_classes(root)
    splits, classes, pools = _layout(base)
    tables = [_classes(root, folders, Part.FREE) for folders in [classes] if folders]
    notes = []
    if base != root:
        notes.append(f"the folder {base.name}/ is used, since {path} holds no other")
    if any(part == Part.TRAIN for part, _ in splits):
        if classes:
            notes.append(f"only the split folders of {path} are used, not {', '.join(sorted(f.name for f in classes))}")
        tables, classes = [], []
    for part, folder in sorted(splits):
        folders = list(_folders(folder))
        notes.append(f"folder {folder.name}/ is taken as the {part.name.lower()} images")
        if folders:
            tables.append(_classes(root, folders, part))
        else:
            notes.append(f"folder {folder.name}/ has no class folders, so its images are not used")
    for folder in pools:
        tables.append(_unlabeled(root, folder))
        notes.append(f"folder {folder.name}/ is taken as unlabeled images")
    for folder in classes:
        if folder.name.lower() in _DOUBTFUL:
            notes.append(
                f"folder {folder.name}/ counts as a class; rename it to unlabeled/ if its images have no label"
            )
    tables.append(_beside(root, base))
    if loose := _count_images(base):
        what = f"{counted(loose, 'image')} that {agree(loose, 'lies', 'lie')} beside the class folders in {path}"
        notes.append(f"{what} {agree(loose, 'is', 'are')} not used")
    if not any((table.labels >= 0).any() for table in tables):
        raise DataError(_no_classes(path))
    # Classes are those of the training images, whatever order the parts come in.
    return concatenate(sorted(tables, key=lambda table: table.parts[0] if len(table) else 0)).noting(*notes)


def _check_readable(root: Path) -> None:
    if not _is_text(str(root)):
        raise DataError(f"folder {_shown(str(root))} cannot be used: {_NOT_UTF8}; rename it")
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(f"folder {root} cannot be read: {error.strerror}; check its permissions") from error


def _holding_classes(root: Path) -> Path:
    """The folder that holds the class folders: the given one, or the only one below it, as archives unpack."""
    folders = list(_folders(root))
    if len(folders) != 1 or _count_images(root) or _count_images(folders[0]):
        return root
    if folders[0].name.lower() in _PARTS or _is_unlabeled(folders[0].name):
        return root
    inside = list(_folders(folders[0]))
    has_train = any(_PARTS.get(folder.name.lower()) == Part.TRAIN for folder in inside)
    return folders[0] if has_train or len(inside) > 1 else root


def _layout(root: Path) -> tuple[list[tuple[Part, Path]], list[Path], list[Path]]:
    """Folders that are splits, classes and unlabeled images, by their names and by what they hold."""
    folders = list(_folders(root))
    names = {folder.name.lower() for folder in folders}
    has_train = any(_PARTS.get(name) == Part.TRAIN for name in names)
    splits, classes, pools = [], [], []
    for folder in folders:
        name = folder.name.lower()
        if name in _PARTS and (has_train or any(_folders(folder))):
            splits.append((_PARTS[name], folder))
        elif _is_unlabeled(name):
            pools.append(folder)
        else:
            classes.append(folder)
    return splits, classes, pools


def _classes(root: Path, folders: list[Path], part: Part) -> Table:
    """The images of class folders, labeled by the folders' names; a class folder without images is no class."""
    scans: dict[str, list[_Scan]] = {}
    notes = []
    for folder in folders:
        name = unicodedata.normalize("NFC", folder.name)
        if name in scans:
            notes.append(f"two class folders are named {name}/, in two Unicode forms, and count as one class")
        scans.setdefault(name, []).append(_scan(root, folder))
        if nested := _nested(scans[name][-1], len(folder.relative_to(root).parts)):
            what = f"{len(nested)} folders such as {nested[0]}/" if len(nested) > 1 else f"the folder {nested[0]}/"
            notes.append(f"class folder {name}/ holds {what}, whose images count as {name}")
    filled = {name: [image for scan in found for image in scan.images] for name, found in scans.items()}
    values = class_order(name for name, images in filled.items() if images)
    code = {value: number for number, value in enumerate(values)}
    filled = dict(sorted(filled.items(), key=lambda item: code.get(item[0], -1)))
    images = [image for found in filled.values() for image in found]
    labels = np.concatenate([np.full(len(found), code.get(name, -1), np.int64) for name, found in filled.items()])
    for name, found in filled.items():
        if not found and not any(scan.own for scan in scans[name]):
            notes.append(f"class folder {name}/ holds no image")
    return _table(root, images, labels, [scan for name in filled for scan in scans[name]], values, part).noting(*notes)


def _nested(scan: _Scan, depth: int) -> list[str]:
    """Names of the folders below a class folder, itself at that depth, that hold images."""
    return sorted({parts[depth] for image in scan.images if len(parts := image.split("/")) > depth + 1})


def _unlabeled(root: Path, folder: Path) -> Table:
    """All images below the folder, unlabeled."""
    scan = _scan(root, folder)
    return _table(root, scan.images, np.full(len(scan.images), UNLABELED, np.int64), [scan], (), Part.FREE)


def _beside(root: Path, base: Path) -> Table:
    """No images, but what cannot be used or is left out beside the class folders."""
    scan = _Scan()
    with os.scandir(base) as entries:
        for entry in entries:
            if entry.name.lower() in _SYSTEM:
                scan.system.append(entry.name)
            elif not _is_text(entry.name) and _is_folder(entry):
                scan.unusable.append((_shown(entry.name), _NOT_UTF8))
    return _table(root, [], np.empty(0, np.int64), [scan], (), Part.FREE)


def _table(
    root: Path, images: list[str], labels: np.ndarray, scans: list[_Scan], values: tuple[object, ...], part: Part
) -> Table:
    notes = []
    if others := sum(scan.others for scan in scans):
        what = f"{counted(others, 'file')} that {agree(others, 'is not an image', 'are not images')}"
        notes.append(f"{what} {agree(others, 'was', 'were')} passed over")
    if system := sorted({name for scan in scans for name in scan.system}):
        notes.append(f"folders of the system are not images of the task, and left out: {', '.join(system)}")
    if own := [name for scan in scans for name in scan.own]:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        notes.append(f"results of this program are not images of the task, and left out: {own[0]}/{more}")
    return Table(
        names=to_names(images),
        images=to_names([os.path.join(root, image) for image in images]),
        labels=labels,
        values=values,
        parts=np.full(len(images), part, np.uint8),
        quarantine=tuple(item for scan in scans for item in scan.unusable),
        notes=tuple(notes),
    )


def _scan(root: Path, folder: Path) -> _Scan:
    """The images below `folder`, in an order that does not depend on the file system."""
    scan = _Scan()
    # An explicit stack: folders may be nested deeper than functions may. An image has no path of a folder.
    todo: list[tuple[str | None, str, _Above]] = [(str(folder), os.path.relpath(folder, root), frozenset())]
    while todo:
        path, name, above = todo.pop()
        if path is not None:
            todo.extend(reversed(_below(path, name, above, scan)))
        elif _is_text(name):
            scan.images.append(name)
        else:
            scan.unusable.append((_shown(name), _NOT_UTF8))
    return scan


def _below(folder: str, name: str, above: _Above, scan: _Scan) -> list[tuple[str | None, str, _Above]]:
    """The folders and images directly in a folder; what else is there goes into the scan."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        scan.unusable.append((_shown(name), f"folder cannot be read: {error.strerror}"))
        return []
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a symbolic link led back to where we are
        return []
    if _is_own(folder, entries):
        scan.own.append(name)
        return []
    found: list[tuple[str | None, str, _Above]] = []
    for entry in entries:
        below = entry.name if name == "." else f"{name}/{entry.name}"
        if entry.name.lower() in _SYSTEM:
            scan.system.append(entry.name)
        elif _is_junk(entry.name):
            continue
        elif _is_image(entry.name):
            found.append((None, below, above))
        elif _is_folder(entry):
            found.append((entry.path, below, above | {identity}))
        else:
            scan.others += 1
    return found


def _is_own(folder: str, entries: Iterable[os.DirEntry[str]]) -> bool:
    """Whether a folder is a run or a comparison of this program."""
    for entry in entries:
        if entry.name in _OWN:
            try:
                with open(os.path.join(folder, entry.name), "rb") as file:
                    # The format stands at the end or the start, and these files are small.
                    return b'"format"' in file.read(1 << 20)
            except OSError:
                return False
    return False


def _folders(root: Path) -> Iterator[Path]:
    """The folders directly below that may hold images, in order; none where the folder cannot be read."""
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if _is_folder(entry) and not _is_junk(entry.name))
    except OSError:
        names = []
    return (root / name for name in names if _is_text(name) and name.lower() not in _SYSTEM)


def _count_images(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(_is_image(entry.name) for entry in entries if not _is_folder(entry))
    except OSError:
        return 0


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _is_unlabeled(name: str) -> bool:
    return _UNLABELED.fullmatch(name.lower()) is not None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _no_classes(path: Path) -> str:
    scan = _scan(path, path)
    if scan.images:
        return (
            f"folder {path} holds {len(scan.images)} images but no class folders; put each class into a "
            "subfolder named after it, or pass the folder as unlabeled"
        )
    return f"folder {path} holds no image; images end in {readable()}"
