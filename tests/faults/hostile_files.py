"""Configurations, plans and manifests that hypothesis makes up; a failure is shown as the smallest that fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomli_w
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import understudy as us
from tests.faults.hostile_toml import read_both
from understudy.core.config import to_table
from understudy.data.load import load
from understudy.experiment.job import Job

_MAX_SENTENCE = 3000  # characters, with a cell of 300 in it
_EXAMPLES = 20  # files in one attack
_OF_JOB = tuple(to_table(Job()))
_COLUMNS = (
    "path",
    "label",
    "split",
    "weight",
    "file",
    "class",
    "name",
    "Path",
    " label",
    "",
    "x",
    "PATH",
    "labels",
    "\0",
)
_CELLS = (
    "a.png", "b.png", "./a.png", "../a.png", "c.png", "sub/a.png", "sub\\a.png", "fifo", "/dev/zero", "", "a", "b",
    "-1", "0", "1", "1.5", "nan", "NA", "None", "?", "train", "test", "validation", "unlabeled", "é", '"', "\0",
    "x" * 300, "1e400",
)  # fmt: skip
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-7")

_text = st.one_of(st.text(max_size=8), st.sampled_from(("fixmatch", "auto", "10m", "a\0b", "x" * 300)))
_key = st.one_of(st.sampled_from((*_OF_JOB, "name", "format", "threshold", "lr", "")), st.text(max_size=5))
_plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _text, st.dates(), st.datetimes(), st.times())
_value = st.recursive(
    _plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_key, inner, max_size=3)), max_leaves=8
)


def tables() -> st.SearchStrategy[dict[str, Any]]:
    """Tables of options, some of them with the names that there are."""
    return st.dictionaries(_key, _value, max_size=4)


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Tables of paths and labels in many forms, as spreadsheets and people write them, or not quite."""
    columns = draw(st.one_of(st.just(["path", "label"]), st.lists(st.sampled_from(_COLUMNS), max_size=5)))
    cell = st.one_of(st.sampled_from(_CELLS), st.text(max_size=6))
    width = st.integers(0, len(columns) + 1)
    rows = draw(st.lists(width.flatmap(lambda count: st.lists(cell, min_size=count, max_size=count)), max_size=6))
    separator, newline = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(("\n", "\r\n", "\r")))
    text = newline.join(separator.join(row) for row in [columns, *rows])
    content = text.encode(draw(st.sampled_from(_ENCODINGS)), "replace")
    return content[draw(st.integers(0, 2)) :] + draw(st.binary(max_size=3))


def prepare(place: Path) -> None:
    """Write the images that manifests name, and a pipe."""
    (place / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/a.png"):
        Image.new("L", (8, 8), len(name)).save(place / name)
    os.mkfifo(place / "fifo")


def check_table(place: Path, table: dict[str, Any]) -> None:
    """Read a table as a configuration and as a plan, where it can be written as TOML."""
    try:
        text = tomli_w.dumps(_without_none(table))
        content = text.encode()
    except (TypeError, ValueError):
        return
    path = place / "hostile.toml"
    path.write_bytes(content)
    assert read_both(path) == ""


def check_manifest(place: Path, content: bytes) -> None:
    """Read a manifest; what is read is no more than it lists."""
    path = place / "manifest.csv"
    path.write_bytes(content)
    try:
        found = load(path, cache=place / "cache")
    except us.UserError as error:
        sentence = str(error)
    else:
        sentence = ""
    assert len(sentence) < _MAX_SENTENCE, sentence
    if sentence:
        return
    assert 0 < len(found) + len(found.quarantine) <= 2 * (content.count(b"\n") + content.count(b"\r") + 1)
    assert ((found.labels >= -1) & (found.labels < len(found.classes))).all()


def call_generated(place: Path, number: int) -> str:
    """Check some tables and manifests that the number determines."""
    prepare(place)
    plain = settings(
        max_examples=_EXAMPLES, database=None, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    seed(number)(plain(given(tables())(lambda table: check_table(place, table))))()
    seed(number)(plain(given(manifests())(lambda content: check_manifest(place, content))))()
    return ""


def _without_none(value: Any) -> Any:
    """The value with empty texts in place of None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_none(part) for part in value]
    return "" if value is None else value
