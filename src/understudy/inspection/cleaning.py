"""A cleaned manifest without copies, leaks and blank images, and a table of what was left out and why."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.core.arguments import quoted
from understudy.core.errors import UserError, nearest
from understudy.core.files import atomic
from understudy.core.outputs import check_output
from understudy.core.types import Ids
from understudy.data import roles
from understudy.data.collection import Collection, Part
from understudy.data.sources.manifest import written_paths
from understudy.inspection.duplicates import NO_ROLE, POOL, ROLES, VALIDATION, Duplicates
from understudy.inspection.quality import QUALITY_KINDS
from understudy.inspection.result import Audit

ON_REQUEST = (
    *(kind for kind in QUALITY_KINDS if kind != "blank"),
    *("outliers", "unrelated", "label_errors", "conflicts"),
)
"""Findings left out only on request: a person knows better than a threshold whether the images are useful."""
_SPLITS = {Part.FREE: "", Part.TRAIN: "train", Part.PSEUDO: "train", Part.VALIDATION: "validation", Part.TEST: "test"}
_REASONS = {
    "label_errors": "suspected label error",
    "conflicts": "copies with different labels",
    "outliers": "outlier",
    "unrelated": "unlike the labeled",
}


@dataclass(frozen=True, eq=False)
class Cleaned:
    """The rows of a cleaned manifest, and those left out.

    Args:
        kept: Row numbers, ascending.
        left_out: Row numbers of the others, ascending.
        reasons: Why each of these was left out.
        kept_instead: The copy of each that is kept, -1 where there is none.
    """

    kept: Ids
    left_out: Ids
    reasons: tuple[str, ...]
    kept_instead: Ids

    def counts(self) -> dict[str, int]:
        """The number of rows left out for each reason, most common first."""
        names, counts = np.unique(np.array(self.reasons, dtype=object), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {str(names[at]): int(counts[at]) for at in order}


def check_kinds(kinds: Iterable[str]) -> None:
    """Validate the kinds of findings to leave out.

    Raises:
        UserError: A kind cannot be left out on request.
    """
    for kind in kinds:
        if not isinstance(kind, str) or kind not in ON_REQUEST:
            allowed = nearest(quoted(kind), ON_REQUEST)
            raise UserError(f"--drop names {quoted(kind)}; {allowed} (copies and blank images are always left out)")


def clean(audit: Audit, drop: Sequence[str] = ()) -> Cleaned:
    """The rows to keep. Of several copies the one in test is kept before validation, labeled and pool; ties go to the
    most common label, then to the sharpest image.

    Args:
        drop: Further kinds of findings to leave out, from `ON_REQUEST`.

    Raises:
        UserError: A kind is unknown.
    """
    check_kinds(drop)
    count = len(audit.collection)
    reasons = np.full(count, "", dtype=object)
    kept_instead = np.full(count, -1, np.int64)
    for kind in ("blank", *drop):
        finding = audit[kind]
        rows = finding.rows if kind != "conflicts" else _whole_groups(audit, finding.rows)
        if kind == "outliers":
            rows = rows[audit.roles[rows] == POOL]
        reasons[rows[reasons[rows] == ""]] = _REASONS.get(kind, kind)
    duplicates = Duplicates.of(audit.collection, audit.roles)
    sharpness = None if audit.edge_px is None else -audit.edge_px
    repeated = duplicates.redundant(audit.groups, reasons == "", sharpness)
    exact = duplicates.first_copy[repeated.rows] == duplicates.first_copy[repeated.partners]
    leaks = audit.roles[repeated.partners] >= VALIDATION
    leaks &= audit.roles[repeated.rows] < audit.roles[repeated.partners]
    for row, other, is_exact, is_leak in zip(repeated.rows, repeated.partners, exact, leaks, strict=True):
        what = f" of a {ROLES[audit.roles[other]]} image" if is_leak else ""
        reasons[row] = f"{'exact' if is_exact else 'near'} copy{what}"
    kept_instead[repeated.rows] = repeated.partners
    left_out = np.flatnonzero(reasons != "")
    return Cleaned(np.flatnonzero(reasons == ""), left_out, tuple(reasons[left_out].tolist()), kept_instead[left_out])


def _whole_groups(audit: Audit, rows: Ids) -> Ids:
    """The rows of every group of copies with conflicting labels."""
    groups = np.unique(audit.groups[rows])
    members: Ids = np.flatnonzero(np.isin(audit.groups, groups[groups >= 0]))
    return members


@dataclass(frozen=True)
class Origin:
    """The folders or manifests that a collection was loaded from."""

    source: str | None = None
    unlabeled: str | Sequence[str] | None = None
    test: str | None = None
    validation: str | None = None

    def sources(self) -> dict[str, str]:
        """The folders and manifests by the prefix of their rows' names."""
        held_out = {f"{roles.TEST}:": self.test, f"{roles.VALIDATION}:": self.validation}
        paths = {prefix: path for prefix, path in {roles.MAIN: self.source, **held_out}.items() if path is not None}
        if self.unlabeled is not None:
            pools = roles.sources_of(self.unlabeled, vectors=False, is_alone=not paths)
            paths |= {pool.prefix: pool.item for pool in pools}
        return paths

    def folders(self) -> dict[str, str]:
        """By the prefix of the rows' names, the folder that the rest of the name is relative to.

        Raises:
            UserError: A source is neither a folder nor a manifest.
        """
        return {prefix: _root(path) for prefix, path in self.sources().items()}

    def paths(self, names: Iterable[object]) -> list[str]:
        """The absolute path of the file behind each name."""
        folders = self.folders()
        paths = []
        for name in map(str, names):
            prefix = next((known for known in folders if known and name.startswith(known)), roles.MAIN)
            paths.append(os.path.join(folders[prefix], name.removeprefix(prefix)))
        return paths

    def check(self, path: Path, *, overwrite: bool = True) -> None:
        """Validate the path of a manifest before the audit, so that an hour of work is not lost.

        Raises:
            UserError: The suffix is not that of a manifest, the path would replace a source, or it exists already.
        """
        sources = [os.path.abspath(source) for source in self.sources().values()]
        for written in (path, left_out_path(path)):
            if os.path.abspath(written) in sources:
                raise UserError(f"{written} is one of the sources and would be overwritten; give another name")
            check_output(written, "a manifest", (".csv", ".parquet"), option="--write-manifest", overwrite=overwrite)
        self.folders()


