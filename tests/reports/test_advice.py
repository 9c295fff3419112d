"""A report begins with the answer in words that anyone understands, and with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reports.whole import run_record
from understudy.reports.pages.advice import advice, headline

RESULT = run_record().result


def advised(**changes: Any) -> list[str]:
    """What the advice is, with keys of the result in place of the made ones."""
    return [f"{one.what}: {one.why}" for one in advice({**RESULT, **changes})]


@pytest.mark.parametrize(
    ("outcome", "tone", "answer"),
    [
        ("helped", "good", "Yes: the unlabeled images helped"),
        ("hurt", "bad", "No: the unlabeled images made it worse"),
        ("better", "open", "The model is better, but the unlabeled images may not be the reason"),
        ("worse", "open", "The model is worse, but the unlabeled images may not be the reason"),
        ("not proven", "open", "No difference is proven"),
    ],
)
def test_headline__says_whether_unlabeled_images_helped(outcome: str, tone: str, answer: str) -> None:
    verdict = {
        **RESULT["verdict"],
        "outcome": outcome,
        "delivered": "method" if outcome in ("helped", "better") else "supervised",
    }
    found = headline({**RESULT, "verdict": verdict})
    assert (found.tone, found.answer) == (tone, answer)
    assert f"On {RESULT['data']['num_test']:,} held-out images, training on the labels alone reaches " in found.detail
    used = "with the unlabeled images" if outcome in ("helped", "better") else "on the labels alone"
    assert f"The saved model is the one trained {used}." in found.detail


def test_headline__nothing_held_out() -> None:
    verdict = {**RESULT["verdict"], "outcome": "unproven", "comparison": None}
    data = {**RESULT["data"], "num_test": 0, "num_labeled": 12}
    nothing = {"metrics": {}, "calibration": {}, "robustness": {}, "mistakes": [], "label_errors": []}
    changes = {"verdict": verdict, "data": data, **nothing}
    assert headline({**RESULT, **changes}).answer == "Too few labels to tell whether the unlabeled images helped"
    assert advised(**changes)[0].startswith("Label 38 more images, or pass test images with --test: ")


def test_headline__labels_alone() -> None:
    found = headline({**RESULT, "verdict": None, "delivered": "supervised"})
    assert found.tone == "open"
    assert "there is nothing to compare" in found.detail


def test_advice__label_errors_come_with_their_file() -> None:
    sound = {"fixmatch": {**RESULT["calibration"]["fixmatch"], "ece": 0.02}}
    found = advised(calibration=sound)
    assert any(one.startswith("Check 3 possible label errors: ") and "label_errors.csv" in one for one in found)
    one = advised(calibration=sound, label_errors=RESULT["label_errors"][:1])
    assert any(line.startswith("Check 1 possible label error: ") for line in one)
    assert not any("label error" in line for line in advised(calibration=sound, label_errors=[]))


def test_advice__a_miscalibrated_model_suspects_no_label_errors() -> None:
    miscalibrated = {"fixmatch": {**RESULT["calibration"]["fixmatch"], "ece": 0.2}}
    assert not any("label error" in line for line in advised(calibration=miscalibrated))


def test_advice__names_the_class_that_is_missed_most() -> None:
    """A class of few images is left alone, for its share says little."""
    metrics = {**RESULT["metrics"]["fixmatch"], "balanced_accuracy": 0.9}
    classes = [{"name": name, "support": 50, "recall": 0.95} for name in ("cat", "dog", "bird")]
    classes[1] |= {"recall": 0.4}
    classes[2] |= {"recall": 0.0, "support": 9}
    metrics |= {"per_class": classes, "confusion": [[50, 0, 0], [28, 20, 2], [9, 0, 0]]}
    found = advised(metrics={"fixmatch": metrics})
    expected = "Label more images of 'dog': Only 40.0 % of its 50 held-out images are classified correctly; the others "
    assert any(line.startswith(expected) and line.endswith("most often as 'cat'.") for line in found)


def test_advice__a_model_no_better_than_guessing() -> None:
    """Training longer is the first advice; neither its doubts nor the classes that it misses are acted on."""
    metrics = {**RESULT["metrics"]["fixmatch"], "accuracy": 0.079, "accuracy_interval": {"low": 0.055, "high": 0.113}}
    changes = {
        "metrics": {"fixmatch": metrics},
        "runs": {"fixmatch": {**RESULT["runs"]["fixmatch"], "steps": 7}},
        "calibration": {"fixmatch": {**RESULT["calibration"]["fixmatch"], "ece": 0.02}},
    }
    most = max(metrics["per_class"], key=lambda one: one["support"])
    share = most["support"] / sum(one["support"] for one in metrics["per_class"])
    found = headline({**RESULT, **changes})
    assert found.tone == "bad"
    assert found.answer == (
        f"No better than always answering {most['name']!r} ({100 * share:.1f} %): train longer than 7 steps."
    )
    found = advised(**changes)
    assert found[0].startswith("Train longer: ")
    assert not any(one.startswith(("Check ", "Label more images of '")) for one in found)


@pytest.mark.parametrize(("right", "which"), [(0.7, "it is overconfident"), (0.99, "it is underconfident")])
def test_advice__confidence_that_misleads(right: float, which: str) -> None:
    bins = [{"low": 0.8, "high": 0.9, "n": 100, "confidence": 0.85, "accuracy": right}]
    found = {"n": 100, "ece": abs(right - 0.85), "bins": bins}
    assert any(which in line for line in advised(calibration={"fixmatch": found}))
    sound = {**found, "ece": 0.02}
    assert not any("Do not rely on" in line for line in advised(calibration={"fixmatch": sound}))


def test_advice__accuracy_that_was_still_rising() -> None:
    def run(last: float) -> dict[str, Any]:
        accuracies = zip((0.25, 0.5, 0.75, 1.0), (0.5, 0.6, 0.65, last), strict=True)
        return {"fixmatch": {"history": [{"progress": at, "validation_accuracy": share} for at, share in accuracies]}}

    assert any(line.startswith("Train longer: ") and "65.0 % after three" in line for line in advised(runs=run(0.7)))
    assert not any(line.startswith("Train longer") for line in advised(runs=run(0.655)))


def test_advice__says_what_a_gain_must_be_to_show() -> None:
    verdict = {**RESULT["verdict"], "outcome": "not proven", "smallest_gain": 0.03}
    assert "detect only a true gain of 3.0 points or more with 80 % power" in advised(verdict=verdict)[0]
    fine = {**verdict, "smallest_gain": 0.014}
    assert advised(verdict=fine)[0].startswith("Train longer, or try other methods: ")


def test_advice__a_worse_model_with_another_cause_blames_no_image() -> None:
    verdict = {**RESULT["verdict"], "outcome": "worse", "causes": ["only 7 % of the unlabeled images were used"]}
    assert advised(verdict=verdict)[0] == (
        "Use a longer budget or another method: The model is worse, but only 7 % of the unlabeled images were used."
    )


def test_headline__a_model_that_used_no_unlabeled_image_gets_no_word_about_them() -> None:
    verdict = {**RESULT["verdict"], "outcome": "not proven", "facts": {"learned_from_pool": False}}
    found = headline({**RESULT, "verdict": verdict})
    assert "unlabeled" not in found.detail
