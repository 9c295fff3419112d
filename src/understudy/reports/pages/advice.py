"""What a report says first: the answer in a sentence a non-specialist understands, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from understudy.core.text import percent, points
from understudy.evaluation.chance import guessing_note
from understudy.evaluation.seeds import few_seeds_sentence

Tone = Literal["good", "bad", "open"]
_LEAST_SUPPORT = 10
_WEAK_RECALL = 0.8
_FAR_BELOW = 0.1
_MISTRUST = 0.05
_STILL_RISING = 0.01
_LATE = 0.75
_FINE = 0.02
_ANSWERS = {
    "helped": "Yes: the unlabeled images helped",
    "hurt": "No: the unlabeled images made it worse",
    "better": "A better model; whether the unlabeled images are the reason is open",
    "worse": "A worse model; whether the unlabeled images are the reason is open",
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
        alone = "Only labeled images were trained on, so there is nothing to compare."
        return Headline("open", "A classifier from labels alone", " ".join(filter(None, (alone, _how_good(delivered)))))
    outcome, comparison = verdict["outcome"], verdict["comparison"]
    if comparison is None:
        return Headline(
            "open",
            "Nobody can say yet whether the unlabeled images helped",
            "With so few labels no image was held out for testing. The model trained with the unlabeled images is "
            "delivered, as asked for.",
        )
    shares = verdict["baseline"]["accuracy"], verdict["method"]["accuracy"]
    alone, both = (percent(share) for share in shares)
    used = "with the unlabeled images" if verdict["delivered"] == "method" else "on the labels alone"
    answer = _ANSWERS[outcome]
    what = "with the unlabeled images it is"
    if not verdict.get("facts", {}).get("learned_from_pool", True):
        what, used = f"{verdict['method']['name']} gets", used.replace("with the unlabeled images", "by it")
    detail = (
        f"Of {comparison['n']:,} held-out images, the labels alone get {alone} right, and {what} "
        f"{both}. Use the model trained {used}, which is the one saved."
    )
    return Headline(_TONES.get(outcome, "open"), answer, detail)


def advice(result: Mapping[str, Any]) -> tuple[Advice, ...]:
    """What to do next, the most useful first."""
    if note_of_guessing(result):
        why = (
            "The model is not proven better than a constant answer. Until it is, the labels that it doubts and the "
            "classes that it misses say nothing about the images, so no advice follows from them."
        )
        return (Advice("Train longer", why), *_about_proof(result))
    return (*_about_proof(result), *_about_labels(result), *_about_classes(result), *_about_training(result))


def _headline_of_all(result: Mapping[str, Any], repeats: Mapping[str, Any]) -> Headline:
    """The answer of all seeds or folds together."""
    over_folds, many = repeats["kind"] == "folds", len(repeats["runs"])
    alone = percent(repeats["supervised"]["mean"])
    if over_folds:
        where = f"Of {sum(run['n'] for run in repeats['runs']):,} labeled images, each tested by models of a fold that "
        where += "had not seen it, the labels alone get"
        used = f"final model, trained on all {result['data']['num_labeled']:,} labels,"
    else:
        where = (
            f"On average over {many} seeds the labels alone get" if many > 1 else "With one seed the labels alone get"
        )
        used = f"model of the first seed, {repeats['runs'][0]['seed']}, trained"
    if repeats["outcome"] is None:
        return Headline("open", "A classifier from labels alone", f"{where} {alone} right. Saved is the {used}.")
    both = percent(repeats[repeats["method"]]["mean"])
    kind = "with the unlabeled images" if repeats["delivered"] == "method" else "without the unlabeled images"
    detail = f"{where} {alone} right, and with the unlabeled images it is {both}. Use the {used} {kind}: it is saved."
    return Headline(_TONES.get(repeats["outcome"], "open"), _ANSWERS[repeats["outcome"]], detail)


def is_too_sure(result: Mapping[str, Any]) -> bool:
    """Whether the delivered model's confidence is so far off that its doubts are mostly its own mistakes."""
    found = result["calibration"].get(result["delivered"])
    return found is not None and found["ece"] > _MISTRUST


def note_of_guessing(result: Mapping[str, Any]) -> str | None:
    """A sentence where the delivered model is not proven better than always giving one answer; else None."""
    metrics = result["metrics"].get(result["delivered"])
    if metrics is None:
        return None
    names, supports = zip(*((one["name"], one["support"]) for one in metrics["per_class"]), strict=True)
    steps = result["runs"][result["delivered"]].get("steps")
    return guessing_note(names, supports, metrics["accuracy"], metrics["accuracy_interval"]["low"], steps)


