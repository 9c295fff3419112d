"""`understudy.audit`: its findings, and the report and manifest that can be written from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from understudy.core.arguments import check
from understudy.core.brief import Brief, as_html
from understudy.core.errors import UserError
from understudy.core.files import atomic
from understudy.core.types import Observe
from understudy.data.load import load
from understudy.data.roles import sources_of
from understudy.display.with_progress import CALLBACKS, with_progress
from understudy.inspection.audit import audit as look
from understudy.inspection.cleaning import Cleaned, Origin, clean, write_manifest
from understudy.inspection.examples import with_examples
from understudy.inspection.feature_checks import FeatureChecks
from understudy.inspection.finding import Finding
from understudy.inspection.result import Audit
from understudy.reports.pages.audit import AuditRecord, audit_page
from understudy.reports.write import check_page_name, write_page
from understudy.serving.predictor import Predictor

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False, repr=False)
class AuditResult(Brief):
    """The findings of an audit.

    Args:
        name: Name of the images.
        audit: Findings, worst first, and counts.
        origin: Where the files are; None for images in memory.
    """

    name: str
    audit: Audit
    origin: Origin | None

    def brief(self) -> tuple[str, ...]:
        """The number of images and of findings, and a sentence for each finding."""
        rows = len(self.audit.collection.rows)
        return (f"{self.name}, {rows:,} images, {len(self.findings):,} kinds of findings", *self.sentences())

    def _repr_html_(self) -> str:
        if not self.findings:
            return super()._repr_html_()
        rows = [(finding.kind, f"{finding.count:,}", finding.sentence, finding.why) for finding in self.findings]
        return as_html(self, self.brief()[:1], [("finding", "images", "what was found", "what to do"), *rows])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, worst first."""
        return self.audit.findings

    def sentences(self) -> tuple[str, ...]:
        """Each finding: what is wrong, why it matters and what to do."""
        return self.audit.sentences()

    def to_json(self) -> dict[str, Any]:
        """The findings as plain values."""
        return {"name": self.name, **self.audit.to_json()}

    def report(self, path: str | Path = "audit.html") -> Path:
        """Write the findings as one self-contained HTML file, and return its path.

        Raises:
            UserError: The file cannot be written.
        """
        check(path=path)
        check_page_name(Path(path))
        return write_page(audit_page(AuditRecord(self.name, *with_examples(self.audit))), Path(path), figures=False)

    def save(self, path: str | Path) -> Path:
        """Write all findings as JSON, and return the path.

        Raises:
            UserError: The file cannot be written.
        """
        check(path=path)
        path = Path(path)
        with atomic(path, parents=True) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1), encoding="utf-8")
        return path

    def write_manifest(self, path: str | Path, drop: Sequence[str] = ()) -> Cleaned:
        """Write a manifest without copies, leaks, blank and unreadable images, and return what was left out.

        Args:
            path: A .csv or .parquet file; a second table beside it lists what was left out, and why. Image files are
                not changed.
            drop: Further kinds of findings to leave out, such as "outliers".

        Raises:
            UserError: The images are in memory, a kind is unknown, or the file cannot be written.
        """
        if self.origin is None:
            raise UserError("a manifest lists files, and these images were given in memory; audit a folder or manifest")
        check(path=path, drop=drop)
        cleaned = clean(self.audit, drop)
        write_manifest(self.audit, cleaned, self.origin, Path(path))
        return cleaned


@with_progress(arguments=CALLBACKS)
def audit(
    source: Any = None,
    *,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    run: str | Path | None = None,
    network: nn.Module | str | Callable[[], nn.Module] | None = None,
    near: bool = True,
    features: bool = True,
    size: int | None = None,
    channels: int | None = None,
    cache: str | Path | None = None,
    decoding: Observe | None = None,
    observe: Watch | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
) -> AuditResult:
    """Search images for flaws before training on them: copies, leaks, bad files, outliers and label errors.

    Args:
        source: As for `train`.
        unlabeled: Unlabeled images, or a list of sources.
        test: Labeled test images.
        validation: Labeled validation images.
        run: Folder of a finished run, whose features are used instead of quickly trained ones.
        network: Your own module, for a run that trained one; see `Predictor.load`.
        near: Whether to search for near copies.
        features: Whether to search for outliers and label errors, which takes the longest.
        size: Resolution in px; by default chosen from the images. With `run`, that of the run.
        channels: 1 for grayscale, 3 for color; by default chosen from the images. With `run`, those of the run.
        cache: Folder that caches decoded images for later calls.
        decoding: Called with the number of images decoded and the total; replaces the display.
        observe: Called with the name of the current task, the number of its steps done and the total; replaces the
            display.
        quiet: No display.

    Examples:
        >>> import understudy
        >>> result = understudy.audit("digits", features=False, quiet=True)
        >>> [finding.kind for finding in result.findings]
        []

    Raises:
        UserError: An argument cannot be used; the message says what to do.
    """
    check(run=run, near=near, features=features, size=size, channels=channels, cache=cache)
    check(decoding=decoding, observe=observe)
    if network is not None and run is None:
        raise UserError("network is given without run; it says how to load the network of a finished run")
    predictor = None if run is None else Predictor.load(run, network)
    if predictor is not None and len(predictor.shape) == 3:
        size, channels = predictor.shape[1], predictor.shape[0]
    collection = load(
        source,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        size=size,
        channels=channels,
        cache=cache,
        observe=decoding,
        ranges=None if predictor is None else predictor.ranges,
    )
    by_features = FeatureChecks(None if predictor is None else predictor.network) if features else None
    found = look(collection, near=near, features=by_features, observe=observe)
    name = Path(source).name if isinstance(source, str | Path) else "images given in memory"
    return AuditResult(name, found, _origin(source, unlabeled, test, validation))


def _origin(source: Any, unlabeled: Any, test: Any, validation: Any) -> Origin | None:
    """Where the files are; None if some images are in memory."""
    pools = list(unlabeled) if isinstance(unlabeled, (list, tuple)) else [unlabeled]
    for one in (source, *pools, test, validation):
        if one is not None and not (isinstance(one, str | os.PathLike) and Path(one).expanduser().exists()):
            return None
    source, test, validation = (None if one is None else os.fspath(one) for one in (source, test, validation))
    paths = [os.fspath(one) for one in pools if one is not None]
    if len(paths) > 1 and len(sources_of(paths, vectors=False, is_alone=False)) == 1:
        return None  # a list of images, not of folders
    return Origin(source, None if not paths else paths if len(paths) > 1 else paths[0], test, validation)
