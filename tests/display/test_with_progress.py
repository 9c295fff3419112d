"""Long calls of the Python API show what they do, in a terminal, a notebook and a file, unless they are quiet."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import understudy as us
from tests.api.test_train import QUICK, images
from understudy.display.console import open_console
from understudy.display.progress import NotebookLine, watching

IMAGES = images(60)


def _train(**options: Any) -> us.Result:
    return us.train(IMAGES, **(QUICK | {"budget": "2steps", "plan": False} | options))


def test_train__prints_progress_and_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _train(folder=tmp_path / "run")
    out = capsys.readouterr().out
    assert re.search(r"^supervised\s+100 %  step 2 ", out, re.MULTILINE)
    for sentence in (*result.notes, *result.verdict.sentences()):
        assert sentence in out
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    assert (tmp_path / "run" / "report.html").exists()
    assert list((tmp_path / "run" / "figures").glob("*.png"))


def test_train__quiet_or_watched_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from understudy.experiment.log import Silent

    _train(quiet=True)
    _train(watch=Silent())
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_plan__prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = us.plan(IMAGES, budget="20steps", network="cnn")
    out = capsys.readouterr().out
    assert found.summary in out
    decision = "Labels alone will be trained, because there are no unlabeled images to learn from."
    assert out.index(decision) < out.index("setting")
    assert re.search(r"network\s+cnn\s+you", out)


@pytest.mark.parametrize("call", [us.audit, us.suggest])
def test_callbacks__quiet_prints_nothing(call: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"features": False} if call is us.audit else {"count": 3}
    call(IMAGES if call is us.audit else IMAGES[0], quiet=True, **options)
    assert capsys.readouterr().out == ""


def test_compare__prints_runs_and_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = QUICK | {"budget": "2steps"}
    found = us.compare(IMAGES, methods="pseudo_label", num_labels=10, seeds=1, folder=tmp_path / "c", jobs=1, **options)
    out = capsys.readouterr().out
    assert re.search(r"1/2  \w+\s+10 labels\s+seed 0\s+[\d.]+ %", out)
    assert all(sentence in out for sentence in found.sentences)
    assert (tmp_path / "c" / "report.html").exists()
    assert list((tmp_path / "c" / "figures").glob("*.png"))


class _Handle:
    def __init__(self, shown: list[str], data: dict[str, str]) -> None:
        self.shown, self.place = shown, len(shown)
        shown.append(data["text/plain"])

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        self.shown[self.place] = data["text/plain"]


def test_watching__notebook_updates_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    module, displays = ModuleType("IPython"), ModuleType("IPython.display")
    module.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    displays.display = lambda data, **options: _Handle(shown, data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    with watching(open_console()) as watch:
        assert isinstance(watch, NotebookLine)
        watch.message("a sentence")
        for done in range(1, 101):
            watch.decoding(done, 100)
    assert shown == ["decoded 100 of 100 images"]
    _train()
    assert len(shown) == 2
    assert re.match(r"supervised\s+100 %", shown[1])
    assert "a sentence" in capsys.readouterr().out
