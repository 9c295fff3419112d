"""The page of an audit: what is wrong with the images, worst first, with examples of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.text import capitalized, percent
from understudy.reports.figures.audit import class_counts
from understudy.reports.page import Grid, Page, PageTable, Section, Small, Tile, image, known
from understudy.reports.pages.advice import Advice, Headline

_TITLES = {
    "unreadable": "Files that cannot be read",
    "all_alike": "All images are alike",
    "exact_leaks": "Leaks: exact copies of held-out images",
    "near_leaks": "Leaks: near copies of held-out images",
    "conflicts": "Copies with different labels",
    "copies": "Exact copies",
    "near_copies": "Near copies",
    "blank": "Blank images",
    "dark": "Dark images",
    "overexposed": "Overexposed images",
    "blurry": "Blurred images",
    "tiny": "Tiny images",
    "elongated": "Unusual aspect ratios",
    "gray": "Grayscale among color images",
    "outliers": "Outliers",
    "unrelated": "Unrelated to the labeled images",
    "label_errors": "Possible label errors",
}
_TONES = {"serious": "bad", "look": "open", "note": "good"}
_MAX_LISTED = 100  # longer tables are searched rather than read: --json writes them all


@dataclass(frozen=True, eq=False)
class AuditRecord:
    """An audit as plain values.

    Args:
        name: What the images are called.
        found: As `docs/audit.md` describes it, each finding with examples.
        pictures: Small images (n, height, width, 3), by the numbers in the examples.
    """

    name: str
    found: Mapping[str, Any]
    pictures: NDArray[np.uint8]


def audit_page(record: AuditRecord) -> Page:
    """The page of an audit."""
    audit = record.found
    findings = audit["findings"]
    tones = [_TONES[finding["severity"]] for finding in findings]
    return Page(
        title=f"{record.name}: audit",
        kicker=f"Audit of {record.name}",
        headline=Headline(
            "bad" if "bad" in tones else "open" if "open" in tones else "good", audit["headline"], _shape(audit)
        ),
        tiles=_tiles(audit),
        advice=[Advice(finding["sentence"], finding["why"]) for finding in findings if finding["severity"] != "note"],
        sections=(
            *(_section(record, finding) for finding in findings),
            _quarantine(audit),
            _classes(audit),
            _measured(audit),
        ),
        footer=(
            f"Made by understudy {version('understudy')}. No file was changed. Each finding shows at most 24 examples; "
            "--json writes every number, --write-manifest a list of images without these problems."
        ),
    )


def _shape(audit: Mapping[str, Any]) -> str:
    parts = [
        f"{audit['roles'][role]:,} {'unlabeled' if role == 'pool' else role}"
        for role in ("labeled", "pool", "validation", "test")
        if audit["roles"][role]
    ]
    return f"{audit['rows']:,} images in {len(audit['classes'])} classes were checked: {', '.join(parts)}."


def _tiles(audit: Mapping[str, Any]) -> list[Tile]:
    counts = {finding["kind"]: finding["count"] for finding in audit["findings"]}
    leaks = counts.get("exact_leaks", 0) + counts.get("near_leaks", 0)
    copies = counts.get("copies", 0) + counts.get("near_copies", 0)
    flawed = sum(counts.get(kind, 0) for kind in ("blank", "dark", "overexposed", "blurry", "tiny", "elongated"))
    tiles = [
        Tile(f"{leaks:,}", "copies of held-out images in other sets"),
        Tile(f"{copies:,}", "other copies"),
        Tile(f"{flawed:,}", "blank, dark, overexposed, blurred or oddly shaped"),
    ]
    if "label_errors" in counts:
        tiles.append(Tile(f"{counts['label_errors']:,}", "possible label errors"))
    elif audit["quarantine"]:
        tiles.append(Tile(f"{len(audit['quarantine']):,}", "files that cannot be read"))
    return tiles


def _section(record: AuditRecord, finding: Mapping[str, Any]) -> Section:
    """A finding with its examples, as a grid of images or, where rows are no images, as a table."""
    title, examples = _TITLES.get(finding["kind"], ""), finding.get("examples", [])
    if not examples or not title:
        return Section(title)
    sentences = [finding["sentence"] if finding["severity"] != "note" else f"{finding['sentence']} {finding['why']}"]
    if not len(record.pictures):
        return Section(title, sentences, tables=[_table(examples)])
    tiles = [
        Small(
            image(record.pictures, line["picture"]),
            _words(finding["kind"], line),
            second=image(record.pictures, line["partner"]["picture"]) if "partner" in line else None,
            name=_names(line),
        )
        for line in examples
    ]
    caption = ""
    if len(tiles) < finding["count"]:
        each = ", at most one of each set of copies" if "partner" in examples[0] else ""
        caption = f"{len(tiles):,} of {finding['count']:,} are shown{each}."
    return Section(title, sentences, grids=[Grid("", caption, tiles)])


def _words(kind: str, line: Mapping[str, Any]) -> str:
    """What is written below an example."""
    if kind == "label_errors":
        return f"labeled {line['given']}, predicted {line['suggested']} (confidence {percent(line['confidence'])})"
    if "partner" in line:
        words = f"{_role(line)} | {_role(line['partner'])}"
        return words if line.get("similarity", 1) >= 1 else f"{words}, {int(100 * line['similarity'])} % similar"
    if "size" in line:
        return f"{line['size'][0]:,} x {line['size'][1]:,} px, {_role(line)}"
    return _role(line)


def _role(line: Mapping[str, Any]) -> str:
    role = "unlabeled" if line["role"] == "pool" else line["role"]
    if not line["label"]:
        return role
    return line["label"] if role == "labeled" else f"{role} {line['label']}"


def _names(line: Mapping[str, Any]) -> str:
    if "partner" not in line:
        return str(line["name"])
    return f"{line['name']} | {line['partner']['name']}"


def _table(examples: list[Mapping[str, Any]]) -> PageTable:
    rows = [
        (line["name"], _role(line), line.get("partner", {}).get("name", line.get("suggested", ""))) for line in examples
    ]
    return PageTable(("row", "role and label", "copy of, or label suggested"), rows)


def _quarantine(audit: Mapping[str, Any]) -> Section:
    lines = audit["quarantine"]
    if not lines:
        return Section("")
    rows = [(line["file"], line["reason"]) for line in lines[:_MAX_LISTED]]
    more = len(lines) - len(rows)
    return Section(
        "Files that cannot be read",
        ["Training skips them; nothing is deleted or changed."],
        tables=[PageTable(("file", "reason"), rows, f"and {more:,} more" if more > 0 else "")],
    )


def _classes(audit: Mapping[str, Any]) -> Section:
    return Section("Images per class", pictures=known([class_counts(audit)]))


def _measured(audit: Mapping[str, Any]) -> Section:
    """Channel statistics, what was not checked, and what was recognized when reading."""
    names = ("red", "green", "blue") if len(audit["channels"]) == 3 else ("gray",)
    rows = [
        (name, f"{channel['mean']:.3f}", f"{channel['std']:.3f}")
        for name, channel in zip(names, audit["channels"], strict=False)
    ]
    tables = [PageTable(("channel", "mean", "standard deviation"), rows, "Levels from 0 to 1", numeric=(1, 2))]
    sentences = [*audit["not_checked"], *(f"{capitalized(note)}." for note in audit["notes"])]
    return Section("How the images were checked", sentences, tables=tables if rows else ())
