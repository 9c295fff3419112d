"""What is printed of a result: a model at chance level is named before the verdict."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from understudy.display.outcome import print_outcome
from understudy.evaluation.metrics import measure
from understudy.evaluation.no_verdict import NoVerdict


@pytest.mark.parametrize(("wrong", "is_guessing"), [(60, True), (10, False)])
def test_print_outcome__says_first_that_a_model_is_at_chance(wrong: int, is_guessing: bool) -> None:
    labels = np.repeat([0, 1, 2], [25, 50, 25])
    predicted = np.where(np.arange(100) < wrong, (labels + 1) % 3, labels)
    trained = SimpleNamespace(steps=7, rounds=(), cost=SimpleNamespace(cpu_s=1.0, wall_s=1.0))
    metrics = measure(labels, predicted, classes=("bag", "dress", "shirt"))
    found = SimpleNamespace(
        verdict=NoVerdict(), repeats=None, runs={"supervised": trained}, run_metrics={"supervised": metrics}
    )
    out = io.StringIO()
    print_outcome(Console(file=out, width=200), found)  # type: ignore[arg-type]  # only what is printed
    lines = out.getvalue().splitlines()
    note = "No better than always answering 'dress' (50.0 %): train longer than 7 steps."
    assert lines[0] == "VERDICT"
    assert (lines[1] == note) == is_guessing
