"""Figures over seeds and folds against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from understudy.core.budget import Cost
from understudy.evaluation.paired import mcnemar
from understudy.evaluation.repeats import over_folds, over_seeds
from understudy.evaluation.seeds import few_seeds_sentence
from understudy.evaluation.verdict import Candidate, HeldOut, compute_verdict
from understudy.evaluation.verdict_rule import Facts

SUPERVISED, METHOD = (0.90, 0.92, 0.94), (0.95, 0.94, 0.99)


def test_over_seeds__by_hand() -> None:
    """Differences 5, 2 and 5 points: mean 4, standard error 1, and t of 2 degrees at 97.5 % is 4.3027."""
    found = over_seeds((3, 4, 5), (40, 40, 40), {"supervised": SUPERVISED, "fixmatch": METHOD})
    gain = found.gain
    assert gain is not None
    assert gain.difference == pytest.approx(0.04)
    assert gain.interval is not None
    assert (gain.interval.low, gain.interval.high) == pytest.approx((0.04 - 0.043027, 0.04 + 0.043027), abs=1e-6)
    assert gain.p_value == pytest.approx(0.0572, abs=1e-4)
    assert gain.effect == pytest.approx(0.04 / np.sqrt(0.0003), rel=1e-6)
    alone, both = found.spreads["supervised"], found.spreads["fixmatch"]
    assert (alone.mean, alone.deviation) == pytest.approx((0.92, 0.02))
    assert alone.interval is not None
    assert alone.interval.low == pytest.approx(0.92 - 4.302653 * 0.02 / np.sqrt(3), abs=1e-6)
    assert (alone.worst, alone.worst_of, both.worst, both.worst_of) == (0.90, 3, 0.94, 4)
    assert both.interval is not None
    assert both.interval.high == 1.0, "an accuracy cannot be above 1"
    assert (found.outcome, found.delivered) == ("not proven", "supervised")
    assert found.sentences[-2] == "Delivered: the model trained on the labels alone, because nothing else is proven."
    assert "that of the first seed, 3; no seed was selected" in found.sentences[-1]


def test_over_seeds__to_json() -> None:
    plain = over_seeds((3, 4, 5), (40, 41, 42), {"supervised": SUPERVISED, "fixmatch": METHOD}).to_json()
    assert plain["runs"][1] == {
        "seed": 4, "n": 41, "supervised": 0.92, "fixmatch": 0.94, "difference": pytest.approx(0.02)
    }  # fmt: skip
    assert {"mean", "deviation", "interval", "worst", "worst_of"} == set(plain["fixmatch"])
    assert (plain["kind"], plain["method"], plain["test"]) == ("seeds", "fixmatch", "paired t")
    assert json.loads(json.dumps(plain)) is not None


@pytest.mark.parametrize(("shift", "outcome", "delivered"), [(1, "helped", "method"), (-1, "hurt", "supervised")])
def test_over_seeds__proven(shift: int, outcome: str, delivered: str) -> None:
    method = [0.5 + shift * gain for gain in (0.10, 0.11, 0.12)]
    found = over_seeds((0, 1, 2), (9, 9, 9), {"supervised": [0.5, 0.5, 0.5], "uda": method})
    assert (found.outcome, found.delivered) == (outcome, delivered)


@pytest.mark.parametrize(("shift", "outcome", "delivered"), [(1, "better", "method"), (-1, "worse", "supervised")])
def test_over_seeds__proven_without_the_pool(shift: int, outcome: str, delivered: str) -> None:
    """The interval leaves zero out, which is said, and no unlabeled image is credited or blamed."""
    method = [0.5 + shift * gain for gain in (0.10, 0.11, 0.12)]
    facts = Facts(method="uda", learned_from_pool=False)
    found = over_seeds((0, 1, 2), (9, 9, 9), {"supervised": [0.5] * 3, "uda": method}, facts=facts)
    assert (found.outcome, found.delivered) == (outcome, delivered)
    assert found.sentences[0].startswith(f"The model of uda is {outcome}: ")
    assert "unlabeled" not in found.sentences[0]


def test_over_seeds__equal_differences_have_no_test() -> None:
    found = over_seeds((0, 1), (10, 10), {"supervised": (0.5, 0.6), "uda": (0.6, 0.7)})
    assert found.gain is not None
    assert (found.gain.interval, found.gain.p_value, found.gain.effect) == (None, None, None)
    assert found.outcome == "not proven"
    assert found.sentences[1] == "uda against supervised: +10.0 points with each of 2 seeds, so there is no test."
    assert found.sentences[2] == few_seeds_sentence(2)


def test_over_seeds__labels_alone() -> None:
    found = over_seeds((0, 1), (10, 10), {"supervised": (0.5, 0.6)})
    assert (found.gain, found.outcome, found.delivered, found.method) == (None, None, "supervised", None)
    assert found.to_json()["runs"][0]["difference"] is None


def test_over_folds__pools_the_images() -> None:
    """Five images: supervised gets 2 of 3 and 0 of 2, the method 3 of 3 and 1 of 2; two change for the better."""
    supervised = [np.array([True, True, False]), np.array([False, False])]
    method = [np.array([True, True, True]), np.array([True, False])]
    labels = np.ones(5, np.int64)
    one, two = (np.concatenate(rows).astype(np.int64) for rows in (supervised, method))
    candidates = [Candidate(name, Cost(1, 1), 10) for name in ("supervised", "uda")]
    verdict = compute_verdict(HeldOut(labels, one, two), baseline=candidates[0], method=candidates[1], folds=2)
    found = over_folds({"supervised": supervised, "uda": method}, verdict)
    assert found.gain is not None
    assert found.gain.difference == pytest.approx(0.4)
    assert found.gain.p_value == pytest.approx(mcnemar(2, 0)) == pytest.approx(0.5)
    assert found.spreads["supervised"].mean == pytest.approx(0.4)
    assert found.differences == pytest.approx((1 / 3, 1 / 2))
    assert found.spreads["uda"].deviation == pytest.approx(np.std([1, 0.5], ddof=1))
    assert (found.n, found.gain.test, found.outcome, found.delivered) == ((3, 2), "McNemar", "not proven", "supervised")
    text = " ".join(found.sentences)
    assert "accuracy on 5 labeled images, each tested by a model that was not trained on it," in text
    assert "The models of the 2 folds share training images, so that the interval is approximate." in text
