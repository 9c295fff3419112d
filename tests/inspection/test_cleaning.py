"""A cleaned manifest keeps one of each picture where it is worth the most, says what it left out, and trains."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from tests.inspection.made import CHANGES, FLAWED, photo
from understudy.api.audit import AuditResult
from understudy.api.audit import audit as audit_source
from understudy.core.errors import UserError
from understudy.data.collection import Part
from understudy.data.load import load
from understudy.data.split import split
from understudy.inspection.audit import audit
from understudy.inspection.cleaning import ON_REQUEST, Origin, clean


def write(root: Path, name: str, image: Image.Image) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/{cat,dog}, unlabeled and test, with planted faults."""
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    for seed in range(24):
        write(root, f"photos/{('cat', 'dog')[seed % 2]}/{seed}.png", photo(seed))
        write(root, f"unlabeled/{seed}.png", photo(100 + seed))
        if seed < 10:
            write(root, f"test/{('cat', 'dog')[seed % 2]}/{seed}.png", photo(200 + seed))
    write(root, "unlabeled/test-copy.png", photo(200))
    write(root, "photos/dog/test-near.png", CHANGES["jpeg 60"](photo(201)))
    write(root, "photos/cat/again.bmp", photo(0))
    write(root, "unlabeled/labeled.png", photo(1))
    write(root, "unlabeled/soft.png", CHANGES["resized"](photo(105)))
    write(root, "unlabeled/blank.png", FLAWED["blank"](photo(0)))
    write(root, "unlabeled/dark.png", FLAWED["dark"](photo(300)))
    write(root, "photos/dog/3-other.png", photo(2))  # a cat's picture
    (root / "unlabeled" / "broken.jpg").write_bytes(b"no image")
    return root


def look(root: Path) -> AuditResult:
    return audit_source(root / "photos", unlabeled=root / "unlabeled", test=root / "test", features=False)


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


LEFT = {
    "unlabeled/test-copy.png": ("exact copy of a test image", "test/cat/0.png"),
    "photos/dog/test-near.png": ("near copy of a test image", "test/dog/1.png"),
    "photos/cat/again.bmp": ("exact copy", "photos/cat/0.png"),
    "unlabeled/labeled.png": ("exact copy", "photos/dog/1.png"),
    "unlabeled/soft.png": ("near copy", "unlabeled/5.png"),
    "unlabeled/blank.png": ("blank", ""),
    "photos/dog/3-other.png": ("exact copy", "photos/cat/2.png"),
    "unlabeled/broken.jpg": ("unreadable: not an image, or of a format that is not supported", ""),
}


def test_write_manifest__what_is_left_out_and_why(folders: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folders.rglob("*") if path.is_file()}
    found = look(folders)
    cleaned = found.write_manifest(folders / "cleaned.csv")
    left = table(folders / "cleaned-left-out.csv")
    assert {path: (row["reason"], row["kept_instead"]) for path, row in left.items()} == LEFT
    assert left["photos/dog/3-other.png"]["label"] == "dog"
    assert cleaned.counts()["exact copy"] == 3
    kept = table(folders / "cleaned.csv")
    assert len(kept) + len(left) == 24 + 24 + 10 + 9
    assert not kept.keys() & left.keys()
    assert kept["unlabeled/3.png"] == {"path": "unlabeled/3.png", "label": "", "split": "unlabeled"}
    assert kept["photos/cat/4.png"] == {"path": "photos/cat/4.png", "label": "cat", "split": ""}
    assert kept["test/dog/1.png"]["split"] == "test"
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}
    assert after == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_write_manifest__is_read_and_clean(folders: Path, suffix: str) -> None:
    path = folders / f"cleaned{suffix}"
    look(folders).write_manifest(path)
    again = load(path)
    assert (again.parts == Part.TEST).sum() == 10
    assert (again.labels >= 0).sum() == 24 + 10
    found = audit(again)
    assert {one.kind for one in found.findings} == {"dark"}
    assert "cop" not in split(again).note
    if suffix == ".parquet":
        left = pyarrow.parquet.read_table(folders / "cleaned-left-out.parquet")
        assert set(left["path"].to_pylist()) == set(LEFT)


@pytest.mark.parametrize(
    ("drop", "more"),
    [
        (["dark"], {"unlabeled/dark.png": "dark"}),
        (["conflicts"], dict.fromkeys(("photos/cat/2.png", "photos/dog/3-other.png"), "copies with different labels")),
    ],
)
def test_write_manifest__drop(folders: Path, drop: Sequence[str], more: dict[str, str]) -> None:
    look(folders).write_manifest(folders / "cleaned.csv", drop)
    reasons = {path: row["reason"] for path, row in table(folders / "cleaned-left-out.csv").items()}
    assert reasons == {path: reason for path, (reason, _) in LEFT.items()} | more


