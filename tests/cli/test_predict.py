"""`predict`: one row per image in CSV and Parquet, a summary on the screen, and unreadable files named."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_predict__csv(understudy: Run, finished: Path, unlabeled: Path) -> None:
    output = understudy("predict", finished, unlabeled)
    assert (output.code, output.err) == (0, "")
    assert "60 images are in predictions.csv." in output.out
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == {path.name for path in unlabeled.iterdir()}
    assert list(rows[0]) == ["file", "label", "confidence", "p_ring", "p_square"]
    confidence = [float(row["confidence"]) for row in rows]
    assert f"Mean confidence {100 * sum(confidence) / 60:.1f} %." in output.out
    for name in ("ring", "square"):
        count = sum(row["label"] == name for row in rows)
        assert not count or f"{name} " in output.out
    for row in rows:
        assert float(row["p_ring"]) + float(row["p_square"]) == pytest.approx(1, abs=1e-5)


def test_predict__parquet_is_the_same(understudy: Run, finished: Path, unlabeled: Path) -> None:
    import pyarrow.parquet

    assert understudy("predict", finished, unlabeled).code == 0
    assert understudy("predict", finished, unlabeled, "--out", "deep/er/p.parquet").code == 0
    table = pyarrow.parquet.read_table("deep/er/p.parquet").to_pylist()
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in table] == [row["file"] for row in rows]
    assert [row["p_ring"] for row in table] == pytest.approx([float(row["p_ring"]) for row in rows], abs=1e-6)


def test_predict__unreadable_files_are_named(understudy: Run, finished: Path, unlabeled: Path) -> None:
    shutil.copytree(unlabeled, "some")
    Path("some/broken.png").write_bytes(b"no image")
    output = understudy("predict", finished, "some")
    assert output.code == 0
    assert "60 images are in predictions.csv." in output.out
    assert "1 file could not be read:" in output.out
    assert "  broken.png: " in output.out


@pytest.mark.parametrize("name", ["p.xlsx", "p"])
def test_predict__other_file_types(understudy: Run, finished: Path, unlabeled: Path, name: str) -> None:
    assert (
        f"a .csv or .parquet file, and {name!r} was given"
        in understudy("predict", finished, unlabeled, "--out", name).error()
    )
    assert not Path(name).exists()
