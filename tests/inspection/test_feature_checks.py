"""What features tell reaches the audit with the right rows, and what is not worth saying is not said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torch import nn

from tests.inspection.made import collected
from understudy.data.collection import Collection, Part
from understudy.evaluation.label_errors import SuspectLabel
from understudy.inspection import feature_checks as module
from understudy.inspection.audit import audit
from understudy.inspection.examples import with_examples
from understudy.inspection.feature_checks import FeatureChecks
from understudy.inspection.label_issues import LabelIssues
from understudy.inspection.outliers import Outliers


def stripes(seed: int, upright: bool) -> Image.Image:
    """Stripes of a random width and shade, upright or level."""
    random = np.random.default_rng(seed)
    line = (np.sin(np.arange(32) * random.uniform(0.7, 1.1) + random.uniform(0, 6)) > 0) * random.uniform(90, 160) + 40
    pixels = np.tile(line, (32, 1)) + random.normal(0, 8, (32, 32))
    pixels = pixels if upright else pixels.T
    return Image.fromarray(np.repeat(pixels.clip(0, 255)[..., None], 3, -1).astype(np.uint8))


def odd(seed: int) -> Image.Image:
    image = Image.new("RGB", (32, 32), (200, 30, 30))
    draw = ImageDraw.Draw(image)
    for at in range(seed % 3 + 3):
        draw.ellipse((5 * at, 3 * at + seed % 7, 5 * at + 9, 3 * at + 12), (20, 220, 60))
    return image


def data() -> Collection:
    """120 labeled images, of which 3, 40 and 77 are labeled wrongly, and 100 unlabeled, the last two of them odd."""
    pictures = [stripes(seed, seed % 2 == 0) for seed in range(218)] + [odd(1), odd(5)]
    labels = np.array([seed % 2 if seed < 120 else -1 for seed in range(220)])
    labels[[3, 40, 77]] = 1 - labels[[3, 40, 77]]
    return collected(pictures, labels.tolist())


def test_feature_checks__planted_outliers_and_label_errors() -> None:
    calls: list[tuple[str, int, int]] = []
    found = audit(data(), features=FeatureChecks(), observe=lambda *call: calls.append(call))
    assert {218, 219} <= set(found["outliers"].rows.tolist())
    assert found["outliers"].count <= 6
    errors = found["label_errors"]
    assert sorted(errors.rows[:3].tolist()) == [3, 40, 77]
    assert errors.details["given"].tolist() == found.collection.labels[errors.rows].tolist()
    assert (errors.details["suggested"] != errors.details["given"]).all()
    assert ("computing features", 220, 220) in calls
    plain, pictures = with_examples(found)
    line = next(one for one in plain["findings"] if one["kind"] == "label_errors")
    assert line["given"][0] == line["examples"][0]["given"] != line["examples"][0]["suggested"]
    assert pictures.shape[1:] == (32, 32, 3)


def test_feature_checks__a_pool_half_of_other_things() -> None:
    """Most of the half of the pool unlike any labeled image is found; none in a pool like the labeled images."""
    labels = [seed % 2 if seed < 120 else -1 for seed in range(240)]
    same = [stripes(seed, seed % 2 == 0) for seed in range(240)]
    assert audit(collected(same, labels), features=FeatureChecks(), near=False)["unrelated"].count == 0
    mixed = [*same[:180], *(odd(seed) for seed in range(60))]
    found = audit(collected(mixed, labels), features=FeatureChecks(), near=False)["unrelated"]
    assert (found.rows >= 180).sum() >= 55
    assert (found.rows < 180).sum() <= 6
    assert "--filter-pool" in found.why
    assert set(found.rows[:40].tolist()) <= set(range(180, 240)), "the least alike come first"


def test_feature_checks__held_out_images_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        module, "embed", lambda whole, ids, **_: seen.append(ids) or np.zeros((len(ids), 2), np.float32)
    )
    whole = data()
    parts = whole.parts.copy()
    parts[100:120] = Part.TEST
    audit(replace(whole, parts=parts), features=FeatureChecks())
    assert seen[0].tolist() == [*range(100), *range(120, 220)]


def test_feature_checks__of_very_many_some_are_drawn_and_rows_keep_their_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 60)
    monkeypatch.setattr(module, "embed", lambda whole, ids, **_: ids[:, None].astype(np.float32))
    monkeypatch.setattr(
        module, "find_outliers", lambda features, seed: Outliers(np.array([2]), np.arange(len(features)), 1.5)
    )
    monkeypatch.setattr(
        module,
        "find_label_issues",
        lambda features, labels, classes, seed: LabelIssues((SuspectLabel(4, 0, 1, 0.9, 0.1),), 0.9, len(labels), 0.8),
    )
    found = audit(data(), features=FeatureChecks(), near=False)
    drawn = FeatureChecks()._drawn(np.arange(120, 220))
    assert found["outliers"].rows.tolist() == [drawn[2]]
    assert found["label_errors"].rows.tolist() == [FeatureChecks()._drawn(np.arange(120))[4]]
    assert "Of 100 unlabeled images outliers were searched for in a random sample of 60." in found.not_checked
    assert "Of 120 labeled images label errors were searched for in a random sample of 60." in found.not_checked
    assert (
        "right on 90 % of images it was not trained on; where one label in 20 is wrong, 80 % of its"
        in found["label_errors"].why
    )


def test_feature_checks__a_weak_model_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = LabelIssues((SuspectLabel(4, 0, 1, 0.9, 0.1),), 0.55, 120, 0.1)
    monkeypatch.setattr(module, "find_label_issues", lambda *_, **__: weak)
    found = audit(data(), features=FeatureChecks(), near=False)
    assert found["label_errors"].count == 0
    assert any(
        "right on only 55 % of images it was not trained on, so 90 % of its suspects would be false alarms" in text
        for text in found.not_checked
    )


def test_feature_checks__few_images_and_no_labels() -> None:
    pictures = [stripes(seed, seed % 2 == 0) for seed in range(20)]
    found = audit(collected(pictures, [0, 1, *[-1] * 18]), features=FeatureChecks())
    assert "Outliers were not searched for: there are fewer than 50 unlabeled images." in found.not_checked
    assert "Label errors were not searched for: no class has enough labels to train on some and" in " ".join(
        found.not_checked
    )


def test_feature_checks__a_network_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(
        module,
        "embed",
        lambda whole, ids, network, **_: given.append(network) or np.zeros((len(ids), 2), np.float32),
    )
    network = nn.Identity()
    audit(data(), features=FeatureChecks(network), near=False)
    assert given == [network]
