"""`understudy split`: the manifest it writes, what it prints, and what it refuses."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Run, draw, draw_folder
from understudy.data.collection import Part
from understudy.data.load import load


def listed(path: str | Path) -> dict[str, tuple[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return {row["path"]: (row["label"], row["split"]) for row in csv.DictReader(file)}


def test_split__manifest_is_read_back_as_it_was_divided(understudy: Run) -> None:
    draw_folder(Path("photos"), 10)
    for number in range(3):
        draw(Path(f"photos/unlabeled/{number}.png"), "ring", 50 + number)
    Path("photos/ring/broken.png").write_bytes(b"no image")
    before = sorted(Path("photos").rglob("*"))
    output = understudy("split", "photos")
    assert output.code == 0, output.err
    found = listed("split.csv")
    assert Counter(found.values()) == Counter(
        {("ring", "train"): 7, ("square", "train"): 7, ("", "unlabeled"): 3}
        | {(name, part): number for name in ("ring", "square") for part, number in (("validation", 1), ("test", 2))}
    )
    assert "split.csv lists 23 images: 14 train, 2 validation, 4 test, 3 unlabeled." in output.out
    assert [line.split() for line in output.out.splitlines() if line.split()[:1] in (["ring"], ["square"])] == [
        ["ring", "7", "1", "2"],
        ["square", "7", "1", "2"],
    ]
    assert "1 file could not be read and is not listed." in output.out
    assert "Next: understudy train split.csv" in output.out
    assert sorted(Path("photos").rglob("*")) == before
    data = load("split.csv")
    parts = {Part.VALIDATION: "validation", Part.TEST: "test"}
    for name, part in zip(data.names, data.parts, strict=True):
        assert parts.get(Part(part), "train") == found[str(name)][1].replace("unlabeled", "train")
    assert understudy("split", "photos", "--out", "again.csv").code == 0
    assert listed("again.csv") == found
    assert understudy("split", "photos", "--out", "other.parquet", "--seed", "1").code == 0
    assert load("other.parquet").parts.tolist() != data.parts.tolist()


def test_split__groups_and_parts_of_a_manifest_are_kept(understudy: Run) -> None:
    draw_folder(Path("photos"), 12)
    rows = [
        f"photos/{kind}/{n}.png,{kind},{'test' if n < 2 else ''},{n // 4}"
        for kind in ("ring", "square")
        for n in range(12)
    ]
    Path("given.csv").write_text("\n".join(["path,label,split,group", *rows, ""]), "utf-8")
    output = understudy("split", "given.csv", "--validation", "0.5")
    assert output.code == 0, output.err
    assert "The test images of given.csv keep their role." in output.out
    split = {path: part for path, (_, part) in listed("split.csv").items()}
    for kind in ("ring", "square"):
        parts = [split[f"photos/{kind}/{n}.png"] for n in range(12)]
        assert parts[:4] == ["test", "test", "train", "train"]
        assert sorted(map(tuple, (parts[4:8], parts[8:]))) == [("train",) * 4, ("validation",) * 4]
    error = understudy("split", "given.csv", "--test", "0.5", "--out", "b.csv").error()
    assert "given.csv has test images of its own; leave test out, or remove them from given.csv" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("photos", "--test", "1.5"), "error: test is 1.5; give a share from 0 to 1, such as 0.2"),
        (("photos", "--test", "nan"), "error: test is nan; give a share"),
        (("photos", "--test", "0.6", "--validation", "0.4"), "validation 0.4 and test 0.6 leave no image to train"),
        (("photos", "--test", "0", "--validation", "0"), "are both 0, so there is nothing to split"),
        (("digits",), "'digits' is neither a folder of images nor a manifest; a manifest lists files"),
        (("nowhere",), "'nowhere' is neither a folder of images nor a manifest"),
        (("photos", "--out", "split.txt"), "a manifest is a .csv or .parquet file, and 'split.txt' was given"),
        (
            ("photos", "--out", "there.csv"),
            "there.csv exists already; add --overwrite to replace it, or give another name with --out",
        ),
        (("photos", "--out", os.fsdecode(b"caf\xe9.csv")), "is not valid UTF-8; give another name with --out"),
        (("flat",), "holds 2 images but no class folders"),
        (("single",), "no image can be drawn as a test image and leave one of its class to train"),
    ],
)
def test_split__refuses(understudy: Run, arguments: tuple[str, ...], sentence: str) -> None:
    draw_folder(Path("photos"), 3)
    draw_folder(Path("single"), 1)
    for number in range(2):
        draw(Path(f"flat/{number}.png"), "ring", number)
    Path("there.csv").write_text("path,label\n", "utf-8")
    assert sentence in understudy("split", *arguments).error()
    assert not Path("split.csv").exists()
    assert Path("there.csv").read_text("utf-8") == "path,label\n"