def _how_good(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return "No image was held out to test it by."
    return f"It gets {percent(metrics['accuracy'])} of {metrics['n']:,} held-out images right."


def _about_proof(result: Mapping[str, Any]) -> Iterator[Advice]:
    """What would settle an open question."""
    verdict, data = result["verdict"], result["data"]
    if verdict is None:
        if not data["num_unlabeled"]:
            yield Advice("Add unlabeled images", "Give a folder of them with --unlabeled, to learn whether they help.")
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
            f"Label {max(1, least - data['num_labeled']):,} more images, or give some with --test",
            "From five per class on, a fifth of the labels is held out for testing.",
        )
    elif repeats["outcome"] == "not proven" and verdict["smallest_gain"]:
        images = "labeled images" if repeats["kind"] else "held-out images"
        if verdict["smallest_gain"] < _FINE:
            yield Advice(
                "Train longer, or try other methods",
                f"With {verdict['comparison']['n']:,} {images} a true gain of {points(verdict['smallest_gain'])} is "
                "found with a power of 80 %, so in this time there is hardly a larger one; see understudy compare.",
            )
            return
        yield Advice(
            "Label more images to judge by, or train longer",
            f"With {verdict['comparison']['n']:,} {images} only a true gain of {points(verdict['smallest_gain'])} or "
            "more is found with a power of 80 %. A smaller one may be there.",
        )
    elif repeats["outcome"] == "hurt":
        yield Advice(
            "Leave the unlabeled images out, or look at what is in them",
            "understudy audit shows which of them differ from the labeled ones; another method is worth a try: "
            "understudy compare.",
        )
    elif repeats["outcome"] == "worse":
        causes = " and ".join(verdict.get("causes") or ("the trainings differed in more than the unlabeled images",))
        yield Advice("Give a longer budget, or another method", f"The model is worse, but {causes}.")


def _about_labels(result: Mapping[str, Any]) -> Iterator[Advice]:
    """Labels to look at again."""
    count = len(result["label_errors"])
    if count and not is_too_sure(result):
        yield Advice(
            f"Check the {count:,} doubted labels" if count > 1 else "Check the doubted label",
            "The model, which never saw these labels, is sure of another class. They are listed below and in "
            "label_errors.csv; correct what is wrong and train again.",
        )


def _about_classes(result: Mapping[str, Any]) -> Iterator[Advice]:
    """The class that most images are missed of."""
    metrics = result["metrics"].get(result["delivered"])
    if metrics is None:
        return
    judged = [
        (one["recall"], number, one)
        for number, one in enumerate(metrics["per_class"])
        if one["support"] >= _LEAST_SUPPORT and one["recall"] is not None
    ]
    if not judged:
        return
    recall, number, worst = min(judged, key=lambda line: line[:2])
    if recall >= _WEAK_RECALL and recall >= metrics["balanced_accuracy"] - _FAR_BELOW:
        return
    row = [0 if at == number else count for at, count in enumerate(metrics["confusion"][number])]
    others = (
        f"most often for {metrics['per_class'][row.index(max(row))]['name']!r}" if max(row) else "for other classes"
    )
    yield Advice(
        f"Label more images of {worst['name']!r}",
        f"Only {percent(recall)} of its {worst['support']:,} held-out images are recognized; the others are taken "
        f"{others}.",
    )


def _about_training(result: Mapping[str, Any]) -> Iterator[Advice]:
    """Confidence that cannot be trusted, and training that ended too early."""
    found = result["calibration"].get(result["delivered"])
    if found is not None and found["ece"] > _MISTRUST:
        bins = [one for one in found["bins"] if one["n"]]
        said = sum(one["n"] * one["confidence"] for one in bins) / found["n"]
        right = sum(one["n"] * one["accuracy"] for one in bins) / found["n"]
        which = "it promises more than it keeps" if said > right else "it knows more than it says"
        yield Advice(
            "Do not take its confidence at face value",
            f"On average it says {percent(said)} and is right in {percent(right)}: {which}.",
        )
    history = result["runs"][result["delivered"]]["history"]
    curve = [(line["progress"], line["validation_accuracy"]) for line in history if "validation_accuracy" in line]
    if curve:
        before = [accuracy for progress, accuracy in curve if progress <= _LATE]
        if before and curve[-1][1] > max(before) + _STILL_RISING:
            yield Advice(
                "Train longer",
                f"Accuracy on validation images was still rising: {percent(max(before))} three quarters of the way, "
                f"{percent(curve[-1][1])} at the end.",
            )
