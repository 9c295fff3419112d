"""`understudy.suggest`: the images most worth labeling, as a table to fill in and a sheet to look at."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.arguments import check
from understudy.core.brief import Brief, listing
from understudy.core.errors import DataError, UserError
from understudy.core.files import atomic
from understudy.core.outputs import check_output
from understudy.core.types import Observe
from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.data.sources.columns import read_columns
from understudy.data.sources.manifest import written_paths
from understudy.display.with_progress import CALLBACKS, with_progress
from understudy.engine.predict import predict
from understudy.inspection.active_selection import (
    Selection,
    candidates,
    sample_labeled,
    select_typical,
    select_uncertain,
)
from understudy.inspection.contact_sheet import pictures
from understudy.inspection.embedding import embed
from understudy.reports.pages.suggestions import suggestions_page
from understudy.reports.write import check_page_name, write_page
from understudy.serving.label_table import files_of
from understudy.serving.predictor import Predictor

Watch = Callable[[str, int, int], None]

COLUMNS = ("path", "label", "order", "reason", "cluster")
_PREFIX = "unlabeled:"  # of the names of unlabeled images beside labeled ones


@dataclass(frozen=True, eq=False, repr=False)
class Suggestions(Brief):
    """Images to label, the most useful first.

    Args:
        source: The unlabeled images as given.
        names: Path of each image below the folder, or its position.
        reasons: Why each image was selected.
        clusters: Number of the cluster that each image represents.
        why: How the images were selected, in a sentence.
        notes: What was left out.
        pictures: Small images (n, height, width, 3); none for vectors.
    """

    source: Any
    names: tuple[str, ...]
    reasons: tuple[str, ...]
    clusters: tuple[int, ...]
    why: str
    notes: tuple[str, ...]
    pictures: NDArray[np.uint8]

    def brief(self) -> tuple[str, ...]:
        """The number of images, the first of them, and how they were selected."""
        return (f"{len(self.names):,} images to label: {listing(self.names)}", self.why, *self.notes)

    def save(self, path: str | Path) -> Path:
        """Write a manifest with an empty label column to fill in, which `train` then reads, and return its path.

        Raises:
            UserError: The name does not end in .csv, the images are in memory, or the file cannot be written.
        """
        check(path=path)
        path = Path(path)
        check_table_name(path)
        if not isinstance(self.source, str | os.PathLike):
            raise UserError(
                "a table of suggestions lists files, and these images were given in memory; take their names"
            )
        written = written_paths(files_of(os.fspath(self.source), self.names), path.parent)
        # Excel shows accents only in a file with a byte order mark.
        with atomic(path, parents=True) as temporary, temporary.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for at, name in enumerate(written):
                writer.writerow((name, "", at + 1, self.reasons[at], self.clusters[at]))
        return path

    def sheet(self, path: str | Path = "suggested.html") -> Path:
        """Write the images with numbers and names as one self-contained HTML file, and return its path.

        Raises:
            UserError: The name is not that of an HTML file, or the file cannot be written.
        """
        check(path=path)
        path = Path(path)
        check_page_name(path)
        title = Path(self.source).name if isinstance(self.source, str | os.PathLike) else "images given in memory"
        page = suggestions_page(title, self.names, self.reasons, self.pictures, why=self.why, notes=self.notes)
        return write_page(page, path, figures=False)


@with_progress(arguments=CALLBACKS)
def suggest(
    unlabeled: Any,
    *,
    count: int = 100,
    run: str | Path | None = None,
    network: nn.Module | str | Callable[[], nn.Module] | None = None,
    labeled: Any = None,
    seed: int = 0,
    cache: str | Path | None = None,
    decoding: Observe | None = None,
    observe: Watch | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
) -> Suggestions:
    """Select the unlabeled images that are most worth labeling.

    Each is the most typical image of a cluster of similar ones, largest clusters first; with a run, clusters of images
    that it is uncertain about come first.

    Args:
        unlabeled: Unlabeled images, as for `understudy.train`.
        count: Number of images to label.
        run: Folder of a finished run: prefer images that its classifier is uncertain about.
        network: Your own module, for a run that trained one; see `Predictor.load`.
        labeled: Images that are already labeled; what looks like them is not suggested.
        seed: Random seed.
        cache: Folder that caches decoded images for later calls.
        decoding: Called with the number of images decoded and the total; replaces the display.
        observe: Called with the name of the current task, the number of images done and the total; replaces the
            display.
        quiet: No display.

    Examples:
        >>> import understudy
        >>> from sklearn.datasets import load_digits
        >>> suggestions = understudy.suggest(load_digits().images[:100], count=3, quiet=True)
        >>> len(suggestions.names)
        3

    Raises:
        UserError: An argument cannot be used; the message says what to do.
    """
    check(count=count, run=run, seed=seed, cache=cache, decoding=decoding, observe=observe)
    if network is not None and run is None:
        raise UserError("network is given without run; it says how to load the network of a finished run")
    predictor = None if run is None else Predictor.load(run, network)
    collection = _read(unlabeled, labeled, predictor, cache, decoding)
    known = np.flatnonzero(collection.labels >= 0)
    inside = np.flatnonzero(collection.labels < 0)
    if labeled is not None:
        inside = inside[np.strings.startswith(collection.names[inside], _PREFIX)]
    chosen, num_blank, num_copies = candidates(collection, inside, known, count, seed)
    notes = _notes(collection, len(inside), len(chosen), num_blank, num_copies)
    if count > len(chosen):
        raise DataError(
            f"{count:,} images were asked for and there are {len(chosen):,} to select from"
            f"{_without(num_blank, num_copies)}; ask for fewer, or add images"
        )
    near = sample_labeled(known, seed)
    rows = embed(collection, np.concatenate([chosen, near]), seed=seed, observe=_telling(observe, "looking at images"))
    features, others = rows[: len(chosen)], rows[len(chosen) :]
    probabilities = None
    if predictor is None:
        selection = select_typical(features, others, count, seed=seed)
    else:
        data = predictor.as_data(collection)
        probabilities = predict(
            predictor.network,
            data,
            chosen,
            test_time_averaging=predictor.test_time_averaging,
            observe=_telling(observe, "asking the run"),
        )
        selection = select_uncertain(features, others, probabilities, count, seed=seed)
    ids = chosen[selection.rows]
    names = tuple(str(name).removeprefix(_PREFIX if labeled is not None else "") for name in collection.names[ids])
    return Suggestions(
        source=unlabeled,
        names=names,
        reasons=_reasons(selection, probabilities, () if predictor is None else predictor.classes),
        clusters=tuple(selection.cluster.tolist()),
        why=_why(predictor, len(known)),
        notes=notes,
        pictures=pictures(collection, ids) if collection.is_images else np.zeros((0, 1, 1, 3), np.uint8),
    )


def check_table_name(path: Path, reads: Sequence[str] = (), *, overwrite: bool = True) -> None:
    """Validate the name of a table of suggestions to be written.

    Raises:
        UserError: It is that of another kind of file, of a folder, or of a table that labels were filled in or that is
            read, it exists already, or it cannot be written.
    """
    check_output(path, "a table of suggestions", (".csv",), option="--out", reads=reads)
    if _holds_labels(path):  # not even --overwrite replaces these
        raise UserError(f"{path} holds labels that were filled in and would be lost; give another file with --out")
    if not overwrite:
        check_output(path, "a table of suggestions", option="--out", overwrite=False)


def _holds_labels(path: Path) -> bool:
    """Whether there is a table of that name with at least one label in it; one that cannot be read may have some."""
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        columns, _, _ = read_columns(path)  # in whatever form a spreadsheet saved it
    except DataError:
        return True
    return "label" in columns and any(label.strip() for label in columns["label"].to_pylist())


def _read(
    unlabeled: Any, labeled: Any, predictor: Predictor | None, cache: Any, decoding: Observe | None
) -> Collection:
    """The unlabeled images, and the labeled images if there are any, in the form that the run's classifier takes.

    Raises:
        DataError: They do not fit the classifier.
    """
    size, channels = None, None
    if predictor is not None and len(predictor.shape) == 3:
        channels, size = predictor.shape[:2]
    ranges = None if predictor is None else predictor.ranges
    collection = load(
        labeled, unlabeled=unlabeled, size=size, channels=channels, cache=cache, observe=decoding, ranges=ranges
    )
    if predictor is not None and collection.shape != predictor.shape:
        raise DataError(
            f"the rows have shape {collection.shape} and the run was trained on {predictor.shape}; give images or "
            "vectors of the same kind"
        )
    return collection if predictor is None or labeled is None else collection.in_classes(predictor.classes)


def _telling(observe: Watch | None, what: str) -> Observe | None:
    """An observer of one piece of work."""
    return None if observe is None else partial(observe, what)


def _reasons(
    selection: Selection, probabilities: NDArray[np.float32] | None, classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Why each image was selected."""
    found = []
    for row, size in zip(selection.rows, selection.size, strict=True):
        stands = f"represents {size:,} similar images" if size > 1 else "unlike all others"
        if probabilities is None:
            found.append(stands)
            continue
        second, first = np.argsort(probabilities[row], kind="stable")[-2:]
        sure, other = (100 * float(probabilities[row, at]) for at in (first, second))
        found.append(f"{classes[first]} {sure:.0f} % or {classes[second]} {other:.0f} %, {stands}")
    return tuple(found)


def _why(predictor: Predictor | None, num_labeled: int) -> str:
    away = " Images similar to a labeled one are skipped." if num_labeled else ""
    if predictor is not None:
        return (
            "Each represents a group of similar images; groups on which the run is uncertain come first and are "
            f"smaller.{away}"
        )
    return f"Each is the most typical image of a group of similar images, the largest groups first.{away}"


def _notes(collection: Collection, total: int, looked_at: int, num_blank: int, num_copies: int) -> tuple[str, ...]:
    """What was left out."""
    found = []
    if collection.quarantine:
        found.append(f"Files that could not be read, and are not suggested: {len(collection.quarantine):,}.")
    if num_copies:
        found.append(f"Copies of other images, which are not suggested: {num_copies:,}.")
    if num_blank:
        found.append(f"Blank images, which are not suggested: {num_blank:,}.")
    if looked_at + num_blank + num_copies < total:
        found.append(f"Chosen among {looked_at:,} random ones of {total:,} images.")
    return tuple(found)


def _without(num_blank: int, num_copies: int) -> str:
    parts = [f"{number:,} {what}" for number, what in ((num_blank, "blank"), (num_copies, "copies")) if number]
    return f" ({' and '.join(parts)} left out)" if parts else ""
