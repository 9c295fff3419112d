"""The page of a comparison: methods over seeds and numbers of labels, or ingredients added one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from understudy.core.text import (
    SIGNIFICANCE,
    capitalized,
    counted,
    listed,
    p_value,
    percent,
    percent_range,
    signed_points,
)
from understudy.evaluation.seeds import ENOUGH_SEEDS, few_seeds_sentence
from understudy.reports.figures import comparison as draw
from understudy.reports.figures import ingredients
from understudy.reports.page import Page, PageTable, Section, Tile, known
from understudy.reports.pages.advice import Advice, Headline
from understudy.reports.record import ComparisonRecord

_BASELINE = "supervised"


def comparison_page(record: ComparisonRecord) -> Page:
    """The page of a comparison's folder."""
    comparison = record.found
    proven = _proven(comparison)
    return Page(
        title=f"{record.name}: {_headline(comparison, proven).answer}",
        kicker=(
            f"Comparison {record.name}: {len(comparison['methods'])} methods, {_seeds(comparison)}, "
            f"{comparison['budget']} per run. "
            f"{comparison['test_source']}"
        ),
        headline=_headline(comparison, proven),
        tiles=_tiles(comparison),
        advice=tuple(_advice(comparison, proven)),
        sections=(
            Section("What each ingredient adds", (), known([waterfall(comparison)])),
            Section("Accuracy by method", (), known([draw.methods(comparison), draw.label_curve(comparison)])),
            Section("Gains over supervised", comparison["sentences"], known([draw.gains(comparison)])),
            Section("Cost", (), known([draw.cost(comparison)])),
            Section("Settings", (), known([_parallel(comparison)])),
            Section("All results", comparison["notes"], tables=[summary_table(comparison)]),
        ),
        footer=f"Made by understudy from {record.name}; runs.csv lists every run, comparison.json holds every number.",
    )


def _proven(comparison: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], bool]]:
    """The summaries whose gain is proven, and whether it is one."""
    return [
        (summary, summary["gain"]["difference"] > 0)
        for summary in comparison["summaries"]
        if summary["gain"] and summary["gain"]["p_holm"] is not None and summary["gain"]["p_holm"] < SIGNIFICANCE
    ]


def _headline(comparison: Mapping[str, Any], proven: Sequence[tuple[Mapping[str, Any], bool]]) -> Headline:
    if comparison.get("ablation"):
        return _ablation_headline(comparison["ablation"], len(comparison["seeds"]))
    better = [summary for summary, is_gain in proven if is_gain]
    tested = sum(1 for summary in comparison["summaries"] if summary["gain"])
    if better:
        names = list(dict.fromkeys(summary["method"] for summary in better))
        largest = max(better, key=lambda summary: summary["gain"]["difference"])
        return Headline(
            "good",
            f"Proven better than the labels alone: {listed(names)}",
            f"The largest proven gain is {largest['method']}'s{_labels(largest)}: "
            f"{signed_points(largest['gain']['difference'])} points (mean accuracy {percent(largest['accuracy'])}, "
            f"{len(largest['seeds'])} seeds). {len(better)} of {tested} comparisons show a significant gain after "
            "Holm's correction.",
        )
    if proven:
        losses = [100 * abs(summary["gain"]["difference"]) for summary, _ in proven]
        ends = f"{min(losses):.1f} to {max(losses):.1f}" if len(losses) > 1 else f"{losses[0]:.1f}"
        return Headline(
            "bad",
            "At this budget, the unlabeled images made it worse",
            f"With {comparison['budget']} per run, no method is proven better than the labels alone, and "
            f"{len(proven)} of "
            f"{tested} comparisons prove a loss, of {ends} points.",
        )
    why = few_seeds_sentence(1) if len(comparison["seeds"]) < 2 else "See the intervals below."
    return Headline(
        "open",
        "No method is proven better than the labels alone",
        f"Of {tested} comparisons, none is significant after Holm's correction. {why}",
    )


def _ablation_headline(ablation: Sequence[Mapping[str, Any]], num_seeds: int) -> Headline:
    """Which ingredient adds most, and whether that is proven."""
    steps = [step for step in ablation[1:] if step["gain"] is not None]
    if not steps:
        return Headline("open", "No ingredient could be measured", "Too few runs finished; see the notes below.")
    proven = [step for step in steps if step["gain"]["p_holm"] is not None and step["gain"]["p_holm"] < SIGNIFICANCE]
    most = max(proven or steps, key=lambda step: step["gain"]["difference"])
    first, last = (percent(ablation[at]["accuracy"]) for at in (0, -1))
    detail = (
        f"From {first} without any ingredient to {last} with all of them, mean of {counted(num_seeds, 'seed')}; "
        f"{most['adds']}: {signed_points(most['gain']['difference'])} points. {len(proven)} of {len(steps)} steps are "
        "significant after Holm's correction."
    )
    return Headline(
        "good" if proven else "open",
        f"{capitalized(most['adds'])} adds most" + ("" if proven else ", though nothing is proven"),
        detail,
    )


