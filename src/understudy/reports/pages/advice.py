"""What a report says first: the answer in a sentence a non-specialist understands, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from understudy.core.text import counted, percent, points
from understudy.evaluation.chance import guessing_note
from understudy.evaluation.seeds import few_seeds_sentence

Tone = Literal["good", "bad", "open"]
# These decide which advice is given. They are judgments: a lower bar gives more advice, and more of it for nothing.
_MIN_SUPPORT = 10  # with fewer test images, a single error moves a class's recall by more than 10 points
_MIN_RECALL = 0.8  # a class of which a fifth is missed is worth more labels, whatever the others reach
_MAX_BELOW_BALANCED = 0.1  # so is one this far below the mean recall; smaller gaps are often chance
_MAX_ECE = 0.05  # with 5 points between confidence and accuracy, a confidence of 95 % may be right 9 times in 10
_MIN_RISE = 0.01  # a smaller rise of validation accuracy is within its noise
_LATE = 0.75  # share of training; what is gained after it was gained at a falling learning rate
_SMALL_GAIN = 0.02  # a test set that detects this is large enough; more test images are not what is missing
_ANSWERS = {
    "helped": "Yes: the unlabeled images helped",
    "hurt": "No: the unlabeled images made it worse",
    "better": "The model is better, but the unlabeled images may not be the reason",
    "worse": "The model is worse, but the unlabeled images may not be the reason",
    "not proven": "No difference is proven",
}
_TONES: dict[str, Tone] = {"helped": "good", "hurt": "bad"}


@dataclass(frozen=True)
class Headline:
    """The answer: a few words, and a sentence of what to use and how good it is."""

    tone: Tone
    answer: str
    detail: str


@dataclass(frozen=True)
class Advice:
    """Something to do: what, in a few words, and why."""

    what: str
    why: str


def headline(result: Mapping[str, Any]) -> Headline:
    """Whether the model is better than guessing, and whether the unlabeled images helped."""
    found = _headline(result)
    note = note_of_guessing(result)
    return found if note is None else Headline("bad", note, f"{found.answer}. {found.detail}")


def _headline(result: Mapping[str, Any]) -> Headline:
    """Did the unlabeled images help?"""
    if result.get("repeats"):
        return _headline_of_all(result, result["repeats"])
    verdict, delivered = result["verdict"], result["metrics"].get(result["delivered"])
    if verdict is None:
        alone = "Training used labeled images only, so there is nothing to compare."
        return Headline("open", "A classifier from labels alone", " ".join(filter(None, (alone, _how_good(delivered)))))
    outcome, comparison = verdict["outcome"], verdict["comparison"]
    if comparison is None:
        return Headline(
            "open",
            "Too few labels to tell whether the unlabeled images helped",
            "With so few labels, no images were held out for testing. The saved model is the one trained with the "
            "unlabeled images, as requested.",
        )
    shares = verdict["baseline"]["accuracy"], verdict["method"]["accuracy"]
    alone, both = (percent(share) for share in shares)
    used = "with the unlabeled images" if verdict["delivered"] == "method" else "on the labels alone"
    answer = _ANSWERS[outcome]
    what = "training with the unlabeled images"
    if not verdict.get("facts", {}).get("learned_from_pool", True):
        what = verdict["method"]["name"]
        used = used.replace("with the unlabeled images", f"with {what}")
    detail = (
        f"On {comparison['n']:,} held-out images, training on the labels alone reaches {alone} accuracy and {what} "
        f"{both}. The saved model is the one trained {used}."
    )
    return Headline(_TONES.get(outcome, "open"), answer, detail)


def advice(result: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What to do next, the most useful first."""
    if note_of_guessing(result):
        why = (
            "The model is not proven better than always predicting one class. Until it is, the label errors that it "
            "suspects and the classes that it misses say nothing about the data."
        )
        return (Advice("Train longer", why), *_about_proof(result))
    return (*_about_proof(result), *_about_labels(result), *_about_classes(result), *_about_training(result))


def _headline_of_all(result: Mapping[str, Any], repeats: Mapping[str, Any]) -> Headline:
    """The answer of all seeds or folds together."""
    over_folds, many = repeats["kind"] == "folds", len(repeats["runs"])
    alone = percent(repeats["supervised"]["mean"])
    if over_folds:
        num_tested = sum(run["n"] for run in repeats["runs"])
        where = f"On {num_tested:,} labeled images, each tested by models that had not seen it, training on the labels "
        where += "alone reaches"
        saved = f"The saved model is the final one, trained on all {result['data']['num_labeled']:,} labels"
    else:
        where = f"On average over {many} seeds" if many > 1 else "With one seed"
        where += ", training on the labels alone reaches"
        saved = f"The saved model is that of the first seed, {repeats['runs'][0]['seed']}"
    if repeats["outcome"] is None:
        return Headline(
            "open",
            "A classifier from labels alone",
            f"{where} {alone} accuracy. {saved}.",
        )
    both = percent(repeats[repeats["method"]]["mean"])
    kind = "with the unlabeled images" if repeats["delivered"] == "method" else "on the labels alone"
    detail = f"{where} {alone} accuracy and training with the unlabeled images {both}. {saved}, {kind}."
    return Headline(_TONES.get(repeats["outcome"], "open"), _ANSWERS[repeats["outcome"]], detail)


def is_miscalibrated(result: Mapping[str, Any]) -> bool:
    """Whether the delivered model is so badly calibrated that most label errors it suspects are its own errors."""
    found = result["calibration"].get(result["delivered"])
    return found is not None and found["ece"] > _MAX_ECE


