"""Automatic labels as a manifest: what a classifier is confident of, to train on elsewhere."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import UserError
from understudy.core.files import atomic
from understudy.core.outputs import check_output
from understudy.data.sources.manifest import written_paths
from understudy.recipes.parts.pool_labels import below_text

COLUMNS = ("path", "label", "confidence", "weight", "split", "source")


@dataclass(frozen=True, eq=False)
class AutomaticLabels:
    """Files that a classifier is confident of.

    Args:
        files: Paths of the images.
        label: Their most probable class.
        confidence: Its probability.
        weight: How much the row should count: (confidence - 1/k) / (1 - 1/k) for k classes, which is 0 at chance and 1
            at certainty.
        num_asked: Files among which they were chosen.
    """

    files: tuple[str, ...]
    label: tuple[str, ...]
    confidence: NDArray[np.float64]
    weight: NDArray[np.float64]
    num_asked: int

    def save(self, path: str | Path) -> None:
        """Write a manifest that `load` reads: path, label, confidence, weight, split, source.

        Paths are relative to its folder, or absolute when an image is not below it. The source is `model`: such labels
        train, and never validate or test.

        Raises:
            UserError: The name ends in neither .csv nor .parquet, or the file cannot be written.
        """
        path = Path(path)
        check_table_name(path)
        files = written_paths(self.files, path.parent)
        train, source = ["train"] * len(files), ["model"] * len(files)
        columns = {"path": files, "label": list(self.label), "confidence": self.confidence, "weight": self.weight}
        with atomic(path, parents=True) as temporary:
            if path.suffix.lower() == ".parquet":
                import pyarrow
                import pyarrow.parquet

                table = pyarrow.table({**columns, "split": train, "source": source})
                pyarrow.parquet.write_table(table, temporary)
            else:
                numbers = ([f"{value:.6f}" for value in column] for column in (self.confidence, self.weight))
                with temporary.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(COLUMNS)
                    writer.writerows(zip(files, self.label, *numbers, train, source, strict=True))


def check_table_name(path: Path, reads: Sequence[str] = (), *, overwrite: bool = True) -> None:
    """Refuse a path where a table of labels cannot be written.

    Raises:
        UserError: It ends in neither .csv nor .parquet, is a folder, is read, exists already, or cannot be written.
    """
    check_output(path, "a table of labels", (".csv", ".parquet"), option="--out", reads=reads, overwrite=overwrite)


def check_choice(threshold: float, per_class: int) -> None:
    """Refuse settings that select nothing.

    Raises:
        UserError: The threshold is no probability, or the number of images is negative.
    """
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold is {threshold:g}; give the least confidence of a label, from 0 to 1")
    if per_class < 0:
        raise UserError(f"--per-class is {per_class}; give the most images of a class, or 0 for all")


def files_of(source: str | Path, names: Sequence[str]) -> list[str]:
    """The files that a source's names stand for.

    Raises:
        UserError: The source is neither a folder nor a manifest, so that its images are no files.
    """
    path = Path(source).expanduser()
    if not path.is_dir() and not (path.suffix.lower() in (".csv", ".parquet") and path.exists()):
        raise UserError(f"{str(source)!r} is neither a folder of images nor a manifest; labels are written for files")
    root = path if path.is_dir() else path.parent
    return [os.path.join(root, name) for name in names]


def select_labels(
    files: Sequence[str],
    classes: Sequence[str],
    probabilities: NDArray[np.float32],
    *,
    threshold: float = 0.9,
    per_class: int = 0,
) -> AutomaticLabels:
    """The images whose most probable class has at least that probability, in the order given.

    Args:
        threshold: From 0 to 1.
        per_class: Most images of each class, the most confident ones; 0 is all.

    Raises:
        UserError: No image is that confident.
    """
    if not len(files):
        raise UserError("there is no image to label; name a folder or manifest that holds some")
    label, confidence = probabilities.argmax(-1), probabilities.max(-1).astype(np.float64)
    kept = confidence >= threshold
    if not kept.any():
        raise UserError(
            f"no label reaches a confidence of {threshold:g}, the highest is "
            f"{below_text(float(confidence.max()), threshold)}; "
            "lower --threshold, or train for longer"
        )
    if per_class:
        order = np.lexsort((-confidence, label))
        counts = np.bincount(label, minlength=len(classes))
        place = np.empty(len(label), np.int64)  # of an image among those of its class, the most confident first
        place[order] = np.arange(len(label)) - (np.cumsum(counts) - counts)[label[order]]
        kept &= place < per_class
    chosen = np.flatnonzero(kept)
    chance = 1 / len(classes)
    return AutomaticLabels(
        files=tuple(files[at] for at in chosen.tolist()),
        label=tuple(classes[index] for index in label[chosen].tolist()),
        confidence=confidence[chosen],
        weight=((confidence[chosen] - chance) / (1 - chance)).clip(0, 1),
        num_asked=len(files),
    )
