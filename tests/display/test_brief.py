"""Results show themselves in a few lines."""

from __future__ import annotations

import re
from typing import Any

import pytest

import understudy as us
from tests.api.test_train import QUICK, images
from understudy.core.brief import Brief

IMAGES = images(60)
OPTIONS: dict[str, Any] = QUICK | {"budget": "2steps", "quiet": True}


@pytest.fixture(scope="module")
def result() -> us.Result:
    """A trained network of whatever worth."""
    return us.train(IMAGES, test=images(20, 1), plan=False, **OPTIONS)


def test_brief__results_are_short(result: us.Result) -> None:
    compared = us.compare(IMAGES, methods="pseudo_label", num_labels=10, seeds=1, jobs=1, **OPTIONS)
    plan = us.plan(IMAGES, budget="20steps", network="cnn", quiet=True)
    shown = [result, compared, plan, us.audit(IMAGES, features=False, quiet=True), us.load(IMAGES)]
    shown += [us.suggest(IMAGES[0], count=3, quiet=True), result.predictor, result.predictions]
    for one in (*shown, *result.runs.values()):
        text = repr(one)
        assert text.startswith(f"{type(one).__name__}: ")
        assert len(text) < 1000
        assert not re.search(r"tensor\(|array\(|object at", text)
        assert len(one._repr_html_()) < 2000 or one is result


def test_repr__says_what_matters(result: us.Result) -> None:
    assert result.metrics is not None
    assert repr(result) == (
        "Result: No verdict: only the labels were trained on, so there is nothing to compare.\n"
        f"  supervised: {100 * result.metrics.accuracy:.0f} % of 20 held-out images, 2 steps\n  not saved"
    )
    assert repr(us.load(IMAGES)).startswith("Collection: 60 images of 1 x 16 x 16, 60 of them labeled\n  2 classes: ")
    assert repr(result.predictions).endswith("and 15 more")


def test_repr_html__has_the_picture_in_its_own_colors(result: us.Result) -> None:
    page = result._repr_html_()
    assert page.count("<svg") == 1
    assert set(re.findall(r"var\((--\w+)\)", page)) <= set(re.findall(r"(--\w+): #", page))


def test_brief__long_lines_are_cut_and_text_stays_text() -> None:
    class Long(Brief):
        def brief(self) -> tuple[str, ...]:
            return ("<b>", *["x" * 400] * 9)

    assert len(repr(Long())) < 1000
    assert repr(Long()).endswith("…")
    assert "&lt;b&gt;" in Long()._repr_html_()
