"""Presets: each is legal, and everything given beside one overrules it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.cli.request import options_table
from understudy.core.config import from_table
from understudy.core.errors import ConfigError
from understudy.experiment import presets
from understudy.experiment.job import Job
from understudy.recipes.noisy_student import NoisyStudent


@pytest.mark.parametrize("name", presets.names())
def test_preset__is_legal_and_has_a_summary(name: str) -> None:
    table = options_table(None, {"preset": name}, [])
    assert isinstance(from_table(Job, table), Job)
    assert table
    assert "preset" not in table
    assert presets.summary(name).endswith(".")
    assert not presets.summary(name).startswith("#")


def test_with_preset__an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no preset 'noisy_student'.*noisy-student"):
        presets.with_preset({"preset": "noisy_student"})


def test_options_table__command_line_over_file_over_preset(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('preset = "noisy-student"\nbudget = "7m"\n[recipe]\nnum_rounds = 5\ndropout = 0.1\n')
    table = options_table(file, {"budget": "3m"}, ["recipe.dropout=0.2"])
    job = from_table(Job, table)
    assert isinstance(job.recipe, NoisyStudent)
    assert (job.budget.text, job.recipe.num_rounds, job.recipe.dropout) == ("3m", 5, 0.2)
    assert job.recipe.threshold == 0.3


def test_with_preset__another_method_leaves_the_presets_settings() -> None:
    assert presets.with_preset({"preset": "gan", "method": "fixmatch"})["method"] == {"name": "fixmatch"}


def test_with_preset__another_type() -> None:
    with pytest.raises(ConfigError, match=r"preset is 5; give a name, one of "):
        presets.with_preset({"preset": 5})
