"""From photos and unlabeled images to a trained run, its figures, and predictions of new images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import understudy as us
from understudy.cli.main import app
from understudy.core.errors import UnderstudyWarning

CLASSES = ("bars", "disks")


def draw(path: Path, kind: str, seed: int) -> None:
    """Bars across the image or a disk in it, in some color on some noise, 24x20 px."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[0:20, 0:24]
    phase, center = random.integers(0, 6), random.integers(8, 13, 2)
    shape = (row + phase) % 6 < 3 if kind == "bars" else np.hypot(row - center[0], column - center[1]) < 6
    pixels = random.integers(0, 80, (20, 24, 3)) + shape[..., None] * random.integers(100, 176, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def command(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result


@pytest.fixture
def _images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """photos/ and test/ with a folder per class, unlabeled/ without, one file in it unreadable."""
    monkeypatch.chdir(tmp_path)
    for number in range(30):
        for kind in CLASSES:
            draw(Path("photos", kind, f"{number}.png"), kind, number)
            draw(Path("test", kind, f"{number}.jpg"), kind, 1000 + number)
            draw(Path("unlabeled", f"{kind}-{number}.png"), kind, 2000 + number)
    Path("unlabeled/broken.png").write_bytes(b"\x89PNG and then nothing")


@pytest.mark.usefixtures("_images")
def test_train_evaluate_predict__photos_and_unlabeled() -> None:
    arguments = ("--num-labels", 20, "--network", "cnn", "--size", 16, "--budget", "60steps", "--set", "batch_size=16")
    trained = command(
        "train",
        "photos",
        "--unlabeled",
        "unlabeled",
        "--test",
        "test",
        "--out",
        "run",
        *arguments,
        "--set",
        "method.mu=2",
    )
    assert "1 file could not be used, such as unlabeled:broken.png" in trained.stdout
    run = Path("run")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["supervised"]["accuracy"] > 0.8, "shapes this plain are learned in 60 steps"
    assert (result["runs"]["supervised"]["steps"], result["runs"]["softmatch"]["steps"]) == (60, 60)
    splits = json.loads((run / "splits.json").read_text(encoding="utf-8"))
    assert (len(splits["labeled"]["ids"]), len(splits["test"]["ids"])) == (20, 60)
    (quarantined,) = json.loads((run / "quarantine.json").read_text(encoding="utf-8"))
    assert quarantined["file"].endswith("broken.png")
    assert result["verdict"]["sentences"][0] in (run / "log.txt").read_text(encoding="utf-8")

    command("evaluate", "run", "test", "--json", "figures.json")
    delivered = "softmatch" if result["verdict"]["delivered"] == "method" else "supervised"
    figures = json.loads(Path("figures.json").read_text(encoding="utf-8"))
    assert figures.pop("checksum")
    assert figures == result["metrics"][delivered]

    predicted = command("predict", "run", "unlabeled", "--out", "unlabeled.csv")
    assert "60 images are in unlabeled.csv." in predicted.stdout
    assert "broken.png" in predicted.stdout
    with Path("unlabeled.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["file"].startswith(row["label"]) for row in rows)
    assert right > 0.8 * len(rows) == 48

    with pytest.warns(UnderstudyWarning, match="1 of 61 images"):
        same = us.Predictor.load("run").predict("unlabeled")
    assert [row["file"] for row in rows] == list(same.names)
    assert [float(row["p_disks"]) for row in rows] == pytest.approx(same.probabilities[:, 1].tolist(), abs=1e-6)
