"""`understudy report`: where the file goes, what it says of a real run, and what cannot be reported on."""

from __future__ import annotations

import json
import shutil
import webbrowser
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run


def test_train__leaves_a_report_and_all_it_is_made_of(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    result = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    names = {line["name"] for line in result["mistakes"]}
    assert names <= set(np.load(finished / "held_out.npz")["names"].tolist())
    assert all(name.rpartition("/")[2] in page for name in names)
    shown = [line["picture"] for line in [*result["mistakes"], *result["samples"]["labeled"]]]
    assert max(shown) < len(np.load(finished / "pictures.npz")["images"])
    wrong = round(
        result["metrics"][result["delivered"]]["n"] * (1 - result["metrics"][result["delivered"]]["accuracy"])
    )
    assert len((finished / "mistakes.csv").read_text(encoding="utf-8").splitlines()) == 1 + min(24, wrong)


def test_report__of_a_folder_and_of_two(understudy: Run, finished: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(finished, name)
    Path("one/report.html").unlink()
    assert understudy("report", "one").out == "Report: one/report.html\n"
    assert Path("one/report.html").stat().st_size > 10_000
    assert understudy("report", "one", "two", "--out", "sub/both.html").code == 0
    assert "None is proven better than one" in Path("sub/both.html").read_text(encoding="utf-8")


def test_report__opens_a_browser_or_says_that_there_is_none(
    understudy: Run, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or len(opened) == 1)
    assert "browser" not in understudy("report", finished, "--out", "r.html", "--open").out
    assert opened == [Path("r.html").resolve().as_uri()]
    assert "open the file yourself" in understudy("report", finished, "--out", "r.html", "--open").out


def test_report__of_an_interrupted_run(understudy: Run, finished: Path) -> None:
    shutil.copytree(finished, "cut")
    for name in ("result.json", "model.json", "report.html"):
        Path("cut", name).unlink()
    assert understudy("report", "cut").code == 0
    page = Path("cut/report.html").read_text(encoding="utf-8")
    assert "This run has not finished" in page
    assert "supervised 100 % done" in page


def test_report__refuses(understudy: Run, finished: Path) -> None:
    assert "nowhere is not there; name the folder" in understudy("report", "nowhere").error()
    Path("empty").mkdir()
    assert "empty holds neither a training run nor a comparison" in understudy("report", "empty").error()
    assert "name one that ends in .html" in understudy("report", finished, "--out", "report.pdf").error()
    Path("file").touch()
    assert "cannot be written" in understudy("report", finished, "--out", "file/report.html").error()
