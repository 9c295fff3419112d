"""The steps of an ablation: each has one ingredient more, and is compared with the one before it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.small import Watch, images
from understudy.comparison.ablation import ablate, ingredients
from understudy.comparison.compare import compare
from understudy.comparison.result import ComparisonResult
from understudy.core.config import to_table
from understudy.core.errors import UserError
from understudy.data.load import load
from understudy.evaluation.seeds import few_seeds_sentence
from understudy.methods.fixmatch import FixMatch

SMALL: dict[str, Any] = {
    "test": images(60, 1000),
    "num_labels": 6,
    "network": "cnn",
    "batch_size": 6,
    "jobs": 1,
}
METHOD = {"name": "fixmatch", "mu": 2, "threshold": 0.05}
ADDED = ["bare", "schedule", "weight averaging", "strong augmentation", "unlabeled images", "pretraining"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ComparisonResult:
    """All six steps of an ablation on digits, with two seeds of a few steps."""
    folder = tmp_path_factory.mktemp("ablation")
    return ablate(
        "digits", method=METHOD, recipe="pretrain", num_labels=40, seeds=2, budget="10steps", jobs=1, folder=folder
    )


def resolved(method: Any, recipe: Any = None, **options: Any) -> list[dict[str, Any]]:
    """All settings of every step, as plain values."""
    shared = {"budget": "10steps", "num_labels": 40, **options}
    jobs = [one.variant.job(shared, load("digits"), "digits") for one in ingredients(method, recipe, options)]
    return [to_table(job) for job in jobs]


def changed(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    """Settings that differ; those of one method by their own names, another method as `method`."""
    names = {name for name in one if one[name] != two[name]}
    if "method" in names and one["method"]["name"] == two["method"]["name"]:
        names -= {"method"}
        names |= {f"method.{name}" for name in one["method"] if one["method"][name] != two["method"][name]}
    return names


@pytest.mark.parametrize("method", ["softmatch", METHOD, FixMatch(ema_decay=0.9), {"name": "uda", "ema_decay": 0.9}])
def test_ingredients__each_step_differs_in_one_ingredient(method: Any) -> None:
    steps = resolved(method, "pretrain")
    changes = [changed(one, two) for one, two in itertools.pairwise(steps)]
    assert changes == [{"lr_decay"}, {"method.ema_decay"}, {"labeled_view"}, {"method"}, {"recipe"}]
    bare, full = steps[0], steps[-1]
    assert (bare["lr_decay"], bare["labeled_view"], bare["method"]["ema_decay"]) == ("constant", "weak", 0.0)
    assert (bare["method"]["name"], bare["recipe"]["name"]) == ("supervised", "plain")
    assert (full["lr_decay"], full["labeled_view"], full["recipe"]["name"]) == ("cosine", "mixed", "pretrain")
    assert steps[3]["method"]["ema_decay"] == full["method"]["ema_decay"] > 0, "the average stays as it is"
    assert steps[3]["method"]["criterion"] == full["method"]["criterion"]


def test_ingredients__settings_of_a_job_are_what_ingredients_bring() -> None:
    steps = resolved(
        {"name": "fixmatch", "criterion": {"label_smoothing": 0.1}}, lr_decay="linear", labeled_view="strong"
    )
    assert steps[1]["lr_decay"] == "linear"
    assert steps[3]["labeled_view"] == "strong"
    assert {step["method"]["criterion"]["label_smoothing"] for step in steps} == {0.1}
    assert len(steps) == 5, "no pretraining unless it is asked for"


def test_ablate__states_every_step(found: ComparisonResult) -> None:
    assert [one.adds for one in found.ablation] == ADDED
    assert [run.error for run in found.runs] == [""] * 12
    assert found.ablation[0].gain is None
    for one, before in zip(found.ablation[1:], found.ablation, strict=False):
        assert one.gain is not None
        assert one.accuracy is not None
        assert before.accuracy is not None
        assert one.accuracy == found.summary(one.name, 40).accuracy
        assert one.gain.difference == pytest.approx(one.accuracy - before.accuracy)
        sentence = f"{one.adds.capitalize()}: {100 * one.gain.difference:+.1f} points"
        assert any(line.startswith(sentence) for line in found.sentences)
    assert "comparisons with supervised" not in str(found)


def test_ablate__corrects_for_all_steps(found: ComparisonResult) -> None:
    steps = [one.gain for one in found.ablation if one.gain and one.gain.p_value is not None]
    smallest = min(steps, key=lambda step: step.p_value or 0.0)
    assert smallest.p_holm == pytest.approx(min(1.0, len(steps) * (smallest.p_value or 0.0)))


def test_ablate__same_weights_labels_and_budget_on_all_steps(found: ComparisonResult) -> None:
    assert found.folder is not None
    for seed in (0, 1):
        runs = [run for run in found.runs if run.seed == seed]
        identities = [json.loads((found.folder / run.folder / "identity.json").read_text("utf-8")) for run in runs]
        for name in ("initial weights", "split", "data", "budget"):
            assert len({identity[name] for identity in identities}) == 1
    weights = {(found.folder / run.folder / "predictions.npz").read_bytes() for run in found.runs}
    assert len(weights) == len(found.runs)


def test_ablate__is_saved_for_a_waterfall(found: ComparisonResult) -> None:
    assert found.folder is not None
    saved = json.loads((found.folder / "comparison.json").read_text(encoding="utf-8"))["ablation"]
    assert [step["adds"] for step in saved] == ADDED
    assert all({"name", "adds", "accuracy", "interval", "gain"} <= set(step) for step in saved)
    assert {"difference", "interval", "p_value", "p_holm"} <= set(saved[1]["gain"])
    assert saved[0]["gain"] is None


def test_ablate__shares_its_runs_with_a_comparison(found: ComparisonResult) -> None:
    watch = Watch()
    again = compare(
        "digits",
        methods="fixmatch",
        method=METHOD,
        num_labels=40,
        seeds=2,
        budget="10steps",
        jobs=1,
        folder=found.folder,
        watch=watch,
    )
    assert watch.trained == []
    assert again.summary("supervised", 40).accuracy == found.ablation[3].accuracy


@pytest.mark.parametrize(
    ("options", "added", "methods"),
    [
        ({"labeled_view": "weak"}, [*ADDED[:3], ADDED[4]], ["bare", "+ schedule", "supervised", "fixmatch"]),
        ({"lr_decay": "constant"}, ["bare", *ADDED[2:5]], ["bare", "+ weight averaging", "supervised", "fixmatch"]),
        ({"method": "supervised"}, ADDED[:4], ["bare", "+ schedule", "+ weight averaging", "supervised"]),
    ],
)
def test_ablate__leaves_out_what_is_turned_off(options: dict[str, Any], added: list[str], methods: list[str]) -> None:
    watch = Watch()
    one = ablate(images(), **{"method": METHOD, "seeds": 1, "budget": "2steps", **SMALL, **options}, watch=watch)
    assert [step.adds for step in one.ablation] == added
    assert [step.name.split("(")[0] for step in one.ablation] == methods
    (missing,) = set(ADDED[:5]) - set(added)
    assert watch.messages[0] == f"The settings turn off {missing}, so that is left out."


def test_ablate__one_seed_is_tested_without_a_folder() -> None:
    one = ablate(images(), method=METHOD, seeds=1, budget="4steps", **SMALL)
    assert one.folder is None
    assert {step.gain.test for step in one.ablation[1:] if step.gain} == {"McNemar"}
    assert few_seeds_sentence(1) in str(one)


def test_ablate__a_step_that_failed_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from understudy.comparison import runs as grid

    trained = grid.run_one

    def fail(collection: Any, job: Any, **options: Any) -> Any:
        if job.labeled_view == "weak" and job.method.ema_decay > 0:
            raise UserError("the disk is full")
        return trained(collection, job, **options)

    monkeypatch.setattr(grid, "run_one", fail)
    one = ablate(images(), method=METHOD, seeds=2, budget="2steps", folder=tmp_path, **SMALL)
    assert [step.accuracy is None for step in one.ablation] == [False, False, True, False, False]
    assert [step.gain is None for step in one.ablation] == [True, False, True, True, False]
    assert "Weight averaging: no seed finished with and without it." in str(one)
    assert dataclasses.asdict(one)["ablation"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"method": "softmach"}, "unknown method 'softmach'; did you mean 'softmatch'?"),
        ({"method": {"mut": 1}}, "unknown setting method.mut: did you mean 'mu'?"),
        ({"recipe": "self_training"}, "recipe 'self_training' is not an ingredient; allowed: plain, pretrain"),
        ({"recipe": "pretain"}, "recipe 'pretain' is not an ingredient; did you mean 'pretrain'?"),
        ({"recipe": {"name": "pretrain", "share": 1}}, "unknown setting recipe.share"),
        ({"threshold": 0.9}, "threshold is a setting of method fixmatch; write method.threshold"),
        ({"labeld_view": "weak"}, "unknown setting labeld_view: did you mean 'labeled_view'?"),
        ({"num_labels": [6, 12]}, "an ablation has one number of labels, and 2 were given; choose one"),
        ({"num_labels": None}, "with the labels given no image is left unlabeled"),
        (
            {"method": {"name": "supervised", "ema_decay": 0.0}, "labeled_view": "weak", "lr_decay": "constant"},
            "the settings turn off schedule and weight averaging and strong augmentation and unlabeled images",
        ),
    ],
)
def test_ablate__refuses(options: dict[str, Any], error: str, tmp_path: Path) -> None:
    given = {"method": "fixmatch", "budget": "2steps", "folder": tmp_path / "none", **SMALL, **options}
    with pytest.raises(UserError) as caught:
        ablate(images(), **given)
    assert error in str(caught.value)
    assert not list(tmp_path.rglob("ledger.jsonl"))
