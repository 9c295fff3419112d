"""Results show themselves in a few lines."""

from __future__ import annotations

import re
from html import unescape
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


@pytest.fixture(scope="module")
def compared() -> us.Comparison:
    """A comparison of whatever worth."""
    return us.compare(IMAGES, methods="pseudo_label", num_labels=10, seeds=1, jobs=1, **OPTIONS)


def test_brief__results_are_short(result: us.Result, compared: us.Comparison) -> None:
    plan = us.plan(IMAGES, budget="20steps", network="cnn", quiet=True)
    shown = [result, compared, plan, us.audit(IMAGES, features=False, quiet=True), us.load(IMAGES)]
    shown += [us.suggest(IMAGES[0], count=3, quiet=True), result.predictor, result.predictions]
    for one in (*shown, *result.runs.values()):
        text = repr(one)
        assert text.startswith(f"{type(one).__name__}: ")
        assert len(text) < 1000
        assert not re.search(r"tensor\(|array\(|object at", text)
        assert len(re.sub("<svg.*</svg>", "", one._repr_html_())) < 7000


def test_repr__says_what_matters(result: us.Result) -> None:
    assert result.metrics is not None
    assert repr(result) == (
        "Result: No verdict: only the labels were trained on, so there is nothing to compare.\n"
        f"  supervised: {100 * result.metrics.accuracy:.1f} % of 20 held-out images, 2 steps\n  not saved"
    )
    assert repr(us.load(IMAGES)).startswith("Collection: 60 images of 1 x 16 x 16, 60 of them labeled\n  2 classes: ")
    assert repr(result.predictions).endswith("and 15 more")


def test_repr_html__has_the_picture_in_its_own_colors(result: us.Result, compared: us.Comparison) -> None:
    for shown in (result, compared):
        page = shown._repr_html_()
        assert page.count("<svg") == 1
        assert set(re.findall(r"var\((--\w+)\)", page)) <= set(re.findall(r"(--\w+): #", page))


def test_repr_html__of_a_comparison_has_its_table(compared: us.Comparison) -> None:
    rows = cells(compared._repr_html_())
    assert rows[0][:3] == ["method", "labels", "mean"]
    assert [row[:2] for row in rows[1:]] == [["supervised", "10"], ["pseudo_label", "10"]]


def test_repr_html__of_an_ablation_has_its_waterfall() -> None:
    page = us.ablate(IMAGES, method="pseudo_label", num_labels=10, seeds=1, jobs=1, **OPTIONS)._repr_html_()
    assert "What each ingredient adds" in page[page.index("<svg") :]


def test_repr_html__of_predictions_has_a_row_for_each_of_the_first(result: us.Result) -> None:
    assert result.predictions is not None
    page = result.predictions._repr_html_()
    rows = cells(page)
    assert rows[0] == ["image", "class", "confidence"]
    assert [row[:2] for row in rows[1:]] == [
        list(pair) for pair in zip(result.predictions.names[:5], result.predictions.labels[:5], strict=True)
    ]
    assert page.count("<li>") == 1
    assert "and 15 more" in page


def test_repr_html__of_a_plan_has_every_choice_with_its_reason() -> None:
    plan = us.plan(IMAGES, budget="20steps", network="cnn", quiet=True)
    rows = cells(plan._repr_html_())
    assert [row[0] for row in rows[1:]] == [choice.key for choice in plan.choices]
    assert all(row[2] for row in rows)


def test_repr_html__of_an_audit_has_a_row_for_each_finding() -> None:
    pixels, labels = IMAGES
    audited = us.audit((pixels.repeat(2, 0), labels.repeat(2)), features=False, quiet=True)
    rows = cells(audited._repr_html_())
    assert audited.findings
    assert [row[0] for row in rows[1:]] == [finding.kind for finding in audited.findings]
    assert cells(us.audit(IMAGES, features=False, quiet=True)._repr_html_()) == []


def cells(page: str) -> list[list[str]]:
    """The texts of a table, by row."""
    rows = re.findall("<tr>(.*?)</tr>", page)
    return [[unescape(text) for text in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_brief__long_lines_are_cut_and_text_stays_text() -> None:
    class Long(Brief):
        def brief(self) -> tuple[str, ...]:
            return ("<b>", *["x" * 400] * 9)

    assert len(repr(Long())) < 1000
    assert repr(Long()).endswith("…")
    assert "&lt;b&gt;" in Long()._repr_html_()
