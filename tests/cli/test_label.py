"""`label`: what a run is confident of as a manifest, read back as a training set with weights."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import understudy as package
from tests.cli.conftest import Run
from understudy.core.errors import DataError, UserError
from understudy.serving.label_table import select_labels

PROBS = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95], [0.5, 0.5]], np.float32)
FILES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


@pytest.fixture
def own_unlabeled(unlabeled: Path) -> Path:
    """The unlabeled images below the working folder."""
    shutil.copytree(unlabeled, "unlabeled")
    return Path("unlabeled")


def rows_of(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_select_labels__threshold_and_weight() -> None:
    found = select_labels(FILES, ("x", "y"), PROBS, threshold=0.6)
    assert found.files == ("a.png", "b.png", "c.png", "d.png")
    assert found.label == ("x", "x", "y", "y")
    assert found.weight == pytest.approx([0.8, 0.2, 0.6, 0.9], abs=1e-6)
    assert select_labels(FILES, ("x", "y"), PROBS, threshold=0).weight[4] == 0


def test_select_labels__per_class_keeps_the_most_confident() -> None:
    assert select_labels(FILES, ("x", "y"), PROBS, threshold=0, per_class=1).files == ("a.png", "d.png")


def test_select_labels__nothing_confident() -> None:
    with pytest.raises(UserError, match=r"no label reaches a confidence of 0.99, the highest is 0.950; lower"):
        select_labels(FILES, ("x", "y"), PROBS, threshold=0.99)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_label__comes_back_as_a_training_set(understudy: Run, finished: Path, own_unlabeled: Path, suffix: str) -> None:
    output = understudy("label", finished, own_unlabeled, "--threshold", "0.5", "--out", f"labels.{suffix}")
    assert (output.code, output.err) == (0, "")
    assert f"60 of 60 images are labeled in labels.{suffix}." in output.out
    assert understudy("predict", finished, own_unlabeled).code == 0
    predicted = {row["file"]: row for row in rows_of("predictions.csv")}
    collection = package.load(f"labels.{suffix}")
    assert len(collection) == 60
    data = collection.as_dataset()
    assert len(data) == 60
    for position in (0, 31):
        image, label, weight = data[position]
        row = predicted[Path(str(collection.names[position])).name]
        assert collection.classes[label] == row["label"]
        assert weight == pytest.approx(2 * float(row["confidence"]) - 1, abs=1e-4)
        assert image.shape == collection.shape
        assert 0 <= float(image.min()) < float(image.max()) <= 1
    images, labels, weights = next(iter(DataLoader(data, batch_size=8)))
    assert (images.shape, labels.dtype, weights.shape) == ((8, *collection.shape), torch.int64, (8,))


def test_label__per_class(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    assert understudy("label", finished, own_unlabeled, "--threshold", "0", "--per-class", "8").code == 0
    rows = rows_of("labels.csv")
    assert list(rows[0]) == ["path", "label", "confidence", "weight", "split", "source"]
    assert {row["split"] for row in rows} == {"train"}
    assert max(sum(row["label"] == name for row in rows) for name in ("ring", "square")) == 8


def test_label__is_trained_on(understudy: Run, own_unlabeled: Path) -> None:
    files = [f"unlabeled/{number}.png" for number in range(60)]
    probs = np.tile(np.array([[0.95, 0.05], [0.05, 0.95]], np.float32), (30, 1))
    select_labels(files, ("ring", "square"), probs).save("labels.csv")
    output = understudy("train", "labels.csv", "--network", "cnn", "--size", "16", "--budget", "5steps", "--out", "r")
    assert (output.code, output.err) == (0, "")
    assert "0 unlabeled rows, 2 classes" in output.out


def test_label__a_manifest_as_unlabeled(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    Path("unlabeled/list.csv").write_text("path\n3.png\n4.png\n")
    assert understudy("label", finished, "unlabeled/list.csv", "--threshold", "0", "--out", "some.csv").code == 0
    assert {row["path"] for row in rows_of("some.csv")} == {"unlabeled/3.png", "unlabeled/4.png"}


def test_label__bad_input(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    assert (
        "a table of labels is a .csv or .parquet file, and 'labels.txt' was given"
        in understudy("label", finished, own_unlabeled, "--out", "labels.txt").error()
    )
    assert "'digits' is neither a folder of images nor a manifest" in understudy("label", finished, "digits").error()
    assert (
        "no label reaches a confidence of 1, the highest"
        in understudy("label", finished, own_unlabeled, "--threshold", "1").error()
    )
    Path("folder.csv").mkdir()
    assert "folder.csv is a folder, and a table of labels is a file" in (
        understudy("label", finished, own_unlabeled, "--out", "folder.csv").error()
    )
    assert "--threshold is 1.5; give the least confidence of a label, from 0 to 1" in (
        understudy("label", finished, own_unlabeled, "--threshold", "1.5").error()
    )
    assert (
        "--per-class is -1; give the most" in understudy("label", finished, own_unlabeled, "--per-class", "-1").error()
    )
    assert not Path("labels.csv").exists()


def test_label__images_elsewhere_have_absolute_paths(understudy: Run, finished: Path, unlabeled: Path) -> None:
    assert understudy("label", finished, unlabeled, "--threshold", "0").code == 0
    paths = [row["path"] for row in rows_of("labels.csv")]
    assert paths
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)


def test_label__a_file_that_is_no_image(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    (own_unlabeled / "junk.png").write_text("junk")
    output = understudy("label", finished, own_unlabeled, "--threshold", "0")
    assert output.code == 0
    assert "1 file could not be read: junk.png (" in output.out


def test_as_dataset__labeled_training_rows_alone(photos: Path, unlabeled: Path, test_photos: Path) -> None:
    data = package.load(photos, unlabeled=unlabeled, test=test_photos).as_dataset()
    assert len(data) == 24
    assert {data[at][2] for at in range(24)} == {1.0}
    with pytest.raises(DataError, match="no training image is labeled"):
        package.load(unlabeled=unlabeled).as_dataset()


def test_as_dataset__vectors() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    data = package.load((rows, np.array([0, 1, -1, 0]))).as_dataset()
    assert [(row.tolist(), label) for row, label, _ in (data[at] for at in range(3))] == [
        ([0, 1, 2], 0), ([3, 4, 5], 1), ([9, 10, 11], 0),
    ]  # fmt: skip


def test_docs__example_runs(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    assert understudy("label", finished, own_unlabeled, "--threshold", "0").code == 0
    text = (Path(__file__).parents[2] / "docs" / "labels.md").read_text("utf-8")
    names: dict[str, object] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert torch.isfinite(names["loss"])  # type: ignore[arg-type]


def test_evaluate__refuses_labels_of_a_model(understudy: Run, finished: Path, own_unlabeled: Path) -> None:
    assert understudy("label", finished, own_unlabeled, "--threshold", "0").code == 0
    found = understudy("evaluate", finished, "labels.csv")
    assert found.code == 2
    assert "all labels of the test images come from a model" in found.err
