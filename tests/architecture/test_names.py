"""Modules import one another without a cycle, and one name means one thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.architecture import checks

SRC = Path(__file__).resolve().parents[2] / "src"
SOURCES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(SRC.rglob("*.py"))
}
"""The text of every module, by its full name."""

SHARED_FILE_NAMES = {
    "audit": "a command: its API, its parser, its page and figures beside what it calls",
    "base": "what is registered in a package: methods, recipes",
    "compare": "a command: its API and its parser beside what it calls",
    "comparison": "the page of a comparison and its figures",
    "evaluate": "a command: its API and its parser",
    "generated": "images that a generator drew: their figures, and how they are served",
    "outcome": "what a run found: its values, and how they are displayed",
    "plan": "a plan: its values, the parser of its command, its page",
    "predict": "prediction: the loop and the parser of its command",
    "probes": "the probes of features and their figure",
    "repeats": "repeats of a run: their runs, their statistics, their page",
    "robustness": "accuracy on corrupted images: the corruptions, and the network's answers on them",
    "labels": "labels: as sources give them, and their figures",
    "result": "what a call returns: of a run, an audit, a comparison",
    "rotation": "predicting rotations: the function and the method",
    "run": "a run: the experiment and its page",
    "split": "a command: its API and its parser beside what it calls",
    "suggest": "a command: its API and its parser",
    "train": "a command: its API and its parser",
}
"""File names that stand for the same thing in several packages, and what that is."""

FILE_NAMES_TO_CHANGE: set[str] = set()
"""File names that stand for different things; the list may only shrink."""

CLASS_NAMES_TO_CHANGE: set[str] = set()
"""Names of several classes; the list may only shrink."""


def test_imports__have_no_cycle() -> None:
    assert checks.import_cycles(SOURCES) == []


def test_classes__have_a_name_of_their_own() -> None:
    found = checks.shared_class_names(SOURCES)
    new = {name: modules for name, modules in found.items() if name not in CLASS_NAMES_TO_CHANGE}
    assert new == {}, "name the class by what distinguishes it"
    assert set(found) == CLASS_NAMES_TO_CHANGE, "a name of the list is unique now; take it off"


def test_files__have_a_name_of_their_own() -> None:
    found = checks.shared_file_names(SOURCES)
    known = {*SHARED_FILE_NAMES, *FILE_NAMES_TO_CHANGE}
    new = {name: modules for name, modules in found.items() if name not in known}
    assert new == {}, "name the file by what distinguishes it, or say in SHARED_FILE_NAMES what its namesakes share"
    assert set(found) == known, "a name of the lists is unique now; take it off"


@pytest.mark.parametrize(
    ("sources", "cycles"),
    [
        ({"p.a": "import p.b", "p.b": "from p import a"}, ["p.a, p.b"]),
        ({"p.a": "from p.b import f", "p.b": "def f():\n    from .a import g"}, ["p.a, p.b"]),
        ({"p.a": "import p.b", "p.b": "import p.c", "p.c": "import p.a", "p.d": "import p.a"}, ["p.a, p.b, p.c"]),
        ({"p.__init__": "from p.a import f", "p.a": "from p import f"}, ["p, p.a"]),
    ],
)
def test_import_cycles__planted(sources: Mapping[str, str], cycles: list[str]) -> None:
    assert checks.import_cycles(sources) == cycles


@pytest.mark.parametrize(
    "sources",
    [
        {"p.a": "import p.b", "p.b": "if TYPE_CHECKING:\n    from p.a import A"},
        {"p.a": "import p.b, p.c", "p.b": "import p.c", "p.c": "import json"},
    ],
)
def test_import_cycles__none(sources: Mapping[str, str]) -> None:
    assert checks.import_cycles(sources) == []


def test_shared_class_names__planted() -> None:
    sources = {"p.a": "class Run: ...\nclass One: ...", "p.b": "def f():\n    class Run: ..."}
    assert checks.shared_class_names(sources) == {"Run": ["p.a", "p.b"]}


def test_shared_file_names__planted() -> None:
    sources = dict.fromkeys(("p.x.__init__", "p.y.__init__", "p.x.run", "p.y.run", "p.y.other"), "")
    assert checks.shared_file_names(sources) == {"run": ["p.x.run", "p.y.run"]}
