"""The page of many runs: a comparison of methods over seeds, or training runs side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from understudy.core.errors import UserError
from understudy.evaluation.paired import compare_paired
from understudy.evaluation.ranking import holm
from understudy.evaluation.verdict import percent
from understudy.reports import comparison_figures as draw
from understudy.reports import ingredient_figures as ingredients
from understudy.reports import run_figures
from understudy.reports.advice import Advice, Headline
from understudy.reports.page import Page, Section, Table, Tile, known
from understudy.reports.record import ComparisonRecord, RunRecord

_LEVEL = 0.05
_BASELINE = "supervised"


def comparison_page(record: ComparisonRecord) -> Page:
    """The page of a comparison's folder."""
    found = record.found
    proven = _proven(found)
    return Page(
        title=f"{record.name}: {_headline(found, proven).answer}",
        kicker=(
            f"Comparison {record.name}: {len(found['methods'])} methods, {_seeds(found)}, {found['budget']} a run. "
            f"{found['judged_by']}"
        ),
        headline=_headline(found, proven),
        tiles=_tiles(found),
        advice=tuple(_advice(found, proven)),
        sections=(
            Section("How good is each method?", (), known([draw.methods(found), draw.label_curve(found)])),
            Section("What is proven against the labels alone?", _statements(found), known([draw.gains(found)])),
            Section("What each ingredient adds", (), known([_waterfall(found)])),
            Section("What it costs", (), known([draw.cost(found)])),
            Section("Settings tried", (), known([_parallel(found)])),
            Section("All figures", found["notes"], tables=[_summary_table(found)]),
        ),
        footer=f"Made by understudy from {record.name}; every run is in runs.csv, all numbers are in comparison.json.",
    )


def several_page(records: Sequence[RunRecord]) -> Page:
    """Training runs side by side, each against the first.

    Raises:
        UserError: They were judged by different images, or by none.
    """
    first = records[0]
    for record in records:
        if not record.result["data"]["num_judge"]:
            raise UserError(
                f"{record.name} held out no images to judge by, so it cannot be compared; "
                "report on it alone, or train it with --test"
            )
        if record.result["data"]["judges"] != first.result["data"]["judges"]:
            raise UserError(
                f"{first.name} and {record.name} were judged by different images, so that a difference between them "
                "says nothing; train both with the same images, seed and --test"
            )
    names = [f"{record.name} ({_way(record)})" for record in records]
    others = [_against(first, record) for record in records[1:]]
    adjusted = holm([other.p_value for other in others])
    best = max(records, key=lambda record: record.result["metrics"][record.result["delivered"]]["accuracy"])
    sure = [
        name for name, other, p in zip(names[1:], others, adjusted, strict=True) if p < _LEVEL and other.difference > 0
    ]
    answer = f"Proven better than {first.name}: {len(sure)} of {len(others)}"
    detail = (
        f"Of {first.result['data']['num_judge']:,} images that judged all of them, {best.name} gets most right. "
        + (f"Better than {first.name}, corrected for looking at {len(others)}: {', '.join(sure)}." if sure else "")
        + " The best of several looks better on the images that picked it than it will on new ones."
    )
    rows = []
    for number, (record, name) in enumerate(zip(records, names, strict=True)):
        metrics, data = record.result["metrics"][record.result["delivered"]], record.result["data"]
        low, high = (metrics["accuracy_interval"][end] for end in ("low", "high"))
        row = [name, f"{data['num_labeled']:,}", f"{data['num_unlabeled']:,}", percent(metrics["accuracy"])]
        row += [f"{100 * low:.1f} to {100 * high:.1f}"]
        if number:
            other = others[number - 1]
            row += [f"{100 * other.difference:+.1f}", _p_value(adjusted[number - 1])]
        else:
            row += ["-", "-"]
        rows.append(row)
    columns = ("run", "labels", "unlabeled", "accuracy", "95 % interval", f"over {first.name}", "p (McNemar, Holm)")
    table = Table(columns, rows, numeric=range(1, 7))
    results = [{**record.result, "name": record.name} for record in records]
    tried = [
        (record.result["training"], record.result["metrics"][record.result["delivered"]]["accuracy"])
        for record in records
    ]
    return Page(
        title=f"{len(records)} training runs",
        kicker=f"{first.result['data']['name']}: {', '.join(record.name for record in records)}",
        headline=Headline("good" if sure else "open", answer, detail),
        sections=(
            Section("Side by side", (), known([draw.several_runs(results)]), [table]),
            Section("Settings tried", (), known([ingredients.parallel_coordinates(tried)])),
            *(
                Section(f"{record.name}: which classes are confused", (), known([run_figures.confusion(record.result)]))
                for record in records[:2]
            ),
        ),
        footer="Made by understudy; a report of each run alone says more about it.",
    )


def _against(first: RunRecord, second: RunRecord) -> Any:
    labels = np.asarray(first.held_out["labels"])
    predicted = [one.held_out[one.result["delivered"]].argmax(-1) for one in (first, second)]
    return compare_paired(labels, *predicted)


def _way(record: RunRecord) -> str:
    training, delivered = record.result["training"], record.result["delivered"]
    asked = training["method"] if training["recipe"] == "plain" else training["recipe"]
    return asked if delivered != _BASELINE or asked == _BASELINE else f"{asked}, labels alone delivered"


def _proven(found: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], bool]]:
    """The summaries whose gain is proven, and whether it is one."""
    return [
        (one, one["gain"]["difference"] > 0)
        for one in found["summaries"]
        if one["gain"] and one["gain"]["p_holm"] is not None and one["gain"]["p_holm"] < _LEVEL
    ]


