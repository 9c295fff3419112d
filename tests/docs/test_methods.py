"""The pages of the methods say what the code says."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.docs.scripts import DOCS, imported
from understudy.methods.base import METHODS


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The script that writes the pages."""
    return imported("make_methods")


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
