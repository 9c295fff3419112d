"""What a report is made of, read from a folder: a finished run, one cut short, or a comparison of many."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import RunFolderError
from understudy.core.files import DamagedError, JsonLines, load_arrays, unsealed

FORMAT = 1
RESULT, COMPARISON, HISTORY = "result.json", "comparison.json", "history.jsonl"


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A training run.

    Args:
        name: What it is called on the page: its folder's name.
        result: As `docs/report.md` describes it.
        pictures: Small images (n, height, width, 3), by the numbers in `result`.
        held_out: Names, labels and class probabilities by run of the test images.
        settings: All options it was trained with, as in its `config.toml`.
    """

    name: str
    result: Mapping[str, Any]
    pictures: NDArray[np.uint8]
    held_out: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which of the test images the delivered model gets right."""
        found: NDArray[np.bool_] = self.held_out[self.result["delivered"]].argmax(-1) == self.held_out["labels"]
        return found


@dataclass(frozen=True, eq=False)
class PartialRecord:
    """A run that has not ended: the evaluations there were, by name of the training."""

    name: str
    histories: Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class ComparisonRecord:
    """A comparison of methods, as its `comparison.json` holds it."""

    name: str
    found: Mapping[str, Any]


Record = RunRecord | PartialRecord | ComparisonRecord


def read(folder: Path) -> Record:
    """The record in a folder.

    Raises:
        RunFolderError: There is none, it is damaged, or a newer version wrote it.
    """
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is not there; name the folder that a training run or comparison was saved in")
    name = folder.resolve().name
    if (folder / RESULT).exists():
        result = _json(folder / RESULT)
        if "data" not in result:
            raise RunFolderError(f"{folder / RESULT} holds too little for a report; train again")
        pictures = _arrays(folder / "pictures.npz").get("images")
        if pictures is None:
            raise RunFolderError(f"{folder / 'pictures.npz'} is missing or damaged; train again")
        held_out = _arrays(folder / "held_out.npz")
        if not held_out:
            raise RunFolderError(f"{folder / 'held_out.npz'} is missing or damaged; train again")
        return RunRecord(name, result, pictures, held_out, _settings(folder / "config.toml"))
    if (folder / COMPARISON).exists():
        return ComparisonRecord(name, _json(folder / COMPARISON))
    if histories := _all_histories(folder):
        return PartialRecord(name, histories)
    if (folder / "identity.json").exists():
        if _json(folder / "identity.json").get("kind") == "comparison":
            raise RunFolderError(
                f"the comparison in {folder} has not ended; understudy compare --resume {folder} continues it"
            )
        raise RunFolderError(f"the run in {folder} has not been evaluated once yet; wait a little, or resume it")
    raise RunFolderError(f"{folder} holds neither a training run nor a comparison; name a folder of one of them")


def _json(path: Path) -> dict[str, Any]:
    try:
        found, _ = unsealed(path.read_text(encoding="utf-8"))
        version = found["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); train again") from None
    if version > FORMAT:
        raise RunFolderError(f"{path} was written by a newer version of understudy; upgrade to read it")
    return found


def _settings(path: Path) -> dict[str, Any]:
    """The options in a file; none if it is missing or damaged."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file; none if it is missing or damaged."""
    return load_arrays(path) or {}


def _all_histories(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Those of the run in a folder, and of its repeats or folds, whose names come first."""
    found = _histories(folder / HISTORY) if (folder / HISTORY).exists() else {}
    for part in sorted(path.parent for path in folder.glob(f"*/{HISTORY}")):
        found |= {f"{part.name}, {name}": lines for name, lines in _histories(part / HISTORY).items()}
    return found


def _histories(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines by run, without those that a resumed run made again."""
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        entries = JsonLines(path).entries
    except (DamagedError, OSError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete it and resume the run") from None
    for line in entries:
        run, step = line.pop("run"), line["step"]
        lines = found.setdefault(run, [])
        while lines and lines[-1]["step"] >= step:
            lines.pop()
        lines.append(line)
    return found