def test_write_manifest__of_a_manifest_keeps_groups_weights_and_splits(folders: Path) -> None:
    lines = [
        "path,label,split,group,weight",
        "photos/cat/0.png,cat,train,a,0.5",
        "photos/dog/1.png,dog,train,,",
        "photos/cat/4.png,cat,train,,",
    ]
    lines += [
        "photos/cat/again.bmp,cat,validation,a,",
        "photos/cat/2.png,cat,validation,b,",
        "unlabeled/3.png,,unlabeled,,",
    ]
    (folders / "list.csv").write_text("\n".join(lines) + "\n")
    found = audit_source(folders / "list.csv", features=False)
    found.write_manifest(folders / "cleaned.csv")
    first, again = load(folders / "list.csv"), load(folders / "cleaned.csv")
    assert again.names.tolist() == [name for name in first.names.tolist() if name != "photos/cat/0.png"]
    assert table(folders / "cleaned-left-out.csv")["photos/cat/0.png"]["reason"] == "exact copy of a validation image"
    assert again.groups is not None
    assert again.groups.tolist() == [-1, -1, 1, 2, -1]
    rows = table(folders / "cleaned.csv")
    assert rows["photos/cat/2.png"]["split"] == "validation"
    assert rows["photos/dog/1.png"]["split"] == "train"
    assert float(rows["photos/dog/1.png"]["weight"]) == 1


def test_write_manifest__keeps_what_a_model_labeled_in_any_folder(folders: Path, tmp_path: Path) -> None:
    rows = ["photos/cat/0.png,cat,", "photos/dog/1.png,dog,", "photos/cat/4.png,cat,model"]
    (folders / "list.csv").write_text("path,label,source\n" + "\n".join(rows) + "\n")
    elsewhere = tmp_path / "elsewhere" / "cleaned.csv"
    audit_source(folders / "list.csv", features=False).write_manifest(elsewhere)
    again = load(elsewhere)
    assert (again.parts == Part.PSEUDO).tolist() == [name.endswith("cat/4.png") for name in again.names.tolist()]
    assert not again.quarantine


def test_clean__the_commonest_label_and_the_sharpest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))
    pictures = [photo(seed) for seed in range(20)]
    pictures[1] = pictures[3] = pictures[5] = pictures[0]
    pictures[10] = CHANGES["resized"](pictures[12])
    labels = [at % 2 for at in range(20)]
    found = audit(load((np.stack([np.asarray(one) for one in pictures]), labels)))
    cleaned = clean(found)
    assert cleaned.left_out.tolist() == [0, 3, 5, 10]
    assert cleaned.kept_instead.tolist() == [1, 1, 1, 12]


def test_write_manifest__bad_names(folders: Path, tmp_path: Path) -> None:
    found = look(folders)
    with pytest.raises(UserError, match=r"a manifest is a .csv or .parquet file, and 'list.txt' was given; name"):
        found.write_manifest(folders / "list.txt")
    (folders / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is a folder, and a manifest is a file"):
        found.write_manifest(folders / "folder.csv")
    with pytest.raises(
        UserError, match=r"--drop names 'darkk'; did you mean 'dark'\? allowed: blurry, conflicts, dark"
    ):
        found.write_manifest(folders / "cleaned.csv", ["darkk"])
    with pytest.raises(UserError, match="--drop names 'blank'"):
        found.write_manifest(folders / "cleaned.csv", ["blank"])
    (folders / "list.csv").write_text("path,label\nphotos/cat/0.png,cat\nphotos/dog/1.png,dog\n")
    source = audit_source(folders / "list.csv", features=False)
    with pytest.raises(UserError, match=r"list.csv is one of the sources and would be overwritten; give another name"):
        source.write_manifest(folders / "list.csv")
    (folders / "list-left-out.csv").write_bytes((folders / "list.csv").read_bytes())
    with pytest.raises(UserError, match=r"list-left-out.csv is one of the sources and would be overwritten"):
        audit_source(folders / "list-left-out.csv", features=False).write_manifest(folders / "list.csv")
    assert not (folders / "cleaned.csv").exists()
    with pytest.raises(UserError, match="these images were given in memory; audit a folder or manifest"):
        audit_source("digits", features=False).write_manifest(tmp_path / "cleaned.csv")


def test_origin__names_of_several_sources(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    origin = Origin(*(str(tmp_path / name) for name in ("a", "b", "c")))
    assert origin.paths(["x.png", "unlabeled:y.png", "test:z.png"]) == [
        str(tmp_path / name) for name in ("a/x.png", "b/y.png", "c/z.png")
    ]
    assert Origin(str(tmp_path / "a")).paths(["test:z.png"]) == [str(tmp_path / "a" / "test:z.png")]


def test_on_request__are_kinds_that_exist() -> None:
    assert set(ON_REQUEST) == {
        *("dark", "overexposed", "blurry", "tiny", "elongated", "gray"),
        *("outliers", "unrelated", "label_errors", "conflicts"),
    }
