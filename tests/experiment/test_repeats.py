"""Many seeds and folds: what is trained on what, what is delivered, and that a killed run goes on to the same end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import understudy as us
from tests.api.test_train import QUICK, few_labels, images, own_module
from tests.cli.conftest import FIXED_LAYOUT
from understudy.engine.stage import Stage
from understudy.experiment import run as run_module
from understudy.experiment.log import Silent

FAST = QUICK | {"budget": "6steps", "method": "fixmatch"}
RUNS = ("supervised", "fixmatch")


class Killed(BaseException):
    """The process is gone."""


def names_of(folder: Path, role: str) -> set[str]:
    return set(json.loads((folder / "splits.json").read_text(encoding="utf-8"))[role]["names"])


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> tuple[us.Result, Path]:
    """Three folds of 24 labels, with no other test image."""
    folder = tmp_path_factory.mktemp("runs") / "folded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*FIXED_LAYOUT)
        return us.train(few_labels(known=24), folder=folder, folds=3, **FAST), folder


def test_folds__out_of_fold_probabilities_are_of_models_that_had_not_seen_the_image(
    folded: tuple[us.Result, Path],
) -> None:
    _, folder = folded
    pooled = np.load(folder / "held_out.npz")
    place = {name: at for at, name in enumerate(pooled["names"])}
    tested: set[str] = set()
    for number in (1, 2, 3):
        part = folder / f"fold-{number}"
        held = np.load(part / "held_out.npz")
        assert not set(held["names"]) & names_of(part, "labeled")
        assert set(held["names"]) == names_of(part, "test")
        rows = [place[name] for name in held["names"]]
        assert all(np.array_equal(pooled[run][rows], held[run]) for run in RUNS)
        tested |= set(held["names"])
    assert tested == set(place) == names_of(folder, "labeled")


def test_folds__the_final_model_is_trained_on_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, int]] = []
    fit = run_module.fit

    def watched(stage: Stage, *arguments: Any, **options: Any) -> Any:
        seen.append((stage.name, len(stage.data.labeled), len(stage.data.unlabeled)))
        return fit(stage, *arguments, **options)

    monkeypatch.setattr(run_module, "fit", watched)
    result = us.train(few_labels(known=24), folds=2, **FAST)
    assert seen[:2] == [("supervised", 12, 36)] * 2
    assert result.verdict is not None
    assert result.verdict.folds == 2
    kind = "fixmatch" if result.verdict.outcome in ("helped", "better") else "supervised"
    assert list(result.runs) == [kind]
    assert seen[2:] == ([("supervised", 24, 36)] if kind == "supervised" else [])
    assert len(result.splits.labeled) == 24
    assert not len(result.splits.test)


def test_folds__the_result_speaks_of_all_labels(folded: tuple[us.Result, Path]) -> None:
    result, folder = folded
    assert result.verdict is not None
    assert result.verdict.n == 24
    assert result.predictions is not None
    assert len(result.predictions.labels) == 24
    found = result_of(folder)
    assert [run["n"] for run in found["repeats"]["runs"]] == [8, 8, 8]
    assert found["data"]["test_source"] == "out of fold"
    assert set(found["metrics"]) == set(RUNS)
    assert found["metrics"]["fixmatch"]["accuracy"] == pytest.approx(found["repeats"]["fixmatch"]["mean"])
    assert {line["where"] for line in found["label_errors"]} <= {"out of fold"}
    assert all(near["name"] != line["name"] for line in found["mistakes"] for near in line["neighbors"])
    assert "folds = 3" in (folder / "config.toml").read_text(encoding="utf-8")
    assert "no image is left to test it" in found["repeats"]["sentences"][-1]


def test_folds__label_errors_are_looked_for_in_all_labels() -> None:
    pixels, labels = few_labels(known=40)
    labels[4] = 1 - labels[4]
    result = us.train((pixels, labels), folds=4, **FAST | {"budget": "40steps", "method": "supervised"})
    doubted = result.to_json()["label_errors"]
    assert doubted[0]["name"] == "4"
    assert doubted[0]["where"] == "out of fold"


def test_folds__a_test_set_tests_the_final_model_alone() -> None:
    result = us.train(few_labels(known=12), test=images(40, 1), folds=2, **FAST)
    assert result.verdict is not None
    assert result.verdict.n == 12
    assert result.metrics is not None
    assert np.sum(result.metrics.confusion) == 40
    assert result.repeats is not None
    assert "of 40 test images right, which decided nothing" in result.repeats.sentences[-1]


@pytest.mark.parametrize(
    ("options", "part", "root"),
    [({"folds": 3}, "fold-2", "whole"), ({"repeats": 2}, "repeat-1", "whole")],
)
def test_resume__after_a_kill_inside_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], part: str, root: str
) -> None:
    monkeypatch.setattr(*FIXED_LAYOUT)
    call = {"source": few_labels(known=24)} | FAST | options
    whole, cut = tmp_path / root, tmp_path / "cut"
    us.train(**call, folder=whole)

    class Killer(Silent):
        def step(self, report: Any) -> None:
            """Die in the middle of the method's training of this part."""
            if report.run == "fixmatch" and report.step.index == 3 and (cut / part).exists():
                raise Killed

    with pytest.raises(Killed):
        us.train(**call, folder=cut, watch=Killer())
    assert not (cut / "result.json").exists()
    assert not (cut / part / "result.json").exists()
    us.train(**call, folder=cut)
    one, two = result_of(whole), result_of(cut)
    assert one["repeats"] == {**two["repeats"], "sentences": one["repeats"]["sentences"]}
    assert (one["metrics"], one["label_errors"]) == (two["metrics"], two["label_errors"])
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert (whole / "predictions.csv").read_bytes() == (cut / "predictions.csv").read_bytes()


