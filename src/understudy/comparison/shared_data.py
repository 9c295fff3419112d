"""Images that many processes train on and one copy of which is in memory: rows are mapped from a file by each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.core.errors import DataError
from understudy.core.files import explain_write_errors
from understudy.core.seeding import key
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.data.split import FEW_PER_CLASS, hold_out
from understudy.data.table import to_names

# Of each class: enough to test on, while four fifths of the labels remain for training.
_TEST_SHARE = 0.2
_ROWS = "rows.npy"
_open: dict[str, Collection] = {}


def held_out_test(collection: Collection) -> tuple[Collection, str]:
    """The collection with test images, and a sentence on where they come from; the same for every seed.

    Raises:
        DataError: There is no test part, and too few labeled images to set a fifth of them aside.
    """
    tests = (collection.parts == Part.TEST) & (collection.labels >= 0)
    if tests.any():
        return collection, f"The {int(tests.sum()):,} test images measure accuracy and select nothing."
    training = np.isin(collection.parts, (Part.FREE, Part.TRAIN, Part.PSEUDO))
    labeled = np.flatnonzero(training & (collection.labels >= 0))
    least = FEW_PER_CLASS * max(2, len(collection.classes))
    if len(labeled) < least:
        raise DataError(
            f"there are no labeled test images, and {len(labeled)} labeled images are too few to set some aside "
            f"(at least {least} are needed); give labeled test images with test"
        )
    held = hold_out(collection, labeled, _TEST_SHARE, key("test images of a comparison") & 0x7FFF_FFFF)
    if not len(held):
        raise DataError(
            "no labeled image can be set aside for testing without splitting a group; give test images with test"
        )
    parts = collection.parts.copy()
    parts[held] = Part.TEST
    content = hashlib.blake2b(collection.content.encode() + parts.tobytes(), digest_size=16).hexdigest()
    sentence = (
        f"{len(held):,} of {len(labeled):,} labeled images, a fifth of each class, were set aside for testing; "
        "they select nothing."
    )
    return replace(collection, parts=parts, content=content), sentence


@dataclass(frozen=True, eq=False)
class SharedData:
    """Where a process finds the images of a comparison.

    Args:
        content: What identifies them.
        sources: Arguments of `load` for images in files, whose decoded rows every process maps from the store.
        rows: File of the rows of any other images, with the collection that lacks them.
    """

    content: str
    sources: Mapping[str, Any] | None = None
    rows: Path | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(
        cls, collection: Collection, sources: Mapping[str, Any], root: Path, *, in_process: bool
    ) -> Iterator[SharedData]:
        """Make the collection available to this process and, unless it alone trains, to others."""
        _open[collection.content] = collection
        rows = root / _ROWS
        try:
            given = [item for name, item in sources.items() if name in ("source", "unlabeled", "test", "validation")]
            if in_process:
                yield cls(collection.content)
            elif all(item is None or _is_files(item) for item in given):
                yield cls(collection.content, sources=sources)
            else:
                with explain_write_errors(root):
                    np.save(rows, collection.rows.numpy())
                shared = ("labels", "classes", "parts", "groups", "weights", "copies")
                rest = {name: getattr(collection, name) for name in shared}
                yield cls(collection.content, rows=rows, rest=rest | {"size": collection.size})
        finally:
            del _open[collection.content]
            rows.unlink(missing_ok=True)

    def open(self) -> Collection:
        """The collection, read once per process.

        Raises:
            DataError: The files changed since the comparison began.
        """
        if self.content not in _open:
            _open.clear()
            _open[self.content] = self._read()
        return _open[self.content]

    def _read(self) -> Collection:
        if self.rows is not None:
            # Copy-on-write lets torch take the memory as it is, and a stray write could never reach the file.
            rows = torch.from_numpy(np.load(self.rows, mmap_mode="c"))
            names = to_names(np.arange(len(rows)).astype(object).astype(str))
            return Collection(rows=rows, names=names, values=self.rest["classes"], content=self.content, **self.rest)
        assert self.sources is not None
        collection, _ = held_out_test(load(**self.sources))
        if collection.content != self.content:
            raise DataError("the images changed during the comparison; start again in another folder")
        return collection


def _is_files(source: Any) -> bool:
    """Whether a source is a folder or manifest, or a list of them, whose decoded images are in the store."""
    if isinstance(source, (list, tuple)):
        return bool(source) and all(map(_is_files, source))
    return isinstance(source, (str, os.PathLike)) and Path(source).expanduser().exists()
