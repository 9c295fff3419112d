"""`understudy.split`: labeled images divided into training, validation and test images, and their manifest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.arguments import check, quoted
from understudy.core.brief import Brief
from understudy.core.errors import UserError
from understudy.core.outputs import check_output
from understudy.core.text import agree, capitalized, counted
from understudy.core.types import Observe
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.data.saved_split import divide
from understudy.display.with_progress import with_progress
from understudy.inspection.cleaning import Origin, manifest_columns, write_table

# The usual shares: a fifth for testing, as where `train` holds images out itself, and half as many for validation.
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
SPLITS = ("train", "validation", "test", "unlabeled")
_DECODING = {"decoding": "decoding"}


@dataclass(frozen=True, eq=False, repr=False)
class Division(Brief):
    """Labeled images divided into training, validation and test images.

    Args:
        source: The images as given.
        splits: For each row of the collection "train", "validation", "test" or "unlabeled"; "" if it is left out.
        notes: Where the images did not allow the shares, and what was left out.
    """

    source: Any
    collection: Collection
    splits: NDArray[np.object_]
    notes: tuple[str, ...]

    def brief(self) -> tuple[str, ...]:
        """The number of images of each split, and the notes."""
        return (self.summary(), *self.notes)

    def summary(self) -> str:
        """The number of images, and of those in each split."""
        counts = {name: int((self.splits == name).sum()) for name in SPLITS}
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"{counted(sum(counts.values()), 'image')}: {listed}"

    def per_class(self) -> dict[str, dict[str, int]]:
        """The number of labeled images by split, then by class; splits without images are left out."""
        labels, classes = self.collection.labels, self.collection.classes
        names = [name for name in SPLITS[:3] if (self.splits == name).any()]
        return {
            name: {label: int((self.splits[labels == code] == name).sum()) for code, label in enumerate(classes)}
            for name in names
        }

    def save(self, path: str | Path = "split.csv") -> Path:
        """Write a manifest with a column `split`, which `train` then reads, and return its path.

        Raises:
            UserError: The name does not end in .csv or .parquet, the images are in memory, or
                the file cannot be written.
        """
        check(path=path)
        path = Path(path)
        check_manifest_name(path)
        if not isinstance(self.source, str | os.PathLike):
            raise UserError("a manifest lists files, and these images were given in memory; take `splits` instead")
        origin = Origin(os.fspath(self.source))
        rows = np.flatnonzero(self.splits != "")
        splits = [str(name) for name in self.splits[rows]]
        write_table(manifest_columns(self.collection, rows, splits, origin, path), path)
        return path


@with_progress(arguments=_DECODING)
def split(
    source: Any,
    *,
    validation: float | None = None,
    test: float | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    decoding: Observe | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
) -> Division:
    """Split labeled images into training, validation and test images.

    Every class is split by the same shares. Images of one group, and copies of one image, stay together. Images that
    the source names as validation or test images keep their role. Equal seeds give equal splits.

    Args:
        source: Labeled images, as for `understudy.train`.
        validation: Share of each class for validation, a tenth by default; 0 for none.
        test: Share of each class for testing, a fifth by default; 0 for none.
        seed: Random seed.
        cache: Folder that caches decoded images for later calls.
        decoding: Called with the number of images decoded and the total; replaces the display.
        quiet: No display.

    Examples:
        >>> import understudy
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> understudy.split((digits.images, digits.target), test=0.25, quiet=True).summary()
        '1,797 images: 1,168 train, 179 validation, 450 test'

    Raises:
        UserError: The shares leave no images to train on, or the images cannot be used or divided.
    """
    check_shares(validation, test)
    check(seed=seed, cache=cache, decoding=decoding)
    collection = load(source, cache=cache, observe=decoding)
    name = source if isinstance(source, str | os.PathLike) else "the source"
    notes = [*collection.notes]
    shares: dict[Part, float] = {}
    for part, share, default in (
        (Part.VALIDATION, validation, VALIDATION_SHARE),
        (Part.TEST, test, TEST_SHARE),
    ):
        role = part.name.lower()
        if not (collection.parts == part).any():
            shares[part] = default if share is None else share
        elif share:
            raise UserError(f"{name} has {role} images of its own; leave {role} out, or remove them from {name}")
        else:
            notes.append(f"The {role} images of {name} keep their role.")
    parts, more = divide(collection, shares, seed)
    notes = [f"{capitalized(note).removesuffix('.')}." for note in (*notes, *more)]
    if collection.quarantine:
        number = len(collection.quarantine)
        notes.append(f"{counted(number, 'file')} could not be read and {agree(number, 'is', 'are')} not listed.")
    return Division(source, collection, _names_of(collection, parts), tuple(notes))


def check_shares(validation: float | None, test: float | None) -> None:
    """Validate the shares.

    Raises:
        UserError: A share is not from 0 to 1, or the shares leave nothing to train on, or are both 0.
    """
    for name, share in (("validation", validation), ("test", test)):
        if share is not None and not _is_share(share):
            raise UserError(f"{name} is {quoted(share)}; give a share from 0 to 1, such as 0.2")
    shares = (VALIDATION_SHARE if validation is None else validation, TEST_SHARE if test is None else test)
    if sum(shares) >= 1:
        raise UserError(
            f"validation {shares[0]:g} and test {shares[1]:g} leave no image to train on; give shares whose sum is "
            "under 1"
        )
    if sum(shares) == 0:
        raise UserError("validation and test are both 0, so there is nothing to split; give one of them a share")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(0 <= value < 1)


def check_manifest_name(path: Path, *, overwrite: bool = True) -> None:
    """Validate the name of a manifest to be written.

    Raises:
        UserError: It ends in neither .csv nor .parquet, is a folder, exists already, or cannot be written.
    """
    check_output(path, "a manifest", (".csv", ".parquet"), option="--out", overwrite=overwrite)


def _names_of(collection: Collection, parts: NDArray[np.uint8]) -> NDArray[np.object_]:
    """The value of the column `split` for each row."""
    names = {Part.TRAIN: "train", Part.PSEUDO: "train", Part.VALIDATION: "validation", Part.TEST: "test"}
    splits = np.array([names.get(Part(part), "") for part in parts], dtype=object)
    splits[(parts == Part.TRAIN) & (collection.labels < 0)] = "unlabeled"
    return splits
