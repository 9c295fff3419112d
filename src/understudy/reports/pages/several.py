"""The page of several training runs side by side, each against the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from understudy.core.errors import UserError
from understudy.core.text import SIGNIFICANCE, p_value, percent, signed_points
from understudy.evaluation.paired import Paired, compare_paired
from understudy.evaluation.ranking import holm
from understudy.reports.figures import by_class, ingredients
from understudy.reports.figures import comparison as draw
from understudy.reports.figures.picture import method_of
from understudy.reports.page import Page, PageTable, Section, known
from understudy.reports.pages.advice import Headline
from understudy.reports.record import RunRecord

_BASELINE = "supervised"


def several_page(records: Sequence[RunRecord]) -> Page:
    """Training runs side by side, each against the first.

    Raises:
        UserError: They were tested on different images, or by none.
    """
    first = records[0]
    for record in records:
        if not record.result["data"]["num_test"]:
            raise UserError(
                f"{record.name} has no test images, so it cannot be compared; "
                "report on it alone, or train it with --test"
            )
        if record.result["data"]["test_content"] != first.result["data"]["test_content"]:
            raise UserError(
                f"{first.name} and {record.name} were tested on different images, so their accuracies "
                "cannot be compared; train both with the same images, seed and --test"
            )
    names = [f"{record.name} ({_way(record)})" for record in records]
    others = [_against(first, record) for record in records[1:]]
    adjusted = holm([other.p_value for other in others])
    best = max(records, key=lambda record: record.result["metrics"][record.result["delivered"]]["accuracy"])
    better = [
        record.name
        for record, other, p in zip(records[1:], others, adjusted, strict=True)
        if p < SIGNIFICANCE and other.difference > 0
    ]
    worse = [
        record.name
        for record, other, p in zip(records[1:], others, adjusted, strict=True)
        if p < SIGNIFICANCE and other.difference < 0
    ]
    answer = f"Proven better than {first.name}: {', '.join(better)}"
    if not better:
        answer = f"None is proven better than {first.name}"
    detail = (
        f"All were tested on the same {first.result['data']['num_test']:,} images; {best.name} is the most accurate. "
        + (f"Proven worse than {first.name}: {', '.join(worse)}. " if worse else "")
        + "The best of several runs looks better on the images that selected it than on new ones."
    )
    rows = []
    for number, (record, name) in enumerate(zip(records, names, strict=True)):
        metrics, data = record.result["metrics"][record.result["delivered"]], record.result["data"]
        low, high = (metrics["accuracy_interval"][end] for end in ("low", "high"))
        row = [name, f"{data['num_labeled']:,}", f"{data['num_unlabeled']:,}", percent(metrics["accuracy"])]
        row += [f"{100 * low:.1f} to {100 * high:.1f}"]
        if number:
            other = others[number - 1]
            row += [signed_points(other.difference), p_value(adjusted[number - 1])]
        else:
            row += ["-", "-"]
        rows.append(row)
    columns = (
        "run",
        "labels",
        "unlabeled",
        "accuracy",
        "95 % interval",
        f"points over {first.name}",
        "p (McNemar, Holm)",
    )
    table = PageTable(columns, rows, numeric=range(1, 7))
    results = [{**record.result, "name": record.name} for record in records]
    tried = [_tried(record) for record in records]
    return Page(
        title=f"{len(records)} training runs",
        kicker=f"{first.result['data']['name']}: {', '.join(record.name for record in records)}",
        headline=Headline("good" if better else "open", answer, detail),
        sections=(
            Section("Side by side", (), known([draw.several_runs(results)]), [table]),
            Section("Settings", (), known([ingredients.parallel_coordinates(tried)] if len(tried) > 2 else [])),
            *(
                Section(f"{record.name}: confusion matrix", (), known([by_class.confusion(record.result)]))
                for record in records[:2]
            ),
        ),
        footer="Made by understudy. The report of each single run has more detail.",
    )


def _tried(record: RunRecord) -> tuple[dict[str, Any], float]:
    """A run's settings, and the accuracy of the model that was trained with them, whether or not it is delivered."""
    result = record.result
    name = method_of({"metrics": result["metrics"]}) or _BASELINE
    settings = {"labels": result["data"]["num_labeled"], **result["training"], **record.settings}
    return settings, result["metrics"][name]["accuracy"]


def _against(first: RunRecord, second: RunRecord) -> Paired:
    labels = np.asarray(first.held_out["labels"])
    predicted = [one.held_out[one.result["delivered"]].argmax(-1) for one in (first, second)]
    return compare_paired(labels, *predicted)


def _way(record: RunRecord) -> str:
    training, delivered = record.result["training"], record.result["delivered"]
    asked = training["method"] if training["recipe"] == "plain" else training["recipe"]
    return asked if delivered != _BASELINE or asked == _BASELINE else f"{asked}, supervised model delivered"
