"""Data sets known by name: the embedded digits, torchvision's, and Hugging Face's."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.errors import ConfigError, DataError, nearest
from understudy.core.seeding import generator
from understudy.core.types import Observe
from understudy.data.collection import Part
from understudy.data.sizing import Form
from understudy.data.sources.arrays import read_arrays
from understudy.data.sources.dataset import is_dataset, read_dataset
from understudy.data.table import Table, concatenate, to_names
from understudy.data.value_ranges import Ranges

NUM_DIGITS_TEST = 500  # shows a gain of 3 points and leaves 1,297 images to train on
_HUGGING_FACE_PARTS = {
    "train": Part.TRAIN,
    "validation": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "val": Part.VALIDATION,
    "test": Part.TEST,
    "unsupervised": Part.TRAIN,
    "unlabeled": Part.TRAIN,
}
_TORCHVISION_PARTS = {"train": Part.TRAIN, "val": Part.VALIDATION, "test": Part.TEST, "unlabeled": Part.TRAIN}


def is_named(source: Any) -> bool:
    """Whether the text is the name of a data set, not a path."""
    return isinstance(source, str) and (source == "digits" or source.startswith(("torchvision:", "hf:")))


def read_named(
    source: str,
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    observe: Observe | None = None,
    ranges: Ranges | None = None,
) -> Table:
    """The data set called `digits`, `torchvision:NAME`, `torchvision:NAME@FOLDER` or `hf:PATH`.

    Raises:
        DataError: There is no such data set, its package is missing, or its files are not there.
    """
    if source == "digits":
        return _digits(form, size, channels)
    kind, _, name = source.partition(":")
    parts = _torchvision(name) if kind == "torchvision" else _hugging_face(name)
    return _read_all(parts, form, size, channels, observe, ranges)


def read_parts(
    source: Mapping[Any, Any],
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    observe: Observe | None = None,
    ranges: Ranges | None = None,
) -> Table:
    """The data sets of a dictionary by split, such as Hugging Face's `DatasetDict`.

    Raises:
        DataError: It is empty, or a value is not a data set.
        ConfigError: A key is not the name of a split.
    """
    if not source or not all(is_dataset(value) for value in source.values()):
        raise DataError(
            f"{type(source).__name__} has the keys {', '.join(map(str, source)) or '(none)'}; give a dictionary of "
            "data sets by split, as {'train': ..., 'test': ...}, or images and labels as a pair (X, y)"
        )
    return _read_all(_by_split(source, "the dictionary"), form, size, channels, observe, ranges)


def _read_all(
    parts: list[tuple[str, Part, Any]],
    form: Form | None,
    size: int | None,
    channels: int | None,
    observe: Observe | None,
    ranges: Ranges | None,
) -> Table:
    """The items of all data sets, whose names begin with the label of their data set where there are several."""
    tables: list[Table] = []
    ranges = ranges or Ranges()
    for label, part, dataset in parts:
        table = read_dataset(dataset, form=form, size=size, channels=channels, observe=observe, ranges=ranges)
        form = form or table.form
        names = table.names if len(parts) == 1 else np.strings.add(to_names([f"{label}/"]), table.names)
        tables.append(replace(table, names=names, parts=np.full(len(table), part, np.uint8)))
    return concatenate(tables)


def _digits(form: Form | None, size: int | None, channels: int | None) -> Table:
    """scikit-learn's 1,797 digits of 8x8 px, 500 of them drawn once and for all as the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    table = read_arrays(
        np.round(data.images * (255 / 16)).astype(np.uint8), data.target, form=form, size=size, channels=channels
    )
    parts = np.full(len(table), Part.TRAIN, np.uint8)
    seed = int(generator("digits").integers(2**31))
    _, test = train_test_split(
        np.arange(len(table)), test_size=NUM_DIGITS_TEST, stratify=data.target, random_state=seed
    )
    parts[test] = Part.TEST
    return replace(table, parts=parts)


def _torchvision(name: str) -> list[tuple[str, Part, Any]]:
    """(label, part, data set) of what the torchvision data set consists of, read from disk, never downloaded."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DataError(
            f"torchvision:{name} needs torchvision; install it with pip install 'understudy[zoo]'"
        ) from error
    name, _, folder = name.partition("@")
    folder = folder or os.environ.get("UNDERSTUDY_DATA") or "data"
    if name not in datasets.__all__:
        raise DataError(f"torchvision has no data set {name!r}; {nearest(name, datasets.__all__)}")
    kind = getattr(datasets, name)
    known = inspect.signature(kind).parameters
    settings: dict[str, Any] = {"root": folder} if "root" in known else {}
    if "download" in known:
        settings["download"] = False
    if "train" in known:
        choices: list[tuple[str, dict[str, Any]]] = [("train", {"train": True}), ("test", {"train": False})]
    elif "split" in known and name != "EMNIST":
        choices = [(split, {"split": split}) for split in _TORCHVISION_PARTS]
    else:
        choices = [("", {})]
    found, reasons = [], []
    for label, choice in choices:
        try:
            found.append((label, _TORCHVISION_PARTS.get(label, Part.FREE), kind(**settings, **choice)))
        except (RuntimeError, OSError, ValueError, TypeError, ImportError, AttributeError, LookupError) as error:
            reasons.append(" ".join(str(error).split())[:200])
    if not found:
        raise DataError(
            f"torchvision:{name} cannot be read from {folder}: {reasons[0]}; download it there yourself, "
            f"and name the folder as torchvision:{name}@FOLDER or in UNDERSTUDY_DATA"
        )
    return found


def _hugging_face(path: str) -> list[tuple[str, Part, Any]]:
    """(label, part, data set) of a data set saved on disk, or one that `load_dataset` knows."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"hf:{path} needs datasets; install it with pip install 'understudy[huggingface]'") from error
    folder = Path(path)
    saved = (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()
    try:
        loaded = datasets.load_from_disk(path) if saved else datasets.load_dataset(path)
    except Exception as error:  # the library raises whatever its parsers do
        raise DataError(f"hf:{path} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(loaded, dict):
        return [("", Part.FREE, loaded)]
    return _by_split(loaded, f"hf:{path}")


def _by_split(datasets: Mapping[Any, Any], what: str) -> list[tuple[str, Part, Any]]:
    """(label, part, data set) of data sets by the names of their splits."""
    unknown = sorted(set(map(str, datasets)) - set(_HUGGING_FACE_PARTS))
    if unknown:
        raise ConfigError(f"{what} has the split {unknown[0]!r}; {nearest(unknown[0], _HUGGING_FACE_PARTS)}")
    return [(str(label), _HUGGING_FACE_PARTS[str(label)], dataset) for label, dataset in datasets.items()]
