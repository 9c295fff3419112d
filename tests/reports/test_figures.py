"""Every figure is drawn from any data that a result may hold, says what it shows, and stays small and safe."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.reports import made
from understudy.reports.figures import by_class, ingredients, labels, model
from understudy.reports.figures import comparison as comparison_figures
from understudy.reports.figures.labels import draw_rounds
from understudy.reports.figures.picture import MINUS, Picture, in_points, spread
from understudy.reports.figures.probes import draw_probes
from understudy.reports.figures.style import svg
from understudy.reports.pages import comparison as comparison_page
from understudy.reports.pages import several as several_page
from understudy.reports.record import RunRecord

OF_RUN = [
    model.accuracies,
    model.confidence,
    by_class.confusion,
    labels.label_distribution,
    model.learning_curves,
    by_class.per_class_change,
    labels.pseudo_labels,
    labels.pseudo_labels_by_class,
    model.reliability,
    model.robustness,
    labels.rounds,
]
OF_COMPARISON = [getattr(comparison_figures, name) for name in ("methods", "gains", "label_curve", "cost")]
BY_CLASS = [
    by_class.confusion,
    by_class.per_class_change,
    labels.label_distribution,
    labels.pseudo_labels_by_class,
    labels.rounds,
]
NAN = math.nan


def _name(draw: Callable[..., Any]) -> str:
    return draw.__name__


@functools.cache
def _in_rounds(classes: tuple[str, ...], n: int = 1000) -> dict[str, Any]:
    result = made.result(classes, n)
    result["runs"]["fixmatch"]["rounds"] = made.rounds(4, len(classes))
    return result


def _is_whole(picture: Picture | None) -> str:
    """The SVG of a picture that has all its words."""
    assert picture is not None
    assert picture.title
    assert picture.caption.endswith(".")
    assert "nan" not in picture.caption.replace("unanimous", "")
    text = svg(picture.figure)
    root = ElementTree.fromstring(text)
    assert root.tag == "svg"
    assert root.attrib["aria-label"].startswith(picture.title)
    return text


def _strings(text: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(text).iter("text")]


@pytest.mark.parametrize("draw", OF_RUN, ids=_name)
def test_of_run__ten_classes(draw: Callable[..., Any]) -> None:
    assert len(_is_whole(draw(_in_rounds(made.TEN)))) < 100_000


@pytest.mark.parametrize("draw", BY_CLASS, ids=_name)
def test_by_class__two_classes(draw: Callable[..., Any]) -> None:
    text = _is_whole(draw(_in_rounds(("cat", "dog"), 60)))
    assert {"cat", "dog"} <= set(_strings(text))


@pytest.mark.parametrize("draw", BY_CLASS, ids=_name)
def test_by_class__a_hundred_classes_stay_small(draw: Callable[..., Any]) -> None:
    assert len(_is_whole(draw(_in_rounds(made.names(100), 4000)))) < 300_000


@pytest.mark.parametrize("draw", BY_CLASS, ids=_name)
def test_by_class__a_thousand_classes_stay_small(draw: Callable[..., Any]) -> None:
    assert len(_is_whole(draw(_in_rounds(made.names(1000), 9000)))) < 1_000_000


def test_confusion__a_thousand_full_rows_stay_small() -> None:
    rows = [[(7 * row + 3 * column) % 11 for column in range(1000)] for row in range(1000)]
    plain = {"delivered": "uda", "metrics": {"uda": {"confusion": rows}}, "data": {"classes": made.names(1000)}}
    assert len(_is_whole(by_class.confusion(plain))) < 1_000_000


@pytest.mark.parametrize("draw", BY_CLASS, ids=_name)
def test_by_class__hostile_names_stay_text(draw: Callable[..., Any]) -> None:
    picture = draw(_in_rounds(made.HOSTILE, 400))
    text = _is_whole(picture)
    assert "<b>" not in text
    assert "<script" not in text
    assert "\x1b" not in text + picture.caption
    assert "\u202e" not in text + picture.caption
    assert "\n" not in picture.caption
    tags = {one.tag for one in ElementTree.fromstring(text).iter()}
    assert tags <= {"svg", "g", "path", "text", "defs", "use", "clipPath", "rect", "image"}
    strings = _strings(text)
    assert "<b>&\"'</b>" in strings
    assert "חתול שחור" in strings
    assert any(one.startswith("猫") for one in strings)
    assert "$math$ and $" in strings
    assert any(one.startswith("#1c2127") for one in strings), "a name is not taken for a color"
    assert max(map(len, strings)) < 70


@pytest.mark.parametrize("draw", OF_RUN, ids=_name)
def test_of_run__nothing_is_known(draw: Callable[..., Any]) -> None:
    unknown: dict[str, Any] = {
        "data": None,
        "verdict": None,
        "delivered": None,
        "metrics": {"supervised": {"accuracy": None, "confusion": [], "per_class": []}},
        "calibration": {"supervised": {"bins": []}},
        "robustness": {"supervised": {"accuracy": {}}},
        "runs": {"supervised": {"history": [], "rounds": []}},
        "pseudo_labels": [],
        "pool": {"supervised": {}},
    }
    for plain in ({}, unknown, dict.fromkeys(unknown)):
        assert draw(plain) is None


def _half_known() -> dict[str, Any]:
    """One run, a class without test images, and numbers missing everywhere."""
    lines = [
        {"progress": 0.5, "cpu_s": None, "supervised": 1.0, "validation_accuracy": NAN, "entropy": 0.4},
        {"progress": 1.0, "cpu_s": 9.0, "supervised": NAN, "validation_accuracy": None, "entropy": 0.2},
    ]
    run = {
        "n": None,
        "accuracy": 0.75,
        "accuracy_interval": None,
        "confusion": [[3, 1, 0], [0, 0, 0], [0, None, 0]],
        "per_class": [{"name": "a", "support": 4, "recall": 0.75}, {"name": "b", "support": 0, "recall": NAN}],
    }
    bins = [
        {"low": 0.0, "high": 0.5, "n": 0, "confidence": None, "accuracy": NAN},
        {"low": 0.5, "high": 1.0, "n": 4, "confidence": 0.8, "accuracy": 0.75},
    ]
    return {
        "data": {"classes": ["a", "b", "c"], "labeled_per_class": [2, 0, 0], "test_per_class": None},
        "verdict": None,
        "delivered": "supervised",
        "metrics": {"supervised": run},
        "calibration": {"supervised": {"ece": None, "bins": bins, "temperature": None}},
        "robustness": {"supervised": {"clean": None, "accuracy": {"fog": [0.5, None, NAN, 0.4]}, "mean": NAN}},
        "runs": {"supervised": {"history": lines, "rounds": [{"name": "teacher", "coverage": 0.5}, {"name": "x"}]}},
        "pseudo_labels": [{"progress": 1.0, "coverage": 0.5, "pseudo_label_accuracy": NAN, "counts": [5, 0, 0]}],
        "pool": {"supervised": {"n": 3, "per_class": None, "confidence": [0, 3]}},
    }


@pytest.mark.parametrize("draw", OF_RUN, ids=_name)
def test_of_run__half_is_known(draw: Callable[..., Any]) -> None:
    picture = draw(_half_known())
    if draw is by_class.per_class_change:
        assert picture is None
    else:
        _is_whole(picture)


def test_accuracies__caption() -> None:
    metrics = {
        name: {"n": 400, "accuracy": share, "accuracy_interval": {"low": share - 0.04, "high": share + 0.04}}
        for name, share in (("supervised", 0.61), ("mean_teacher", 0.6475))
    }
    verdict = {"comparison": {"difference": 0.0375, "interval": {"low": -0.01, "high": 0.085}}}
    picture = model.accuracies({"metrics": metrics, "verdict": verdict})
    assert picture is not None
    assert picture.caption == (
        "Accuracy on 400 test images: supervised 61 % and mean teacher 64.8 %. The difference is +3.8 points "
        f"(95 % interval {MINUS}1 to +8.5). Lines are 95 % intervals."
    )


def _changes(*classes: tuple[str, int, float, float]) -> Picture:
    per_class = [
        [{"name": name, "support": n, "recall": recall[at]} for name, n, *recall in classes] for at in range(2)
    ]
    metrics = {"supervised": {"per_class": per_class[0]}, "uda": {"per_class": per_class[1]}}
    picture = by_class.per_class_change({"metrics": metrics})
    assert picture is not None
    return picture


def test_per_class_change__caption() -> None:
    picture = _changes(("cat", 50, 0.61, 0.8), ("dog", 40, 0.9, 0.85), ("owl", 1, 1.0, 1.0), ("elk", 0, NAN, NAN))
    assert picture.caption == (
        "The largest gain is 'cat', from 61 to 80 % of 50 images, the largest loss is 'dog', from 90 to 85 % of 40 "
        "images. The recall of uda is higher for 1 class and lower for 1; 1 class without test images left out."
    )
    assert "+19  (61 → 80 % of 50)" in _strings(svg(picture.figure))


def test_per_class_change__many_classes_keep_both_ends() -> None:
    picture = _changes(*((f"c{at}", 10, 0.5, 0.1 + at / 50) for at in range(41)))
    strings = _strings(svg(picture.figure))
    assert {"c40", "c29", "c11", "c0", "17 more classes between"} <= set(strings)
    assert not {"c28", "c12"} & set(strings)


def test_confusion__caption_and_cells() -> None:
    plain = {
        "data": {"classes": ["cat", "dog"]},
        "delivered": "uda",
        "metrics": {"supervised": {"confusion": [[1, 0], [0, 1]]}, "uda": {"confusion": [[40, 10], [3, 1047]]}},
    }
    picture = by_class.confusion(plain)
    assert picture is not None
    assert picture.caption.startswith(
        "Uda classifies 1,087 of 1,100 test images correctly. "
        "The most frequent error: 'cat' predicted as 'dog', 10 of 50 images."
    )
    assert {"40", "10", "3", "1,047"} <= set(_strings(svg(picture.figure)))


def test_pseudo_labels_by_class__caption() -> None:
    plain = {"data": {"classes": ["a", "b", "c"]}, "pseudo_labels": [{"counts": [100, 10, 40], "right": [90, 4, 40]}]}
    picture = labels.pseudo_labels_by_class(plain)
    assert picture is not None
    assert picture.caption == (
        "Of 150 pseudo-labels, 'a' has the most (100); 1 class has less than half of the mean, 50. "
        "Accuracy is lowest for 'b': 4 of 10 correct (40 %)."
    )


def test_label_distribution__caption() -> None:
    plain = {
        "data": {"classes": ["a", "b"], "labeled_per_class": [5, 5]},
        "delivered": "uda",
        "pool": {"uda": {"per_class": [30, 70]}},
    }
    picture = labels.label_distribution(plain)
    assert picture is not None
    assert picture.caption == (
        "The predictions for 100 unlabeled images deviate most from the labeled images for 'a': 30 % against 50 %."
    )


def test_confidence__caption() -> None:
    picture = model.confidence({"pool": {"uda": {"confidence": [0] * 18 + [30, 10]}}})
    assert picture is not None
    assert picture.caption == "At least 95 % confidence: uda 25 % of 40 images."


def test_reliability__caption_says_what_scaling_does() -> None:
    picture = model.reliability(made.result())
    assert picture is not None
    assert "supervised 11.3 % (3.1 % after scaling with temperature 1.7)" in picture.caption
    assert "1,000 test images" in picture.caption


def test_robustness__caption_and_many_corruptions() -> None:
    shares = {"clean": 0.9, "n": 50}
    few = {"fog": [0.8, 0.7, 0.6, 0.5, 0.4], "jpeg": [0.9, 0.9, 0.9, 0.9, 0.9]}
    picture = model.robustness({"robustness": {"uda": {**shares, "accuracy": few}}})
    assert picture is not None
    assert picture.caption == (
        "Mean accuracy over all corruptions and severities: uda 75 %. On clean images, uda reaches 90 %. "
        "The hardest at severity 5 is fog with 40 %. n = 50 images each."
    )
    many = {f"kind {at}": [0.9, 0.8, 0.7, 0.6, 0.01 * at] for at in range(20)}
    picture = model.robustness({"robustness": {"uda": {**shares, "accuracy": many}}})
    assert {"kind 19", "19"} <= set(_strings(_is_whole(picture)))


def test_learning_curves__losses_where_nothing_validates() -> None:
    result = made.result()
    for run in result["runs"].values():
        for line in run["history"]:
            line["validation_accuracy"] = None
    picture = model.learning_curves(result)
    assert "fixmatch: unsupervised" in _strings(_is_whole(picture))
    assert picture is not None
    assert picture.caption.startswith("There are no validation images")


@pytest.mark.parametrize("draw", OF_COMPARISON, ids=_name)
def test_of_comparison__more_methods_than_colors(draw: Callable[..., Any]) -> None:
    assert len(_is_whole(draw(made.comparison()))) < 100_000


@pytest.mark.parametrize("draw", OF_COMPARISON, ids=_name)
def test_of_comparison__one_seed_and_one_number_of_labels(draw: Callable[..., Any]) -> None:
    picture = draw(made.comparison((0,), seeds=1, methods=("supervised", "uda")))
    if draw is comparison_figures.label_curve:
        assert picture is None
    else:
        assert "all labels" in " ".join([picture.caption, *_strings(_is_whole(picture))])


@pytest.mark.parametrize("draw", OF_COMPARISON, ids=_name)
def test_of_comparison__nothing_finished(draw: Callable[..., Any]) -> None:
    failed = {"method": "uda", "num_labels": 40, "seed": 0, "figures": None, "error": "it broke"}
    summary = {"method": "uda", "num_labels": 40, "accuracy": None, "interval": None, "gain": None, "cpu_s": None}
    assert draw({}) is None
    assert draw({"methods": ["uda"], "seeds": [0], "runs": [failed], "summaries": [summary]}) is None


def test_gains__caption() -> None:
    def summary(method: str, difference: float, p_holm: float | None) -> dict[str, Any]:
        gain = {"difference": difference, "interval": None, "p_holm": p_holm}
        return {"method": method, "num_labels": 40, "accuracy": 0.5, "gain": gain}

    found = {"seeds": [0, 1], "summaries": [summary("uda", 0.05, 0.01), summary("vat", -0.02, None)]}
    picture = comparison_figures.gains(found)
    assert picture is not None
    assert picture.caption == (
        "The largest gain is uda's with 40 labels, +5 points. 1 of 2 differences is proven at the 5 % level after "
        "Holm's correction; 2 seeds each."
    )
    assert {"+5", f"{MINUS}2", "p = 0.01"} <= set(_strings(svg(picture.figure)))


def test_label_curve__all_labels_have_a_place() -> None:
    picture = comparison_figures.label_curve(made.comparison((40, 0), methods=("supervised", "uda")))
    assert "20,000" in _strings(_is_whole(picture))


def test_waterfall__signed_steps() -> None:
    picture = ingredients.waterfall([*made.STEPS, ("unknown", NAN, None)])
    strings = _strings(_is_whole(picture))
    assert "+8.9  → 70.1 %" in strings
    assert f"{MINUS}0.4  → 76.8 %" in strings
    assert picture is not None
    assert picture.caption.startswith(
        "From 61.2 to 80.3 % in 4 steps; the largest gain is + pseudo-labels (+8.9 points)"
    )
    assert ingredients.waterfall(made.STEPS[:1]) is None


def test_parallel_coordinates__leaves_out_what_never_differs() -> None:
    picture = ingredients.parallel_coordinates(made.tried())
    strings = _strings(_is_whole(picture))
    assert {"learning rate", "threshold", "network", "mu", "accuracy"} <= set(strings)
    assert "seed" not in strings
    assert ingredients.parallel_coordinates([({"a": 1}, 0.5), ({"a": 1}, 0.6)]) is None
    assert ingredients.parallel_coordinates([]) is None


def test_parallel_coordinates__settings_of_any_kind() -> None:
    tried = [({"a": None, "b": True}, 0.5), ({"a": 0, "b": False}, NAN), ({"a": "<b>"}, 0.5), ({"a": [1, 2]}, 0.5)]
    assert "<b>" in _strings(_is_whole(ingredients.parallel_coordinates(tried)))


def test_several_runs__rows_say_what_differs() -> None:
    picture = comparison_figures.several_runs([made.result(seed=seed) for seed in (0, 1)])
    assert {"seed 0", "seed 1"} <= set(_strings(_is_whole(picture)))
    assert picture is not None
    assert picture.caption.startswith("The method is more accurate than supervised in 2 of 2 runs.")
    _is_whole(comparison_figures.several_runs([_half_known()]))
    assert comparison_figures.several_runs([{}]) is None


def test_spread__keeps_order_and_distance() -> None:
    found = spread([0.5, 0.5, 0.52, 0.0], 0.1, 0.0, 1.0)
    assert found[3] == 0
    assert found[0] < found[1] < found[2]
    assert min(b - a for a, b in zip(sorted(found), sorted(found)[1:], strict=False)) > 0.0999
    assert max(spread([1.0, 1.0, 1.0], 0.1, 0.0, 1.0)) == 1


def test_points__has_a_sign() -> None:
    assert [in_points(value) for value in (0.012, -0.1, 0.0, -0.00001)] == ["+1.2", f"{MINUS}10", "0", "0"]


def test_draw_rounds__and_probes_write_files(tmp_path: Path) -> None:
    draw_rounds(made.rounds(3, 2), ["猫", "$dog$"], tmp_path / "rounds.png")
    lines = [{"progress": at / 4, "knn_accuracy": at / 5, "kept": at == 4} for at in range(1, 5)]
    draw_probes(lines, tmp_path / "probes.png")
    draw_probes([{"progress": 1.0}], tmp_path / "empty.png")
    assert all((tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in ("rounds", "probes", "empty"))


def test_figures__need_no_torch() -> None:
    code = (
        "import sys, understudy.reports.figures.model, understudy.reports.figures.comparison\n"
        "print(sorted(name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_cost__says_whether_runs_cost_alike() -> None:
    found = made.comparison()
    differing = comparison_figures.cost(found)
    assert differing is not None
    assert differing.caption.startswith("A run costs from ")
    alike = found | {"summaries": [one | {"cpu_s": 30.0 + place / 100} for place, one in enumerate(found["summaries"])]}
    picture = comparison_figures.cost(alike)
    assert picture is not None
    assert picture.caption.startswith("All runs cost about 30 s of CPU time; means over 3 seeds.")


def _axes(picture: Picture | None, at: int = 0) -> Any:
    assert picture is not None
    return picture.figure.get_axes()[at]


def _line_of(axes: Any, label: str) -> tuple[list[float], list[float]]:
    (line,) = [one for one in axes.get_lines() if one.get_label() == label]
    return list(line.get_xdata()), list(line.get_ydata())


def test_parallel_coordinates__run_without_a_setting_is_drawn_whole() -> None:
    tried = [({"lr": 0.1, "mu": 3}, 0.6), ({"lr": 0.2, "mu": 7}, 0.7), ({"lr": 0.2}, 0.9)]
    picture = ingredients.parallel_coordinates(tried)
    best = _axes(picture).get_lines()[2].get_ydata()
    assert list(best) == [1.0, 0.0, 1.0]
    assert picture is not None
    assert "90 %" in picture.caption
    assert "mu not set" in picture.caption


def test_parallel_coordinates__names_what_there_is_no_room_for() -> None:
    tried = [({f"knob_{at}": value for at in range(10)}, 0.5 + value) for value in (0.1, 0.2)]
    picture = ingredients.parallel_coordinates(tried)
    assert picture is not None
    assert picture.caption.endswith("Other settings that differ are not shown: knob 8 and knob 9.")


def test_parallel_coordinates__knobs_of_one_method_are_not_settings_that_differ() -> None:
    tried = [({"method": {"name": "a", "x": 1}}, 0.5), ({"method": {"name": "b"}, "lr_decay": "none"}, 0.6)]
    strings = _strings(_is_whole(ingredients.parallel_coordinates(tried)))
    assert {"method", "lr decay"} <= set(strings)
    assert "x" not in strings


def test_comparison_page__best_variant_is_among_the_settings_tried() -> None:
    found = {
        "num_labels": [40],
        "method_settings": {
            "supervised": {"name": "supervised"},
            "low": {"name": "fixmatch", "threshold": 0.5},
            "high": {"name": "fixmatch", "threshold": 0.9},
            "best": {"name": "softmatch"},
        },
        "variant_settings": {"best": {"labeled_view": "weak"}},
        "summaries": [
            {"method": name, "num_labels": 40, "accuracy": value}
            for name, value in (("supervised", 0.5), ("low", 0.6), ("high", 0.7), ("best", 0.8))
        ],
    }
    picture = comparison_page._parallel(found)
    assert picture is not None
    assert picture.caption.startswith("The best of 4 runs (orange, 80 %): ")
    assert {"labeled view", "threshold", "method"} <= set(_strings(_is_whole(picture)))


def test_several_page__setting_is_credited_with_its_own_model() -> None:
    result = {
        "data": {"num_labeled": 40},
        "training": {"method": "fixmatch"},
        "delivered": "supervised",
        "metrics": {"supervised": {"accuracy": 0.9}, "fixmatch": {"accuracy": 0.4}},
    }
    record = RunRecord("run", result, np.zeros((0, 1, 1, 3), np.uint8), settings={"batch_size": 8})
    settings, accuracy = several_page._tried(record)
    assert accuracy == 0.4
    assert settings == {"labels": 40, "method": "fixmatch", "batch_size": 8}


def test_pseudo_labels__rounds_are_places_of_their_own() -> None:
    lines = [
        {"progress": 1.0, "round": number, "coverage": share, "pseudo_label_accuracy": right}
        for number, share, right in ((1, 0.3, 0.8), (2, 0.5, 0.9))
    ]
    lines.insert(1, {"progress": 0.5, "coverage": 0.1, "pseudo_label_accuracy": 0.1})
    picture = labels.pseudo_labels({"pseudo_labels": lines})
    axes = _axes(picture)
    assert _line_of(axes, "share of the unlabeled images used") == ([1, 2], [0.3, 0.5])
    assert _line_of(axes, "accuracy of their pseudo-labels") == ([1, 2], [0.8, 0.9])
    assert [one.get_text() for one in axes.get_xticklabels()] == ["round 1", "round 2"]
    assert picture is not None
    assert picture.caption.startswith("In round 2, 50 % of the unlabeled images")


def test_learning_curves__all_rounds_one_after_another() -> None:
    def history(*losses: float) -> list[dict[str, Any]]:
        return [
            {"step": at, "progress": at / 2, "cpu_s": float(at), "supervised": one} for at, one in enumerate(losses)
        ]

    run = {
        "history": history(0.4, 0.3, 0.2),
        "rounds": [{"history": history(3, 2, 1)}, {"history": history(0.4, 0.3, 0.2)}],
    }
    picture = model.learning_curves({"runs": {"self_training": run}})
    x, y = _line_of(_axes(picture), "self training")
    assert (x, y) == ([0, 1, 2, 2, 3, 4], [3, 2, 1, 0.4, 0.3, 0.2])
    assert picture is not None
    assert picture.caption.endswith("A dotted line marks where the next round begins.")


@pytest.mark.parametrize("rounds", [1, 0])
def test_learning_curves__begin_where_pretraining_ended(rounds: int) -> None:
    lines = [{"step": at, "progress": at / 2, "cpu_s": 2.0 * at, "supervised": one} for at, one in enumerate((3, 2, 1))]
    run = {
        "history": lines,
        "steps": 12,
        "cost": {"cpu_s": 10.0, "wall_s": 11.0},
        "rounds": [{"kept": True, "knn_accuracy": 0.5}, *[{"history": lines}] * rounds],
    }
    x, y = _line_of(_axes(model.learning_curves({"runs": {"pretrain": run}})), "pretrain")
    assert (x, y) == ([6, 8, 10], [3, 2, 1])


@pytest.mark.parametrize("draw", [model.learning_curves, model.confidence, labels.label_distribution])
def test_legend__lies_outside_of_what_is_drawn(draw: Callable[[Any], Picture | None]) -> None:
    result = made.result(made.names(40))
    for run in result["runs"].values():
        run["history"] = [{**line, "validation_accuracy": None} for line in run["history"]]
    picture = draw(result)
    assert picture is not None
    figure = picture.figure
    figure.draw_without_rendering()
    for axes in figure.get_axes():
        if (legend := axes.get_legend()) is not None:
            assert not axes.get_window_extent().overlaps(legend.get_window_extent().padded(-1))
