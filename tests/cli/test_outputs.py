"""Every command that writes a file refuses one that cannot be written before it reads a run or an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run

NOT_UTF8 = os.fsdecode(b"caf\xe9")
COMMANDS = [
    (("predict", "run", "images"), "--out", ".csv"),
    (("label", "run", "images"), "--out", ".csv"),
    (("suggest", "images"), "--out", ".csv"),
    (("suggest", "images"), "--sheet", ".html"),
    (("audit", "images"), "--out", ".html"),
    (("audit", "images"), "--json", ".json"),
    (("audit", "images"), "--write-manifest", ".csv"),
    (("evaluate", "run", "images"), "--json", ".json"),
    (("plan", "images"), "--out", ".toml"),
]


def _fail(*_: object, **__: object) -> None:
    raise AssertionError("something was computed")


@pytest.mark.parametrize(("command", "option", "suffix"), COMMANDS)
def test_commands__check_what_they_write_first(
    understudy: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], option: str, suffix: str
) -> None:
    for name in ("understudy.api.train.load", "understudy.api.audit.load", "understudy.api.suggest.load"):
        monkeypatch.setattr(name, _fail)
    monkeypatch.setattr("understudy.serving.predictor.Predictor.load", _fail)
    Path("images").mkdir()
    Path("file").write_text("", "utf-8")
    Path(f"folder{suffix}").mkdir()
    for name, sentence in (
        (f"folder{suffix}", f"folder{suffix} is a folder"),
        (f"file/a{suffix}", f"file/a{suffix} cannot be written"),
        (f"{NOT_UTF8}{suffix}", "is not valid UTF-8"),
    ):
        error = understudy(*command, option, name).error()
        assert sentence in error
        assert f"with {option}" in error


@pytest.mark.parametrize("command", ["train", "compare", "ablate"])
def test_commands__check_the_folder_first(understudy: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr("understudy.api.train.load", _fail)
    monkeypatch.setattr("understudy.comparison.compare.load", _fail)
    Path("images").mkdir()
    Path("file").write_text("", "utf-8")
    assert "file/run cannot be written" in understudy(command, "images", "--out", "file/run").error()
    assert "is not valid UTF-8; give another" in understudy(command, "images", "--out", NOT_UTF8).error()
