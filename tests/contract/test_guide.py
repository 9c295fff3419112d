"""The method that the guide for contributors shows is a method: it passes what the battery asks of any."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import battery
from tests.contract.tiny import run, stage
from understudy.methods.base import METHODS

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
NAME = "confident_only"


@pytest.fixture
def shown() -> Iterator[Any]:
    """The class in the guide's first block of Python, registered while a test runs."""
    METHODS.names()
    (code, *_) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    module = types.ModuleType(f"understudy.methods.{NAME}")
    sys.modules[module.__name__] = module
    exec(compile(code, str(GUIDE), "exec"), module.__dict__)
    yield METHODS.get(NAME)
    del sys.modules[module.__name__], METHODS._classes[NAME]


def test_guide__method_passes_the_battery(shown: Any) -> None:
    battery.check_every_term_trains(shown, norm=True)
    battery.check_every_knob_counts(shown)
    battery.check_config_round_trips(shown)
    battery.check_no_host_sync(shown)
    assert run(stage(shown())).trained.steps == 16