def _headline(found: Mapping[str, Any], proven: Sequence[tuple[Mapping[str, Any], bool]]) -> Headline:
    better = [one for one, is_gain in proven if is_gain]
    tested = sum(1 for one in found["summaries"] if one["gain"])
    if better:
        names = list(dict.fromkeys(one["method"] for one in better))
        largest = max(better, key=lambda one: one["gain"]["difference"])
        return Headline(
            "good",
            f"Proven better than the labels alone: {_listed(names)}",
            f"The largest proven gain is {largest['method']}'s{_labels(largest)}: "
            f"{100 * largest['gain']['difference']:+.1f} points, {percent(largest['accuracy'])} on average of "
            f"{len(largest['seeds'])} seeds. {len(better)} of {tested} comparisons hold after correction for all.",
        )
    if any(not is_gain for _, is_gain in proven):
        return Headline(
            "bad", "Unlabeled images made it worse", "No method is proven better, and some are proven worse."
        )
    why = "one seed shows no spread between label draws" if len(found["seeds"]) < 2 else "see the intervals below"
    return Headline(
        "open",
        "No method is proven better than the labels alone",
        f"Of {tested} comparisons none holds after correction for all of them; {why}.",
    )


def _tiles(found: Mapping[str, Any]) -> list[Tile]:
    """For each number of labels, supervised and the method that the validation images choose or that is best."""
    tiles = []
    for count in found["num_labels"]:
        rows = [one for one in found["summaries"] if one["num_labels"] == count and one["accuracy"] is not None]
        alone = next((one for one in rows if one["method"] == _BASELINE), None)
        with_labels = f" with {count:,} labels" if count else ""
        if alone is not None:
            tiles.append(Tile(percent(alone["accuracy"]), f"the labels alone{with_labels}, mean of {_seeds(found)}"))
        chosen = found["chosen"].get(str(count))
        best = next((one for one in rows if one["method"] == chosen and chosen != _BASELINE), None)
        if best is not None:
            tiles.append(Tile(percent(best["accuracy"]), f"{chosen}{with_labels}, chosen by validation images"))
    return tiles


def _advice(found: Mapping[str, Any], proven: Sequence[tuple[Mapping[str, Any], bool]]) -> Iterator[Advice]:
    if len(found["seeds"]) < 5:
        yield Advice(
            "Run more seeds",
            f"With {_seeds(found)} an interval over label draws is wide or missing; the same command "
            "with --seeds 5 and this folder as --out trains only what is new.",
        )
    better = [one for one, is_gain in proven if is_gain]
    if better:
        name = max(better, key=lambda one: one["gain"]["difference"])["method"]
        yield Advice(f"Train {name} with your whole budget", f"understudy train ... --method {name}")
    elif len(found["seeds"]) >= 5:
        yield Advice("Use the labels alone, or give each run more time", "At this budget nothing else is proven.")
    if len(found["num_labels"]) < 2:
        yield Advice(
            "Ask what more labels would buy",
            "With several numbers of labels, such as --labels 40,100,250, the report draws the learning curve.",
        )


def _statements(found: Mapping[str, Any]) -> Sequence[str]:
    sentences: Sequence[str] = found["sentences"]
    return sentences


def _waterfall(found: Mapping[str, Any]) -> Any:
    rungs = found.get("ablation")
    if not rungs:
        return None
    return ingredients.waterfall([(rung["adds"], rung["accuracy"], rung["interval"]) for rung in rungs])


def _parallel(found: Mapping[str, Any]) -> Any:
    """The settings of the methods that have some of their own, against mean accuracy at the fewest labels."""
    tables, count = found.get("method_settings", {}), found["num_labels"][0]
    mean = {one["method"]: one["accuracy"] for one in found["summaries"] if one["num_labels"] == count}
    kinds: dict[str, list[str]] = {}
    for name, settings in tables.items():
        kinds.setdefault(str(settings.get("name")), []).append(name)
    tried = [name for names in kinds.values() if len(names) > 1 for name in names if mean.get(name) is not None]
    return ingredients.parallel_coordinates([(tables[name], mean[name]) for name in tried]) if len(tried) > 1 else None


def _summary_table(found: Mapping[str, Any]) -> Table:
    rows = []
    for one in found["summaries"]:
        gain = one["gain"]
        rows.append(
            [
                one["method"],
                f"{one['num_labels']:,}" if one["num_labels"] else "all",
                "failed" if one["accuracy"] is None else percent(one["accuracy"]),
                "-" if one["interval"] is None else _interval(one["interval"]),
                "-" if one["worst"] is None else percent(one["worst"]),
                "-" if not gain else f"{100 * gain['difference']:+.1f}",
                "-" if not gain or not gain["interval"] else _interval(gain["interval"]),
                "-" if not gain or gain["p_holm"] is None else _p_value(gain["p_holm"]),
                "-" if one["cpu_s"] is None else f"{one['cpu_s']:,.1f}",
                "-" if one["steps"] is None else f"{one['steps']:,.0f}",
            ]
        )
    columns = (
        "method",
        "labels",
        "mean",
        "95 % interval",
        "worst seed",
        "gain",
        "95 % interval",
        "p (Holm)",
        "CPU-s",
        "steps",
    )
    return Table(columns, rows, numeric=range(1, len(columns)))


def _interval(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}"


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def _seeds(found: Mapping[str, Any]) -> str:
    return "1 seed" if len(found["seeds"]) == 1 else f"{len(found['seeds'])} seeds"


def _labels(one: Mapping[str, Any]) -> str:
    return f" with {one['num_labels']:,} labels" if one["num_labels"] else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