def left_out_path(path: Path) -> Path:
    """The path of the table of rows left out of a manifest."""
    return path.with_name(f"{path.stem}-left-out{path.suffix}")


def write_manifest(audit: Audit, cleaned: Cleaned, origin: Origin, path: Path) -> Path:
    """Write a manifest of the rows kept, which `load` reads, with a table of those left out beside it; return its path.

    Raises:
        UserError: The files cannot be written.
    """
    origin.check(path)
    whole = audit.collection
    columns = manifest_columns(whole, cleaned.kept, _splits(audit, cleaned.kept), origin, path)
    left = _columns(whole, cleaned.left_out, _splits(audit, cleaned.left_out), origin, path)
    left["reason"] = list(cleaned.reasons)
    partners = cleaned.kept_instead
    kept_instead = written_paths(origin.paths(whole.names[partners]), path.parent) if len(partners) else []
    left["kept_instead"] = [name if at >= 0 else "" for name, at in zip(kept_instead, partners, strict=True)]
    for name, reason in whole.quarantine:
        for key, value in zip(
            left,
            (written_paths(origin.paths([name]), path.parent)[0], "", "", f"unreadable: {reason}", ""),
            strict=True,
        ):
            left[key].append(value)
    write_table(columns, path)
    write_table(left, left_out_path(path))
    return path


def manifest_columns(
    whole: Collection, rows: Ids, splits: Sequence[str], origin: Origin, path: Path
) -> dict[str, list[Any]]:
    """The columns of a manifest: path, label and split, and weight, source and group where the rows have them."""
    columns = _columns(whole, rows, splits, origin, path)
    if (whole.weights != 1).any():
        columns["weight"] = [float(weight) for weight in whole.weights[rows]]
    if (pseudo := whole.parts[rows] == Part.PSEUDO).any():
        columns["source"] = ["model" if by_model else "" for by_model in pseudo]
    if whole.groups is not None:
        columns["group"] = ["" if group < 0 else str(group) for group in whole.groups[rows]]
    return columns


def _columns(whole: Collection, rows: Ids, splits: Sequence[str], origin: Origin, path: Path) -> dict[str, list[Any]]:
    """The path, label and split of the rows."""
    names = [*whole.classes, ""]
    return {
        "path": written_paths(origin.paths(whole.names[rows]), path.parent),
        "label": [names[label] for label in whole.labels[rows]],
        "split": list(splits),
    }


def _splits(audit: Audit, rows: Ids) -> list[str]:
    return [_split(audit.collection, audit, int(row)) for row in rows]


def _split(whole: Collection, audit: Audit, row: int) -> str:
    if audit.roles[row] == POOL:
        return "unlabeled"
    assert audit.roles[row] != NO_ROLE or whole.parts[row] != Part.LEFT_OUT
    return _SPLITS[Part(whole.parts[row])]


def write_table(columns: dict[str, list[Any]], path: Path) -> None:
    """Write the columns as CSV or Parquet, atomically."""
    with atomic(path, parents=True) as temporary:
        if path.suffix.lower() == ".parquet":
            import pyarrow
            import pyarrow.parquet

            types = {name: pyarrow.float64() if name == "weight" else pyarrow.string() for name in columns}
            table = {name: pyarrow.array(values, types[name]) for name, values in columns.items()}
            pyarrow.parquet.write_table(pyarrow.table(table), temporary)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))


def _root(source: str) -> str:
    path = Path(source).expanduser()
    if path.is_dir():
        return os.path.abspath(path)
    if path.suffix.lower() in (".csv", ".parquet") and path.exists():
        return os.path.abspath(path.parent)
    raise UserError(f"{source!r} is neither a folder of images nor a manifest; a manifest lists files")
