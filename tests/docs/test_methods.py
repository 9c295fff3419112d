"""The pages of the methods say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from understudy.methods.base import METHODS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("make_methods", DOCS / "make_methods.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages__are_up_to_date(maker: ModuleType) -> None:
    for path, text in maker.pages().items():
        assert path.exists(), f"{path.name} is missing; run make docs"
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run make docs"
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == {"README", *METHODS.names()}


def test_pages__state_the_measured_cost(maker: ModuleType) -> None:
    for name in METHODS.names():
        record = maker.read("method_cost").get(name)
        kind = METHODS.get(name)
        if kind.pretext:
            continue
        assert record is not None, f"{name} is not in method_cost.json; run make bench NAME=method_cost"
        assert kind.cost == round(record["all count"]["of_supervised"], 1)
