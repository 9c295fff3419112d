"""Leaks, conflicting labels and imbalanced classes are found with their counts; clean images give no finding."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.data.test_split import collection as vectors
from tests.inspection.made import CHANGES, FLAWED, collected, photo, rows_of
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.inspection.audit import audit
from understudy.inspection.finding import Finding
from understudy.inspection.quick_checks import quick_checks

LABELED, POOL, TEST = range(40), range(40, 60), range(60, 80)


def images() -> list[Image.Image]:
    return [photo(seed) for seed in range(80)]


def made(pictures: list[Image.Image], labels: dict[int, int] | None = None) -> Collection:
    """40 labeled images of two classes, 20 unlabeled, 20 test images, of which 5 validate; and what comes after."""
    codes = np.array([at % 2 if at in LABELED or at in TEST else -1 for at in range(len(pictures))])
    for at, label in (labels or {}).items():
        codes[at] = label
    parts = np.full(len(pictures), Part.TRAIN, np.uint8)
    parts[60:80] = Part.TEST
    parts[60:65] = Part.VALIDATION
    return replace(collected(pictures, codes.tolist()), parts=parts)


def pairs(finding: Finding) -> set[tuple[int, int]]:
    assert finding.partners is not None
    assert finding.count == len(finding.rows) == len(finding.partners)
    return set(zip(finding.rows.tolist(), finding.partners.tolist(), strict=True))


def test_audit__clean_images_have_no_finding() -> None:
    found = audit(made(images()))
    assert found.findings == ()
    assert found.headline == "No problem was found in these images."
    assert found.worst == ""
    assert found.shape_sentence() == "80 images in 2 classes: 15 test, 5 validation, 40 labeled, 20 unlabeled."
    assert found.sentences()[1:] == ("Outliers and label errors were not searched for, as requested.",)
    assert found.counts == {"pool": (20,), "labeled": (20, 20), "validation": (3, 2), "test": (7, 8)}


def test_audit__leaks() -> None:
    pictures = images()
    pictures[3] = pictures[62] = pictures[70]  # a test image that is also among the labeled and the validation images
    pictures[45] = pictures[63]  # a validation image in the pool
    pictures[50] = CHANGES["jpeg 60"](pictures[71])
    pictures[64] = CHANGES["cropped 3 %"](pictures[72])
    pictures[5] = CHANGES["brighter"](pictures[61])
    found = audit(made(pictures))
    assert pairs(found["exact_leaks"]) == {(3, 70), (62, 70), (45, 63)}
    assert pairs(found["near_leaks"]) == {(50, 71), (64, 72), (5, 61)}
    assert [one.severity for one in found.findings if one.kind.endswith("leaks")] == ["serious", "serious"]
    assert "3 exact copies of held-out images are among other images (1 validation, 1 labeled, 1 unlabeled)" in (
        found["exact_leaks"].sentence
    )
    assert found["copies"].count == found["near_copies"].count == 0
    similarity = found["near_leaks"].details["similarity"]
    assert (np.diff(similarity) <= 0).all()


def test_audit__a_near_copy_of_a_copy_of_a_test_image_leaks() -> None:
    pictures = images()
    pictures[3] = pictures[70]
    pictures[50] = pictures[51] = CHANGES["jpeg 60"](pictures[70])
    found = audit(made(pictures))
    assert pairs(found["exact_leaks"]) == {(3, 70)}
    assert pairs(found["near_leaks"]) == {(50, 70), (51, 70)}


def test_audit__an_exact_leak_is_no_near_one_too() -> None:
    pictures = images()
    pictures[3] = pictures[70]
    pictures[71] = CHANGES["jpeg 60"](pictures[70])
    found = audit(made(pictures))
    assert pairs(found["exact_leaks"]) == {(3, 70)}
    assert found["near_leaks"].count == 0


def test_audit__copies_in_one_role() -> None:
    pictures = images()
    pictures[10] = pictures[12] = pictures[14]
    pictures[41] = pictures[16]
    pictures[20] = CHANGES["jpeg 30"](pictures[22])
    found = audit(made(pictures))
    assert pairs(found["copies"]) == {(12, 10), (14, 10), (41, 16)}
    assert found["copies"].sentence == "3 exact copies of other images (2 labeled, 1 unlabeled)."
    ((row, other),) = pairs(found["near_copies"])
    assert {row, other} == {20, 22}
    assert found["exact_leaks"].count == found["near_leaks"].count == found["conflicts"].count == 0


def test_audit__labels_that_disagree() -> None:
    pictures = images()
    pictures[10] = pictures[11]
    pictures[20] = CHANGES["jpeg 60"](pictures[23])
    pictures[30] = pictures[32]  # of one class
    pictures[41] = pictures[1]  # without a label
    found = audit(made(pictures))
    assert {frozenset(pair) for pair in pairs(found["conflicts"])} == {frozenset((10, 11)), frozenset((20, 23))}
    assert "2 pairs of copies carry different labels, such as '1' and '0'" in found["conflicts"].sentence


def test_audit__flaws_and_rows_that_are_left_out() -> None:
    pictures = images()
    for at, kind in ((4, "blank"), (44, "dark"), (66, "blurry"), (8, "blank")):
        pictures[at] = FLAWED[kind](pictures[at])
    data = made(pictures)
    parts = data.parts.copy()
    parts[8] = Part.LEFT_OUT
    found = audit(replace(data, parts=parts))
    flawed = {one.kind: one.rows.tolist() for one in found.findings}
    assert flawed == {"blank": [4], "dark": [44], "blurry": [66]}
    assert found["blank"].sentence == "1 image is blank: all pixels have nearly one color (1.2 % of all)."


def test_audit__without_near_copies() -> None:
    pictures = images()
    pictures[50] = CHANGES["jpeg 60"](pictures[71])
    found = audit(made(pictures), near=False)
    assert found.findings == ()
    assert "Near copies were not searched for, as requested." in found.not_checked


def test_audit__all_images_are_one() -> None:
    found = audit(collected([photo(0)] * 6, [0, 1, 0, 1, -1, -1]))
    assert found.findings[0].kind in ("all_alike", "conflicts")
    assert found["all_alike"].count == 6
    assert found.worst == "serious"


@pytest.mark.parametrize(("small", "severity"), [(30, ""), (20, "look"), (3, "serious")])
def test_audit__imbalanced_classes(small: int, severity: str) -> None:
    found = audit(vectors([0] * 61 + [1] * small))
    assert found["imbalance"].severity == (severity or "note")
    assert found["imbalance"].count == (2 if severity else 0)
    assert (found["few_labels"].count == 1) == (small < 5)


def test_audit__vectors() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((50, 4)).astype(np.float32)
    rows[7] = rows[3]
    found = audit(load((rows, [0, 1] * 25)))
    assert {one.kind for one in found.findings} == {"copies"}
    assert "These rows are not images: near copies and image quality were not checked." in found.not_checked
    assert found.to_json()["channels"] == []


def test_audit__to_json_is_plain_and_short() -> None:
    pictures = [photo(seed) for seed in range(4)] * 600
    found = audit(collected(pictures, [0, 1, 0, 1] * 600))
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["format"] == 1
    assert plain["roles"] == {"pool": 0, "labeled": 2400, "validation": 0, "test": 0}
    (copies,) = (one for one in plain["findings"] if one["kind"] == "copies")
    assert copies["count"] == 2396
    assert len(copies["rows"]) == len(copies["names"]) == len(copies["partners"]) == len(copies["similarity"]) == 1000
    assert len(plain["channels"]) == 3
    assert plain["channels"][0]["mean"] == pytest.approx(
        float(rows_of(pictures[:4])[:, 0].float().mean()) / 255, abs=1e-3
    )


def test_audit__observe() -> None:
    calls: list[tuple[str, int, int]] = []
    audit(made(images()), observe=lambda *call: calls.append(call))
    assert ("scanning images", 80, 80) in calls
    assert {what for what, *_ in calls} == {"scanning images", "comparing images"}
    assert all(done <= total for _, done, total in calls)


def test_quick_checks__nothing_to_say() -> None:
    assert quick_checks(made(images())) == ()
    assert quick_checks(load("digits")) == ()


def test_quick_checks__warnings() -> None:
    pictures = images()
    pictures[10] = pictures[11]
    pictures[30] = pictures[32]
    pictures[41] = pictures[1]
    pictures[50] = FLAWED["blank"](pictures[50])
    for at in range(51, 56):
        pictures[at] = FLAWED["dark"](pictures[at])
    assert quick_checks(made(pictures)) == (
        "1 pair of identical images carries different labels; understudy audit shows them",
        "3 images are exact copies of others; understudy audit shows them",
        "1.2 % of the images are blank; understudy audit shows them",
        "6.2 % of the images are dark; understudy audit shows them",
    )


def test_quick_checks__imbalanced_classes() -> None:
    assert quick_checks(vectors([0] * 60 + [1] * 5 + [-1])) == (
        "classes are imbalanced, 12 labels of the largest to one of the smallest; see the balanced accuracy",
    )
    assert quick_checks(vectors([0] * 40 + [1] * 5 + [-1])) == ()


def test_quick_checks__of_many_images_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from understudy.inspection import quick_checks as module

    data = made([FLAWED["blank"](image) if at % 2 else image for at, image in enumerate(images())])
    monkeypatch.setattr(module, "_MAX_PIXELS", 48 * 48 * 20)
    seen: list[int] = []
    original = module.scan
    monkeypatch.setattr(module, "scan", lambda rows, **more: seen.append(len(rows)) or original(rows, **more))
    assert any(text.startswith("about ") and "% of the images are blank" in text for text in quick_checks(data))
    assert seen == [20]
