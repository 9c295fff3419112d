"""The page of one training run: the answer, what to do, then what it rests on and where the model fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.budget import format_seconds
from understudy.core.text import counted, percent, percent_range, signed_points
from understudy.evaluation.intervals import Interval
from understudy.evaluation.verdict_rule import interval_words
from understudy.reports.figures import by_class, labels, model
from understudy.reports.page import Card, Grid, Neighbor, Page, PageTable, Section, Small, Tile, image, known
from understudy.reports.pages.advice import Headline, advice, headline, is_miscalibrated, note_of_guessing
from understudy.reports.pages.plan import is_about_plan, plan_section
from understudy.reports.pages.repeats import repeats_section, repeats_tiles
from understudy.reports.record import PartialRecord, RunRecord

_MAX_CARDS = 24  # a screen or two of pictures; the CSV files beside the page list all
_MAX_CLASSES_LISTED = 100  # longer tables are searched rather than read: result.json has them all
_ALMOST_CERTAIN = 0.9995  # a confidence from here on would be printed as 100.0 %


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
            _label_errors(record),
            _trust(result),
            _pool(record),
            _training(result),
            plan_section(result),
            _measured(result),
        ),
        footer=(
            f"Made by understudy {result['environment']['versions']['understudy']} from the folder {record.name}. "
            "The folder figures holds every figure as PNG and SVG, result.json every number."
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
            f"So far: {far}. The verdict needs both trainings: continue with understudy train --resume and this "
            "folder.",
        ),
        sections=(
            Section("Training so far", pictures=known([model.learning_curves({"runs": histories})])),
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
    """The two accuracies, their difference, and the images they were measured on."""
    verdict, metrics = result["verdict"], result["metrics"]
    tiles = [
        Tile(
            percent(found["accuracy"]),
            f"accuracy, {_run_words(name)}; 95 % interval {_range(found['accuracy_interval'])}",
        )
        for name, found in metrics.items()
    ]
    if verdict is not None and verdict["comparison"] is not None:
        found = verdict["comparison"]
        between = interval_words(Interval(found["interval"]["low"], found["interval"]["high"]))
        tiles.append(Tile(f"{signed_points(found['difference'])} points", f"difference; 95 % interval {between}"))
    if metrics:
        source = "test images" if result["data"]["test_source"] == "test" else "labeled images held out for testing"
        tiles.append(Tile(f"{result['data']['num_test']:,}", f"{source}, used for nothing else"))
    return tiles


def _proof(result: Mapping[str, Any]) -> Section:
    """What the verdict rests on; of folds the section over all of them says it."""
    verdict, repeats = result["verdict"], result.get("repeats")
    sentences = [] if verdict is None else list(verdict["sentences"])
    pictures = known([model.accuracies(result)])
    if not repeats:
        return Section("Accuracy and significance", sentences, pictures)
    if repeats["kind"] == "folds":
        return Section("Accuracy and significance")
    if len(repeats["runs"]) == 1:
        return Section("Accuracy and significance", (), pictures)
    return Section("The first seed, whose model is saved", sentences, pictures)


def _classes(result: Mapping[str, Any]) -> Section:
    metrics = result["metrics"].get(result["delivered"])
    pictures = known([by_class.per_class_change(result), by_class.confusion(result)])
    tables = []
    if metrics is not None:
        rows = [
            (one["name"], f"{one['support']:,}", *(percent(one[key]) for key in ("recall", "precision", "f1")))
            for one in sorted(metrics["per_class"], key=lambda one: (one["recall"] is None, one["recall"]))
        ]
        more = len(rows) - _MAX_CLASSES_LISTED
        title = "Classes of the delivered model, lowest recall first" + (
            f"; {more:,} more are in result.json" if more > 0 else ""
        )
        columns = ("class", "held-out images", "recall", "precision", "F1")
        tables.append(PageTable(columns, rows[:_MAX_CLASSES_LISTED], title, numeric=range(1, 5)))
    return Section("Accuracy by class", (), pictures, tables)


def _mistakes(record: RunRecord) -> Section:
    """The most confident errors as pictures, or as a table where rows are no images."""
    result, lines = record.result, record.result["mistakes"]
    if not lines:
        return Section("Most confident errors")
    classes = result["data"]["classes"]
    wrong = "Held-out images that the delivered model misclassifies"
    if result["data"]["test_source"] == "out of fold":
        wrong = "Labeled images that the model of the fold that left them out misclassifies"
    intro = (
        f"{wrong}, most confident first; mistakes.csv lists them. Beside each are the labeled training images nearest "
        "to "
        "it in the model's features: a wrong label among them, or a class without a similar image, explains many "
        "errors."
    )
    cards = [
        Card(
            image(record.pictures, line["picture"]),
            f"{classes[line['true']]}, predicted {classes[line['predicted']]} (confidence "
            f"{_confidence(line['confidence'])})",
            line["name"],
            [Neighbor(image(record.pictures, near["picture"]), classes[near["label"]]) for near in line["neighbors"]],
        )
        for line in lines[:_MAX_CARDS]
    ]
    return Section("Most confident errors", [intro], cards=cards)


def _label_errors(record: RunRecord) -> Section:
    lines, classes = record.result["label_errors"], record.result["data"]["classes"]
    if note_of_guessing(record.result):
        reason = (
            "None are listed: the model is not proven better than always predicting one class, and where such a model "
            "disagrees with a label, the error is its own."
        )
        return Section("Possible label errors", [reason])
    if not lines:
        return Section("Possible label errors")
    which, unseen = "held-out image", "was not trained on these labels"
    if lines[0].get("where") == "out of fold":
        which, unseen = "labeled image", "is that of the fold that left the image out"
    intro = (
        f"{counted(len(lines), which)} with a possible label error, found by confident learning: the model {unseen}, "
        "and "
        "its confidence in another class exceeds its mean confidence in that class. Some are wrong labels, some are "
        "hard images. label_errors.csv lists them for relabeling."
    )
    if is_miscalibrated(record.result):
        return Section(
            "Possible label errors",
            [
                f"{counted(len(lines), which)} with a label that the model disagrees with. But the model is badly "
                "calibrated, as the reliability diagram below shows, so most of these are likely its own errors. "
                "label_errors.csv lists them; check it again once a model is better."
            ],
        )
    cards = [
        Card(
            image(record.pictures, line["picture"]),
            f"labeled {classes[line['given']]}, predicted {classes[line['suggested']]} "
            f"(confidence {_confidence(line['confidence'])}, {percent(line['given_confidence'])} for the label)",
            line["name"],
        )
        for line in lines[:_MAX_CARDS]
    ]
    return Section("Possible label errors", [intro], cards=cards)


def _trust(result: Mapping[str, Any]) -> Section:
    return Section(
        "Calibration and robustness", (), known([model.reliability(result), model.robustness(result)])
    )  # fmt: skip


def _pool(record: RunRecord) -> Section:
    result = record.result
    pictures = [
        labels.pseudo_labels(result),
        labels.pseudo_labels_by_class(result),
        labels.label_distribution(result),
        model.confidence(result),
    ]
    return Section("Use of the unlabeled images", (), known(pictures), grids=_grids(record))


def _grids(record: RunRecord) -> list[Grid]:
    """Some labeled and some unlabeled images."""
    classes, samples = record.result["data"]["classes"], record.result["samples"]
    labeled = [Small(image(record.pictures, one["picture"]), classes[one["label"]]) for one in samples["labeled"]]
    pool = []
    for one in samples["pool"]:
        text, kind = f"{classes[one['predicted']]} {100 * one['confidence']:.0f} %", ""
        if one["true"] is not None:
            kind = "right" if one["true"] == one["predicted"] else "wrong"
            text += "" if kind == "right" else f", true: {classes[one['true']]}"
        pool.append(Small(image(record.pictures, one["picture"]), text, kind))
    grids = []
    if any(one.image for one in labeled):
        grids.append(Grid("Some labeled images", "A few of each of the first classes, as read.", labeled))
    if any(one.image for one in pool):
        what = "The delivered model's predictions for some unlabeled images, with their confidence."
        grids.append(Grid("Some unlabeled images", what, pool))
    return grids


def _training(result: Mapping[str, Any]) -> Section:
    sentences = [
        f"{_run_words(name).capitalize()}: {trained['steps']:,} steps in "
        f"{format_seconds(trained['cost']['cpu_s'])} of CPU time, {format_seconds(trained['cost']['wall_s'])} of wall "
        "time."
        f"{_stopped(trained['stopped'])}"
        for name, trained in result["runs"].items()
    ]
    pictures = [model.learning_curves(result), labels.rounds(result)]
    return Section("Training", sentences, known(pictures))


def _measured(result: Mapping[str, Any]) -> Section:
    """Settings, the roles of the images, and the notes of the log."""
    data, training, environment = result["data"], result["training"], result["environment"]
    rows = [
        ("images", data["name"]),
        ("labeled, unlabeled", f"{data['num_labeled']:,}, {data['num_unlabeled']:,}"),
        ("validation, test", f"{data['num_validation']:,}, {data['num_test']:,}"),
        ("input", " x ".join(map(str, data["shape"])) + f", domain {data['domain']}"),
        *((name, str(value)) for name, value in training.items()),
        ("versions", ", ".join(f"{name} {number}" for name, number in environment["versions"].items())),
        ("system", f"{environment['system']}, Python {environment['python']}"),
    ]
    tables = [PageTable(("setting", "value"), rows), _figures(result)]
    notes = [note for note in result["notes"] if not is_about_plan(note, result)]
    return Section("Setup and all metrics", notes, tables=[table for table in tables if table.rows])


def _figures(result: Mapping[str, Any]) -> PageTable:
    """Every metric of both models."""
    names, metrics = list(result["metrics"]), result["metrics"]
    rows = []
    for key, what in (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy (mean recall over classes)"),
        ("macro_precision", "macro precision"),
        ("macro_f1", "macro F1"),
        ("auroc", "AUROC, one-vs-rest"),
    ):
        rows.append((what, *(percent(metrics[name].get(key)) for name in names)))
    for k in sorted({int(k) for name in names for k in metrics[name]["top_k"]}):
        tops = ({int(at): share for at, share in metrics[name]["top_k"].items()} for name in names)
        rows.append((f"top-{k} accuracy", *(percent(top.get(k)) for top in tops)))
    for key, what, digits in (
        ("ece", "expected calibration error", 3),
        ("nll", "negative log-likelihood, nats", 3),
        ("brier", "Brier score, 0 to 2", 3),
        ("temperature", "temperature fitted on validation images", 2),
        ("scaled_ece", "expected calibration error at that temperature", 3),
    ):
        values = [result["calibration"].get(name, {}).get(key) for name in names]
        if any(value is not None for value in values):
            rows.append((what, *("-" if value is None else f"{value:.{digits}f}" for value in values)))
    asked = result["robustness"]
    if asked:
        rows.append(("accuracy on corrupted images", *(percent(asked[name]["mean"]) for name in names)))
    head = ("on the test images", *(_run_words(name) for name in names))
    return PageTable(head, rows if names else [], "All metrics", numeric=range(1, len(names) + 1))


def _last_lines(lines: Mapping[str, Mapping[str, Any]]) -> PageTable:
    keys = list(dict.fromkeys(key for line in lines.values() for key in line))
    rows = [(key, *(f"{line[key]:,.4g}" if key in line else "-" for line in lines.values())) for key in keys]
    return PageTable(("metric", *lines), rows, numeric=range(1, len(lines) + 1))


def _run_words(name: str) -> str:
    return "labels alone" if name == "supervised" else f"with the unlabeled images ({name})"


def _stopped(reason: str) -> str:
    return f" It stopped early: {reason}." if reason else ""


def _range(interval: Mapping[str, float]) -> str:
    return percent_range(interval["low"], interval["high"])


def _confidence(confidence: float) -> str:
    """A confidence in percent, never as 100.0 %: no prediction is certain."""
    return percent(confidence) if confidence < _ALMOST_CERTAIN else "over 99.9 %"
