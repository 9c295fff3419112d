"""The verdict: its outcome, the model it delivers, and what it says in words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from understudy.core.budget import Cost
from understudy.core.errors import DataError
from understudy.core.text import percent, points
from understudy.evaluation.verdict import Candidate, HeldOut, Verdict, compute_verdict

BASELINE = Candidate("supervised", Cost(wall_s=50, cpu_s=100), 2_000)
METHOD = Candidate("softmatch", Cost(wall_s=80, cpu_s=103), 900)


def _held_out(gains: int, losses: int, *, both: int, neither: int = 0) -> HeldOut:
    """Images of class 1 with so many that only the method, only the baseline, both or neither get right."""
    baseline = np.repeat([0, 1, 1, 0], [gains, losses, both, neither])
    method = np.repeat([1, 0, 1, 0], [gains, losses, both, neither])
    return HeldOut(np.ones(len(baseline), dtype=int), baseline, method)


def _verdict(gains: int, losses: int, *, both: int, validation: HeldOut | None = None) -> Verdict:
    return compute_verdict(_held_out(gains, losses, both=both), baseline=BASELINE, method=METHOD, validation=validation)


@pytest.mark.parametrize(
    ("gains", "losses", "outcome", "delivered"),
    [
        (20, 2, "helped", "method"),
        (2, 20, "hurt", "supervised"),
        (7, 5, "not proven", "supervised"),
        (5, 7, "not proven", "supervised"),
        (6, 6, "not proven", "supervised"),
        (0, 0, "not proven", "supervised"),
        (5, 0, "not proven", "supervised"),
        (6, 0, "helped", "method"),
    ],
)
def test_compute_verdict__outcome_and_delivery(gains: int, losses: int, outcome: str, delivered: str) -> None:
    found = _verdict(gains, losses, both=60)
    assert (found.outcome, found.delivered) == (outcome, delivered)
    assert found.n == gains + losses + 60
    assert found.baseline.accuracy == pytest.approx((60 + losses) / found.n)
    assert found.method.accuracy == pytest.approx((60 + gains) / found.n)


@pytest.mark.parametrize(
    ("gains", "losses", "delivered", "words"),
    [
        (4, 1, "method", "which did better on the 50 other images held out for validation"),
        (1, 4, "supervised", "which did better on the 50 other images held out for validation"),
        (2, 2, "supervised", "the two did equally well, and the simpler training wins a tie"),
    ],
)
@pytest.mark.parametrize("tested", [(7, 5), (5, 7)])
def test_compute_verdict__validation_decides_what_is_not_proven(
    gains: int, losses: int, delivered: str, words: str, tested: tuple[int, int]
) -> None:
    validation = _held_out(gains, losses, both=50 - gains - losses)
    found = _verdict(*tested, both=60, validation=validation)
    assert (found.outcome, found.delivered) == ("not proven", delivered)
    assert words in str(found)


def test_compute_verdict__validation_images_cannot_overrule_test_images() -> None:
    assert _verdict(2, 20, both=60, validation=_held_out(9, 0, both=9)).delivered == "supervised"
    assert _verdict(20, 2, both=60, validation=_held_out(0, 9, both=9)).delivered == "method"


def test_compute_verdict__nothing_held_out() -> None:
    found = compute_verdict(None, baseline=BASELINE, method=METHOD)
    assert (found.outcome, found.delivered, found.n, found.smallest_gain) == ("unproven", "method", 0, None)
    assert found.baseline.accuracy is None
    assert str(found).startswith("Unproven: nothing was held out for testing")


def test_compute_verdict__empty_or_unpaired_images_are_an_error() -> None:
    with pytest.raises(DataError, match="there is no labeled image"):
        _verdict(0, 0, both=0)
    with pytest.raises(DataError, match="do not belong together"):
        compute_verdict(HeldOut(np.ones(3), np.ones(3), np.ones(2)), baseline=BASELINE, method=METHOD)


def test_verdict__costs_are_compared_by_the_named_clock() -> None:
    by_cpu = _verdict(6, 0, both=60)
    assert by_cpu.cost_ratio == 1.03
    assert by_cpu.is_cost_matched
    assert "cost the same within 5 %: supervised 100 s of processor time (2,000 steps), softmatch 103 s" in str(by_cpu)
    assert by_cpu.outcome == "helped"
    by_wall = compute_verdict(_held_out(6, 0, both=60), baseline=BASELINE, method=METHOD, cost_clock="wall_s")
    assert by_wall.outcome == "better"
    assert by_wall.cost_ratio == 1.6
    assert not by_wall.is_cost_matched
    assert "did not cost the same, so part of any difference may be due to that: supervised 50 s on the" in str(by_wall)


def test_verdict__cheaper_method_is_not_matched_either() -> None:
    found = compute_verdict(None, baseline=BASELINE, method=Candidate("softmatch", Cost(wall_s=50, cpu_s=94), 900))
    assert not found.is_cost_matched


def test_verdict__free_baseline_is_not_matched() -> None:
    found = compute_verdict(None, baseline=Candidate("supervised", Cost(), 0), method=METHOD)
    assert not found.is_cost_matched


def test_verdict__words_of_a_gain() -> None:
    assert _verdict(20, 2, both=78).sentences() == (
        "The unlabeled images helped: accuracy on 100 held-out images is 80.0 % (71.1 to 86.7) with the labels alone "
        "and 98.0 % (93.0 to 99.4) with labels and unlabeled images.",
        "That is 18.0 points more (95 % interval of the difference +8.9 to +26.4 points): 20 images changed from wrong "
        "to right and 2 from right to wrong (McNemar's test, p = 0.00012).",
        "With 100 images, of which 22.0 % changed, a true gain of 13.5 points would be detected with a power of 80 %.",
        "Both trainings cost the same within 5 %: supervised 100 s of processor time (2,000 steps), "
        "softmatch 103 s of processor time (900 steps).",
        "Delivered: the model trained with the unlabeled images.",
        "The verdict applies to these two models only.",
    )


@pytest.mark.parametrize(
    ("gains", "losses", "both", "words"),
    [
        (2, 20, 78, "The unlabeled images hurt: accuracy on 100 held-out images"),
        (2, 20, 78, "That is 18.0 points fewer (95 % interval of the difference -26.4 to -8.9 points)"),
        (2, 20, 78, "Delivered: the model trained on the labels alone, because the unlabeled images hurt."),
        (7, 5, 60, "Not proven that the unlabeled images made a difference"),
        (0, 0, 9, "That is the same"),
        (0, 0, 5, "With 5 images not even a large gain would be likely to show; hold out more."),
        (1, 0, 90, "1 image changed from wrong to right"),
        (900, 2, 100, "accuracy on 1,002 held-out images"),
        (900, 2, 100, "p < 0.0001"),
    ],
)
def test_verdict__words(gains: int, losses: int, both: int, words: str) -> None:
    assert words in str(_verdict(gains, losses, both=both))


@pytest.mark.parametrize("tested", [(20, 2), (2, 20), (7, 5), None])
def test_verdict__json_round_trip(tested: tuple[int, int] | None) -> None:
    found = _verdict(*tested, both=60) if tested else compute_verdict(None, baseline=BASELINE, method=METHOD)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["sentences"] == list(found.sentences())
    assert Verdict.from_json(record) == found


@pytest.mark.parametrize(("share", "text"), [(0, "0.0 %"), (0.9144, "91.4 %"), (1, "100.0 %")])
def test_percent__has_one_decimal(share: float, text: str) -> None:
    assert percent(share) == text


def test_points__drops_the_sign() -> None:
    assert points(-0.0321) == points(0.0321) == "3.2 points"


def test_compute_verdict__states_balanced_accuracy_of_unequal_classes() -> None:
    labels = np.repeat([0, 1], [90, 10])
    baseline, method = np.zeros(100, int), np.repeat([0, 1, 0, 1], [80, 10, 5, 5])
    held_out = HeldOut(labels, baseline, method)
    found = compute_verdict(held_out, baseline=BASELINE, method=METHOD, imbalanced=True)
    assert (found.baseline.balanced_accuracy, found.method.balanced_accuracy) == (
        0.5,
        pytest.approx((80 / 90 + 0.5) / 2),
    )
    assert found.method.balanced_interval is not None
    assert found.method.balanced_accuracy in found.method.balanced_interval
    sentence = "Balanced accuracy, the mean over classes, is 50.0 % ("
    assert sentence in str(found)
    assert "and 69.4 % (" in str(found)
    assert Verdict.from_json(json.loads(json.dumps(found.to_json()))) == found
    plain = compute_verdict(held_out, baseline=BASELINE, method=METHOD)
    assert "Balanced" not in str(plain)
    assert plain.method.balanced_accuracy is None