def _tiles(comparison: Mapping[str, Any]) -> list[Tile]:
    """For each number of labels, supervised and the method that the validation images select or that is best."""
    tiles = []
    for count in comparison["num_labels"]:
        rows = [
            summary
            for summary in comparison["summaries"]
            if summary["num_labels"] == count and summary["accuracy"] is not None
        ]
        alone = next((summary for summary in rows if summary["method"] == _BASELINE), None)
        with_labels = f", {count:,} labels" if count else ""
        if alone is not None:
            tiles.append(Tile(percent(alone["accuracy"]), f"labels alone{with_labels}, mean of {_seeds(comparison)}"))
        chosen = comparison["chosen"].get(str(count))
        best = next((summary for summary in rows if summary["method"] == chosen and chosen != _BASELINE), None)
        if best is not None:
            tiles.append(Tile(percent(best["accuracy"]), f"{chosen}{with_labels}, selected on validation images"))
    bound = (comparison.get("upper_bound") or {}).get("summary") or {}
    if bound.get("accuracy") is not None:
        tiles.append(Tile(percent(bound["accuracy"]), "with the labels of all images, same cost"))
    return tiles


def _advice(comparison: Mapping[str, Any], proven: Sequence[tuple[Mapping[str, Any], bool]]) -> Iterator[Advice]:
    if len(comparison["seeds"]) < ENOUGH_SEEDS:
        yield Advice(
            "Run more seeds",
            f"{few_seeds_sentence(len(comparison['seeds']))} The same command with --seeds {ENOUGH_SEEDS} and this "
            "folder "
            "as --out trains only the new runs.",
        )
    if comparison.get("ablation"):
        return
    better = [summary for summary, is_gain in proven if is_gain]
    if better:
        name = max(better, key=lambda summary: summary["gain"]["difference"])["method"]
        yield Advice(f"Train {name} with your whole budget", f"understudy train ... --method {name}")
    else:
        yield Advice(
            "Give each run more time, or use the labels alone",
            f"No gain is proven at {comparison['budget']} per run. Methods that learn from unlabeled images take fewer "
            "steps in "
            "the same time, and catch up once the supervised baseline stops improving.",
        )
    if len(comparison["num_labels"]) < 2:
        yield Advice(
            "Measure what more labels would gain",
            "With several numbers of labels, such as --num-labels 40,100,250, the report draws the learning curve.",
        )


def waterfall(comparison: Mapping[str, Any]) -> Any:
    """The figure of an ablation's ingredients; None for another comparison."""
    ablation = comparison.get("ablation")
    if not ablation:
        return None
    return ingredients.waterfall([(step["adds"], step["accuracy"], step["interval"]) for step in ablation])


def _parallel(comparison: Mapping[str, Any]) -> Any:
    """The settings of all variants against mean accuracy at the fewest labels, where any are more than a method's name.

    A variant's settings are its method's and whatever else it has of its own; the best one is always among them.
    """
    methods, own = comparison.get("method_settings", {}), comparison.get("variant_settings") or {}
    count = comparison["num_labels"][0]
    mean = {
        summary["method"]: summary["accuracy"] for summary in comparison["summaries"] if summary["num_labels"] == count
    }
    names = [name for name in methods if mean.get(name) is not None]
    kinds = [str(methods[name].get("name")) for name in names]
    if len(names) < 2 or len(set(kinds)) == len(kinds):
        return None
    return ingredients.parallel_coordinates(
        [({**own.get(name, {}), "method": methods[name]}, mean[name]) for name in names]
    )


def summary_table(comparison: Mapping[str, Any]) -> PageTable:
    """Every variant with every number of labels: accuracy, gain over supervised, and cost."""
    rows = []
    for summary in comparison["summaries"]:
        gain = summary["gain"]
        rows.append(
            [
                summary["method"],
                f"{summary['num_labels']:,}" if summary["num_labels"] else "all",
                "failed" if summary["accuracy"] is None else percent(summary["accuracy"]),
                "-"
                if summary["interval"] is None
                else percent_range(summary["interval"]["low"], summary["interval"]["high"]),
                "-" if summary["worst"] is None else percent(summary["worst"]),
                "-" if not gain else signed_points(gain["difference"]),
                "-"
                if not gain or not gain["interval"]
                else percent_range(gain["interval"]["low"], gain["interval"]["high"]),
                "-" if not gain or gain["p_holm"] is None else p_value(gain["p_holm"]),
                "-" if summary["cpu_s"] is None else f"{summary['cpu_s']:,.1f}",
                "-" if summary["steps"] is None else f"{summary['steps']:,.0f}",
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
    return PageTable(columns, rows, numeric=range(1, len(columns)))


def _seeds(comparison: Mapping[str, Any]) -> str:
    return counted(len(comparison["seeds"]), "seed")


def _labels(summary: Mapping[str, Any]) -> str:
    return f" with {summary['num_labels']:,} labels" if summary["num_labels"] else ""
