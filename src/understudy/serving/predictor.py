"""A trained classifier with all it needs to read new images: classes, size, channels and domain."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.augment import DOMAINS, Augmentation
from understudy.core.arguments import check, quoted
from understudy.core.brief import Brief, as_html, listing
from understudy.core.errors import DataError, RunFolderError, UnderstudyWarning, UserError
from understudy.core.files import FORMAT, check_format, explain_write_errors, read_json, write_json
from understudy.core.outputs import check_output
from understudy.core.text import counted
from understudy.core.types import Observe
from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.data.training_data import TrainingData
from understudy.data.value_ranges import Range
from understudy.engine.predict import predict
from understudy.engine.rundir import load_tensors, save_weights
from understudy.models import as_module, build, check_network, is_code, prepared

_FIELDS = ("network", "classes", "shape", "domain", "test_time_averaging")

_SHOWN = 5  # images or files listed in a text; more would hide its sentence


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(Brief):
    """What the classifier says of each image.

    Args:
        names: One text per image: its path below the source's folder, or its position.
        probabilities: Class probabilities (n, k).
        quarantine: (name, reason) of files that could not be read.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    quarantine: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def brief(self) -> tuple[str, ...]:
        """How many images, and the first of them."""
        first = [f"{name}: {label} ({confidence})" for name, label, confidence in self._first()]
        more = [f"and {len(self.names) - _SHOWN:,} more"] if len(self.names) > _SHOWN else []
        return (f"of {counted(len(self.names), 'image')}", *first, *more)

    def _first(self) -> list[tuple[str, str, str]]:
        """Name, class and confidence of the first images."""
        confidence = self.probabilities[:_SHOWN].max(-1) if len(self.names) else ()
        shares = [f"{100 * share:.0f} %" for share in confidence]
        return list(zip(self.names[:_SHOWN], self.labels[:_SHOWN], shares, strict=True))

    def _repr_html_(self) -> str:
        first = self._first()
        lines = self.brief()
        return as_html(self, (lines[0], *lines[1 + len(first) :]), [("image", "class", "confidence"), *first])

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each image."""
        return tuple(self.classes[index] for index in self.probabilities.argmax(-1))

    def save(self, path: str | Path) -> None:
        """Write a table with file, label, confidence, and one probability column per class, as CSV or Parquet.

        Raises:
            UserError: The file name ends in neither .csv nor .parquet, or the file cannot be written.
        """
        check(path=path)
        path = Path(path)
        check_output(path, "a table of predictions", (".csv", ".parquet"))
        confidence = self.probabilities.max(-1) if len(self.names) else np.zeros(0, np.float32)
        columns: dict[str, Any] = {"file": self.names, "label": self.labels, "confidence": confidence}
        columns |= {f"p_{name}": self.probabilities[:, index] for index, name in enumerate(self.classes)}
        with explain_write_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".parquet":
                import pyarrow
                import pyarrow.parquet

                pyarrow.parquet.write_table(pyarrow.table({name: list(value) for name, value in columns.items()}), path)
            else:
                texts = [
                    value if isinstance(value, tuple) else [f"{v:.6f}" for v in value] for value in columns.values()
                ]
                with path.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(columns)
                    writer.writerows(zip(*texts, strict=True))


@dataclass(frozen=True, eq=False, repr=False)
class Predictor(Brief):
    """A classifier in evaluation mode, and how images have to be read for it.

    Args:
        test_time_averaging: Whether its predictions are averaged over shifts and mirrors of an image, as its
            test predictions were.
        hflip: Whether mirrored images are among these; as the domain has it if None.
        ranges: The values that were black and white in training, for each kind of value with more than 8 bits. None to
            measure them on what is predicted, for a run that does not say.

    Examples:
        >>> import understudy
        >>> from sklearn.datasets import load_digits
        >>> options = {"num_labels": 40, "method": "supervised", "budget": "10steps", "plan": False, "quiet": True}
        >>> predictor = understudy.train("digits", **options).predictor
        >>> predictor.predict(load_digits().images[:3] / 16).probabilities.shape
        (3, 10)
    """

    network: nn.Module
    network_name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    domain: str
    test_time_averaging: bool = False
    hflip: bool | None = None
    ranges: Mapping[str, Range] | None = None

    def brief(self) -> tuple[str, ...]:
        """Network, input and classes."""
        shape = " x ".join(map(str, self.shape))
        return (
            f"{self.network_name} for inputs of {shape}, domain {self.domain}; {len(self.classes):,} classes: "
            f"{listing(self.classes)}",
        )

    @classmethod
    def load(cls, folder: str | Path, network: nn.Module | str | Callable[[], nn.Module] | None = None) -> Predictor:
        """The classifier that a run folder delivers.

        Args:
            network: The user's own module, for a run that trained one, or what builds it, also as `file.py:factory` or
                `package.module:factory`; the module is copied. Code is run only if it is named here.

        Raises:
            UserError: The folder holds no finished run, is damaged or newer, or its network is the user's own module.
        """
        check(run=folder)
        folder = Path(folder)
        if folder.is_file():
            raise RunFolderError(f"{folder} is a file, and a run folder is wanted; name the folder of a training run")
        if not folder.is_dir():
            raise RunFolderError(f"{folder} is not there; name the folder that a training run was saved in")
        if not (folder / "model.json").exists():
            raise RunFolderError(f"{folder} holds no finished run; name a run folder, or let the training finish first")
        about = read_json(folder / "model.json")
        check_format(about, folder)
        missing = [name for name in _FIELDS if name not in about]
        if missing:
            raise RunFolderError(f"{folder / 'model.json'} lacks {', '.join(missing)}; train again")
        shape, classes = tuple(about["shape"]), tuple(about["classes"])
        if network is None:
            if about["network"].startswith("module:") or is_code(about["network"]):
                raise UserError(
                    f"{folder} was trained on your own {about['network'].removeprefix('module:')}, whose code is not "
                    "in the folder; name it with --network file.py:factory, or in Python with "
                    "Predictor.load(folder, network=...)"
                )
            network = build(about["network"], shape=shape, num_classes=len(classes))
        elif isinstance(network, str) and not is_code(network):
            raise UserError(f"network is {quoted(network)}; name your own as file.py:factory or package.module:factory")
        else:
            is_module = about["network"].startswith("module:")  # else it was built by name, for pixels in [0, 1]
            ranges = _ranges(about.get("ranges")) if is_module else None
            network = prepared(as_module(network), shape, len(classes), ranges)[0]
        saved = load_tensors(folder / "model.safetensors")
        if saved is None:
            raise RunFolderError(f"{folder / 'model.safetensors'} is missing or damaged; train again")
        try:
            network.load_state_dict(saved[0])
        except RuntimeError as error:
            reason = str(error).split("\n")[-1].strip()
            raise RunFolderError(f"the weights in {folder} do not fit {about['network']}: {reason}") from None
        check_network(network, shape, len(classes))
        return cls(
            network.eval(),
            about["network"],
            classes,
            shape,
            about["domain"],
            about["test_time_averaging"],
            about.get("hflip"),
            _ranges(about.get("ranges")),
        )

    def save(self, folder: Path) -> None:
        """Write weights and description into a folder, from which `load` reads them without running any code."""
        save_weights(folder / "model.safetensors", dict(self.network.state_dict()))
        about: dict[str, Any] = {"network": self.network_name, "classes": list(self.classes), "shape": list(self.shape)}
        about |= {"domain": self.domain, "test_time_averaging": self.test_time_averaging, "hflip": self.hflip}
        about["ranges"] = None if self.ranges is None else {kind: list(pair) for kind, pair in self.ranges.items()}
        write_json(folder / "model.json", {"format": FORMAT, **about})

    def read(self, source: Any, *, cache: str | Path | None = None, observe: Observe | None = None) -> Collection:
        """The images of a source in this classifier's size and channels, without labels.

        Every path of a list is a row, in the order of the list, also where a path repeats; files that could not be read
        are in `quarantine` instead.
        """
        size, channels = (self.shape[1], self.shape[0]) if len(self.shape) == 3 else (None, None)
        source = _as_rows(source, self.shape)
        collection = load(
            unlabeled=source,
            size=size,
            channels=channels,
            cache=cache,
            observe=observe,
            ranges=self.ranges,
            distinct=False,
        )
        if collection.shape != self.shape:
            raise DataError(
                f"the rows have shape {collection.shape} and the classifier was trained on {self.shape}; "
                "give images or vectors of the same kind"
            )
        return collection

    def predict(
        self,
        source: Any,
        *,
        cache: str | Path | None = None,
        observe: Observe | None = None,
        decoding: Observe | None = None,
        test_time_averaging: bool | None = None,
    ) -> Predictions:
        """Class probabilities of every image of a source, a row per image, for a list in its order.

        A file that cannot be read has no row; an `UnderstudyWarning` and `quarantine` name it.

        Args:
            source: A folder of images, a manifest, an array, or anything else that training reads; or one image: a
                path, a Pillow image, the bytes of a file, or an array h w, h w c or c h w.
            observe: Called with (images predicted, images in all).
            decoding: Called with (images decoded, images in all).
            test_time_averaging: Overrules the classifier's own setting.
        """
        check(cache=cache, observe=observe, decoding=decoding, test_time_averaging=test_time_averaging)
        if isinstance(source, Collection):
            collection = source
        else:
            collection = self.read(source, cache=cache, observe=decoding)
            _warn_of(collection)
        probabilities = predict(
            self.network,
            self.as_data(collection),
            np.arange(len(collection)),
            observe=observe,
            test_time_averaging=self.test_time_averaging if test_time_averaging is None else test_time_averaging,
        )
        names = tuple(str(name) for name in collection.names)
        return Predictions(names, self.classes, probabilities, collection.quarantine)

    def as_data(self, collection: Collection) -> TrainingData:
        """The collection as rows to render, none of them for training."""
        nobody = np.zeros(0, dtype=np.int64)
        return TrainingData(
            rows=collection.rows,
            labeled=nobody,
            targets=torch.zeros(0, dtype=torch.long),
            unlabeled=nobody,
            classes=self.classes,
            domain=Augmentation(hflip=self.hflip).of(DOMAINS[self.domain]),
            size=collection.size or 0,
        )


def _warn_of(collection: Collection) -> None:
    """Warn of the files that have no row, since the predictions are then fewer than the files."""
    unusable = collection.quarantine
    if not unusable:
        return
    first = ", ".join(f"{name} ({reason})" for name, reason in unusable[:_SHOWN])
    more = f" and {len(unusable) - _SHOWN:,} more" if len(unusable) > _SHOWN else ""
    warnings.warn(
        f"{len(unusable):,} of {len(collection) + len(unusable):,} images could not be used and "
        f"{'has' if len(unusable) == 1 else 'have'} no row; see `quarantine`: {first}{more}",
        UnderstudyWarning,
        stacklevel=3,
    )


def _as_rows(source: Any, shape: tuple[int, ...]) -> Any:
    """The source; an array or tensor of one image or vector as the one row of a classifier of rows of this shape."""
    if not isinstance(source, (np.ndarray, torch.Tensor)):
        return source
    if len(shape) == 1:
        return source[None] if source.ndim == 1 else source
    if source.ndim == 2:
        return source[None]
    if source.ndim != 3:
        return source
    # (3, h, w) is one color image to a classifier of color images, and three gray ones to one of gray images. Gray
    # images 3 px wide do not occur, so (h, w, 3) is one color image to both.
    channels_first = source.shape[0] in (1, 3) and shape[0] == 3
    return source[None] if channels_first or source.shape[2] in (1, 3) else source


def _ranges(saved: Mapping[str, list[float]] | None) -> dict[str, Range] | None:
    return None if saved is None else {kind: (low, high) for kind, (low, high) in saved.items()}
