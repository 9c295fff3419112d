"""The recipe that the guide for contributors shows works: it keeps its budget, resumes, and says what it returned."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.contract.tiny import different, same_execution, stage, tiny, unchecked_shapes
from understudy.core.budget import Budget
from understudy.core.config import from_table, to_table
from understudy.core.errors import RunFolderError
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.stage import Stage
from understudy.methods.fixmatch import FixMatch
from understudy.recipes import base
from understudy.recipes.base import RECIPES, Recipe

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
NAME = "fine_tune"


@pytest.fixture
def recipe() -> Iterator[type[Recipe]]:
    """The recipe in the guide, registered while a test runs."""
    RECIPES.names()
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (code,) = (block for block in blocks if "(Recipe)" in block)
    module = types.ModuleType(f"understudy.recipes.{NAME}")
    sys.modules[module.__name__] = module
    exec(compile(code, str(GUIDE), "exec"), module.__dict__)
    yield RECIPES.get(NAME)
    del sys.modules[module.__name__], RECIPES._classes[NAME]


def small() -> Stage:
    return stage(FixMatch(mu=2, threshold=0.4, ema_decay=0.5), steps=20, data=tiny(validation=9).data)


def train(recipe: Recipe, folder: Path) -> Trained:
    with same_execution(), unchecked_shapes():
        return recipe.train(small(), folder)


def test_guide__recipe_divides_its_budget(recipe: Any, tmp_path: Path) -> None:
    seen: list[Stage] = []

    def remembered(part: Stage, *arguments: Any, **options: Any) -> Trained:
        seen.append(part)
        return fit(part, *arguments, **options)

    with mock.patch.object(base, "fit", remembered):
        trained = train(recipe(), tmp_path)
    assert [part.budget for part in seen] == [Budget(steps=16), Budget(steps=4)]
    assert [part.settings.method.name for part in seen] == ["fixmatch", "supervised"]
    assert trained.steps == 20
    assert [record["returned"] for record in trained.rounds] == [False, True]
    assert json.loads((tmp_path / "rounds.json").read_text("utf-8")) == list(trained.rounds)
    assert from_table(Recipe, to_table(recipe(method_share=0.5)), where="recipe") == recipe(method_share=0.5)


def test_guide__recipe_resumes_to_the_same_weights(recipe: Any, tmp_path: Path) -> None:
    whole = train(recipe(), tmp_path / "whole")

    def killed(part: Stage, *arguments: Any, **options: Any) -> Trained:
        if part.name == "labels":
            raise KeyboardInterrupt
        return fit(part, *arguments, **options)

    with mock.patch.object(base, "fit", killed), pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "killed")
    again = train(recipe(), tmp_path / "killed")
    assert not different(dict(whole.model.state_dict()), dict(again.model.state_dict()))
    with pytest.raises(RunFolderError):
        train(dataclasses.replace(recipe(), method_share=0.5), tmp_path / "killed")
