"""`evaluate`: every figure on the screen and in the file, and the folders and images it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run, draw, draw_folder
from understudy.core.files import read_json, write_json


def test_evaluate__prints_and_writes_the_figures(understudy: Run, finished: Path, test_photos: Path) -> None:
    output = understudy("evaluate", finished, test_photos, "--json", "figures.json")
    assert (output.code, output.err) == (0, "")
    figures = json.loads(Path("figures.json").read_text(encoding="utf-8"))
    trained = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    delivered = trained["verdict"]["delivered"].replace("method", "softmatch")
    assert figures.pop("checksum")
    assert figures == trained["metrics"][delivered]
    assert f"accuracy           {100 * figures['accuracy']:>5.1f} %  (95 % interval " in output.out
    for text in ("20 images, 2 classes", "balanced accuracy", "precision", "recall", "F1", "true class"):
        assert text in output.out
    row = " +".join(str(count) if count else r"\." for count in figures["confusion"][0])
    assert re.search(rf"0 +ring +{row}", output.out)


def test_evaluate__many_classes_have_no_matrix(
    understudy: Run, monkeypatch: pytest.MonkeyPatch, finished: Path, test_photos: Path
) -> None:
    monkeypatch.setattr("understudy.display.tables.MAX_CLASSES_IN_MATRIX", 1)
    output = understudy("evaluate", finished, test_photos)
    assert "true class" not in output.out


def test_evaluate__no_better_than_guessing(understudy: Run, finished: Path, test_photos: Path) -> None:
    """With the classes of the folders exchanged, a good model is below what one constant answer reaches."""
    assert "than always answering" not in understudy("evaluate", finished, test_photos).out
    shutil.copytree(test_photos / "ring", "swapped/square")
    shutil.copytree(test_photos / "square", "swapped/ring")
    output = understudy("evaluate", finished, "swapped").out
    assert "No better than always answering 'ring' (50.0 %): train longer.\n" in output


def test_evaluate__unknown_class(understudy: Run, finished: Path) -> None:
    draw_folder(Path("test"), 2)
    draw(Path("test/squares/1.png"), "square", 7)
    error = understudy("evaluate", finished, "test").error()
    assert "class 'squares' is unknown to the model; did you mean 'square'?" in error


def test_evaluate__no_labels(understudy: Run, finished: Path, unlabeled: Path) -> None:
    assert "label" in understudy("evaluate", finished, unlabeled).error()


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_commands__refuse_what_is_no_run(understudy: Run, command: str, photos: Path, finished: Path) -> None:
    assert "gone is not there" in understudy(command, "gone", photos).error()
    report = finished / "report.html"
    assert f"{report} is a file, and a run folder is wanted" in understudy(command, report, photos).error()
    Path("plain").mkdir()
    assert "plain holds no finished run" in understudy(command, "plain", photos).error()
    shutil.copytree(finished, "newer")
    write_json(Path("newer/model.json"), {**read_json(Path("newer/model.json")), "format": 99})
    assert "newer was written by a newer version" in understudy(command, "newer", photos).error()
    shutil.copytree(finished, "cut")
    weights = Path("cut/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors is missing or damaged" in understudy(command, "cut", photos).error()
    assert "is not there" in understudy(command, finished, "gone").error()


def test_evaluate__no_image_is_replaced_by_figures(understudy: Run, finished: Path, test_photos: Path) -> None:
    (image, *_) = sorted(test_photos.rglob("*.png"))
    before = image.read_bytes()
    output = understudy("evaluate", finished, test_photos, "--json", image)
    assert "exists and is not a JSON file; give another name with --json" in output.error()
    assert image.read_bytes() == before
