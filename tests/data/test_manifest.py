"""Manifests: what is read, and what is refused with a sentence."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.data.conftest import Make
from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.load import load
from understudy.data.sources.manifest import read_manifest
from understudy.data.split import split


def manifest(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "list.csv"
    path.write_text(text, "utf-8")
    return path


def test_load__csv(make: Make) -> None:
    root = make("set", "x/1.png", "x/2.png", "3.png", "4.png")
    path = manifest(
        root,
        "path,label,split,group,weight\n"
        "x/1.png,cat,train,p1,2\nx/2.png, dog ,,p2,\n./3.png,,,p1,1\n4.png,cat,TEST,,1\n",
    )
    data = load(path)
    assert data.names.tolist() == ["x/1.png", "x/2.png", "3.png", "4.png"]
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, -1, 0]
    assert data.parts.tolist() == [Part.TRAIN, Part.FREE, Part.FREE, Part.TEST]
    assert data.weights.tolist() == [2, 1, 1, 1]
    assert data.groups is not None
    assert data.groups[0] == data.groups[2] != data.groups[1]
    assert data.groups[3] == -1


@pytest.mark.parametrize("labels", [[1, None, 2], [1.0, float("nan"), 2.0], ["1", "", "2"], ["1.0", None, "2.0"]])
def test_load__parquet_label_types(make: Make, labels: list[object]) -> None:
    root = make("set", "1.png", "2.png", "3.png")
    parquet.write_table(pa.table({"path": ["1.png", "2.png", "3.png"], "label": labels}), root / "list.parquet")
    data = load(root / "list.parquet")
    assert data.classes == ("1", "2")
    assert data.labels.tolist() == [0, -1, 1]


def test_load__manifest_with_a_missing_file(make: Make) -> None:
    root = make("set", "1.png", "2.png")
    data = load(manifest(root, "path,label\n1.png,a\nnowhere.png,a\n2.png,b\n"))
    assert data.quarantine == (("nowhere.png", "no such file"),)
    assert data.labels.tolist() == [0, 1]


def test_load__manifest_with_a_class_of_test_images_only(make: Make) -> None:
    root = make("set", "1.png", "2.png", "3.png")
    path = manifest(root, "path,label,split\n1.png,a,train\n2.png,b,train\n3.png,c,test\n")
    with pytest.raises(DataError, match="labels that no training image has: 'c'; training has: 'a', 'b'"):
        load(path)


def test_load__manifest_whose_files_are_all_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 1 image files could be used; the first, '1.png': no such file"):
        load(manifest(tmp_path / "set", "path,label\n1.png,a\n"))


def test_read_manifest__repeated_rows_count_once(tmp_path: Path) -> None:
    table = read_manifest(manifest(tmp_path, "path,label\n1.png,a\n./1.png,a\n2.png,b\n"))
    assert table.names.tolist() == ["1.png", "2.png"]
    assert "1 repeated row of list.csv counts once" in table.notes


def test_read_manifest__unused_columns_and_hidden_labels(tmp_path: Path) -> None:
    table = read_manifest(manifest(tmp_path, "path,label,split,camera\n1.png,a,unlabeled,x\n2.png,b,,y\n"))
    assert table.labels.tolist() == [-1, 1]
    assert table.notes[0] == "column camera of list.csv is not used"
    assert table.notes[1].startswith("1 row of list.csv has a label and the split 'unlabeled'")


def test_read_manifest__letters_and_digits_are_classes(tmp_path: Path) -> None:
    table = read_manifest(manifest(tmp_path, "path,label\n1.png,A\n2.png,7\n"))
    assert table.values == ("7", "A")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\n1.png,a\n1.png,b\n",
            "lists '1.png' in rows 1 and 2 with different labels, splits, groups, wei",
        ),
        ("path,label\n../1.png,a\n", "row 1 of .* names '../1.png', which is outside the manifest's folder; move"),
        ("path,label\nx/../../1.png,a\n", "which is outside the manifest's folder"),
        ("path,label\n1.png,a\n,b\n", "row 2 of manifest .* has no path"),
        ("path,label\n1.png,3\n2.png,cat\n", "mixes numbers such as '3' with names such as 'cat'; write all"),
        ("path,label\n1.png,0.5\n", "has the label '0.5'; a label is the name or number of a class"),
        ("path,lable\n1.png,a\n", "has a column 'lable'; did you mean 'label'[?] rename or remove it"),
        ("where,label\n1.png,a\n", "has no column 'path' but 'where', 'label'; known columns are path, label"),
        ("path,path\n1.png,a\n", "has the column 'path' twice"),
        ("path,label,split\n1.png,a,tset\n", "has the split 'tset'; did you mean 'test'[?]"),
        ("path,weight\n1.png,heavy\n", "column 'weight' of manifest .* must hold numbers"),
        ("path,weight\n1.png,1\n2.png,-1\n", "row 2 of manifest .* has the weight -1; give a number from 0 up"),
        ("path,weight\n1.png,nan\n", "row 1 of manifest .* has the weight nan"),
        ("path,label\n", "has no rows; list one image a row under a header line"),
        ("", "cannot be read as a CSV table"),
        ("path,label\n1.png,a,b\n", "cannot be read as a CSV table: .*Expected 2 columns, got 3"),
    ],
)
def test_read_manifest__refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_read_manifest__not_text(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"path,label\n\xff\x81\xfd.png,a\n")
    with pytest.raises(DataError, match="cannot be read as a CSV table"):
        read_manifest(path)
    path = tmp_path / "list.parquet"
    path.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(DataError, match="cannot be read as a PARQUET table"):
        read_manifest(path)


def test_read_manifest__nested_column(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"path": ["1.png"], "label": [["a", "b"]]}), tmp_path / "list.parquet")
    with pytest.raises(DataError, match=r"column 'label' of manifest .* holds list<.*; it must hold text or numbers"):
        read_manifest(tmp_path / "list.parquet")


def test_read_manifest__million_rows(tmp_path: Path) -> None:
    count = 1_000_000
    numbers = pa.array(np.arange(count)).cast(pa.string())
    columns = {
        "path": pa.compute.binary_join_element_wise("images/", numbers, ".png", ""),
        "label": pa.array(np.where(np.arange(count) % 10 == 0, "cat", "")),
        "group": numbers,
    }
    parquet.write_table(pa.table(columns), tmp_path / "list.parquet")
    start = time.process_time()
    table = read_manifest(tmp_path / "list.parquet")
    assert time.process_time() - start < 20
    assert len(table) == count
    assert (table.labels == 0).sum() == count // 10
    assert table.names[123_456] == "images/123456.png"


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=6), st.binary(max_size=200))
def test_read_manifest__any_text_is_a_table_inside_its_folder_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], tail: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    tables = [folder / "list.csv", folder / "list.parquet"]
    tables[0].write_bytes(b"path,label\n" + "\n".join(f"{path},a" for path in paths).encode() + tail)
    parquet.write_table(pa.table({"path": paths}), tables[1])
    for path in tables:
        try:
            table = read_manifest(path)
        except DataError:
            continue
        assert len(set(table.names)) == len(table)
        for name in table.images:
            assert "\0" in name or ".." not in name.split("/")


ROWS = "path,label\n1.png,caf\u00e9\n2.png,dog\n"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (ROWS.encode("utf-8-sig"), None),
        (ROWS.encode("utf-16"), None),
        (ROWS.encode("cp1252"), "list.csv is not UTF-8 and is read in the Windows code page (cp1252)"),
        (ROWS.replace(",", ";").encode(), "the columns of list.csv are separated by semicolons"),
        (ROWS.replace(",", "\t").encode(), "the columns of list.csv are separated by tabs"),
        (b"sep=;\r\n" + ROWS.replace(",", ";").encode(), "the columns of list.csv are separated by semicolons"),
        ((ROWS + ",\n,\n").encode(), "2 empty rows of list.csv are skipped"),
        (ROWS.replace("path,label", "filename,class").encode(), "column 'class' of list.csv is read as 'label'"),
    ],
)
def test_read_manifest__tables_as_they_occur(tmp_path: Path, content: bytes, note: str | None) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    table = read_manifest(path)
    assert table.names.tolist() == ["1.png", "2.png"]
    assert table.values == ("caf\u00e9", "dog")
    assert note is None or note in table.notes


@pytest.mark.parametrize("mark", ["NaN", "nan", "None", "NULL", "NA", "n/a", "?", "-1", "-1.0"])
@pytest.mark.parametrize("classes", [("cat", "dog"), ("0.0", "1.0")])
def test_read_manifest__missing_labels(tmp_path: Path, mark: str, classes: tuple[str, str]) -> None:
    table = read_manifest(manifest(tmp_path, f"path,label\n1.png,{classes[0]}\n2.png,{classes[1]}\n3.png,{mark}\n"))
    assert table.labels.tolist() == [0, 1, -1]
    assert f"1 label of list.csv is {mark!r} and counts as unlabeled" in table.notes


def test_load__backslashes_and_absolute_paths(make: Make) -> None:
    root = make("set", "x/1.png", "x/2.png")
    data = load(manifest(root.parent / "lists", f"path,label\n{root}/x/1.png,a\n{root!s}\\x\\2.png,b\n"))
    assert len(data) == 2
    assert not data.quarantine
    assert any("written with backslashes" in note for note in data.notes)
    again = load(manifest(root, f"path,label\n{root}/x/1.png,a\nx/1.png,a\nx/2.png,b\n"))
    assert again.names.tolist() == ["x/1.png", "x/2.png"]
    with pytest.raises(DataError, match="a path on a drive of Windows"):
        load(manifest(root, "path,label\nC:\\x\\1.png,a\n"))


def test_read_manifest__truth_values_have_one_spelling(tmp_path: Path) -> None:
    assert read_manifest(manifest(tmp_path, "path,label\n1.png,True\n2.png,False\n")).values == ("false", "true")


def test_load__fifo_as_a_manifest_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(DataError, match="is not a regular file"):
        load(tmp_path / "list.csv")


def test_split__labels_of_a_model_are_never_held_out(make: Make) -> None:
    names = [f"{number}.png" for number in range(40)]
    rows = [f"{n},{'ab'[at % 2]},train,{'model' if at < 20 else 'person'}\n" for at, n in enumerate(names)]
    data = load(manifest(make("set", *names), "path,label,split,source\n" + "".join(rows)))
    found = split(data, share=0.5)
    assert len(found.test) == 10
    assert (found.test >= 20).all()
    assert set(range(20)) <= set(found.labeled.tolist())
    assert "20 labels come from a model and only train" in found.note
    assert (
        "the 0 labels given by people are under 5 per class"
        in split(replace(data, parts=data.parts * 0 + Part.PSEUDO)).note
    )


def test_load__labels_of_a_model_are_no_test_images(make: Make) -> None:
    names = [f"{number}.png" for number in range(8)]
    root = make("set", *names)
    rows = [f"{n},{'ab'[at % 2]},{'model' if at < 4 else 'person'}\n" for at, n in enumerate(names)]
    training = manifest(root, "path,label\n0.png,a\n1.png,b\n")
    mixed = root / "mixed.csv"
    mixed.write_text("path,label,source\n" + "".join(rows[2:]), "utf-8")
    data = load(training, test=mixed)
    assert (data.parts == Part.TEST).sum() == 4
    assert "2 test images are not used, since their labels come from a model" in data.notes
    mixed.write_text("path,label,source\n" + "".join(rows[2:4]), "utf-8")
    with pytest.raises(DataError, match="all labels of the test images come from a model"):
        load(training, test=mixed)