def test_folds__a_timed_budget_is_divided_and_written_down(tmp_path: Path) -> None:
    us.train(few_labels(known=24), folder=tmp_path / "r", folds=2, **FAST | {"budget": "6cpu-s"})
    part = json.loads((tmp_path / "r" / "budgets.json").read_text(encoding="utf-8"))
    share = part["part"]["cpu_s"]
    assert 0.8 * 2 <= share < 2, "a third of the budget, less what planning took"
    assert part["supervised"]["cpu_s"] == pytest.approx(share), "the final model has a whole share"
    fold = json.loads((tmp_path / "r" / "fold-1" / "budgets.json").read_text(encoding="utf-8"))
    assert fold["supervised"]["cpu_s"] == pytest.approx(share / 2)


def test_seeds__each_with_its_own_labels_and_the_first_delivered(tmp_path: Path) -> None:
    result = us.train(
        images(80), test=images(40, 1), num_labels=10, seed=7, folder=tmp_path / "r", repeats=2, **FAST
    )  # fmt: skip
    assert result.repeats is not None
    assert result.repeats.numbers == (7, 8)
    first, second = (tmp_path / "r" / f"repeat-{seed}" for seed in (7, 8))
    assert names_of(first, "labeled") != names_of(second, "labeled")
    found = result_of(tmp_path / "r")
    delivered = "fixmatch" if found["repeats"]["outcome"] in ("helped", "better") else "supervised"
    assert found["delivered"] == delivered
    for number, part in enumerate((first, second)):
        metrics = result_of(part)["metrics"]
        assert all(found["repeats"]["runs"][number][run] == metrics[run]["accuracy"] for run in RUNS)
    pixels, _ = images(20, 3)
    weights = first / delivered / "model.safetensors"
    assert weights.exists()
    assert found["metrics"] == result_of(first)["metrics"]
    again = us.Predictor.load(tmp_path / "r").predict(pixels).probabilities
    assert np.allclose(again, result.predict(pixels).probabilities, atol=1e-6)


def test_seeds__one_seed_says_why_there_is_no_interval() -> None:
    result = us.train(few_labels(), test=images(40, 1), repeats=1, **FAST)
    assert result.repeats is not None
    assert result.repeats.spreads["supervised"].interval is None
    assert any("One seed shows no spread between seeds" in text for text in result.repeats.sentences)
    assert result.repeats.gain is not None
    assert result.repeats.gain.test == "McNemar"


def test_seeds__an_own_module_is_trained_in_place_once() -> None:
    module = own_module()
    result = us.train(few_labels(), test=images(40, 1), repeats=2, **FAST | {"network": module})
    assert result.model is module
    pixels, _ = images(40, 1)
    assert result.predictions is not None
    assert np.allclose(result.predict(pixels).probabilities, result.predictions.probabilities, atol=1e-5)


def test_train__without_repeats() -> None:
    result = us.train(few_labels(), test=images(40, 1), **FAST)
    assert result.repeats is None
    assert "repeats" not in result.to_json()


@pytest.mark.parametrize(
    ("known", "options", "sentence"),
    [
        (12, {"folds": 1}, "folds is 1; give at least 2, such as 5, or leave it out for no cross-validation"),
        (12, {"folds": -3}, "folds is -3; give at least 2"),
        (12, {"folds": "many"}, "folds is 'many'; give a whole number"),
        (12, {"repeats": -1}, "repeats is -1; give the number of seeds to train with, such as 3"),
        (12, {"repeats": 2, "folds": 3}, "repeats is 2 and folds is 3; give one of them: "),
        (12, {"folds": 8}, "class '0' has 6 labels, and each of 8 folds needs one of every class; use at most 6 folds"),
        (2, {"folds": 2}, "class '0' has 1 label, and each of 2 folds needs one of every class: a model could not"),
        (3, {"folds": 5}, "3 labels cannot be divided into 5 folds; label more images"),
        (0, {"folds": 3}, "no training image has a label"),
        (4, {"repeats": 3}, "3 repeats with 4 labels would leave no test image, and nothing could be said of them; "),
    ],
)
def test_train__refuses(known: int, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(us.UserError, match=re.escape(sentence)):
        us.train(few_labels(known=known), **FAST | options)


def test_train__another_number_of_folds_is_another_run(folded: tuple[us.Result, Path]) -> None:
    _, folder = folded
    with pytest.raises(us.UserError, match="holds a run that differs in repeats"):
        us.train(few_labels(known=24), folder=folder, folds=4, **FAST)


def test_result__of_folds_shows_itself(folded: tuple[us.Result, Path]) -> None:
    result, _ = folded
    assert set(result.run_metrics) - set(result.runs), "a run of the folds alone"
    for name in result.run_metrics:
        assert f"{name}: " in repr(result)
        assert f"{name}: " in result._repr_html_()


def test_report__renders(folded: tuple[us.Result, Path], tmp_path: Path) -> None:
    result, _ = folded
    text = result.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Over 3 folds" in text
    assert "labeled images, each tested by a model that was not trained on it" in text
    assert (tmp_path / "figures" / "report-repeats.svg").exists()