def note_of_guessing(result: Mapping[str, Any]) -> str | None:
    """A sentence where the delivered model is not proven better than always predicting one class; else None."""
    metrics = result["metrics"].get(result["delivered"])
    if metrics is None:
        return None
    names, supports = zip(*((one["name"], one["support"]) for one in metrics["per_class"]), strict=True)
    steps = result["runs"][result["delivered"]].get("steps")
    return guessing_note(names, supports, metrics["accuracy"], metrics["accuracy_interval"]["low"], steps)


def _how_good(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "No images were held out for testing."
    return f"Its accuracy on {metrics['n']:,} held-out images is {percent(metrics['accuracy'])}."


def _about_proof(result: Mapping[str, Any]) -> Iterator[Advice]:
    """What would settle an open question."""
    verdict, data = result["verdict"], result["data"]
    if verdict is None:
        if not data["num_unlabeled"]:
            yield Advice("Add unlabeled images", "Pass a folder with --unlabeled to see whether they help.")
        return
    repeats = result.get("repeats") or {"kind": "", "outcome": verdict["outcome"]}
    if repeats["kind"] == "seeds" and repeats["outcome"] == "not proven":
        yield Advice(
            "Repeat with more seeds, or train longer",
            few_seeds_sentence(len(repeats["runs"])),
        )
    elif verdict["outcome"] == "unproven":
        least = 5 * len(data["classes"])
        yield Advice(
            f"Label {max(1, least - data['num_labeled']):,} more images, or pass test images with --test",
            "With at least five labels per class, a fifth of the labels is held out for testing.",
        )
    elif repeats["outcome"] == "not proven" and verdict["smallest_gain"]:
        images = "labeled images" if repeats["kind"] else "held-out images"
        if verdict["smallest_gain"] < _SMALL_GAIN:
            yield Advice(
                "Train longer, or try other methods",
                f"{verdict['comparison']['n']:,} {images} detect a true gain of {points(verdict['smallest_gain'])} "
                "with 80 % power, so a larger gain at this budget is unlikely. understudy compare tries other methods.",
            )
            return
        yield Advice(
            "Test on more labeled images, or train longer",
            f"{verdict['comparison']['n']:,} {images} detect only a true gain of {points(verdict['smallest_gain'])} "
            "or more with 80 % power; a smaller one may exist.",
        )
    elif repeats["outcome"] == "hurt":
        yield Advice(
            "Train without the unlabeled images, or inspect them",
            "understudy audit shows which of them differ from the labeled ones; understudy compare tries "
            "other methods.",
        )
    elif repeats["outcome"] == "worse":
        causes = " and ".join(verdict.get("causes") or ("the trainings differed in more than the unlabeled images",))
        yield Advice("Use a longer budget or another method", f"The model is worse, but {causes}.")


def _about_labels(result: Mapping[str, Any]) -> Iterator[Advice]:
    """Labels to check again."""
    count = len(result["label_errors"])
    if count and not is_miscalibrated(result):
        yield Advice(
            f"Check {counted(count, 'possible label error')}",
            "A model that was not trained on these labels is confident of another class. They are listed below and "
            "in label_errors.csv; correct the wrong ones and train again.",
        )


def _about_classes(result: Mapping[str, Any]) -> Iterator[Advice]:
    """The class with the lowest recall, where that is low."""
    metrics = result["metrics"].get(result["delivered"])
    if metrics is None:
        return
    measured = [
        (one["recall"], number, one)
        for number, one in enumerate(metrics["per_class"])
        if one["support"] >= _MIN_SUPPORT and one["recall"] is not None
    ]
    if not measured:
        return
    recall, number, worst = min(measured, key=lambda line: line[:2])
    if recall >= _MIN_RECALL and recall >= metrics["balanced_accuracy"] - _MAX_BELOW_BALANCED:
        return
    row = [0 if at == number else count for at, count in enumerate(metrics["confusion"][number])]
    others = f"most often as {metrics['per_class'][row.index(max(row))]['name']!r}" if max(row) else "as other classes"
    yield Advice(
        f"Label more images of {worst['name']!r}",
        f"Only {percent(recall)} of its {worst['support']:,} held-out images are classified correctly; the others "
        f"{others}.",
    )


def _about_training(result: Mapping[str, Any]) -> Iterator[Advice]:
    """Confidence that cannot be trusted, and training that ended too early."""
    found = result["calibration"].get(result["delivered"])
    if found is not None and found["ece"] > _MAX_ECE:
        bins = [one for one in found["bins"] if one["n"]]
        stated = sum(one["n"] * one["confidence"] for one in bins) / found["n"]
        right = sum(one["n"] * one["accuracy"] for one in bins) / found["n"]
        which = "overconfident" if stated > right else "underconfident"
        yield Advice(
            "Do not rely on its confidence",
            f"Its mean confidence is {percent(stated)} and its accuracy {percent(right)}: it is {which}.",
        )
    history = result["runs"][result["delivered"]]["history"]
    curve = [(line["progress"], line["validation_accuracy"]) for line in history if "validation_accuracy" in line]
    if curve:
        before = [accuracy for progress, accuracy in curve if progress <= _LATE]
        if before and curve[-1][1] > max(before) + _MIN_RISE:
            yield Advice(
                "Train longer",
                f"Validation accuracy was still rising: {percent(max(before))} after three quarters of training, "
                f"{percent(curve[-1][1])} at the end.",
            )
