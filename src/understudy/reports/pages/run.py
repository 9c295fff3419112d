"""The page of one training run: the answer, what to do, then what it rests on and where the model fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.budget import format_seconds
from understudy.core.text import counted, percent, percent_range, signed_points
from understudy.evaluation.decision import interval_words
from understudy.evaluation.intervals import Interval
from understudy.reports.figures import by_class, labels, model
from understudy.reports.page import Card, Grid, Neighbor, Page, Section, Small, Table, Tile, image, known
from understudy.reports.pages.advice import Headline, advice, headline, is_too_sure, note_of_guessing
from understudy.reports.pages.plan import is_about_plan, plan_section
from understudy.reports.pages.repeats import repeats_section, repeats_tiles
from understudy.reports.record import PartialRecord, RunRecord

_MOST_LISTED = 24
_MOST_CLASSES_LISTED = 100
_ALMOST_CERTAIN = 0.9995


def run_page(record: RunRecord) -> Page:
    """The page of a finished run."""
    result = record.result
    data = result["data"]
    return Page(
        title=f"{data['name']}: {headline(result).answer}",
        kicker=_kicker(result),
        headline=headline(result),
        tiles=repeats_tiles(result) if result.get("repeats") else _tiles(result),
        advice=advice(result),
        sections=(
            repeats_section(result),
            _proof(result),
            _classes(result),
            _mistakes(record),
            _doubted(record),
            _trust(result),
            _pool(record),
            _training(result),
            plan_section(result),
            _measured(result),
        ),
        footer=(
            f"Made by understudy {result['environment']['versions']['understudy']} from the folder {record.name}. "
            "The figures are also there as PNG and SVG in the folder figures, and all numbers as JSON in result.json."
        ),
    )


def partial_page(record: PartialRecord) -> Page:
    """The page of a run that has not ended: how far it is, and what it has reached."""
    lines = {name: history[-1] for name, history in record.histories.items() if history}
    far = "; ".join(
        f"{name} {100 * line['progress']:.0f} % done at step {line['step']:,}" for name, line in lines.items()
    )
    histories = {name: {"history": history} for name, history in record.histories.items()}
    return Page(
        title=f"{record.name}: not finished",
        kicker=f"Training run {record.name}",
        headline=Headline(
            "open",
            "This run has not finished",
            f"So far: {far}. There is no verdict before both trainings have ended; go on with "
            "understudy train --resume and this folder.",
        ),
        sections=(
            Section("How training went so far", pictures=known([model.learning_curves({"runs": histories})])),
            Section("The last evaluation", tables=[_last_lines(lines)] if lines else ()),
        ),
    )


def _kicker(result: Mapping[str, Any]) -> str:
    data, training = result["data"], result["training"]
    recipe = training["recipe"]
    if (downstream := training.get("downstream", "plain")) != "plain":
        recipe = f"{recipe} and then {downstream}"
    how = training["method"] if recipe == "plain" else f"{recipe} of {training['method']}"
    return (
        f"{data['name']}: {data['num_labeled']:,} labeled and {data['num_unlabeled']:,} unlabeled images, "
        f"{len(data['classes'])} classes; {how}, network {training['network']}, budget {training['budget']}"
    )


def _tiles(result: Mapping[str, Any]) -> list[Tile]:
    """The two accuracies, their difference, and what judged them."""
    verdict, metrics = result["verdict"], result["metrics"]
    tiles = [
        Tile(
            percent(found["accuracy"]),
            f"right, {_run_words(name)}; 95 % interval {_range(found['accuracy_interval'])}",
        )
        for name, found in metrics.items()
    ]
    if verdict is not None and verdict["comparison"] is not None:
        found = verdict["comparison"]
        between = interval_words(Interval(found["interval"]["low"], found["interval"]["high"]))
        tiles.append(Tile(f"{signed_points(found['difference'])} points", f"difference; 95 % interval {between}"))
    if metrics:
        judged = result["data"]["num_test"]
        kind = "test images" if result["data"]["test_source"] == "test" else "images held out of the labeled ones"
        tiles.append(Tile(f"{judged:,}", f"{kind} judged, and decided nothing in training"))
    return tiles


def _proof(result: Mapping[str, Any]) -> Section:
    """What the verdict rests on; of folds the section over all of them says it."""
    verdict, repeats = result["verdict"], result.get("repeats")
    sentences = [] if verdict is None else list(verdict["sentences"])
    pictures = known([model.accuracies(result)])
    if not repeats:
        return Section("How sure is that?", sentences, pictures)
    if repeats["kind"] == "folds":
        return Section("How sure is that?")
    if len(repeats["runs"]) == 1:
        return Section("How sure is that?", (), pictures)
    return Section("The first seed alone, whose model is delivered", sentences, pictures)


def _classes(result: Mapping[str, Any]) -> Section:
    metrics = result["metrics"].get(result["delivered"])
    pictures = known([by_class.per_class_change(result), by_class.confusion(result)])
    tables = []
    if metrics is not None:
        rows = [
            (one["name"], f"{one['support']:,}", *(percent(one[key]) for key in ("recall", "precision", "f1")))
            for one in sorted(metrics["per_class"], key=lambda one: (one["recall"] is None, one["recall"]))
        ]
        more = len(rows) - _MOST_CLASSES_LISTED
        title = "Every class of the delivered model, the weakest first" + (
            f"; {more:,} more are in result.json" if more > 0 else ""
        )
        columns = ("class", "held-out images", "found (recall)", "right when named (precision)", "F1")
        tables.append(Table(columns, rows[:_MOST_CLASSES_LISTED], title, numeric=range(1, 5)))
    return Section("Which classes gain, and which are confused", (), pictures, tables)


def _mistakes(record: RunRecord) -> Section:
    """The most confident errors as pictures, or as a table where rows are no images."""
    result, lines = record.result, record.result["mistakes"]
    if not lines:
        return Section("The worst mistakes")
    classes = result["data"]["classes"]
    wrong = "Held-out images that the delivered model gets wrong"
    if result["data"]["test_source"] == "out of fold":
        wrong = "Labeled images that the model of a fold that had not seen them gets wrong"
    intro = (
        f"{wrong}, the most confident first; mistakes.csv lists them. "
        "Beside each are the labeled training images that look most like it to the model: a wrong label there, or a "
        "class that has no such image, explains many errors."
    )
    cards = [
        Card(
            image(record.pictures, line["picture"]),
            f"{classes[line['true']]}, taken for {classes[line['predicted']]} ({_sure(line['confidence'])} sure)",
            line["name"],
            [Neighbor(image(record.pictures, near["picture"]), classes[near["label"]]) for near in line["neighbors"]],
        )
        for line in lines[:_MOST_LISTED]
    ]
    return Section("The worst mistakes", [intro], cards=cards)


def _doubted(record: RunRecord) -> Section:
    lines, classes = record.result["label_errors"], record.result["data"]["classes"]
    if note_of_guessing(record.result):
        reason = (
            "No doubted labels are listed: the model is not proven better than a constant answer, and the doubts of "
            "such a model are its own mistakes."
        )
        return Section("Doubted labels", [reason])
    if not lines:
        return Section("Doubted labels")
    which, seen = "held-out image", "it never saw these labels"
    if lines[0].get("where") == "out of fold":
        which, seen = "labeled image", "it is of a fold that left this label out"
    intro = (
        f"{counted(len(lines), which)} whose given label the model doubts, by confident learning: {seen}, and it is "
        "surer of another class than it is of that class in general. Some are wrong labels, some are hard images. "
        "label_errors.csv lists them for relabeling."
    )
    if is_too_sure(record.result):
        return Section(
            "Doubted labels",
            [
                f"{counted(len(lines), which)} with a label that the model doubts, but it is often sure and wrong, as "
                "the reliability below shows, so that most of these are its own mistakes. label_errors.csv lists them; "
                "look there again when a model is better."
            ],
        )
    cards = [
        Card(
            image(record.pictures, line["picture"]),
            f"labeled {classes[line['given']]}; the model says {classes[line['suggested']]} "
            f"({_sure(line['confidence'])} sure, {percent(line['given_confidence'])} for the label)",
            line["name"],
        )
        for line in lines[:_MOST_LISTED]
    ]
    return Section("Doubted labels", [intro], cards=cards)


def _trust(result: Mapping[str, Any]) -> Section:
    return Section(
        "Can its confidence be trusted?", (), known([model.reliability(result), model.robustness(result)])
    )  # fmt: skip


def _pool(record: RunRecord) -> Section:
    result = record.result
    pictures = [
        labels.pseudo_labels(result),
        labels.pseudo_labels_by_class(result),
        labels.label_distribution(result),
        model.confidence(result),
    ]
    return Section("What became of the unlabeled images", (), known(pictures), grids=_grids(record))


def _grids(record: RunRecord) -> list[Grid]:
    """Some images of each kind."""
    classes, samples = record.result["data"]["classes"], record.result["samples"]
    labeled = [Small(image(record.pictures, one["picture"]), classes[one["label"]]) for one in samples["labeled"]]
    pool = []
    for one in samples["pool"]:
        text, kind = f"{classes[one['predicted']]} {100 * one['confidence']:.0f} %", ""
        if one["true"] is not None:
            kind = "right" if one["true"] == one["predicted"] else "wrong"
            text += "" if kind == "right" else f", is {classes[one['true']]}"
        pool.append(Small(image(record.pictures, one["picture"]), text, kind))
    grids = []
    if any(one.image for one in labeled):
        grids.append(Grid("Some labeled images", "As training sees them, a few of each of the first classes.", labeled))
    if any(one.image for one in pool):
        what = "What the delivered model takes some unlabeled images for, and how sure it is."
        grids.append(Grid("Some unlabeled images", what, pool))
    return grids


def _training(result: Mapping[str, Any]) -> Section:
    sentences = [
        f"{_run_words(name).capitalize()}: {trained['steps']:,} steps in "
        f"{format_seconds(trained['cost']['cpu_s'])} of processor time and {format_seconds(trained['cost']['wall_s'])} "
        f"on the clock.{_stopped(trained['stopped'])}"
        for name, trained in result["runs"].items()
    ]
    pictures = [model.learning_curves(result), labels.rounds(result)]
    return Section("How training went", sentences, known(pictures))


def _measured(result: Mapping[str, Any]) -> Section:
    """Settings, the roles of the images, and what was said on the way."""
    data, training, environment = result["data"], result["training"], result["environment"]
    rows = [
        ("images", data["name"]),
        ("labeled, unlabeled", f"{data['num_labeled']:,}, {data['num_unlabeled']:,}"),
        ("held out for validation, to judge", f"{data['num_validation']:,}, {data['num_test']:,}"),
        ("seen as", " x ".join(map(str, data["shape"])) + f", domain {data['domain']}"),
        *((name, str(value)) for name, value in training.items()),
        ("versions", ", ".join(f"{name} {number}" for name, number in environment["versions"].items())),
        ("system", f"{environment['system']}, Python {environment['python']}"),
    ]
    tables = [Table(("what", "value"), rows), _figures(result)]
    notes = [note for note in result["notes"] if not is_about_plan(note, result)]
    return Section("How this was measured", notes, tables=[table for table in tables if table.rows])


def _figures(result: Mapping[str, Any]) -> Table:
    """Every figure of both models."""
    names, metrics = list(result["metrics"]), result["metrics"]
    rows = []
    for key, what in (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy: every class counts the same"),
        ("macro_precision", "precision, mean over classes"),
        ("macro_f1", "F1, mean over classes"),
        ("auroc", "AUROC, one class against the rest"),
    ):
        rows.append((what, *(percent(metrics[name].get(key)) for name in names)))
    for k in sorted({int(k) for name in names for k in metrics[name]["top_k"]}):
        tops = ({int(at): share for at, share in metrics[name]["top_k"].items()} for name in names)
        rows.append((f"right class among the {k} likeliest", *(percent(top.get(k)) for top in tops)))
    for key, what, digits in (
        ("ece", "expected calibration error", 3),
        ("nll", "negative log-likelihood, nats", 3),
        ("brier", "Brier score, 0 to 2", 3),
        ("temperature", "temperature fitted on validation images", 2),
        ("scaled_ece", "calibration error at that temperature", 3),
    ):
        values = [result["calibration"].get(name, {}).get(key) for name in names]
        if any(value is not None for value in values):
            rows.append((what, *("-" if value is None else f"{value:.{digits}f}" for value in values)))
    asked = result["robustness"]
    if asked:
        rows.append(("accuracy on corrupted images", *(percent(asked[name]["mean"]) for name in names)))
    head = ("on the test images", *(_run_words(name) for name in names))
    return Table(head, rows if names else [], "All figures", numeric=range(1, len(names) + 1))


def _last_lines(lines: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for line in lines.values() for key in line))
    rows = [(key, *(f"{line[key]:,.4g}" if key in line else "-" for line in lines.values())) for key in keys]
    return Table(("figure", *lines), rows, numeric=range(1, len(lines) + 1))


def _run_words(name: str) -> str:
    return "the labels alone" if name == "supervised" else f"with the unlabeled images ({name})"


def _stopped(reason: str) -> str:
    return f" It ended early: {reason}." if reason else ""


def _range(interval: Mapping[str, float]) -> str:
    return percent_range(interval["low"], interval["high"])


def _sure(confidence: float) -> str:
    """A confidence, of which nobody should read that it is certain."""
    return percent(confidence) if confidence < _ALMOST_CERTAIN else "over 99.9 %"
